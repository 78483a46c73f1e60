"""A map of structures whose points are the structures: a click on one shows it.

The map is a matplotlib figure that can be clicked where ipympl is installed (the extra ``map``); a
slider chooses points everywhere. There is one 3D view, and structures are turned onto the one
before, so that what changes is what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from ..analysis.rmsd import AlignedRmsd
from ..geometry import Geometry
from ..plots.scene import formula
from ..plots.style import CYCLE
from .clickable import MISSING, clickable
from .molecule import Molecule
from .picture import DPI, DRAWING, Coalesced, bundle, draw_or_explain, error_html, escape_dollars

_MAP, _VIEW = (4.6, 4.5), (3.4, 2.9)  # inches
_ONTO = AlignedRmsd(permutations=False)


class Atlas(ipywidgets.VBox):
    """A map beside the one view of the structure that was chosen on it, with its energies and where
    it comes from.

    Args:
        points: (n, 2) where the structures are on the map,
            :class:`~agal_toolkit.analysis.descriptors.Umap`'s for example.
        geometries: the n structures.
        groups: (n,) names of the sets they belong to, for the colours and the legend.
        energies: name -> (n,) energies in `unit`, NaN where one is not known; a row of the table
            each.
        colours: group -> colour; None and groups that are missing take the next of a cycle.
        axes: what the map's axes are called.
        unit: of the energies.

    Raises:
        ValueError: numbers of points, structures, groups or energies that differ.
    """

    def __init__(
        self,
        points: ArrayLike,
        geometries: Sequence[Geometry],
        groups: Sequence[str],
        energies: Mapping[str, ArrayLike],
        colours: Mapping[str, str] | None = None,
        axes: tuple[str, str] = ("UMAP 1", "UMAP 2"),
        unit: str = "kcal/mol",
    ) -> None:
        self.points, self.geometries, self.groups = (
            np.asarray(points, dtype=float),
            tuple(geometries),
            tuple(map(str, groups)),
        )
        self.energies = {name: np.asarray(values, dtype=float) for name, values in energies.items()}
        self._check()
        self._names, self._unit = axes, unit
        self._colours = _coloured(dict.fromkeys(self.groups), colours or {})
        self._ring: list[Artist] = []
        self._molecule = Molecule(_VIEW)
        self._figure = Figure(figsize=_MAP, dpi=DPI, facecolor="white")
        self._draw_map(self._figure)
        self._build()
        self._map = clickable(self._figure, self.click)
        self._turn = Coalesced(self._shown)
        self._hint.value = (
            "click on a point to see it"
            if self._map.clickable
            else f"{MISSING}: choose with the slider"
        )
        self.layout.max_width = "100%"
        beside = ipywidgets.VBox(
            [self._molecule, self._table], layout=ipywidgets.Layout(margin="0 0 0 6px")
        )
        super().__init__(
            [
                ipywidgets.HBox([self._slider, self._hint]),
                ipywidgets.HBox([self._map, beside]),
                self._trouble,
            ]
        )
        self._slider.observe(lambda _: self._turn.request(), "value")
        self._shown()

    @property
    def chosen(self) -> int:
        """Index of the structure that is shown; set it to show another."""
        return self._slider.value

    @chosen.setter
    def chosen(self, index: int) -> None:
        """Shows another structure."""
        self._slider.value = index

    def click(self, x: float, y: float) -> None:
        """Shows the structure nearest to a place on the map."""
        self.chosen = int(np.argmin(np.square(self.points - [x, y]).sum(1)))

    def settle(self) -> Atlas:
        """Waits until the chosen structure is shown."""
        self._turn.settle()
        return self

    # -- what happens

    def _shown(self) -> None:
        """Shows the chosen structure everywhere."""
        index = self.chosen
        try:
            self._table.value = self._rows(index)
            self._molecule.show(self._turned(self.geometries[index]))
            self._mark(self._figure.axes[0], index)
            self._map.refresh()
            self._trouble.value = ""
        except Exception as error:
            self._trouble.value = error_html(f"{type(error).__name__}: {error}")

    def _turned(self, geometry: Geometry) -> Geometry:
        """Superposed on the structure before, where they are molecules of the same atoms in the
        same order.
        """
        before = self._molecule.geometry
        if (
            before is None
            or before.pbc.any()
            or geometry.pbc.any()
            or len(geometry) < 2
            or not np.array_equal(before.numbers, geometry.numbers)
        ):
            return geometry
        return _ONTO.superpose(before, geometry)

    # -- drawing

    def _draw_map(self, figure: Figure) -> None:
        rows = -(-len(self._colours) // 3)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.13, right=0.98, top=0.975 - 0.052 * rows, bottom=0.115)
        for group, colour in self._colours.items():
            mine = [k for k, name in enumerate(self.groups) if name == group]
            axes.plot(
                *self.points[mine].T,
                "o",
                ms=4.5,
                color=colour,
                mec="white",
                mew=0.4,
                alpha=0.85,
                label=escape_dollars(group),
            )
        axes.set(xlabel=self._names[0], ylabel=self._names[1])
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.06)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=min(len(self._colours), 3),
            frameon=False,
            fontsize=8,
            columnspacing=1.0,
            handletextpad=0.2,
        )

    def _mark(self, axes: Axes, index: int) -> None:
        """Rings the chosen point."""
        with DRAWING:
            for artist in self._ring:
                artist.remove()
            self._ring = [
                *axes.plot(
                    *self.points[index], "o", ms=13, mfc="none", mec="white", mew=3.5, zorder=8
                ),
                *axes.plot(
                    *self.points[index], "o", ms=13, mfc="none", mec="black", mew=1.5, zorder=9
                ),
            ]

    def _lines(self, index: int) -> dict[str, str]:
        """What is known of a structure, by name."""
        geometry = self.geometries[index]
        energies = {
            name: f"{values[index]:.2f} {self._unit}" if np.isfinite(values[index]) else "not known"
            for name, values in self.energies.items()
        }
        origin = {
            f"from: {key}": f"{value:.4g}" if isinstance(value, float) else str(value)
            for key, value in geometry.origin.items()
        }
        return {
            "structure": f"{index}, {formula(geometry)}",
            "group": self.groups[index],
            **energies,
            **origin,
        }

    def _rows(self, index: int) -> str:
        cells = "".join(
            f'<tr><td style="padding:0 10px 0 0;color:#777">{escape(name)}</td><td'
            f' style="padding:0">{escape(value)}</td></tr>'
            for name, value in self._lines(index).items()
        )
        return f'<table style="line-height:1.35;font-size:13px">{cells}</table>'

    def _summary(self, figure: Figure) -> None:
        """The map, the structure and its table."""
        left, right = figure.subfigures(1, 2, width_ratios=[_MAP[0], _VIEW[0]])
        self._draw_map(left)
        axes = left.axes[0]
        axes.plot(*self.points[self.chosen], "o", ms=13, mfc="none", mec="black", mew=1.5, zorder=9)
        share = _VIEW[1] / _MAP[1]
        self._molecule.draw(right.add_axes((0.0, 1.0 - share, 1.0, share)))
        lines = self._lines(self.chosen)
        for number, (name, value) in enumerate(lines.items()):
            high = 1.0 - share - 0.02 - min(0.041, (0.97 - share) / len(lines)) * number
            right.text(0.06, high, escape_dollars(name), fontsize=8.5, color="0.45", va="top")
            right.text(0.42, high, escape_dollars(value), fontsize=8.5, va="top")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self.settle()
        return bundle(
            super()._repr_mimebundle_(**options),
            draw_or_explain(self._summary, (_MAP[0] + _VIEW[0], _MAP[1]))[0],
        )

    # -- its parts

    def _check(self) -> None:
        n = len(self.geometries)
        sizes = {
            "points": self.points.shape,
            "groups": (len(self.groups),),
            **{f"energies of {name}": values.shape for name, values in self.energies.items()},
        }
        wrong = {
            name: shape
            for name, shape in sizes.items()
            if shape != ((n, 2) if name == "points" else (n,))
        }
        if wrong or not n or not np.isfinite(self.points).all():
            raise ValueError(
                f"{n} structures with {wrong or 'points that are not all finite'}: give each"
                " structure a point (x, y), a group and an energy of every kind"
            )

    def _build(self) -> None:
        last = len(self.geometries) - 1
        self._slider = ipywidgets.IntSlider(
            min=0,
            max=max(last, 1),
            description="structure",
            disabled=last == 0,
            layout=ipywidgets.Layout(width="400px"),
        )
        self._hint, self._table, self._trouble = (
            ipywidgets.Label(),
            ipywidgets.HTML(),
            ipywidgets.HTML(),
        )


def _coloured(groups: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """A colour for each group; beyond the cycle they are taken from a scale."""
    missing = [group for group in groups if group not in given]
    shades: Sequence[Any] = (
        CYCLE
        if len(missing) <= len(CYCLE)
        else colormaps["turbo"](np.linspace(0.05, 0.95, len(missing)))
    )
    found = {**given, **dict(zip(missing, shades, strict=False))}
    return {group: found[group] for group in groups}
