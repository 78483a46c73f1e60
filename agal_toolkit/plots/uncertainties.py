"""Uncertainties of a committee: how they are distributed, and whether errors follow them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from .style import UNCERTAIN, framed_legend


def sigma_histogram(
    axes: Axes, sigma: NDArray, threshold: float | None = None, unit: str = ""
) -> None:
    """Distribution of uncertainties (n,), in `unit`, on a logarithmic axis; `threshold` is marked."""
    positive = sigma[sigma > 0]
    if len(positive):
        low, high = positive.min(), positive.max() * 1.0001
        if high < 10 * low:  # less than a decade has no legible ticks
            low, high = np.sqrt(low * high) / np.sqrt(10), np.sqrt(low * high) * np.sqrt(10)
        axes.hist(positive, bins=np.geomspace(low, high, 30), color=UNCERTAIN, alpha=0.8)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if threshold is not None:
        axes.axvline(threshold, color="k", ls="--", lw=1)
    axes.set(xlabel=_in(r"$\sigma_F$", unit), ylabel="structures")


def sigma_against_error(axes: Axes, sigma: NDArray, error: NDArray, unit: str = "") -> None:
    """Uncertainty against true error of the same structures, both in `unit`, with y = x; points
    above the line are overconfident.
    """
    low, high = 1e-4, 1e3
    kept = (sigma > low) & (error > low)
    if kept.any():
        low = 10 ** np.floor(np.log10(min(sigma[kept].min(), error[kept].min())))
        high = 10 ** np.ceil(np.log10(max(sigma[kept].max(), error[kept].max())))
    axes.loglog(sigma[kept], error[kept], ".", ms=2.5, alpha=0.25, color=UNCERTAIN, rasterized=True)
    axes.plot([low, high], [low, high], "k--", lw=1, label="y = x")
    axes.set(
        xlim=(low, high),
        ylim=(low, high),
        xlabel=_in(r"uncertainty $\sigma_F$", unit),
        ylabel=_in("force error of the mean", unit),
    )
    framed_legend(axes, place="upper left")


def _in(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label
