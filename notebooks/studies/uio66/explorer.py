"""A panel that walks through a stored loop over several systems: every label of every system in 3D.

The framework is sticks, waters are balls. Atoms take the colour of the uncertainty that the first
or the last committee has of them, or of its error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.widgets.molecule import Molecule
from agal_toolkit.widgets.picture import MoveMark

from ..water.band_figures import property_curves
from ..water.explorer import LoopExplorer
from . import sites
from .figures import MARKS, Curves, looks_of
from .pore_view import Pore


class PoreExplorer(LoopExplorer):
    """Labels of a loop over several systems, as committees see them, beside errors of each system.

    Args:
        labels: of all systems, in the order in which they were made; their origins name systems.
        committees: name -> calibrated committee.
        asked: labels that the committee of each iteration, from 1, had learned from.
        curves: name and unit -> system -> labels and values; at most two are drawn.
        target: of the attacks, eV/angstrom; twice as much has the darkest colour.
    """

    def __init__(
        self,
        labels: Dataset,
        committees: Mapping[str, Committee],
        asked: Sequence[int],
        curves: Mapping[str, Curves],
        target: float,
    ) -> None:
        booked = [str(geometry.origin["system"]) for geometry in labels]
        self._booked, self._of_systems = np.array(booked), curves
        options = list(dict.fromkeys(booked))
        style = {"button_width": "132px"}
        self._system = ipywidgets.ToggleButtons(options=options, value=options[-1], style=style)
        super().__init__(labels, committees, asked, (), target)
        self._system.observe(lambda _: self._fit(), "value")

    def look(
        self,
        iteration: int,
        structure: int = 1,
        committee: str | None = None,
        system: str | None = None,
    ) -> None:
        """Move the controls: a label of a system and an iteration, as a committee sees it."""
        if system is not None:
            self._system.value = system
        super().look(iteration, structure, committee)

    def _view(self) -> Molecule:
        return Pore(size=(3.3, 3.3))

    def _whole(self, geometry: Geometry) -> Geometry:
        return sites.whole(geometry)

    def _first_controls(self) -> list[ipywidgets.Widget]:
        return [self._system]

    def _in_view(self) -> NDArray:
        return super()._in_view() & (self._booked == self._system.value)

    def _described(self, index: int, break_: str = "<br>") -> str:
        return f"{self._system.value}, {super()._described(index, break_)}"

    def _draw_curves(self, figure: Figure) -> MoveMark:
        panels, lines = figure.subplots(2, 1).flat, []
        figure.subplots_adjust(left=0.14, right=0.97, top=0.88, bottom=0.11, hspace=0.75)
        for axes, (label, curves) in zip(panels, self._of_systems.items(), strict=False):
            shown = looks_of(list(curves))
            property_curves(axes, curves, label=label, marks=MARKS, shown=shown)
            axes.set_ylim(0, None)
            for axis in (axes.xaxis, axes.yaxis):
                axis.label.set_fontsize(9)
            axes.tick_params(which="both", labelsize=8)
            if lines:
                axes.get_legend().remove()  # that of the upper panel is for both
            lines.append(axes.axvline(self._asked[0], color="k", lw=1.2, animated=True))

        def move(iteration: int) -> list[Any]:
            for line in lines:
                line.set_xdata([self._asked[max(iteration, 1) - 1]] * 2)
            return lines

        return move
