"""The plane of a two-dimensional model surface: energies, uncertainties, labelled points and
attacks (Schwalbe-Koda 2021, Fig. 2a).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..analysis.grids import Grid, Surface
from ..attack.attack import Adversary
from ..dataset import Dataset
from ..loop.generation import Generation
from .style import (
    ADVERSARIAL,
    EARLIER,
    ENERGY_COLOURS,
    NEW,
    ORIGINAL,
    SIGMA_COLOURS,
    round_ticks,
    tag,
)


def energy_surface(
    axes: Axes,
    grid: Grid,
    energy: NDArray,
    *,
    top: float = 8.0,
    bottom: float = -5.0,
    bar: bool = True,
) -> None:
    """Filled contours of an energy (points, points) with equal levels everywhere; values beyond
    them take the end colours.
    """
    levels = np.linspace(bottom, top, 27)
    filled = axes.contourf(
        grid.axis, grid.axis, energy, levels=levels, cmap=ENERGY_COLOURS, extend="both"
    )
    axes.contour(
        grid.axis, grid.axis, energy, levels=levels[::2], colors="k", linewidths=0.4, alpha=0.35
    )
    map_axes(axes, grid)
    if bar:
        axes.figure.colorbar(
            filled,
            ax=axes,
            label="energy",
            fraction=0.046,
            pad=0.03,
            ticks=MaxNLocator(8, integer=True),
        )


def sigma_surface(axes: Axes, surface: Surface, *, bar: bool = True) -> None:
    """Root of the force variance on a logarithmic scale (Schwalbe-Koda 2021, Eq. 10)."""
    values = np.log10(np.maximum(surface.sigma, 1e-3))
    filled = axes.contourf(
        surface.grid.axis,
        surface.grid.axis,
        values,
        levels=np.linspace(-2, 2, 25),
        cmap=SIGMA_COLOURS,
        extend="both",
    )
    map_axes(axes, surface.grid)
    if bar:
        axes.figure.colorbar(
            filled,
            ax=axes,
            label=r"$\log_{10}\,\sigma_F$",
            fraction=0.046,
            pad=0.03,
            ticks=range(-2, 3),
        )


def structures(axes: Axes, dataset: Dataset, new: Dataset | None = None) -> None:
    """Labelled points on a plane: original white, acquired gray, `new` black."""
    positions = np.array([geometry.positions[0] for geometry in dataset]).reshape(-1, 2)
    later = dataset.generations > 0
    style = {"s": 14, "linewidths": 0.6, "zorder": 3}
    axes.scatter(*positions[~later].T, c=ORIGINAL, edgecolors="k", label="original", **style)
    axes.scatter(*positions[later].T, c=EARLIER, edgecolors="k", label="earlier", **style)
    if new is not None and len(new):
        axes.scatter(
            *np.array([geometry.positions[0] for geometry in new]).T,
            c=NEW,
            edgecolors="white",
            s=20,
            linewidths=0.5,
            zorder=4,
            label="new",
        )


def committee_surface(
    axes: Axes, generation: Generation, surface: Surface, *, bar: bool = True
) -> None:
    """The mean energy of a generation's committee with its data and what it asked for: a panel of
    Schwalbe-Koda 2021, Fig. 2a.
    """
    energy_surface(axes, surface.grid, surface.energy, bar=bar)
    structures(axes, generation.dataset, generation.labelled)
    tag(axes, f"generation {generation.index + 1}")


def uncertainty_surface(
    axes: Axes, generation: Generation, surface: Surface, *, bar: bool = True
) -> None:
    """The uncertainty of a generation's committee with the same points."""
    sigma_surface(axes, surface, bar=bar)
    structures(axes, generation.dataset, generation.labelled)
    tag(axes, f"generation {generation.index + 1}")


def attack_paths(axes: Axes, adversaries: Sequence[Adversary], colour: str = ADVERSARIAL) -> None:
    """Where the particle of each attack went: a hollow start, a line, a dot at the kept iterate."""
    for adversary in adversaries:
        path = adversary.path[: adversary.kept + 1, 0]
        axes.plot(*path.T, "-", color=colour, lw=1.0, alpha=0.8, zorder=5)
        axes.plot(*path[0], "o", ms=4, mfc="white", mec=colour, zorder=6)
        axes.plot(*path[-1], "o", ms=5, color=colour, mec="white", mew=0.6, zorder=7)


def map_axes(axes: Axes, grid: Grid) -> None:
    """Limits, labels and ticks of a grid."""
    axes.set(
        xlim=(-grid.limit, grid.limit),
        ylim=(-grid.limit, grid.limit),
        xlabel="x",
        ylabel="y",
        aspect="equal",
    )
    round_ticks(axes)
