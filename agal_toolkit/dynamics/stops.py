"""Criteria that stop a replica of a simulation, and how often they are checked.

A criterion is any callable with a name, which becomes the reason in the record of a stopped
replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from ase import units
from ase.data import atomic_masses, chemical_symbols
from torch import Tensor

from ..batch import Batch, Prediction
from ..potentials.neighbours import any_closer, pairs_within

GRAMS_PER_CM3 = 1e24 / units.kg * 1e3  # one atomic mass unit per cubic angstrom


class Stop(Protocol):
    """A criterion: which geometries of a batch must stop, given their prediction."""

    @property
    def name(self) -> str:
        """The reason in a record."""
        ...

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        """Return (B,) True where a replica must stop."""
        ...


def _pair(between: tuple[int, int] | None) -> str:
    return "a distance" if between is None else "-".join(chemical_symbols[z] for z in between)


@dataclass(frozen=True)
class Closer:
    """Two particles, or one and its own image, are closer than `limit`, angstrom.

    `between` names two atomic numbers, or any (None).
    """

    limit: float
    between: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """For example "H-H below 0.8 A"."""
        return f"{_pair(self.between)} below {self.limit:g} A"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        return any_closer(batch, self.limit, self.between)


@dataclass(frozen=True)
class Farther:
    """The nearest images of two particles are farther apart than `limit`, angstrom.

    `between` names two atomic numbers, or any (None).
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
        pairs, distances = pairs_within(batch, reach, self.between)
        # A distance that is not finite is not far.
        pairs = pairs[~(distances > self.limit) & (pairs.first != pairs.second)]
        first, second, n = pairs.first, pairs.second, len(batch.numbers)
        if pairs.shift is not None:  # several images of a pair count once
            first = (torch.minimum(first, second) * n + torch.maximum(first, second)).unique() // n
        near = torch.bincount(batch.owner[first], minlength=len(batch))
        return near < self._pairs(batch)

    def _pairs(self, batch: Batch) -> Tensor:
        """Return (B,) the number of pairs of different particles of the two elements."""
        if self.between is None:
            one = other = batch.counts
        else:
            one, other = (batch.sum((batch.numbers == z).to(torch.int64)) for z in self.between)
        same = self.between is None or self.between[0] == self.between[1]
        return one * (one - 1) // 2 if same else one * other


@dataclass(frozen=True)
class EnergyBelow:
    """The potential energy is below `limit`, eV: the ground state's, less a tolerance."""

    limit: float

    @property
    def name(self) -> str:
        """For example "energy below -1.5 eV"."""
        return f"energy below {self.limit:g} eV"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        return prediction.energy < self.limit


@dataclass(frozen=True)
class DensityOutside:
    """Stop criterion: the mass density is outside `low` to `high`, g/cm^3."""

    low: float
    high: float

    @property
    def name(self) -> str:
        """For example "density outside 0.25 to 2 g/cm3"."""
        return f"density outside {self.low:.3g} to {self.high:.3g} g/cm3"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        masses = torch.as_tensor(atomic_masses, device=batch.positions.device)[batch.numbers]
        density = batch.sum(masses) / torch.linalg.det(batch.cell).abs() * GRAMS_PER_CM3
        return ~((density >= self.low) & (density <= self.high))


NOT_FINITE, EXPLODED = "not finite", "exploded"


@dataclass(frozen=True)
class Watch:
    """Which frames of a replica are kept, and what stops it.

    Besides `stops`, a replica stops at once if an energy or a force is not finite, or when the
    potential or kinetic energy per particle has changed by more than `explosion` since the start.
    Both happen when a network's energy is unbounded below.

    Attributes:
        every: steps between frames; the start and the last step are always kept.
        stops: criteria; the first that is met is the reason.
        check: steps between evaluations of the criteria.
        explosion: eV, or the units of a model surface.
    """

    every: int = 10
    stops: tuple[Stop, ...] = ()
    check: int = 1
    explosion: float = 10.0

    def __post_init__(self) -> None:
        if self.every < 1 or self.check < 1 or not self.explosion > 0:
            given = f"every={self.every}, check={self.check}, explosion={self.explosion}"
            raise ValueError(f"Watch({given}): all must be positive")

    def reasons(
        self, batch: Batch, prediction: Prediction, departure: Tensor, check: bool
    ) -> dict[int, str]:
        """Return {index in the batch: reason} of replicas that stop.

        Args:
            batch: B replicas.
            prediction: of the batch.
            departure: (B,) largest change of the potential or kinetic energy since the start, eV.
            check: evaluate the criteria in `stops`.
        """
        finite = (departure + batch.sum(prediction.forces.sum(-1))).isfinite()
        lost = ~(finite & (departure <= self.explosion * batch.counts))
        if not check and not lost.any():
            return {}
        met = [(NOT_FINITE, ~finite), (EXPLODED, lost)]
        met += [(stop.name, stop(batch, prediction)) for stop in self.stops] if check else []
        reasons: dict[int, str] = {}
        for name, which in met:
            if which.shape != (len(batch),):
                expected = f"expected one bool for each of {len(batch)} geometries"
                raise ValueError(f"criterion {name!r} has shape {tuple(which.shape)}, {expected}")
            for index in which.nonzero().flatten().tolist():
                reasons.setdefault(index, name)
        return reasons
