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
