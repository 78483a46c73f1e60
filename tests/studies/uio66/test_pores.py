"""Packing: no overlaps with images counted, whole molecules, uniform places and orientations."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from ase.geometry import get_distances
from ase.neighborlist import neighbor_list

from agal_toolkit.geometry import Geometry
from studies.uio66.pores import Contacts, filled

WATER = Geometry(
    positions=[[0.0, 0.0, 0.0], [0.9572, 0.0, 0.0], [-0.24, 0.9266, 0.0]], numbers=[8, 1, 1]
)
OBLIQUE = 9.0 * np.array([[1.0, 0.0, 0.0], [0.6, 0.9, 0.0], [0.3, 0.4, 1.0]])


def xenon(cell, *positions) -> Geometry:
    """A framework of single atoms."""
    return Geometry(positions=positions, numbers=[54] * len(positions), cell=cell, pbc=True)


def closest(geometry: Geometry, framework: int, size: int) -> tuple[float, float]:
    """Smallest distances of ASE's list between heavy atoms and to hydrogen, images included."""
    owner = np.concatenate(
        [np.zeros(framework), 1 + np.arange(len(geometry) - framework) // size]
    ).astype(int)
    i, j, d, image = neighbor_list("ijdS", geometry.to_ase(), 4.0)
    within = (owner[i] == owner[j]) & ((owner[i] == 0) | ~image.any(1))
    light = (geometry.numbers[i] == 1) | (geometry.numbers[j] == 1)
    return d[~within & ~light].min(), d[~within & light].min()


@pytest.mark.parametrize("cell", [np.diag([8.0, 9.0, 10.0]), OBLIQUE], ids=["box", "oblique"])
def test_no_overlaps_and_whole_molecules(cell, rng):
    framework = xenon(cell, [0.1, 0.1, 0.1], 0.5 * cell.sum(0))
    packed = filled(framework, WATER, 6, rng)
    assert len(packed) == 2 + 18
    np.testing.assert_array_equal(packed.positions[:2], framework.positions)
    np.testing.assert_array_equal(packed.numbers[2:], [8, 1, 1] * 6)
    heavy, light = closest(packed, 2, 3)
    assert heavy >= 2.5
    assert light >= 1.6
    right = get_distances(WATER.positions)[1]
    for copy in packed.positions[2:].reshape(6, 3, 3):  # without images: nothing is cut
        np.testing.assert_allclose(get_distances(copy)[1], right, atol=1e-12)


def test_distances_are_as_asked_and_close_to_them_in_a_crowd(rng):
    """The limits are used, so that random copies come within a tenth of an angstrom of them."""
    contacts = Contacts(heavy=3.0, hydrogen=2.0)
    packed = filled(xenon(20 * np.eye(3), [0, 0, 0]), WATER, 60, rng, contacts)
    heavy, light = closest(packed, 1, 3)
    assert 3.0 <= heavy < 3.1
    assert 2.0 <= light < 2.1


def test_places_and_orientations_are_uniform():
    """Means of uniform fractions are 1/2, of unit vectors 0 and of their squares 1/3."""
    framework = xenon(40 * np.eye(3), [20.0, 20.0, 20.0])
    packed = filled(framework, WATER, 400, np.random.default_rng(0), Contacts(0.5, 0.3))
    copies = packed.positions[1:].reshape(400, 3, 3)
    error = 4 / np.sqrt(400)
    np.testing.assert_allclose(copies.mean((0, 1)) / 40, 0.5, atol=error * np.sqrt(1 / 12))
    for axis in (
        copies[:, 1] - copies[:, 0],
        np.cross(*(copies[:, 1:] - copies[:, :1]).swapaxes(0, 1)),
    ):
        unit = axis / np.linalg.norm(axis, axis=1, keepdims=True)
        np.testing.assert_allclose(unit.mean(0), 0, atol=error * np.sqrt(1 / 3))
        np.testing.assert_allclose((unit**2).mean(0), 1 / 3, atol=error * np.sqrt(4 / 45))


def test_the_seed_decides(rng):
    framework = xenon(10 * np.eye(3), [0, 0, 0])
    one, same, other = (filled(framework, WATER, 4, np.random.default_rng(k)) for k in (1, 1, 2))
    assert one.digest() == same.digest() != other.digest()
    fewer = filled(framework, WATER, 2, np.random.default_rng(1))
    np.testing.assert_array_equal(fewer.positions, one.positions[:7])
    assert filled(framework, WATER, 0, rng) is framework


def test_charge_isotopes_and_fixed_atoms_are_kept(rng):
    framework = Geometry(
        positions=[[0, 0, 0]], numbers=[54], cell=12 * np.eye(3), pbc=True, movable=[False]
    )
    ion = Geometry(positions=[[0, 0, 0]], numbers=[11], charge=1, isotopes=[22.5])
    packed = filled(framework, ion, 3, rng)
    assert packed.charge == 3
    assert packed.movable.tolist() == [False, True, True, True]
    np.testing.assert_allclose(packed.masses, [131.293, 22.5, 22.5, 22.5], atol=1e-2)
    assert packed.origin["molecules"] == 3


def test_no_room_is_said_with_numbers(rng):
    with pytest.raises(ValueError, match=r"room for \d+ of 40 molecules, and 300 tries.*fewer mol"):
        filled(xenon(7.5 * np.eye(3), [0, 0, 0]), WATER, 40, rng, tries=300)


def test_other_wrong_input_is_refused(rng):
    box, water = xenon(10 * np.eye(3), [0, 0, 0]), WATER
    open_one = Geometry(positions=[[0, 0, 0]], numbers=[54])
    oxygen = Geometry.from_ase(molecule("O2"))
    with pytest.raises(ValueError, match="pbc=True"):
        filled(open_one, water, 1, rng)
    with pytest.raises(ValueError, match="pbc=False"):
        filled(box, box, 1, rng)
    with pytest.raises(ValueError, match="closed shells"):
        filled(box, oxygen, 1, rng)
    with pytest.raises(ValueError, match=r"4\.0 angstrom apart, expected at least 5\.0"):
        filled(xenon(np.diag([4.0, 9.0, 9.0]), [0, 0, 0]), water, 1, rng)
    with pytest.raises(ValueError, match="count=-1"):
        filled(box, water, -1, rng)
    with pytest.raises(ValueError, match="0 < hydrogen <= heavy"):
        Contacts(heavy=1.0)
