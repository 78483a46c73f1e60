"""Pairs of pictures of one generation; the data decide which pair a panel draws.

A view first computes and then draws on two axes, so that a long computation does not hold up other
drawings. It caches what it computed of a committee, so drawing again is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .. import plots
from ..analysis.grids import Grid, Surface
from ..dataset import Dataset
from ..geometry import Geometry
from ..loop.generation import Generation
from ..uncertainty.variance import force_variance

T = TypeVar("T")


class GenerationView(Protocol):
    """Two pictures of the last of a loop's generations.

    Attributes:
        titles: titles of the two pictures.
        zero: energy that counts as zero in pictures of labels, eV.
        unit, unit_name: unit of these energies, in eV (1 for a model surface), and its name.
    """

    titles: tuple[str, str]
    zero: float
    unit: float
    unit_name: str

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Compute what :meth:`draw` needs of these generations; may take long."""

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draw the last of one loop's generations; `paths` asks for the paths of the attacks."""


def is_surface(geometries: Iterable[Geometry]) -> bool:
    """Return whether all structures (at least one) are single particles in the plane."""
    return {geometry.positions.shape for geometry in geometries} == {(1, 2)}


def cached_per_generation(compute: Callable[[Generation], T]) -> Callable[[Generation], T]:
    """Return `compute` with a cache that lasts as long as each generation."""
    cache = WeakKeyDictionary[Generation, T]()

    def cached(generation: Generation) -> T:
        if generation not in cache:
            cache[generation] = compute(generation)
        return cache[generation]

    return cached


class PlaneView:
    """Mean energy and uncertainty of a particle in the plane, on a grid, with the structures."""

    titles: tuple[str, str] = ("mean energy", "uncertainty")
    zero, unit, unit_name = 0.0, 1.0, ""

    def __init__(self, grid: Grid = Grid(points=60)) -> None:
        self.surface = cached_per_generation(lambda turn: Surface.of(turn.committee, grid))

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Evaluate the last committee on the grid."""
        self.surface(generations[-1])

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draw both surfaces of the last committee."""
        generation = generations[-1]
        surface = self.surface(generation)
        plots.committee_surface(left, generation, surface)
        plots.uncertainty_surface(right, generation, surface)
        if paths:
            for axes in (left, right):
                plots.attack_paths(axes, generation.adversaries)
        right.set_ylabel("")
        small = {"fontsize": 7, "framealpha": 0.85, "borderpad": 0.3, "handletextpad": 0.1}
        left.legend(loc="lower right", **small)


class StructuresView:
    """Energies of known and new structures, and uncertainties of the candidates."""

    titles: tuple[str, str] = ("energies", "candidates")
    unit, unit_name = 1.0, "eV"

    def __init__(self, zero: float = 0.0) -> None:
        self.zero = zero
        self.sigma = cached_per_generation(_candidate_sigma)

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Evaluate the last committee on its candidates."""
        self.sigma(generations[-1])

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draw both histograms of the last generation; structures have no paths on them."""
        generation = generations[-1]
        energy_histogram(left, {"known": generation.dataset, "new": generation.labelled})
        plots.sigma_histogram(right, self.sigma(generation), unit=force_unit(generation.dataset))


def view_of(dataset: Dataset) -> PlaneView | StructuresView:
    """Return the view for the system of a data set."""
    if is_surface(dataset):
        return PlaneView()
    return StructuresView(zero=dataset.energies.min() if len(dataset) else 0.0)


def energy_histogram(axes: Axes, datasets: Mapping[str, Dataset]) -> None:
    """Draw the energies of named data sets; those of atoms, which are large, above the lowest."""
    datasets = {name: dataset for name, dataset in datasets.items() if len(dataset)}
    atoms = not all(map(is_surface, datasets.values()))
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


def force_unit(geometries: Iterable[Geometry]) -> str:
    """Return eV/Å for atoms; particles on a model surface have no unit."""
    return "eV/Å" if all((geometry.numbers > 0).all() for geometry in geometries) else ""


def _candidate_sigma(generation: Generation) -> NDArray:
    committee = generation.committee
    geometries = [candidate.geometry for candidate in generation.candidates]
    if not geometries:
        return np.zeros(0)
    variance = force_variance(committee.predict(geometries), committee.batch(geometries))
    return variance.sqrt().numpy()
