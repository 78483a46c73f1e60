"""A map whose points are molecules, without a browser."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from helpers import ammonia, crystal, picture
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agal_toolkit import Geometry
from studies.atlas import Atlas


@pytest.fixture
def parts(rng):
    geometries = [
        ammonia().moved(
            ammonia().positions + rng.normal(0, 0.1, (4, 3)),
            by="attack",
            generation=k // 4 + 1,
            seed=k,
        )
        for k in range(12)
    ]
    groups = [f"generation {geometry.origin['generation']}" for geometry in geometries]
    energies = {"DFT": np.append(rng.normal(20, 5, 11), np.nan), "committee 1": np.arange(12.0)}
    return {
        "points": rng.normal(0, 1, (12, 2)) * [3, 1],
        "geometries": geometries,
        "groups": groups,
        "energies": energies,
    }


def test_a_click_shows_the_nearest_structure_with_its_energies_and_its_origin(parts):
    atlas = Atlas(**parts)
    before = picture(atlas)
    atlas.click(*(parts["points"][7] + [0.01, -0.01]))
    atlas.settle()
    assert atlas.chosen == 7
    assert picture(atlas) != before
    assert atlas._trouble.value == ""
    for text in ("7, NH3", "generation 2", "committee 1", "7.00 eV", "from: seed", "attack"):
        assert text in atlas._table.value
    np.testing.assert_allclose(atlas._rings[0].get_xydata()[0], parts["points"][7])


def test_what_is_not_known_is_said(parts):
    atlas = Atlas(**parts, unit="kcal/mol")
    atlas.chosen = 11
    atlas.settle()
    assert "not known" in atlas._table.value
    assert "11.00 kcal/mol" in atlas._table.value


def test_structures_are_turned_onto_the_one_before(parts, rng):
    about = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    about *= np.sign(np.linalg.det(about))
    first = parts["geometries"][0]
    parts["geometries"][1] = first.moved(first.positions @ about + 5.0)
    atlas = Atlas(**parts)
    atlas.chosen = 1
    atlas.settle()
    np.testing.assert_allclose(atlas._molecule.geometry.positions, first.positions, atol=1e-8)


def test_crystals_and_molecules_may_be_on_one_map(parts, rng):
    parts["geometries"][3] = crystal(rng, (2, 2, 2))
    atlas = Atlas(**parts)
    for index in (3, 4, 3):
        atlas.chosen = index
        atlas.settle()
        assert atlas._trouble.value == ""
        assert len(atlas._molecule.geometry) == len(parts["geometries"][index])


def test_the_map_has_equal_scales_names_and_a_colour_for_each_group(parts):
    atlas = Atlas(**parts, colours={"generation 2": "#123456"}, axes=("first", "second"))
    axes = atlas._figure.axes[0]
    atlas._figure.canvas.draw()
    assert axes.get_aspect() == 1.0
    assert (axes.get_xlabel(), axes.get_ylabel()) == (
        "first",
        "second",
    )
    width, height = axes.transData.transform([1, 1]) - axes.transData.transform([0, 0])
    assert width == pytest.approx(height)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "generation 1",
        "generation 2",
        "generation 3",
    ]
    colours = [line.get_color() for line in axes.lines[:3]]
    assert colours[1] == "#123456"
    assert len(set(colours)) == 3
    assert sum(len(line.get_xdata()) for line in axes.lines[:3]) == 12
    many = Atlas(parts["points"], parts["geometries"], list("abcdefghijkl"), {})
    assert len({tuple(line.get_color()) for line in many._figure.axes[0].lines[:12]}) == 12


def test_a_click_on_the_canvas(parts):
    pytest.importorskip("ipympl")
    from matplotlib.backend_bases import MouseEvent

    atlas = Atlas(**parts)
    canvas, axes = atlas._figure.canvas, atlas._figure.axes[0]
    x, y = axes.transData.transform(parts["points"][5])
    canvas.callbacks.process(
        "button_press_event", MouseEvent("button_press_event", canvas, x, y, 1)
    )
    assert atlas.settle().chosen == 5
    assert "click on a point" in atlas._hint.value


def test_without_ipympl_the_slider_chooses(parts, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "ipympl" else find(name, *rest),
    )
    atlas = Atlas(**parts)
    before = bytes(atlas._map.value)
    assert "ipympl is not installed" in atlas._hint.value
    atlas._slider.value = 4
    atlas.settle()
    assert bytes(atlas._map.value) != before
    assert "4, NH3" in atlas._table.value


def test_what_cannot_be_shown_is_said_in_its_place(parts):
    parts["geometries"][2] = Geometry(positions=np.zeros((1, 4)), numbers=[0])
    atlas = Atlas(**parts)
    atlas.chosen = 2
    assert "at most three dimensions" in atlas.settle()._trouble.value
    atlas.chosen = 1
    assert atlas.settle()._trouble.value == ""


def test_names_with_dollars_are_no_formulas(parts):
    parts["groups"] = ["a $^{$ b"] * 12
    parts["energies"] = {"e$^{$": np.arange(12.0)}
    parts["geometries"] = [g.moved(g.positions, **{"o$^{$": "v$^{$"}) for g in parts["geometries"]]
    atlas = Atlas(**parts)
    figure = Figure()
    atlas._draw_static(figure)
    FigureCanvasAgg(figure).draw()
    assert "e$^{$" in atlas._table.value
    assert atlas._trouble.value == ""


def test_a_static_picture_that_fails_says_so_in_its_place(parts, monkeypatch):
    atlas = Atlas(**parts)
    before = picture(atlas)
    monkeypatch.setattr(atlas, "_facts", lambda index: 1 / 0)
    data = atlas._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert picture(atlas) != before


def test_one_structure_is_a_map_too(parts):
    atlas = Atlas(parts["points"][:1], parts["geometries"][:1], ["one"], {})
    assert atlas._slider.disabled
    assert atlas._trouble.value == ""
    picture(atlas)


@pytest.mark.parametrize(
    "change",
    [
        {"points": np.zeros((12, 3))},
        {"groups": ["a"]},
        {"energies": {"DFT": [1.0]}},
        {"points": np.full((12, 2), np.nan)},
    ],
)
def test_what_does_not_fit_is_named(parts, change):
    with pytest.raises(ValueError, match="give each structure a point"):
        Atlas(**{**parts, **change})


def test_nothing_is_no_map():
    with pytest.raises(ValueError, match="0 structures"):
        Atlas(np.zeros((0, 2)), [], [], {})
