"""A map, a molecule and a table of structures, in a row that wraps on a narrow page."""

from __future__ import annotations

import ipywidgets
from matplotlib.figure import Figure

from ..committee import Committee
from .background import Background
from .chosen import Chosen
from .panel import Panel
from .structure_parts import StructureMap, StructureTable
from .structure_view import StructureView
from .structures import Source, Structures

_SIZE = (8.6, 6.4)  # inches


class StructuresPanel(Panel):
    """A map, a molecule and a table of structures that share what is chosen.

    Args:
        source: a data set, a run, generations or structures, :class:`Structures`, or a choice.
        committee: for uncertainties and errors; without one, that of each generation.
        follow: a run whose generations are added while it goes on: ``monitor.background``.
    """

    _settles = True

    def __init__(
        self,
        source: Chosen | Structures | Source = (),
        committee: Committee | None = None,
        *,
        follow: Background | None = None,
    ) -> None:
        self.rows = Chosen.among(source, committee)
        self.structures = self.rows.structures
        self.map, self.table = StructureMap(self.rows), StructureTable(self.rows)
        self.view = StructureView(self.rows)
        for part in (self.map, self.table):
            part.layout.flex, part.layout.min_width = "1 1 430px", "0"  # else as wide as its rows
        self.view.layout.flex = "0 0 auto"
        wrap = {"flex_flow": "row wrap", "align_items": "flex-start", "grid_gap": "8px"}
        parts = ipywidgets.HBox([self.map, self.view, self.table], layout=wrap)
        super().__init__([parts], _SIZE, [self.view.drawing])
        if follow is not None:
            self.structures.follow(follow, self._show_error)

    def _draw_static(self, figure: Figure) -> None:
        [[top], [bottom]] = figure.subfigures(2, 1, height_ratios=[3.4, 3.0], squeeze=False)
        [[left, right]] = top.subfigures(1, 2, width_ratios=[5.0, 3.5], squeeze=False)
        self.map.draw(left.add_axes((0.13, 0.15, 0.85, 0.82)))
        self.view.molecule.draw(right.add_axes((0.0, 0.0, 1.0, 1.0)))
        self.table.draw(bottom.add_axes((0.02, 0.05, 0.96, 0.92)))
