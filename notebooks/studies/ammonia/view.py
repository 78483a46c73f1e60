"""What a panel shows of a committee of ammonia: its (Z, R) surface, and the inversion path beside
the reference's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from agal_toolkit import plots
from agal_toolkit.analysis.paths import NoMinimum, NudgedElasticBand, ReactionPath
from agal_toolkit.loop.generation import Generation
from agal_toolkit.widgets.generation_views import cached_per_generation
from studies.ammonia import figures

from .inversion import inversion_path
from .plane import PlaneSurface
from .recipes import KCAL
from .truth import Truth


class AmmoniaView:
    """The plane of Schwalbe-Koda 2021, Fig. 3e, and the paths of Fig. 3d, one more with every
    committee of a loop.

    Args:
        truth: the reference's surface, path and ground state.
    """

    titles = ("(Z, R) surface", "inversion path")
    unit, unit_name = KCAL, "kcal/mol"

    def __init__(self, truth: Truth) -> None:
        self._truth, self.zero = truth, truth.zero
        self.surface = cached_per_generation(
            lambda generation: PlaneSurface.of(generation.committee, truth.surface.grid, truth.zero)
        )
        self.path = cached_per_generation(self._path)

    def _path(self, generation: Generation) -> ReactionPath | None:
        """On the committee's mean; None where it has no minimum."""
        band = NudgedElasticBand(images=len(self._truth.path.images))
        try:
            return inversion_path(
                generation.committee.mean,
                ground=self._truth.ground,
                band=band,
                device=generation.committee.device,
            )
        except NoMinimum:
            return None

    def prepare(self, generations: Sequence[Generation]) -> None:
        """The surface of the last, and the paths of all."""
        self.surface(generations[-1])
        for generation in generations:
            self.path(generation)

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draws the surface with the structures of the last, and the paths of all."""
        generation = generations[-1]
        surface, ground = self.surface(generation), self._truth.surface.grid.ground
        initial, acquired = (
            generation.dataset[mask]
            for mask in (generation.dataset.generations == 0, generation.dataset.generations > 0)
        )
        figures.plane_surface(
            left,
            surface.grid.z,
            surface.grid.r,
            surface.energy / KCAL,
            structures=ground.project(list(initial)),
            earlier=ground.project(list(acquired)),
            attacks=ground.project(list(generation.labelled)),
        )
        if paths:
            for adversary in generation.adversaries:
                left.plot(
                    *ground.project_frames(adversary.path, adversary.geometry.numbers).T,
                    color=plots.ADVERSARIAL,
                    lw=0.7,
                    alpha=0.6,
                )
        known = {
            f"committee {each.index + 1}": path
            for each in generations
            if (path := self.path(each)) is not None
        }
        figures.inversion_paths(
            right,
            {name: _along(path) for name, path in {"DFT": self._truth.path, **known}.items()},
            barrier=self._truth.path.barrier / KCAL,
        )


def _along(path: ReactionPath) -> tuple[np.ndarray, np.ndarray]:
    """Fraction of the path and energies above its first image, kcal/mol."""
    return path.lengths / path.lengths[-1], (path.energies - path.energies[0]) / KCAL
