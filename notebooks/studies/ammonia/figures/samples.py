"""Structures of different ways to sample: similarity, energy and distance from the ground state.

The groups are those of Schwalbe-Koda 2021, Figs. 3a to 3c.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from agal_toolkit.plots.style import ADVERSARIAL, TRUTH, Look, framed_legend, looks, plain_logarithm


def map_of(
    axes: Axes,
    groups: Mapping[str, NDArray],
    *,
    shown: Mapping[str, Look] | None = None,
    legend: bool = True,
) -> None:
    """Draw structures on a map of similarity (Schwalbe-Koda 2021, Fig. 3a).

    Args:
        groups: name -> points (n, 2) of one map of all structures together, without unit.
        shown: looks of the groups; None takes ``looks(groups)``.
        legend: with numbers of structures, to the right of the axes; the figure needs a layout
            that makes room, "constrained" for example.
    """
    shown = looks(groups) if shown is None else shown
    for name, points in groups.items():
        at = np.asarray(points, dtype=float).reshape(-1, 2)
        axes.scatter(*at.T, label=f"{name} ({len(at)})", **_points(shown[name]))
    axes.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2")
    axes.set_aspect("equal", adjustable="datalim")
    if legend and groups:
        beside = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0), "borderaxespad": 0.0}
        axes.legend(**beside, fontsize=9, frameon=False, handletextpad=0.3)


def energy_boxes(
    axes: Axes,
    groups: Mapping[str, NDArray],
    *,
    failed: Mapping[str, int] | None = None,
    logarithmic: bool = True,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw median, quartiles and range of each group's energies (Schwalbe-Koda 2021, Fig. 3b).

    Below each name are the numbers of structures with and without an energy; a group without
    energies keeps its row. On a logarithmic axis, energies below 0.01 are cut off.

    Args:
        groups: name -> energies (n,) above the ground state, kcal/mol; NaN counts as failed.
        failed: name -> number of further structures without a label.
        logarithmic: the scale of energies.
        shown: as for :func:`map_of`.
    """
    shown = looks(groups) if shown is None else shown
    values = {name: np.asarray(energies, dtype=float) for name, energies in groups.items()}
    lost = {
        name: (failed or {}).get(name, 0) + int((~np.isfinite(energies)).sum())
        for name, energies in values.items()
    }
    values = {name: energies[np.isfinite(energies)] for name, energies in values.items()}
    for row, (name, energies) in enumerate(values.items()):
        if len(energies):
            low, first, median, third, high = np.percentile(energies, [0, 25, 50, 75, 100])
            whiskers = [low, first, np.nan, third, high]
            axes.plot(whiskers, [row] * 5, "-", lw=1.1, color="k", zorder=2)
            axes.plot([low, high], [row, row], "|", ms=9, color="k", zorder=2)
            box = {"alpha": 0.65, "edgecolor": "k", "linewidth": 0.9, "zorder": 2}
            axes.barh(row, third - first, 0.6, first, color=shown[name].colour, **box)
            line = {"lw": 2.4, "color": "k", "zorder": 3, "solid_capstyle": "butt"}
            axes.plot([median, median], [row - 0.3, row + 0.3], "-", **line)
    names = [
        f"{name}\nn = {len(energies)}" + (f", {lost[name]} failed" if lost[name] else "")
        for name, energies in values.items()
    ]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="DFT energy (kcal/mol)")
    if logarithmic:
        _logarithmic(axes.xaxis, np.concatenate([np.empty(0), *values.values()]))
    axes.grid(axis="x", alpha=0.25)


def energy_against_rmsd(
    axes: Axes,
    groups: Mapping[str, tuple[NDArray, NDArray]],
    *,
    logarithmic: bool = False,
    shown: Mapping[str, Look] | None = None,
    legend: bool = True,
) -> None:
    """Draw energies against distances from the ground state (Schwalbe-Koda 2021, Fig. 3c).

    Args:
        groups: name -> root mean square deviations (n,) from the ground state, angstrom, and
            energies (n,) above it, kcal/mol.
        logarithmic: the scale of energies.
        shown: as for :func:`map_of`.
        legend: of the groups, within the axes.
    """
    shown = looks(groups) if shown is None else shown
    for name, (rmsd, energies) in groups.items():
        axes.scatter(rmsd, energies, label=name, **_points(shown[name]))
    axes.set(xlabel="RMSD from the ground state (Å)", ylabel="DFT energy (kcal/mol)")
    axes.set_xlim(left=0)
    everything = np.concatenate([np.empty(0), *(energies for _, energies in groups.values())])
    if logarithmic:
        _logarithmic(axes.yaxis, everything)
    else:
        axes.set_ylim(bottom=1.05 * np.min(everything, initial=0.0))
    axes.grid(alpha=0.25)
    if legend:
        framed_legend(axes, place="lower right" if logarithmic else "upper left")


def judged_energies(axes: Axes, true: NDArray, predicted: NDArray, *, wrong: float = 10.0) -> None:
    """Draw a committee's energies against the reference's, and count the wrong ones.

    Args:
        true: (n,) the reference's energies above the ground state, kcal/mol.
        predicted: (n,) the committee's.
        wrong: difference above which a structure counts, kcal/mol; below this energy the axes are
            linear, beyond logarithmic.
    """
    true, predicted = np.asarray(true, dtype=float), np.asarray(predicted, dtype=float)
    off = np.abs(predicted - true) > wrong
    count = f"{off.sum()} of {len(off)} wrong by more than {wrong:g}"
    for chosen, colour, label in ((~off, "0.6", None), (off, ADVERSARIAL, count)):
        dots = {"color": colour, "mec": "white", "mew": 0.3, "zorder": 2}
        axes.plot(true[chosen], predicted[chosen], "o", ms=3.5, label=label, **dots)
    ends = [min(0.0, *true, *predicted), max(wrong, *true, *predicted)]
    axes.plot(ends, ends, "-", lw=0.8, color=TRUTH, zorder=1)
    for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        set_scale("symlog", linthresh=wrong)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="DFT energy (kcal/mol)", ylabel="committee's energy (kcal/mol)")
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper left")


def _points(look: Look) -> dict[str, object]:
    """Return settings of a scatter."""
    return {
        "c": look.colour,
        "marker": look.marker,
        "s": 24,
        "edgecolors": "0.15",
        "linewidths": 0.4,
        "alpha": 0.9,
        "zorder": 3,
    }


def _logarithmic(axis: Axis, energies: NDArray) -> None:
    """Make an axis logarithmic, with room around the energies that are at least 0.01."""
    seen = energies[energies >= 0.01]
    low, high = (seen.min() / 1.6, seen.max() * 1.6) if len(seen) else (0.1, 10.0)
    # limits first: the scale warns of limits at zero
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    plain_logarithm(axis, (1, 2, 5) if high < 100 * low else (1, 3) if high < 3000 * low else (1,))
