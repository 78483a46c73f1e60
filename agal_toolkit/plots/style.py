"""What all pictures share: colours that mean the same everywhere, axes with readable numbers, legends and tags.

Red is adversarial, blue random, near-black the truth; white points are the original data, gray ones acquired earlier,
black ones new (Schwalbe-Koda 2021, Fig. 2a).
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

ADVERSARIAL, RANDOM, TRUTH = "#c0392b", "#2471a3", "0.15"
ENERGY_COLOURS, SIGMA_COLOURS = "viridis", "magma"


def strategy_colour(name: str) -> str:
    """Red for adversarial, blue for random, green for anything else."""
    return {"adversarial": ADVERSARIAL, "random": RANDOM}.get(name, "#1e8449")


def plain_logarithm(axis: Axis) -> None:
    """Numbers, not powers, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_formatter(NullFormatter())


def framed_legend(axes: Axes, *, place: str = "best") -> None:
    """A legend of all labelled artists, if there are any, in a light frame that keeps it readable where it lies on data."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, fontsize=9, framealpha=0.85, edgecolor="0.85", borderpad=0.3, handlelength=1.6)


def tag(axes: Axes, text: str) -> None:
    """A label in the top left corner, readable on any colour."""
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", ha="left", fontsize=9, bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85})
