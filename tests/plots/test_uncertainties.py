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
