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


def test_histogram_of_uncertainties(axes, drawn):
    plots.sigma_histogram(axes, np.geomspace(1e-3, 10, 50), threshold=0.1)
    drawn(axes, r"$\sigma_F$", "structures")
    assert sum(bar.get_height() for bar in axes.patches) == 50
