"""A committee on the plane and the maps drawn from it: evaluated once, drawn as often as needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .. import plots
from ..analysis.grids import Grid, Surface, predict_at
from ..attack import Attack
from ..batch import Batch, Prediction
from ..committee import Committee
from ..dataset import Dataset
from ..plots.wells import map_axes
from ..uncertainty.variance import force_variance

_DECADES = 4.0  # of the loss that the map resolves
_COLOURS = "cividis"


@dataclass(frozen=True, eq=False)
class CommitteeOnGrid:
    """A committee evaluated on a grid.

    Attributes:
        surface: mean energy and uncertainty.
        prediction: prediction of every member at every point.
        batch: the points.
    """

    surface: Surface
    prediction: Prediction
    batch: Batch

    @classmethod
    def of(cls, committee: Committee, grid: Grid) -> CommitteeOnGrid:
        """Evaluate a committee at every point of a grid."""
        prediction, batch = predict_at(committee, grid.positions)
        shape = (grid.points, grid.points)
        energy = prediction.energy.mean(0).numpy().reshape(shape)
        sigma = force_variance(prediction, batch).sqrt().numpy().reshape(shape)
        return cls(Surface(grid, energy, sigma), prediction, batch)

    def gain(self, attack: Attack, committee: Committee, dataset: Dataset) -> NDArray:
        """Return (points, points) the adversarial loss with the papers' sign: attacks raise it."""
        loss = attack.objective(committee, dataset)(self.prediction, self.batch)
        return -loss.detach().numpy().reshape(self.surface.energy.shape)


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
