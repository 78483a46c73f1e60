"""What a person does with a kept potential: a relaxation, vibrations and a simulation with ASE."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from numpy.typing import NDArray

import agal_toolkit as agal
from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.geometry import Geometry

from ..jobs import Record
from .transfer import Coordinate, reference

STEP = 0.5  # fs
HOT = 600.0  # K; half of it remains once a molecule at its minimum has begun to vibrate


def used(file: str | Path, start: Geometry, picoseconds: float, seed: int) -> Record:
    """Return how a stored potential behaves beside GFN2; it knows nothing but the file.

    Args:
        file: that :meth:`Committee.save` wrote.
        start: a structure that is no minimum of either.
        picoseconds: of a simulation at constant energy.
        seed: of its velocities.
    """
    committee, truth = agal.Committee.load(file), reference()
    atoms, true = start.to_ase(), start.to_ase()
    atoms.calc, true.calc = committee.calculator(), truth.label.calculator
    for each in (atoms, true):
        if not BFGS(each, logfile=None).run(fmax=1e-3, steps=500):
            raise RuntimeError(f"{file}: no minimum near {start!r}")
    ends = [Geometry.from_ase(each) for each in (atoms, true)]
    waves, true_waves = frequencies(atoms), frequencies(true)
    record: Record = {
        "minimum": round(AlignedRmsd(permutations=False, reflections=True)(*ends), 4),
        "vibrations": waves.round(1).tolist(),
        "true_vibrations": true_waves.round(1).tolist(),
    }
    frames, total, temperatures, uncertainties = simulated(atoms, picoseconds, seed)
    quarter = max(1, len(total) // 4)
    coordinate = Coordinate.of(ends[1])
    path = np.array([coordinate(frame) for frame in frames])
    some = truth.labelled(frames[:: max(1, len(frames) // 100)])
    found, promised, force = committee.force_errors(some)
    drift = (total[-quarter:].mean() - total[:quarter].mean()) / len(atoms)
    return record | {
        "picoseconds": picoseconds,
        "temperature": round(float(np.mean(temperatures)), 1),
        "drift": round(1000 * float(drift), 4),  # meV per atom
        "largest_uncertainty": round(float(max(uncertainties)), 3),
        "transfers": transfers(path),
        "frames": len(some),
        "forces": round(1000 * found, 1),
        "promised": round(1000 * promised, 1),
        "true_forces": round(1000 * force, 1),
    }


def frequencies(atoms: Atoms) -> NDArray:
    """Return the wavenumbers of all vibrations of a molecule at its minimum, cm-1."""
    with TemporaryDirectory() as folder:
        vibrations = Vibrations(atoms, name=str(Path(folder) / "vibrations"))
        vibrations.run()
        waves = np.asarray(vibrations.get_frequencies(), dtype=complex)
    return np.sort(np.where(np.imag(waves) > 0, -np.imag(waves), np.real(waves)))[6:]


def simulated(
    atoms: Atoms, picoseconds: float, seed: int
) -> tuple[list[Geometry], NDArray, NDArray, list[float]]:
    """Simulate at constant energy from a minimum; a frame every 20 fs.

    Returns:
        Frames, their total energies (eV), temperatures (K), and each one's largest uncertainty.
    """
    calculator, rng = atoms.calc, np.random.default_rng(seed)
    assert isinstance(calculator, Calculator)
    thermalize_momenta(atoms, HOT, rng=rng)
    Stationary(atoms)
    ZeroRotation(atoms)
    frames, rows = [], []

    def keep() -> None:
        frames.append(Geometry.from_ase(atoms))
        uncertainty = calculator.results["uncertainty"].max()
        rows.append([atoms.get_total_energy(), atoms.get_temperature(), float(uncertainty)])

    dynamics = VelocityVerlet(atoms, STEP * units.fs)
    dynamics.attach(keep, interval=round(20 / STEP))
    dynamics.run(round(1000 * picoseconds / STEP))
    energies, temperatures, uncertainties = np.transpose(rows)
    return frames, energies, temperatures, uncertainties.tolist()


def transfers(path: NDArray) -> int:
    """Return how often a coordinate (T,) goes from one side to the other, past 0.3 angstrom."""
    sides = np.sign(path[np.abs(path) > 0.3])
    return int((np.diff(sides) != 0).sum())
