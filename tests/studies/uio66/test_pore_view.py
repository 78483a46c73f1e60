"""A framework as sticks and its guests as balls, in the picture and in what the view is sent."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from agal_toolkit import plots
from agal_toolkit.plots.scene import STICK, Scene
from studies.uio66.pore_view import Pore, as_sticks, draw_pore
from studies.uio66.recipes import first
from studies.uio66.structures import DRY, LIQUID, name

WET = first(name(14))[0]


def drawn(structure, colours=None):
    axes = Figure().subplots()
    draw_pore(axes, structure, colours)
    kinds = LineCollection, PathCollection
    lines, balls = ([c for c in axes.collections if isinstance(c, kind)] for kind in kinds)
    return lines, balls


def test_only_the_framework_becomes_thin():
    scene = Scene.of(WET)
    thin = as_sticks(scene, 114)
    assert (thin.radii[:114] == STICK).all()
    np.testing.assert_array_equal(thin.radii[114:], scene.radii[114:])
    np.testing.assert_array_equal(thin.sticks, scene.sticks)


def test_sticks_have_the_colours_of_their_atoms():
    values = np.zeros(len(WET))
    values[:6] = 1.0  # zirconium
    colours = plots.heat(values, 1.0)
    lines, balls = drawn(WET, colours)
    scene = Scene.of(WET)
    sticks = int((scene.owners < 114).sum())
    painted = lines[0].get_colors()[1::2, :3]
    assert len(painted) == sticks
    # half bonds of zirconium are the only red ones; far ones are paler
    red = painted[:, 1] < colours[-1, 1] - 0.15
    assert red.sum() == pytest.approx((scene.owners < 6).sum(), abs=sticks / 20)
    assert len(balls) == 1


@pytest.mark.parametrize(("system", "lines", "balls"), [(DRY, 2, 0), (LIQUID, 1, 1)])
def test_a_dry_framework_and_a_liquid_are_drawn(system, lines, balls):
    found = drawn(first(system)[0])
    assert [len(each) for each in found] == [lines, balls]


def test_the_live_view_gets_sticks_and_balls(monkeypatch):
    view, sent = Pore(size=(3.0, 3.0)), []
    if not view.live:
        pytest.skip("nglview is not installed")
    monkeypatch.setattr(type(view._view), "send", lambda self, content: sent.append(content))
    view.show(WET, colours=plots.heat(np.ones(len(WET)), 1.0))
    code = sent[-1]["args"][0]
    scene, _ = json.JSONDecoder().raw_decode(code[len("const scene = ") :])
    radii = scene["parts"][0]["balls"]["radius"]
    assert radii[:114] == [STICK] * 114
    assert min(radii[114:]) > 0.3
    assert view._repr_mimebundle_()["image/png"]
    view.show(first(LIQUID)[0])
    assert view._repr_mimebundle_()["image/png"]
    view.clear()
