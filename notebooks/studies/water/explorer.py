"""A panel that walks through a stored loop: every label in 3D beside the curves of the loop.

The atoms of a label take the colour of the uncertainty that a committee has of them, or of its
error. So one sees what the first committee did not know, and what the last one has learned.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets
import numpy as np
from ase import units
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agal_toolkit.analysis.estimates import Estimate
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.plots import heat
from agal_toolkit.widgets.controls import placeholder, row, side_by_side, slider_layout
from agal_toolkit.widgets.molecule import Molecule
from agal_toolkit.widgets.panel import Panel
from agal_toolkit.widgets.picture import Coalesced, MarkedPicture, MoveMark

from ..calibrated.records import predict
from .band_figures import property_curves
from .figures import LABELS, PAPER, looks_of, near_truth
from .truth import folded

ELEMENTS, SIGMA, ERROR = "elements", "uncertainty", "error"
_MEV = 1000.0  # in an eV
_VIEW, _CURVES = (3.3, 3.3), (5.2, 4.4)  # inches


@dataclass(frozen=True)
class Curve:
    """A number of each iteration, for :class:`LoopExplorer`.

    Attributes:
        name: with its unit, for the axis.
        labels: (K,) labels at which it is known.
        values: (K,) numbers; empty where nothing is computed yet.
        truth: a line.
        low: where the axis begins; None fits it to the numbers.
    """

    name: str
    labels: Sequence[int]
    values: Sequence[float]
    truth: Estimate | None = None
    low: float | None = None


def density(box: Geometry) -> float:
    """Return the density of a box, g/cm3."""
    mass = float(box.to_ase().get_masses().sum())
    return mass / abs(np.linalg.det(box.cell)) * 1e24 / units.kg * 1e3


class LoopExplorer(Panel):
    """Labels of a loop, as committees see them, beside what the loop reached.

    Args:
        labels: in the order in which they were made; generation 0 is the start, k of iteration k.
        committees: name -> calibrated committee.
        asked: labels that the committee of each iteration, from 1, had learned from.
        curves: at most four, drawn beside the structure.
        target: of the attacks, eV/angstrom; twice as much has the darkest colour.
    """

    _settles = True

    def __init__(
        self,
        labels: Dataset,
        committees: Mapping[str, Committee],
        asked: Sequence[int],
        curves: Sequence[Curve],
        target: float,
    ) -> None:
        self.labels, self.committees = labels, dict(committees)
        self._asked, self._curves, self._most = tuple(asked), tuple(curves), 2 * target
        self._seen: dict[tuple[str, int], tuple[NDArray, NDArray]] = {}
        self._lock = threading.Lock()
        self._molecule = self._view()
        self._picture = MarkedPicture(self._draw_curves, _CURVES)
        self._follow = Coalesced(self._show, 0.05)
        look: dict[str, Any] = {"style": {"description_width": "60px"}}
        look["layout"] = slider_layout(330)
        last = int(labels.generations.max())
        self._iteration = ipywidgets.IntSlider(
            min(3, last), min=0, max=last, description="iteration", **look
        )
        self._structure = ipywidgets.IntSlider(1, min=1, max=1, description="label", **look)
        style = {"button_width": "104px"}
        self._colour = ipywidgets.ToggleButtons(options=[SIGMA, ERROR, ELEMENTS], style=style)
        self._committee = ipywidgets.ToggleButtons(options=list(committees), style=style)
        self._numbers = ipywidgets.HTML()
        text = f"atoms: pale yellow 0, dark red {_MEV * self._most:.0f} meV/Å and more"
        text += "<br>black line: the committee that asked for the label"
        legend = ipywidgets.HTML(f'<div style="font-size:12px;line-height:1.3">{text}</div>')
        view = ipywidgets.VBox([self._molecule, self._colour, legend])
        children = [
            *self._first_controls(),
            row(self._iteration, self._structure),
            row(ipywidgets.Label("committee of"), self._committee),
            side_by_side(view, self._picture),
            self._numbers,
        ]
        size = (_VIEW[0] + _CURVES[0], _CURVES[1])
        super().__init__(children, size, [self._follow])
        self._iteration.observe(lambda _: self._fit(), "value")
        for control in (self._structure, self._colour, self._committee):
            control.observe(lambda _: self._follow.request(), "value")
        self._fit()

    @property
    def index(self) -> int:
        """Index of the label in view."""
        return int(np.flatnonzero(self._in_view())[self._at])

    @property
    def _at(self) -> int:
        return min(self._structure.value, self._structure.max) - 1

    def look(self, iteration: int, structure: int = 1, committee: str | None = None) -> None:
        """Move the controls: a label of an iteration, from 1, as a committee sees it."""
        self._iteration.value, self._structure.value = iteration, structure
        if committee is not None:
            self._committee.value = committee

    def seen(self, committee: str, index: int) -> tuple[NDArray, NDArray]:
        """Return (n,) uncertainty and error of the force on each atom of a label, eV/angstrom.

        The error is the root mean square over members (Cezar 2025, Eq. 1).
        """
        with self._lock:
            if (committee, index) not in self._seen:
                judge, geometry = self.committees[committee], self.labels[index]
                assert judge.calibration is not None
                prediction = predict(judge, [geometry])
                sigma = judge.calibration.atomic_variance(prediction).sqrt().numpy()
                wrong = prediction.forces.numpy() - self.labels.forces[index]
                error = np.sqrt(np.square(wrong).sum(-1).mean(0))
                self._seen[committee, index] = sigma, error
            return self._seen[committee, index]

    # -- what other loops have in another way

    def _view(self) -> Molecule:
        """Return the view of a label."""
        return Molecule(size=_VIEW)

    def _whole(self, geometry: Geometry) -> Geometry:
        """Return a label as it is shown."""
        return folded(geometry)

    def _first_controls(self) -> list[ipywidgets.Widget]:
        """Return controls above those of the iteration."""
        return []

    def _in_view(self) -> NDArray:
        """Return (n,) whether each label may be chosen with the second slider."""
        return self.labels.generations == self._iteration.value

    # -- drawing

    def _fit(self) -> None:
        """Let the second slider span the labels of an iteration."""
        self._structure.max = int(self._in_view().sum())
        self._follow.request()

    def _show(self) -> None:
        try:
            index, colouring = self.index, self._colour.value
            geometry, colours = self._whole(self.labels[index]), None
            if colouring != ELEMENTS:
                sigma, error = self.seen(str(self._committee.value), index)
                colours = heat(sigma if colouring == SIGMA else error, self._most)
            self._molecule.show(geometry, colours=colours)
            self._picture.move(self._iteration.value)
            self._numbers.value = f'<div style="line-height:1.45">{self._described(index)}</div>'
            self._clear_error()
        except Exception as error:
            self._show_error(error)

    def _described(self, index: int, break_: str = "<br>") -> str:
        count, box = self._structure.max, self.labels[index]
        where = f"iteration {self._iteration.value}" if self._iteration.value else "the start"
        parts = [f"label {self._at + 1} of {count} of {where}: {density(box):.3f} g/cm³"]
        for name in self.committees:
            sigma, error = (_MEV * values.mean() for values in self.seen(name, index))
            parts.append(f"committee of {name}: uncertainty {sigma:.0f}, error {error:.0f} meV/Å")
        return break_.join(parts)

    def _draw_curves(self, figure: Figure) -> MoveMark:
        panels, lines = figure.subplots(2, 2).flat, []
        spaces = {"left": 0.125, "right": 0.985, "top": 0.9, "bottom": 0.11}
        figure.subplots_adjust(**spaces, wspace=0.42, hspace=0.62)
        for axes, curve in zip(panels, self._curves, strict=False):
            if not len(curve.values):
                axes.axis("off")
                truth = "" if curve.truth is None else f"\nthe truth: {curve.truth}"
                text = f"{curve.name}:\nnot all members are simulated yet{truth}"
                placeholder(axes, text.replace("+-", "±"), "0.35")
                continue
            runs = {"attacks": (curve.labels, [curve.values])}
            shown = looks_of(["attacks"])
            axes.set_xlim(LABELS)
            property_curves(axes, runs, curve.truth, curve.name, marks=PAPER, shown=shown)
            axes.get_legend().remove()
            axes.child_axes[-1].tick_params(labelsize=7)  # the marks
            if curve.low is not None:
                axes.set_ylim(curve.low, 1.08 * max(curve.values))
            elif curve.truth is not None:
                near_truth(axes, float(curve.truth.value))
            axes.yaxis.label.set_fontsize(9)
            axes.xaxis.label.set_fontsize(9)
            axes.tick_params(which="both", labelsize=8)
            lines.append(axes.axvline(self._asked[0], color="k", lw=1.2, animated=True))

        def move(iteration: int) -> list[Any]:
            for line in lines:
                line.set_xdata([self._asked[max(iteration, 1) - 1]] * 2)
            return lines

        return move

    def _draw_static(self, figure: Figure) -> None:
        widths = [_VIEW[0], _CURVES[0]]
        [[left, right]] = figure.subfigures(1, 2, width_ratios=widths, squeeze=False)
        self._molecule.draw(left.add_axes((0.0, 0.0, 1.0, 0.77)))
        lines = [
            self._described(self.index, "\n"),
            f"colours: {self._colour.value}, committee of {self._committee.value}",
            f"dark red: {_MEV * self._most:.0f} meV/Å and more",
        ]
        text = "\n".join(lines)
        left.text(0.03, 0.98, text, ha="left", va="top", fontsize=8)
        for line in self._draw_curves(right)(self._iteration.value):
            line.set_animated(False)
