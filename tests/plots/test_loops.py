"""Loops against their generations."""

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


def test_verdicts_are_counted(axes, generations, drawn):
    plots.verdict_bars(axes, generations[0])
    drawn(axes, "candidates", "")
    verdicts = generations[0].verdicts
    counts = sorted(verdicts.count(verdict) for verdict in set(verdicts))
    assert sorted(bar.get_width() for bar in axes.patches) == counts
