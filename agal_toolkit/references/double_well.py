"""A double well in the plane: the smallest system on which every stage of a loop can be seen.

Its two minima differ in depth, so a committee trained on points of the deeper basin has the barrier
and the shallower basin still to find. Energies and lengths have units of their own.
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
    """E(x, y) = 10 x^4 - 10 x^2 + 2 x + 4 y^p with p = `y_power` (Schwalbe-Koda 2021, Eq. 11,
    prints p = 2).

    The authors' public code ran p = 4, which is ``DoubleWell(y_power=4)``. The two are different
    surfaces: a number found on one is never compared with a number found on the other.

    Attributes:
        y_power: p, even and at least 2.

    Raises:
        ValueError: `y_power` is odd, below 2 or not an integer.
    """

    y_power: int = 2

    def __post_init__(self) -> None:
        if (
            isinstance(self.y_power, bool)
            or not isinstance(self.y_power, int)
            or self.y_power < 2
            or self.y_power % 2
        ):
            raise ValueError(
                f"y_power is {self.y_power!r}, expected an even integer of at least 2: else E has"
                " no lowest point along y"
            )

    def energy(self, positions: Array) -> Array:
        """Energies (...) at `positions` (..., 2), numpy or torch; plain arithmetic, so torch
        differentiates it.
        """
        x, y = positions[..., 0], positions[..., 1]
        return 10 * x**4 - 10 * x**2 + 2 * x + 4 * y**self.y_power

    def forces(self, positions: NDArray) -> NDArray:
        """Forces -dE/d(x, y), (..., 2), at `positions` (..., 2)."""
        x, y = positions[..., 0], positions[..., 1]
        return np.stack(
            [-(40 * x**3 - 20 * x + 2), -4 * self.y_power * y ** (self.y_power - 1)], axis=-1
        )

    def __call__(self, geometry: Geometry) -> Labels:
        """Energy and forces of one particle in two dimensions.

        Raises:
            ValueError: another number of particles or dimensions.
        """
        if geometry.positions.shape != (1, 2):
            raise ValueError(
                f"positions have shape {geometry.positions.shape}, expected (1, 2): the double well"
                " labels one particle in two dimensions, as geometry.points makes them"
            )
        return Labels(
            energy=self.energy(geometry.positions)[0], forces=self.forces(geometry.positions)
        )


def basin(
    well: DoubleWell,
    count: int = 800,
    limit: float = 1.5,
    threshold: float = -2.0,
    *,
    rng: np.random.Generator,
) -> list[Geometry]:
    """Points of the deeper basin: `count` uniform draws in [-limit, limit]^2, of which those with E
    < `threshold` are kept.

    The initial data of Schwalbe-Koda 2021 (A.2.1); with the printed numbers about one draw in ten
    is kept.

    Raises:
        ValueError: no draw lies below `threshold`.
    """
    drawn = rng.uniform(-limit, limit, size=(count, 2))
    kept = drawn[well.energy(drawn) < threshold]
    if not len(kept):
        raise ValueError(
            f"none of {count} draws in [-{limit}, {limit}]^2 lies below {threshold}: draw more, or"
            " raise the threshold"
        )
    return points(kept, by="uniform draw")
