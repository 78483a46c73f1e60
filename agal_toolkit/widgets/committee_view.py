"""What each member of a committee says of the plane; the committee is evaluated once, and a step of
the slider costs a drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import plots
from ..analysis.grids import Grid
from ..committee import Committee
from ..dataset import Dataset
from .attack_maps import CommitteeOnGrid
from .picture import Picture, bundle


class CommitteeView(ipywidgets.VBox):
    """What each member of a committee says of the plane, their mean and where they disagree.

    Args:
        committee: of potentials of one particle in the plane.
        grid: where to evaluate it.
        dataset: drawn on the surfaces.
    """

    def __init__(
        self, committee: Committee, grid: Grid = Grid(points=60), dataset: Dataset | None = None
    ) -> None:
        self._said, self._dataset = CommitteeOnGrid.of(committee, grid), dataset
        self._member = ipywidgets.IntSlider(
            value=1,
            min=1,
            max=max(len(committee), 1),
            description="member",
            layout=ipywidgets.Layout(width="320px"),
        )
        self._picture = Picture(self._draw, (8.2, 4.4))
        self._member.observe(lambda _: self._picture.request(), "value")
        super().__init__([self._member, self._picture])

    def settle(self) -> CommitteeView:
        """Waits until the picture shows the slider's member."""
        self._picture.settle()
        return self

    def _draw(self, figure: Figure) -> None:
        draw_members(figure, self._said, self._member.value - 1, self._dataset)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self.settle()
        return bundle(super()._repr_mimebundle_(**options), self._picture.value)


def draw_members(
    figure: Figure, said: CommitteeOnGrid, member: int, dataset: Dataset | None = None
) -> None:
    """All members small, below them the chosen one beside the mean and the uncertainty."""
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.25, 3.0])
    grid, shape = said.surface.grid, said.surface.energy.shape
    energies: Sequence[NDArray] = [
        energy.reshape(shape) for energy in said.prediction.energy.numpy()
    ]
    count = len(energies)
    small = np.atleast_1d(top.subplots(1, max(count, 5)))
    top.subplots_adjust(left=0.02, right=0.98, top=0.82, bottom=0.02, wspace=0.06)
    for number, axes in enumerate(small):
        if number >= count:
            axes.axis("off")
            continue
        plots.energy_surface(axes, grid, energies[number], bar=False)
        axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
        colour, weight, width = (
            (plots.ADVERSARIAL, "bold", 2.5) if number == member else ("0.4", "normal", 0.8)
        )
        axes.set_title(f"member {number + 1}", fontsize=8, weight=weight, color=colour)
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=width)
    chosen, mean, sigma = bottom.subplots(1, 3)
    bottom.subplots_adjust(left=0.07, right=0.93, top=0.92, bottom=0.1, wspace=0.36)
    for axes, energy in ((chosen, energies[member]), (mean, said.surface.energy)):
        plots.energy_surface(axes, grid, energy)
        bottom.axes[-1].set_ylabel("")  # of the colour bar, which the next axes leave no room for
    plots.sigma_surface(sigma, said.surface)
    for axes, title in ((chosen, f"member {member + 1}"), (mean, "mean"), (sigma, "uncertainty")):
        axes.set_title(title, fontsize=10)
        if dataset is not None:
            plots.structures(axes, dataset)
        if axes is not chosen:
            axes.set_ylabel("")
            axes.tick_params(axis="y", labelleft=False)
