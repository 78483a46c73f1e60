"""Whether calibrated uncertainties are errors, and what attacks with a target delivered (Cezar
2025, Figs. 2 and 3).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from ..analysis.reliability import RATIOS
from .style import ADVERSARIAL, ORIGINAL, Look, framed_legend, looks, plain_logarithm


def ratio_densities(
    axes: Axes, counts: Mapping[str, ArrayLike], *, shown: Mapping[str, Look] | None = None
) -> None:
    """Densities of r = error over uncertainty beside the normal distribution, logarithmic so that
    tails show (Cezar 2025, Fig. 2a).

    Args:
        counts: name -> (62,) as :func:`~agal_toolkit.analysis.reliability.counted` counts; how many
            lie beyond the bins stands in a corner.
        shown: looks of the names.
    """
    shown = looks(counts) if shown is None else shown
    centres, width, far = (RATIOS[1:] + RATIOS[:-1]) / 2, RATIOS[1] - RATIOS[0], []
    axes.plot(centres, norm.pdf(centres), color="k", ls="--", lw=1.2, label="normal")
    for name, each in counts.items():
        inside, beyond = np.asarray(each)[1:-1], 1 - np.sum(each[1:-1]) / np.sum(each)
        density = inside / (np.sum(each) * width)
        axes.plot(
            centres[density > 0],
            density[density > 0],
            color=shown[name].colour,
            ls=shown[name].line,
            lw=1.6,
            label=name,
        )
        far += [f"{name} {beyond:.1%}"] if beyond > 5e-4 else []
    axes.set(
        yscale="log",
        xlim=(RATIOS[0], RATIOS[-1]),
        ylim=(1e-7, 2),
        xlabel="r = error / uncertainty",
        ylabel="density",
    )
    if far:
        axes.text(
            0.02,
            0.98,
            "\n".join([f"beyond ±{RATIOS[-1]:g}:", *far]),
            transform=axes.transAxes,
            fontsize=7.5,
            va="top",
        )
    framed_legend(axes, place="lower center")


def error_densities(
    axes: Axes,
    counts: Mapping[str, ArrayLike],
    edges: NDArray,
    unit: str = "eV/Å",
    *,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Densities of the errors of all members on all atoms, one line for each group of structures
    (Cezar 2025, Figs. 2c and 3).

    Args:
        counts: name -> (K,) or (K + 1,) in bins, the last one of what lies beyond.
        edges: (K + 1,) of the bins.
        unit: of the edges.
        shown: looks of the names.
    """
    shown, centres = looks(counts) if shown is None else shown, (edges[1:] + edges[:-1]) / 2
    last = 0.0
    for name, each in counts.items():
        inside = np.asarray(each)[: len(centres)]
        density = inside / (np.sum(each) * np.diff(edges))
        last = max(last, edges[1:][np.cumsum(inside) < 0.985 * np.sum(each)].max(initial=edges[1]))
        axes.plot(
            centres, density, color=shown[name].colour, ls=shown[name].line, lw=1.5, label=name
        )
    axes.set(
        xlim=(0, min(last, edges[-1])),
        xlabel=f"force error, each member and atom ({unit})",
        ylabel=f"density (1/({unit}))",
    )
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
    """Mean errors with their intervals against targets, and y = x: the insets of Cezar 2025, Figs.
    2c and 3a.

    Args:
        groups: name -> targets (n,), means (n,), and intervals (n, 2).
        label: of the errors.
        unit: of all.
        shown: looks of the names.
    """
    shown, high = looks(groups) if shown is None else shown, 0.0
    for name, (targets, means, intervals) in groups.items():
        x, y, ends = np.asarray(targets), np.asarray(means), np.asarray(intervals)
        look, high = shown[name], max(high, 1.1 * x.max(), 1.1 * ends.max())
        axes.errorbar(
            x,
            y,
            np.abs(ends - y[:, None]).T,
            color=look.colour,
            marker=look.marker,
            ls=look.line,
            ms=5,
            lw=1.3,
            capsize=3,
            label=name,
        )
    axes.plot([0, high], [0, high], color="k", ls="--", lw=1, label="as promised", zorder=1)
    axes.set(xlim=(0, high), ylim=(0, high), xlabel=f"target ({unit})", ylabel=f"{label} ({unit})")
    axes.grid(alpha=0.25)
    framed_legend(axes, place="upper left")


def arrivals(axes: Axes, start: ArrayLike, end: ArrayLike, target: float, label: str) -> None:
    """An arrow for each structure, from its uncertainty before an attack to that after it, and the
    target.

    Args:
        start, end: (n,) before and after.
        target: of all.
        label: of the uncertainty.
    """
    for index, (before, after) in enumerate(
        zip(np.asarray(start), np.asarray(end), strict=True), start=1
    ):
        axes.annotate(
            "",
            (index, after),
            (index, before),
            arrowprops={
                "arrowstyle": "-|>",
                "color": ADVERSARIAL,
                "lw": 1.2,
                "mutation_scale": 9,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    axes.plot(
        np.arange(1, len(start) + 1),
        start,
        ls="",
        marker="o",
        ms=4,
        mfc=ORIGINAL,
        mec="k",
        label="simulated structure",
    )
    axes.plot(
        np.arange(1, len(end) + 1),
        end,
        ls="",
        marker=".",
        ms=4,
        color=ADVERSARIAL,
        label="attacked",
    )
    axes.axhline(target, color="k", ls="--", lw=1, label="target")
    high = 1.3 * max(target, np.max(start), np.max(end))
    axes.set(xlim=(0, len(start) + 1), ylim=(0, high), xlabel="structure", ylabel=label)
    framed_legend(axes, place="upper center", columns=3)


def boxes(
    axes: Axes,
    groups: Mapping[str, ArrayLike],
    label: str,
    *,
    ideal: float | None = None,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """One quantity of several groups of structures: median, quartiles, and whiskers over the whole
    range; names below each other.

    Args:
        groups: name -> values (n,).
        label: of the values.
        ideal: a line to compare with.
        shown: looks of the names.
    """
    shown = looks(groups) if shown is None else shown
    drawn = axes.boxplot(
        [np.asarray(values, dtype=float) for values in groups.values()],
        orientation="horizontal",
        whis=(0, 100),
        widths=0.6,
        patch_artist=True,
        medianprops={"color": "k", "lw": 1.8},
    )
    for name, box in zip(groups, drawn["boxes"], strict=True):
        box.set(facecolor=shown[name].colour, alpha=0.65)
    if ideal is not None:
        axes.axvline(ideal, color="k", ls="--", lw=1)
    axes.set_yticks(range(1, len(groups) + 1), list(groups))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.25)


def errors_against_sigma(
    axes: Axes,
    bins: Mapping[str, NDArray],
    unit: str = "eV/Å",
    *,
    shown: Mapping[str, Look] | None = None,
    named: bool = True,
) -> None:
    """Root mean square error in bins of equal numbers of samples against uncertainty, with y = x
    (Cezar 2025, Fig. 2b).

    Args:
        bins: name -> (K, 2) uncertainties and errors.
        unit: of both.
        shown: looks of the names.
        named: with a legend.
    """
    shown, every = looks(bins) if shown is None else shown, np.concatenate(list(bins.values()))
    low, high = every[every > 0].min() / 1.3, every.max() * 1.3
    axes.plot([low, high], [low, high], color="k", ls="--", lw=1, label="y = x")
    for name, points in bins.items():
        axes.plot(
            *points.T,
            marker=shown[name].marker,
            ls=shown[name].line,
            color=shown[name].colour,
            ms=4,
            lw=1.2,
            label=name,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(low, high),
        ylim=(low, high),
        xlabel=f"uncertainty ({unit})",
        ylabel=f"rms error ({unit})",
        aspect="equal",
    )
    for axis in (axes.xaxis, axes.yaxis):
        plain_logarithm(axis, (1, 3) if high > 30 * low else (1, 2, 5))
    if named:
        framed_legend(axes, place="lower right")


def promises(
    axes: Axes,
    targets: NDArray,
    found: NDArray,
    predicted: NDArray | None = None,
    unit: str = "eV/Å",
    *,
    name: str = "found",
) -> None:
    """What attacks aimed at against what the reference then found, a point for each structure,
    medians and quartiles of more than two, and y = x (Cezar 2025, Figs. 2c and 3a).

    Args:
        targets: (n,).
        found: (n,) errors; NaN where no label has come yet.
        predicted: (n,) uncertainties where the attacks ended.
        unit: of all.
        name: of the errors.
    """
    high = np.nanmax([targets.max(), *found, *([] if predicted is None else predicted)]) * 1.1
    axes.plot([0, high], [0, high], color="k", ls="--", lw=1, label="as promised")
    shown, jitter = (
        looks(["uncertainty", f"attack {name}"]),
        np.random.default_rng(0).uniform(-0.012, 0.012, len(targets)) * high,
    )
    if predicted is not None:
        axes.plot(
            targets + jitter,
            predicted,
            marker="_",
            ls="",
            color=shown["uncertainty"].colour,
            ms=7,
            label="uncertainty",
        )
    look = shown[f"attack {name}"]
    axes.plot(
        targets + jitter,
        found,
        marker=look.marker,
        ls="",
        color=look.colour,
        ms=5,
        alpha=0.6,
        label=name,
    )
    for target in np.unique(targets):
        values = found[(targets == target) & np.isfinite(found)]
        if len(values) > 2:
            low, middle, top = np.percentile(values, [25, 50, 75])
            axes.errorbar(
                target,
                middle,
                [[middle - low], [top - middle]],
                color="k",
                marker="D",
                ms=5,
                mfc="white",
                capsize=3,
                lw=1.2,
                zorder=5,
            )
    axes.set(
        xlim=(0, high),
        ylim=(0, high),
        xlabel=f"target ({unit})",
        ylabel=f"error ({unit})",
        aspect="equal",
    )
    framed_legend(axes, place="upper left")
