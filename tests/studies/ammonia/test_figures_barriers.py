"""Paths over the barrier and errors of barriers."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import same_color

from agal_toolkit import plots
from studies.ammonia import figures

ALONG = np.linspace(0, 1, 11)


def path(height):
    return ALONG, height * np.sin(np.pi * ALONG) ** 2


def test_paths_of_reference_committees_and_members(axes, drawn):
    paths = {"DFT": path(5.0), "generation 1": path(4.0), "random": path(8.0)}
    figures.inversion_paths(
        axes, paths, members={"generation 1": [path(3.5), path(4.5)]}, barrier=5.0
    )
    drawn(axes, "fraction of the path", "energy (kcal/mol)")
    by_name = {line.get_label(): line for line in axes.lines}
    for name, (along, energies) in paths.items():
        np.testing.assert_array_equal(by_name[name].get_xdata(), along)
        np.testing.assert_array_equal(by_name[name].get_ydata(), energies)
    assert by_name["DFT"].get_color() == plots.TRUTH
    assert by_name["random"].get_color() == plots.RANDOM
    members = axes.lines[:2]
    assert [line.get_ydata().max() for line in members] == [3.5, 4.5]
    assert all(
        line.get_linewidth() < by_name["generation 1"].get_linewidth()
        and line.get_color() == by_name["generation 1"].get_color()
        for line in members
    )
    assert by_name["DFT"].get_zorder() == max(line.get_zorder() for line in axes.lines), (
        "the reference lies on top"
    )
    assert [text.get_text() for text in axes.texts] == ["DFT 5.00"]
    assert list(axes.lines[-1].get_ydata()) == [5.0, 5.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(paths)


@pytest.mark.parametrize("linear", [None, 1.0])
def test_errors_of_barriers_by_row(axes, drawn, linear):
    rows = {
        "generation 1": (np.array([-1.0, -0.8, -0.9]), (-1.0, -0.8)),
        "generation 2": (np.array([0.1]), None),
        "random": (np.array([40.0, np.nan]), None),
        "none": ([], None),
    }
    figures.barrier_errors(axes, rows, linear=linear)
    drawn(axes, "error of the barrier (kcal/mol)", "")
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "generation 1",
        "generation 2",
        "random\n1 failed",
        "none",
    ]
    band = axes.patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == (
        -0.25,
        0.25,
    )
    assert axes.get_legend().get_texts()[0].get_text() == "±0.25 kcal/mol"
    zero, seeds, interval, median, *others = axes.lines
    assert list(zero.get_xdata()) == [0, 0]
    np.testing.assert_array_equal(seeds.get_xdata(), [-1.0, -0.8, -0.9])
    assert set(seeds.get_ydata()) == {0}
    assert list(interval.get_xdata()) == [-1.0, -0.8]
    assert list(median.get_xdata()) == [-0.9]
    assert same_color(median.get_color(), plots.looks(rows)["generation 1"].colour)
    assert [list(line.get_xdata()) for line in others] == [[0.1], [0.1], [40.0], [40.0], []], (
        "no interval, no bar"
    )
    assert axes.get_xscale() == ("linear" if linear is None else "symlog")
    assert axes.get_xlim()[1] > 40
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is on top"
