"""Two small crystals that stand for the framework where only the code is run."""

from __future__ import annotations

from ase.build import bulk
from ase.calculators.emt import EMT

from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import CalculatorLabels

CRYSTALS = {"copper": 0, "copper with gold": 1}  # numbers of gold atoms
EFFECTIVE_MEDIUM = CalculatorLabels(EMT)


def crystal(name: str) -> Dataset:
    """Return eight labelled atoms of copper, some of them replaced by gold."""
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.numbers[: CRYSTALS[name]] = 79
    geometry = Geometry.from_ase(atoms, by="built", system=name)
    return Dataset([geometry], [EFFECTIVE_MEDIUM(geometry)])
