"""What a committee says of the plane, and how it is drawn: evaluated once, redrawn as often as a
control moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .. import plots
from ..analysis.grids import Grid, Surface, ask
from ..attack import Attack
from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import Dataset
from ..plots.wells import map_axes
from ..uncertainty.variance import force_variance

_FADE = 4.0  # decades of the loss that the map tells apart
_COLOURS = "cividis"


@dataclass(frozen=True, eq=False)
class Said:
    """A committee on a grid: its prediction there, and what follows from it.

    Attributes:
        surface: mean energy and uncertainty.
        prediction: of every member at every point.
        batch: the points.
    """

    surface: Surface
    prediction: Prediction
    batch: Batch

    @classmethod
    def of(cls, committee: Committee, grid: Grid) -> Said:
        """Evaluated once."""
        prediction, batch = ask(committee, grid.positions)
        shape = (grid.points, grid.points)
        sigma = force_variance(prediction, batch).sqrt().numpy()
        return cls(
            Surface(grid, prediction.energy.mean(0).numpy().reshape(shape), sigma.reshape(shape)),
            prediction,
            batch,
        )

    def gain(self, attack: Attack, committee: Committee, dataset: Dataset) -> NDArray:
        """(points, points) of the adversarial loss as the papers print it: what the attack makes
        large.
        """
        loss = attack.objective(committee, dataset)
        return (
            -loss(self.prediction, self.batch).detach().numpy().reshape(self.surface.energy.shape)
        )


def draw_gain(axes: Axes, grid: Grid, gain: NDArray) -> None:
    """Filled contours of an adversarial loss, on a logarithmic scale of four decades where it is
    positive.
    """
    if (gain > 0).all():
        top = np.log10(gain.max())
        values, levels, label = (
            np.log10(np.maximum(gain, 1e-300)),
            np.linspace(top - _FADE, top, 25),
            r"$\log_{10}\,\mathcal{L}_\mathrm{adv}$",
        )
    else:
        values, label = gain, r"$\mathcal{L}_\mathrm{adv}$"
        low, top = np.percentile(gain, [2, 100])
        levels = np.linspace(low, top if top > low else low + 1.0, 25)
    filled = axes.contourf(grid.axis, grid.axis, values, levels=levels, cmap=_COLOURS, extend="min")
    map_axes(axes, grid)
    axes.figure.colorbar(
        filled, ax=axes, label=label, fraction=0.046, pad=0.03, ticks=np.round(levels[::6], 1)
    )


def draw_paths(axes: Axes, path: NDArray, step: int) -> list[Artist]:
    """Paths (steps, seeds, 2) up to `step`: a hollow start, a line, a dot at the step; gives what
    was drawn.
    """
    gap = np.full((1, path.shape[1], 2), np.nan)
    lines = (
        np.concatenate([path[: step + 1], gap]).transpose(1, 0, 2).reshape(-1, 2).T
    )  # one artist for all, broken by NaN
    return [
        *axes.plot(*lines, "-", color="white", lw=3.0, alpha=0.7, zorder=5),
        *axes.plot(*lines, "-", color=plots.ADVERSARIAL, lw=1.4, zorder=6),
        *axes.plot(*path[0].T, "o", ms=6, mfc="white", mec=plots.ADVERSARIAL, mew=1.4, zorder=7),
        *axes.plot(
            *path[step].T, "o", ms=8, color=plots.ADVERSARIAL, mec="white", mew=1.0, zorder=8
        ),
    ]
