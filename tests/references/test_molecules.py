"""First structures, label functions as ASE calculators, and what is no molecule."""

from __future__ import annotations

import sys

import helpers
import numpy as np
import pytest
import torch
from ase import Atoms
from label_functions import Spring
from scipy.spatial.distance import cdist

from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import CalculatorPotential
from agal_toolkit.references import DoubleWell, LabelCalculator, conformer
from agal_toolkit.references.calculators import check_molecule

INSTALL = r"pip install 'agal_toolkit\[references\]'"


# -- conformers


def test_ammonia_from_its_smiles():
    pytest.importorskip(
        "rdkit", reason="RDKit is not installed: pip install agal_toolkit[references]"
    )
    ammonia = conformer("N")
    assert ammonia.numbers.tolist() == [7, 1, 1, 1]
    assert (ammonia.charge, ammonia.multiplicity) == (
        0,
        1,
    )
    atoms = ammonia.to_ase()
    np.testing.assert_allclose(atoms.get_distances(0, [1, 2, 3]), 1.02, atol=0.02)
    assert 100 < atoms.get_angle(1, 0, 2) < 115
    assert dict(ammonia.origin) == {"by": "conformer", "smiles": "N", "seed": 0}
    ethanol = conformer("CCO")
    assert conformer("CCO").digest() == ethanol.digest() != conformer("CCO", seed=1).digest()


def test_the_lowest_conformer_has_a_hydrogen_bond():
    pytest.importorskip(
        "rdkit", reason="RDKit is not installed: pip install agal_toolkit[references]"
    )
    for seed in range(3):  # an open form is 5 kcal/mol higher
        malonaldehyde = conformer("O=C/C=C\\O", seed)
        assert malonaldehyde.to_ase().get_distance(0, 8) < 2.0


@pytest.mark.parametrize(
    ("smiles", "charge", "multiplicity"), [("[OH]", 0, 2), ("[NH4+]", 1, 1), ("CC(=O)[O-]", -1, 1)]
)
def test_charge_and_multiplicity_are_read_from_the_smiles(smiles, charge, multiplicity):
    pytest.importorskip(
        "rdkit", reason="RDKit is not installed: pip install agal_toolkit[references]"
    )
    geometry = conformer(smiles)
    assert (geometry.charge, geometry.multiplicity) == (charge, multiplicity)
    check_molecule(geometry, "a reference")


@pytest.mark.parametrize(
    ("smiles", "sizes"),
    [("O=CO.O=CO", (5, 5)), ("O.O.O", (3, 3, 3)), ("CCO.O", (9, 3))],
)
def test_several_molecules_are_kept_apart(smiles, sizes):
    pytest.importorskip(
        "rdkit", reason="RDKit is not installed: pip install agal_toolkit[references]"
    )
    from ase.neighborlist import natural_cutoffs, neighbor_list
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    for seed in range(4):
        geometry = conformer(smiles, seed)
        atoms, n = geometry.to_ase(), len(geometry)
        i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, 1.15))
        bonds = coo_array((np.ones(len(i)), (i, j)), shape=(n, n))
        count, molecule = connected_components(bonds)
        assert sorted(np.bincount(molecule)) == sorted(sizes)
        parts = [geometry.positions[molecule == k] for k in range(count)]
        closest = [cdist(a, b).min() for k, a in enumerate(parts) for b in parts[:k]]
        assert 1.5 < min(closest) < 3.5  # hydrogen bonds and ion pairs, not on top of each other
    assert geometry.digest() == conformer(smiles, seed).digest()
    assert np.linalg.norm(np.diff(conformer("[Na+].[Cl-]").positions, axis=0)) > 2.0


def test_what_a_conformer_refuses(monkeypatch, capfd):
    pytest.importorskip(
        "rdkit", reason="RDKit is not installed: pip install agal_toolkit[references]"
    )
    for smiles, message in {
        "ammonia": "cannot read the SMILES 'ammonia'",
        "": "cannot read the SMILES ''",
        "[Fe]": r"MMFF94 does not know all atoms of '\[Fe\]'",
    }.items():
        with pytest.raises(ValueError, match=f"{message}.* hand in a geometry of your own"):
            conformer(smiles)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=f"RDKit, which is missing: {INSTALL}"):
        conformer("N")


# -- label functions as calculators


def test_a_label_function_as_a_potential(rng):
    """Through ASE and back, for a model surface and for ions at one place."""
    some = points(rng.uniform(-1, 1, (5, 2)))
    prediction, right = (
        CalculatorPotential(LabelCalculator(DoubleWell()))(Batch.of(some)),
        helpers.well_potential()(Batch.of(some)),
    )
    torch.testing.assert_close(prediction.energy, right.energy)
    torch.testing.assert_close(prediction.forces, right.forces)
    pair = {"positions": [[0.0, 0.0, 0.0], [1.3, 0.0, 0.0]], "numbers": [1, 1]}
    ions = [Geometry(**pair, charge=charge) for charge in (0, 1, 0)]
    prediction = CalculatorPotential(LabelCalculator(Spring()))(Batch.of(ions))
    np.testing.assert_allclose(prediction.energy.numpy(), [Spring()(ion).energy for ion in ions])


def test_a_charge_changed_in_info_is_noticed():
    atoms = Atoms("H2", positions=[[0, 0, 0], [1.3, 0, 0]], calculator=LabelCalculator(Spring()))
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert atoms.get_potential_energy() < neutral


def test_a_stress_is_handed_on():
    crystal = Atoms("Ar", cell=[3, 3, 3], pbc=True)
    stress = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]])
    crystal.calc = LabelCalculator(
        lambda geometry: Labels(energy=0.0, forces=np.zeros((1, 3)), stress=stress)
    )
    np.testing.assert_array_equal(crystal.get_stress(voigt=False), stress)


# -- what is no molecule

OH = {"positions": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.97]], "numbers": [8, 1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cell": np.eye(3), "pbc": True},
            (
                r"Ours labels isolated molecules, not periodic Geometry\(HO, 3d, periodic\): use"
                r" .*, or pbc=False"
            ),
        ),
        (
            {"positions": [[0.0, 0.0], [0.0, 1.0]]},
            r"^Ours labels atoms in three dimensions.*: give atomic numbers and \(n, 3\) positions",
        ),
        ({"numbers": [8, 0]}, r"Ours labels atoms in three dimensions, .*: give atomic numbers"),
        ({"charge": 9}, r"Geometry\(HO, 3d\) with charge 9 has no electrons left"),
        (
            {"multiplicity": 1},
            (
                r"9 electrons cannot have multiplicity 1, but 2, 4, \.\.\.: give Geometry\(HO, 3d\)"
                r" another multiplicity or charge"
            ),
        ),
        (
            {"charge": 1, "multiplicity": 2},
            r"8 electrons cannot have multiplicity 2, but 1, 3, \.\.\.",
        ),
        ({"charge": 8, "multiplicity": 4}, r"1 electrons cannot have multiplicity 4, but 2"),
        (
            {"positions": [[0.0, 0.0, 0.0], [0.0, 0.0, 0.1]]},
            (
                r"atoms 0 and 1 of Geometry\(HO, 3d\) are 0\.1 angstrom apart, on top of each"
                r" other: drop"
            ),
        ),
    ],
)
def test_what_is_no_molecule(changes, message):
    check_molecule(Geometry(**{**OH, "multiplicity": 2}), "Ours")
    with pytest.raises(ValueError, match=message):
        check_molecule(Geometry(**{**OH, "multiplicity": 2, **changes}), "Ours")
