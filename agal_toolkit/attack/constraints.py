"""Limits on the iterates of an attack: guards of the moved batch, and a bound on displacements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..batch import Batch, Delta
from ..potentials.neighbours import any_closer, pairs_within


@dataclass(frozen=True)
class Apart:
    """Guard: no two particles, or one and its own image, are closer than `shortest`.

    Attributes:
        shortest: angstrom; Cezar 2025 drops structures below 0.75.

    Raises:
        ValueError: a distance that is not positive.
    """

    shortest: float = 0.75

    def __post_init__(self) -> None:
        if not self.shortest > 0:
            raise ValueError(f"shortest is {self.shortest}, expected a positive distance")

    def __call__(self, batch: Batch) -> Tensor:
        """Return (B,) True where a geometry passes."""
        return ~any_closer(batch, self.shortest)


@dataclass(frozen=True)
class BondLengths:
    """Guard: every pair of two elements is either bonded or far apart, with no length in between.

    An attack whose target is above the simulation's error mostly deforms molecules, where members
    err together. Limits on forces and on the shortest distance do not see that; this guard does. A
    step that takes an atom from its bond to beyond `apart` passes.

    Attributes:
        between: two atomic numbers.
        shortest, longest: range of bond lengths, angstrom.
        apart: shortest distance of atoms that are not bonded, angstrom; hydrogen bonds of water
            begin at 1.5.

    Raises:
        ValueError: distances that do not ascend.
    """

    between: tuple[int, int] = (1, 8)
    shortest: float = 0.85
    longest: float = 1.15
    apart: float = 1.4

    def __post_init__(self) -> None:
        if not 0 < self.shortest < self.longest <= self.apart:
            raise ValueError(f"{self}: expected 0 < shortest < longest <= apart")

    def __call__(self, batch: Batch) -> Tensor:
        """Return (B,) True where a geometry passes."""
        pairs, r = pairs_within(batch, self.apart, self.between)
        bonded = (self.shortest <= r) & (r <= self.longest)
        return ~pairs.among((r < self.apart) & ~bonded, batch)


@dataclass(frozen=True)
class Ball:
    """Bound: displacements with an l_p norm of at most `radius` (Schwalbe-Koda 2021, Sec. 2).

    Attributes:
        radius: epsilon, angstrom.
        p: 2, the Euclidean norm over all coordinates of a geometry, or infinity, the largest
            coordinate.
        strain: largest Frobenius norm of the strain where cells move; None sets no limit.
    """

    radius: float
    p: float = 2
    strain: float | None = 0.1

    def __post_init__(self) -> None:
        if self.strain is not None and not self.strain > 0:
            raise ValueError(f"Ball(strain={self.strain}): give a positive norm, or None")
        if not self.radius > 0 or self.p not in (2, np.inf):
            given = f"Ball(radius={self.radius}, p={self.p})"
            raise ValueError(f"{given}: the radius is positive, p is 2 or infinity")

    def __call__(self, batch: Batch, delta: Delta) -> Delta:
        """Return the nearest displacement and strain inside the limits for each geometry."""
        strain = delta.strain
        if strain is not None and self.strain is not None:
            length = strain.flatten(1).norm(dim=1).clamp(min=self.strain)
            strain = strain * (self.strain / length)[:, None, None]
        if self.p == np.inf:
            return Delta(delta.shift.clamp(-self.radius, self.radius), strain)
        norm = batch.sum(delta.shift.square().sum(-1)).sqrt()
        scale = (self.radius / norm.clamp(min=self.radius))[batch.owner, None]
        return Delta(delta.shift * scale, strain)
