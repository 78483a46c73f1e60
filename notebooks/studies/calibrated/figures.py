"""Figures of calibrated attacks: ratios, errors and targets (Cezar 2025, Figs. 2 and 3).

Every function draws on the axes it is given. `shown` maps the names of the groups to their looks;
by default :func:`agal_toolkit.plots.looks` chooses them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from agal_toolkit.plots.style import ADVERSARIAL, ORIGINAL, Look, framed_legend, looks

from .ratios import RATIOS


def ratio_densities(
    axes: Axes, counts: Mapping[str, ArrayLike], *, shown: Mapping[str, Look] | None = None
) -> None:
    """Draw densities of r = error / uncertainty beside the normal density (Cezar 2025, Fig. 2a).

    Args:
        counts: name -> (62,) counts from :func:`~studies.calibrated.ratios.counted`; a note
            in the corner gives the share that lies beyond the bins.
        shown: looks of the names.
    """
    shown = looks(counts) if shown is None else shown
    centres, width = (RATIOS[1:] + RATIOS[:-1]) / 2, RATIOS[1] - RATIOS[0]
    notes = []
    axes.plot(centres, norm.pdf(centres), color="k", ls="--", lw=1.2, label="normal")
    for name, values in counts.items():
        total, inside = np.sum(values), np.asarray(values)[1:-1]
        density = inside / (total * width)
        some, look = density > 0, shown[name]
        axes.plot(centres[some], density[some], color=look.colour, ls=look.line, lw=1.6, label=name)
        beyond = 1 - np.sum(inside) / total
        if beyond > 5e-4:
            notes.append(f"{name} {beyond:.1%}")
    axes.set(yscale="log", xlim=(RATIOS[0], RATIOS[-1]), ylim=(1e-7, 2))
    axes.set(xlabel="r = error / uncertainty", ylabel="density")
    if notes:
        text = "\n".join([f"beyond ±{RATIOS[-1]:g}:", *notes])
        axes.text(0.02, 0.98, text, transform=axes.transAxes, fontsize=7.5, va="top")
    framed_legend(axes, place="lower center")


def error_densities(
    axes: Axes,
    counts: Mapping[str, ArrayLike],
    edges: NDArray,
    unit: str = "eV/Å",
    *,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw densities of the errors of all members on all atoms (Cezar 2025, Figs. 2c and 3).

    Args:
        counts: name -> (K,) counts in bins, or (K + 1,) with a last one for what lies beyond.
        edges: (K + 1,) edges of the bins.
        unit: unit of the edges.
        shown: looks of the names.
    """
    shown, centres = looks(counts) if shown is None else shown, (edges[1:] + edges[:-1]) / 2
    last = 0.0
    for name, values in counts.items():
        total, inside, look = np.sum(values), np.asarray(values)[: len(centres)], shown[name]
        density = inside / (total * np.diff(edges))
        last = max(last, edges[1:][np.cumsum(inside) < 0.985 * total].max(initial=edges[1]))
        axes.plot(centres, density, color=look.colour, ls=look.line, lw=1.5, label=name)
    axes.set(xlim=(0, min(last, edges[-1])), ylabel=f"density (1/({unit}))")
    axes.set_xlabel(f"force error, each member and atom ({unit})")
    axes.set_ylim(0)
    framed_legend(axes, place="upper right")


def delivered(
    axes: Axes,
    groups: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    label: str,
    unit: str = "eV/Å",
    *,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw mean errors with intervals against targets, and y = x (Cezar 2025, Figs. 2c and 3a).

    Args:
        groups: name -> targets (n,), means (n,), and intervals (n, 2).
        label: name of the errors.
        unit: unit of targets and errors.
        shown: looks of the names.
    """
    shown, high = looks(groups) if shown is None else shown, 0.0
    for name, (targets, means, intervals) in groups.items():
        x, y, ends = np.asarray(targets), np.asarray(means), np.asarray(intervals)
        high = max(high, 1.1 * x.max(), 1.1 * ends.max())
        lengths = np.abs(ends - y[:, None]).T
        axes.errorbar(x, y, lengths, **shown[name].style, ms=5, lw=1.3, capsize=3, label=name)
    axes.plot([0, high], [0, high], color="k", ls="--", lw=1, label="as promised", zorder=1)
    axes.set(xlim=(0, high), ylim=(0, high), xlabel=f"target ({unit})", ylabel=f"{label} ({unit})")
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper left")


def arrivals(axes: Axes, start: ArrayLike, end: ArrayLike, target: float, label: str) -> None:
    """Draw an arrow for each structure from its uncertainty before an attack to that after it.

    Args:
        start, end: (n,) uncertainties before and after the attack.
        target: target of all attacks, drawn as a line.
        label: name of the uncertainty.
    """
    before, after = np.asarray(start), np.asarray(end)
    structures = np.arange(1, len(before) + 1)
    arrow = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0}
    for index, low, high in zip(structures, before, after, strict=True):
        ends = (index, high), (index, low)
        axes.annotate("", *ends, arrowprops={**arrow, "color": ADVERSARIAL, "lw": 1.2})
    points = {"ls": "", "ms": 4}
    original = {"marker": "o", "mfc": ORIGINAL, "mec": "k", "label": "simulated structure"}
    axes.plot(structures, before, **points, **original)
    axes.plot(structures, after, **points, marker=".", color=ADVERSARIAL, label="attacked")
    axes.axhline(target, color="k", ls="--", lw=1, label="target")
    axes.set(xlim=(0, len(before) + 1), ylim=(0, 1.3 * max(target, before.max(), after.max())))
    axes.set(xlabel="structure", ylabel=label)
    framed_legend(axes, place="upper center", columns=3)


def boxes(
    axes: Axes,
    groups: Mapping[str, ArrayLike],
    label: str,
    *,
    ideal: float | None = None,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw a box for each group: median, quartiles, and whiskers over the whole range.

    Args:
        groups: name -> values (n,).
        label: name of the values.
        ideal: value at which a line is drawn for comparison.
        shown: looks of the names.
    """
    shown = looks(groups) if shown is None else shown
    values = [np.asarray(group, dtype=float) for group in groups.values()]
    style = {"widths": 0.6, "patch_artist": True, "medianprops": {"color": "k", "lw": 1.8}}
    drawn = axes.boxplot(values, orientation="horizontal", whis=(0, 100), **style)
    for name, box in zip(groups, drawn["boxes"], strict=True):
        box.set(facecolor=shown[name].colour, alpha=0.65)
    if ideal is not None:
        axes.axvline(ideal, color="k", ls="--", lw=1)
    axes.set_yticks(range(1, len(groups) + 1), list(groups))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.25)
