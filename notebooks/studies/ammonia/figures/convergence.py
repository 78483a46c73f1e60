"""How long training must last until the barrier no longer changes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from agal_toolkit.plots.style import Look, framed_legend, looks, plain_logarithm


def convergence_curves(
    axes: Axes,
    curves: Mapping[str, tuple[NDArray, NDArray]],
    label: str = "error of the barrier (kcal/mol)",
    *,
    spread: Mapping[str, tuple[NDArray, NDArray]] | None = None,
    tolerance: float | None = 0.05,
    logarithmic: bool = False,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw a quantity against steps of training, with a band around the end of each curve.

    A curve that stays within its band has converged.

    Args:
        curves: name -> positive steps (n,) in ascending order, and values (n,), kcal/mol.
        label: label of the vertical axis, with its unit.
        spread: name -> lower and upper end (n,) of the scatter over seeds.
        tolerance: half width of the band around the last value, kcal/mol; None draws none.
        logarithmic: whether the vertical axis is logarithmic; values must be positive then.
        shown: looks of the names; None takes ``looks(curves)``.
    """
    shown = looks(curves) if shown is None else shown
    for name, (steps, values) in curves.items():
        look = shown[name]
        if spread is not None and name in spread:
            axes.fill_between(steps, *spread[name], color=look.colour, alpha=0.14, lw=0)
        if tolerance is not None and len(values):
            ends = values[-1] - tolerance, values[-1] + tolerance
            axes.axhspan(*ends, color=look.colour, alpha=0.3, lw=0, zorder=1)
        axes.plot(steps, values, **look.style, ms=4, lw=1.6, label=name, zorder=3)
    axes.set(xlabel="training steps", ylabel=label, xscale="log")
    plain_logarithm(axes.xaxis, (1, 3))
    if logarithmic:
        axes.set_yscale("log")
        plain_logarithm(axes.yaxis)
    elif any(np.min(values, initial=0) < 0 for _, values in curves.values()):
        axes.axhline(0, color="0.15", lw=0.8, zorder=0)
    axes.grid(alpha=0.25)
    framed_legend(axes)
