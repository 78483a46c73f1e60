"""The active structure in three dimensions, with what is known of it.

Superposed on the previous one, as in a map one looks for what differs.
"""

from __future__ import annotations

from html import escape

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from ..committee import Committee
from ..plots.molecules import heat
from ..plots.scene import formula
from ..plots.style import plain
from .chosen import Chosen
from .controls import row
from .molecule import Molecule
from .panel import Panel
from .picture import FAINT, Coalesced
from .structure_rows import SIGMA
from .structures import Source, Structures

_SIZE = (3.5, 3.1)  # inches


class StructureView(Panel):
    """The active structure: atoms coloured by uncertainty, ghost of the attack's start.

    Args:
        source: structures, what :class:`Structures` takes, or a choice to share with other parts.
        committee: for uncertainties, if the source has none.
    """

    _settles = True

    def __init__(
        self, source: Chosen | Structures | Source, committee: Committee | None = None
    ) -> None:
        self.rows = Chosen.among(source, committee)
        self.molecule = Molecule(size=_SIZE)
        look = {"indent": False, "layout": {"width": "auto"}}
        self._heat = ipywidgets.Checkbox(False, description="colour by sigma", **look)
        self._ghost = ipywidgets.Checkbox(True, description="ghost of the start", **look)
        self._facts = ipywidgets.HTML()
        self.drawing = Coalesced(self._show)
        children = [row(self._heat, self._ghost), self.molecule, self._facts]
        super().__init__(children, _SIZE, [self.drawing])
        for control in (self._heat, self._ghost):
            control.observe(lambda _: self.drawing.request(), "value")
        self.rows.observe(lambda _: self.drawing.request(), "active")
        self._show()

    def _show(self) -> None:
        index, structures = self.rows.active, self.rows.structures
        try:
            if index is None or not 0 <= index < len(structures):
                self.molecule.clear()
                self._facts.value = ""
                return
            found = structures[index]
            sigma, top = found.atomic_sigma, self._top()
            self._heat.disabled = sigma is None
            self._ghost.layout.display = None if found.start else "none"
            colours = heat(sigma, top) if self._heat.value and sigma is not None else None
            ghost = found.start if self._ghost.value else None
            geometry = found.geometry if ghost else self.molecule.superposed(found.geometry)
            self.molecule.show(geometry, ghost, colours)
            text = f"{formula(found.geometry)}, row {index}"
            if colours is not None:
                text += f"; white: 0, red: {plain(top)} eV/Å and more"
            self._facts.value = f'<span style="{FAINT}">{escape(text)}</span>'
            self._clear_error()
        except Exception as error:
            self._show_error(error)

    def _top(self) -> float:
        """Return one end of the colours for all structures, eV/angstrom."""
        columns = self.rows.structures.columns
        values = next((columns[name].values for name in SIGMA if name in columns), np.zeros(0))
        values = values[np.isfinite(values)]
        return 3**0.5 * float(np.percentile(values, 90)) if len(values) else 1.0

    def _draw_static(self, figure: Figure) -> None:
        self.molecule.draw(figure.add_axes((0.0, 0.0, 1.0, 0.92)))
        if self.rows.active is not None:
            figure.text(0.02, 0.98, f"row {self.rows.active}", va="top", fontsize=9)
