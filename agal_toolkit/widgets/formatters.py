"""The picture that a notebook shows for an object in the last line of a cell.

Every picture is a function from an object to a PNG and needs no IPython; :func:`register` hands
them to a running one. The objects know nothing of it. Attacks and loops show their ``repr``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import plots
from ..analysis.errors import sigma_and_error
from ..analysis.grids import Grid, Surface
from ..committee import Committee
from ..dataset import Dataset
from ..loop.generation import Generation
from ..plots.style import round_ticks
from ..potentials import MLP, Stacked
from ..uncertainty.variance import force_variance
from .picture import png

_GRID = Grid(points=60)


def on_plane(data: Committee | Dataset) -> bool:
    """Return whether every structure, or every member's network, is of one particle in a plane."""
    if isinstance(data, Dataset):
        return len(data) > 0 and all(geometry.positions.shape == (1, 2) for geometry in data)
    members = data.members
    network = members.module if isinstance(members, Stacked) else None
    return isinstance(network, MLP) and network.dimension == 2


def committee_png(committee: Committee) -> bytes | None:
    """Draw mean energy and uncertainty on the plane; None for other committees."""
    if len(committee) < 2 or not on_plane(committee):
        return None

    def draw(figure: Figure) -> None:
        energy, sigma = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.08, right=0.92, top=0.9, bottom=0.15, wspace=0.34)
        surface = Surface.of(committee, _GRID)
        plots.energy_surface(energy, surface.grid, surface.energy)
        plots.sigma_surface(sigma, surface)
        _set_titles(energy, sigma, f"mean energy of {len(committee)} members")

    return png(draw, (8.0, 3.4))


def dataset_png(dataset: Dataset) -> bytes:
    """Draw a histogram of the energies, beside the points where the structures lie in a plane."""

    def draw(figure: Figure) -> None:
        if not on_plane(dataset):
            figure.subplots_adjust(left=0.13, right=0.97, top=0.9, bottom=0.19)
            _energy_histogram(figure.subplots(), {"energy": dataset})
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
        _energy_histogram(histogram, {"energy": dataset})

    return png(draw, (7.2, 3.3) if on_plane(dataset) else (4.4, 2.9))


def generation_png(generation: Generation) -> bytes:
    """Draw the committee, the verdicts, and uncertainty against error of the new structures."""

    def draw(figure: Figure) -> None:
        (first, second), (verdicts, errors) = figure.subplots(2, 2)
        margins = {"left": 0.08, "right": 0.92, "top": 0.95, "bottom": 0.09}
        figure.subplots_adjust(**margins, wspace=0.4, hspace=0.32)
        if on_plane(generation.committee):
            surface = Surface.of(generation.committee, _GRID)
            plots.committee_surface(first, generation, surface)
            plots.uncertainty_surface(second, generation, surface)
            _set_titles(first, second, "mean energy")
        else:
            _energy_histogram(first, {"known": generation.dataset, "new": generation.labelled})
            _draw_sigma(second, generation)
        plots.verdict_bars(verdicts, generation)
        verdicts.set_title("verdicts", fontsize=10)
        left, bottom, width, height = verdicts.get_position().bounds
        indent = 0.1  # for the long names of selectors
        verdicts.set_position((left + indent, bottom, width - indent, height))
        verdicts.tick_params(axis="y", labelsize=8)
        if len(generation.labelled):
            _draw_errors(errors, generation)
        else:
            _energy_histogram(errors, {"known": generation.dataset})

    return png(draw, (8.0, 6.6))


PICTURES: Mapping[type, Callable[[Any], bytes | None]] = {
    Committee: committee_png,
    Dataset: dataset_png,
    Generation: generation_png,
}


def register() -> None:
    """Hand the pictures to the running IPython; do nothing in a plain interpreter."""
    shell = get_ipython()
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["image/png"]
    for kind, draw in PICTURES.items():
        formatter.for_type(kind, draw)


def _set_titles(energy: Axes, sigma: Axes, title: str) -> None:
    energy.set_title(title, fontsize=10)
    sigma.set_title("uncertainty", fontsize=10)
    sigma.set_ylabel("")  # the label of the colour bar on the left needs the room


def _energy_histogram(axes: Axes, datasets: Mapping[str, Dataset]) -> None:
    """Draw the energies of named data sets; those of atoms, which are large, above the lowest."""
    datasets = {name: dataset for name, dataset in datasets.items() if len(dataset)}
    atoms = not all(map(on_plane, datasets.values()))
    if datasets:
        energies = np.concatenate([dataset.energies for dataset in datasets.values()])
        lowest = energies.min() if atoms else 0.0
        low, high = energies.min() - lowest, energies.max() - lowest
        edges = np.linspace(low, max(high, low + 1e-6), 25)
        for (name, dataset), colour in zip(datasets.items(), ("0.6", "k"), strict=False):
            axes.hist(dataset.energies - lowest, bins=edges, color=colour, alpha=0.8, label=name)
    if len(datasets) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel="energy above the lowest (eV)" if atoms else "energy", ylabel="structures")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("energies", fontsize=10)


def _draw_sigma(axes: Axes, generation: Generation) -> None:
    """Draw a histogram of the candidates' uncertainties."""
    committee = generation.committee
    geometries = [candidate.geometry for candidate in generation.candidates]
    variance = force_variance(committee.predict(geometries), committee.batch(geometries))
    plots.sigma_histogram(axes, variance.sqrt().numpy(), unit=_force_unit(generation))
    axes.set_title("candidates", fontsize=10)


def _draw_errors(axes: Axes, generation: Generation) -> None:
    """Draw uncertainty against true error of the new structures, which are not in the training."""
    sigma, error = sigma_and_error(generation.committee, generation.labelled)
    plots.sigma_against_error(axes, sigma, error, unit=_force_unit(generation))
    for line in axes.lines[:1]:
        line.set(markersize=6, alpha=0.7)  # few points, unlike a grid's
    axes.set_title("the new structures", fontsize=10)


def _force_unit(generation: Generation) -> str:
    """Return eV/Å for atoms; points on a model surface have no unit."""
    return "eV/Å" if all((geometry.numbers > 0).all() for geometry in generation.dataset) else ""
