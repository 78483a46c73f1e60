"""Maps of an attack on the plane: the loss on a grid, and the paths over it."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.analysis.grids import Grid, Surface
from agal_toolkit.attack import Attack
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.plots.wells import map_axes

_DECADES = 4.0  # of the loss that the map resolves
_COLOURS = "cividis"


def attack_gain(
    attack: Attack, committee: Committee, dataset: Dataset, surface: Surface
) -> NDArray:
    """Return (points, points) the adversarial loss with the papers' sign: attacks raise it."""
    loss = attack.objective(committee, dataset)(surface.prediction, surface.batch)
    return -loss.detach().numpy().reshape(surface.energy.shape)


def draw_gain(axes: Axes, grid: Grid, gain: NDArray) -> None:
    """Draw filled contours of an adversarial loss, logarithmic if it is positive everywhere."""
    if (gain > 0).all():
        top = np.log10(gain.max())
        values, label = np.log10(np.maximum(gain, 1e-300)), r"$\log_{10}\,\mathcal{L}_\mathrm{adv}$"
        low = top - _DECADES
    else:
        values, label = gain, r"$\mathcal{L}_\mathrm{adv}$"
        low, top = np.percentile(gain, [2, 100])
        top = top if top > low else low + 1.0
    levels = np.linspace(low, top, 25)
    filled = axes.contourf(grid.axis, grid.axis, values, levels=levels, cmap=_COLOURS, extend="min")
    map_axes(axes, grid)
    bar = {"fraction": 0.046, "pad": 0.03, "ticks": np.round(levels[::6], 1)}
    axes.figure.colorbar(filled, ax=axes, label=label, **bar)


def draw_paths(axes: Axes, path: NDArray, step: int) -> list[Artist]:
    """Draw paths (steps, seeds, 2) up to `step` with marks at both ends; return the artists."""
    gap = np.full((1, path.shape[1], 2), np.nan)
    # one line for all seeds, broken by NaN
    lines = np.concatenate([path[: step + 1], gap]).transpose(1, 0, 2).reshape(-1, 2).T
    red = plots.ADVERSARIAL
    return [
        *axes.plot(*lines, "-", color="white", lw=3.0, alpha=0.7, zorder=5),
        *axes.plot(*lines, "-", color=red, lw=1.4, zorder=6),
        *axes.plot(*path[0].T, "o", ms=6, mfc="white", mec=red, mew=1.4, zorder=7),
        *axes.plot(*path[step].T, "o", ms=8, color=red, mec="white", mew=1.0, zorder=8),
    ]
