"""Losses of members while they are trained."""

from __future__ import annotations

import numpy as np

from agal_toolkit import plots
from agal_toolkit.events import Epoch


def test_training_curves_pass_over_epochs_without_validation(axes, drawn):
    epochs = [Epoch(e, 10, np.array([2.0 / e, 1.0 / e]), np.full(2, 1.0 if e in (1, 10) else np.nan), np.full(2, 1e-3)) for e in range(1, 11)]
    plots.training_curves(axes, epochs)
    drawn(axes, "epoch", "loss of each member")
    assert [len(curve.get_xdata()) for curve in axes.lines[:4]] == [10, 10, 2, 2]
