"""Density of frames on the (Z, R) plane, and shares of stable trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from agal_toolkit.plots.style import ADVERSARIAL, Look, framed_legend, looks

from .plane import energy_lines, on_the_plane, plane_axes

DENSITIES, DENSITY_COLOURS = (1e-3, 30.0), "YlGnBu"
CONTOURS = (5, 10, 20, 40, 80)  # kcal/mol


def frame_density(
    axes: Axes,
    z_edges: NDArray,
    r_edges: NDArray,
    counts: NDArray,
    *,
    frames: int | None = None,
    contours: tuple[NDArray, NDArray, NDArray] | None = None,
    attacks: NDArray | None = None,
    limits: tuple[float, float] = DENSITIES,
) -> None:
    """Draw the density of frames on the plane, with lines of constant energy and attacks.

    Density is the share of all frames per unit of the plane; colours are logarithmic, and cells
    without frames white (Schwalbe-Koda 2021, Fig. 5).

    Args:
        z_edges, r_edges: (Z + 1,) and (R + 1,) edges of the cells, in multiples of the ground
            state.
        counts: (R, Z) frames in each cell, a row for each R.
        frames: number of all frames, also beyond the edges; None takes the sum of `counts`.
        contours: z (n,), r (m,) and energies (m, n), kcal/mol above the ground state; lines are at
            5, 10, 20, 40 and 80.
        attacks: (n, 2) z and r of attacks, drawn as red dots.
        limits: densities at the ends of the colours.

    Raises:
        ValueError: counts of another shape.
    """
    z_edges, r_edges = np.asarray(z_edges, dtype=float), np.asarray(r_edges, dtype=float)
    counts = on_the_plane("counts", counts, (len(r_edges) - 1, len(z_edges) - 1))
    area = np.diff(r_edges)[:, None] * np.diff(z_edges)
    total = counts.sum() if frames is None else frames
    density = np.ma.masked_equal(counts, 0) / (area * max(total, 1))
    colours = {"norm": LogNorm(*limits), "cmap": DENSITY_COLOURS}
    axes.pcolormesh(z_edges, r_edges, density, **colours, rasterized=True)
    if contours is not None:
        energy_lines(axes, *contours, CONTOURS)
    if attacks is not None:
        z, r = np.asarray(attacks, dtype=float).reshape(-1, 2).T
        axes.scatter(z, r, s=16, c=ADVERSARIAL, edgecolors="white", linewidths=0.5, zorder=4)
    plane_axes(axes, z_edges, r_edges)


def density_bar(axes: Sequence[Axes], *, limits: tuple[float, float] = DENSITIES) -> None:
    """Draw one colour bar for :func:`frame_density` on several axes of a figure."""
    mapped = ScalarMappable(LogNorm(*limits), matplotlib.colormaps[DENSITY_COLOURS])
    axes[0].figure.colorbar(
        mapped, ax=list(axes), extend="both", pad=0.02, aspect=24, label="density of frames"
    )


def stable_bars(
    axes: Axes,
    fractions: Mapping[str, tuple[float, float, float]],
    *,
    paper: Mapping[str, float] | None = None,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw shares of stable trajectories with intervals (Schwalbe-Koda 2021, Fig. 3f, inset).

    Args:
        fractions: name -> stable share and the ends of its interval, between 0 and 1.
        paper: name -> the paper's share, marked by a diamond.
        shown: looks of the names; None takes ``looks(fractions)``.
    """
    shown = looks(fractions) if shown is None else shown
    for place, (name, (fraction, low, high)) in enumerate(fractions.items()):
        frame = {"edgecolor": "k", "linewidth": 0.6, "alpha": 0.7}
        axes.bar(place, 100 * fraction, width=0.7, color=shown[name].colour, **frame)
        ends = [[max(100 * (fraction - low), 0)], [max(100 * (high - fraction), 0)]]
        axes.errorbar(place, 100 * fraction, yerr=ends, color="k", capsize=3, lw=1.1)
    names = list(fractions)
    printed = {name: share for name, share in (paper or {}).items() if name in fractions}
    if printed:
        places = [names.index(name) for name in printed]
        shares = [100 * share for share in printed.values()]
        look = {"mfc": "#f4d03f", "mec": "k", "mew": 0.8, "zorder": 4}
        axes.plot(places, shares, "D", ms=6, label="paper", **look)
        above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
        axes.legend(**above, fontsize=9, borderpad=0.1, handletextpad=0.2)
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names], fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(0, 105), ylabel="stable (%)")
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def stable_by_temperature(
    axes: Axes,
    temperatures: NDArray,
    fractions: Mapping[str, tuple[NDArray, NDArray, NDArray]],
    *,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw shares of stable trajectories against temperature, names beside each other.

    Args:
        temperatures: (T,) kelvin.
        fractions: name -> shares (T,) and the ends (T,) of their intervals, between 0 and 1.
        shown: looks of the names; None takes ``looks(fractions)``.
    """
    shown = looks(fractions) if shown is None else shown
    temperatures = np.asarray(temperatures, dtype=float)
    apart = 0.09 * np.min(np.diff(temperatures), initial=np.inf) if len(temperatures) > 1 else 1.0
    for number, (name, ends) in enumerate(fractions.items()):
        fraction, low, high = (100 * np.asarray(values, dtype=float) for values in ends)
        at = temperatures + apart * (number - (len(fractions) - 1) / 2)
        ends = np.maximum([fraction - low, high - fraction], 0)
        style = {**shown[name].style, "ms": 5, "lw": 1.4, "capsize": 2.5}
        axes.errorbar(at, fraction, yerr=ends, **style, label=name)
    axes.set(xlabel="temperature (K)", ylabel="stable trajectories (%)")
    axes.set(ylim=(0, 105), xticks=temperatures)
    axes.grid(alpha=0.25)
    framed_legend(axes)
