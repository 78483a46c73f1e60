"""Which trajectories of a potential are still molecules, and what broke in the others.

Criteria judge frames; a trajectory is stable if none of its frames breaks one (Schwalbe-Koda 2021, A.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from ..dynamics import Trajectory

NOT_FINITE, TOO_CLOSE, TOO_FAR, TOO_LOW = "not finite", "hydrogens too close", "hydrogens too far apart", "energy below the ground state"


@dataclass(frozen=True)
class Break:
    """The first unphysical frame of a trajectory.

    Attributes:
        frame: its index.
        reason: NOT_FINITE, TOO_CLOSE, TOO_FAR or TOO_LOW; the first of them that holds.
        value: the distance in angstrom, or the energy in eV above the ground state, that broke the criterion; None where
            it is no finite number.
    """

    frame: int
    reason: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What a frame of ammonia must satisfy (Schwalbe-Koda 2021, A.2.2).

    Attributes:
        ground: energy of the ground state in the reference, eV; where predicted energies are relative to it, 0.
        shortest: no two hydrogens may be closer, angstrom.
        longest: no two hydrogens may be farther apart, angstrom.
        tolerance: how far below `ground` a predicted energy may lie, eV. The paper has none; ours is 0.1 kcal/mol, because
            the minimum of a healthy committee can lie a few hundredths of a kcal/mol too low.
        element: atomic number of the atoms whose distances count.
    """

    ground: float
    shortest: float = 0.80
    longest: float = 2.55
    tolerance: float = 0.1 * units.kcal / units.mol
    element: int = 1

    def first_break(self, positions: ArrayLike, energies: ArrayLike, numbers: ArrayLike) -> Break | None:
        """The first unphysical frame, None for a stable trajectory.

        Args:
            positions: (T, n, 3) of an open molecule, angstrom.
            energies: (T,) predicted potential energies, eV.
            numbers: (n,) atomic numbers.

        Raises:
            ValueError: shapes that do not belong together, or fewer than two atoms of the element.
        """
        positions, energies, numbers = np.asarray(positions, dtype=float), np.asarray(energies, dtype=float), np.asarray(numbers)
        if positions.ndim != 3 or energies.shape != positions.shape[:1] or numbers.shape != positions.shape[1:2]:
            shapes = f"positions {positions.shape}, energies {energies.shape} and numbers {numbers.shape}"
            raise ValueError(f"{shapes} do not belong together: expected (T, n, 3), (T,) and (n,)")
        chosen = positions[:, numbers == self.element]
        first, second = np.triu_indices(chosen.shape[1], 1)
        if not len(first):
            raise ValueError(f"{chosen.shape[1]} atoms have the number {self.element}: distances need two")
        with np.errstate(invalid="ignore", over="ignore"):
            distances = np.linalg.norm(chosen[:, first] - chosen[:, second], axis=-1)
            closest, farthest, above = distances.min(1), distances.max(1), energies - self.ground
        # NaN breaks none of the comparisons below, so it is asked for first.
        broken = {
            NOT_FINITE: (~np.isfinite(positions).all((1, 2)) | ~np.isfinite(energies), energies),
            TOO_CLOSE: (closest < self.shortest, closest),
            TOO_FAR: (farthest > self.longest, farthest),
            TOO_LOW: (above < -self.tolerance, above),
        }
        bad = np.any([mask for mask, _ in broken.values()], axis=0)
        if not bad.any():
            return None
        frame = int(np.argmax(bad))
        reason, (_, values) = next((reason, found) for reason, found in broken.items() if found[0][frame])
        return Break(frame, reason, None if reason == NOT_FINITE else float(values[frame]))

    def breaks(self, trajectory: Trajectory, numbers: ArrayLike) -> list[Break | None]:
        """The first break of each of the R replicas; `numbers` (n,) are those of one."""
        replicas = zip(np.moveaxis(trajectory.positions, 1, 0), trajectory.energies.T, strict=True)
        return [self.first_break(positions, energies, numbers) for positions, energies in replicas]


@dataclass(frozen=True)
class StableFraction:
    """How many trajectories were stable (Schwalbe-Koda 2021, Fig. 3f, inset).

    Attributes:
        stable: number of stable trajectories.
        runs: number of all.
        interval: of the probability to be stable, after Wilson.
    """

    stable: int
    runs: int
    interval: tuple[float, float]

    @property
    def fraction(self) -> float:
        """Stable ones among all."""
        return self.stable / self.runs

    @classmethod
    def of(cls, breaks: Sequence[Break | None], confidence: float = 0.95) -> StableFraction:
        """The fraction of trajectories without a break, with a binomial interval of this confidence.

        Raises:
            ValueError: no trajectories.
        """
        from scipy.stats import binomtest  # slow to import

        if not len(breaks):
            raise ValueError("there is no fraction of no trajectories: give at least one")
        stable = sum(found is None for found in breaks)
        interval = binomtest(stable, len(breaks)).proportion_ci(confidence, method="wilson")
        return cls(stable, len(breaks), (float(interval.low), float(interval.high)))


def intact(positions: NDArray, found: Break | None) -> NDArray:
    """The frames (T, ...) before the first break: all of a stable trajectory."""
    return positions if found is None else positions[: found.frame]
