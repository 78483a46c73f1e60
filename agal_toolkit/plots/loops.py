"""How loops went: errors, data and sampled energies against the generation, and many runs side by
side (Schwalbe-Koda 2021, Fig. 2b).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..loop.generation import KEPT, Generation
from .style import ADVERSARIAL, framed_legend, plain_logarithm, strategy_colour


def learning_curves(
    axes: Axes,
    runs: Mapping[str, Sequence[Generation]],
    metric: str = "rmse",
    label: str = "RMSE on the grid",
) -> None:
    """A metric against the generation, one line for each strategy (Schwalbe-Koda 2021, Fig. 2b);
    logarithmic if it is ever positive.
    """
    for name, generations in runs.items():
        values = [g.metrics[metric] for g in generations]
        axes.plot(
            [g.index + 1 for g in generations],
            values,
            "o-",
            ms=4,
            color=strategy_colour(name),
            label=name,
        )
    if any(g.metrics[metric] > 0 for generations in runs.values() for g in generations):
        axes.set_yscale("log")
        plain_logarithm(axes.yaxis)
    _by_generation(axes, label)


def data_curves(axes: Axes, runs: Mapping[str, Sequence[Generation]]) -> None:
    """The number of labelled structures against the generation."""
    for name, generations in runs.items():
        axes.plot(
            [g.index + 1 for g in generations],
            [len(g.dataset) for g in generations],
            "s-",
            ms=4,
            color=strategy_colour(name),
            label=name,
        )
    _by_generation(axes, "labelled structures")


def sampled_energies(
    axes: Axes,
    runs: Mapping[str, Sequence[Generation]],
    *,
    zero: float = 0.0,
    unit: float = 1.0,
    name: str = "",
) -> None:
    """True energies of what each generation asked for: points, and a line through the medians;
    logarithmic where they are above a hundred.

    Args:
        runs: strategy -> generations.
        zero: the energy that counts as zero, eV.
        unit: of the axis, eV.
        name: of the unit.
    """
    highest = 0.0
    for offset, (strategy, generations) in zip(
        np.linspace(-0.12, 0.12, max(len(runs), 1)), runs.items(), strict=False
    ):
        asked = {
            g.index + 1 + offset: (g.labelled.energies - zero) / unit
            for g in generations
            if len(g.labelled)
        }
        for at, energies in asked.items():
            highest = max(highest, *energies)
            axes.plot(
                np.full(len(energies), at),
                energies,
                ".",
                ms=3,
                alpha=0.4,
                color=strategy_colour(strategy),
            )
        axes.plot(
            [*asked],
            [np.median(energies) for energies in asked.values()],
            "_-",
            ms=10,
            color=strategy_colour(strategy),
            label=strategy,
        )
    if highest > 100:
        axes.set_yscale("symlog", linthresh=10)
    _by_generation(axes, "energy of sampled points" + (f" ({name})" if name else ""))


def band(
    axes: Axes, values: Mapping[str, NDArray | Sequence[NDArray]], label: str, *, scale: str = "log"
) -> None:
    """Median and interquartile band by generation, one for each strategy (Schwalbe-Koda 2021, Fig.
    2b).

    Args:
        values: strategy -> for each generation the numbers (n,) of all runs; generations without
            numbers are left out.
        label: of the vertical axis.
        scale: of the vertical axis; "symlog" is linear below 10.
    """
    for name, generations in values.items():
        known = [k for k, numbers in enumerate(generations) if len(numbers)]
        low, middle, high = np.array([np.percentile(generations[k], [25, 50, 75]) for k in known]).T
        at, colour = np.array(known) + 1, strategy_colour(name)
        axes.plot(at, middle, "o-", ms=4, color=colour, label=name)
        axes.fill_between(at, low, high, color=colour, alpha=0.18, lw=0)
    axes.set_yscale(scale, **({"linthresh": 10} if scale == "symlog" else {}))
    if scale == "log":
        plain_logarithm(axes.yaxis)
    _by_generation(axes, label)


def pairs_summary(
    error_axes: Axes,
    data_axes: Axes,
    energy_axes: Axes,
    pairs: Sequence[Mapping[str, Any]],
    strategies: Sequence[str],
) -> None:
    """The three panels of Schwalbe-Koda 2021, Fig. 2b, from the records of a study's pairs."""

    def numbers(read: Callable[[Mapping[str, Any]], Any]) -> dict[str, list[NDArray]]:
        return {
            s: [
                np.hstack([read(r) for r in generation])
                for generation in zip(*(pair[s] for pair in pairs), strict=True)
            ]
            for s in strategies
        }

    band(error_axes, numbers(lambda r: r["metrics"]["rmse"]), "RMSE on the grid")
    band(data_axes, numbers(lambda r: r["structures"]), "training points", scale="linear")
    band(energy_axes, numbers(lambda r: r["energies"]), "energy of sampled points", scale="symlog")


def error_rows(
    axes: Axes,
    names: Sequence[str],
    errors: Sequence[NDArray],
    intervals: Sequence[tuple[float, float]],
    label: str,
) -> None:
    """A row for each name: every run as a dot, the median with its interval, and a line at the
    first row's median.
    """
    for row, (runs, (low, high)) in enumerate(zip(errors, intervals, strict=True)):
        axes.plot(runs, np.full(len(runs), row), ".", ms=4, color="0.7", zorder=1)
        axes.plot([low, high], [row, row], "-", lw=2, color=ADVERSARIAL, zorder=2)
        axes.plot(np.median(runs), row, "o", ms=5, color=ADVERSARIAL, mec="white", zorder=3)
    axes.axvline(np.median(errors[0]), color="0.5", lw=0.8, ls="--", zorder=0)
    axes.set(xscale="log", xlabel=label, yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticklabels(names)
    plain_logarithm(axes.xaxis)
    axes.grid(axis="x", alpha=0.25)


def verdict_bars(axes: Axes, generation: Generation) -> None:
    """How many candidates were kept, and what dropped the others."""
    names = sorted(set(generation.verdicts), key=lambda name: (name != KEPT, name))
    counts = [generation.verdicts.count(name) for name in names]
    axes.barh(names, counts, color=[ADVERSARIAL if name == KEPT else "0.75" for name in names])
    axes.invert_yaxis()
    axes.set(xlabel="candidates", xlim=(0, max(counts, default=1) * 1.15))
    for row, count in enumerate(counts):
        axes.text(count, row, f" {count}", va="center", fontsize=8)


def _by_generation(axes: Axes, label: str) -> None:
    axes.set(xlabel="generation", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    framed_legend(axes)
