"""A first set of structures, and the model of force constants behind it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write

import agal_toolkit
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.references import Reference, hessian, optimised
from agal_toolkit.sampling import model_hessian, start


def curvature(coordinate, constant, atoms) -> np.ndarray:
    """`constant` times the outer product of numerical derivatives of an internal coordinate."""
    slopes = np.zeros(3 * len(atoms))
    for k in range(3 * len(atoms)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions.flat[k] += sign * 1e-4
            ends.append(coordinate(moved))
        slopes[k] = (ends[0] - ends[1]) / 2e-4
    return constant * np.outer(slopes, slopes)


def test_water_has_lindhs_force_constants():
    atoms = molecule("H2O")
    stretch = 0.45 * units.Hartree / units.Bohr**2
    right = sum(curvature(lambda a, j=j: a.get_distance(0, j), stretch, atoms) for j in (1, 2))
    close = atoms.get_distance(1, 2) / units.Bohr
    weak = np.exp(1.35**2 - close**2)  # between the hydrogens: too weak to count
    assert weak < 0.003
    bend = 0.15 * units.Hartree
    right += curvature(lambda a: np.radians(a.get_angle(1, 0, 2)), bend, atoms)
    np.testing.assert_allclose(model_hessian(Geometry.from_ase(atoms)), right, atol=1e-4)


def test_a_straight_molecule_bends_in_two_directions():
    curvatures = np.linalg.eigvalsh(model_hessian(Geometry.from_ase(molecule("CO2"))))
    assert (curvatures > 1e-6).sum() == 4  # two stretches and twice the bend
    assert curvatures[5] == pytest.approx(curvatures[6])


def test_rigid_moves_cost_nothing():
    geometry = Geometry.from_ase(molecule("CH3CH2OH"))
    curvatures = model_hessian(geometry)
    for axis in np.eye(3):
        drift, turn = np.tile(axis, (len(geometry), 1)), np.cross(axis, geometry.positions)
        assert np.abs(curvatures @ np.stack([drift.ravel(), turn.ravel()]).T).max() < 1e-9
    assert np.linalg.eigvalsh(curvatures).min() > -1e-9


def test_planar_molecules_resist_bending_out_of_the_plane():
    ethene = Geometry.from_ase(molecule("C2H4"))  # in the plane of y and z
    wagged = np.zeros((6, 3))
    wagged[:2, 0] = 1.0  # of the carbons
    assert wagged.ravel() @ model_hessian(ethene) @ wagged.ravel() > 5.0


def shares(reference, ground, structures) -> np.ndarray:
    """Energies above the minimum of `ground` as shares of kT/2 for each free mode."""
    least = reference.labelled(ground).energies[0]
    geometry = structures[0]
    modes = 3 * geometry.movable.sum()
    modes -= 0 if not geometry.movable.all() else 3 if geometry.pbc.any() else 6
    kelvin = np.array([g.origin["temperature"] for g in structures])
    return (reference.labelled(structures).energies - least) / (modes * units.kB * kelvin / 2)


def covered() -> Atoms:
    slab = fcc111("Cu", (2, 2, 2), vacuum=8.0)
    add_adsorbate(slab, "O", 1.2, "fcc")
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 1]))
    return slab


@pytest.mark.parametrize(
    "atoms", [covered(), bulk("Cu", cubic=True), bulk("Pt", cubic=True)], ids=["slab", "Cu", "Pt"]
)
def test_metals_start_with_thermal_energies(atoms):
    atoms.set_initial_magnetic_moments(None)
    reference = Reference(EMT())
    ground = optimised(reference, atoms)
    drawn = start(ground, 30)
    still = drawn[0].positions == ground.positions
    np.testing.assert_array_equal(still.all(1), ~ground.movable)
    assert 0.5 < shares(reference, ground, drawn).mean() < 2.0
    exact = start(ground, 30, hessian=hessian(reference, ground))
    assert 0.5 < shares(reference, ground, exact).mean() < 1.2
    kelvin = [g.origin["temperature"] for g in drawn]
    assert 200 <= min(kelvin) < 300 < 500 < max(kelvin) <= 600


@pytest.mark.parametrize("smiles", ["O=C/C=C\\O", "CCO", "O=CO.O=CO"])
def test_molecules_start_with_thermal_energies(smiles):
    pytest.importorskip("tblite")
    pytest.importorskip("rdkit")
    reference = Reference(agal_toolkit.XTB())
    ground = optimised(reference, agal_toolkit.conformer(smiles), fmax=0.01)
    drawn = start(ground, 16, seed=1)
    assert 0.5 < shares(reference, ground, drawn).mean() < 2.0
    assert [g.digest() for g in start(ground, 16, seed=1)] == [g.digest() for g in drawn]
    assert start(ground, 1, 300.0, seed=2)[0].origin["temperature"] == 300.0


def test_where_a_start_comes_from(tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    assert len(start(tmp_path / "water.xyz", 3)) == len(start(molecule("H2O"), 3)) == 3
    with pytest.raises(ValueError, match=r"atoms in three dimensions, .*: use NormalModes"):
        start(points([[0.0, 0.0]])[0], 3)
    with pytest.raises(ValueError, match=r"give \(lowest, highest\) in K above 0"):
        start(molecule("H2O"), 3, temperature=(600, 200))
    with pytest.raises(ValueError, match="this is no minimum"):
        start(molecule("H2O"), 3, hessian=-20 * np.eye(9))
    with pytest.raises(ValueError, match=r"shape \(6, 6\), expected \(9, 9\)"):
        start(molecule("H2O"), 3, hessian=np.eye(6))
