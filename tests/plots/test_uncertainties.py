"""Uncertainties and errors."""

from __future__ import annotations

import numpy as np

from agal_toolkit import plots


def test_sigma_and_error(axes, drawn):
    sigma, error = np.geomspace(1e-3, 10, 50), np.geomspace(1e-2, 100, 50)
    plots.sigma_against_error(axes, sigma, error)
    drawn(axes, r"uncertainty $\sigma_F$", "force error of the mean")
    assert len(axes.lines[0].get_xdata()) == 50
    assert axes.get_xlim() == axes.get_ylim()


def test_errors_in_bins(axes, drawn):
    x = np.geomspace(0.02, 0.5, 8)
    plots.errors_against_sigma(
        axes, {"calibrated": np.stack([x, x], 1), "raw": np.stack([x / 1.5, x], 1)}
    )
    drawn(axes, "uncertainty (eV/Å)", "rms error (eV/Å)")
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xscale() == "log"
    np.testing.assert_allclose(axes.lines[1].get_xydata(), np.stack([x, x], 1))


def test_promises_and_what_was_delivered(axes, drawn, rng):
    targets = np.repeat([0.1, 0.2], 10)
    errors = targets * rng.normal(1.1, 0.1, 20)
    errors[3] = np.nan  # its label has not come yet
    plots.promises(axes, targets, errors, targets * 1.01)
    drawn(axes, "target (eV/Å)", "error (eV/Å)")
    medians = [container.lines[0].get_xydata()[0] for container in axes.containers]
    np.testing.assert_allclose(
        medians, [[0.1, np.nanmedian(errors[:10])], [0.2, np.median(errors[10:])]]
    )
