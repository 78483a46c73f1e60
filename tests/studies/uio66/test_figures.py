"""Pictures of loops over several systems, from made-up records whose numbers are known."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from studies.uio66 import figures, gallery, protons
from studies.uio66.recipes import PRESETS
from studies.uio66.structures import LIQUID, name

SIZES = PRESETS["laptop"]
WET = name(14)
LABELS = [28, 48, 68, 88, 108, 128]


def errors(k, factor=1.0):
    """Errors of iteration k, from 0: forces of 100, 50, 33 meV/A, ..."""
    forces = factor * 0.1 / (k + 1)
    return {"forces": forces, "energy": forces / 40, "virial": forces / 20, "ratio": 1.2}


def books(k, system):
    found = [0.2 + 0.01 * i for i in range(5)]
    reasons = {"reached": 3, "target missed": 2}
    refused = ["no label"] if system == LIQUID else []
    shares = {"found": found, "said": found, "ratio": 1 + 0.1 * k}
    return {"labels": 7, "candidates": 6, "reasons": reasons, "refused": refused, **shares}


def hop():
    """The record of one hop of a proton between two oxygen atoms of waters."""
    scene = {"atoms": [114, 115, 117], "numbers": [8, 1, 8]}
    scene["before"] = [[0, 0, 1.0], [0, 0, 0], [0, 0, -1.6]]
    scene["after"] = [[0, 0, 1.5], [0, 0, 0], [0, 0, -1.1]]
    moved = {"frame": 9, "time": 500.0, "hydrogen": 115, "left": 114, "joined": 117}
    return {"count": 1, "picoseconds": 5.0, "first": [moved], "scene": scene}


def member(k, number, system):
    """A member of iteration k; the first breaks in the wettest framework of early iterations."""
    if number == 0 and k < 3 and system == name(42):
        broke = {"count": 0, "picoseconds": 0.5}
        return {"member": 0, "system": system, "reason": "constant volume: broke", "hops": broke}
    record = {"member": number, "system": system, "reason": None}
    waters = {name(14): 2.0, name(42): 3.0, LIQUID: 4.4}.get(system)
    value = 1.0 + 0.1 * SIZES.systems.index(system) + 0.01 * (number - 2)
    found = {"density": [value, 0.002]}
    if waters is not None:
        found |= {"diffusion": [1e-5 * waters * value / 2, 1e-6], "coordination": [waters, 0.1]}
        if system != LIQUID:
            found |= {"given": [0.5, 0.1], "taken": [0.25, 0.1]}
    hops = hop() if number == 1 and system == WET else {"count": 0, "picoseconds": 5.0}
    return record | {"properties": found, "hops": hops}


def loop(systems, factor=1.0, simulated=(1, 3, 5)):
    seconds = {"members": 600.0, "seeds": 300.0, "adversaries": 60.0, "labels": 200.0}
    calls = {"members": 20000, "seeds": 40000, "adversaries": 2000}
    labels = LABELS if len(systems) > 1 else [7 + 5 * k for k in range(6)]
    iterations = [
        {
            "iteration": k + 1,
            "labels": count,
            "systems": {system: books(k, system) for system in systems},
            "cpu seconds": seconds,
            "force calls": calls,
        }
        for k, count in enumerate(labels)
    ]
    survival = {
        str(k + 1): {
            f"{system}, member {number}": member(k, number, system)
            for system in systems
            for number in range(SIZES.members)
        }
        for k in simulated
    }
    found = {str(k + 1): {system: errors(k, factor) for system in systems} for k in range(6)}
    return {"iterations": iterations, "errors": found, "survival": survival}


def records():
    return {
        "attacks all 0": loop(SIZES.systems),
        "attacks one 0": loop([WET], simulated=()),
        "frames one 0": loop([WET], 1.5, simulated=()),
        "held-out": {},
    }


@pytest.fixture
def given(monkeypatch):
    """Set the stored records; None where there is no result."""
    plt.close("all")

    def give(records):
        stored = None if records is None else {"records": records, "claims": []}
        monkeypatch.setattr(gallery, "record", lambda: stored)

    yield give
    plt.close("all")


PICTURES = (
    gallery.show_errors,
    gallery.show_strategies,
    gallery.show_books,
    gallery.show_properties,
    gallery.show_hops,
    gallery.show_ledger,
    gallery.show_shares,
)


def test_nothing_is_there_yet(given, capsys):
    given(None)
    for call in PICTURES:
        call()
        assert capsys.readouterr().out.startswith("Not computed yet: ")
    assert plt.get_fignums() == []
    for table in (gallery.properties_table, gallery.beside_the_paper):
        assert table().data.startswith("Not computed yet: ")


def test_loops_without_simulations_have_errors(given, capsys):
    given({"attacks all 0": loop(SIZES.systems, simulated=())})
    gallery.show_properties()
    assert capsys.readouterr().out == "Not computed yet: simulations of whole committees.\n"
    gallery.show_errors()
    panel = plt.gcf().axes[0]
    for line in panel.lines[:4]:
        assert line.get_xdata().tolist() == LABELS
        np.testing.assert_allclose(line.get_ydata(), 100 / np.arange(1, 7))
    assert panel.get_ylabel() == "force error (meV/Å)"
    assert [*panel.lines[4].get_xdata()] == [250, 250]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "UiO-66: forces 100.0 to 16.7 meV/Å, energy 2.5 to 0.4 meV/atom"
    gallery.show_strategies()
    assert "Not computed yet: the loop of UiO-66 + 14 H2O" in capsys.readouterr().out


def test_strategies_are_compared_at_equal_labels(given, capsys):
    given(records())
    gallery.show_strategies()
    attacks, frames = plt.gcf().axes[0].lines[:2]
    assert attacks.get_xdata().tolist() == frames.get_xdata().tolist() == [7, 12, 17, 22, 27, 32]
    np.testing.assert_allclose(frames.get_ydata() / attacks.get_ydata(), 1.5)
    assert capsys.readouterr().out == ""


def test_properties_are_those_of_members_that_survive(given, capsys):
    given(records())
    gallery.show_properties()
    stable, density, diffusion, coordination = plt.gcf().axes[:4]
    assert [line.get_ydata().tolist() for line in stable.lines[:4]] == [
        [100, 100, 100],
        [100, 100, 100],
        [80, 100, 100],
        [100, 100, 100],
    ]
    runs = figures.loops_of(records(), "attacks", "all")
    labels, means, spreads = figures.property_points(runs, [name(42)], "density")[name(42)]
    assert labels.tolist() == [48, 88, 128]
    four, five = 0.01 * np.arange(-1, 3), 0.01 * np.arange(-2, 3)
    np.testing.assert_allclose(means, [1.2 + four.mean(), 1.2, 1.2])
    np.testing.assert_allclose(spreads, [x.std(ddof=1) for x in (four, five, five)])
    points = figures.property_points(runs, SIZES.systems, "diffusion", 1e5)
    assert list(points) == [name(14), name(42), LIQUID]
    assert points[LIQUID][1][-1] == pytest.approx(4.4 * 1.3 / 2)
    for axes in (density, diffusion, coordination):
        assert axes.get_xlabel() == "labelled structures"
    printed = capsys.readouterr().out
    assert "UiO-66 + 42 H2O: 5 of 5 members survive\n" in printed


def test_committees_that_are_not_simulated_as_a_whole_do_not_count(given, capsys):
    stored = records()
    for some in stored["attacks all 0"]["survival"].values():
        some.pop("UiO-66, member 3")
    given(stored)
    gallery.show_properties()
    assert capsys.readouterr().out == "Not computed yet: simulations of whole committees.\n"


def test_the_table_has_bonds_and_hops(given):
    given(records())
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in gallery.properties_table().data.splitlines()
    ]
    wet = next(row for row in rows if row[0] == WET)
    assert wet[1] == "1.100 ± 0.016"
    assert wet[3:] == ["2.000 ± 0.000", "0.500 ± 0.000", "0.250 ± 0.000", "1 in 25 ps"]
    dry = next(row for row in rows if row[0] == "UiO-66")
    assert dry[2:] == ["", "", "", "", "0 in 25 ps"]


def test_hops_are_counted_and_shown(given, capsys):
    given(records())
    gallery.show_hops(most=1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "3 proton hops in 296 ps of 60 simulations"
    assert "iteration 2, UiO-66 + 14 H2O, member 1: hydrogen 115 from atom 114 to 117" in printed[1]
    assert "at 500 fs, frame 9" in printed[1]
    assert len(plt.get_fignums()) == 1
    assert [text.get_text() for text in plt.gcf().axes[0].texts] == ["114", "117", "1 Å"]
    before, _ = protons.drawn(hop()["scene"])
    assert before.numbers.tolist() == [8, 1, 8]


def test_books_of_each_system(given, capsys):
    given(records())
    gallery.show_books()
    left, right = plt.gcf().axes[:2]
    for line in left.lines[:4]:
        np.testing.assert_allclose(line.get_ydata(), 0.22 / SIZES.target)
    np.testing.assert_allclose(right.lines[0].get_ydata(), 1 + 0.1 * np.arange(6))
    printed = capsys.readouterr().out
    assert (
        "liquid water: 36 attacked, 18 reached the target, 30 labelled, 6 refused by the"
        " reference\n" in printed
    )


def test_the_ledger_counts_labels_of_all_systems(given, capsys):
    given(records())
    gallery.show_ledger()
    texts = [text.get_text() for text in plt.gcf().axes[0].texts]
    assert texts == ["+20"] * 6
    gallery.show_shares()
    minutes = 6 * (600 + 300 + 60 + 200) / 60
    assert capsys.readouterr().out == f"{minutes:.0f} minutes of one core, the truth 20\n"


def test_looks_tell_systems_apart():
    shown = figures.looks_of(PRESETS["paper"].systems)
    assert len({look.colour for look in shown.values()}) == 11
    assert len({look.marker for look in shown.values()}) == 11
    assert [name for name, look in shown.items() if look.line == "--"] == [LIQUID]


def test_doubt_by_kind_of_atom():
    axes = Figure().subplots()
    values = {
        "committee of 28 labels": {"Zr": np.array([0.2, 0.4]), "C": np.array([0.1])},
        "committee of 128 labels": {"Zr": np.array([0.1])},
    }
    figures.doubt_by_kind(axes, values, "uncertainty (meV/Å)", 0.25)
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    np.testing.assert_allclose(heights, [[0.3, 0.1], [0.1, 0.0]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["Zr", "C"]


def test_starts_of_systems_are_shown():
    gallery.show_systems(["UiO-66", LIQUID])
    titles = [axes.get_title() for axes in plt.gcf().axes]
    assert titles == ["UiO-66, 114 atoms", "liquid water, 192 atoms"]
    plt.close("all")
