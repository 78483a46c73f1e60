"""What an iterate of an attack must not break: guards, called with the moved batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..batch import Batch, Delta
from ..potentials.neighbours import neighbours


@dataclass(frozen=True)
class Apart:
    """No two particles of a geometry, images counted, nearer than `shortest`.

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
        """(B,) whether each geometry keeps it."""
        pairs = neighbours(batch, self.shortest)
        near = pairs.vectors(batch).norm(dim=-1) < self.shortest
        broken = torch.zeros(len(batch), dtype=torch.bool, device=batch.positions.device)
        broken[batch.owner[pairs.first[near]]] = True
        return ~broken


@dataclass(frozen=True)
class BondLengths:
    """No pair of these elements at a distance that is neither that of a bond nor of atoms that are
    not bonded.

    An attack above the error of a simulation moves atoms mostly inside molecules, where members err
    together; limits on forces and on the shortest distance do not see that, this does. A step that
    takes an atom from its bond to beyond `apart` passes.

    Attributes:
        between: two atomic numbers.
        shortest, longest: of a bond, angstrom.
        apart: from here on atoms are not bonded, angstrom; the hydrogen bonds of water begin at
            1.5.

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
        """(B,) whether each geometry keeps it."""
        pairs = neighbours(batch, self.apart)
        lengths = pairs.vectors(batch).norm(dim=-1)
        one, other = batch.numbers[pairs.first], batch.numbers[pairs.second]
        low, high = self.between
        meant = ((one == low) & (other == high)) | ((one == high) & (other == low))
        wrong = (
            meant & (lengths < self.apart) & ((lengths < self.shortest) | (lengths > self.longest))
        )
        broken = torch.zeros(len(batch), dtype=torch.bool, device=batch.positions.device)
        broken[batch.owner[pairs.first[wrong]]] = True
        return ~broken


@dataclass(frozen=True)
class Ball:
    """The displacements with an l_p norm of at most `radius` (Schwalbe-Koda 2021, Sec. 2); an
    attack is projected onto it.

    Attributes:
        radius: epsilon, angstrom.
        p: 2, the Euclidean norm over all coordinates of a geometry, or infinity, the largest
            coordinate.
    """

    radius: float
    p: float = 2

    def __post_init__(self) -> None:
        if not self.radius > 0 or self.p not in (2, np.inf):
            raise ValueError(
                f"Ball(radius={self.radius}, p={self.p}): the radius is positive, p is 2 or"
                " infinity"
            )

    def __call__(self, batch: Batch, delta: Delta) -> Delta:
        """The nearest displacement inside the ball, for each geometry; a strain is left as it is."""
        if self.p == np.inf:
            return Delta(delta.shift.clamp(-self.radius, self.radius), delta.strain)
        norm = batch.sum(delta.shift.square().sum(-1)).sqrt()
        scale = (self.radius / norm.clamp(min=self.radius))[batch.owner, None]
        return Delta(delta.shift * scale, delta.strain)
