"""Cost of predictions, attacks and simulations against the size of the box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from agal_toolkit.plots.style import plain_logarithm

from ..calibrated.costs_figure import gradient_costs

QUANTITIES = {"seconds": "seconds", "memory": "peak memory (MB)"}


def costs(
    axes: Axes,
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    key: str = "seconds",
    *,
    named: bool = True,
) -> None:
    """Draw seconds of a turn, or the peak memory, of each task; a dashed line is linear in atoms.

    Args:
        axes: both become logarithmic.
        records: of the study's result file, a row for each size of each task.
        key: "seconds", of which the median is drawn, or "memory".
        named: draw a legend.
    """
    rows = [
        {"gradient": task, "atoms": row["atoms"], key: float(np.median(row[key]))}
        for task, sizes in records.items()
        for row in sizes
    ]
    gradient_costs(axes, rows, key, QUANTITIES[key], named=named)
    if key == "memory":
        plain_logarithm(axes.yaxis)  # less than a decade
    atoms = np.unique([row["atoms"] for row in rows])
    if key == "seconds":
        lowest = min(row[key] for row in rows if row["atoms"] == atoms[0])
        axes.plot(atoms, 0.7 * lowest * atoms / atoms[0], "--", color="0.5", lw=1, zorder=0)
