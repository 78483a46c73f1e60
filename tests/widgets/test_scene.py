"""What there is to see of a structure, and its picture."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import ammonia, crystal, molecule
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agal_toolkit import Geometry, points
from agal_toolkit.widgets import draw_molecule
from agal_toolkit.widgets.ball_and_stick import heat
from agal_toolkit.widgets.scene import Scene, bearing, cell_edges, element_colours, formula, half_bonds


@pytest.fixture
def axes():
    figure = Figure(figsize=(3, 3), dpi=100)
    FigureCanvasAgg(figure)
    return figure.add_axes((0, 0, 1, 1))


def pixels(axes):
    axes.figure.canvas.draw()
    return np.asarray(axes.figure.canvas.buffer_rgba())[..., :3].astype(int)


def test_ammonia_has_three_bonds_and_keeps_them_when_it_is_distorted(rng):
    for spread in (0.0, 0.12):
        geometry = ammonia().moved(ammonia().positions + rng.normal(0, spread, (4, 3)))
        owners, halves = half_bonds(geometry)
        assert sorted(owners) == [0, 0, 0, 1, 2, 3]
        for atom in (1, 2, 3):
            np.testing.assert_allclose(halves[owners == atom][0] * 2, geometry.positions[0] - geometry.positions[atom])
    far = ammonia().positions.copy()
    far[3] *= 2.5                                                      # 2.5 angstrom away: no bond
    assert sorted(half_bonds(ammonia().moved(far))[0]) == [0, 0, 1, 2]


def test_bonds_cross_the_faces_of_a_cell():
    chain = Geometry(positions=[[0.2, 2.0, 2.0], [3.8, 2.0, 2.0]], numbers=[6, 6], cell=4.0 * np.eye(3), pbc=[True, False, False])
    owners, halves = half_bonds(chain)
    assert owners.tolist() == [0, 1]
    np.testing.assert_allclose(halves[:, 0], [-0.2, 0.2])              # out of the cell on either side
    assert not len(half_bonds(Geometry(positions=chain.positions, numbers=[6, 6]))[0])


def test_a_cell_has_twelve_edges(rng):
    geometry = crystal(rng, (2, 2, 2))
    edges = cell_edges(geometry)
    lengths = np.sort(np.linalg.norm(edges[:, 0] - edges[:, 1], axis=1))
    assert edges.shape == (12, 2, 3)
    np.testing.assert_allclose(lengths, np.sort(np.repeat(np.linalg.norm(geometry.cell, axis=1), 4)))
    assert cell_edges(ammonia()).shape == (0, 2, 3)
    scene = Scene.of(geometry)
    np.testing.assert_allclose(scene.edges.reshape(-1, 3).mean(0), 0.0, atol=1e-12)       # in the middle of the view
    assert scene.reach >= np.linalg.norm(scene.edges, axis=2).max()


def test_it_is_looked_at_from_a_side_that_turns_with_it(rng):
    geometry = ammonia().moved(ammonia().positions + rng.normal(0, 0.1, (4, 3)))
    turn = bearing(geometry)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    about = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    about *= np.sign(np.linalg.det(about))
    seen = [np.abs((g.positions - g.positions.mean(0)) @ bearing(g).T) for g in (geometry, geometry.moved(geometry.positions @ about.T))]
    assert np.ptp(seen[0][:, 2]) <= np.ptp(seen[0][:, 0]) + 0.3 and seen[0].shape == seen[1].shape
    np.testing.assert_allclose(bearing(points([[0.3, 0.2]])[0]), np.eye(3))


def test_colours_and_labels_fit_the_atoms():
    scene = Scene.of(ammonia(), labels=["N", "a", "b", "c"])
    assert scene.names == ("N", "a", "b", "c") and scene.radii[0] > scene.radii[1]
    np.testing.assert_array_equal(scene.colours, element_colours(ammonia()))
    for wrong in ({"colours": np.zeros((3, 3))}, {"colours": np.zeros(4)}, {"labels": ["N"]}):
        with pytest.raises(ValueError, match=r"needs \(4, 3\) and 4"):
            Scene.of(ammonia(), **wrong)
    with pytest.raises(ValueError, match="at most three dimensions"):
        Scene.of(Geometry(positions=np.zeros((1, 4)), numbers=[0]))


def test_formulas():
    assert [formula(ammonia()), formula(points([[0, 0]])[0]), formula(Geometry(positions=np.zeros((20, 3)), numbers=[1, 6] * 10))] == ["NH3", "particle", "C10H10"]


def test_the_picture_shows_every_atom_where_it_is(axes):
    geometry = ammonia()
    colours = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0], [1, 0, 1]])
    draw_molecule(axes, geometry, colours=colours, turn=np.eye(3), reach=2.0)
    seen, centred = pixels(axes), geometry.positions - geometry.positions.mean(0)
    for position, colour in zip(centred, colours, strict=True):
        column, row = round(150 + 75 * position[0]), round(150 - 75 * position[1])
        hue = seen[row, column] / seen[row, column].max()
        assert np.abs(hue - colour).max() < 0.45 and hue.argmax() == colour.argmax(), (position, seen[row, column])


def test_a_ghost_is_pale_and_the_picture_without_it_another(axes, rng):
    start = ammonia()
    moved = start.moved(start.positions + [3.0, 0, 0])
    draw_molecule(axes, moved, ghost=start, turn=np.eye(3), reach=6.0)
    seen = pixels(axes)
    ghost, solid = seen[140:160, 140:160].min(axis=(0, 1)), seen[140:160, 215:235].min(axis=(0, 1))       # 25 pixels an angstrom
    assert ghost.min() > 120 and solid.min() < 80
    assert [text.get_text() for text in axes.texts] == ["1 Å"] and not axes.axison


@pytest.mark.parametrize("kind", ["crystal", "chain", "point"])
def test_everything_has_a_picture(axes, rng, kind):
    geometry = {"crystal": crystal(rng, (2, 2, 3)), "chain": molecule(rng, 2), "point": points([[0.3, 0.2]])[0]}[kind]
    draw_molecule(axes, geometry, labels=["x"] * len(geometry))
    assert (pixels(axes) < 200).any() and len(axes.texts) == len(geometry) + 1


def test_heat_rises():
    colours = heat([0.0, 0.5, 1.0, 2.0], 1.0)
    assert (np.diff(colours.sum(1)[:3]) < 0).all()
    np.testing.assert_array_equal(colours[2], colours[3])
    assert np.isfinite(heat([0.0, 0.0], 0.0)).all()
