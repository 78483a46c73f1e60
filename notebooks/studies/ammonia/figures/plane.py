"""Energies and errors on ammonia's plane, Z and R in multiples of the ground state (Schwalbe-Koda
2021, Figs. 3e and 3f).

Colours are log10(1 + E), E in kcal/mol above the ground state, with equal levels on every picture,
so that one bar serves all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap
from matplotlib.contour import QuadContourSet
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from agal_toolkit.plots.style import (
    EARLIER,
    ENERGY_COLOURS,
    NEW,
    ORIGINAL,
    PLATE,
    Look,
    framed_legend,
    looks,
    plain_logarithm,
)

LEVELS = np.linspace(0.0, 2.5, 26)  # of log10(1 + E): up to 315 kcal/mol
LINES = (1, 3, 10, 30, 100, 300)  # kcal/mol
# a good committee's own minimum may lie a few hundredths below zero
BELOW, TOO_LOW = "#ff8fd8", -0.1


def plane_surface(
    axes: Axes,
    z: NDArray,
    r: NDArray,
    energy: NDArray,
    *,
    structures: NDArray | None = None,
    earlier: NDArray | None = None,
    attacks: NDArray | None = None,
) -> None:
    """Draw energies on the plane and structures: a panel of Schwalbe-Koda 2021, Fig. 3e.

    Thin lines are at 1, 3, 10, 30, 100 and 300 kcal/mol. Points without an energy are gray and
    hatched, energies more than 0.1 kcal/mol below the ground state pink. Structures outside the
    plane are counted in its corner.

    Args:
        z, r: (Z,) and (R,) axes of the grid, ascending, in multiples of the ground state.
        energy: (R, Z) kcal/mol above the ground state, a row for each r; NaN where there is none.
        structures: (n, 2) z and r of the original training points: white.
        earlier: (k, 2) of those that earlier attacks added: gray.
        attacks: (m, 2) of the new attacks: black.

    Raises:
        ValueError: an energy of another shape.
    """
    energy = on_the_plane("energy", energy, (len(r), len(z)))
    axes.patch.set(facecolor="0.88", edgecolor="0.6", hatch="////", linewidth=0)
    colours = {"levels": LEVELS, "cmap": _colours(), "norm": _norm()}
    axes.contourf(z, r, _coloured(energy), **colours, extend="both")
    _lines(axes, z, r, energy, LINES, alpha=0.45)
    outside = 0
    for points, colour, edge in (
        (structures, ORIGINAL, "k"),
        (earlier, EARLIER, "k"),
        (attacks, NEW, "white"),
    ):
        at = np.empty((0, 2)) if points is None else np.asarray(points, dtype=float).reshape(-1, 2)
        axes.scatter(*at.T, s=18, c=colour, edgecolors=edge, linewidths=0.6, zorder=4)
        outside += int((~((at >= [z[0], r[0]]) & (at <= [z[-1], r[-1]])).all(1)).sum())
    if outside:
        corner = {"transform": axes.transAxes, "ha": "right", "zorder": 5, "bbox": PLATE}
        axes.text(0.97, 0.04, f"{outside} outside", **corner, fontsize=9)
    plane_axes(axes, z, r)


def plane_bar(axes: Sequence[Axes]) -> None:
    """Draw one colour bar for :func:`plane_surface` on several axes of a figure."""
    bar = axes[0].figure.colorbar(
        ScalarMappable(_norm(), _colours()), ax=list(axes), extend="both", pad=0.02, aspect=24
    )
    ticks = [0, *LINES]
    bar.set_ticks(np.log10(1 + np.array(ticks)), labels=[str(energy) for energy in ticks])
    bar.minorticks_off()
    bar.set_label(r"E (kcal/mol), as $\log_{10}(1 + E)$")


def plane_axes(axes: Axes, z: NDArray, r: NDArray) -> None:
    """Set labels and limits of the plane; `z` and `r` ascend."""
    axes.set(
        xlim=(z[0], z[-1]),
        ylim=(r[0], r[-1]),
        xlabel=r"$Z\,/\,Z_\mathrm{eq}$",
        ylabel=r"$R\,/\,R_\mathrm{eq}$",
    )


def energy_lines(axes: Axes, z: NDArray, r: NDArray, energy: NDArray, at: Sequence[float]) -> None:
    """Draw black lines of constant energy (R, Z) with numbers; `at` in kcal/mol, ascending."""
    lines = _lines(axes, z, r, on_the_plane("energy", energy, (len(r), len(z))), at, alpha=0.8)
    if lines is not None:
        for text in axes.clabel(lines, fmt="%g", fontsize=9, inline_spacing=2):
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])


def errors_below(
    axes: Axes,
    caps: NDArray,
    errors: Mapping[str, NDArray],
    *,
    spread: Mapping[str, tuple[NDArray, NDArray]] | None = None,
    shown: Mapping[str, Look] | None = None,
) -> None:
    """Draw errors of the energy where the true one is below a cap (Schwalbe-Koda 2021, Fig. 3f).

    Args:
        caps: (n,) kcal/mol, ascending.
        errors: name -> root mean square error (n,), kcal/mol; NaN where nothing is below the cap.
        spread: name -> lower and upper end (n,) of a band.
        shown: looks of the names; None takes ``looks(errors)``.
    """
    shown = looks(errors) if shown is None else shown
    for name, (low, high) in (spread or {}).items():
        axes.fill_between(caps, low, high, color=shown[name].colour, alpha=0.16, lw=0)
    for name, values in errors.items():
        axes.plot(caps, values, **shown[name].style, ms=4, lw=1.6, label=name)
    axes.set(xlabel="highest DFT energy (kcal/mol)", ylabel="RMSE (kcal/mol)", yscale="log")
    plain_logarithm(axes.yaxis)
    axes.grid(alpha=0.25)
    framed_legend(axes, place="lower right")


def on_the_plane(name: str, values: NDArray, shape: tuple[int, int]) -> NDArray:
    """Return values as an array (R, Z).

    Raises:
        ValueError: another shape; `name` is in the message.
    """
    values = np.asarray(values, dtype=float)
    if values.shape != shape:
        raise ValueError(
            f"{name}: shape {values.shape}, expected {shape}: a row for each R, a column for each Z"
        )
    return values


def _coloured(energy: NDArray) -> NDArray:
    """Return log10(1 + E); slightly negative E counts as zero, others are below all levels."""
    finite = np.ma.masked_invalid(energy)
    # contourf counts the lowest level itself as below
    return np.ma.where(finite < TOO_LOW, -1.0, np.log10(1 + np.maximum(finite, 1e-6)))


def _colours() -> Colormap:
    return matplotlib.colormaps[ENERGY_COLOURS].with_extremes(under=BELOW)


def _norm() -> BoundaryNorm:
    return BoundaryNorm(LEVELS, 256, extend="both")


def _lines(
    axes: Axes, z: NDArray, r: NDArray, energy: NDArray, at: Sequence[float], *, alpha: float
) -> QuadContourSet | None:
    """Draw thin black lines at the levels that are crossed; None if no level is."""
    finite = np.ma.masked_invalid(energy)
    # matplotlib warns of levels that are not crossed
    crossed = [level for level in at if finite.min() < level < finite.max()]
    if not crossed:
        return None
    return axes.contour(z, r, finite, levels=crossed, colors="k", linewidths=0.7, alpha=alpha)
