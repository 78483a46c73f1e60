"""Pictures of many loops side by side, and of dynamics."""

from __future__ import annotations

import numpy as np
import pytest

from agal_toolkit import plots
from studies.double_well import figures
from studies.double_well.langevin import Trajectory


def test_bands_are_quartiles_and_skip_what_is_empty(axes, drawn):
    runs = [
        np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        np.array([]),
        np.array([10.0, 20.0, 30.0, 40.0, 50.0]),
    ]
    figures.band(axes, {"random": runs}, "RMSE on the grid")
    drawn(axes, "generation", "RMSE on the grid")
    assert axes.lines[0].get_xdata().tolist() == [1, 3]
    assert axes.lines[0].get_ydata().tolist() == [
        3.0,
        30.0,
    ]
    corners = axes.collections[0].get_paths()[0].vertices
    assert {(1.0, 2.0), (1.0, 4.0), (3.0, 20.0), (3.0, 40.0)} <= set(map(tuple, corners.tolist()))


def test_figure_2b_is_drawn_from_records(figure, rng, drawn):
    """Every number of every pair is in its panel, energies of all pairs pooled."""

    def loop(k):
        return [
            {
                "metrics": {"rmse": 8.0 / (k + g + 1)},
                "structures": 60 + 10 * g,
                "energies": rng.normal(size=3 if g < 2 else 0).tolist(),
            }
            for g in range(3)
        ]

    pairs = [{"seed": k, "adversarial": loop(k), "random": loop(2 * k)} for k in range(3)]
    panels = figure.subplots(1, 3)
    figures.pairs_summary(*panels, pairs, ("adversarial", "random"))
    for axes, label in zip(
        panels, ("RMSE on the grid", "training points", "energy of sampled points"), strict=True
    ):
        drawn(axes, "generation", label)
        assert [line.get_color() for line in axes.lines] == [plots.ADVERSARIAL, plots.RANDOM]
    assert panels[0].lines[0].get_ydata().tolist() == [4.0, 8 / 3, 2.0]
    pooled = [e for pair in pairs for e in pair["adversarial"][0]["energies"]]
    assert len(pooled) == 9
    assert panels[2].lines[0].get_ydata()[0] == pytest.approx(np.median(pooled))
    assert len(panels[2].lines[0].get_xdata()) == 2


def test_rows_of_errors_show_every_run(axes, drawn):
    figures.error_rows(
        axes,
        ["ours", "other"],
        [np.array([0.1, 0.2, 0.4]), np.array([1.0, 2.0])],
        [(0.1, 0.4), (1.0, 2.0)],
        "final RMSE",
    )
    drawn(axes, "final RMSE", "")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ours", "other"]
    assert axes.get_ylim() == (1.5, -0.5), "the first row is on top"
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [1, 1, 2, 2, 2, 2, 3]


def test_density_is_normalised(axes, rng, drawn):
    trajectory = Trajectory(np.arange(5.0), rng.uniform(-1, 1, (5, 400, 1, 2)), np.zeros((5, 400)))
    figures.position_density(
        axes, {"flat": trajectory}, (np.array([-1.0, 1.0]), np.array([0.5, 0.5]))
    )
    drawn(axes, "x", "density of frames")
    values, edges, _ = axes.patches[0].get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(1.0)
