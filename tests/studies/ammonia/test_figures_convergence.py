"""Quantities against steps of training."""

from __future__ import annotations

import numpy as np
import pytest

from studies.ammonia import figures


def test_convergence_against_steps(axes, drawn):
    steps = np.array([100, 1000, 10000])
    curves = {
        "generation 1": (steps, np.array([2.0, 0.4, 0.3])),
        "random": (steps, np.array([-3.0, -1.0, -0.9])),
    }
    figures.convergence_curves(
        axes, curves, spread={"random": (np.full(3, -4.0), np.full(3, -0.5))}
    )
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
    figures.convergence_curves(
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
