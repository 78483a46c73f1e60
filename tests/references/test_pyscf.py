"""PySCF and s-dftd3: forces and Hessian against differences, electrons counted, failures named.
Small molecules, often on coarse grids.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import molecule

from agal_toolkit.geometry import Geometry
from agal_toolkit.references import DFT, LabelFailed, NotConverged, Reference, conformer, optimised
from agal_toolkit.sampling.normal_modes import NormalModes
from agal_toolkit.settings import to_settings

pytest.importorskip("pyscf", reason="PySCF is not installed: pip install agal_toolkit[references]")
pytest.importorskip(
    "dftd3", reason="s-dftd3 is not installed: pip install agal_toolkit[references]"
)

from dftd3.interface import DispersionModel, RationalDampingParam

COARSE = DFT(grid=1, threads=1)
ROUGH = replace(COARSE, basis="sto-3g")
KCAL = units.kcal / units.mol

AMMONIA = Geometry(
    positions=[[0.0, 0.0, 0.33], [0.93, 0.1, -0.1], [-0.4, 0.84, -0.02], [-0.5, -0.75, -0.1]],
    numbers=[7, 1, 1, 1],
    origin={"by": "hand"},
)
HYDROXYL = Geometry(positions=[[0.0, 0.0, 0.0], [0.1, 0.2, 0.95]], numbers=[8, 1], multiplicity=2)
HYDROGEN = Geometry(positions=[[0.0, 0.0, 0.0], [0.3, 0.0, 0.7]], numbers=[1, 1])


@pytest.mark.parametrize(
    ("label", "geometry"),
    [
        (COARSE, AMMONIA),
        (COARSE, HYDROXYL),
        (replace(COARSE, dispersion=None), replace(AMMONIA, charge=1, multiplicity=2)),
    ],
    ids=["ammonia", "hydroxyl radical", "ammonia's cation"],
)
def test_forces_are_the_slope_of_the_energy(label, geometry, rng):
    """Along a random direction; on a coarse grid, whose motion counts. The radical's hole has two
    places, where DIIS alone does not converge.
    """
    direction = rng.normal(size=geometry.positions.shape)
    direction /= np.linalg.norm(direction)
    ahead, behind = (
        label(geometry.moved(geometry.positions + step * direction)).energy
        for step in (5e-4, -5e-4)
    )
    forces = label(geometry).forces
    assert np.abs(forces).max() > 0.5
    assert (forces * direction).sum() == pytest.approx(-(ahead - behind) / 1e-3, abs=3e-5)
    np.testing.assert_allclose(forces.sum(0), 0.0, atol=1e-6)


def test_dispersion_is_that_of_s_dftd3():
    """Energy and forces of D3(BJ) without the three-body term, against s-dftd3's own ASE
    calculator.
    """
    from dftd3.ase import DFTD3

    dimer = Geometry(
        positions=[[0.0, 0.0, 0.0], [0.0, 0.0, 0.74], [2.6, 0.3, 0.1], [2.9, 0.3, 0.8]],
        numbers=[1, 1, 1, 1],
    )
    with_, without = ROUGH(dimer), replace(ROUGH, dispersion=None)(dimer)
    atoms = dimer.to_ase()
    atoms.calc = DFTD3(
        method="bp86",
        damping="d3bj",
        params_tweaks={"a1": 0.3946, "s8": 3.2822, "a2": 4.8516, "s9": 0.0},
    )
    assert with_.energy - without.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(with_.forces - without.forces, atoms.get_forces(), atol=1e-7)
    assert with_.energy - without.energy < -1e-3


@pytest.mark.parametrize(
    "geometry",
    [HYDROGEN, replace(HYDROGEN, numbers=[2, 2], charge=1, multiplicity=2)],
    ids=["hydrogen", "helium's dimer cation"],
)
def test_the_hessian_is_the_slope_of_the_forces(geometry):
    label = replace(ROUGH, grid=3)
    hessian = label.hessian(geometry)
    for row in (0, 5):
        shift = np.zeros((2, 3))
        shift.flat[row] = 2e-3
        ahead, behind = (
            label(geometry.moved(geometry.positions + sign * shift)).forces.ravel()
            for sign in (1, -1)
        )
        np.testing.assert_allclose(
            hessian[row], -(ahead - behind) / 4e-3, atol=3e-3 * np.abs(hessian).max()
        )
    assert np.abs(hessian).max() > 5.0
    np.testing.assert_array_equal(hessian, hessian.T)


def test_dispersion_is_in_the_hessian():
    apart = Geometry(positions=[[0.0, 0.0, 0.0], [0.0, 0.0, 2.6]], numbers=[10, 10])
    label = replace(ROUGH, dispersion=None)
    added = (ROUGH.hessian(apart) - label.hessian(apart))[5]
    step = np.array([[0.0] * 3, [0.0, 0.0, 1e-3]])
    ahead, behind = (
        (ROUGH(g).forces - label(g).forces).ravel()
        for g in (apart.moved(apart.positions + sign * step) for sign in (1, -1))
    )
    np.testing.assert_allclose(added, -(ahead - behind) / 2e-3, atol=1e-6)
    assert np.abs(added).max() > 1e-4


def test_the_ground_state_of_ammonia():
    """From a SMILES to normal modes. Energy, lengths and wavenumbers are those that BP86/def2-SVP
    has.
    """
    pytest.importorskip(
        "rdkit", reason="RDKit is not installed: pip install agal_toolkit[references]"
    )
    label = replace(COARSE, grid=2)
    ground = optimised(label, conformer("N"), fmax=2e-3)
    atoms = ground.to_ase()
    np.testing.assert_allclose(atoms.get_distances(0, [1, 2, 3]), 1.031, atol=0.002)
    assert atoms.get_angle(1, 0, 2) == pytest.approx(104.1, abs=0.4)
    assert label(ground).energy == pytest.approx(-1537.797, abs=0.003)
    modes = NormalModes(ground, label.hessian(ground))
    umbrella, *bends, first, second, third = modes.wavenumbers
    assert 900 < umbrella < 1150
    assert len(bends) == 2
    assert all(1550 < bend < 1700 for bend in bends)
    assert all(3250 < stretch < 3550 for stretch in (first, second, third))
    assert third - second < 5.0
    samples = modes.draw(np.random.default_rng(0))
    assert len(samples) == 78
    raised = label(samples[0]).energy - label(ground).energy
    assert 0.1 * KCAL < raised < 20 * KCAL


def test_charge_and_multiplicity_change_the_answer():
    """Ionisation of H2 near 16 eV, its triplet some 10 eV up; hydroxyl binds another electron."""
    singlet = COARSE(HYDROGEN).energy
    assert COARSE(replace(HYDROGEN, charge=1, multiplicity=2)).energy - singlet == pytest.approx(
        16.0, abs=1.0
    )
    assert 8.0 < COARSE(replace(HYDROGEN, multiplicity=3)).energy - singlet < 13.0
    atom = COARSE(Geometry(positions=np.zeros((1, 3)), numbers=[1], multiplicity=2))
    assert atom.energy == pytest.approx(-13.6, abs=0.3)
    assert not np.abs(atom.forces).max() > 1e-6


def test_heavy_elements_have_core_potentials():
    hydrogen_iodide = Geometry(positions=[[0.0, 0.0, 0.0], [0.0, 0.0, 1.62]], numbers=[53, 1])
    assert COARSE(hydrogen_iodide).energy / units.Hartree == pytest.approx(-298.3, abs=1.0)


def test_the_order_of_geometries_does_not_matter():
    some = [HYDROXYL, replace(HYDROXYL, charge=-1, multiplicity=1), HYDROGEN]
    ahead = [ROUGH(geometry) for geometry in some]
    back = [ROUGH(geometry) for geometry in reversed(some)][::-1]
    for one, other in zip(ahead, back, strict=True):
        assert one.energy == other.energy
        assert one.forces.tobytes() == other.forces.tobytes()


def test_a_field_that_does_not_converge_is_a_failure_that_names_the_geometry():
    hurried = replace(ROUGH, max_cycle=2)
    with pytest.raises(
        NotConverged,
        match=(
            r"field of Geometry\(H3N, 3d, from {'by': 'hand'}\), charge 0, multiplicity 1, did not"
            r" converge in 2 cycles: raise"
        ),
    ):
        hurried(AMMONIA)
    outcomes = dict(Reference(hurried)([AMMONIA, HYDROXYL]))
    assert isinstance(outcomes[0], LabelFailed)
    assert "H3N" in str(outcomes[0])


def test_the_settings_that_name_labels():
    assert to_settings(DFT()) == {
        "name": "agal_toolkit.DFT",
        "functional": "b88,p86vwn",
        "basis": "def2-svp",
        "dispersion": "bp86",
        "grid": 4,
        "conv_tol": 1e-10,
        "conv_tol_grad": 1e-6,
        "max_cycle": 50,
    }
    assert (
        Reference(DFT(threads=3)).settings_digest
        == Reference(DFT()).settings_digest
        != Reference(ROUGH).settings_digest
    )


@pytest.mark.filterwarnings("ignore:Basis may be available:UserWarning")
@pytest.mark.parametrize(
    ("label", "changes", "message"),
    [
        (COARSE, {"multiplicity": 1}, r"9 electrons cannot have multiplicity 1, but 2, 4, \.\.\."),
        (COARSE, {"cell": np.eye(3) * 9, "pbc": True}, "DFT labels isolated molecules"),
        (
            COARSE,
            {"numbers": [94, 1]},
            (
                r"PySCF has no basis 'def2-svp' for one of H, Pu: choose another with"
                r" DFT\(basis=\.\.\.\)"
            ),
        ),
        (replace(COARSE, basis="def9-svp"), {}, "PySCF has no basis 'def9-svp' for one of H, O"),
        (
            COARSE,
            {"numbers": [98, 1]},
            r"D3 has no parameters for Cf: leave dispersion out with DFT\(dispersion=None\)",
        ),
        (
            replace(COARSE, dispersion="bp87"),
            {},
            r"s-dftd3 has no D3\(BJ\) parameters for 'bp87': name a functional that has, or leave",
        ),
        (
            ROUGH,
            {"numbers": [2, 2], "multiplicity": 3},
            r"has 3 electrons of one spin, sto-3g 2 functions for them: choose a larger basis",
        ),
    ],
)
def test_what_dft_refuses(label, changes, message):
    geometry = replace(HYDROXYL, **changes)
    with pytest.raises(ValueError, match=message):
        label(geometry)
    with pytest.raises(ValueError, match=message):
        label.hessian(geometry)


def test_electrons_of_one_spin_have_no_hessian():
    with pytest.raises(
        ValueError,
        match=(
            r"no Hessian where all electrons have one spin, as in Geometry\(H2, 3d\): take"
            r" differences of forces"
        ),
    ):
        ROUGH.hessian(replace(HYDROGEN, charge=1, multiplicity=2))


def test_dispersion_belongs_to_the_functional():
    with pytest.raises(ValueError, match=r"'bp86' do not belong to 'pbe': name the same"):
        DFT(functional="pbe")
    for right in ("b88,p86", "BP86"):
        assert DFT(functional=right).dispersion == "bp86"
    assert DFT(functional="pbe", dispersion=None).dispersion is None
    water = Geometry.from_ase(molecule("H2O"))
    for functional, dispersion in (("pbe", "b3lyp"), ("b88,p86vwn", "pbe")):
        with pytest.raises(ValueError, match=f"'{dispersion}' do not belong to '{functional}'"):
            replace(COARSE, functional=functional, dispersion=dispersion)(water)
    energies = [
        replace(COARSE, functional="pbe", dispersion=name)(water).energy for name in ("PBE", None)
    ]
    damping = RationalDampingParam(method="pbe", atm=False)
    model = DispersionModel(water.numbers, water.positions / units.Bohr)
    right = model.get_dispersion(damping, grad=False)["energy"] * units.Hartree
    assert energies[0] - energies[1] == pytest.approx(right, abs=1e-6)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="grid is 10, expected a level"):
        DFT(grid=10)
    for wrong in ({"conv_tol": 0.0}, {"conv_tol_grad": -1.0}, {"max_cycle": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            DFT(**wrong)


@pytest.mark.parametrize(
    ("missing", "message"),
    [("pyscf", "PySCF, which is missing"), ("dftd3.interface", "s-dftd3, which is missing")],
)
def test_what_is_missing_is_said(missing, message, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=message + r": pip install 'agal_toolkit\[references\]'"):
        ROUGH(HYDROGEN)
