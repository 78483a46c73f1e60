"""A panel's pictures of a committee of ammonia: its (Z, R) surface and its inversion path."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from agal_toolkit import plots
from agal_toolkit.analysis.paths import NudgedElasticBand, ReactionPath
from agal_toolkit.loop.generation import Generation
from agal_toolkit.references import NoMinimum
from agal_toolkit.widgets.generation_views import cached_per_generation

from . import figures
from .inversion import inversion_path
from .plane import PlaneSurface
from .recipes import KCAL
from .truth import Truth


class AmmoniaView:
    """The plane of Schwalbe-Koda 2021, Fig. 3e, and the paths of Fig. 3d, one for each committee.

    Args:
        truth: the reference's surface, path and ground state.
    """

    titles = ("(Z, R) surface", "inversion path")
    unit, unit_name = KCAL, "kcal/mol"

    def __init__(self, truth: Truth) -> None:
        self._truth, self.zero = truth, truth.zero
        self.surface = cached_per_generation(self._surface)
        self.path = cached_per_generation(self._path)

    def _surface(self, generation: Generation) -> PlaneSurface:
        return PlaneSurface.of(generation.committee, self._truth.surface.grid, self.zero)

    def _path(self, generation: Generation) -> ReactionPath | None:
        """Return the path on the committee's mean; None if the mean has no minimum."""
        committee = generation.committee
        band = NudgedElasticBand(images=len(self._truth.path.images))
        try:
            return inversion_path(
                committee.mean, ground=self._truth.ground, band=band, device=committee.device
            )
        except NoMinimum:
            return None

    def prepare(self, generations: Sequence[Generation]) -> None:
        """Compute the surface of the last generation and the paths of all."""
        self.surface(generations[-1])
        for generation in generations:
            self.path(generation)

    def draw(self, left: Axes, right: Axes, generations: Sequence[Generation], paths: bool) -> None:
        """Draw the last generation's surface with its structures, and all inversion paths.

        Args:
            left, right: axes of surface and paths.
            generations: of one loop.
            paths: draw the paths of the attacks, too.
        """
        generation = generations[-1]
        surface, ground = self.surface(generation), self._truth.surface.grid.ground
        dataset = generation.dataset
        initial, acquired = dataset[dataset.generations == 0], dataset[dataset.generations > 0]
        figures.plane_surface(
            left,
            surface.grid.z,
            surface.grid.r,
            surface.energy / KCAL,
            structures=ground.project(list(initial)),
            earlier=ground.project(list(acquired)),
            attacks=ground.project(list(generation.labelled)),
        )
        for adversary in generation.adversaries if paths else ():
            z, r = ground.project_frames(adversary.path, adversary.geometry.numbers).T
            left.plot(z, r, color=plots.ADVERSARIAL, lw=0.7, alpha=0.6)
        curves = {"DFT": self._truth.path}
        for turn in generations:
            path = self.path(turn)
            if path is not None:
                curves[f"committee {turn.index + 1}"] = path
        figures.inversion_paths(
            right,
            {
                name: (path.lengths / path.lengths[-1], (path.energies - path.energies[0]) / KCAL)
                for name, path in curves.items()
            },
            barrier=self._truth.path.barrier / KCAL,
        )
