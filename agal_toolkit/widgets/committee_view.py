"""The members of a committee, evaluated once; a step of the slider costs a drawing."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..analysis.errors import sigma_and_error
from ..analysis.grids import Grid, Surface
from ..batch import Batch
from ..committee import Committee
from ..dataset import Dataset
from ..plots.molecules import heat
from ..plots.scene import bearing, symbols
from ..uncertainty.variance import atomic_sigma
from .controls import slider_layout
from .energies import above_lowest, formula_key, is_surface, lowest_energies
from .generation_views import elements_of
from .panel import Panel
from .picture import Picture

_SIZE = (8.2, 4.4)  # inches
DrawMember = Callable[[Figure, int], None]


class CommitteeView(Panel):
    """Every member of a committee, their mean and their uncertainty.

    In the plane these are energy surfaces. For atoms, members are compared with the labels of a
    data set, beside its most uncertain structure.

    Args:
        committee: potentials of one particle in the plane, or of atoms.
        grid: points of the plane at which the committee is evaluated.
        dataset: structures drawn on the surfaces; atoms need them, with labels.

    Raises:
        ValueError: a committee of atoms without structures.
    """

    def __init__(
        self, committee: Committee, grid: Grid = Grid(points=60), dataset: Dataset | None = None
    ) -> None:
        if is_surface(dataset or ()) or not (dataset or elements_of(committee)):
            self._draw = _on_plane(committee, grid, dataset)
        elif dataset:
            self._draw = _on_atoms(committee, dataset)
        else:
            wrong = "this committee knows atoms, and there is no structure to show"
            raise ValueError(f"{wrong}: give CommitteeView(committee, dataset=data)")
        look = {"description": "member", "layout": slider_layout(320)}
        self._member = ipywidgets.IntSlider(value=1, min=1, max=max(len(committee), 1), **look)
        self._picture = Picture(self._draw_static, _SIZE)
        self._member.observe(lambda _: self._picture.request(), "value")
        super().__init__([self._member, self._picture], _SIZE, helpers=[self._picture])

    def _static_picture(self) -> bytes:
        return self.settle()._picture.value

    def _draw_static(self, figure: Figure) -> None:
        self._draw(figure, self._member.value - 1)


def _on_plane(committee: Committee, grid: Grid, dataset: Dataset | None) -> DrawMember:
    """Evaluate a committee on the plane, and return what draws a member's surface."""
    surface = Surface.of(committee, grid)
    energies = surface.prediction.energy.numpy().reshape(-1, *surface.energy.shape)

    def draw(figure: Figure, member: int) -> None:
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
            if dataset is not None:
                plots.structures(axes, dataset)
        for axes in (mean, sigma):
            axes.set_ylabel("")
            axes.tick_params(axis="y", labelleft=False)

    return draw


def _on_atoms(committee: Committee, dataset: Dataset) -> DrawMember:
    """Evaluate a committee on labelled structures, and return what compares a member with them."""
    prediction = committee.predict(dataset.geometries)
    lowest = lowest_energies(dataset, dataset.energies)
    zeros = np.array([lowest[formula_key(geometry)] for geometry in dataset])
    energies, labels = prediction.energy.numpy() - zeros, above_lowest(dataset, lowest)
    uncertainty, error = sigma_and_error(committee, dataset)
    worst = int(np.argmax(uncertainty))
    atomic = Batch.of(dataset.geometries).split(atomic_sigma(prediction))[worst]
    geometry = dataset[worst]

    def draw(figure: Figure, member: int) -> None:
        parity, errors, molecule = figure.subplots(1, 3, width_ratios=[1, 1, 1.15])
        figure.subplots_adjust(left=0.08, right=0.985, top=0.88, bottom=0.17, wspace=0.36)
        limits = [min(energies.min(), labels.min()), max(energies.max(), labels.max())]
        parity.plot(limits, limits, "k--", lw=1, label="right")
        parity.plot(np.tile(labels, len(energies)), energies.ravel(), ".", color="0.7", ms=4)
        style = {"ms": 5, "color": plots.ADVERSARIAL, "mec": "white", "mew": 0.5}
        parity.plot(labels, energies[member], "o", **style)
        parity.set(xlabel="label above the lowest (eV)", ylabel="member (eV)")
        rmse = np.sqrt(np.mean((energies[member] - labels) ** 2))
        title = f"member {member + 1} of {len(energies)}: error {rmse:.2g} eV"
        plots.sigma_against_error(errors, uncertainty, error, unit="eV/Å")
        errors.lines[0].set(markersize=7, alpha=0.7)
        look = {"colours": heat(atomic, atomic.max()), "labels": symbols(geometry)}
        plots.molecule(molecule, geometry, outline=False, view=bearing(geometry), bar=True, **look)
        kinds = f"most uncertain: structure {worst}\nred: up to {atomic.max():.2g} eV/Å"
        titles = (title, "uncertainty and error", kinds)
        for axes, text in zip((parity, errors, molecule), titles, strict=True):
            axes.set_title(text, fontsize=9)
            axes.grid(alpha=0.25)

    return draw


def _frame(axes: Axes, number: int, chosen: bool) -> None:
    """Name a member above its surface, and highlight the chosen one."""
    colour, weight = (plots.ADVERSARIAL, "bold") if chosen else ("0.4", "normal")
    axes.set_title(f"member {number + 1}", fontsize=8, weight=weight, color=colour)
    axes.spines[:].set(color=colour, linewidth=2.5 if chosen else 0.8)
