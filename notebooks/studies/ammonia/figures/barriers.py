"""Nitrogen's inversion: paths over the barrier, and how far off the barriers of committees are
(Schwalbe-Koda 2021, Fig. 3d).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from agal_toolkit.plots.style import TRUTH, Look, framed_legend, looks

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
    """Energies along the inversion: a reference in black, committees in colours, their members thin
    (Schwalbe-Koda 2021, Fig. 3d).

    Args:
        paths: name -> where the images (n,) are along the path, and their energies (n,), kcal/mol.
        members: name -> the same of each member of that committee.
        barrier: the reference's, kcal/mol; a dashed line at its height with its number.
        shown: how each name looks; None takes ``looks(paths)``. A name with "DFT" or "reference" in
            it is near-black.
        along: label of the horizontal axis, with a unit where the places along the path have one.
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
        axes.annotate(
            f"DFT {barrier:.2f}",
            (0.01, barrier),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=9,
        )
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
    """How far off the barriers are, a row for each strategy or generation: every seed, the median
    and its interval.

    A band marks what the paper reports of its second and third generation, less than 0.25 kcal/mol
    (Schwalbe-Koda 2021, Sec. 3.2).

    Args:
        rows: name -> errors (seeds,) of the barrier, the reference's subtracted, kcal/mol, NaN
            where there is no path; and the 95 % interval of their median, None where there are too
            few seeds for one.
        tolerance: half width of the band, kcal/mol; above 0.
        linear: the axis is linear up to this error and logarithmic beyond, kcal/mol; None is linear
            everywhere.
        shown: how each name looks; None takes ``looks(rows)``.
    """
    shown = looks(rows) if shown is None else shown
    if linear is not None:
        axes.set_xscale("symlog", linthresh=linear)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axvspan(
        -tolerance,
        tolerance,
        color="#1e8449",
        alpha=0.13,
        lw=0,
        zorder=0,
        label=f"±{tolerance:g} kcal/mol",
    )
    axes.axvline(0, color=TRUTH, lw=0.8, zorder=1)
    for row, (name, (errors, interval)) in enumerate(rows.items()):
        look, errors = shown[name], np.asarray(errors, dtype=float)
        errors = errors[np.isfinite(errors)]
        axes.plot(
            errors,
            np.full(len(errors), row),
            look.marker,
            ms=4.5,
            mfc=look.colour,
            mec="0.25",
            mew=0.4,
            alpha=0.75,
            zorder=2,
        )
        if interval is not None:
            axes.plot(
                interval,
                [row - 0.26] * 2,
                "-",
                lw=2.4,
                color=look.colour,
                zorder=3,
                solid_capstyle="butt",
            )
        if len(errors):
            axes.plot(
                np.median(errors),
                row - 0.26,
                look.marker,
                ms=7,
                color=look.colour,
                mec="white",
                zorder=4,
            )
    axes.set(
        yticks=range(len(rows)),
        ylim=(len(rows) - 0.5, -0.6),
        xlabel="error of the barrier (kcal/mol)",
    )
    lost = {
        name: int((~np.isfinite(np.asarray(errors, dtype=float))).sum())
        for name, (errors, _) in rows.items()
    }
    axes.set_yticklabels([name + (f"\n{lost[name]} failed" if lost[name] else "") for name in rows])
    axes.grid(axis="x", alpha=0.25)
    framed_legend(axes)
