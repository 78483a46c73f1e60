"""The picture that a notebook shows for an object in the last line of a cell.

Every picture is a function from an object to a PNG and works outside a notebook; :func:`register`
hands them to a running IPython. Attacks and loops have no picture: a cell shows their ``repr``.
"""

from __future__ import annotations

import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..analysis.errors import sigma_and_error
from ..analysis.grids import Grid, Surface
from ..committee import Committee
from ..dataset import Dataset
from ..loop.generation import Generation
from ..plots.style import round_ticks
from ..potentials import MLP, Stacked
from .generation_views import energy_histogram, force_unit, is_surface, view_of
from .picture import png

_GRID = Grid(points=60)


def on_plane(committee: Committee) -> bool:
    """Return whether the members are an ``MLP`` for one particle in a plane."""
    network = committee.members.module if isinstance(committee.members, Stacked) else None
    return isinstance(network, MLP) and network.dimension == 2


def committee_png(committee: Committee) -> bytes | None:
    """Draw mean energy and uncertainty on the plane; None off the plane or for one member."""
    if len(committee) < 2 or not on_plane(committee):
        return None

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.08, right=0.92, top=0.9, bottom=0.15, wspace=0.34)
        surface = Surface.of(committee, _GRID)
        plots.energy_surface(left, surface.grid, surface.energy)
        plots.sigma_surface(right, surface)
        left.set_title(f"mean energy of {len(committee)} members", fontsize=10)
        right.set_title("uncertainty", fontsize=10)
        right.set_ylabel("")  # leaves room for the label of the left map's colour bar

    return png(draw, (8.0, 3.4))


def dataset_png(dataset: Dataset) -> bytes:
    """Draw a histogram of the energies; for structures in a plane, a map of them beside it."""

    def draw(figure: Figure) -> None:
        if not is_surface(dataset):
            figure.subplots_adjust(left=0.13, right=0.97, top=0.9, bottom=0.19)
            energy_histogram(figure.subplots(), {"energy": dataset})
            return
        figure.subplots_adjust(left=0.09, right=0.98, top=0.9, bottom=0.16, wspace=0.3)
        plane, histogram = figure.subplots(1, 2)
        plots.structures(plane, dataset)
        reach = 1.1 * max(np.abs(geometry.positions).max() for geometry in dataset)
        limits = (-reach, reach)
        plane.set(xlim=limits, ylim=limits, xlabel="x", ylabel="y", aspect="equal")
        plane.set_title(f"{len(dataset)} structures", fontsize=10)
        plane.grid(alpha=0.25)
        round_ticks(plane)
        if (dataset.generations > 0).any():
            plane.legend(fontsize=7, loc="upper right")
        energy_histogram(histogram, {"energy": dataset})

    return png(draw, (7.2, 3.3) if is_surface(dataset) else (4.4, 2.9))


def generation_png(generation: Generation) -> bytes:
    """Draw the committee, the verdicts, and uncertainty against error of the new structures."""

    def draw(figure: Figure) -> None:
        (first, second), (verdicts, errors) = figure.subplots(2, 2)
        margins = {"left": 0.08, "right": 0.92, "top": 0.95, "bottom": 0.09}
        figure.subplots_adjust(**margins, wspace=0.4, hspace=0.32)
        view = view_of(generation.dataset)
        view.draw(first, second, [generation], paths=False)
        for axes, title in zip((first, second), view.titles, strict=True):
            axes.set_title(title, fontsize=10)
        plots.verdict_bars(verdicts, generation)
        verdicts.set_title("verdicts", fontsize=10)
        left, bottom, width, height = verdicts.get_position().bounds
        indent = 0.1  # for the long names of selectors
        verdicts.set_position((left + indent, bottom, width - indent, height))
        verdicts.tick_params(axis="y", labelsize=8)
        if len(generation.labelled):
            _draw_errors(errors, generation)
        else:
            energy_histogram(errors, {"known": generation.dataset})

    return png(draw, (8.0, 6.6))


PICTURES = {Committee: committee_png, Dataset: dataset_png, Generation: generation_png}


def register() -> None:
    """Hand the pictures to the running IPython; do nothing in a plain interpreter."""
    shell = get_ipython()
    if shell is not None:
        for kind, draw in PICTURES.items():
            shell.display_formatter.formatters["image/png"].for_type(kind, draw)


def _draw_errors(axes: Axes, generation: Generation) -> None:
    sigma, error = sigma_and_error(generation.committee, generation.labelled)
    plots.sigma_against_error(axes, sigma, error, unit=force_unit(generation.dataset))
    for line in axes.lines[:1]:
        line.set(markersize=6, alpha=0.7)  # larger and darker than usual: the points are few
    axes.set_title("the new structures", fontsize=10)
