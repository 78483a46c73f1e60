"""First structures, relaxation, label functions as ASE calculators, and what is no molecule."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import helpers
import numpy as np
import pytest
import torch
from ase import Atoms

from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import CalculatorPotential
from agal_toolkit.references import DoubleWell, LabelCalculator, conformer, optimised
from agal_toolkit.references.molecules import check_molecule

INSTALL = r"pip install 'agal_toolkit\[references\]'"


@dataclass(frozen=True)
class Spring:
    """Two atoms that like to be 1 + charge / 10 angstrom apart."""

    def __call__(self, geometry: Geometry) -> Labels:
        along = geometry.positions[1] - geometry.positions[0]
        length = np.linalg.norm(along)
        pull = (length - 1 - geometry.charge / 10) * 20.0
        force = pull * along / length
        return Labels(energy=pull**2 / 40, forces=np.stack([force, -force]))


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


# -- relaxation


def test_relaxed_in_a_plane():
    start = points([[0.9, 0.4]], by="hand")[0]
    relaxed = optimised(DoubleWell(), start, fmax=1e-6)
    x, y = relaxed.positions[0]
    assert 40 * x**3 - 20 * x + 2 == pytest.approx(0.0, abs=1e-5)
    assert x > 0.5
    assert y == pytest.approx(0.0, abs=1e-6)
    assert dict(relaxed.origin) == {"by": "optimised"}
    assert start.positions[0, 0] == 0.9


def test_fixed_atoms_and_charges_are_honoured():
    start = Geometry(
        positions=[[0.0, 0.0, 0.0], [1.3, 0.2, 0.0]],
        numbers=[1, 1],
        charge=-2,
        movable=[False, True],
    )
    relaxed = optimised(Spring(), start)
    assert not relaxed.positions[0].any()
    assert relaxed.movable.tolist() == [False, True]
    assert relaxed.charge == -2
    assert np.linalg.norm(relaxed.positions[1]) == pytest.approx(0.8, abs=1e-4)


def test_too_few_steps_are_said():
    with pytest.raises(
        RuntimeError,
        match=(
            r"after 1 steps Geometry\(1 x, 2d\) has a force of .* eV/angstrom, expected 1e-06:"
            r" allow more steps"
        ),
    ):
        optimised(DoubleWell(), points([[0.9, 0.4]])[0], fmax=1e-6, steps=1)


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
