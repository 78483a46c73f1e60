"""Figures of the loops over several systems against the number of labels (Cezar 2025, Fig. 5).

Labels are those of all systems of a loop together, as the paper counts them. Systems have colours
from dry to wet; where strategies are compared, red is attacks and blue random frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.plots.style import CYCLE, Look, framed_legend

from .. import loops
from ..jobs import Record
from ..water.band_figures import against_labels
from ..water.bands import survivors
from .claims import members_of
from .recipes import GROUPS, STRATEGIES, Preset, systems_of
from .structures import LIQUID

MARKS = {250: "the paper's\nproperties"}  # labels at which they converge (Cezar 2025, Fig. 5)
STRATEGY_LOOKS = {"attacks": Look(CYCLE[1], "o"), "frames": Look(CYCLE[0], "s", "--")}
Curves = dict[str, tuple[list[list[int]], list[list[float]]]]
Points = dict[str, tuple[NDArray, NDArray, NDArray]]


def looks_of(systems: Sequence[str]) -> dict[str, Look]:
    """Return a look for each system, darker with more water; the liquid has dashed lines."""
    tones = np.linspace(0.85, 0.1, len(systems))
    return {
        system: Look(to_hex(colormaps["viridis"](tone)), marker, "--" if system == LIQUID else "-")
        for system, tone, marker in zip(systems, tones, "osD^vPX<>*h", strict=False)
    }


def loops_of(records: Mapping[str, Record], strategy: str, group: str) -> list[Record]:
    """Return the loops of a strategy and group that have ended, a seed each."""
    beginning = f"{strategy} {group} "
    return [r for name, r in records.items() if name.startswith(beginning) and "iterations" in r]


def whole(records: Mapping[str, Record], preset: Preset) -> dict[str, Record]:
    """Return loops with those committees alone that were simulated as a whole."""
    result: dict[str, Record] = {}
    for group in GROUPS:
        ended = loops.finished(records, preset.members * len(systems_of(preset, group)))
        result |= {name: r for name, r in ended.items() if f" {group} " in name}
    return result


def error_curves(runs: Sequence[Record], systems: Iterable[str], key: str) -> Curves:
    """Return labels and an error in meV for each system, a row for each seed."""
    found: Curves = {}
    for system in systems:
        rows = [run for run in runs if run.get("errors")]
        errors = [run["errors"] for run in rows]
        labels = [[_labels(run, k) for k in _numbers(run["errors"])] for run in rows]
        values = [[1000 * each[k][system][key] for k in _numbers(each)] for each in errors]
        if rows:
            found[system] = labels, values
    return found


def strategy_curves(records: Mapping[str, Record], system: str, key: str) -> Curves:
    """Return labels and an error in meV of the system in which strategies are compared."""
    found: Curves = {}
    for strategy in STRATEGIES:
        curves = error_curves(loops_of(records, strategy, "one"), [system], key)
        if system in curves:
            found[strategy] = curves[system]
    return found


def stable_curves(runs: Sequence[Record], systems: Iterable[str]) -> Curves:
    """Return labels and the per cent of members that survived, a row for each seed."""
    found: Curves = {}
    for system in systems:
        rows = [(run, [*_numbers(run["survival"])]) for run in runs if run.get("survival")]
        labels = [[_labels(run, k) for k in some] for run, some in rows]
        shares = [[_stable(members_of(run, k, system)) for k in some] for run, some in rows]
        if rows:
            found[system] = labels, shares
    return found


def property_points(
    runs: Sequence[Record], systems: Iterable[str], key: str, scale: float = 1.0
) -> Points:
    """Return labels, and mean and standard deviation over the members that survived.

    Members of all seeds are taken together, as in the paper.
    """
    found: Points = {}
    for system in systems:
        values: dict[int, list[float]] = {}
        for run in runs:
            for k in _numbers(run.get("survival", {})):
                kept = survivors(members_of(run, k, system))
                some = [scale * properties[key][0] for properties in kept if key in properties]
                values.setdefault(_labels(run, k), []).extend(some)
        labels = sorted(count for count, some in values.items() if some)
        if labels:
            means = [np.mean(values[count]) for count in labels]
            spreads = [
                np.std(values[count], ddof=min(1, len(values[count]) - 1)) for count in labels
            ]
            found[system] = np.array(labels), np.array(means), np.array(spreads)
    return found


def _numbers(by_iteration: Mapping[str, Any]) -> list[str]:
    return sorted(by_iteration, key=int)


def _labels(run: Record, iteration: str) -> int:
    return run["iterations"][int(iteration) - 1]["labels"]


def _stable(members: Sequence[Record]) -> float:
    return 100 * len(survivors(members)) / len(members)


def property_lines(
    axes: Axes, points: Points, label: str, looks: Mapping[str, Look], most: float
) -> None:
    """Draw a property: members' mean and standard deviation, dotted lines at the last mean.

    Args:
        axes: of the picture.
        points: system -> labels, means and standard deviations, each (K,).
        label: name and unit.
        looks: of systems.
        most: labels of the loop; marks beyond eight times as many are left out.
    """
    for system, (labels, means, spreads) in points.items():
        look = looks[system]
        style = {**look.style, "ms": 5, "lw": 1.5, "capsize": 3, "label": system}
        axes.errorbar(labels, means, spreads, **style)
        axes.axhline(means[-1], color=look.colour, ls=":", lw=1)
    against_labels(axes, label, MARKS, most)
    axes.grid(alpha=0.25)
    framed_legend(axes)


def of_each_system(
    axes: Axes,
    iterations: Sequence[Record],
    looks: Mapping[str, Look],
    number: Callable[[Record], float | None],
    label: str,
) -> None:
    """Draw a number from the books of each system against the iteration."""
    for system, look in looks.items():
        books = [iteration["systems"][system] for iteration in iterations]
        values = [np.nan if (value := number(each)) is None else value for each in books]
        x = [iteration["iteration"] for iteration in iterations]
        axes.plot(x, values, **look.style, ms=5, lw=1.5, label=system)
    axes.axhline(1, color="k", ls="--", lw=1)
    axes.set(xlabel="iteration", ylabel=label, xticks=[r["iteration"] for r in iterations])
    axes.grid(alpha=0.25)
    framed_legend(axes)


def joined(iterations: Sequence[Record]) -> list[Record]:
    """Return iterations with the errors found in all systems, for a ledger of the whole loop."""
    found = [
        [error for books in each["systems"].values() for error in books.get("found", [])]
        for each in iterations
    ]
    return [{**each, "found": some} for each, some in zip(iterations, found, strict=True)]


def doubt_by_kind(
    axes: Axes, values: Mapping[str, Mapping[str, NDArray]], label: str, target: float
) -> None:
    """Draw the mean of values of atoms for each kind of atom, a bar for each committee.

    Args:
        axes: of the picture.
        values: committee -> kind -> values of its atoms.
        label: name and unit.
        target: a dashed line, in the same unit.
    """
    kinds = list(dict.fromkeys(kind for some in values.values() for kind in some))
    width = 0.8 / max(len(values), 1)
    for k, (name, look) in enumerate(plots.looks(values).items()):
        places = np.arange(len(kinds)) + (k - (len(values) - 1) / 2) * width
        means = [np.mean(values[name].get(kind, 0.0)) for kind in kinds]
        axes.bar(places, means, width, color=look.colour, label=name, alpha=0.85)
    axes.axhline(target, color="k", ls="--", lw=1.2, label="target of attacks")
    axes.set_xticks(range(len(kinds)), kinds, rotation=35, ha="right")
    axes.set_ylabel(label)
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # leaves room for the legend
    axes.grid(axis="y", alpha=0.25)
    framed_legend(axes, place="upper left")
