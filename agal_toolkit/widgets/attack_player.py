"""Attacks on molecules, played: the structure distorts beside what the committee says of it.

A committee is asked once about all steps of an attack, when it is first looked at; a step of the
slider then costs a mark and a message to the one 3D view. A reference is asked in a thread of its
own about the structure that was kept, and appears when it has answered.
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

from .. import plots
from ..analysis.attack_trace import AttackTrace
from ..attack import Adversary
from ..committee import Committee
from ..geometry import Geometry, Labels
from ..loop.generation import KEPT, Generation, Proposal
from ..plots.molecules import heat
from ..plots.scene import formula
from .molecule import Molecule
from .picture import Coalesced, MarkedPicture, MoveMark, bundle, draw_or_explain, error_html

UNITS = {"eV": 1.0, "kcal/mol": units.mol / units.kcal}  # of these in one eV
ELEMENTS, SIGMA = "elements", "uncertainty"
_VIEW, _CURVES = (3.5, 3.55), (4.6, 4.1)  # inches

Truth = Callable[[Geometry], Labels | None]


class AttackPlayer(ipywidgets.VBox):
    """Plays attacks step by step: the molecule with its start as a ghost, energy, uncertainty and
    loss along the path.

    Args:
        committee: what it says of the steps, whoever was attacked.
        adversaries: to choose from.
        truth: the reference's labels of a structure, asked about the kept ones in the background;
            None where it has none.
        zero: energy that counts as zero, eV: that of the ground state.
        unit: of energies, "eV" or "kcal/mol"; forces have it per angstrom.

    Raises:
        ValueError: no adversaries, or another unit.
    """

    def __init__(
        self,
        committee: Committee,
        adversaries: Sequence[Adversary],
        truth: Truth | None = None,
        zero: float = 0.0,
        unit: str = "eV",
    ) -> None:
        if not len(adversaries):
            raise ValueError("there is no attack to play: give at least one adversary")
        if unit not in UNITS:
            raise ValueError(f"unit is {unit!r}, expected one of {list(UNITS)}")
        self.committee, self.adversaries = committee, tuple(adversaries)
        self._truth, self._zero, self._unit, self._scale = truth, zero, unit, UNITS[unit]
        self._courses: dict[int, AttackTrace] = {}
        self._lock = threading.RLock()  # for what is shown: nobody sees half of another attack
        self._shown: AttackTrace | None = None  # None where the committee could not be asked
        self._index, self._at, self._painted = (
            0,
            0,
            False,
        )  # the attack, its step, and whether atoms have the colours of their uncertainty
        self._error: Exception | None = None
        self._answers: dict[int, float | Exception | None] = {}  # of the reference: eV, or why not
        self._molecule = Molecule(_VIEW)
        self._build()
        self._curves = MarkedPicture(self._draw_curves, _CURVES)
        self._follow, self._ask = Coalesced(self._step), Coalesced(self._asked)
        beside = ipywidgets.VBox([self._molecule, self._painting, self._scale_bar])
        super().__init__(
            [
                self._choosing,
                ipywidgets.HBox([beside, self._curves]),
                self._walking,
                self._told,
                self._trouble,
            ]
        )
        self.layout.max_width = "100%"
        self._which.observe(lambda _: self._choose(), "value")
        self._walk.observe(lambda _: self._follow.request(), "value")
        self._painting.observe(lambda _: self._follow.request(), "value")
        self._choose()

    @classmethod
    def of(
        cls, proposal: Proposal, truth: Truth | None = None, zero: float = 0.0, unit: str = "eV"
    ) -> AttackPlayer:
        """Of a loop's proposal or generation: the adversaries that its selectors kept, or all where
        they kept none.

        The labels of a generation are the truth where none is given.
        """
        distinct = (
            [
                a
                for a, verdict in zip(proposal.adversaries, proposal.verdicts, strict=True)
                if verdict == KEPT
            ]
            if proposal.adversaries
            else []
        )
        if truth is None and isinstance(proposal, Generation):
            known = {
                geometry.digest(): labels
                for geometry, labels in zip(
                    proposal.labelled.geometries, proposal.labelled.labels, strict=True
                )
            }
            truth = lambda geometry: known.get(geometry.digest())
            return cls(
                proposal.committee, distinct or proposal.adversaries, truth, zero, unit
            ).settle()  # it answers at once
        return cls(proposal.committee, distinct or proposal.adversaries, truth, zero, unit)

    # -- what is shown

    @property
    def chosen(self) -> int:
        """Index of the adversary that is shown; set it to choose another."""
        return self._which.value

    @chosen.setter
    def chosen(self, index: int) -> None:
        """Shows another adversary, from its kept step."""
        self._which.value = index

    @property
    def step(self) -> int:
        """Of the attack, as shown; set it to go there."""
        return self._walk.value

    @step.setter
    def step(self, step: int) -> None:
        """Goes to a step."""
        self._walk.value = step

    @property
    def course(self) -> AttackTrace:
        """What the committee says along the chosen attack, computed once."""
        return self._course(self.chosen)

    def settle(self, timeout: float = 60.0) -> AttackPlayer:
        """Waits until everything asked for is drawn, and the reference has answered."""
        self._ask.settle(timeout)
        self._follow.settle(timeout)
        return self

    def energies(self, course: AttackTrace) -> Any:
        """(members, steps) relative to zero, in the player's unit."""
        return (course.energies - self._zero) * self._scale

    # -- what happens

    def _course(self, index: int) -> AttackTrace:
        with self._lock:
            if index not in self._courses:
                self._courses[index] = AttackTrace.of(self.committee, self.adversaries[index])
            return self._courses[index]

    def _choose(self) -> None:
        """Another adversary: to its kept step."""
        with self._lock:
            index = self._index = self.chosen
            try:
                self._shown = self._course(index)
                self._molecule.frames(self._shown.geometries, ghost=self._shown.geometries[0])
            except Exception as error:
                self._shown = None
                self._molecule.clear()
                self._scale_bar.value = ""
                self._failed(error)
            last, kept = (1, 0) if self._shown is None else (len(self._shown) - 1, self._shown.kept)
            self._walk.max = self._play.max = last
            self._walk.value, self._walk.disabled = kept, self._shown is None
            self._at = kept
            self._curves.redraw(kept)
            self._step()
        if self._truth is not None and index not in self._answers:
            self._ask.request()

    def _step(self) -> None:
        """Shows the step of the slider."""
        with self._lock:
            course = self._shown
            if course is None:
                return
            try:
                step, painted = (
                    min(self.step, len(course) - 1),
                    self._painting.value == SIGMA,
                )  # another thread may have moved the slider of a longer attack
                self._molecule.seek(
                    step, heat(course.atomic[step], course.atomic.max()) if painted else None
                )
                self._scale_bar.value = (
                    _gradient(course.atomic.max() * self._scale, f"{self._unit}/Å")
                    if painted
                    else ""
                )
                self._curves.move(step)
                self._told.value = self._readout(course, step)
                self._at, self._painted = step, painted
                self._error, self._trouble.value = None, ""
            except Exception as error:
                self._failed(error)

    def _asked(self) -> None:
        """Asks the reference about the kept structure."""
        index = self.chosen
        try:
            labels = self._truth(self.adversaries[index].geometry)
            self._answers[index] = None if labels is None else labels.energy
        except Exception as error:
            self._answers[index] = error
        with self._lock:
            if index == self._index:
                self._curves.redraw(self._at)
                self._step()
        if self.chosen not in self._answers:
            self._ask.request()

    def _failed(self, error: Exception) -> None:
        self._error, self._told.value = error, ""
        self._trouble.value = error_html(f"{type(error).__name__}: {error}")

    def _answer(self) -> float | Exception | None:
        """The reference's energy of the kept structure in the player's unit, or why there is none."""
        answer = self._answers.get(self._index)
        return (answer - self._zero) * self._scale if isinstance(answer, float) else answer

    def _readout(self, course: AttackTrace, step: int) -> str:
        energies = self.energies(course)[:, step]
        where = f"<b>step {step}</b> of {len(course) - 1}" + (
            ", <b>kept</b>" if step == course.kept else ""
        )
        parts = [
            where,
            f"energy {energies.mean():.3g} ± {energies.std(ddof=1):.2g} {self._unit}",
            f"σ<sub>F</sub> {course.sigma[step] * self._scale:.3g} {self._unit}/Å",
            f"loss {course.gain[step]:.3g}",
        ]
        answer = self._answer()
        if isinstance(answer, float):
            parts.append(f"reference {answer:.3g} {self._unit} at step {course.kept}")
        elif answer is not None:
            parts.append(f'<span style="color:#922b21">no reference: {escape(str(answer))}</span>')
        elif self._truth is not None and self._index not in self._answers:
            parts.append("asking the reference …")
        return f'<div style="line-height:1.4">{" &nbsp;·&nbsp; ".join(parts)}</div>'

    # -- drawing

    def _draw_curves(self, figure: Figure) -> MoveMark:
        course = self._shown
        if course is None:
            return lambda _: ()
        energy, sigma, loss = figure.subplots(3, 1, sharex=True, height_ratios=[1.5, 1.0, 1.0])
        figure.subplots_adjust(left=0.165, right=0.975, top=0.93, bottom=0.115, hspace=0.12)
        steps = np.arange(len(course))
        energies = self.energies(course)
        energy.plot(steps, energies.T, color="0.65", lw=0.8)
        energy.plot([], [], color="0.65", lw=0.8, label="members")
        values = [
            (energy, energies.mean(0), "0.1"),
            (sigma, course.sigma * self._scale, plots.UNCERTAIN),
            (loss, course.gain, plots.ADVERSARIAL),
        ]
        for axes, curve, colour in values:
            axes.plot(steps, curve, color=colour, lw=1.6, label="mean" if axes is energy else None)
            axes.axvline(
                course.kept,
                color="0.35",
                lw=0.9,
                ls="--",
                label=f"kept, step {course.kept}" if axes is energy else None,
            )
            axes.grid(alpha=0.25)
            axes.tick_params(labelsize=8)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        answer = self._answer()
        if isinstance(answer, float):
            energy.plot(
                course.kept,
                answer,
                "*",
                ms=14,
                color="#1e8449",
                mec="white",
                mew=0.6,
                label="reference",
                zorder=6,
            )
        energy.set_ylabel(f"energy ({self._unit})", fontsize=9)
        sigma.set_ylabel(rf"$\sigma_F$ ({self._unit}/Å)", fontsize=9)
        loss.set_ylabel(r"$\mathcal{L}_\mathrm{adv}$", fontsize=9)
        loss.set_xlabel("attack step", fontsize=9)
        loss.set_xlim(-0.01 * max(len(steps) - 1, 1), 1.01 * max(len(steps) - 1, 1))
        loss.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
        figure.legend(
            *energy.get_legend_handles_labels(),
            loc="upper center",
            bbox_to_anchor=(0.57, 1.005),
            ncols=4,
            frameon=False,
            fontsize=7.5,
            columnspacing=1.2,
        )
        figure.align_ylabels()
        return _mark(values)

    def _summary(self, figure: Figure) -> None:
        """The molecule and the curves, without controls."""
        if self._error is not None:
            raise self._error
        course = self._shown
        left, right = figure.subfigures(1, 2, width_ratios=[_VIEW[0], _CURVES[0]])
        self._molecule.draw(left.add_axes((0.0, 0.04, 1.0, 0.86)))
        colours = (
            f"\nred: force uncertain by up to {course.atomic.max() * self._scale:.2g}"
            f" {self._unit}/Å"
            if self._painted
            else ""
        )
        title = (
            f"{formula(course.geometries[0])}, step {self._at} of {len(course) - 1}; pale: the"
            f" start{colours}"
        )
        left.text(0.5, 0.985, title, ha="center", va="top", fontsize=9)
        mark = self._draw_curves(right)
        for artist in mark(self._at):
            artist.set_animated(False)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self._follow.settle()
        with self._lock:  # before the lock of all drawings, as everywhere here
            picture = draw_or_explain(self._summary, (_VIEW[0] + _CURVES[0], _CURVES[1]))[0]
        return bundle(super()._repr_mimebundle_(**options), picture)

    # -- its parts

    def _build(self) -> None:
        names = [
            f"{number + 1}: seed {a.seed}, kept step {a.kept} of {len(a.losses) - 1}"
            for number, a in enumerate(self.adversaries)
        ]
        named = {"style": {"description_width": "52px"}, "layout": ipywidgets.Layout(width="330px")}
        self._which = ipywidgets.Dropdown(
            options=[(name, k) for k, name in enumerate(names)], description="attack", **named
        )
        self._choosing = ipywidgets.HBox(
            [self._which], layout=ipywidgets.Layout(display=None if len(names) > 1 else "none")
        )
        self._painting = ipywidgets.ToggleButtons(
            options=[ELEMENTS, SIGMA],
            style={"button_width": "110px"},
            tooltips=["colours of the elements", "of the force on each atom"],
        )
        self._scale_bar = ipywidgets.HTML(layout=ipywidgets.Layout(height="30px"))
        self._play = ipywidgets.Play(min=0, max=1, interval=150)
        self._walk = ipywidgets.IntSlider(
            min=0,
            max=1,
            description="step",
            style={"description_width": "40px"},
            layout=ipywidgets.Layout(width="560px"),
        )
        ipywidgets.jslink((self._play, "value"), (self._walk, "value"))
        self._walking = ipywidgets.HBox(
            [self._play, self._walk], layout=ipywidgets.Layout(align_items="center")
        )
        self._told, self._trouble = ipywidgets.HTML(), ipywidgets.HTML()


def _mark(values: Sequence[tuple[Axes, Any, str]]) -> MoveMark:
    """A dotted line and a dot on each curve, and what moves them."""
    dots = [
        axes.plot(
            [0], curve[:1], "o", ms=6, color=colour, mec="white", mew=0.9, zorder=7, animated=True
        )[0]
        for axes, curve, colour in values
    ]
    lines = [axes.axvline(0, color="0.2", lw=0.9, ls=":", animated=True) for axes, _, _ in values]

    def move(step: int) -> list[Artist]:
        for dot, line, (_, curve, _) in zip(dots, lines, values, strict=True):
            dot.set_data([step], [curve[step]])
            line.set_xdata([step, step])
        return [*lines, *dots]

    return move


def _gradient(top: float, unit: str) -> str:
    """A bar of colours from zero to `top`."""
    colours = ", ".join(to_hex(colour) for colour in heat(np.linspace(0, 1, 7), 1.0))
    bar = (
        '<div style="width:120px;height:11px;border:1px solid'
        f' #888;background:linear-gradient(90deg, {colours})"></div>'
    )
    return (
        "<div"
        ' style="display:flex;gap:6px;align-items:center;line-height:1.2;font-size:12px;margin-top:6px">0'
        f" {bar} {top:.2g} {unit}, for each atom</div>"
    )
