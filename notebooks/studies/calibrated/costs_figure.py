"""Cost of gradients against the number of atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from agal_toolkit.plots.style import Look, framed_legend, looks


def gradient_costs(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    key: str,
    label: str,
    *,
    shown: Mapping[str, Look] | None = None,
    named: bool = True,
) -> None:
    """Draw calls, seconds or errors against the number of atoms, both logarithmic.

    Args:
        rows: with "gradient", "atoms" and `key`; rows where `key` is None or zero are left out.
        key: of the quantity.
        label: of the quantity.
        shown: looks of the gradients; None takes ``looks``.
        named: draw a legend.
    """
    names = list(dict.fromkeys(row["gradient"] for row in rows))
    shown = looks(names) if shown is None else shown
    for name in names:
        points = sorted(
            (row["atoms"], row[key]) for row in rows if row["gradient"] == name and row[key]
        )
        if points:
            look = {"color": shown[name].colour, "marker": shown[name].marker}
            axes.plot(*np.array(points).T, **look, ms=4, lw=1.4, label=name)
    every = sorted({row["atoms"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel=label)
    axes.xaxis.set_major_locator(FixedLocator(every[:: 1 + len(every) // 5]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_locator(LogLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    if named:
        framed_legend(axes, place="upper left")
