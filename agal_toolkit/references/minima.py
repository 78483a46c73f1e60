"""Minima of the energy of any reference, and the curvature there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from ..ase_labels import Structures, structure_of
from ..events import Report, ignore
from ..geometry import Geometry, Labels
from .cache import Cache
from .molecules import LabelCalculator
from .outcomes import Label, successful
from .reference import Reference

if TYPE_CHECKING:
    from ase.optimize.optimize import Optimizer


class NoMinimum(RuntimeError):
    """The relaxation of a structure did not converge; `geometry` is the last step of it."""

    def __init__(self, message: str, geometry: Geometry | None = None) -> None:
        super().__init__(message)
        self.geometry = geometry


def relax(
    calculator: Calculator, start: Geometry, optimiser: type[Optimizer], fmax: float, steps: int
) -> Geometry:
    """Return `start` relaxed at a fixed cell to forces of at most `fmax`.

    Raises:
        NoMinimum: larger forces are left after `steps`.
    """
    atoms = start.to_ase()
    atoms.calc = calculator
    converged = optimiser(atoms, logfile=None).run(fmax=fmax, steps=steps)
    end = start.moved(atoms.positions[:, : start.dimension])
    if not converged:
        left = np.linalg.norm(atoms.get_forces(), axis=1).max()
        wrong = f"after {steps} steps {start!r} has a force of {left:.3g} eV/angstrom"
        remedy = (
            "go on from the error's .geometry, allow more steps, or check whether the structure"
        )
        raise NoMinimum(f"{wrong}, expected {fmax}: {remedy} falls apart", end)
    return end


def optimised(
    label: Label | Reference, structure: Structures, fmax: float = 1e-3, steps: int = 500
) -> Geometry:
    """Return a structure (Geometry, ase.Atoms or a file) relaxed by ASE's BFGS at a fixed cell.

    No force on a movable atom exceeds `fmax`, eV/angstrom; its default is tight enough for a
    Hessian.

    Raises:
        NoMinimum: larger forces are left after `steps`; another call goes on from its `geometry`.
        LabelFailed, Refused: the reference has no labels for a step.
    """
    from ase.optimize import BFGS

    def by_reference(geometry: Geometry) -> Labels:
        assert isinstance(label, Reference)
        ((_, outcome),) = label(geometry)
        return successful(outcome)

    function = by_reference if isinstance(label, Reference) else label
    start = structure_of(structure)
    end = relax(LabelCalculator(function), start, BFGS, fmax, steps)
    return end.moved(end.positions, by="optimised")


def hessian(
    reference: Reference,
    structure: Structures,
    step: float = 0.01,
    cache: Cache | str | Path | None = None,
    report: Report = ignore,
) -> NDArray:
    """Return (n d, n d) second derivatives of the energy, eV/angstrom^2, zero for fixed particles.

    They are central differences of forces over `step`, angstrom: two labels for each coordinate of
    a movable particle, which the reference's executor computes.

    Raises:
        LabelFailed, Refused: a displaced structure has no labels.
        ValueError: labels without forces, or noise: differences that are far from symmetric.
    """
    geometry = structure_of(structure)
    moving = np.flatnonzero(geometry.movable.repeat(geometry.dimension))
    shifts = step * np.eye(geometry.positions.size)[moving].reshape(-1, *geometry.positions.shape)
    ends = [geometry.moved(geometry.positions + x) for shift in shifts for x in (shift, -shift)]
    labels = [successful(outcome) for _, outcome in sorted(reference(ends, cache, report))]
    if any(label.forces is None for label in labels):
        raise ValueError("the reference gives energies only: a Hessian needs forces")
    forces = np.array([label.forces for label in labels]).reshape(len(ends), -1)[:, moving]
    block = (forces[1::2] - forces[::2]) / (2 * step)
    if (asymmetry := np.abs(block - block.T).max()) > 0.05 * np.abs(block).max():
        wrong = f"second derivatives differ by {asymmetry:.3g} eV/angstrom^2 from their transposes"
        raise ValueError(f"{wrong}: converge the forces tighter, or take a larger step")
    full = np.zeros((geometry.positions.size,) * 2)
    full[np.ix_(moving, moving)] = (block + block.T) / 2
    return full
