"""Structures for tests: frames of short simulations with the reference, one for each system.

A step with GFN1-xTB takes seconds, so simulations are short: from the structure that the system
starts from, with velocities of 600 K, which become 300 K as half of their energy goes into bonds.
Vibrations are those of 300 K then; waters have hardly left their places. No member decides which
structures are tested. Forces of the steps are less accurate than labels (1e-4 eV/angstrom), the
frames' labels are the reference's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import units
from ase.calculators.calculator import BaseCalculator
from ase.md.langevin import Langevin

from agal_toolkit.dataset import Dataset
from agal_toolkit.files import atomic_write
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import XTB, CalculatorLabels
from agal_toolkit.references.outcomes import Label

from ..jobs import OutOfTime, Record, Runner, save
from .recipes import PRESETS, HeldOut, first
from .structures import SEED

TEMPERATURE = 300.0  # K
HEAVY = 4.0  # mass of hydrogen


def calculator_of(label: Label) -> Callable[[], BaseCalculator]:
    """Return what makes an ASE calculator of a reference, for dynamics.

    Raises:
        TypeError: a label of another kind.
    """
    if isinstance(label, XTB):
        from tblite.ase import TBLite

        return lambda: TBLite(method=label.method, accuracy=1.0, verbosity=0)
    if isinstance(label, CalculatorLabels):
        return lambda: label.make(**label.settings)
    raise TypeError(f"label is a {type(label).__name__}: expected XTB or CalculatorLabels")


def file_of(run: Runner, system: str) -> Path:
    """Return the file of a system's tested structures."""
    name = re.sub(r"\W+", "-", system)
    return run.results / "uio66" / f"held-out-{run.preset}" / f"{name}.extxyz.gz"


def tests_of(run: Runner, system: str) -> Dataset:
    """Return a system's tested structures; there must be a file of them."""
    return Dataset.read(file_of(run, system))


def in_time(run: Runner) -> None:
    """Raise OutOfTime if nothing new may begin."""
    if not run.has_time():
        raise OutOfTime


def run_system(system: str, run: Runner) -> Record:
    """Simulate a system, and label its frames; return the temperatures of the frames used, K."""
    preset, file = PRESETS[run.preset], file_of(run, system)
    sizes, geometry = preset.held_out, first(system)[0]
    folder = run.out / "held-out" / file.name.removesuffix(".extxyz.gz")
    make, used, temperatures = calculator_of(preset.label), [], []
    seeds = [SEED, 1000, preset.systems.index(system)]
    state = beginning(geometry, np.random.default_rng(seeds))
    for frame in range(sizes.skipped + sizes.frames):
        piece = folder / f"{frame}.npz"
        if not piece.exists():
            in_time(run)
            state = stepped(geometry, state, sizes, make(), [*seeds, frame + 1])
            with atomic_write(piece) as part, part.open("wb") as stream:
                np.savez(stream, positions=state[0], momenta=state[1])
        with np.load(piece) as stored:
            state = stored["positions"], stored["momenta"]
        if frame >= sizes.skipped:
            origin = {"by": "dynamics", "frame": frame}
            used.append(geometry.moved(state[0].round(8), **origin))
            kinetic = np.sum(state[1] ** 2 / _masses(geometry)[:, None]) / 2
            temperatures.append(float(2 * kinetic / (3 * len(geometry) * units.kB)))
    labels = []
    for structure in used:
        in_time(run)
        labels.append(preset.label(structure))
    save(file, Dataset(used, labels))
    return {"temperatures": temperatures, "frames": len(used)}


State = tuple[np.ndarray, np.ndarray]  # positions and momenta, (n, 3)


def _masses(geometry: Geometry) -> np.ndarray:
    return np.where(geometry.numbers == 1, HEAVY, geometry.masses)


def beginning(geometry: Geometry, rng: np.random.Generator) -> State:
    """Return a structure's positions, and momenta of twice the temperature."""
    scale = np.sqrt(_masses(geometry)[:, None] * 2 * units.kB * TEMPERATURE)
    return geometry.positions, rng.standard_normal((len(geometry), 3)) * scale


def stepped(
    geometry: Geometry, state: State, sizes: HeldOut, calculator: BaseCalculator, seeds: list[int]
) -> State:
    """Return the state of one frame later."""
    atoms = geometry.to_ase()
    atoms.arrays["masses"] = _masses(geometry)
    atoms.positions, atoms.calc = state[0], calculator
    atoms.set_momenta(state[1])
    dynamics = Langevin(
        atoms,
        sizes.timestep * units.fs,
        temperature_K=TEMPERATURE,
        friction=sizes.friction / units.fs,
        fixcm=False,
        rng=np.random.default_rng(seeds),
    )
    dynamics.run(sizes.steps)
    return atoms.positions, atoms.get_momenta()
