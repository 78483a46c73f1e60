"""The picture that a notebook shows for an object in the last line of a cell.

Every picture is a function from an object to a PNG and works outside a notebook; :func:`register`
hands them to a running IPython. Attacks and loops have no picture: a cell shows their ``repr``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..analysis.errors import sigma_and_error
from ..analysis.grids import Grid, Surface
from ..committee import Committee
from ..dataset import Dataset
from ..geometry import Geometry
from ..loop.generation import Generation
from ..loop.run import Run
from ..plots.scene import bearing, formula
from ..plots.style import plain, round_ticks
from ..potentials import MLP, Stacked
from .energies import above_lowest, energy_histogram, force_unit, is_surface, lowest_energies
from .generation_views import elements_of, view_of
from .picture import png

_GRID = Grid(points=60)
_PAIRS = 6
_METRICS = 3  # of a run, at most


def on_plane(committee: Committee) -> bool:
    """Return whether the members are an ``MLP`` for one particle in a plane."""
    network = committee.members.module if isinstance(committee.members, Stacked) else None
    return isinstance(network, MLP) and network.dimension == 2


def committee_png(committee: Committee) -> bytes | None:
    """Draw mean energy and uncertainty on the plane, or pairs of the atoms that members know.

    None for one member, and for potentials that name no elements.
    """
    if len(committee) < 2:
        return None
    if elements := elements_of(committee):
        return png(partial(_draw_pairs, committee=committee, elements=elements), (8.2, 3.0))
    if not on_plane(committee):
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
    """Draw a histogram of the energies, and a map of points or the lowest and highest molecule."""

    def draw(figure: Figure) -> None:
        if not is_surface(dataset):
            histogram, *places = figure.subplots(1, 3, width_ratios=[1.5, 1, 1])
            figure.subplots_adjust(left=0.08, right=0.99, top=0.89, bottom=0.18, wspace=0.12)
            energy_histogram(histogram, {"energy": dataset})
            above = above_lowest(dataset, lowest_energies(dataset, dataset.energies))
            for axes in places[: 2 * len(dataset)]:
                index = int(above.argmin() if axes is places[0] else above.argmax())
                draw_structure(axes, dataset[index])
                extreme = "lowest" if axes is places[0] else f"highest, {plain(above[index])} eV"
                axes.set_title(f"{extreme}: structure {index}", fontsize=9)
            for axes in places if not len(dataset) else ():
                axes.axis("off")
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

    return png(draw, (7.2, 3.3) if is_surface(dataset) else (8.2, 2.9))


def geometry_png(geometry: Geometry) -> bytes | None:
    """Draw a molecule or a crystal; None for a particle without a name."""
    if not geometry.numbers.any():
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.88))
        draw_structure(axes, geometry)
        axes.set_title(formula(geometry), fontsize=10)

    return png(draw, (3.2, 3.1))


def draw_structure(axes: Axes, geometry: Geometry) -> None:
    """Draw one structure, seen so that few atoms hide others."""
    plots.molecule(axes, geometry, view=bearing(geometry), bar=True)


def generation_png(generation: Generation) -> bytes:
    """Draw the committee, the verdicts, and uncertainty against error of the new structures."""

    def draw(figure: Figure) -> None:
        (first, second), (verdicts, errors) = figure.subplots(2, 2)
        margins = {"left": 0.08, "right": 0.92, "top": 0.95, "bottom": 0.09}
        figure.subplots_adjust(**margins, wspace=0.4, hspace=0.32)
        view = view_of(generation.dataset)
        view.draw(first, second, [generation], paths=False)
        for axes, title in zip((first, second), view.titles, strict=True):
            axes.set_title("", loc="left")  # the view's own name of the generation
            axes.set_title(title, fontsize=10)
        plots.verdict_bars(verdicts, generation)
        verdicts.set_title(f"candidates of generation {generation.index + 1}", fontsize=10)
        left, bottom, width, height = verdicts.get_position().bounds
        indent = 0.1  # for the long names of selectors
        verdicts.set_position((left + indent, bottom, width - indent, height))
        verdicts.tick_params(axis="y", labelsize=8)
        if len(generation.labelled):
            _draw_errors(errors, generation)
        else:
            energy_histogram(errors, {"known": generation.dataset})

    return png(draw, (8.0, 6.6))


def run_png(run: Run) -> bytes | None:
    """Draw the first metrics against the number of structures; None for a run without any."""
    labels, curves = run.curves["labels"], [*run.curves.items()][1 : _METRICS + 1]
    if not len(labels) or not curves:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        figure.subplots_adjust(left=0.12, right=0.97, top=0.88, bottom=0.19, wspace=0.4)
        for axes, (name, values) in zip(panels, curves, strict=True):
            axes.plot(labels, values, "o-", ms=4, color=plots.ADVERSARIAL)
            axes.set_xlabel("labelled structures")
            axes.set_title(name, fontsize=10)
            low, high = np.nanmin(values, initial=0.0), np.nanmax(values, initial=0.0)
            room = 0.12 * (high - low) or 1.0
            axes.set_ylim(low - room * (low < 0), high + room)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.25)

    return png(draw, (max(4.2, 3.2 * len(curves)), 2.8))


PICTURES = {
    Committee: committee_png,
    Dataset: dataset_png,
    Generation: generation_png,
    Geometry: geometry_png,
    Run: run_png,
}


def register() -> None:
    """Hand the pictures to the running IPython; do nothing in a plain interpreter."""
    shell = get_ipython()
    if shell is not None:
        for kind, draw in PICTURES.items():
            shell.display_formatter.formatters["image/png"].for_type(kind, draw)


def _draw_pairs(figure: Figure, committee: Committee, elements: Sequence[int]) -> None:
    """Draw the members' energies of two atoms alone against their distance, at most six pairs."""
    pairs = list(combinations_with_replacement(elements, 2))
    shown = pairs[:_PAIRS]
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    figure.subplots_adjust(left=0.075, right=0.985, top=0.78, bottom=0.18, wspace=0.1)
    for axes, pair in zip(panels, shown, strict=True):
        radius = covalent_radii[list(pair)].sum()
        distances = np.linspace(0.7 * radius, 4.0, 50)
        atoms = [Geometry(positions=[[0, 0, 0], [d, 0, 0]], numbers=pair) for d in distances]
        energies = committee.predict(atoms).energy.numpy()
        energies = energies - energies[:, -1:]
        axes.plot(distances, energies.T, color="0.6", lw=0.8)
        axes.plot(distances, energies.mean(0), color="0.1", lw=1.6)
        axes.axvline(radius, color=plots.RANDOM, ls=":", lw=1)
        axes.set_title("–".join(chemical_symbols[z] for z in pair), fontsize=9)
        axes.set_xlabel("distance (Å)", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("energy above 4 Å (eV)", fontsize=9)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(max(low, -12.0), min(high, 12.0))
    more = "" if len(shown) == len(pairs) else f", {len(shown)} of {len(pairs)} pairs"
    text = f"{len(committee)} members (gray) and their mean on two atoms alone{more}"
    figure.text(0.075, 0.97, text, fontsize=10, va="top")
    note = "dotted: sum of the covalent radii. Such pairs are seldom among the data."
    figure.text(0.075, 0.895, note, fontsize=8, color="0.35", va="top")


def _draw_errors(axes: Axes, generation: Generation) -> None:
    sigma, error = sigma_and_error(generation.committee, generation.labelled)
    plots.sigma_against_error(axes, sigma, error, unit=force_unit(generation.dataset))
    for line in axes.lines[:1]:
        line.set(markersize=6, alpha=0.7)  # larger and darker than usual: the points are few
    axes.set_title("the new structures", fontsize=10)
