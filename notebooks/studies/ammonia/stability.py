"""Which simulations of ammonia stay physical: the criteria of Schwalbe-Koda 2021 as stops."""

from __future__ import annotations

from ase import units

from agal_toolkit.dynamics import Closer, EnergyBelow, Farther, Stop

HYDROGENS = (1, 1)


def physical(
    ground: float,
    *,
    shortest: float = 0.80,
    longest: float = 2.55,
    tolerance: float = 0.1 * units.kcal / units.mol,
) -> tuple[Stop, ...]:
    """Return the criteria that end a simulation of ammonia (Schwalbe-Koda 2021, A.2.2).

    They are stops for :class:`~agal_toolkit.dynamics.Watch`.

    Args:
        ground: energy of the ground state in the reference, eV; 0 if predictions are relative to
            it.
        shortest: smallest distance of two hydrogens, angstrom.
        longest: largest distance of two hydrogens, angstrom.
        tolerance: how far below `ground` a predicted energy may lie, eV. The paper has none; ours
            is 0.1 kcal/mol, because the minimum of a good committee can lie a few hundredths of a
            kcal/mol too low.
    """
    return Closer(shortest, HYDROGENS), Farther(longest, HYDROGENS), EnergyBelow(ground - tolerance)


def stable_interval(stable: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval of the probability that a simulation is stable.

    Raises:
        ValueError: no runs.
    """
    from scipy.stats import binomtest  # slow to import

    if runs < 1:
        raise ValueError(f"{runs} simulations have no stable fraction: give at least one")
    bounds = binomtest(stable, runs).proportion_ci(confidence, method="wilson")
    return float(bounds.low), float(bounds.high)
