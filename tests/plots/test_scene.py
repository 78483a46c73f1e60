"""Spheres, sticks and cell edges of a structure."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import ammonia, crystal

from agal_toolkit import Geometry, points
from agal_toolkit.plots.scene import (
    Scene,
    bearing,
    cell_edges,
    direction,
    element_colours,
    formula,
    half_bonds,
    scenes,
)


def test_ammonia_has_three_bonds_and_keeps_them_when_it_is_distorted(rng):
    for spread in (0.0, 0.12):
        geometry = ammonia().moved(ammonia().positions + rng.normal(0, spread, (4, 3)))
        owners, halves = half_bonds(geometry)
        assert sorted(owners) == [0, 0, 0, 1, 2, 3]
        for atom in (1, 2, 3):
            np.testing.assert_allclose(
                halves[owners == atom][0] * 2, geometry.positions[0] - geometry.positions[atom]
            )
    far = ammonia().positions.copy()
    far[3] *= 2.5  # 2.5 angstrom away: no bond
    assert sorted(half_bonds(ammonia().moved(far))[0]) == [0, 0, 1, 2]


def test_bonds_cross_the_faces_of_a_cell():
    chain = Geometry(
        positions=[[0.2, 2.0, 2.0], [3.8, 2.0, 2.0]],
        numbers=[6, 6],
        cell=4.0 * np.eye(3),
        pbc=[True, False, False],
    )
    owners, halves = half_bonds(chain)
    assert owners.tolist() == [0, 1]
    np.testing.assert_allclose(halves[:, 0], [-0.2, 0.2])  # out of the cell on either side
    assert not len(half_bonds(Geometry(positions=chain.positions, numbers=[6, 6]))[0])


def test_the_edges_of_what_is_periodic(rng):
    geometry = crystal(rng, (2, 2, 2))
    edges = cell_edges(geometry)
    lengths = np.sort(np.linalg.norm(edges[:, 0] - edges[:, 1], axis=1))
    assert edges.shape == (12, 2, 3)
    np.testing.assert_allclose(
        lengths, np.sort(np.repeat(np.linalg.norm(geometry.cell, axis=1), 4))
    )
    assert cell_edges(ammonia()).shape == (0, 2, 3)
    slab, chain = (
        Geometry(
            positions=geometry.positions, numbers=geometry.numbers, cell=geometry.cell, pbc=pbc
        )
        for pbc in ((True, True, False), (False, False, True))
    )
    assert cell_edges(slab).shape == (4, 2, 3)
    assert not cell_edges(slab)[..., 2].any()
    np.testing.assert_allclose(cell_edges(chain), [[[0, 0, 0], geometry.cell[2]]])
    plane = Geometry(positions=[[0.5, 0.5]], numbers=[0], cell=np.eye(2), pbc=True)
    assert cell_edges(plane).shape == (4, 2, 3)
    assert Scene.of(plane).edges.max() == 0.5
    scene = Scene.of(geometry)
    np.testing.assert_allclose(
        scene.edges.reshape(-1, 3).mean(0), 0.0, atol=1e-12
    )  # in the middle of the view
    assert scene.reach >= np.linalg.norm(scene.edges, axis=2).max()


def test_it_is_looked_at_from_a_side_that_turns_with_it(rng):
    geometry = ammonia().moved(ammonia().positions + rng.normal(0, 0.1, (4, 3)))
    turn = bearing(geometry)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    seen = [
        np.abs((g.positions - g.positions.mean(0)) @ bearing(g).T)
        for g in (geometry, geometry.moved(geometry.positions @ turn.T))
    ]
    assert np.ptp(seen[0][:, 2]) <= np.ptp(seen[0][:, 0]) + 0.3
    assert seen[0].shape == seen[1].shape
    np.testing.assert_allclose(bearing(points([[0.3, 0.2]])[0]), np.eye(3))


def test_directions_have_z_upward():
    for elevation, azimuth in ((0.0, 0.0), (12.0, 25.0), (-40.0, 200.0)):
        turn = direction(elevation, azimuth)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)
        assert turn[0, 2] == 0.0
        assert turn[1, 2] == pytest.approx(np.cos(np.radians(elevation)))
    np.testing.assert_allclose(direction(0.0, 0.0)[2], [1, 0, 0])  # from the end of x
    np.testing.assert_allclose(direction(90.0, -90.0), np.eye(3), atol=1e-12)


def test_a_ghost_stays_in_the_middle():
    moved = ammonia().moved(ammonia().positions + np.array([1.0, 0, 0]))
    solid, ghost = scenes(moved, ammonia())
    np.testing.assert_allclose(ghost.centres.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(solid.centres - ghost.centres, [[1.0, 0, 0]] * 4)
    turned = solid.turned(np.eye(3)[[1, 2, 0]])
    np.testing.assert_allclose(turned.centres, solid.centres[:, [1, 2, 0]])
    np.testing.assert_allclose(turned.sticks, solid.sticks[..., [1, 2, 0]])


def test_colours_and_labels_fit_the_atoms():
    scene = Scene.of(ammonia(), labels=["N", "a", "b", "c"])
    assert scene.names == ("N", "a", "b", "c")
    assert scene.radii[0] > scene.radii[1]
    np.testing.assert_array_equal(scene.colours, element_colours(ammonia()))
    for wrong in ({"colours": np.zeros((3, 3))}, {"colours": np.zeros(4)}, {"labels": ["N"]}):
        with pytest.raises(ValueError, match=r"needs \(4, 3\) and 4"):
            Scene.of(ammonia(), **wrong)
    with pytest.raises(ValueError, match="at most three dimensions"):
        Scene.of(Geometry(positions=np.zeros((1, 4)), numbers=[0]))


def test_formulas():
    assert formula(ammonia()) == "NH3"
    assert formula(points([[0, 0]])[0]) == "particle"
    assert formula(Geometry(positions=np.zeros((20, 3)), numbers=[1, 6] * 10)) == "C10H10"
