"""Tight binding by tblite: slopes, stress, and clear refusals."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule

pytest.importorskip("tblite", reason="tblite is in the extra `references`")

from agal_toolkit.attack import LBFGS, Apart, Attack, HessianVector, TargetError
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import DFT, XTB, LabelCalculator, NotConverged, calculators
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.variance import force_variance


def water(rng) -> Geometry:
    atoms = molecule("H2O")
    atoms.rattle(0.05, rng=rng)
    return Geometry.from_ase(atoms)


def silicon(rng) -> Geometry:
    atoms = bulk("Si", a=5.43)
    atoms.rattle(0.05, rng=rng)
    return Geometry.from_ase(atoms)


@pytest.fixture
def any_cell(monkeypatch):
    """Slopes and stresses are those of the Gamma point, whatever the size of the cell."""
    monkeypatch.setattr(calculators, "EXTENT", 0.0)


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
@pytest.mark.parametrize("make", [water, silicon], ids=["molecule", "crystal"])
def test_forces_are_slopes(make, method, rng, any_cell):
    label, geometry = XTB(method, accuracy=0.01), make(rng)
    forces = label(geometry).forces
    for atom, axis in ((0, 2), (1, 1)):
        sides = []
        for sign in (1, -1):
            x = geometry.positions.copy()
            x[atom, axis] += sign * 1e-3
            sides.append(label(geometry.moved(x)).energy)
        assert -(sides[0] - sides[1]) / 2e-3 == pytest.approx(forces[atom, axis], abs=2e-4)
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-5)


def test_small_cells_are_refused_because_only_the_gamma_point_is_sampled(rng, monkeypatch):
    """The faces of silicon's primitive cell are a / sqrt(3) = 3.135 angstrom apart."""
    with pytest.raises(ValueError, match=r"3\.1 angstrom apart.*Gamma.*repeat\(\(4, 4, 4\)\)"):
        XTB()(Geometry.from_ase(bulk("Si", a=5.43)))
    slab = Geometry(positions=[[0, 0, 0]], numbers=[2], cell=np.diag([10.5, 9.9, 30.0]), pbc=True)
    with pytest.raises(ValueError, match=r"9\.9 angstrom apart.*repeat\(\(1, 2, 1\)\)"):
        XTB()(slab)
    large = replace(slab, cell=np.diag([10.0, 10.0, 10.0]))
    alone = XTB()(Geometry(positions=[[0, 0, 0]], numbers=[2])).energy
    assert XTB()(large).energy == pytest.approx(alone, abs=1e-4)


def test_f_electrons_are_in_the_core():
    """GdF3 has 3 + 3 x 7 valence electrons in GFN2-xTB, and a closed shell; GdF2 has an odd one."""
    from tblite.interface import Calculator

    angles = np.array([0, 2, 4]) * np.pi / 3
    ring = 2.05 * np.column_stack([np.cos(angles), np.sin(angles), 0 * angles])
    positions, numbers = np.concatenate([np.zeros((1, 3)), ring]), np.array([64, 9, 9, 9])
    direct = Calculator("GFN2-xTB", numbers, positions / units.Bohr)
    direct.set("verbosity", 0)
    right = direct.singlepoint().get("energy") * units.Hartree
    geometry = Geometry(positions=positions, numbers=numbers)
    assert XTB()(geometry).energy == pytest.approx(right, abs=1e-3)
    with pytest.raises(ValueError, match="24 valence electrons cannot have multiplicity 2, but 1"):
        XTB()(replace(geometry, multiplicity=2))
    with pytest.raises(ValueError, match="17 valence electrons cannot have multiplicity 1, but 2"):
        XTB()(Geometry(positions=positions[:3], numbers=numbers[:3]))


@pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
@pytest.mark.parametrize("number", [2, 3, 11, 18, 19, 29, 30, 37, 47, 48, 57, 71, 72, 79, 80, 86])
def test_cores_are_those_of_tblite(method, number):
    """The occupations of tblite's own orbitals sum to the number of valence electrons."""
    from tblite.interface import Calculator

    electrons = number - int(calculators.core_electrons(np.array([number])))
    direct = Calculator(method, np.array([number]), np.zeros((1, 3)), uhf=electrons % 2)
    direct.set("verbosity", 0)
    occupied = direct.singlepoint().get("orbital-occupations").sum()
    assert occupied == pytest.approx(electrons, abs=1e-6)


def test_stress_is_the_slope_in_a_strain(rng, any_cell):
    label, geometry = XTB("GFN1-xTB", accuracy=0.01), silicon(rng)
    strain = rng.normal(size=(3, 3)) * 1e-3
    strain = (strain + strain.T) / 2
    sides = [
        label(
            replace(
                geometry,
                positions=geometry.positions @ (np.eye(3) + s * strain),
                cell=geometry.cell @ (np.eye(3) + s * strain),
            )
        ).energy
        for s in (1, -1)
    ]
    stress = label(geometry).stress
    assert (sides[0] - sides[1]) / 2 / abs(np.linalg.det(geometry.cell)) == pytest.approx(
        (stress * strain).sum(), abs=1e-4 * units.GPa
    )
    assert np.abs(stress).max() > 0.1 * units.GPa
    assert label(water(rng)).stress is None


def test_a_label_does_not_depend_on_how_the_cell_is_written(rng):
    """Atoms moved by whole cell vectors, other vectors of one lattice, and both at once."""
    cell = 10.8 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])  # vectors of 15.3 angstrom
    one, other = (molecule("H2O").positions + x for x in ([0, 0, 0], [2.2, 2.0, 0.3]))
    written = Geometry(
        positions=np.concatenate([one, other]), numbers=[8, 1, 1] * 2, cell=cell, pbc=True
    )
    label = XTB("GFN1-xTB")
    right = label(written)
    assert np.abs(right.forces).max() > 0.1
    for change in ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [-1, 0, 1]]):
        assert abs(np.linalg.det(change)) == pytest.approx(1)
        for shifts in (np.zeros((6, 3)), rng.integers(-2, 3, (6, 3))):
            moved = replace(
                written, positions=written.positions + shifts @ cell, cell=np.array(change) @ cell
            )
            found = label(moved)
            assert found.energy == pytest.approx(right.energy, abs=1e-6)
            np.testing.assert_allclose(found.forces, right.forces, atol=1e-6)
            np.testing.assert_allclose(found.stress, right.stress, atol=1e-7)


def test_charge_and_multiplicity_are_honoured(rng):
    geometry = water(rng)
    label = XTB()
    ion = label(replace(geometry, charge=1, multiplicity=2)).energy
    assert 5 < ion - label(geometry).energy < 30
    oxygen = Geometry.from_ase(molecule("O2"))
    assert label(replace(oxygen, multiplicity=3)).energy != pytest.approx(
        label(replace(oxygen, multiplicity=1)).energy, abs=1e-3
    )


def test_two_methods_are_a_committee(rng):
    committee = Committee.from_calculators(
        [LabelCalculator(XTB("GFN1-xTB")), LabelCalculator(XTB("GFN2-xTB"))]
    )
    batch = committee.batch([water(rng)])
    prediction = committee(batch)
    assert force_variance(prediction, batch).sqrt().item() > 0.02
    assert prediction.forces[1].numpy() == pytest.approx(
        XTB("GFN2-xTB")(
            Geometry(positions=batch.positions.numpy(), numbers=batch.numbers.numpy())
        ).forces
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"multiplicity": 2}, "cannot have multiplicity 2"),
        ({"charge": 11}, "no electrons left"),
        ({"numbers": [96, 1, 1]}, "no parameters for Cm"),
        ({"pbc": [True, True, False], "cell": np.eye(3) * 9}, "periodic in some directions only"),
    ],
)
def test_what_cannot_be(change, reason, rng):
    with pytest.raises(ValueError, match=reason):
        XTB()(replace(water(rng), **change))


def test_atoms_on_top_of_an_image_are_named(rng, any_cell):
    geometry = silicon(rng)
    x = geometry.positions.copy()
    x[1] = x[0] + geometry.cell[2] + 0.05
    with pytest.raises(ValueError, match=r"atoms 0 and 1 of .* on top of each other"):
        XTB()(geometry.moved(x))


def test_charges_that_do_not_converge_name_the_geometry(rng):
    with pytest.raises(
        NotConverged, match=r"TBLite did not finish Geometry\(H2O.*allow more iterations"
    ):
        XTB(iterations=1)(water(rng))


def test_no_more_electrons_of_one_spin_than_orbitals():
    """Two oxygen atoms have 8 valence orbitals and 12 electrons: at most four are unpaired."""
    oxygen = Geometry(positions=[[0, 0, 0], [0, 0, 1.2]], numbers=[8, 8], multiplicity=5)
    assert np.isfinite(XTB()(oxygen).energy)
    with pytest.raises(ValueError, match="9 electrons of one spin for 8 orbitals: give a smaller"):
        XTB()(replace(oxygen, multiplicity=7))


@pytest.mark.parametrize("wrong", [{"method": "GFN0-xTB"}, {"accuracy": 0.0}, {"iterations": 0}])
def test_settings(wrong):
    with pytest.raises(ValueError, match=r"expected 'GFN1-xTB'|must be positive"):
        XTB(**wrong)


def test_without_tblite_the_remedy_is_said(monkeypatch, rng):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ImportError, match=r"pip install 'agal_toolkit\[references\]'"):
        XTB()(water(rng))


def test_two_methods_are_sent_to_an_error():
    """No network and no torch: calibrated on density functional theory, and attacked by differences
    of forces.
    """
    pytest.importorskip("pyscf", reason="PySCF is in the extra `references`")
    truth, rng, rattled = DFT(), np.random.default_rng(0), [molecule("NH3") for _ in range(6)]
    for atoms in rattled:
        atoms.rattle(0.05, rng=rng)
    geometries = [Geometry.from_ase(atoms) for atoms in rattled]
    committee = Committee.from_calculators(
        [LabelCalculator(XTB("GFN1-xTB")), LabelCalculator(XTB("GFN2-xTB"))]
    )
    data = Dataset(geometries, [truth(geometry) for geometry in geometries])
    calibrated = Committee(
        committee.members,
        Calibration.fit(committee.predict(geometries), data, quantities=("forces",)),
    )
    attack = Attack(TargetError(1.0), LBFGS(25), HessianVector(), start=0.0, guard=Apart(0.6))
    (adversary,) = attack(calibrated, None, geometries[:1], rng)
    start, end = (
        float(calibrated.calibration.atomic_variance(calibrated.predict([g])).sqrt().mean())
        for g in (geometries[0], adversary.geometry)
    )
    assert adversary.reached
    assert abs(end - 1.0) < 0.03 < 1.0 - start
