"""What a replica of a simulation may not do, and how closely it is watched.

A criterion is any callable with a name: the name is the reason that the record of a stopped replica tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from ase.data import chemical_symbols
from torch import Tensor

from ..geometry import Batch, Prediction


class Stop(Protocol):
    """A criterion: which geometries of a batch, whose prediction is given, must not go on; and the reason's name."""

    @property
    def name(self) -> str:
        """The reason, as a record tells it."""

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        """(B,) bool."""


def _distances(batch: Batch, between: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """(B, k, k) distances, nearest images where periodic, between the k particles of a geometry that may matter; and which of them count."""
    everyone = torch.ones_like(batch.numbers, dtype=torch.bool)
    one, other = (everyone, everyone) if between is None else (batch.numbers == between[0], batch.numbers == between[1])
    chosen = (one | other).nonzero().flatten()
    owner = batch.owner[chosen]
    counts = torch.bincount(owner, minlength=len(batch))
    within = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    k = int(counts.max())
    x = batch.positions.new_zeros(len(batch), k, batch.dimension)
    first, second = (torch.zeros(len(batch), k, dtype=torch.bool, device=owner.device) for _ in range(2))
    x[owner, within], first[owner, within], second[owner, within] = batch.positions[chosen], one[chosen], other[chosen]
    r = x[:, :, None] - x[:, None]
    if batch.pbc.any():
        cell = torch.where(batch.pbc[..., None], batch.cell, torch.eye(batch.dimension).to(batch.cell))[:, None]
        r = r - torch.where(batch.pbc[:, None, None], (r @ torch.linalg.inv(cell)).round(), 0.0) @ cell
    return r.square().sum(-1).sqrt(), first[:, :, None] & second[:, None] & ~torch.eye(k, dtype=torch.bool, device=owner.device)


def _pair(between: tuple[int, int] | None) -> str:
    return "a distance" if between is None else "-".join(chemical_symbols[z] for z in between)


@dataclass(frozen=True)
class Closer:
    """Two particles closer than `limit`, angstrom; `between` two atomic numbers, or any (None). O(n^2) for each geometry."""

    limit: float
    between: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """For example "H-H below 0.8 A"."""
        return f"{_pair(self.between)} below {self.limit:g} A"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        r, counted = _distances(batch, self.between)
        return ((r < self.limit) & counted).flatten(1).any(1)


@dataclass(frozen=True)
class Farther:
    """Two particles farther apart than `limit`, angstrom; `between` two atomic numbers, or any (None). O(n^2) for each geometry."""

    limit: float
    between: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """For example "H-H above 2.55 A"."""
        return f"{_pair(self.between)} above {self.limit:g} A"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        r, counted = _distances(batch, self.between)
        return ((r > self.limit) & counted).flatten(1).any(1)


@dataclass(frozen=True)
class EnergyBelow:
    """A potential energy below `limit`, eV: that of the ground state, less a tolerance."""

    limit: float

    @property
    def name(self) -> str:
        """For example "energy below -1.5 eV"."""
        return f"energy below {self.limit:g} eV"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        return prediction.energy < self.limit


NOT_FINITE, EXPLODED = "not finite", "exploded"


@dataclass(frozen=True)
class Watch:
    """What is kept of a replica, and what stops it.

    Beside `stops`, a replica stops at once where an energy or a force is NaN or infinite, and where its potential or its kinetic
    energy departs from that at its start by more than `explosion` for each particle: a network's abyss gives both.

    Attributes:
        every: steps between frames; the start and the last step are always kept.
        stops: criteria, the first that is met is the reason.
        check: steps between their evaluations.
        explosion: eV, or the units of a model surface.
    """

    every: int = 10
    stops: tuple[Stop, ...] = ()
    check: int = 1
    explosion: float = 10.0

    def __post_init__(self) -> None:
        if self.every < 1 or self.check < 1 or not self.explosion > 0:
            raise ValueError(f"Watch(every={self.every}, check={self.check}, explosion={self.explosion}): all must be positive")

    def reasons(self, batch: Batch, prediction: Prediction, departure: Tensor, check: bool) -> dict[int, str]:
        """Why geometries of the batch stop: {place in the batch: reason}; `departure` (B,) of the energies, eV."""
        finite = (departure + batch.sum(prediction.forces.sum(-1))).isfinite()
        lost = ~(finite & (departure <= self.explosion * batch.counts))
        if not check and not lost.any():
            return {}
        found = [(NOT_FINITE, ~finite), (EXPLODED, lost)]
        found += [(stop.name, stop(batch, prediction)) for stop in self.stops] if check else []
        reasons: dict[int, str] = {}
        for name, met in found:
            if met.shape != (len(batch),):
                raise ValueError(f"the criterion {name!r} says {tuple(met.shape)}, expected one bool for each of {len(batch)} geometries")
            for place in met.nonzero().flatten().tolist():
                reasons.setdefault(place, name)
        return reasons
