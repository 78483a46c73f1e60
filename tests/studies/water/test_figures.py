"""The ledger of a run: shares, totals, and a legend beside the bars."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from studies.water import bands, figures
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


def member(density, reason=None, bins=30):
    curve = {"r": list(range(bins)), "g": [1.0 + density] * bins, "error": [0.01] * bins}
    return {"reason": reason, "properties": {"density": [density, 0.01], "OO": curve}}


def loop(seed):
    iterations = [{"labels": n, "errors": {"forces": seed + 1 / n}} for n in (10, 15)]
    survival = {"2": {"0": member(0.9), "1": member(1.1), "2": member(7.0, "broke")}}
    return {"iterations": iterations, "survival": survival}


RECORDS = {"attacks afresh 0": loop(0), "attacks afresh 1": loop(1), "frames warm 0": loop(2)}


def test_loops_are_grouped_by_strategy_and_training():
    runs = figures.curves(RECORDS | {"truth": {}}, lambda record: record["errors"]["forces"])
    assert list(runs) == ["attacks", "frames, warm"]
    labels, values = runs["attacks"]
    assert labels == [[10, 15], [10, 15]]
    assert values == [[0.1, 1 / 15], [1.1, 1 + 1 / 15]]
    looks = figures.looks_of(list(runs))
    assert looks["attacks"].line == "-"
    assert looks["frames, warm"].line == "--"


def test_properties_are_averages_over_members_that_survived():
    runs = figures.simulated(RECORDS, figures.average("density"))
    assert runs["attacks"] == ([[15], [15]], [[1.0], [1.0]])
    members = [*loop(0)["survival"]["2"].values()]
    band = bands.band(members, "density")
    assert band.values.tolist() == [0.9, 1.1]
    assert band.left_out == {2: "broke"}


def test_distributions_have_the_bins_that_all_have():
    """Members at 1.9 and 2.1 have a band of +- 12.7 * sqrt(0.03): the truth is outside at 5."""
    members = [member(0.9), member(1.1, bins=12), member(7.0, "broke", bins=3)]
    truth = member(1.0, bins=20)["properties"]
    truth["OO"]["g"][:3] = [5.0, 5.0, 5.0]
    r, band, exact = bands.distribution(members, truth, "OO")
    assert r.tolist() == list(range(12))
    assert band.values.shape == (2, 12)
    assert exact.value.tolist() == [5.0] * 3 + [2.0] * 9
    assert bands.covered(members, truth, "OO") == 9 / 12


def test_costs_are_sums_over_iterations():
    calls, seconds = {"members": 100, "adversaries": 8}, {"members": 60.0, "labels": 2.0}
    one = {"labels": 10, "found": [0.1, 0.2], "force calls": calls, "cpu seconds": seconds}
    costs = figures.costs_of([one, {**one, "labels": 12}])
    assert costs["labels"] == {"start": 10, "attacks": 4}
    names = ("training", "simulations", "attacks", "the truth")
    assert costs["force calls"] == dict(zip(names, (200, 0, 16, 0), strict=True))
    assert costs["seconds"] == dict(zip(names, (120.0, 0.0, 0.0, 4.0), strict=True))


def test_minutes_and_new_labels_of_each_iteration():
    axes = Figure().subplots()
    stages = {"members": 120.0, "labels": 30.0}
    iterations = [
        {"iteration": 1, "cpu seconds": stages, "found": [0.1] * 5, "said": [0.2] * 5},
        {"iteration": 2, "cpu seconds": {"members": 60.0}},
    ]
    figures.ledger(axes, iterations)
    heights = [sum(c.patches[k].get_height() for c in axes.containers) for k in (0, 1)]
    assert heights == [2.5, 1.0]
    assert [text.get_text() for text in axes.texts] == ["+5", "+0"]
    axes = Figure().subplots()
    figures.delivered(axes, iterations, 0.2)
    assert {float(y) for line in axes.lines[:4] for y in line.get_ydata()} == {100.0, 200.0}
