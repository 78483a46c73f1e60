"""Figures of the loop on water: the paper's marks, and what a run cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from agal_toolkit.plots.style import framed_legend, plain

# Labels at which the paper's members were all stable (Cezar 2025, Sec. IV E 2): Allegro, and DeePMD
# with targets of 0.2 and 0.1 eV/angstrom. For the `marks` of `plots.property_curves`.
PAPER = {80: "Allegro", 220: "DeePMD", 350: "DeePMD"}


def cost_shares(axes: Axes, costs: Mapping[str, Mapping[str, float]]) -> None:
    """Draw which share of each cost each stage has, and the totals at the right.

    Args:
        costs: cost ("labels", "force calls", "seconds") -> stage -> amount.
    """
    stages = list(dict.fromkeys(stage for parts in costs.values() for stage in parts))
    totals = np.array([sum(parts.values()) for parts in costs.values()], float)
    ends = np.zeros(len(costs))
    for number, stage in enumerate(stages):
        amounts = np.array([parts.get(stage, 0.0) for parts in costs.values()])
        shares = amounts / np.where(totals > 0, totals, 1)
        tone = number / max(len(stages) - 1, 1)
        colour = colormaps["cividis"](tone)
        bars = axes.barh(range(len(costs)), shares, left=ends, color=colour, label=stage)
        inside = [f"{100 * share:.0f} %" if share > 0.06 else "" for share in shares]
        ink = "white" if tone < 0.5 else "black"
        axes.bar_label(bars, inside, label_type="center", color=ink, fontsize=8)
        ends += shares
    for row, total in enumerate(totals):
        axes.text(1.01, row, f"{total:,.0f}" if total >= 100 else plain(total), va="center")
    axes.set_yticks(range(len(costs)), list(costs))
    # rows from the top, below the legend
    axes.set(xlabel="share (%)", xlim=(0, 1.15), ylim=(len(costs) - 0.5, -1.6))
    axes.set_xticks(np.linspace(0, 1, 6), [f"{k}" for k in range(0, 101, 20)])
    framed_legend(axes, place="upper center", columns=4)
