"""Figures of the double well's dynamics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from agal_toolkit.plots.style import CYCLE, TRUTH, framed_legend

from .langevin import Trajectory


def position_density(
    axes: Axes,
    trajectories: Mapping[str, Trajectory],
    exact: tuple[NDArray, NDArray] | None = None,
    limit: float = 1.5,
) -> None:
    """Density of the first coordinate over all frames and replicas; `exact` is (x, density), the
    Boltzmann distribution.
    """
    edges = np.linspace(-limit, limit, 61)
    for number, (name, trajectory) in enumerate(trajectories.items()):
        density, _ = np.histogram(trajectory.positions[..., 0, 0].ravel(), bins=edges, density=True)
        axes.stairs(density, edges, lw=1.4, color=CYCLE[number % len(CYCLE)], label=name)
    if exact is not None:
        axes.plot(*exact, color=TRUTH, lw=1, ls="--", label="Boltzmann, true energy")
    axes.set(xlabel="x", ylabel="density of frames", xlim=(-limit, limit))
    framed_legend(axes)
