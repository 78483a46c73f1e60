"""Losses of members while they are trained."""

from __future__ import annotations

import numpy as np
import pytest

from agal_toolkit import plots
from agal_toolkit.events import Epoch


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


def test_convergence_against_steps(axes, drawn):
    steps = np.array([100, 1000, 10000])
    curves = {
        "generation 1": (steps, np.array([2.0, 0.4, 0.3])),
        "random": (steps, np.array([-3.0, -1.0, -0.9])),
    }
    plots.convergence_curves(axes, curves, spread={"random": (np.full(3, -4.0), np.full(3, -0.5))})
    drawn(axes, "training steps", "error of the barrier (kcal/mol)")
    assert axes.get_xscale() == "log"
    assert axes.get_yscale() == "linear"
    for line, (name, (at, values)) in zip(axes.lines[:2], curves.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack([at, values]))
    assert [(band.get_y(), band.get_y() + band.get_height()) for band in axes.patches] == [
        pytest.approx((0.25, 0.35)),
        pytest.approx((-0.95, -0.85)),
    ]
    assert len(axes.collections) == 1, "one spread"
    assert list(axes.lines[2].get_ydata()) == [0, 0], "errors of both signs have a line at zero"


def test_convergence_of_what_is_positive(axes, drawn):
    plots.convergence_curves(
        axes,
        {"random": (np.array([10, 100]), np.array([5.0, 0.5]))},
        "RMSE (kcal/mol)",
        tolerance=None,
        logarithmic=True,
    )
    drawn(axes, "training steps", "RMSE (kcal/mol)")
    assert axes.get_yscale() == "log"
    assert not axes.patches
    assert len(axes.lines) == 1
