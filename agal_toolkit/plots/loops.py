"""How loops went: errors, data and sampled energies against the generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..loop.generation import KEPT, Generation
from .style import ADVERSARIAL, framed_legend, plain_logarithm, strategy_colour


def learning_curves(
    axes: Axes,
    runs: Mapping[str, Sequence[Generation]],
    metric: str = "rmse",
    label: str = "RMSE on the grid",
) -> None:
    """Draw a metric against the generation for each strategy (Schwalbe-Koda 2021, Fig. 2b).

    The axis is logarithmic if any value is positive.
    """
    positive = False
    for name, generations in runs.items():
        x, values = [g.index + 1 for g in generations], [g.metrics[metric] for g in generations]
        axes.plot(x, values, "o-", ms=4, color=strategy_colour(name), label=name)
        positive = positive or any(value > 0 for value in values)
    if positive:
        axes.set_yscale("log")
        plain_logarithm(axes.yaxis)
    generation_axes(axes, label)


def data_curves(axes: Axes, runs: Mapping[str, Sequence[Generation]]) -> None:
    """Draw the number of labelled structures against the generation."""
    for name, generations in runs.items():
        x, sizes = [g.index + 1 for g in generations], [len(g.dataset) for g in generations]
        axes.plot(x, sizes, "s-", ms=4, color=strategy_colour(name), label=name)
    generation_axes(axes, "labelled structures")


def sampled_energies(
    axes: Axes,
    runs: Mapping[str, Sequence[Generation]],
    *,
    zero: float = 0.0,
    unit: float = 1.0,
    name: str = "",
) -> None:
    """Draw the true energies of each generation's new labels, and a line through their medians.

    The axis is logarithmic if an energy exceeds a hundred units.

    Args:
        runs: strategy -> generations.
        zero: energy that counts as zero, eV.
        unit: unit of the axis, eV.
        name: name of the unit.
    """
    highest = 0.0
    offsets = np.linspace(-0.12, 0.12, max(len(runs), 1))
    for offset, (strategy, generations) in zip(offsets, runs.items(), strict=False):
        labelled = [g for g in generations if len(g.labelled)]
        x = [g.index + 1 + offset for g in labelled]
        energies = [(g.labelled.energies - zero) / unit for g in labelled]
        colour = strategy_colour(strategy)
        for place, values in zip(x, energies, strict=True):
            highest = max(highest, *values)
            axes.plot(np.full(len(values), place), values, ".", ms=3, alpha=0.4, color=colour)
        axes.plot(x, [np.median(v) for v in energies], "_-", ms=10, color=colour, label=strategy)
    if highest > 100:
        axes.set_yscale("symlog", linthresh=10)
    generation_axes(axes, "energy of sampled points" + (f" ({name})" if name else ""))


def verdict_bars(axes: Axes, generation: Generation) -> None:
    """Draw how many candidates were kept, and how many each selector dropped."""
    names = sorted(set(generation.verdicts), key=lambda name: (name != KEPT, name))
    counts = [generation.verdicts.count(name) for name in names]
    axes.barh(names, counts, color=[ADVERSARIAL if name == KEPT else "0.75" for name in names])
    axes.invert_yaxis()
    axes.set(xlabel="candidates", xlim=(0, max(counts, default=1) * 1.15))
    for row, count in enumerate(counts):
        axes.text(count, row, f" {count}", va="center", fontsize=8)


def generation_axes(axes: Axes, label: str) -> None:
    """Label the axes of a quantity against the generation."""
    axes.set(xlabel="generation", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    framed_legend(axes)
