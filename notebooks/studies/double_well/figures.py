"""Figures of the double well: pairs of loops (Schwalbe-Koda 2021, Fig. 2b) and dynamics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from agal_toolkit.plots.loops import generation_axes
from agal_toolkit.plots.style import (
    ADVERSARIAL,
    CYCLE,
    TRUTH,
    framed_legend,
    plain_logarithm,
    strategy_colour,
)

from .langevin import Trajectory


def band(
    axes: Axes, values: Mapping[str, NDArray | Sequence[NDArray]], label: str, *, scale: str = "log"
) -> None:
    """Draw the median and the interquartile band of many runs against the generation.

    Args:
        values: strategy -> numbers (n,) of all runs for each generation; a generation without
            numbers is left out.
        label: label of the vertical axis.
        scale: scale of the vertical axis; "symlog" is linear below 10.
    """
    for name, generations in values.items():
        some = [k for k, numbers in enumerate(generations) if len(numbers)]
        low, middle, high = np.array([np.percentile(generations[k], [25, 50, 75]) for k in some]).T
        x, colour = np.array(some) + 1, strategy_colour(name)
        axes.plot(x, middle, "o-", ms=4, color=colour, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    axes.set_yscale(scale, **({"linthresh": 10} if scale == "symlog" else {}))
    if scale == "log":
        plain_logarithm(axes.yaxis)
    generation_axes(axes, label)


def pairs_summary(
    error_axes: Axes,
    data_axes: Axes,
    energy_axes: Axes,
    pairs: Sequence[Mapping[str, Any]],
    strategies: Sequence[str],
) -> None:
    """Draw the three panels of Schwalbe-Koda 2021, Fig. 2b, from the records of pairs of loops."""

    def numbers(read: Callable[[Mapping[str, Any]], Any]) -> dict[str, list[NDArray]]:
        return {
            strategy: [
                np.hstack([read(record) for record in records])
                for records in zip(*(pair[strategy] for pair in pairs), strict=True)
            ]
            for strategy in strategies
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
    """Draw a row for each name: runs as dots, their median with its interval.

    A line marks the median of the first row.
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


def position_density(
    axes: Axes,
    trajectories: Mapping[str, Trajectory],
    exact: tuple[NDArray, NDArray] | None = None,
    limit: float = 1.5,
) -> None:
    """Draw the density of the first coordinate over all frames and replicas.

    Args:
        trajectories: name -> frames of all replicas.
        exact: x and density of the Boltzmann distribution.
        limit: largest absolute coordinate that is drawn.
    """
    edges = np.linspace(-limit, limit, 61)
    for number, (name, trajectory) in enumerate(trajectories.items()):
        density, _ = np.histogram(trajectory.positions[..., 0, 0].ravel(), bins=edges, density=True)
        axes.stairs(density, edges, lw=1.4, color=CYCLE[number % len(CYCLE)], label=name)
    if exact is not None:
        axes.plot(*exact, color=TRUTH, lw=1, ls="--", label="Boltzmann, true energy")
    axes.set(xlabel="x", ylabel="density of frames", xlim=(-limit, limit))
    framed_legend(axes)
