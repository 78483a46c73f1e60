"""Which simulations of ammonia stay physical: the criteria of Schwalbe-Koda 2021 as stops of a
simulation, and how often none is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ase import units

from agal_toolkit.dynamics import Closer, EnergyBelow, Farther, Frames, Stop

HYDROGENS = (1, 1)


def physical(
    ground: float,
    *,
    shortest: float = 0.80,
    longest: float = 2.55,
    tolerance: float = 0.1 * units.kcal / units.mol,
) -> tuple[Stop, ...]:
    """What a frame of ammonia must not do (Schwalbe-Koda 2021, A.2.2), for
    :class:`~agal_toolkit.dynamics.Watch`.

    Args:
        ground: energy of the ground state in the reference, eV; where predicted energies are
            relative to it, 0.
        shortest: no two hydrogens may be closer, angstrom.
        longest: no two hydrogens may be farther apart, angstrom.
        tolerance: how far below `ground` a predicted energy may lie, eV. The paper has none; ours
            is 0.1 kcal/mol, because the minimum of a healthy committee can lie a few hundredths of
            a kcal/mol too low.
    """
    return Closer(shortest, HYDROGENS), Farther(longest, HYDROGENS), EnergyBelow(ground - tolerance)


@dataclass(frozen=True)
class StableFraction:
    """How many simulations were stable (Schwalbe-Koda 2021, Fig. 3f, inset).

    Attributes:
        stable: number of stable ones.
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
    def of(cls, replicas: Sequence[Frames], confidence: float = 0.95) -> StableFraction:
        """The fraction of replicas that nothing stopped, with a binomial interval of this
        confidence.

        Raises:
            ValueError: no replicas.
        """
        return cls.counted(
            sum(frames.reason is None for frames in replicas), len(replicas), confidence
        )

    @classmethod
    def counted(cls, stable: int, runs: int, confidence: float = 0.95) -> StableFraction:
        """The same from counts.

        Raises:
            ValueError: no runs.
        """
        from scipy.stats import binomtest  # slow to import

        if runs < 1:
            raise ValueError("there is no fraction of no simulations: give at least one")
        found = binomtest(stable, runs).proportion_ci(confidence, method="wilson")
        return cls(stable, runs, (float(found.low), float(found.high)))
