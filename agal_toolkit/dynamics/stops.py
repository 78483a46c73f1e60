"""What a replica of a simulation may not do, and how closely it is watched.

A criterion is any callable with a name: the name is the reason that the record of a stopped replica
tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from ase.data import chemical_symbols
from torch import Tensor

from ..batch import Batch, Prediction
from ..potentials.neighbours import Pairs, neighbours


class Stop(Protocol):
    """A criterion: which geometries of a batch, whose prediction is given, must not go on; and the
    reason's name.
    """

    @property
    def name(self) -> str:
        """The reason, as a record tells it."""

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        """(B,) bool."""


def _near(
    batch: Batch, between: tuple[int, int] | None, limit: float
) -> tuple[Pairs, Tensor, Tensor]:
    """Pairs with their images within `limit`, (P,) their distances, and (P,) which of them are
    `between` the two elements.
    """
    pairs = neighbours(batch, limit)
    one, other = batch.numbers[pairs.first], batch.numbers[pairs.second]
    if between is None:
        meant = torch.ones_like(one, dtype=torch.bool)
    else:
        meant = ((one == between[0]) & (other == between[1])) | (
            (one == between[1]) & (other == between[0])
        )
    return pairs, pairs.vectors(batch).norm(dim=-1), meant


def _count(batch: Batch, between: tuple[int, int] | None) -> Tensor:
    """(B,) pairs of different particles `between` the two elements."""

    def held(z: int) -> Tensor:
        return batch.sum((batch.numbers == z).to(torch.int64))

    if between is None or between[0] == between[1]:
        n = batch.counts if between is None else held(between[0])
        return n * (n - 1) // 2
    return held(between[0]) * held(between[1])


def _pair(between: tuple[int, int] | None) -> str:
    return "a distance" if between is None else "-".join(chemical_symbols[z] for z in between)


@dataclass(frozen=True)
class Closer:
    """Two particles, or a particle and an image of itself, closer than `limit`, angstrom; `between`
    two atomic numbers, or any (None).
    """

    limit: float
    between: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """For example "H-H below 0.8 A"."""
        return f"{_pair(self.between)} below {self.limit:g} A"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        pairs, r, meant = _near(batch, self.between, self.limit)
        met = torch.zeros(len(batch), dtype=torch.bool, device=r.device)
        met[batch.owner[pairs.first[meant & (r < self.limit)]]] = True
        return met


@dataclass(frozen=True)
class Farther:
    """Two particles whose nearest images are farther apart than `limit`, angstrom; `between` two
    atomic numbers, or any (None).
    """

    limit: float
    between: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """For example "H-H above 2.55 A"."""
        return f"{_pair(self.between)} above {self.limit:g} A"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        reach = self.limit
        if bool(batch.pbc.all()):  # no nearest image lies beyond half the cell vectors
            reach = min(reach, 0.5 * float(batch.cell.norm(dim=-1).sum(-1).max()) + 1e-6)
        pairs, r, meant = _near(batch, self.between, reach)
        near = (
            meant & ~(r > self.limit) & (pairs.first != pairs.second)
        )  # what is no number is not far
        first, second, n = pairs.first[near], pairs.second[near], len(batch.numbers)
        if pairs.shift is not None:  # several images of a pair count once
            first = (torch.minimum(first, second) * n + torch.maximum(first, second)).unique() // n
        return torch.bincount(batch.owner[first], minlength=len(batch)) < _count(
            batch, self.between
        )


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

    Beside `stops`, a replica stops at once where an energy or a force is NaN or infinite, and where
    its potential or its kinetic
    energy departs from that at its start by more than `explosion` for each particle: a network's
    abyss gives both.

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
            raise ValueError(
                f"Watch(every={self.every}, check={self.check}, explosion={self.explosion}): all"
                " must be positive"
            )

    def reasons(
        self, batch: Batch, prediction: Prediction, departure: Tensor, check: bool
    ) -> dict[int, str]:
        """Why geometries of the batch stop: {place in the batch: reason}; `departure` (B,) of the
        energies, eV.
        """
        finite = (departure + batch.sum(prediction.forces.sum(-1))).isfinite()
        lost = ~(finite & (departure <= self.explosion * batch.counts))
        if not check and not lost.any():
            return {}
        found = [(NOT_FINITE, ~finite), (EXPLODED, lost)]
        found += [(stop.name, stop(batch, prediction)) for stop in self.stops] if check else []
        reasons: dict[int, str] = {}
        for name, met in found:
            if met.shape != (len(batch),):
                raise ValueError(
                    f"the criterion {name!r} says {tuple(met.shape)}, expected one bool for each of"
                    f" {len(batch)} geometries"
                )
            for place in met.nonzero().flatten().tolist():
                reasons.setdefault(place, name)
        return reasons
