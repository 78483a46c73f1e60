"""A map of structures on which a click shows the structure.

The map is a matplotlib figure that takes clicks where ipympl is installed (the extra ``map``); a
slider chooses points everywhere. The one 3D view superposes each structure on the previous one, so
that only differences move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from agal_toolkit.geometry import Geometry
from agal_toolkit.plots.scene import formula
from agal_toolkit.plots.style import CYCLE
from agal_toolkit.widgets.controls import row, side_by_side, slider_layout
from agal_toolkit.widgets.molecule import Molecule
from agal_toolkit.widgets.panel import Panel, value_of
from agal_toolkit.widgets.picture import CARD, DPI, DRAWING, FAINT, Coalesced, escape_dollars

from .clickable import MISSING, clickable

_MAP, _VIEW = (4.6, 4.5), (3.4, 2.9)  # inches
_RING = {"marker": "o", "ms": 13, "mfc": "none", "zorder": 9}


class Atlas(Panel):
    """A map beside the chosen structure with its energies and its origin.

    Args:
        points: (n, 2) places on the map, for example from
            :class:`~agal_toolkit.analysis.descriptors.Umap`.
        geometries: the n structures.
        groups: (n,) names of the sets they belong to, for colours and legend.
        energies: name -> (n,) energies in `unit`, NaN where not known; each is a row of the table.
            Give them above a common zero: total energies hide their differences.
        colours: group -> colour; missing groups take the next colour of a cycle.
        axes: names of the map's axes, for example ``("UMAP 1", "UMAP 2")``.
        unit: unit of `energies`.
    """

    _settles = True
    chosen = value_of("_slider", "Index of the structure in view; set it to show another.")

    def __init__(
        self,
        points: ArrayLike,
        geometries: Sequence[Geometry],
        groups: Sequence[str],
        energies: Mapping[str, ArrayLike],
        colours: Mapping[str, str] | None = None,
        axes: tuple[str, str] = ("x", "y"),
        unit: str = "eV",
    ) -> None:
        self.points, self.geometries = np.asarray(points, dtype=float), tuple(geometries)
        self.groups = tuple(map(str, groups))
        self.energies = {name: np.asarray(values, dtype=float) for name, values in energies.items()}
        self._check()
        self._axes_names, self._unit = axes, unit
        self._colours = _group_colours(dict.fromkeys(self.groups), colours or {})
        self._rings: list[Artist] = []
        self._molecule, self._table = Molecule(size=_VIEW), ipywidgets.HTML()
        self._figure = Figure(figsize=_MAP, dpi=DPI, facecolor=CARD)
        self._draw_map(self._figure)
        self._map = clickable(self._figure, self.click)
        last, look = len(geometries) - 1, {"description": "structure", "layout": slider_layout(400)}
        self._slider = ipywidgets.IntSlider(min=0, max=max(last, 1), disabled=last == 0, **look)
        self._hint = ipywidgets.Label(f"{MISSING}: choose with the slider")
        if self._map.clickable:
            self._hint.value = "click on a point to see it"
        beside = ipywidgets.VBox([self._molecule, self._table], layout={"margin": "0 0 0 6px"})
        choosing, viewing = row(self._slider, self._hint), side_by_side(self._map, beside)
        self._showing = Coalesced(self._show_chosen)
        size = (_MAP[0] + _VIEW[0], _MAP[1])
        super().__init__([choosing, viewing], size, [self._showing])
        self._slider.observe(lambda _: self._showing.request(), "value")
        self._show_chosen()

    def click(self, x: float, y: float) -> None:
        """Show the structure nearest to a place on the map."""
        self.chosen = int(np.argmin(np.square(self.points - [x, y]).sum(1)))

    def _show_chosen(self) -> None:
        index = self.chosen
        try:
            self._table.value = _table(self._facts(index))
            self._molecule.show(self._molecule.superposed(self.geometries[index]))
            with DRAWING:
                for ring in self._rings:
                    ring.remove()
                white, black = {"mec": "white", "mew": 3.5}, {"mec": "black", "mew": 1.5}
                plot, point = self._figure.axes[0].plot, self.points[index]
                self._rings = [*plot(*point, **_RING, **white), *plot(*point, **_RING, **black)]
            self._map.refresh()
            self._clear_error()
        except Exception as error:
            self._show_error(error)

    def _facts(self, index: int) -> dict[str, str]:
        geometry = self.geometries[index]
        facts = {"structure": f"{index}, {formula(geometry)}", "group": self.groups[index]}
        for name, values in self.energies.items():
            energy = f"{values[index]:.2f} {self._unit}"
            facts[name] = energy if np.isfinite(values[index]) else "not known"
        for key, value in geometry.origin.items():
            facts[f"from: {key}"] = f"{value:.4g}" if isinstance(value, float) else str(value)
        return facts

    def _draw_map(self, figure: Figure) -> None:
        legend_rows = -(-len(self._colours) // 3)
        axes, top = figure.subplots(), 0.975 - 0.052 * legend_rows
        figure.subplots_adjust(left=0.13, right=0.98, top=top, bottom=0.115)
        dots = {"ms": 4.5, "mec": "white", "mew": 0.4, "alpha": 0.85}
        for group, colour in self._colours.items():
            points = self.points[[name == group for name in self.groups]]
            axes.plot(*points.T, "o", color=colour, label=escape_dollars(group), **dots)
        axes.set(xlabel=self._axes_names[0], ylabel=self._axes_names[1])
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.06)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        columns = min(len(self._colours), 3)
        style = {"frameon": False, "fontsize": 8, "columnspacing": 1.0, "handletextpad": 0.2}
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, **style)

    def _draw_static(self, figure: Figure) -> None:
        ratios = [_MAP[0], _VIEW[0]]
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=ratios)[0]
        self._draw_map(left)
        left.axes[0].plot(*self.points[self.chosen], **_RING, mec="black", mew=1.5)
        share = _VIEW[1] / _MAP[1]
        self._molecule.draw(right.add_axes((0.0, 1.0 - share, 1.0, share)))
        facts = self._facts(self.chosen)
        spacing = min(0.041, (0.97 - share) / len(facts))
        for number, (name, value) in enumerate(facts.items()):
            y = 1.0 - share - 0.02 - spacing * number
            right.text(0.06, y, escape_dollars(name), fontsize=8.5, color="0.45", va="top")
            right.text(0.42, y, escape_dollars(value), fontsize=8.5, va="top")

    def _check(self) -> None:
        n = len(self.geometries)
        shapes = {f"energies of {name}": values.shape for name, values in self.energies.items()}
        shapes["groups"] = (len(self.groups),)
        wrong = {name: shape for name, shape in shapes.items() if shape != (n,)}
        if self.points.shape != (n, 2):
            wrong["points"] = self.points.shape
        if wrong or not n or not np.isfinite(self.points).all():
            need = "give each structure a point (x, y), a group and an energy of every kind"
            raise ValueError(f"{n} structures with {wrong or 'points that are not finite'}: {need}")


def _table(facts: Mapping[str, str]) -> str:
    line = '<tr><td style="padding:0 10px 0 0;{}">{}</td><td style="padding:0">{}</td></tr>'
    rows = "".join(line.format(FAINT, escape(name), escape(value)) for name, value in facts.items())
    return f'<table style="line-height:1.35;font-size:13px">{rows}</table>'


def _group_colours(groups: Iterable[str], given: Mapping[str, str]) -> dict[str, Any]:
    """Return a colour for each group: the given one, or one of a cycle or, for many, of a scale."""
    missing = [group for group in groups if group not in given]
    shades: Sequence[Any] = CYCLE
    if len(missing) > len(CYCLE):
        shades = list(colormaps["turbo"](np.linspace(0.05, 0.95, len(missing))))
    colours = {**given, **dict(zip(missing, shades, strict=False))}
    return {group: colours[group] for group in groups}
