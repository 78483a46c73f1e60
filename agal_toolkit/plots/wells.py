"""Maps of a two-dimensional model surface, its points and attacks (Schwalbe-Koda 2021, Fig. 2a)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..analysis.grids import Grid, Surface
from ..attack.attack import Adversary
from ..dataset import Dataset
from ..loop.generation import Generation
from . import style


def energy_surface(
    axes: Axes,
    grid: Grid,
    energy: NDArray,
    *,
    top: float = 8.0,
    bottom: float = -5.0,
    bar: bool = True,
) -> None:
    """Draw filled contours of a grid's energies (points, points) at levels from `bottom` to `top`.

    Values beyond the levels take the end colours; `bar` adds a colour bar.
    """
    levels = np.linspace(bottom, top, 27)
    ticks = MaxNLocator(8, integer=True) if bar else None
    _filled(axes, grid, energy, levels, style.ENERGY_COLOURS, "energy", ticks)
    lines = {"colors": "k", "linewidths": 0.4, "alpha": 0.35}
    axes.contour(grid.axis, grid.axis, energy, levels=levels[::2], **lines)


def sigma_surface(axes: Axes, surface: Surface, *, bar: bool = True) -> None:
    """Draw the uncertainty, log10 of the force variance's root (Schwalbe-Koda 2021, Eq. 10)."""
    values, levels = np.log10(np.maximum(surface.sigma, 1e-3)), np.linspace(-2, 2, 25)
    label, ticks = r"$\log_{10}\,\sigma_F$", range(-2, 3) if bar else None
    _filled(axes, surface.grid, values, levels, style.SIGMA_COLOURS, label, ticks)


def structures(axes: Axes, dataset: Dataset, new: Dataset | None = None) -> None:
    """Draw labelled points on a plane: original ones white, later ones gray, `new` ones black."""
    positions = np.array([geometry.positions[0] for geometry in dataset]).reshape(-1, 2)
    later = dataset.generations > 0
    look = {"s": 14, "linewidths": 0.6, "zorder": 3}
    groups = (("original", style.ORIGINAL, ~later), ("earlier", style.EARLIER, later))
    for name, colour, chosen in groups:
        if chosen.any():
            axes.scatter(*positions[chosen].T, c=colour, edgecolors="k", label=name, **look)
    if new is not None and len(new):
        positions = np.array([geometry.positions[0] for geometry in new])
        look = {"s": 20, "linewidths": 0.5, "zorder": 4}
        axes.scatter(*positions.T, c=style.NEW, edgecolors="white", label="new", **look)


def committee_surface(
    axes: Axes, generation: Generation, surface: Surface, *, bar: bool = True
) -> None:
    """Draw the committee's mean energy with the labelled points (Schwalbe-Koda 2021, Fig. 2a)."""
    energy_surface(axes, surface.grid, surface.energy, bar=bar)
    _points(axes, generation)


def uncertainty_surface(
    axes: Axes, generation: Generation, surface: Surface, *, bar: bool = True
) -> None:
    """Draw the committee's uncertainty with the labelled points."""
    sigma_surface(axes, surface, bar=bar)
    _points(axes, generation)


def attack_paths(
    axes: Axes, adversaries: Sequence[Adversary], colour: str = style.ADVERSARIAL
) -> None:
    """Draw each attack's path: a hollow start, a line, and a dot at the step that was kept."""
    for adversary in adversaries:
        path = adversary.path[: adversary.kept + 1, 0]
        axes.plot(*path.T, "-", color=colour, lw=1.0, alpha=0.8, zorder=5)
        axes.plot(*path[0], "o", ms=4, mfc="white", mec=colour, zorder=6)
        axes.plot(*path[-1], "o", ms=5, color=colour, mec="white", mew=0.6, zorder=7)


def map_axes(axes: Axes, grid: Grid) -> None:
    """Set the limits, labels and ticks of axes that show a grid."""
    limits = (-grid.limit, grid.limit)
    axes.set(xlim=limits, ylim=limits, xlabel="x", ylabel="y", aspect="equal")
    style.round_ticks(axes)


def _filled(
    axes: Axes, grid: Grid, values: NDArray, levels: NDArray, colours: str, label: str, ticks: Any
) -> None:
    """Draw filled contours, and a colour bar where there are ticks for it."""
    options = {"levels": levels, "cmap": colours, "extend": "both"}
    filled = axes.contourf(grid.axis, grid.axis, values, **options)
    map_axes(axes, grid)
    if ticks is not None:
        place = {"ax": axes, "fraction": 0.046, "pad": 0.03}
        axes.figure.colorbar(filled, label=label, ticks=ticks, **place)


def _points(axes: Axes, generation: Generation) -> None:
    structures(axes, generation.dataset, generation.labelled)
    axes.set_title(f"generation {generation.index + 1}", loc="left", fontsize=9)
