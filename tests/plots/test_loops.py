"""Loops against their generations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agal_toolkit import plots
from agal_toolkit.events import Epoch


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


def test_losses_are_drawn_as_the_papers_print_them(axes, generations, drawn):
    adversaries = generations[0].adversaries
    plots.attack_losses(axes, adversaries)
    drawn(axes, "attack step", r"$\mathcal{L}_\mathrm{adv}$")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), -adversaries[0].losses)


def test_training_curves_pass_over_epochs_without_validation(axes, drawn):
    epochs = [
        Epoch(
            e,
            10,
            np.array([2.0 / e, 1.0 / e]),
            np.full(2, 1.0 if e in (1, 10) else np.nan),
            np.full(2, 1e-3),
        )
        for e in range(1, 11)
    ]
    plots.training_curves(axes, epochs)
    drawn(axes, "epoch", "loss of each member")
    assert [len(curve.get_xdata()) for curve in axes.lines[:4]] == [10, 10, 2, 2]


@pytest.mark.parametrize("late", [1.0, 0.01])
def test_the_legend_of_losses_hides_none_of_them(axes, late):
    losses = np.geomspace(1.0, late, 100)
    axes.figure.set_size_inches(4.7, 2.8)
    plots.training_curves(
        axes,
        [
            Epoch(k + 1, 100, np.full(2, 0.5 * loss), np.full(2, loss), np.full(2, 1e-3))
            for k, loss in enumerate(losses)
        ],
    )
    axes.figure.canvas.draw()
    legend = axes.get_legend().get_window_extent()
    for line in axes.lines[:4]:
        assert not legend.contains(*axes.transData.transform(line.get_xydata()).T[:, -1])
        assert not any(
            legend.contains(*point) for point in axes.transData.transform(line.get_xydata())
        )
