"""Balls and sticks."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from agal_toolkit import plots
from agal_toolkit.analysis.ammonia_plane import Ground, ammonia
from agal_toolkit.geometry import Geometry
from agal_toolkit.plots.molecules import bonds

AMMONIA = ammonia(1, 1, Ground(0.37, 0.94))
FROM_ABOVE = (90.0, -90.0)                  # x to the right, y upward


def discs(axes, which=-1):
    """Middle, radius and colour of the largest disc of each ball of a collection, in the order of painting."""
    collection = axes.collections[which]
    found = []
    for path, colour in zip(collection.get_paths(), collection.get_facecolor(), strict=True):
        if path.codes is not None and 4 in path.codes:                             # Bezier curves: a circle
            box = path.get_extents()
            found.append(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, box.width / 2, *colour[:3]))
    edges = [row for row in found if any(abs(row[2] - 0.5 * radius) < 1e-3 for radius in covalent_radii[[1, 6, 7, 8]])]
    return np.array(edges)


def test_atoms_are_where_they_are_seen_from_above(axes, figure):
    plots.molecule(axes, AMMONIA, view=FROM_ABOVE)
    figure.canvas.draw()
    found = discs(axes)
    centred = (AMMONIA.positions - AMMONIA.positions.mean(0))[:, :2]
    nitrogen = found[found[:, 2] > 0.3]
    assert len(found) == 4 and len(nitrogen) == 1
    np.testing.assert_allclose(nitrogen[0, :2], centred[0], atol=1e-6)
    assert np.linalg.norm(found[:, None, :2] - centred, axis=-1).min(0) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found[:, 2].max(), 0.5 * covalent_radii[7], atol=1e-4)
    assert axes.get_aspect() == 1 and not axes.axison


@pytest.mark.parametrize(("view", "last"), [((90.0, 0.0), 7), ((-90.0, 0.0), 1)])
def test_the_nearest_is_painted_last(axes, view, last):
    plots.molecule(axes, AMMONIA, view=view)
    found = discs(axes)
    assert found[-1, 2] == pytest.approx(0.5 * covalent_radii[last], abs=1e-4), "nitrogen is above its hydrogens"


def test_from_the_side_z_is_up(axes):
    plots.molecule(axes, AMMONIA, view=(0.0, 30.0))
    found = discs(axes)
    nitrogen, hydrogens = found[found[:, 2] > 0.3][0], found[found[:, 2] < 0.3]
    np.testing.assert_allclose(nitrogen[1] - hydrogens[:, 1], 0.37, atol=1e-6)


def test_colours_of_elements_or_ones_own(new_axes):
    elements, own = new_axes(), new_axes()
    plots.molecule(elements, AMMONIA)
    plots.molecule(own, AMMONIA, colours=["red", "lime", "lime", "lime"])
    assert discs(elements)[np.argmax(discs(elements)[:, 2]), 3:] == pytest.approx(0.8 * jmol_colors[7])
    assert discs(own)[np.argmax(discs(own)[:, 2]), 3:] == pytest.approx([0.8, 0, 0])
    with pytest.raises(ValueError, match="2 colours for 4 atoms"):
        plots.molecule(own, AMMONIA, colours=["red", "red"])


def test_bonds_are_what_chemistry_says():
    assert bonds(AMMONIA) == [(0, 1), (0, 2), (0, 3)]
    far = ammonia(1, 2, Ground(0.37, 0.94))
    assert bonds(far) == []
    assert bonds(Geometry(positions=[[0, 0, 0], [0, 0, 1.4]], numbers=[6, 6])) == [(0, 1)]


def test_a_ghost_is_an_outline_and_fits_into_the_picture(axes, figure):
    ghost = AMMONIA.moved(AMMONIA.positions + [0, 3.0, 0])
    plots.molecule(axes, AMMONIA, ghost=ghost, view=FROM_ABOVE)
    figure.canvas.draw()
    outline = axes.collections[-1]
    assert len(outline.get_paths()) == 4 and all(tuple(colour) == (0, 0, 0, 1) for colour in outline.get_edgecolor())
    assert all(colour[3] == 0 for colour in outline.get_facecolor()), "nothing is hidden"
    assert len(axes.collections[-2].get_segments()) == 6, "two sides for each bond"
    assert axes.get_ylim()[1] > 3.0 + 0.94 / 2


def test_equal_limits_make_pictures_comparable(axes):
    plots.molecule(axes, AMMONIA, limit=2.0)
    assert axes.get_xlim() == (-2, 2) and axes.get_ylim() == (-2, 2)


@pytest.mark.parametrize(("pbc", "edges"), [(True, 12), ((True, True, False), 4), ((False, False, True), 1), (False, 0)])
def test_the_cell_is_drawn_where_it_is_periodic(axes, figure, pbc, edges):
    crystal = Geometry(positions=AMMONIA.positions, numbers=AMMONIA.numbers, cell=[[5, 0, 0], [1, 5, 0], [0, 0, 6]], pbc=pbc)
    plots.molecule(axes, crystal, view=FROM_ABOVE)
    figure.canvas.draw()
    segments = axes.collections[0].get_segments()
    assert len(segments) == edges
    if edges == 12:
        lengths = sorted(np.linalg.norm(np.diff(segment, axis=0)) for segment in segments)
        np.testing.assert_allclose(lengths, [0] * 4 + [5] * 4 + [26**0.5] * 4, atol=1e-6)
        assert axes.get_xlim()[1] >= 3.0 and axes.get_ylim()[1] >= 2.5


def test_model_surfaces_and_single_atoms_have_pictures_too(axes, figure):
    plots.molecule(axes, Geometry(positions=[[0.5, 0.5]], numbers=[0]))
    figure.canvas.draw()
    plots.molecule(axes, Geometry(positions=[[0, 0, 0], [0, 0, 0.7]], numbers=[1, 1]), view=FROM_ABOVE)
    figure.canvas.draw()
