"""AMOEBA as a truth: consistent with itself, the same at every size, and clear about what it does
not know.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import units
from scipy.spatial.transform import Rotation

pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")

from agal_toolkit.geometry import Geometry
from agal_toolkit.references import AMOEBA, NotConverged, Reference
from agal_toolkit.references import amoeba as water
from agal_toolkit.references.amoeba import standard

LIGHT = AMOEBA(stress=False)


def box(molecules: int = 4, edge: float = 12.417, seed: int = 0) -> Geometry:
    """Turned waters on a lattice, shaken: dense, and not at rest."""
    rng = np.random.default_rng(seed)
    places = (
        np.stack(np.meshgrid(*[np.arange(molecules)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
        * edge
        / molecules
    )
    water = np.array([[0, 0, 0], [0.9572, 0, 0], [-0.239, 0.927, 0]])
    turned = np.einsum(
        "wij,aj->wai", Rotation.random(len(places), random_state=seed).as_matrix(), water
    )
    x = (places + turned).reshape(-1, 3)
    return Geometry(
        positions=x + rng.normal(0, 0.04, x.shape) + rng.normal(size=3),
        numbers=[8, 1, 1] * molecules**3,
        cell=np.eye(3) * edge,
        pbc=True,
    )


@pytest.fixture(scope="module")
def liquid():
    return box()


@pytest.fixture(scope="module")
def labels(liquid):
    return AMOEBA()(liquid)


def test_forces_are_slopes(liquid, labels):
    for atom, axis in ((0, 0), (1, 1), (100, 2)):
        sides = []
        for sign in (1, -1):
            x = liquid.positions.copy()
            x[atom, axis] += sign * 1e-3
            sides.append(LIGHT(liquid.moved(x)).energy)
        assert -(sides[0] - sides[1]) / 2e-3 == pytest.approx(labels.forces[atom, axis], abs=3e-4)


def test_stress_is_the_slope_in_a_strain_that_the_label_did_not_take(liquid, labels):
    rng = np.random.default_rng(1)
    strain = rng.normal(size=(3, 3)) * 1e-3
    strain = (strain + strain.T) / 2
    sides = [
        LIGHT(
            replace(
                liquid,
                positions=liquid.positions @ (np.eye(3) + s * strain),
                cell=liquid.cell @ (np.eye(3) + s * strain),
            )
        ).energy
        for s in (1, -1)
    ]
    volume = abs(np.linalg.det(liquid.cell))
    assert (sides[0] - sides[1]) / 2 / volume == pytest.approx(
        (labels.stress * strain).sum(), abs=2e-5 * units.GPa
    )
    np.testing.assert_allclose(labels.stress, labels.stress.T)


def test_a_cell_too_small_for_the_cutoff_is_its_supercell():
    small = box(2, 6.2)
    shifts = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 1, 3) * 6.2
    large = Geometry(
        positions=(small.positions + shifts).reshape(-1, 3),
        numbers=np.tile(small.numbers, 8),
        cell=np.eye(3) * 12.4,
        pbc=True,
    )
    one, many = AMOEBA()(small), AMOEBA()(large)
    assert 8 * one.energy == pytest.approx(many.energy, abs=1e-9)
    np.testing.assert_allclose(np.tile(one.forces, (8, 1)), many.forces, atol=1e-7)
    np.testing.assert_allclose(one.stress, many.stress, atol=1e-7)


def test_energies_go_on_where_the_supercell_begins(liquid):
    def at(edge):
        return LIGHT(
            replace(liquid, positions=liquid.positions * edge / 12.417, cell=np.eye(3) * edge)
        ).energy

    below, above = at(12.010), at(12.014)
    slope = (at(12.018) - above) / 0.004
    assert below + 0.004 * slope == pytest.approx(above, abs=5e-3)  # eV of 64 molecules


def test_turns_images_and_broken_molecules_change_nothing(liquid, labels):
    turn = Rotation.random(random_state=3).as_matrix()
    turned = AMOEBA()(replace(liquid, positions=liquid.positions @ turn, cell=liquid.cell @ turn))
    assert turned.energy == pytest.approx(labels.energy, abs=1e-8)
    np.testing.assert_allclose(turned.forces, labels.forces @ turn, atol=1e-6)
    np.testing.assert_allclose(turned.stress, turn.T @ labels.stress @ turn, atol=1e-6)
    x = liquid.positions.copy()
    x[4] += liquid.cell[0]
    x[9:12] -= 2 * liquid.cell[2]
    moved = LIGHT(liquid.moved(x))
    assert moved.energy == pytest.approx(labels.energy, abs=1e-8)
    np.testing.assert_allclose(moved.forces, labels.forces, atol=1e-6)


def test_a_skewed_cell_is_the_lattice_that_it_spans(liquid, labels):
    skewed = liquid.cell.copy()
    skewed[2] += skewed[0]  # the same lattice
    assert LIGHT(replace(liquid, cell=skewed)).energy == pytest.approx(labels.energy, abs=1e-8)
    lower, turn = standard(np.array([[1.0, 5.0, 2.0], [0.3, -7.0, 1.0], [4.0, 0.2, 9.0]]))
    assert np.allclose(lower, np.tril(lower))
    assert (np.diag(lower) > 0).all()
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert abs(lower[1, 0]) <= lower[0, 0] / 2 + 1e-12
    assert abs(lower[2, 1]) <= lower[1, 1] / 2 + 1e-12


def test_a_label_knows_nothing_of_the_one_before(liquid, labels):
    LIGHT(box(seed=5))
    again = LIGHT(liquid)
    assert again.energy == labels.energy
    assert np.array_equal(again.forces, labels.forces)


def test_a_molecule_alone_is_amoebas(liquid):
    """In a wide cell a relaxed water has next to no energy; AMOEBA's reference is the molecule at
    its own bond lengths and angle.
    """
    water = (
        np.array(
            [
                [0, 0, 0],
                [0.9572, 0, 0],
                [0.9572 * np.cos(np.radians(108.5)), 0.9572 * np.sin(np.radians(108.5)), 0],
            ]
        )
        + 5.0
    )
    alone = LIGHT(Geometry(positions=water, numbers=[8, 1, 1], cell=np.eye(3) * 30, pbc=True))
    assert abs(alone.energy) < 0.1
    np.testing.assert_allclose(alone.forces.sum(0), 0, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pbc": False}, "give a cell and pbc=True"),
        ({"numbers": [1, 8, 1] * 64}, "in the order O H H"),
        ({"numbers": [8, 1, 7] * 64}, "in the order O H H"),
    ],
)
def test_what_is_no_water(liquid, change, reason):
    with pytest.raises(ValueError, match=reason):
        AMOEBA()(replace(liquid, **change))


def test_a_molecule_taken_apart_is_named(liquid):
    x = liquid.positions.copy()
    x[7] += [1.6, 0.0, 1.2]
    with pytest.raises(ValueError, match=r"water 2 of .* drop the geometry"):
        AMOEBA()(liquid.moved(x))
    ((_, answer),) = Reference(LIGHT)([liquid.moved(x)])
    assert "water 2 of" in str(answer)


@pytest.mark.parametrize("wrong", [{"cutoff": 0.0}, {"strain": -1.0}, {"dipoles": 0.0}])
def test_settings(wrong):
    with pytest.raises(ValueError, match="must be positive"):
        AMOEBA(**wrong)


def test_without_openmm_the_remedy_is_said(monkeypatch):
    from agal_toolkit.references import amoeba as water

    water._context.cache_clear()
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(ImportError, match=r"pip install 'agal_toolkit\[references\]'"):
        AMOEBA()(box())


def test_what_openmm_refuses_has_no_label(liquid):
    """A box that has become smaller than twice the cutoff."""
    context = water._context(
        LIGHT, 64, tuple(water.reciprocal_grid(np.diag(liquid.cell), LIGHT.spacing))
    )
    with pytest.raises(NotConverged, match="AMOEBA has no energy for 192 atoms"):
        water._state(context, 0.5 * liquid.cell, 0.5 * liquid.positions, forces=False)
