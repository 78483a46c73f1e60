"""What a panel shows of one generation: for each kind of system another pair of pictures.

A view computes first and draws on two axes afterwards, so that what takes long does not hold up
other drawings; it remembers what it computed of a committee, so looking again costs a drawing only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from matplotlib.axes import Axes

from .. import plots
from ..analysis.grids import Grid, Surface
from ..loop.generation import Generation


class View(Protocol):
    """Two pictures of a generation, the last of those that a loop has made so far.

    Attributes:
        titles: of the two.
        zero: energy that counts as zero in pictures of labels, eV.
        unit: of energies in them, in eV; 1 for a model surface.
        unit_name: for their labels.
    """

    titles: tuple[str, str]
    zero: float
    unit: float
    unit_name: str

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Computes what :meth:`draw` needs of the same generations; may take long."""

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draws the last of one loop's generations, at least one; the earlier ones are there to
        compare with. `paths` asks for the ways of the attacks.
        """


class Once:
    """What was computed of each generation, kept as long as the generation is.

    Args:
        compute: generation -> value.
    """

    def __init__(self, compute: Callable[[Generation], Any]) -> None:
        self._compute, self._known = compute, WeakKeyDictionary[Generation, Any]()

    def __call__(self, generation: Generation) -> Any:
        if generation not in self._known:
            self._known[generation] = self._compute(generation)
        return self._known[generation]


class PlaneView:
    """Energy and uncertainty of a particle in the plane.

    Args:
        grid: where the committee is evaluated.
    """

    titles = ("mean energy", "uncertainty")
    zero, unit, unit_name = 0.0, 1.0, ""

    def __init__(self, grid: Grid = Grid(points=60)) -> None:
        self.surface = Once(lambda generation: Surface.of(generation.committee, grid))

    def prepare(self, generations: Sequence[Generation]) -> None:
        """The surfaces of the last."""
        self.surface(generations[-1])

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draws both surfaces of the last, with the structures on them."""
        generation = generations[-1]
        surface = self.surface(generation)
        plots.committee_surface(left, generation, surface)
        plots.uncertainty_surface(right, generation, surface)
        for axes in (left, right):
            if paths:
                plots.attack_paths(axes, generation.adversaries)
        right.set_ylabel("")
        left.legend(
            loc="lower right", fontsize=7, framealpha=0.85, borderpad=0.3, handletextpad=0.1
        )
