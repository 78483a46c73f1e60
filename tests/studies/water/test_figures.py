"""The ledger of a run: shares, totals, and a legend beside the bars."""

from __future__ import annotations

import numpy as np

from studies.water.figures import PAPER, cost_shares

COSTS = {
    "labels": {"start": 10, "attacks": 40, "calibration": 10},
    "force calls": {"attacks": 3.2e5, "simulations": 2.4e6, "filters": 5e4},
    "seconds": {"attacks": 800, "training": 3000, "simulations": 5200, "labels": 55},
}


def test_shares_and_totals_of_costs(axes, drawn):
    axes.figure.set_size_inches(9, 3.5)
    cost_shares(axes, COSTS)
    drawn(axes, "share (%)", "")
    widths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
    np.testing.assert_allclose(widths.sum(0), 1)
    np.testing.assert_allclose(widths[1], [40 / 60, 3.2e5 / 2.77e6, 800 / 9055])  # attacks
    texts = [text.get_text() for text in axes.texts]
    assert {"60", "2,770,000", "9,055", "67 %", "12 %", "9 %"} <= set(texts)
    legend = axes.get_legend().get_window_extent()
    assert not any(legend.overlaps(bar.get_window_extent()) for bar in axes.patches)


def test_a_cost_of_nothing_has_no_bar(axes, drawn):
    cost_shares(axes, {"labels": {"attacks": 0}})
    drawn(axes, "share (%)", "")
    assert axes.patches[0].get_width() == 0


def test_the_papers_marks():
    assert list(PAPER) == [80, 220, 350]
