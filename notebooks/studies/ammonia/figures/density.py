"""Where trajectories have been, and how many of them remained molecules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from agal_toolkit.plots.style import ADVERSARIAL, Look, framed_legend, looks

from .plane import energy_lines, plane_axes

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
    """Density of frames on ammonia's plane of Z and R, with lines of constant energy and attacks
    (Schwalbe-Koda 2021, Fig. 5).

    Density is the share of all frames per unit of the plane, so that its integral over the plane is
    at most 1; colours are logarithmic, the same wherever `limits` are. Cells without frames are
    white.

    Args:
        z_edges, r_edges: (Z + 1,) and (R + 1,) edges of the cells, in multiples of the ground
            state.
        counts: (R, Z) frames in each cell, a row for each R: ``np.histogram2d(r, z, [r_edges,
            z_edges])[0]``.
        frames: number of all, those beyond the edges included; None takes the sum of `counts`.
        contours: z (n,), r (m,) and energies (m, n), kcal/mol above the ground state; lines at 5,
            10, 20, 40 and 80.
        attacks: (n, 2) z and r of attacks, drawn as red dots.
        limits: densities at the ends of the colours.

    Raises:
        ValueError: counts of another shape.
    """
    z_edges, r_edges, counts = (
        np.asarray(values, dtype=float) for values in (z_edges, r_edges, counts)
    )
    if counts.shape != (len(r_edges) - 1, len(z_edges) - 1):
        raise ValueError(
            f"counts have shape {counts.shape}, expected {(len(r_edges) - 1, len(z_edges) - 1)}: a"
            " row for each R, a column for each Z"
        )
    area = np.diff(r_edges)[:, None] * np.diff(z_edges)
    density = np.ma.masked_equal(counts, 0) / (
        area * max(counts.sum() if frames is None else frames, 1)
    )
    axes.pcolormesh(
        z_edges, r_edges, density, norm=LogNorm(*limits), cmap=DENSITY_COLOURS, rasterized=True
    )
    if contours is not None:
        energy_lines(axes, *contours, CONTOURS)
    if attacks is not None:
        axes.scatter(
            *np.asarray(attacks, dtype=float).reshape(-1, 2).T,
            s=16,
            c=ADVERSARIAL,
            edgecolors="white",
            linewidths=0.5,
            zorder=4,
        )
    plane_axes(axes, z_edges, r_edges)


def density_bar(axes: Sequence[Axes], *, limits: tuple[float, float] = DENSITIES) -> None:
    """One bar of densities to the right of several axes of one figure, for what
    :func:`frame_density` draws on them.
    """
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
    """How many trajectories stayed stable, with intervals; small enough for an inset (Schwalbe-Koda
    2021, Fig. 3f, inset).

    Args:
        fractions: name -> fraction of stable trajectories and the ends of its interval, between 0
            and 1.
        paper: name -> what the paper found, marked by a diamond that is explained above the axes.
        shown: how each name looks; None takes ``looks(fractions)``.
    """
    shown = looks(fractions) if shown is None else shown
    for place, (name, (fraction, low, high)) in enumerate(fractions.items()):
        axes.bar(
            place,
            100 * fraction,
            width=0.7,
            color=shown[name].colour,
            edgecolor="k",
            linewidth=0.6,
            alpha=0.7,
        )
        axes.errorbar(
            place,
            100 * fraction,
            yerr=[[max(100 * (fraction - low), 0)], [max(100 * (high - fraction), 0)]],
            color="k",
            capsize=3,
            lw=1.1,
        )
    printed = {
        name: value for name, value in ({} if paper is None else paper).items() if name in fractions
    }
    if printed:
        places = [list(fractions).index(name) for name in printed]
        axes.plot(
            places,
            [100 * value for value in printed.values()],
            "D",
            ms=6,
            mfc="#f4d03f",
            mec="k",
            mew=0.8,
            label="paper",
            zorder=4,
        )
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize=9,
            borderpad=0.1,
            handletextpad=0.2,
        )
    axes.set_xticks(
        range(len(fractions)), ["\n".join(name.split(" ", 1)) for name in fractions], fontsize=9
    )
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
    """How many trajectories stayed stable at each temperature.

    Args:
        temperatures: (T,) kelvin.
        fractions: name -> fractions (T,) and the ends (T,) of their intervals, between 0 and 1.
        shown: how each name looks; None takes ``looks(fractions)``.
    """
    shown = looks(fractions) if shown is None else shown
    temperatures = np.asarray(temperatures, dtype=float)
    apart = 0.09 * np.min(np.diff(temperatures), initial=np.inf) if len(temperatures) > 1 else 1.0
    for number, (name, ends) in enumerate(fractions.items()):
        fraction, low, high = (100 * np.asarray(values, dtype=float) for values in ends)
        at = temperatures + apart * (number - (len(fractions) - 1) / 2)
        look = shown[name]
        axes.errorbar(
            at,
            fraction,
            yerr=np.maximum([fraction - low, high - fraction], 0),
            fmt=look.marker,
            ls=look.line,
            ms=5,
            lw=1.4,
            capsize=2.5,
            color=look.colour,
            label=name,
        )
    axes.set(
        xlabel="temperature (K)",
        ylabel="stable trajectories (%)",
        ylim=(0, 105),
        xticks=temperatures,
    )
    axes.grid(alpha=0.25)
    framed_legend(axes)
