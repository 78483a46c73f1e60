"""The plane of a model surface."""

from __future__ import annotations

import helpers
import numpy as np

from agal_toolkit import plots
from agal_toolkit.analysis.grids import Grid, Surface


def test_surfaces_show_the_points(axes, generations, drawn):
    surface = Surface.of(generations[1].committee, Grid(points=12))
    plots.committee_surface(axes, generations[1], surface)
    plots.attack_paths(axes, generations[1].adversaries)
    drawn(axes, "x", "y")
    original, earlier, new = (
        axes.collections[-3:] if len(generations[1].labelled) else (*axes.collections[-2:], None)
    )
    assert len(original.get_offsets()) == len(helpers.first_data())
    assert len(earlier.get_offsets()) == len(generations[0].labelled)
    assert new is None or len(new.get_offsets()) == len(generations[1].labelled)
    assert axes.get_title(loc="left") == "generation 2"


def test_the_energy_scale_is_the_same_for_all(axes, generations, drawn, new_axes):
    grid = Grid(points=12)
    pictures = []
    for shift in (0.0, 100.0):
        panel = new_axes()
        plots.energy_surface(panel, grid, Surface.of(generations[0].committee, grid).energy + shift)
        pictures.append(drawn(panel, "x", "y"))
    assert not np.array_equal(*pictures)
    plots.uncertainty_surface(axes, generations[0], Surface.of(generations[0].committee, grid))
    drawn(axes, "x", "y")
