"""The members of a committee on the plane, evaluated once; a step of the slider costs a drawing."""

from __future__ import annotations

import ipywidgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..analysis.grids import Grid, Surface
from ..committee import Committee
from ..dataset import Dataset
from .panel import Panel
from .picture import Picture

_SIZE = (8.2, 4.4)  # inches


class CommitteeView(Panel):
    """The energy surface of every member of a committee, their mean and their uncertainty.

    Args:
        committee: potentials of one particle in the plane.
        grid: points at which the committee is evaluated.
        dataset: structures drawn on the surfaces.
    """

    def __init__(
        self, committee: Committee, grid: Grid = Grid(points=60), dataset: Dataset | None = None
    ) -> None:
        self._surface, self._dataset = Surface.of(committee, grid), dataset
        look = {"description": "member", "layout": {"width": "320px"}}
        self._member = ipywidgets.IntSlider(value=1, min=1, max=max(len(committee), 1), **look)
        self._picture = Picture(self._draw_static, _SIZE)
        self._member.observe(lambda _: self._picture.request(), "value")
        super().__init__([self._member, self._picture], _SIZE, helpers=[self._picture])

    def _static_picture(self) -> bytes:
        return self.settle()._picture.value

    def _draw_static(self, figure: Figure) -> None:
        surface, member = self._surface, self._member.value - 1
        energies = surface.prediction.energy.numpy().reshape(-1, *surface.energy.shape)
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.25, 3.0])[:, 0]
        small = np.atleast_1d(top.subplots(1, max(len(energies), 5)))
        top.subplots_adjust(left=0.02, right=0.98, top=0.82, bottom=0.02, wspace=0.06)
        for axes in small[len(energies) :]:
            axes.axis("off")
        for number, (axes, energy) in enumerate(zip(small, energies, strict=False)):
            plots.energy_surface(axes, surface.grid, energy, bar=False)
            axes.set(xticks=[], yticks=[], xlabel="", ylabel="")
            _frame(axes, number, number == member)
        chosen, mean, sigma = bottom.subplots(1, 3)
        bottom.subplots_adjust(left=0.07, right=0.93, top=0.92, bottom=0.1, wspace=0.36)
        for axes, energy in ((chosen, energies[member]), (mean, surface.energy)):
            plots.energy_surface(axes, surface.grid, energy)
            bottom.axes[-1].set_ylabel("")  # the next axes leave no room for the bar's label
        plots.sigma_surface(sigma, surface)
        titles = (f"member {member + 1}", "mean", "uncertainty")
        for title, axes in zip(titles, (chosen, mean, sigma), strict=True):
            axes.set_title(title, fontsize=10)
            if self._dataset is not None:
                plots.structures(axes, self._dataset)
        for axes in (mean, sigma):
            axes.set_ylabel("")
            axes.tick_params(axis="y", labelleft=False)


def _frame(axes: Axes, number: int, chosen: bool) -> None:
    """Name a member above its surface, and highlight the chosen one."""
    colour, weight = (plots.ADVERSARIAL, "bold") if chosen else ("0.4", "normal")
    axes.set_title(f"member {number + 1}", fontsize=8, weight=weight, color=colour)
    axes.spines[:].set(color=colour, linewidth=2.5 if chosen else 0.8)
