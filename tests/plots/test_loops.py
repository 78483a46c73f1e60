"""Loops against their generations, and many of them side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agal_toolkit import plots


def test_curves_have_a_point_for_each_generation(axes, generations, drawn):
    plots.learning_curves(axes, {"adversarial": generations, "random": generations[:1]})
    drawn(axes, "generation", "RMSE on the grid")
    assert [len(curve.get_xdata()) for curve in axes.lines] == [2, 1]
    assert axes.lines[0].get_color() == plots.ADVERSARIAL
    assert axes.lines[1].get_color() == plots.RANDOM
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [g.metrics["rmse"] for g in generations])


@pytest.mark.parametrize(
    ("plot", "label"),
    [
        (plots.data_curves, "labelled structures"),
        (plots.sampled_energies, "energy of sampled points"),
    ],
)
def test_other_curves(axes, generations, plot, label, drawn):
    plot(axes, {"adversarial": generations})
    drawn(axes, "generation", label)
    plot(axes, {"adversarial": ()})


def test_a_metric_that_is_never_positive_is_drawn_on_a_linear_axis(axes, generations):
    flat = [replace(generation, metrics={"barrier": 0.0}) for generation in generations]
    plots.learning_curves(axes, {"adversarial": flat}, "barrier", "barrier")
    assert axes.get_yscale() == "linear"


def test_energies_count_from_a_zero_in_a_unit(axes, generations, drawn):
    plots.sampled_energies(axes, {"adversarial": generations}, zero=-3.0, unit=0.5, name="kcal/mol")
    drawn(axes, "generation", "energy of sampled points (kcal/mol)")
    for line, generation in zip(
        axes.lines, [g for g in generations if len(g.labelled)], strict=False
    ):
        np.testing.assert_allclose(line.get_ydata(), (generation.labelled.energies + 3.0) / 0.5)


@pytest.mark.parametrize(("unit", "scale"), [(1.0, "linear"), (1e-3, "symlog")])
def test_energies_are_logarithmic_only_where_they_are_high(axes, generations, unit, scale):
    plots.sampled_energies(axes, {"adversarial": generations}, zero=-3.0, unit=unit)
    assert axes.get_yscale() == scale


def test_bands_are_quartiles_and_skip_what_is_empty(axes, drawn):
    runs = [
        np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        np.array([]),
        np.array([10.0, 20.0, 30.0, 40.0, 50.0]),
    ]
    plots.band(axes, {"random": runs}, "RMSE on the grid")
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
    plots.pairs_summary(*panels, pairs, ("adversarial", "random"))
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
    plots.error_rows(
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


def test_verdicts_are_counted(axes, generations, drawn):
    plots.verdict_bars(axes, generations[0])
    drawn(axes, "candidates", "")
    assert sorted(bar.get_width() for bar in axes.patches) == sorted(
        generations[0].verdicts.count(v) for v in set(generations[0].verdicts)
    )
