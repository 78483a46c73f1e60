"""Pairs of pictures of one generation; the data decide which pair a panel draws.

A view first computes and then draws on two axes, so that a long computation does not hold up other
drawings. It caches what it computed of a committee, so drawing again is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .. import plots
from ..analysis.grids import Grid, Surface
from ..committee import Committee
from ..dataset import Dataset
from ..loop.generation import KEPT, Generation
from ..plots.scene import bearing, formula
from ..plots.style import plain
from ..potentials import Stacked
from ..potentials.elements import Elements
from ..uncertainty.variance import force_variance
from .controls import placeholder
from .energies import force_unit, formula_key, is_surface, lowest_energies

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


def elements_of(committee: Committee) -> tuple[int, ...]:
    """Return the atomic numbers that the members' network names; empty if it names none."""
    network = committee.members.module if isinstance(committee.members, Stacked) else None
    elements = getattr(network, "elements", None)
    return tuple(sorted(set(elements.numbers) - {0})) if isinstance(elements, Elements) else ()


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
        left.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.1), ncols=3, **small)


class StructuresView:
    """Energies and uncertainties of the candidates, and the most uncertain new structure.

    Args:
        zero: energy that counts as zero where no known structure has the same formula, eV.
    """

    titles: tuple[str, str] = ("candidates", "most uncertain new structure")
    unit, unit_name = 1.0, "eV"

    def __init__(self, zero: float = 0.0) -> None:
        self.zero = zero
        self.predicted = cached_per_generation(_predicted)

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Evaluate the last committee on its candidates."""
        self.predicted(generations[-1])

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draw the candidates of the last generation; structures have no paths on them."""
        generation = generations[-1]
        energies, sigma = self.predicted(generation)
        known, unit = generation.dataset, force_unit(generation.dataset)
        lowest = lowest_energies(known, known.energies)
        geometries = [candidate.geometry for candidate in generation.candidates]
        zeros = [lowest.get(formula_key(geometry), self.zero) for geometry in geometries]
        above = energies - np.array(zeros)
        if len(known):
            zeros = [lowest[formula_key(geometry)] for geometry in known]
            span: dict[str, Any] = {"fc": "0.88", "ec": "0.6", "label": "energies of the data"}
            left.axvspan(0.0, float((known.energies - zeros).max()), **span)
        kept = np.array([verdict == KEPT for verdict in generation.verdicts], dtype=bool)
        for name, chosen, colour in (("dropped", ~kept, "0.5"), ("kept", kept, plots.ADVERSARIAL)):
            if chosen.any():
                style = {"color": colour, "mec": "white", "mew": 0.5, "ms": 6}
                left.plot(above[chosen], sigma[chosen], "o", **style, label=name)
        left.set(xlabel="mean energy above the lowest of the data (eV)")
        left.set(ylabel=rf"$\sigma_F$ ({unit})" if unit else r"$\sigma_F$")
        left.grid(alpha=0.25)
        left.set_ylim(0, 1.3 * max(sigma.max(initial=0.0), 1e-9))  # leaves room for the legend
        small = {"frameon": False, "fontsize": 8, "columnspacing": 0.9, "handletextpad": 0.3}
        left.legend(loc="upper center", ncols=3, **small)
        indices = np.flatnonzero(kept if kept.any() else ~kept)
        if not len(indices):
            right.axis("off")
            placeholder(right, "no candidates")
            return
        index = indices[np.argmax(sigma[indices])]
        geometry = geometries[index]
        plots.molecule(right, geometry, outline=False, view=bearing(geometry), bar=True)
        doubt, energy = plain(float(sigma[index])), plain(float(above[index]))
        text = rf"{formula(geometry)}: $\sigma_F$ {doubt} {unit}, energy {energy} eV"
        style = {"ha": "center", "va": "top", "fontsize": 8.5}
        right.text(0.5, -0.01, text, transform=right.transAxes, **style)


def view_of(dataset: Dataset) -> PlaneView | StructuresView:
    """Return the view for the system of a data set."""
    if is_surface(dataset):
        return PlaneView()
    return StructuresView(zero=dataset.energies.min() if len(dataset) else 0.0)


def _predicted(generation: Generation) -> tuple[NDArray, NDArray]:
    """Return the committee's mean energies and uncertainties of the candidates."""
    geometries = [candidate.geometry for candidate in generation.candidates]
    if not geometries:
        return np.zeros(0), np.zeros(0)
    prediction = generation.committee.predict(geometries)
    variance = force_variance(prediction, generation.committee.batch(geometries))
    return prediction.energy.mean(0).numpy(), variance.sqrt().numpy()
