"""Figures of the loops: errors, survival and properties against labels (Cezar 2025, Fig. 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from agal_toolkit.plots.style import CYCLE, Look, framed_legend, plain

from ..jobs import Record
from .bands import survivors
from .recipes import STRATEGIES, in_words

# Labels at which the paper's members were all stable (Cezar 2025, Sec. IV E 2): Allegro, and DeePMD
# with targets of 0.2 and 0.1 eV/angstrom, whose name is written once.
PAPER = {80: "Allegro", 220: "DeePMD", 350: ""}
LABELS = (9, 450)  # ends of axes of labels that show all marks
STAGES = {
    "members": "training",
    "seeds": "simulations",
    "adversaries": "attacks",
    "labels": "the truth",
}


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Return the looks of loops by strategy: attacks red, random frames blue, others of their own.

    Loops with warm starts have dashed lines.
    """
    colours: dict[str, str] = dict(zip(STRATEGIES, (CYCLE[1], CYCLE[0], *CYCLE[2:5]), strict=True))
    markers: dict[str, str] = dict(zip(STRATEGIES, "osD^v", strict=True))
    return {
        name: Look(
            colours[name.split(",")[0]],
            markers[name.split(",")[0]],
            "--" if "warm" in name else "-",
        )
        for name in names
    }


def loops(records: Mapping[str, Record]) -> dict[str, list[Record]]:
    """Return the loops of each strategy and training, a seed each."""
    found: dict[str, list[Record]] = {}
    for name, record in records.items():
        if name != "truth" and "iterations" in record:
            strategy, training, _ = name.split()
            found.setdefault(in_words(strategy, training), []).append(record)
    return found


def curves(
    records: Mapping[str, Record], number: Callable[[Record], float]
) -> dict[str, tuple[list, list]]:
    """Return labels and a number of every iteration for each strategy, a row for each seed."""
    return {
        name: (
            [[iteration["labels"] for iteration in loop["iterations"]] for loop in some],
            [[number(iteration) for iteration in loop["iterations"]] for loop in some],
        )
        for name, some in loops(records).items()
    }


def simulated(
    records: Mapping[str, Record], number: Callable[[list[Record]], float]
) -> dict[str, tuple[list, list]]:
    """Return labels and a number of the members' simulations, where there are some."""
    found = {}
    for name, some in loops(records).items():
        rows = [
            [number([*loop["survival"][k].values()]) for k in sorted(loop["survival"], key=int)]
            for loop in some
            if "survival" in loop
        ]
        labels = [
            [loop["iterations"][int(k) - 1]["labels"] for k in sorted(loop["survival"], key=int)]
            for loop in some
            if "survival" in loop
        ]
        if rows:
            found[name] = labels, rows
    return found


def near_truth(axes: Axes, truth: float) -> None:
    """Let the axis of a property span 5 % around the truth, or more where the data do."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.95 * truth), max(high, 1.05 * truth))


def average(key: str) -> Callable[[list[Record]], float]:
    """Return a function of members' records: the average of a property over those that survived."""

    def of(members: list[Record]) -> float:
        values = [properties[key][0] for properties in survivors(members)]
        return float(np.mean(values)) if values else np.nan

    return of


def ledger(axes: Axes, iterations: Sequence[Record]) -> None:
    """Draw the processor minutes of each iteration by stage, and its labels above the bars."""
    x, bottom = np.array([record["iteration"] for record in iterations]), np.zeros(len(iterations))
    for colour, (stage, name) in zip(CYCLE, STAGES.items(), strict=False):
        minutes = [record["cpu seconds"].get(stage, 0.0) / 60 for record in iterations]
        axes.bar(x, minutes, bottom=bottom, color=colour, label=name, width=0.7)
        bottom += minutes
    for place, height, record in zip(x, bottom, iterations, strict=True):
        new = len(record.get("found", ()))
        axes.annotate(f"+{new}", (place, height), (0, 3), textcoords="offset points", ha="center")
    axes.set(xlabel="iteration (+ new labels)", ylabel="minutes of one core")
    axes.set_ylim(0, 1.15 * max(bottom, default=1.0))
    axes.set_xticks(x)
    axes.grid(axis="y", alpha=0.25)
    framed_legend(axes)


def delivered(axes: Axes, iterations: Sequence[Record], target: float) -> None:
    """Draw the error of each new label, and the uncertainty it was chosen for, meV/angstrom."""
    for offset, (key, name, colour) in enumerate(
        (("said", "uncertainty", CYCLE[4]), ("found", "error found", CYCLE[1]))
    ):
        for record in iterations:
            values = 1000 * np.array(record.get(key, []))
            x = np.full(len(values), record["iteration"] + 0.25 * (offset - 0.5))
            label = name if record is iterations[0] else None
            axes.plot(x, values, ".", ms=5, alpha=0.6, color=colour, label=label)
    axes.axhline(1000 * target, color="k", ls="--", lw=1, label="target")
    axes.set(xlabel="iteration", ylabel="mean over atoms (meV/Å)", ylim=(0, None))
    axes.set_xticks([record["iteration"] for record in iterations])
    axes.grid(alpha=0.25)
    framed_legend(axes)


def costs_of(iterations: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return what a loop of attacks cost: cost -> stage -> amount, for :func:`cost_shares`."""

    def total(of: str) -> dict[str, float]:
        return {
            name: sum(record[of].get(stage, 0) for record in iterations)
            for stage, name in STAGES.items()
        }

    new = sum(len(record.get("found", ())) for record in iterations)
    return {
        "labels": {"start": iterations[0]["labels"], "attacks": new},
        "force calls": total("force calls"),
        "seconds": total("cpu seconds"),
    }


def cost_shares(axes: Axes, costs: Mapping[str, Mapping[str, float]]) -> None:
    """Draw which share of each cost each stage has, and the totals at the right.

    Args:
        costs: cost ("labels", "force calls", "seconds") -> stage -> amount.
    """
    stages = list(dict.fromkeys(stage for parts in costs.values() for stage in parts))
    totals = np.array([sum(parts.values()) for parts in costs.values()], float)
    ends = np.zeros(len(costs))
    for number, stage in enumerate(stages):
        amounts = np.array([parts.get(stage, 0.0) for parts in costs.values()])
        shares = amounts / np.where(totals > 0, totals, 1)
        tone = number / max(len(stages) - 1, 1)
        colour = colormaps["cividis"](tone)
        bars = axes.barh(range(len(costs)), shares, left=ends, color=colour, label=stage)
        inside = [f"{100 * share:.0f} %" if share > 0.06 else "" for share in shares]
        ink = "white" if tone < 0.5 else "black"
        axes.bar_label(bars, inside, label_type="center", color=ink, fontsize=8)
        ends += shares
    for row, total in enumerate(totals):
        axes.text(1.01, row, f"{total:,.0f}" if total >= 100 else plain(total), va="center")
    axes.set_yticks(range(len(costs)), list(costs))
    # rows from the top, below the legend
    axes.set(xlabel="share (%)", xlim=(0, 1.15), ylim=(len(costs) - 0.5, -1.6))
    axes.set_xticks(np.linspace(0, 1, 6), [f"{k}" for k in range(0, 101, 20)])
    framed_legend(axes, place="upper center", columns=max(4, len(stages)))
