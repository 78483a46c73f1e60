"""Attacks on molecules, step by step: the distorting structure beside the committee's predictions.

The committee evaluates an attack once, when it is first chosen; a step of the slider then costs a
mark and a message to the 3D view. The reference labels the kept structure in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from ase import units
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from .. import plots
from ..analysis.attack_trace import AttackTrace
from ..attack import Adversary
from ..committee import Committee
from ..geometry import Geometry, Labels
from ..loop.generation import Proposal
from ..plots.molecules import heat
from ..plots.scene import formula, symbols
from ..plots.style import plain, plain_numbers
from .controls import row, side_by_side, slider_layout
from .energies import formula_key, lowest_energies
from .molecule import Molecule
from .panel import Panel, value_of
from .picture import WARNING, Coalesced, MarkedPicture, MoveMark

UNITS = {"eV": 1.0, "kcal/mol": units.mol / units.kcal}  # of each in one eV
ELEMENTS, SIGMA = "elements", "uncertainty"
_VIEW, _CURVES = (3.5, 3.55), (4.6, 4.1)  # inches

Truth = Callable[[Geometry], Labels | None]


class AttackPlayer(Panel):
    """A molecule with its start as a ghost beside energy, uncertainty and loss along its attack.

    Args:
        committee: predicts the steps; it may be another one than the attacked.
        adversaries: attacks to choose from.
        truth: returns the reference's labels of a kept structure, in the background, or None.
        zero: energy that is shown as zero, eV, for example of the ground state; None takes the
            committee's mean at the start of each attack.
        unit: of energies, "eV" or "kcal/mol"; forces are shown in it per angstrom.
    """

    chosen = value_of("_choice", "Index of the adversary in view; set it to choose another.")
    step = value_of("_slider", "Step of the attack in view; set it to go there.")

    def __init__(
        self,
        committee: Committee,
        adversaries: Sequence[Adversary],
        truth: Truth | None = None,
        zero: float | None = None,
        unit: str = "eV",
    ) -> None:
        if not len(adversaries):
            raise ValueError("there is no attack to play: give at least one adversary")
        if unit not in UNITS:
            raise ValueError(f"unit is {unit!r}, expected one of {list(UNITS)}")
        self.committee, self.adversaries = committee, tuple(adversaries)
        self._truth, self._unit, self._scale = truth, unit, UNITS[unit]
        self._zero, self._zero_name = zero, "zero" if zero is not None else "the start"
        self._lowest: dict[tuple[int, ...], float] = {}  # known energy of each formula, eV
        self._traces: dict[int, AttackTrace] = {}
        self._answers: dict[int, float | Exception | None] = {}  # the reference's energies, eV
        # What is in view, changed under the lock; no trace where the committee refused the attack.
        self._lock = threading.RLock()
        self._trace: AttackTrace | None = None
        self._index, self._at, self._coloured = 0, 0, False
        self._error: Exception | None = None
        self._molecule = Molecule(size=_VIEW)
        self._curves = MarkedPicture(self._draw_curves, _CURVES)
        self._follow, self._ask = Coalesced(self._show_step), Coalesced(self._ask_reference)
        size = (_VIEW[0] + _CURVES[0], _CURVES[1])
        super().__init__(self._controls(), size, helpers=(self._ask, self._follow))
        self._choice.observe(self._choose, "value")
        self._slider.observe(lambda _: self._follow.request(), "value")
        self._colouring.observe(lambda _: self._follow.request(), "value")
        self._choose()

    @classmethod
    def of(
        cls,
        proposal: Proposal,
        truth: Truth | None = None,
        zero: float | None = None,
        unit: str = "eV",
    ) -> AttackPlayer:
        """Return a player of the adversaries that a loop's selectors kept, or of all if none.

        Without `truth`, a generation's own labels are shown; without `zero`, energies are above the
        lowest of the proposal's data.
        """
        candidates = proposal.chosen or proposal.candidates
        attacked = [c for c in candidates if c.adversary is not None]
        player = cls(proposal.committee, [c.adversary for c in attacked], truth, zero, unit)
        known = lowest_energies(proposal.dataset, proposal.dataset.energies)
        if zero is None and all(formula_key(a.geometry) in known for a in player.adversaries):
            player._lowest, player._zero_name = known, "the lowest of the data"
        if truth is None:
            outcomes = enumerate(candidate.outcome for candidate in attacked)
            player._answers = {i: o.energy for i, o in outcomes if isinstance(o, Labels)}
        player._choose()
        return player

    def add(self, adversary: Adversary) -> None:
        """Append an attack, and choose it."""
        with self._lock:
            self.adversaries = (*self.adversaries, adversary)
            self._choice.unobserve(self._choose, "value")
            self._choice.options = self._options()
            self._choice.layout.display = None
            self.chosen = len(self.adversaries) - 1
            self._choice.observe(self._choose, "value")
        self._choose()

    @property
    def trace(self) -> AttackTrace:
        """The committee's predictions along the chosen attack, computed once."""
        return self._trace_of(self.chosen)

    def energies(self, trace: AttackTrace) -> NDArray:
        """Return the members' energies above zero, (members, steps), in the player's unit."""
        return (trace.energies - self._zero_of(trace)) * self._scale

    def _zero_of(self, trace: AttackTrace) -> float:
        """Return the energy that is shown as zero along an attack, eV."""
        if self._zero is not None:
            return self._zero
        return self._lowest.get(
            formula_key(trace.geometries[0]), float(trace.energies[:, 0].mean())
        )

    # -- events

    def _trace_of(self, index: int) -> AttackTrace:
        with self._lock:
            if index not in self._traces:
                self._traces[index] = AttackTrace.of(self.committee, self.adversaries[index])
            return self._traces[index]

    def _choose(self, _: Any = None) -> None:
        with self._lock:
            index = self._index = self.chosen
            try:
                trace = self._trace = self._trace_of(index)
                self._molecule.frames(trace.geometries, ghost=trace.geometries[0])
                last, self._at = len(trace) - 1, trace.kept
            except Exception as error:
                self._trace, last, self._at, self._scale_bar.value = None, 1, 0, ""
                self._molecule.clear()
                self._fail(error)
            self._slider.max = self._play.max = last
            self._slider.value, self._slider.disabled = self._at, self._trace is None
            self._curves.redraw(self._at)
            self._show_step()
        if self._truth is not None and index not in self._answers:
            self._ask.request()

    def _show_step(self) -> None:
        with self._lock:
            trace = self._trace
            if trace is None:
                return
            try:
                # Another thread may have moved the slider of a longer attack.
                step, coloured = min(self.step, len(trace) - 1), self._colouring.value == SIGMA
                most = trace.atomic.max()
                colours = heat(trace.atomic[step], most) if coloured else None
                names = symbols(trace.geometries[0]) if coloured else None
                self._molecule.seek(step, colours, names)
                unit = f"{self._unit}/Å"
                self._scale_bar.value = _colour_bar(most * self._scale, unit) if coloured else ""
                self._curves.move(step)
                self._numbers.value = self._describe(trace, step)
                self._at, self._coloured, self._error = step, coloured, None
                self._clear_error()
            except Exception as error:
                self._fail(error)

    def _ask_reference(self) -> None:
        index = self.chosen
        assert self._truth is not None
        try:
            labels = self._truth(self.adversaries[index].geometry)
            self._answers[index] = None if labels is None else labels.energy
        except Exception as error:
            self._answers[index] = error
        with self._lock:
            if index == self._index:
                self._curves.redraw(self._at)
                self._show_step()
        if self.chosen not in self._answers:
            self._ask.request()

    def _fail(self, error: Exception) -> None:
        self._error, self._numbers.value = error, ""
        self._show_error(error)

    def _answer(self) -> float | Exception | None:
        """Return the reference's energy in the player's unit, its error, or None."""
        answer = self._answers.get(self._index)
        if not isinstance(answer, float) or self._trace is None:
            return answer
        return (answer - self._zero_of(self._trace)) * self._scale

    def _describe(self, trace: AttackTrace, step: int) -> str:
        energies, unit = self.energies(trace)[:, step], self._unit
        above = "" if self._zero is not None else f" above {self._zero_name}"
        kept = ", <b>kept</b>" if step == trace.kept else ""
        parts = [
            f"<b>step {step}</b> of {len(trace) - 1}{kept}",
            f"energy {plain(energies.mean())} ± {plain(energies.std(ddof=1))} {unit}{above}",
            f"σ<sub>F</sub> {plain(trace.sigma[step] * self._scale)} {unit}/Å",
            f"loss {trace.gain[step]:.3g}",
        ]
        answer = self._answer()
        if isinstance(answer, float):
            parts.append(f"reference {plain(answer)} {unit} at step {trace.kept}")
        elif answer is not None:
            parts.append(f'<span style="{WARNING}">no reference: {escape(str(answer))}</span>')
        elif self._truth is not None and self._index not in self._answers:
            parts.append("asking the reference …")
        return f'<div style="line-height:1.4">{" &nbsp;·&nbsp; ".join(parts)}</div>'

    # -- drawing

    def _draw_curves(self, figure: Figure) -> MoveMark:
        trace, unit = self._trace, self._unit
        if trace is None:
            return lambda _: ()
        energy, sigma, loss = figure.subplots(3, 1, sharex=True, height_ratios=[1.5, 1.0, 1.0])
        figure.subplots_adjust(left=0.165, right=0.975, top=0.93, bottom=0.115, hspace=0.12)
        energies, steps = self.energies(trace), np.arange(len(trace))
        members = energy.plot(steps, energies.T, color="0.65", lw=0.8)
        members[0].set_label("members")
        curves = [
            (energy, energies.mean(0), "0.1", f"energy above\n{self._zero_name} ({unit})"),
            (sigma, trace.sigma * self._scale, plots.UNCERTAIN, rf"$\sigma_F$ ({unit}/Å)"),
            (loss, trace.gain, plots.ADVERSARIAL, r"$\mathcal{L}_\mathrm{adv}$"),
        ]
        for axes, curve, colour, name in curves:
            axes.plot(steps, curve, color=colour, lw=1.6, label="mean")
            kept = f"kept, step {trace.kept}"
            axes.axvline(trace.kept, color="0.35", lw=0.9, ls="--", label=kept)
            axes.set_ylabel(name, fontsize=9)
            axes.grid(alpha=0.25)
            axes.tick_params(labelsize=8)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            plain_numbers(axes.yaxis)
        answer = self._answer()
        if isinstance(answer, float):
            star = {"ms": 14, "color": "#1e8449", "mec": "white", "mew": 0.6, "zorder": 6}
            energy.plot(trace.kept, answer, "*", label="reference", **star)
        loss.set_xlabel("attack step", fontsize=9)
        last = max(len(trace) - 1, 1)
        loss.set_xlim(-0.01 * last, 1.01 * last)
        loss.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
        place = {"loc": "upper center", "bbox_to_anchor": (0.57, 1.005), "ncols": 4}
        style = {"frameon": False, "fontsize": 7.5, "columnspacing": 1.2}
        figure.legend(*energy.get_legend_handles_labels(), **place, **style)
        return _mark([curve[:3] for curve in curves])

    def _draw_static(self, figure: Figure) -> None:
        trace = self._trace
        if self._error is not None:
            raise self._error
        assert trace is not None  # a refused attack has an error
        ratios = [_VIEW[0], _CURVES[0]]
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=ratios)[0]
        self._molecule.draw(left.add_axes((0.0, 0.04, 1.0, 0.86)))
        title = f"{formula(trace.geometries[0])}, step {self._at} of {len(trace) - 1}"
        title += "; pale: the start"
        if self._coloured:
            most = f"{plain(trace.atomic.max() * self._scale)} {self._unit}/Å"
            title += f"\nred: force uncertain by up to {most}"
        left.text(0.5, 0.985, title, ha="center", va="top", fontsize=9)
        for artist in self._draw_curves(right)(self._at):
            artist.set_animated(False)

    def _static_picture(self) -> bytes:
        self._follow.settle()  # not the reference, which may take long
        with self._lock:  # before the lock of all drawings, as everywhere here
            return super()._static_picture()

    def _options(self) -> list[tuple[str, int]]:
        return [
            (f"{k + 1}: seed {a.seed}, kept step {a.kept} of {len(a.losses) - 1}", k)
            for k, a in enumerate(self.adversaries)
        ]

    def _controls(self) -> list[ipywidgets.Widget]:
        options = self._options()
        layout = {
            "width": "360px",
            "max_width": "97%",
            "display": None if len(options) > 1 else "none",
        }
        style = {"description_width": "52px"}
        look: dict[str, Any] = {"description": "attack", "style": style, "layout": layout}
        self._choice: Any = ipywidgets.Dropdown(options=options, **look)
        colours = {"options": [ELEMENTS, SIGMA], "style": {"button_width": "110px"}}
        colours["tooltips"] = ["colours of the elements", "of the force on each atom"]
        self._colouring = ipywidgets.ToggleButtons(**colours)
        self._scale_bar = ipywidgets.HTML(layout={"height": "30px"})
        self._play = ipywidgets.Play(min=0, max=1, interval=150)
        look = {"style": {"description_width": "40px"}, "layout": slider_layout(560)}
        self._slider = ipywidgets.IntSlider(min=0, max=1, description="step", **look)
        ipywidgets.jslink((self._play, "value"), (self._slider, "value"))
        self._numbers = ipywidgets.HTML()
        view = ipywidgets.VBox([self._molecule, self._colouring, self._scale_bar])
        viewing = side_by_side(view, self._curves)
        return [self._choice, viewing, row(self._play, self._slider), self._numbers]


def _mark(curves: Sequence[tuple[Axes, NDArray, Any]]) -> MoveMark:
    """Draw a dotted line and a dot on each curve; return what moves them to a step."""
    dot = {"ms": 6, "mec": "white", "mew": 0.9, "zorder": 7, "animated": True}
    dots = [axes.plot([0], y[:1], "o", color=colour, **dot)[0] for axes, y, colour in curves]
    lines = [axes.axvline(0, color="0.2", lw=0.9, ls=":", animated=True) for axes, _, _ in curves]

    def move(step: int) -> list[Artist]:
        for dot, line, (_, curve, _) in zip(dots, lines, curves, strict=True):
            dot.set_data([step], [curve[step]])
            line.set_xdata([step, step])
        return [*lines, *dots]

    return move


def _colour_bar(top: float, unit: str) -> str:
    colours = ", ".join(to_hex(colour) for colour in heat(np.linspace(0, 1, 7), 1.0))
    look = f"border:1px solid #888;background:linear-gradient(90deg, {colours})"
    text = "display:flex;gap:6px;align-items:center;line-height:1.2;font-size:12px;margin-top:6px"
    bar = f'<div style="width:120px;height:11px;{look}"></div>'
    return f'<div style="{text}">0 {bar} {plain(top)} {unit}, for each atom</div>'
