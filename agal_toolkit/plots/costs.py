"""What slopes cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from .style import framed_legend, looks


def gradient_costs(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, label: str) -> None:
    """Calls or seconds against the number of atoms, a line for each gradient; both axes logarithmic.

    Args:
        rows: with "gradient", "atoms" and `key`.
        key: what is shown.
        label: of it.
    """
    names = list(dict.fromkeys(row["gradient"] for row in rows))
    shown = looks(names)
    for name in names:
        atoms, values = np.array(sorted((row["atoms"], row[key]) for row in rows if row["gradient"] == name)).T
        axes.plot(atoms, values, color=shown[name].colour, marker=shown[name].marker, ms=4, lw=1.4, label=name)
    every = sorted({row["atoms"] for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel=label)
    axes.xaxis.set_major_locator(FixedLocator(every[:: 1 + len(every) // 5]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper left")
