"""The record of the lesson on liquid water: what is there is shown, what is not is said."""

from __future__ import annotations

from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
import pytest

from studies.jobs import RESULTS, read
from studies.water import gallery

STORED = read(RESULTS / "water-laptop.json")
TRUTH = read(RESULTS / "water_truth-laptop.json")
PICTURES = (
    gallery.show_errors,
    gallery.show_learned,
    gallery.show_survival,
    gallery.show_liquid,
    gallery.show_ledger,
    gallery.show_shares,
    gallery.show_costs,
)
TABLES = (
    gallery.liquid_table,
    gallery.costs_table,
    gallery.public_table,
    gallery.beside_the_paper,
)
LABELS = [iteration["labels"] for iteration in STORED["records"][gallery.NAME]["iterations"]]
BROKE = "constant pressure: atoms closer than 0.4 A"


def member(number, factor):
    """A member whose every property is the truth's times a factor; None if it broke."""
    if factor is None:
        return {"member": number, "reason": BROKE}
    properties = deepcopy(TRUTH["records"])
    for key in ("density", "coordination", "peak", "height", "diffusion"):
        properties[key] = [factor * properties[key][0], 0.01 * properties[key][0]]
    for pair in ("OO", "OH", "HH"):
        properties[pair]["g"] = [factor * g for g in properties[pair]["g"]]
    return {"member": number, "reason": None, "properties": properties}


def stored_with(factors):
    """The stored result, with made-up simulations of the last committee for each factor."""
    stored = deepcopy(STORED)
    for loop in stored["records"].values():
        loop.pop("survival", None)
    loop = stored["records"][gallery.NAME]
    if factors:
        loop["survival"] = {"5": {str(k): member(k, factor) for k, factor in enumerate(factors)}}
    return stored


@pytest.fixture
def given(monkeypatch):
    """Set the stored results by name; those that are not given do not exist."""
    plt.close("all")

    def give(**results):
        monkeypatch.setattr(gallery, "record", lambda study="water": results.get(study))

    yield give
    plt.close("all")


def test_nothing_is_there_yet(given, capsys):
    given()
    for call in PICTURES:
        call()
        assert capsys.readouterr().out.startswith("Not computed yet: ")
    assert plt.get_fignums() == []
    for table in TABLES:
        assert table().data.startswith("Not computed yet: ")
    assert all(not len(curve.values) for curve in gallery.curves_of_the_loop())


def test_loops_without_simulations(given, capsys):
    given(water=stored_with([]), water_truth=TRUTH)
    for call in (gallery.show_survival, gallery.show_liquid):
        call()
        assert capsys.readouterr().out == "Not computed yet: simulations of the members.\n"
    assert gallery.liquid_table().data == "Not computed yet: simulations of the members."
    gallery.show_errors()
    printed = capsys.readouterr().out
    first, last = (STORED["records"][gallery.NAME]["iterations"][k]["errors"] for k in (0, -1))
    change = f"forces {1000 * first['forces']:.1f} to {1000 * last['forces']:.1f} meV/Å"
    assert f"attacks, trained afresh, 10 to {LABELS[-1]} labels: {change}" in printed
    error, _, minutes, simulated = gallery.curves_of_the_loop()
    assert error.labels == LABELS
    assert error.values[0] == 1000 * first["forces"]
    assert minutes.values[-1] == pytest.approx(STORED["seconds"][gallery.NAME] / 60, rel=1e-3)
    assert list(simulated.values) == []


def test_one_member_makes_no_band(given, capsys):
    given(water=stored_with([1.0, None]), water_truth=TRUTH)
    gallery.show_liquid()
    counts = f"1 of 2 members survive; member 2: {BROKE}; 6 of 8 are not simulated yet"
    assert capsys.readouterr().out == f"A band needs two members: {counts}.\n"
    assert counts in gallery.liquid_table().data


def test_members_that_are_simulated_so_far(given, capsys):
    given(water=stored_with([1.0, None, 1.02]), water_truth=TRUTH)
    gallery.show_survival()
    counts = f"2 of 3 members survive; member 2: {BROKE}; 5 of 8 are not simulated yet"
    assert capsys.readouterr().out == f"{gallery.NAME}, {LABELS[-1]} labels: {counts}\n"
    assert plt.get_fignums() == []  # members that break are finished first
    gallery.show_liquid()
    assert f"{LABELS[-1]} labels: {counts}\n" in capsys.readouterr().out


def test_a_whole_committee(given, capsys):
    """Factors 0.99 and 1.03, four times each: + 1 %, and a spread of 0.02 * sqrt(8 / 7)."""
    given(water=stored_with([0.99, 1.03] * 4), water_truth=TRUTH)
    gallery.show_liquid()
    printed = capsys.readouterr().out
    assert printed.startswith(f"{LABELS[-1]} labels: 8 of 8 members survive\n")
    assert "The truth lies in the band in 100 % of the bins of g(O-O)." in printed
    row = next(line for line in gallery.liquid_table().data.splitlines() if "density" in line)
    truth, error = TRUTH["records"]["density"]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == f"{truth:.3f} ± {error:.3f}"
    assert cells[2] == f"{1.01 * truth:.3f} ± {0.02 * np.sqrt(8 / 7) * truth:.3f}"
    assert cells[3] == "+1.0 %"
    assert cells[5] == "yes"
    _, density, _, share = gallery.curves_of_the_loop()
    assert (density.labels, share.values) == ([LABELS[-1]], [100.0])
    assert density.values == pytest.approx([1.01 * truth])
    gallery.show_survival()
    share, density, _ = plt.gcf().axes[:3]
    assert share.lines[0].get_ydata()[0] == 100.0
    assert density.lines[0].get_ydata()[0] == pytest.approx(1.01 * truth)


def test_axes_of_properties_reach_around_the_truth():
    axes = plt.figure().subplots()
    axes.plot([10, 60], [0.99, 1.2])
    gallery.figures.near_truth(axes, 1.0)
    low, high = axes.get_ylim()
    assert low == pytest.approx(0.95)
    assert high > 1.2
    plt.close("all")


def test_minutes_of_the_loop(given, capsys):
    given(water=STORED)
    gallery.show_shares()
    stages = [r["cpu seconds"] for r in STORED["records"][gallery.NAME]["iterations"]]
    parts = {key: sum(each.get(key, 0.0) for each in stages) for key in ("members", "seeds")}
    parts |= {key: sum(each.get(key, 0.0) for each in stages) for key in ("adversaries", "labels")}
    expected = f"{sum(parts.values()) / 60:.0f} minutes of one core, the truth"
    assert capsys.readouterr().out == f"{expected} {parts['labels'] / 60:.1f}\n"
