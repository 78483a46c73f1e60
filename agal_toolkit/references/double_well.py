"""A double well in the plane: the smallest system that shows every stage of a loop.

Its two minima differ in depth, so a committee trained on points of the deeper basin does not know
the barrier and the shallower basin. Energies and lengths have units of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Geometry, Labels, points

Array = TypeVar("Array", NDArray, Tensor)


@dataclass(frozen=True)
class DoubleWell:
    """E(x, y) = 10 x^4 - 10 x^2 + 2 x + 4 y^p (Schwalbe-Koda 2021, Eq. 11, prints p = 2).

    The authors' public code has p = 4, ``DoubleWell(y_power=4)``: a different surface, whose
    numbers do not compare with those for p = 2.

    Attributes:
        y_power: p, even and at least 2.
    """

    y_power: int = 2

    def __post_init__(self) -> None:
        p = self.y_power
        if isinstance(p, bool) or not isinstance(p, int) or p < 2 or p % 2:
            expected = "expected an even integer of at least 2, so that E has a minimum along y"
            raise ValueError(f"y_power is {p!r}, {expected}")

    def energy(self, positions: Array) -> Array:
        """Return energies (...) at `positions` (..., 2), numpy or torch (differentiable)."""
        x, y = positions[..., 0], positions[..., 1]
        return 10 * x**4 - 10 * x**2 + 2 * x + 4 * y**self.y_power

    def forces(self, positions: NDArray) -> NDArray:
        """Return forces -dE/d(x, y), (..., 2), at `positions` (..., 2)."""
        x, y, p = positions[..., 0], positions[..., 1], self.y_power
        return np.stack([-(40 * x**3 - 20 * x + 2), -4 * p * y ** (p - 1)], axis=-1)

    def __call__(self, geometry: Geometry) -> Labels:
        """Return energy and forces of one particle in two dimensions."""
        x = geometry.positions
        if x.shape != (1, 2):
            remedy = "make particles in two dimensions with geometry.points"
            raise ValueError(f"positions have shape {x.shape}, expected (1, 2): {remedy}")
        return Labels(energy=self.energy(x)[0], forces=self.forces(x))


def basin(
    well: DoubleWell,
    count: int = 800,
    limit: float = 1.5,
    threshold: float = -2.0,
    *,
    rng: np.random.Generator,
) -> list[Geometry]:
    """Return those of `count` uniform draws in [-limit, limit]^2 with E < `threshold`.

    The initial data of Schwalbe-Koda 2021 (A.2.1); with these numbers about one draw in ten.

    Raises:
        ValueError: no draw lies below `threshold`.
    """
    drawn = rng.uniform(-limit, limit, size=(count, 2))
    kept = drawn[well.energy(drawn) < threshold]
    if not len(kept):
        wrong = f"none of {count} draws in [-{limit}, {limit}]^2 lies below {threshold}"
        raise ValueError(f"{wrong}: draw more, or raise the threshold")
    return points(kept, by="uniform draw")
