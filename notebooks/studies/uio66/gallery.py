"""The record of the loops over several systems: pictures and tables of the stored results.

Something that is not computed yet is a sentence that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

from agal_toolkit import plots
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.plots.scene import element_colours

from .. import loops
from ..jobs import RESULTS, Record, markdown, read
from ..water.band_figures import property_curves
from ..water.figures import cost_shares, costs_of, ledger
from ..water.gallery import table_of
from . import figures, lesson, protons, sites
from . import recipes as study
from .claims import members_of
from .explorer import PoreExplorer
from .iterations import of_system
from .pore_view import draw_pore
from .structures import LIQUID

MEV = 1000.0  # in an eV
SIZES = study.PRESETS["laptop"]  # of the stored loops
NAME = "attacks all 0"  # of the stored loop that is shown in detail
ERRORS = {
    "forces": "force error (meV/Å)",
    "energy": "energy error (meV/atom)",
    "virial": "virial error (meV/atom)",
}
PROPERTIES = {
    "density": ("density (g/cm³)", 1.0),
    "diffusion": ("diffusion of waters (10⁻⁵ cm²/s)", 1e5),
    "coordination": ("O-O neighbours of a water", 1.0),
}


@cache
def record() -> dict[str, Any] | None:
    """Return the stored result, None if there is none yet."""
    file = RESULTS / "uio66-laptop.json"
    return read(file) if file.exists() else None


def _not_yet(what: str) -> str:
    """Return the sentence that stands for a picture."""
    return f"Not computed yet: {what}."


def _records() -> dict[str, Record]:
    stored = record()
    return dict(stored["records"]) if stored else {}


def _iterations() -> list[Record]:
    return _records().get(NAME, {}).get("iterations", [])


def _runs() -> list[Record]:
    """Return the loops of attacks in all systems, with whole committees alone."""
    return figures.loops_of(figures.whole(_records(), SIZES), "attacks", "all")


def _most(runs: Sequence[Record]) -> int:
    """Return the largest number of labels."""
    return max((run["iterations"][-1]["labels"] for run in runs), default=0)


def _row(columns: int, height: float = 3.9) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(11.4, height), layout="constrained")


@cache
def stored() -> tuple[Dataset, dict[str, Committee]] | None:
    """Return the labels of the stored loop, and its first and last committees by their labels.

    None if there is no loop yet.
    """
    place, iterations = RESULTS / "uio66" / "loop-laptop", _iterations()
    if not iterations or not (place / "labels.extxyz.gz").exists():
        return None
    trainer, committees = study.trainer(SIZES, "all", 0), {}
    for iteration in (iterations[0], iterations[-1]):
        folder = place / f"committee-{iteration['iteration']}"
        name = f"committee of {iteration['labels']} labels"
        committees[name] = loops.committee_of(trainer, folder)
    return Dataset.read(place / "labels.extxyz.gz"), committees


def explorer() -> PoreExplorer | Markdown:
    """Return a panel of the stored loop's labels, as its committees see them."""
    found = stored()
    if found is None:
        return Markdown(_not_yet("labels and committees of the loop over all systems"))
    labels, committees = found
    named = {name.removeprefix("committee of "): each for name, each in committees.items()}
    asked = [iteration["labels"] for iteration in _iterations()]
    runs = figures.loops_of(_records(), "attacks", "all")[:1]
    curves = {
        ERRORS[key]: figures.error_curves(runs, SIZES.systems, key) for key in ("forces", "energy")
    }
    return PoreExplorer(labels, named, asked, curves, SIZES.target)


def show_doubt() -> None:
    """Draw where the first and the last committee doubt in the last attacked wet framework."""
    found = stored()
    if found is None:
        print(_not_yet("labels and committees of the loop over all systems"))
        return
    labels, committees = found
    wet = [s for s in SIZES.systems if s != LIQUID][-1]
    attacked = of_system(labels[labels.generations == labels.generations.max()], wet)
    lesson.show_doubts(committees, attacked[0], 2 * SIZES.target)
    seen = {name: (committee, list(attacked)) for name, committee in committees.items()}
    lesson.show_kinds(seen, SIZES.target)
    print(f"{len(attacked)} labels of {wet} in the last iteration; the first one is drawn")


def show_errors() -> None:
    """Draw errors of each system against the number of labels (Cezar 2025, Fig. 5c)."""
    runs = figures.loops_of(_records(), "attacks", "all")
    if not any(run.get("errors") for run in runs):
        print(_not_yet("errors of the loop over all systems"))
        return
    shown = figures.looks_of(SIZES.systems)
    _, panels = _row(3)
    for axes, (key, label) in zip(panels, ERRORS.items(), strict=True):
        curves = figures.error_curves(runs, SIZES.systems, key)
        property_curves(axes, curves, label=label, marks=figures.MARKS, shown=shown)
        if key != "forces":
            axes.get_legend().remove()  # that of the left panel is for all
    for system in SIZES.systems:
        print(f"{system}: {_change(runs[0], system)}")


def _change(run: Record, system: str) -> str:
    """Return how the errors of a system change from the first iteration to the last, in meV."""
    numbers = sorted(run["errors"], key=int)
    ends = [run["errors"][k][system] for k in (numbers[0], numbers[-1])]
    forces, energy = (
        " to ".join(f"{MEV * each[key]:.1f}" for each in ends) for key in ("forces", "energy")
    )
    return f"forces {forces} meV/Å, energy {energy} meV/atom"


def show_strategies() -> None:
    """Draw errors of attacks beside those of random frames, in one system at equal labels."""
    records, label_of = _records(), f" of {SIZES.one}"
    runs = {s: figures.loops_of(records, s, "one") for s in study.STRATEGIES}
    missing = [s for s, some in runs.items() if not any(run.get("errors") for run in some)]
    if missing:
        print(_not_yet(f"the loop{label_of} with {' and with '.join(missing)}"))
    if len(missing) == len(runs):
        return
    _, panels = _row(3)
    for axes, (key, label) in zip(panels, ERRORS.items(), strict=True):
        curves = figures.strategy_curves(records, SIZES.one, key)
        looks = {"marks": figures.MARKS, "shown": figures.STRATEGY_LOOKS}
        property_curves(axes, curves, label=label, **looks)
        if key != "forces":
            axes.get_legend().remove()
    panels[1].set_title(SIZES.one, fontsize=10)


def show_books() -> None:
    """Draw what attacks found in each system, and how far the shared law holds there."""
    iterations = _iterations()
    if not iterations:
        print(_not_yet("the loop over all systems"))
        return
    shown, (_, (left, right)) = figures.looks_of(SIZES.systems), _row(2)

    def found(books: Record) -> float | None:
        return np.mean(books["found"]) / SIZES.target if books.get("found") else None

    figures.of_each_system(left, iterations, shown, found, "error found over target")
    ratio = "error over uncertainty (structures set aside)"
    figures.of_each_system(right, iterations, shown, lambda books: books.get("ratio"), ratio)
    right.get_legend().remove()
    for system in SIZES.systems:
        print(_booked(system, [each["systems"][system] for each in iterations]))


def _booked(system: str, books: Sequence[Record]) -> str:
    """Return the fates of all candidates of a system."""
    made = sum(each["candidates"] for each in books)
    kept = sum(len(each.get("found", [])) for each in books)
    reached = sum(each["reasons"].get("reached", 0) for each in books)
    refused = sum(len(each["refused"]) for each in books)
    return (
        f"{system}: {made} attacked, {reached} reached the target, {kept} labelled,"
        f" {refused} refused by the reference"
    )


def show_properties() -> None:
    """Draw which members survive, and properties of their simulations (Fig. 5b, 5d to f)."""
    runs = [run for run in _runs() if run.get("survival")]
    if not runs:
        print(_not_yet("simulations of whole committees"))
        return
    shown, most = figures.looks_of(SIZES.systems), _most(runs)
    _, panels = plt.subplots(2, 2, figsize=(9.8, 7.4), layout="constrained")
    stable = figures.stable_curves(runs, SIZES.systems)
    label = "members that survive (%)"
    property_curves(panels[0, 0], stable, label=label, marks=figures.MARKS, shown=shown)
    panels[0, 0].set_ylim(0, 108)
    for axes, (key, (label, scale)) in zip(panels.flat[1:], PROPERTIES.items(), strict=True):
        points = figures.property_points(runs, SIZES.systems, key, scale)
        figures.property_lines(axes, points, label, shown, most)
        if axes.get_legend() is not None:
            axes.get_legend().remove()
    for system in SIZES.systems:
        print(f"{system}: {_survived(runs[0], system)}")


def _last(run: Record) -> str:
    return max(run["survival"], key=int)


def _survived(run: Record, system: str) -> str:
    """Return how many members of the last committee survive, and why others broke."""
    members = members_of(run, _last(run), system)
    broke = [f"member {m['member'] + 1}: {m['reason']}" for m in members if m["reason"] is not None]
    kept = f"{len(members) - len(broke)} of {len(members)} members survive"
    return "; ".join([kept, *broke])


def properties_table() -> Markdown:
    """Return properties of each system by the members of the last committee, and proton hops."""
    runs = [run for run in _runs() if run.get("survival")]
    if not runs:
        return Markdown(_not_yet("simulations of whole committees"))
    run, rows = runs[0], []
    last = _last(run)
    keys = {**PROPERTIES, "given": ("", 1.0), "taken": ("", 1.0)}
    for system in SIZES.systems:
        members, row = members_of(run, last, system), [system]
        for key, (_, scale) in keys.items():
            points = figures.property_points([run], [system], key, scale).get(system)
            row.append("" if points is None else f"{points[1][-1]:.3f} ± {points[2][-1]:.3f}")
        hops = sum(member["hops"]["count"] for member in members)
        length = sum(member["hops"]["picoseconds"] for member in members)
        rows.append((*row, f"{hops} in {length:.0f} ps"))
    labels = [label for label, _ in PROPERTIES.values()]
    bonds = ["hydrogen bonds a µ₃-OH gives", "and takes"]
    return Markdown(markdown(("system", *labels, *bonds, "proton hops"), rows))


def show_hops(most: int = 3) -> None:
    """Draw the first proton hops of members' simulations, before and after; print all counts."""
    whole = figures.whole(_records(), SIZES)
    simulated = [
        (name, int(k), key.rpartition(", ")[2], member)
        for name, loop in whole.items()
        for k, some in loop.get("survival", {}).items()
        for key, member in some.items()
    ]
    if not simulated:
        print(_not_yet("simulations of whole committees"))
        return
    hopping = [each for each in simulated if each[3]["hops"]["count"]]
    hops = sum(member["hops"]["count"] for *_, member in simulated)
    length = sum(member["hops"]["picoseconds"] for *_, member in simulated)
    print(f"{hops} proton hops in {length:.0f} ps of {len(simulated)} simulations")
    for name, k, which, member in hopping[:most]:
        hop = member["hops"]["first"][0]
        print(
            f"{name}, iteration {k}, {member['system']}, {which}: hydrogen {hop['hydrogen']} from"
            f" atom {hop['left']} to {hop['joined']} at {hop['time']:.0f} fs, frame {hop['frame']}"
        )
        show_hop(member["hops"])


def show_hop(hops: Mapping[str, Any]) -> None:
    """Draw the first hop of a record; the proton is purple."""
    hop, near = hops["first"][0], hops["scene"]["atoms"]
    before, after = protons.drawn(hops["scene"])
    _, panels = plt.subplots(1, 2, figsize=(6.6, 3.1), layout="constrained")
    names = [str(atom) if atom in (hop["left"], hop["joined"]) else "" for atom in near]
    for axes, geometry, title in zip(
        panels, (before, after), ("the frame before", "the frame of the hop"), strict=True
    ):
        colours = element_colours(geometry)
        colours[near.index(hop["hydrogen"])] = protons.PROTON
        plots.molecule(axes, geometry, colours=colours, labels=names, bar=True)
        axes.set_title(title, fontsize=10)


def show_ledger() -> None:
    """Draw the minutes of each iteration by stage."""
    iterations = figures.joined(_iterations())
    if not iterations:
        print(_not_yet("the loop over all systems"))
        return
    _, axes = plt.subplots(figsize=(6.4, 3.9), layout="constrained")
    ledger(axes, iterations)
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    plots.framed_legend(axes, place="upper center", columns=4)


def show_shares() -> None:
    """Draw which stages the labels, force calls and seconds of the loop were spent on."""
    iterations = figures.joined(_iterations())
    if not iterations:
        print(_not_yet("the loop over all systems"))
        return
    _, axes = plt.subplots(figsize=(9.8, 3.0), layout="constrained")
    costs = costs_of(iterations)
    cost_shares(axes, costs)
    minutes = {name: seconds / 60 for name, seconds in costs["seconds"].items()}
    print(f"{sum(minutes.values()):.0f} minutes of one core, the truth {minutes['the truth']:.0f}")


def show_systems(systems: Sequence[str]) -> None:
    """Draw the structures that systems start from; the framework as sticks, waters as balls."""
    _, panels = plt.subplots(1, len(systems), figsize=(11.4, 4.2), layout="constrained")
    for axes, system in zip(np.atleast_1d(panels), systems, strict=True):
        structure = study.first(system)[0]
        draw_pore(axes, sites.whole(structure))
        axes.set_title(f"{system}, {len(structure)} atoms", fontsize=10)


def beside_the_paper() -> Markdown:
    """Return the claims of the study."""
    stored = record()
    if stored is None:
        return Markdown(_not_yet("the study"))
    return table_of(stored["claims"])
