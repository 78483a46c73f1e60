"""The record of the loop of water: its pictures, tables and sentences, made of the stored results.

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

from ..jobs import RESULTS, Record, markdown, read
from ..loops import finished
from . import figures
from . import recipes as study
from .band_figures import distribution_band, member_values, property_curves
from .bands import PAIRS, as_estimate, band, covered, distribution, survivors
from .claims import TARGET
from .costs_figure import costs
from .explorer import Curve, LoopExplorer
from .properties import CUTOFF

MEV = 1000.0  # in an eV
FORCES = "meV/Å"
SIZES = study.PRESETS["laptop"]  # of the stored loop
NAME = "attacks afresh 0"  # the stored loop


def _row(columns: int, height: float, **options: Any) -> tuple[Any, Any]:
    return plt.subplots(1, columns, figsize=(9.8, height), layout="constrained", **options)


@cache
def record(study: str = "water") -> dict[str, Any] | None:
    """Return a stored result, None if there is none yet."""
    file = RESULTS / f"{study}-laptop.json"
    return read(file) if file.exists() else None


def _not_yet(what: str) -> str:
    """Return the sentence that stands for a picture."""
    return f"Not computed yet: {what}."


def _records() -> dict[str, Record]:
    """Return the records of loops, and the truth's if it is known."""
    stored, truth = record(), record("water_truth")
    records = dict(stored["records"]) if stored else {}
    if truth is not None:
        records.setdefault("truth", truth["records"])
    return records


def _iterations(name: str = NAME) -> list[Record]:
    return _records().get(name, {}).get("iterations", [])


def _last_committee(name: str = NAME) -> tuple[int, list[Record]]:
    """Return the last iteration whose members were simulated, from 1, and their records."""
    survival = _records().get(name, {}).get("survival", {})
    last = max(survival, key=int, default="0")
    return int(last), [*survival.get(last, {}).values()]


def _curves(number: Any) -> tuple[dict[str, Any], dict[str, plots.Look]]:
    runs = figures.curves(_records(), number)
    return runs, figures.looks_of(list(runs))


def curves_of_the_loop(name: str = NAME) -> list[Curve]:
    """Return four curves for the explorer: errors, and what simulations of the members found.

    Before a whole committee is simulated, they are errors and minutes, and an empty curve says so.
    """
    records, iterations = finished(_records(), SIZES.members), _iterations(name)
    labels = [iteration["labels"] for iteration in iterations]
    survival = records.get(name, {}).get("survival", {})
    members = [[*survival[k].values()] for k in sorted(survival, key=int)]
    simulated = [labels[int(k) - 1] for k in sorted(survival, key=int)]

    def error(label: str, key: str) -> Curve:
        return Curve(label, labels, [MEV * each["errors"][key] for each in iterations], low=0.0)

    def average(label: str, key: str) -> Curve:
        truth = as_estimate(records["truth"], key) if "truth" in records else None
        return Curve(label, simulated, [figures.average(key)(some) for some in members], truth)

    forces = error(f"force error ({FORCES})", "forces")
    if not members:
        minutes = np.cumsum([sum(each["cpu seconds"].values()) / 60 for each in iterations])
        return [
            forces,
            error("energy error\nwithout mean (meV/H₂O)", "energy without shift"),
            Curve("minutes of one core", labels, minutes.tolist(), low=0.0),
            Curve("density, neighbours, survival", [], []),
        ]
    shares = [100 * len(survivors(some)) / len(some) for some in members]
    return [
        forces,
        average("density (g/cm³)", "density"),
        average(f"O-O neighbours, {CUTOFF} Å", "coordination"),
        Curve("members that survive (%)", simulated, shares, low=0.0),
    ]


def explorer(labels: Dataset, committees: Mapping[str, Committee]) -> LoopExplorer:
    """Return a panel of the stored loop's labels, as committees see them."""
    asked = [iteration["labels"] for iteration in _iterations()]
    return LoopExplorer(labels, committees, asked, curves_of_the_loop(), TARGET)


def show_errors() -> None:
    """Draw errors of forces and energies against the number of labels."""
    numbers = {
        f"force error ({FORCES})": "forces",
        "energy error (meV/molecule)": "energy",
        "energy error without its mean\n(meV/molecule)": "energy without shift",
    }
    done = figures.loops(_records())
    if not done:
        print(_not_yet("loops"))
        return
    _, panels = plt.subplots(1, 3, figsize=(11.4, 3.9), layout="constrained")
    for axes, (label, key) in zip(panels, numbers.items(), strict=True):
        runs, shown = _curves(lambda r, key=key: MEV * r["errors"][key])
        property_curves(axes, runs, label=label, marks=figures.PAPER, shown=shown)
        axes.set_ylim(0, None)
        if key != "forces":
            axes.get_legend().remove()  # that of the left panel is for all
    for name in (NAME, NAME.replace("afresh", "warm")):
        if some := _iterations(name):
            print(_errors_in_words(name, some[0], some[-1]))
    if missing := [strategy for strategy in study.STRATEGIES if strategy not in done]:
        print(_not_yet(f"loops of the strategies {', '.join(missing)}"))


def _errors_in_words(name: str, first: Record, last: Record) -> str:
    """Return how the errors of a loop change from an iteration to another, in meV."""

    def change(key: str) -> str:
        return " to ".join(f"{MEV * each['errors'][key]:.1f}" for each in (first, last))

    strategy, training, _ = name.split()
    return (
        f"{strategy}, trained {training}, {first['labels']} to {last['labels']} labels: forces"
        f" {change('forces')} {FORCES}, energy {change('energy')} meV/molecule,"
        f" without its mean {change('energy without shift')}"
    )


def show_learned() -> None:
    """Draw where errors sit, inside or between molecules, and what the attacks found."""
    runs, shown = _curves(lambda r: 100 * r["errors"]["inside"])
    if not _iterations():
        print(_not_yet("loops of attacks"))
        return
    _, (left, right) = _row(2, 3.9)
    label = "force error inside molecules (% of its square)"
    property_curves(left, runs, label=label, shown=shown)
    left.set_ylim(0, 100)
    figures.delivered(right, _iterations(), TARGET)
    for iteration in _iterations():
        if "found" in iteration:
            said, found = (MEV * np.mean(iteration[key]) for key in ("said", "found"))
            reached = f"{iteration['reasons'].get('reached', 0)} of {len(iteration['found'])}"
            means = f"mean uncertainty {said:.0f}, mean error found {found:.0f} {FORCES}"
            print(
                f"iteration {iteration['iteration']}: {reached} attacks reach the target; {means}"
            )


def show_survival() -> None:
    """Draw members that survive, density and neighbours against the number of labels.

    Committees whose members are not all simulated have sentences alone.
    """
    records = _records()
    if not any(loop.get("survival") for loop in records.values()):
        print(_not_yet("simulations of the members"))
        return
    whole = finished(records, SIZES.members)
    runs = figures.simulated(whole, lambda each: 100 * len(survivors(each)) / len(each))
    if runs:
        _draw_survival(whole, runs)
    for name, loop in records.items():
        for iteration, members in loop.get("survival", {}).items():
            labelled = loop["iterations"][int(iteration) - 1]["labels"]
            print(f"{name}, {labelled} labels: {_survived([*members.values()])}")


def _draw_survival(records: Mapping[str, Record], runs: dict[str, tuple[list, list]]) -> None:
    _, panels = plt.subplots(1, 3, figsize=(11.4, 3.9), layout="constrained")
    looks = {"marks": figures.PAPER, "shown": figures.looks_of(list(runs))}
    for axes in panels:
        axes.set_xlim(figures.LABELS)
    property_curves(panels[0], runs, label="members that survive (%)", **looks)
    panels[0].set_ylim(0, 108)
    quantities = {"density (g/cm³)": "density", f"O-O neighbours within {CUTOFF} Å": "coordination"}
    for axes, (label, key) in zip(panels[1:], quantities.items(), strict=True):
        truth = as_estimate(records["truth"], key) if "truth" in records else None
        runs = figures.simulated(records, figures.average(key))
        property_curves(axes, runs, truth, label, **looks)
        if truth is not None:
            figures.near_truth(axes, float(truth.value))


def _survived(members: Sequence[Record]) -> str:
    """Return how many members survived, why others broke, and how many are not simulated yet."""
    kept = f"{len(survivors(members))} of {len(members)} members survive"
    broke = [f"member {m['member'] + 1}: {m['reason']}" for m in members if m["reason"] is not None]
    missing = SIZES.members - len(members)
    later = [f"{missing} of {SIZES.members} are not simulated yet"] if missing else []
    return "; ".join([kept, *broke, *later])


def _liquid_missing(name: str) -> str | None:
    """Return what a comparison of the liquid lacks, None if nothing."""
    if "truth" not in _records():
        return _not_yet("the truth's own liquid")
    members = _last_committee(name)[1]
    if not members:
        return _not_yet("simulations of the members")
    if len(survivors(members)) < 2:
        return f"A band needs two members: {_survived(members)}."
    return None


def show_liquid(name: str = NAME) -> None:
    """Draw density and g(r) of the members of the last committee beside the truth's."""
    if missing := _liquid_missing(name):
        print(missing)
        return
    truth, (iteration, members) = _records()["truth"], _last_committee(name)
    figure, panels = plt.subplots(2, 2, figsize=(9.8, 7.2), layout="constrained")
    density, exact = band(members, "density"), as_estimate(truth, "density")
    member_values(panels[0, 0], density, exact, "density (g/cm³)")
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set_ylim(low, high + 0.4 * (high - low))  # leaves room for the legend
    for axes, pair in zip(panels.flat[1:], PAIRS, strict=True):
        label = f"g({pair[0]}-{pair[1]})"
        r, found, exact = distribution(members, truth, pair)
        distribution_band(axes, r, found, exact, label)
        if pair != "OO":  # the bonds' peaks would hide the rest
            axes.set_ylim(0, 1.5 * float(found.values[:, r > 1.7].max()))
    labelled = _iterations(name)[iteration - 1]["labels"]
    figure.suptitle(f"committee of {labelled} labels, each member by itself", fontsize=11)
    print(f"{labelled} labels: {_survived(members)}")
    inside = 100 * covered(members, truth, "OO")
    print(f"The truth lies in the band in {inside:.0f} % of the bins of g(O-O).")


def liquid_table(name: str = NAME) -> Markdown:
    """Return properties of the liquid: the truth, the members that survived, and their band."""
    if missing := _liquid_missing(name):
        return Markdown(missing)
    truth, (_, members) = _records()["truth"], _last_committee(name)
    rows = []
    for label, key, scale in (
        ("density (g/cm³)", "density", 1.0),
        (f"O-O neighbours within {CUTOFF} Å", "coordination", 1.0),
        ("first O-O peak, place (Å)", "peak", 1.0),
        ("first O-O peak, height", "height", 1.0),
        ("diffusion (10⁻⁵ cm²/s)", "diffusion", 1e5),
    ):
        found, exact = band(members, key), as_estimate(truth, key)
        mean, value = float(found.mean), float(exact.value)
        rows.append(
            (
                label,
                f"{scale * value:.3f} ± {scale * float(exact.error):.3f}",
                f"{scale * mean:.3f} ± {scale * float(found.spread):.3f}",
                f"{100 * (mean / value - 1):+.1f} %",
                f"± {scale * float(found.margin(exact.error)):.3f}",
                "yes" if found.inside(exact) else "no",
            )
        )
    for pair in PAIRS:
        share = f"{100 * covered(members, truth, pair):.0f} % of bins"
        rows.append((f"g({pair[0]}-{pair[1]})", "", "", "", "", share))
    head = ("", "truth ± error", "members ± spread", "deviation", "95 % band", "truth in the band")
    return Markdown(markdown(head, rows))


def show_ledger(name: str = NAME) -> None:
    """Draw the minutes of each iteration by stage, trained afresh and warm."""
    names = [n for n in (name, name.replace("afresh", "warm")) if _iterations(n)]
    if not names:
        print(_not_yet("loops of attacks"))
        return
    _, panels = _row(len(names), 3.6, sharey=True, squeeze=False)
    for axes, each in zip(panels.flat, names, strict=True):
        figures.ledger(axes, _iterations(each))
        axes.set_title(f"members trained {each.split()[1]}", fontsize=10)
    if len(names) < 2:
        print(_not_yet("the same loop with warm starts"))


def show_shares() -> None:
    """Draw which stages the labels, force calls and seconds of the loop were spent on."""
    if not _iterations():
        print(_not_yet("loops of attacks"))
        return
    _, axes = plt.subplots(figsize=(9.8, 3.0), layout="constrained")
    costs_of = figures.costs_of(_iterations())
    figures.cost_shares(axes, costs_of)
    minutes = {name: seconds / 60 for name, seconds in costs_of["seconds"].items()}
    print(f"{sum(minutes.values()):.0f} minutes of one core, the truth {minutes['the truth']:.1f}")


def show_costs() -> None:
    """Draw seconds and memory against the size of the box."""
    stored = record("water_costs")
    if stored is None:
        print(_not_yet("costs of larger boxes"))
        return
    _, (left, right) = _row(2, 4.2)
    costs(left, stored["records"])
    costs(right, stored["records"], "memory", named=False)


def costs_table() -> Markdown:
    """Return how costs grow with the number of atoms."""
    stored = record("water_costs")
    if stored is None:
        return Markdown(_not_yet("costs of larger boxes"))
    claims = {claim["name"]: claim["value"] for claim in stored["claims"]}
    rows, tasks = [], stored["records"]
    waters = f"{max(row['atoms'] for sizes in tasks.values() for row in sizes) // 3} waters"
    for task in tasks:
        exponent = f"{claims[f'slope of log(seconds) against log(atoms), {task}']:.2f}"
        seconds = f"{claims[f'{task}, {waters}']:.2f}"
        rows.append((task, exponent, seconds, f"{claims[f'peak memory, {task}, {waters}']:.0f}"))
    head = ("", "exponent of the atoms", f"seconds, {waters}", f"peak memory (MB), {waters}")
    return Markdown(markdown(head, rows))


def public_table() -> Markdown:
    """Return errors and costs of committees that learned from density functional theory."""
    stored = record("water_public")
    if stored is None:
        return Markdown(_not_yet("committees on density functional theory"))
    claims: Mapping[str, Any] = {claim["name"]: claim for claim in stored["claims"]}
    rows = []
    for fit in stored["records"]:
        error = claims[f"force error per component, mean of the members, {fit}"]
        low, high = error["spread"]
        single = claims[f"force error per component, single members, {fit}"]["value"]
        energy = claims[f"energy error per atom, constant shift removed, {fit}"]["value"]
        steps = claims[f"steps of the training, {fit}"]["value"]
        seconds = claims[f"processor time of the training, {fit}"]["value"]
        interval = f"{error['value']:.0f} ({low:.0f} to {high:.0f})"
        row = (fit, f"{steps:,.0f}", f"{seconds:.0f}", interval, f"{single:.0f}", f"{energy:.2f}")
        rows.append(row)
    forces = f"force error ({FORCES}, 95 %)"
    head = ("", "steps", "seconds of a core", forces, "single members", "energy (meV/atom)")
    return Markdown(markdown(head, rows))


def beside_the_paper() -> Markdown:
    """Return the claims of the study."""
    stored = record()
    return Markdown(_not_yet("the study")) if stored is None else table_of(stored["claims"])


def table_of(claims: Sequence[Mapping[str, Any]]) -> Markdown:
    """Return claims of a result file as a table."""
    rows = []
    for claim in claims:
        low_high = [f"{bound:.3g}" for bound in claim["spread"] or ()]
        value = f"{claim['value']:.3g} {claim['unit']}".strip().replace("meV/A", FORCES)
        goal = "" if claim["goal"] is None else _goal(claim)
        row = (claim["name"], value, " to ".join(low_high), goal, claim["paper"] or "")
        rows.append(row)
    return Markdown(markdown(("what", "found", "95 % interval", "goal", "paper"), rows))


def _goal(claim: Mapping[str, Any]) -> str:
    """Return the bound of a claim and whether it is met."""
    bound = f"{'≥' if claim['at_least'] else '≤'} {claim['goal']:g}"
    return f"{bound}, {'met' if claim['met'] else 'missed'}"
