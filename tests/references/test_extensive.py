"""A label does not depend on how a crystal is written: E(supercell) = k E(cell)."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from agal_toolkit import CalculatorPotential, Committee, Geometry
from agal_toolkit.references import XTB, CalculatorLabels
from agal_toolkit.references.amoeba import AMOEBA


def water_box() -> Geometry:
    """Ice-like box of four waters."""
    rng = np.random.default_rng(2)
    centres = np.array([[0, 0, 0], [3.1, 3.1, 0], [3.1, 0, 3.1], [0, 3.1, 3.1]])
    water = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    positions = (centres[:, None] + water + rng.normal(0, 0.02, (4, 3, 3))).reshape(-1, 3)
    return Geometry(positions=positions, numbers=[8, 1, 1] * 4, cell=6.2 * np.eye(3), pbc=True)


def rattled_copper() -> Geometry:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    return Geometry.from_ase(atoms)


def of_calculator(calculator):
    """Labels as a committee sees the calculator."""
    committee = Committee([CalculatorPotential(calculator)])

    def label(geometry):
        prediction = committee.predict([geometry])
        return (
            float(prediction.energy),
            prediction.forces[0].numpy(),
            prediction.stress[0, 0].numpy(),
        )

    return label


def of_reference(label):
    def values(geometry):
        labels = label(geometry)
        return labels.energy, labels.forces, labels.stress

    return values


LABELS = {
    "EMT": (of_reference(CalculatorLabels(EMT)), rattled_copper),
    "EMT as a member": (of_calculator(EMT()), rattled_copper),
    "Lennard-Jones as a member": (of_calculator(LennardJones(rc=6.0, sigma=2.3)), rattled_copper),
    "AMOEBA": (of_reference(AMOEBA()), water_box),
}


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("name", LABELS)
def test_a_supercell_has_the_labels_of_its_cell(name, skewed):
    if name == "AMOEBA":
        pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")
    label, make = LABELS[name]
    cell = make()
    matrix = [[1, 0, 0], [1, 1, 0], [0, 0, 2]] if skewed else np.diag([2, 1, 1])
    large = Geometry.from_ase(make_supercell(cell.to_ase(), matrix, wrap=False))
    (energy, forces, stress), (twice, more, same) = label(cell), label(large)
    images = large.positions[:, None] - cell.positions
    fractional = images @ np.linalg.inv(cell.cell)
    off = np.abs(fractional - np.round(fractional)).max(-1)
    np.testing.assert_allclose(twice, 2 * energy, rtol=1e-6)
    np.testing.assert_allclose(more, forces[off.argmin(1)], atol=1e-4)
    np.testing.assert_allclose(same, stress, atol=1e-5)


def test_tight_binding_refuses_cells_on_which_it_depends():
    pytest.importorskip("tblite", reason="tblite is in the extra `references`")
    for cubic in (False, True):
        with pytest.raises(ValueError, match="Gamma point only: label a supercell"):
            XTB()(Geometry.from_ase(bulk("NaCl", "rocksalt", a=5.64, cubic=cubic)))
