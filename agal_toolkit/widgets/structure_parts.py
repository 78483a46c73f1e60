"""A map and a table of structures in the browser, which share what is chosen.

Measured with 2,000 structures in Chromium without a graphics card: chemiscope sends 3.7 MB for
each widget, cannot grow, draws in 1 s and calls a counter; jupyter-scatter sends 2.3 MB, brings
260 MB of packages and draws in 0.3 s; a figure of ipympl sends 0.4 MB for every change, without
lasso and tooltips. The script beside this module, 25 kB for anywidget, draws in 16 ms, follows the
mouse in 1 ms and grows by rows alone: a panel sends 0.5 MB at first and 5 kB for five structures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from anywidget import AnyWidget
from matplotlib.axes import Axes
from numpy.typing import NDArray
from traitlets import Bool, Instance, Unicode

from ..committee import Committee
from ..plots.style import CYCLE
from .chosen import Chosen
from .picture import bundle, draw_or_explain, escape_dollars
from .structure_rows import SIGMA, Column
from .structures import Source, Structures

_EQUAL = "equal"  # sizes of points
_USUAL = {
    "x": ("UMAP 1", "x", "predicted energy", "energy", "row"),
    "y": ("UMAP 2", "y", *SIGMA, "error", "energy", "generation", "row"),
    "colour": (*SIGMA, "error", "energy", "generation", "row"),
    "size": (),
}


class _Part(AnyWidget):
    """A view in the browser that knows the rows by their model."""

    _esm = Path(__file__).parent / "structures.js"
    part = Unicode().tag(sync=True)
    rows = Instance(Chosen).tag(sync=True, **ipywidgets.widget_serialization)
    _size, _frame = (4.8, 3.6), (0.14, 0.14, 0.84, 0.82)  # inches; shares of the static picture

    def __init__(
        self,
        source: Chosen | Structures | Source,
        committee: Committee | None = None,
        **traits: Any,
    ) -> None:
        super().__init__(rows=Chosen.among(source, committee), **traits)

    @property
    def columns(self) -> dict[str, Column]:
        """Columns of the structures."""
        return self.rows.structures.columns

    def draw(self, axes: Axes) -> None:
        """Draw the part on matplotlib axes."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> Any:
        live: Any = super()._repr_mimebundle_(**options)  # data and, unlike ipywidgets, metadata
        drawn = draw_or_explain(lambda f: self.draw(f.add_axes(self._frame)), self._size)
        return bundle(live and live[0], drawn[0])


class StructureMap(_Part):
    """A map whose points are structures: click, shift-click, lasso, tooltips; it grows live.

    Args:
        source: structures, what :class:`Structures` takes, or a choice to share with other parts.
        committee: for uncertainties and errors, if the source has none.
        x, y, colour, size: names of columns, which may be changed; those that are not there are
            replaced by usual ones.
    """

    x, y, colour, size = (Unicode().tag(sync=True) for _ in range(4))

    def __init__(
        self,
        source: Chosen | Structures | Source,
        committee: Committee | None = None,
        *,
        x: str = "",
        y: str = "",
        colour: str = "",
        size: str = _EQUAL,
    ) -> None:
        super().__init__(source, committee, part="map", x=x, y=y, colour=colour, size=size)
        self._usual: dict[str, str] = {}  # axis -> the column that nobody chose
        self._settle()
        self.rows.structures.watch(self._settle)

    def draw(self, axes: Axes) -> None:
        """Draw the map, with rings around the chosen structures."""
        if not (columns := self.columns):
            return
        x, y, colour = (columns[name] for name in (self.x, self.y, self.colour))
        places, sizes = np.column_stack([x.values, y.values]), np.full(len(x.values), 14.0)
        if self.size != _EQUAL:
            low, high = _middle(columns[self.size].values)
            share = np.nan_to_num((columns[self.size].values - low) / (high - low or 1.0))
            sizes = 6.0 + 60.0 * np.clip(share, 0.0, 1.0)
        look: dict[str, Any] = {"edgecolors": "white", "linewidths": 0.3}
        if colour.is_number:
            low, high = _middle(colour.values)
            look |= {"vmin": low, "vmax": high, "plotnonfinite": True}
            cloud = axes.scatter(x.values, y.values, s=sizes, c=colour.values, **look)
            title = _title(self.colour, colour)
            axes.figure.colorbar(cloud, ax=axes, extend="both", label=title, pad=0.02, aspect=25)
        else:
            for k, text in enumerate(dict.fromkeys(colour.values)):
                mine = colour.values == text
                look |= {"s": sizes[mine], "color": CYCLE[k % len(CYCLE)]}
                axes.scatter(*places[mine].T, label=escape_dollars(text or "none"), **look)
            axes.legend(fontsize=7)
        active = [] if self.rows.active is None else [self.rows.active]
        for chosen, size, ink in ((self.rows.selected, 7, "#e8590c"), (active, 12, "#d6006c")):
            axes.plot(*places[chosen].T, "o", ms=size, mfc="none", mec=ink, mew=1.5)
        axes.set(xlabel=_title(self.x, x), ylabel=_title(self.y, y))
        axes.grid(alpha=0.25)

    def _settle(self) -> None:
        """Choose usual columns where nobody chose, or what was chosen is not there."""
        for axis, usual in _USUAL.items():
            now = getattr(self, axis)
            if now not in self.columns or now == self._usual.get(axis):
                there = (name for name in usual if name in self.columns)
                self._usual[axis] = next(there, _EQUAL if axis == "size" else "")
                setattr(self, axis, self._usual[axis])


class StructureTable(_Part):
    """A table of structures: sorts by any column, shows thousands, saves the chosen as extxyz.

    A click chooses one structure, with shift all up to it, with Ctrl one more.

    Args:
        source: structures, what :class:`Structures` takes, or a choice to share with other parts.
        committee: for uncertainties and errors, if the source has none.
    """

    sort, descending = Unicode("row").tag(sync=True), Bool(False).tag(sync=True)
    _size, _frame = (7.2, 3.2), (0.02, 0.02, 0.96, 0.96)

    def __init__(
        self, source: Chosen | Structures | Source, committee: Committee | None = None
    ) -> None:
        super().__init__(source, committee, part="table")

    def draw(self, axes: Axes) -> None:
        """Draw the chosen rows and then the others, as many as fit."""
        axes.axis("off")
        columns, rows = dict(list(self.columns.items())[:9]), self.rows.selected
        rows = list(dict.fromkeys([*rows, *range(len(self.rows.structures))]))[:12]
        if rows:
            titles = [_title(name, column) for name, column in columns.items()]
            cells = [
                [escape_dollars(column.text(row)) for column in columns.values()] for row in rows
            ]
            table = axes.table(cells, colLabels=titles, loc="upper left", edges="B")
            table.auto_set_font_size(False)
            table.set_fontsize(7.5)
            table.auto_set_column_width(list(range(len(titles))))


def _title(name: str, column: Column) -> str:
    return escape_dollars(f"{name} ({column.unit})" if column.unit else name)


def _middle(values: NDArray) -> tuple[float, float]:
    """Return the percentiles 2 and 98, so that a few strange structures leave colours to others."""
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (2, 98)) if len(finite) else (0.0, 1.0)
    return float(low), float(high)
