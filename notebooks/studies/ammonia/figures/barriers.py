"""Nitrogen's inversion: paths over the barrier, and errors of committees' barriers (Schwalbe-Koda
2021, Fig. 3d).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from agal_toolkit.plots.style import GREEN, TRUTH, Look, framed_legend, looks

Curve = tuple[NDArray, NDArray]


def inversion_paths(
    axes: Axes,
    paths: Mapping[str, Curve],
    *,
    members: Mapping[str, Sequence[Curve]] | None = None,
    barrier: float | None = None,
    shown: Mapping[str, Look] | None = None,
    along: str = "fraction of the path",
) -> None:
    """Draw energies along the inversion: reference black, committees in colours, members thin.

    Args:
        paths: name -> positions of the images (n,) along the path, and energies (n,), kcal/mol.
        members: name -> the same of each member of that committee.
        barrier: the reference's, kcal/mol; a dashed line at its height with its number.
        shown: looks of the names; None takes ``looks(paths)``.
        along: label of the horizontal axis, with its unit.
    """
    shown = looks(paths) if shown is None else shown
    for name, curves in ({} if members is None else members).items():
        for place, energies in curves:
            axes.plot(place, energies, "-", lw=0.6, color=shown[name].colour, alpha=0.55, zorder=2)
    for name, (place, energies) in paths.items():
        look = shown[name]
        style = (
            {"marker": "o", "mfc": "white", "lw": 2.0, "zorder": 5}
            if look.colour == TRUTH
            else {"marker": look.marker, "lw": 1.5, "zorder": 4}
        )
        axes.plot(place, energies, look.line, ms=4.5, color=look.colour, label=name, **style)
    if barrier is not None:
        axes.axhline(barrier, color=TRUTH, lw=0.8, ls="--", zorder=1)
        left_end = {"xy": (0.01, barrier), "xycoords": axes.get_yaxis_transform()}
        above = {"xytext": (0, 2), "textcoords": "offset points"}
        axes.annotate(f"DFT {barrier:.2f}", **left_end, **above, fontsize=9)
    axes.margins(y=0.1)  # room for the number above its line
    axes.set(xlabel=along, ylabel="energy (kcal/mol)")
    axes.grid(alpha=0.25)
    framed_legend(axes, place="lower center")


def barrier_errors(
    axes: Axes,
    rows: Mapping[str, tuple[NDArray, tuple[float, float] | None]],
    *,
    tolerance: float = 0.25,
    linear: float | None = None,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw errors of barriers, a row for each committee: every seed, the median and its interval.

    A band marks the paper's error of its second and third generation, less than 0.25 kcal/mol
    (Schwalbe-Koda 2021, Sec. 3.2).

    Args:
        rows: name -> errors (seeds,) of the barrier, kcal/mol, NaN without a path; and the 95 %
            interval of their median, None for too few seeds.
        tolerance: half width of the band, kcal/mol.
        linear: error up to which the axis is linear, and logarithmic beyond, kcal/mol; None is
            linear everywhere.
        shown: looks of the names; None takes ``looks(rows)``.
    """
    shown = looks(rows) if shown is None else shown
    if linear is not None:
        axes.set_xscale("symlog", linthresh=linear)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    band = {"color": GREEN, "alpha": 0.13, "lw": 0, "zorder": 0}
    axes.axvspan(-tolerance, tolerance, **band, label=f"±{tolerance:g} kcal/mol")
    axes.axvline(0, color=TRUTH, lw=0.8, zorder=1)
    labels = []
    for row, (name, (errors, interval)) in enumerate(rows.items()):
        look, errors = shown[name], np.asarray(errors, dtype=float)
        finite = errors[np.isfinite(errors)]
        lost = len(errors) - len(finite)
        labels.append(name + (f"\n{lost} failed" if lost else ""))
        dots = {"mfc": look.colour, "mec": "0.25", "mew": 0.4, "alpha": 0.75}
        axes.plot(finite, np.full(len(finite), row), look.marker, ms=4.5, **dots, zorder=2)
        above, line = row - 0.26, {"color": look.colour, "lw": 2.4, "solid_capstyle": "butt"}
        if interval is not None:
            axes.plot(interval, [above, above], "-", **line, zorder=3)
        if len(finite):
            middle = {"ms": 7, "color": look.colour, "mec": "white"}
            axes.plot(np.median(finite), above, look.marker, **middle, zorder=4)
    axes.set(ylim=(len(rows) - 0.5, -0.6), xlabel="error of the barrier (kcal/mol)")
    axes.set_yticks(range(len(rows)), labels)
    axes.grid(axis="x", alpha=0.25)
    framed_legend(axes)
