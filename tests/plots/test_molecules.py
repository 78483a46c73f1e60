"""Balls and sticks."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from agal_toolkit import plots, points
from agal_toolkit.geometry import Geometry
from agal_toolkit.plots.molecules import heat
from agal_toolkit.plots.scene import Scene, element_colours
from studies.ammonia.plane import Ground, ammonia

AMMONIA = ammonia(1, 1, Ground(0.37, 0.94))
FROM_ABOVE = (90.0, -90.0)  # x to the right, y upward
NITROGEN, HYDROGEN = Scene.of(AMMONIA).radii[:2]


def balls(axes):
    """Return (balls, 7) centre, radius, and colour and opacity, in the order of painting."""
    [collection] = [drawn for drawn in axes.collections if isinstance(drawn, PathCollection)]
    faces, edges = collection.get_facecolor(), collection.get_edgecolor()
    result = []
    for path, face, edge in zip(collection.get_paths(), faces, edges, strict=True):
        # Bezier curves with an edge: not the lighter discs on a ball
        if path.codes is not None and 4 in path.codes and edge[3] > 0:
            box = path.get_extents()
            result.append(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, box.width / 2, *face))
    return np.array(result)


def pixels(axes):
    axes.figure.canvas.draw()
    return np.asarray(axes.figure.canvas.buffer_rgba())[..., :3].astype(int)


def test_atoms_are_where_they_are_seen_from_above(axes, figure):
    plots.molecule(axes, AMMONIA, view=FROM_ABOVE)
    figure.canvas.draw()
    circles = balls(axes)
    centred = (AMMONIA.positions - AMMONIA.positions.mean(0))[:, :2]
    nitrogen = circles[circles[:, 2] > (NITROGEN + HYDROGEN) / 2]
    assert len(circles) == 4
    assert len(nitrogen) == 1
    np.testing.assert_allclose(nitrogen[0, :2], centred[0], atol=1e-6)
    assert np.linalg.norm(circles[:, None, :2] - centred, axis=-1).min(0) == pytest.approx(
        0, abs=1e-6
    )
    assert nitrogen[0, 2] == pytest.approx(NITROGEN, abs=1e-4)
    assert axes.get_aspect() == 1
    assert not axes.axison


@pytest.mark.parametrize(("view", "last"), [((90.0, 0.0), NITROGEN), ((-90.0, 0.0), HYDROGEN)])
def test_the_nearest_is_painted_last(axes, view, last):
    plots.molecule(axes, AMMONIA, view=view)
    assert balls(axes)[-1, 2] == pytest.approx(last, abs=1e-4), "nitrogen is above its hydrogens"


def test_from_the_side_z_is_up(axes):
    plots.molecule(axes, AMMONIA, view=(0.0, 30.0))
    circles = balls(axes)
    heavy = circles[:, 2] > (NITROGEN + HYDROGEN) / 2
    np.testing.assert_allclose(circles[heavy][0, 1] - circles[~heavy][:, 1], 0.37, atol=1e-6)


def test_a_rotation_is_a_view_too(new_axes):
    angles, rotation = new_axes(), new_axes()
    plots.molecule(angles, AMMONIA, view=FROM_ABOVE)
    plots.molecule(rotation, AMMONIA, view=np.eye(3))
    np.testing.assert_allclose(balls(angles), balls(rotation), atol=1e-9)


def test_colours_of_elements_or_ones_own(new_axes):
    elements, named, rgb = new_axes(), new_axes(), new_axes()
    plots.molecule(elements, AMMONIA)
    plots.molecule(named, AMMONIA, colours=["red", "lime", "lime", "lime"])
    plots.molecule(rgb, AMMONIA, colours=[[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]])
    blue, red = (balls(axes)[np.argmax(balls(axes)[:, 2]), 3:6] for axes in (elements, named))
    assert blue.argmax() == element_colours(AMMONIA)[0].argmax()
    assert red[0] > 0.8
    assert red[1:].max() < 0.2
    np.testing.assert_array_equal(balls(named), balls(rgb))
    for wrong in (["red", "red"], np.zeros((3, 3))):
        with pytest.raises(ValueError, match=r"needs \(4, 3\) and 4"):
            plots.molecule(rgb, AMMONIA, colours=wrong)


def test_what_is_far_is_paler(axes):
    chain = Geometry(positions=[[0, 0, 0], [0, 0, 3.0], [0, 0, 6.0]], numbers=[7, 7, 7])
    plots.molecule(axes, chain, view=np.eye(3))
    assert (np.diff(balls(axes)[:, 3:5], axis=0) < 0).all(), "from the farthest to the nearest"


def test_every_atom_has_its_colour_where_it_is(new_axes):
    axes = new_axes()
    axes.figure.set_size_inches(3, 3)
    axes.set_position((0, 0, 1, 1))
    geometry, colours = helpers.ammonia(), np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0], [1, 0, 1]])
    plots.molecule(axes, geometry, colours=colours, view=np.eye(3), limit=2.0)
    seen, centred = pixels(axes), geometry.positions - geometry.positions.mean(0)
    scale = len(seen) / 4
    for position, colour in zip(centred, colours, strict=True):
        hue = seen[round(scale * (2 - position[1])), round(scale * (2 + position[0]))]
        assert np.abs(hue / hue.max() - colour).max() < 0.45, (position, hue)


def test_an_outline_leaves_what_is_below_it_and_fits_into_the_picture(axes, figure):
    ghost = AMMONIA.moved(AMMONIA.positions + np.array([0, 3.0, 0]))
    plots.molecule(axes, AMMONIA, ghost=ghost, view=FROM_ABOVE)
    figure.canvas.draw()
    [outline] = [drawn for drawn in axes.collections if isinstance(drawn, LineCollection)]
    assert all(tuple(colour) == (0, 0, 0, 1) for colour in outline.get_edgecolor())
    assert len(balls(axes)) == 4
    ends = np.array(outline.get_segments()).reshape(-1, 2)
    np.testing.assert_allclose(ends.min(0)[1], -0.94 * np.sqrt(3) / 2 - HYDROGEN, atol=0.01)
    nitrogen = np.linalg.norm(ends, axis=1)
    assert ((nitrogen > NITROGEN - 1e-6) | (nitrogen < 1e-9)).all(), (
        "nitrogen is nearer than its sticks, and hides them"
    )
    assert axes.get_ylim()[0] < -3.0 - 0.94 / 2, "the ghost is in the middle"


def test_a_ghost_may_be_translucent(new_axes):
    axes = new_axes()
    start = helpers.ammonia()
    plots.molecule(
        axes,
        start.moved(start.positions + np.array([3.0, 0, 0])),
        ghost=start,
        outline=False,
        view=np.eye(3),
    )
    circles = balls(axes)
    assert len(circles) == 8
    assert len(axes.collections) == 1
    np.testing.assert_array_equal(
        circles[:, 6] < 0.5, circles[:, 0] < 1.5
    )  # the ghost is in the middle


def test_bonds_across_a_face_leave_the_cell_on_both_sides(axes):
    chain = Geometry(
        positions=[[0.0, 2.0, 2.0], [3.0, 2.0, 2.0]], numbers=[6, 6], cell=4.5 * np.eye(3), pbc=True
    )
    plots.molecule(axes, chain, view=FROM_ABOVE)
    assert axes.get_xlim()[1] > 4.5 / 2 + 0.7


@pytest.mark.parametrize(
    ("pbc", "edges"), [(True, 12), ((True, True, False), 4), ((False, False, True), 1), (False, 0)]
)
def test_the_cell_is_drawn_where_it_is_periodic(axes, figure, pbc, edges):
    crystal = Geometry(
        positions=AMMONIA.positions,
        numbers=AMMONIA.numbers,
        cell=[[5, 0, 0], [1, 5, 0], [0, 0, 6]],
        pbc=pbc,
    )
    plots.molecule(axes, crystal, view=FROM_ABOVE)
    figure.canvas.draw()
    pieces = [path.vertices for path in axes.collections[0].get_paths() if len(path.vertices) == 2]
    lengths = sum(np.linalg.norm(np.diff(piece, axis=0)) for piece in pieces)
    assert (len(pieces) > 0) == (edges > 0)
    assert lengths == pytest.approx(
        {12: 4 * 5 + 4 * 26**0.5, 4: 2 * 5 + 2 * 26**0.5}.get(edges, 0.0)
    )
    if edges == 12:
        assert axes.get_xlim()[1] >= 3.0
        assert axes.get_ylim()[1] >= 2.5


def test_equal_limits_make_pictures_comparable(axes):
    plots.molecule(axes, AMMONIA, limit=2.0, bar=True)
    assert axes.get_xlim() == (-2, 2)
    assert axes.get_ylim() == (-2, 2)
    [line] = axes.lines
    assert np.ptp(line.get_xdata()) == pytest.approx(1.0)
    assert [text.get_text() for text in axes.texts] == ["1 Å"]


@pytest.mark.parametrize("kind", ["crystal", "chain", "point", "overlapping"])
def test_everything_has_a_picture(axes, rng, kind):
    geometry = {
        "crystal": helpers.crystal(rng, (2, 2, 3)),
        "chain": helpers.molecule(rng, 2),
        "point": points([[0.3, 0.2]])[0],
        "overlapping": Geometry(positions=[[0, 0, 0], [0, 0, 0.7]], numbers=[1, 1]),
    }[kind]
    plots.molecule(axes, geometry, labels=["x"] * len(geometry))
    assert (pixels(axes) < 200).any()
    assert len(axes.texts) == len(geometry)


def test_heat_rises():
    colours = heat([0.0, 0.5, 1.0, 2.0], 1.0)
    assert (np.diff(colours.sum(1)[:3]) < 0).all()
    np.testing.assert_array_equal(colours[2], colours[3])
    assert np.isfinite(heat([0.0, 0.0], 0.0)).all()


def test_a_bar_explains_the_colours_of_atoms(axes):
    plots.molecule(axes, AMMONIA, colours=heat(np.array([0.0, 0.1, 0.2, 0.3]), 0.3))
    plots.heat_bar([axes], 0.3, "uncertainty (eV/Å)")
    bar = axes.figure.axes[-1]
    assert bar.get_ylabel() == "uncertainty (eV/Å)"
    assert bar.get_ylim() == (0, 0.3)
    mapped = bar._colorbar.mappable
    np.testing.assert_allclose(mapped.to_rgba(0.15)[:3], heat([0.15], 0.3)[0], atol=0.02)
