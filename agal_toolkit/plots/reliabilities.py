"""Whether calibrated uncertainties are errors, and what attacks with a target delivered (Cezar 2025, Figs. 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import norm

from .style import Look, framed_legend, looks, plain_logarithm


def ratio_densities(axes: Axes, ratios: Mapping[str, NDArray], *, reach: float = 6.0, shown: Mapping[str, Look] | None = None) -> None:
    """Densities of r = error over uncertainty beside the normal distribution, logarithmic so that tails show (Cezar 2025, Fig. 2a).

    Args:
        ratios: name -> values of any shape; those beyond `reach` are counted in the name.
        reach: largest |r| on the axis.
        shown: looks of the names.
    """
    edges, shown = np.linspace(-reach, reach, 61), looks(ratios) if shown is None else shown
    centres = (edges[1:] + edges[:-1]) / 2
    axes.plot(centres, norm.pdf(centres), color="k", ls="--", lw=1.2, label="normal")
    for name, values in ratios.items():
        values = np.ravel(values)
        density = np.histogram(values, edges)[0] / (len(values) * (edges[1] - edges[0]))
        beyond = np.mean(np.abs(values) > reach)
        label = f"{name}, {beyond:.1%} beyond" if beyond > 5e-4 else name
        axes.plot(centres[density > 0], density[density > 0], color=shown[name].colour, ls=shown[name].line, lw=1.6, label=label)
    axes.set(yscale="log", xlim=(-reach, reach), ylim=(1e-5, 2), xlabel="error / uncertainty", ylabel="density")
    framed_legend(axes, place="lower center")


def errors_against_sigma(axes: Axes, bins: Mapping[str, NDArray], unit: str = "eV/Å", *, shown: Mapping[str, Look] | None = None) -> None:
    """Root mean square error in bins of equal numbers of samples against uncertainty, with y = x (Cezar 2025, Fig. 2b).

    Args:
        bins: name -> (K, 2) uncertainties and errors.
        unit: of both.
        shown: looks of the names.
    """
    shown, every = looks(bins) if shown is None else shown, np.concatenate(list(bins.values()))
    low, high = every[every > 0].min() / 1.3, every.max() * 1.3
    axes.plot([low, high], [low, high], color="k", ls="--", lw=1, label="y = x")
    for name, points in bins.items():
        axes.plot(*points.T, marker=shown[name].marker, ls=shown[name].line, color=shown[name].colour, ms=4, lw=1.2, label=name)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), xlabel=f"uncertainty ({unit})", ylabel=f"rms error ({unit})", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        plain_logarithm(axis, (1, 3) if high > 30 * low else (1, 2, 5))
    framed_legend(axes, place="upper left")


def promises(axes: Axes, targets: NDArray, found: NDArray, predicted: NDArray | None = None, unit: str = "eV/Å", *, name: str = "found") -> None:
    """What attacks aimed at against what the reference then found, a point for each structure, medians and quartiles, and y = x (Cezar 2025, Figs. 2c and 3a).

    Args:
        targets: (n,).
        found: (n,) errors; NaN where no label has come yet.
        predicted: (n,) uncertainties where the attacks ended.
        unit: of all.
        name: of the errors.
    """
    high = np.nanmax([targets.max(), *found, *([] if predicted is None else predicted)]) * 1.1
    axes.plot([0, high], [0, high], color="k", ls="--", lw=1, label="as promised")
    shown, jitter = looks(["uncertainty", f"attack {name}"]), np.random.default_rng(0).uniform(-0.012, 0.012, len(targets)) * high
    if predicted is not None:
        axes.plot(targets + jitter, predicted, marker="_", ls="", color=shown["uncertainty"].colour, ms=7, label="uncertainty")
    look = shown[f"attack {name}"]
    axes.plot(targets + jitter, found, marker=look.marker, ls="", color=look.colour, ms=4, alpha=0.45, label=name)
    for target in np.unique(targets):
        values = found[(targets == target) & np.isfinite(found)]
        if len(values):
            low, middle, top = np.percentile(values, [25, 50, 75])
            axes.errorbar(target, middle, [[middle - low], [top - middle]], color="k", marker="D", ms=5, mfc="white", capsize=3, lw=1.2, zorder=5)
    axes.set(xlim=(0, high), ylim=(0, high), xlabel=f"target ({unit})", ylabel=f"error ({unit})", aspect="equal")
    framed_legend(axes, place="upper left")
