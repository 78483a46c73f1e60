"""Pictures of calibration and of promises kept."""

from __future__ import annotations

import numpy as np

from agal_toolkit import plots


def test_densities_of_ratios(axes, drawn, rng):
    r = rng.normal(size=20000)
    plots.ratio_densities(axes, {"calibrated": r, "raw": np.append(1.6 * r[:999], 50.0)})
    drawn(axes, "error / uncertainty", "density")
    normal, calibrated = axes.lines[0].get_xydata(), axes.lines[1].get_xydata()
    near = np.abs(calibrated[:, 0]) < 2
    np.testing.assert_allclose(calibrated[near, 1], np.interp(calibrated[near, 0], *normal.T), rtol=0.2)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["normal", "calibrated", "raw, 0.1% beyond"]


def test_errors_in_bins(axes, drawn):
    x = np.geomspace(0.02, 0.5, 8)
    plots.errors_against_sigma(axes, {"calibrated": np.stack([x, x], 1), "raw": np.stack([x / 1.5, x], 1)})
    drawn(axes, "uncertainty (eV/Å)", "rms error (eV/Å)")
    assert axes.get_xlim() == axes.get_ylim() and axes.get_xscale() == "log"
    np.testing.assert_allclose(axes.lines[1].get_xydata(), np.stack([x, x], 1))


def test_promises_and_what_was_delivered(axes, drawn, rng):
    targets = np.repeat([0.1, 0.2], 10)
    found = targets * rng.normal(1.1, 0.1, 20)
    found[3] = np.nan                                                                   # its label has not come yet
    plots.promises(axes, targets, found, targets * 1.01)
    drawn(axes, "target (eV/Å)", "error (eV/Å)")
    medians = [container.lines[0].get_xydata()[0] for container in axes.containers]
    np.testing.assert_allclose(medians, [[0.1, np.nanmedian(found[:10])], [0.2, np.median(found[10:])]])
