"""Pairs of pictures of one generation; the data decide which pair a panel draws.

A view first computes and then draws on two axes, so that a long computation does not hold up other
drawings. It caches what it computed of a committee, so drawing again is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from matplotlib.axes import Axes

from .. import plots
from ..analysis.grids import Grid, Surface
from ..geometry import Geometry
from ..loop.generation import Generation

T = TypeVar("T")


class GenerationView(Protocol):
    """Two pictures of the last of a loop's generations.

    Attributes:
        titles: titles of the two pictures.
        zero: energy that counts as zero in pictures of labels, eV.
        unit: unit of energies in pictures of labels, eV; 1 for a model surface.
        unit_name: name of that unit.
    """

    titles: tuple[str, str]
    zero: float
    unit: float
    unit_name: str

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Compute what :meth:`draw` needs of these generations; may take long."""

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draw the last of one loop's generations, beside earlier ones where that helps.

        `paths` asks for the paths of the attacks.
        """


def is_surface(geometries: Iterable[Geometry]) -> bool:
    """Return whether all structures (at least one) are single particles in the plane."""
    shapes = {geometry.positions.shape for geometry in geometries}
    return shapes == {(1, 2)}


def cached_per_generation(compute: Callable[[Generation], T]) -> Callable[[Generation], T]:
    """Return `compute` with a cache that lasts as long as each generation."""
    cache = WeakKeyDictionary[Generation, T]()

    def cached(generation: Generation) -> T:
        if generation not in cache:
            cache[generation] = compute(generation)
        return cache[generation]

    return cached


class PlaneView:
    """Mean energy and uncertainty of a particle in the plane, with the structures.

    Args:
        grid: grid on which the committee is evaluated.
    """

    titles = ("mean energy", "uncertainty")
    zero, unit, unit_name = 0.0, 1.0, ""

    def __init__(self, grid: Grid = Grid(points=60)) -> None:
        self.surface = cached_per_generation(
            lambda generation: Surface.of(generation.committee, grid)
        )

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


def view_of(geometries: Iterable[Geometry]) -> GenerationView:
    """Return the view for a system of these structures."""
    return PlaneView()
