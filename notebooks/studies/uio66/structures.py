"""UiO-66 with different numbers of waters, liquid water, and how they are made.

The framework is Zr6O4(OH)4(C8H4O4)6. Its primitive cell has 114 atoms and opposite faces 12.06
angstrom apart. It was built from nine symmetry-distinct sites in F-43m with published
crystallographic values; then positions and cell were relaxed with GFN1-xTB to 0.03 eV/angstrom, so
the coordinates in the file are those of that relaxation and not of an experiment.

The paper's eleven systems are liquid water and ten structures of UiO-66 with different water
content. Its supplement, which prints these contents, is not at hand: ours are evenly spaced from
the dry framework to the 45 % of the paper's benchmark. That can only be meant relative to the mass
of the dry framework: 42 waters in each primitive cell are 45.5 %.

Waters are packed at random, and each structure is relaxed with GFN1-xTB at its fixed cell for a few
steps: enough to take the strain out of random contacts, and far from a minimum.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.calculators.calculator import Calculator
from ase.io import read

from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.references import XTB

from ..jobs import RESULTS, save
from ..water.dynamics import WATER
from .pores import filled

FOLDER = RESULTS / "uio66"
SEED = 66
LOADINGS = (0, 5, 9, 14, 19, 23, 28, 33, 37, 42)  # waters in a primitive cell
DRY, LIQUID = "UiO-66", "liquid water"
LABEL = XTB("GFN1-xTB")
STEPS, FMAX, LARGEST_STEP = 20, 0.1, 0.15  # of a relaxation; eV/angstrom, angstrom


def name(waters: int) -> str:
    """Return the name of the system with so many waters in a primitive cell of the framework."""
    return f"{DRY} + {waters} H2O" if waters else DRY


SYSTEMS = (*(name(waters) for waters in LOADINGS), LIQUID)


def weight_percent(waters: int) -> float:
    """Return the mass of waters in a primitive cell, in per cent of the dry framework's mass."""
    return 100 * waters * water().masses.sum() / primitive().masses.sum()


def water() -> Geometry:
    """Return a molecule of the gas phase."""
    return Geometry(positions=WATER, numbers=[8, 1, 1], origin={"by": "gas phase"})


def primitive() -> Geometry:
    """Return the dry primitive cell; the module's docstring says where it is from."""
    atoms = read(FOLDER / "primitive.extxyz")
    assert isinstance(atoms, Atoms)  # one structure
    atoms.info.clear()
    return Geometry.from_ase(atoms, system=DRY)


def conventional(geometry: Geometry) -> Geometry:
    """Return the cubic cell of 20.88 angstrom: four primitive cells, dry or filled.

    Each copy keeps the order of its atoms, and whole molecules stay whole.
    """
    # rows are the cubic vectors in terms of a/2 (0 1 1), a/2 (1 0 1), a/2 (1 1 0)
    cubic = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
    atoms = make_supercell(geometry.to_ase(), cubic, wrap=False)
    return Geometry.from_ase(atoms, **geometry.origin)


def packed(system: str) -> Geometry:
    """Return a system before it is relaxed.

    Raises:
        ValueError: none of SYSTEMS.
    """
    file_of(system)  # refuses other names
    if system == LIQUID:
        box = Dataset.read(RESULTS / "water" / "box.extxyz.gz")[0]
        return replace(box, origin={"by": "packed and equilibrated with AMOEBA", "system": LIQUID})
    waters = LOADINGS[SYSTEMS.index(system)]
    cell = filled(primitive(), water(), waters, np.random.default_rng([SEED, waters]))
    return replace(cell, origin={**cell.origin, "system": system})


def relaxed(
    geometry: Geometry,
    calculator: Calculator,
    label: Callable[[Geometry], Labels] = LABEL,
    steps: int = STEPS,
) -> Dataset:
    """Return a structure after a few steps of BFGS at its fixed cell, with its labels.

    The relaxation ends where no force exceeds 0.1 eV/angstrom, or after `steps`.
    """
    from ase.optimize import BFGS  # slow to import

    atoms = geometry.to_ase()
    atoms.calc = calculator
    BFGS(atoms, logfile=None, maxstep=LARGEST_STEP).run(fmax=FMAX, steps=steps)
    origin = {"by": "relaxed for a few steps", "system": geometry.origin["system"]}
    # files have eight decimals: the labels are those of the stored positions
    end = replace(geometry, positions=atoms.positions.round(8), origin=origin)
    end = replace(end, cell=end.cell.round(12))
    return Dataset([end], [label(end)])


def file_of(system: str, folder: Path = FOLDER) -> Path:
    """Return the file of a system's start.

    Raises:
        ValueError: none of SYSTEMS.
    """
    if system not in SYSTEMS:
        raise ValueError(f"there is no system {system!r}: choose one of {', '.join(SYSTEMS)}")
    part = "liquid" if system == LIQUID else f"{LOADINGS[SYSTEMS.index(system)]:02}"
    return folder / f"start-{part}.extxyz.gz"


def start(system: str, folder: Path = FOLDER) -> Dataset:
    """Return the relaxed and labelled start of a system, from its file, which is made if missing.

    Steps of a relaxation go on from the density of the step before, and are less accurate than
    labels: half the time of a label each, and forces that differ by 1e-4 eV/angstrom.

    Raises:
        ValueError: none of SYSTEMS.
    """
    file = file_of(system, folder)
    if not file.exists():
        from tblite.ase import TBLite

        calculator = TBLite(method=LABEL.method, accuracy=1.0, verbosity=0)
        save(file, relaxed(packed(system), calculator))
    return Dataset.read(file)


def main(systems: Sequence[str] = SYSTEMS) -> None:
    """Make the missing files of some systems."""
    for system in systems:
        began = time.monotonic()
        (forces,) = start(system).forces
        largest = np.linalg.norm(forces, axis=1).max()
        seconds = time.monotonic() - began
        print(f"{system}: force at most {largest:.2f} eV/A, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or SYSTEMS)
