"""Whether the errors of a committee agree with its uncertainties."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .style import UNCERTAIN, Look, framed_legend, looks, plain_logarithm


def sigma_against_error(axes: Axes, sigma: NDArray, error: NDArray, unit: str = "") -> None:
    """Draw true error against uncertainty (n,), and y = x; points above it are overconfident."""
    low, high = 1e-4, 1e3
    kept = (sigma > low) & (error > low)
    x, y = sigma[kept], error[kept]
    if kept.any():
        low = 10 ** np.floor(np.log10(min(x.min(), y.min())))
        high = 10 ** np.ceil(np.log10(max(x.max(), y.max())))
    axes.loglog(x, y, ".", ms=2.5, alpha=0.25, color=UNCERTAIN, rasterized=True)
    axes.plot([low, high], [low, high], "k--", lw=1, label="y = x")
    labels = _in(r"uncertainty $\sigma_F$", unit), _in("force error of the mean", unit)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=labels[0], ylabel=labels[1])
    for axis in (axes.xaxis, axes.yaxis):
        plain_logarithm(axis, (1,) if high > 30 * low else (1, 2, 5))
    framed_legend(axes, place="upper left")


def errors_against_sigma(
    axes: Axes,
    bins: Mapping[str, NDArray],
    unit: str = "eV/Å",
    *,
    shown: Mapping[str, Look] | None = None,
    named: bool = True,
) -> None:
    """Draw root mean square error against uncertainty, and y = x (Cezar 2025, Fig. 2b).

    Args:
        bins: name -> (K, 2) uncertainty and error in bins of equally many samples.
        unit: unit of both.
        shown: looks of the names; None takes ``looks(bins)``.
        named: whether a legend is drawn.
    """
    shown, values = looks(bins) if shown is None else shown, np.concatenate(list(bins.values()))
    low, high = values[values > 0].min() / 1.3, values.max() * 1.3
    axes.plot([low, high], [low, high], color="k", ls="--", lw=1, label="y = x")
    for name, points in bins.items():
        axes.plot(*points.T, **shown[name].style, ms=4, lw=1.2, label=name)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel=f"uncertainty ({unit})", ylabel=f"rms error ({unit})")
    for axis in (axes.xaxis, axes.yaxis):
        plain_logarithm(axis, (1, 3) if high > 30 * low else (1, 2, 5))
    if named:
        framed_legend(axes, place="lower right")


def _in(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label
