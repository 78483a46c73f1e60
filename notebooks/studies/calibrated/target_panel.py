"""Attacks toward an error that a person chooses, and the error that the truth then finds.

The attack runs in a :class:`~agal_toolkit.widgets.background.Background` and reports its steps. A
helper thread evaluates the committee at the latest step and colours the atoms, so that drawing does
not hold up the attack. Another one asks the truth about finished structures.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Self

import ipywidgets
import numpy as np
import torch
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.attack import Attack, TargetError
from agal_toolkit.committee import Committee
from agal_toolkit.events import Report, Step
from agal_toolkit.geometry import Geometry, as_geometry
from agal_toolkit.plots.molecules import heat
from agal_toolkit.plots.scene import symbols
from agal_toolkit.plots.style import plain
from agal_toolkit.widgets.attack_player import Truth
from agal_toolkit.widgets.background import DONE, LIVE, PAUSED, STOPPING, Background
from agal_toolkit.widgets.controls import button, placeholder, row, side_by_side, slider_layout
from agal_toolkit.widgets.molecule import Molecule
from agal_toolkit.widgets.panel import RunPanel
from agal_toolkit.widgets.picture import FAINT, WARNING, Coalesced, Picture

_VIEW, _CURVES = (3.1, 3.3), (5.4, 3.3)  # inches
_MEV = 1000.0  # in one eV
Trace = dict[int, float]  # steps of an attack -> mean uncertainty
_COLOURS = "yellow to red: uncertainty,\nup to twice the target"
_SMALL = f"font-size:12px;{FAINT};line-height:1.2;text-align:center"


@dataclass(eq=False)
class Delivery:
    """A structure that an attack brought to a target.

    Attributes:
        target: target of the attack, eV/angstrom.
        seed: index of the structure that was attacked.
        geometry: the structure that the attack kept.
        predicted: its calibrated uncertainty, averaged over atoms, eV/angstrom.
        reached: whether the target was reached within the attack's tolerances.
        actual: members' root mean square error, averaged over atoms, eV/angstrom; None if unknown.
        trouble: error of the truth, if any.
    """

    target: float
    seed: int
    geometry: Geometry
    predicted: float
    reached: bool
    actual: float | None = None
    trouble: str = ""


class TargetPanel(RunPanel):
    """Sends structures to a chosen error (Cezar 2025, Fig. 1) and compares it with the truth's.

    Args:
        committee: calibrated committee.
        seeds: structures to attack, one after the other.
        truth: function that returns the labels of a structure.
        attack: attack with a :class:`~agal_toolkit.attack.TargetError`, whose target is the slider.
        heldout: error of the members on unattacked structures, eV/angstrom; unit of the slider.
        deliveries: earlier deliveries to continue from; the attribute holds all so far.
    """

    background: Background[tuple[Delivery, int]]
    _settles = True

    def __init__(
        self,
        committee: Committee,
        seeds: Sequence[Geometry | Atoms],
        truth: Truth,
        attack: Attack,
        heldout: float,
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        goal, calibration, cell = attack.objective, committee.calibration, attack.cell
        if not isinstance(goal, TargetError) or goal.quantity != "forces" or goal.raw or cell:
            need = f"give a TargetError of forces and no cell=True, not {goal!r}"
            shown = "calibrated errors of forces in a cell that stays"
            raise ValueError(f"a target panel shows {shown}: {need}")
        if not len(seeds) or calibration is None or not heldout > 0:
            raise ValueError(
                f"a target panel needs seeds ({len(seeds)} given), a calibrated committee"
                f" ({calibration}) and a positive held-out error ({heldout})"
            )
        self.committee, self.attack, self.heldout = committee, attack, heldout
        self.seeds = tuple(as_geometry(seed) for seed in seeds)
        self.deliveries: list[Delivery] = list(deliveries)
        self.background = Background(self._attack_next)
        self._objective, self._calibration, self._truth = goal, calibration, truth
        self._present_target = 1.5 * heldout  # of the present attack
        self._trace: Trace = {}  # of the present attack
        self._kept: tuple[int, float] | None = None  # step and uncertainty at its end
        self._latest: tuple[Trace, int, Geometry] | None = None  # with step and structure, to show
        self._writing = threading.Lock()  # two threads write the list, and the later must win
        self._molecule = Molecule(size=_VIEW)
        self._curves = Picture(self._draw_curves, _CURVES)
        self._follow, self._ask = Coalesced(self._show_latest, 0.05), Coalesced(self._ask_truth)
        self._list = ipywidgets.HTML()
        legend = ipywidgets.HTML(f'<div style="{_SMALL}">{_COLOURS}</div>')
        view = ipywidgets.VBox([self._molecule, legend])
        children = [self._controls(), side_by_side(view, self._curves), self._list]
        helpers = [self._follow, self._ask, self._curves]
        super().__init__(children, (_VIEW[0] + _CURVES[0], _CURVES[1]), helpers)
        self.background.observe(self._on_state, "state")
        self.background.subscribe(self._on_step, kinds=(Step,), failed=self._show_error)
        self._on_slider()
        self._show(self.seeds[self._next], None)
        self._write_list()
        self._ask.request()

    @property
    def target(self) -> float:
        """Target of the slider, eV/angstrom."""
        return self._slider.value / _MEV

    @target.setter
    def target(self, value: float) -> None:
        """Move the slider."""
        self._slider.value = value * _MEV

    @property
    def running(self) -> bool:
        """Whether an attack is in progress."""
        return self.background.alive

    def start(self) -> Self:
        """Send the next structure to the slider's target; no effect during an attack."""
        return self if self.state == STOPPING else super().start()

    def step(self) -> Self:
        """Send one structure, as :meth:`start` does."""
        return self.start()

    def settle(self, timeout: float = 300.0) -> Self:
        """Wait until the attack has ended, the truth has answered and everything is drawn."""
        with suppress(Exception):  # the panel shows it
            self.background.wait(timeout)
        return super().settle(timeout)

    # -- the attack

    @property
    def _next(self) -> int:
        return (self.deliveries[-1].seed + 1) % len(self.seeds) if self.deliveries else 0

    def _attack_next(self, report: Report) -> Iterator[tuple[Delivery, int]]:
        """Attack the next structure, in the worker; yield the delivery and its step."""
        index, target = self._next, self._present_target
        attack = replace(self.attack, objective=replace(self._objective, target=target))
        rng = np.random.default_rng([2025, index, round(_MEV * target)])
        (adversary,) = attack(self.committee, None, [self.seeds[index]], rng, report)
        geometry, reached = adversary.geometry, adversary.reached
        predicted = float(self._sigma(geometry).mean())
        yield Delivery(target, index, geometry, predicted, reached), adversary.kept

    def _on_step(self, step: Step) -> None:
        geometry = self.seeds[self._next].moved(step.positions)
        self._latest = (self._trace, step.step, geometry)
        self._follow.request()

    def _on_state(self, change: Any) -> None:
        """Begin or end an attack; it runs under the run's lock, so it must not wait for another."""
        old, new = change["old"], change["new"]
        if old not in LIVE:
            self._present_target, self._trace, self._kept = self.target, {}, None
        if new == DONE and old != STOPPING:
            delivery, step = self.background.records[-1]
            self.deliveries.append(delivery)
            self._latest = (self._trace, step, delivery.geometry)
            self._kept = step, delivery.predicted
            self._clear_error()
            self._ask.request()
        if self.background.error is not None:
            self._show_error(self.background.error)
        if new not in LIVE:
            self._follow.request()
        self._go.disabled, self._halt.disabled = new in LIVE and new != PAUSED, new not in LIVE

    def _sigma(self, geometry: Geometry) -> NDArray:
        """Return (n,) calibrated uncertainty of the force on each atom, eV/angstrom."""
        with torch.no_grad():
            prediction = self.committee.predict([geometry])
            return self._calibration.atomic_variance(prediction).sqrt().numpy()

    def _ask_truth(self) -> None:
        """Ask the truth about every delivery that it has not answered yet."""
        for delivery in self.deliveries:
            if delivery.actual is None and not delivery.trouble:
                try:
                    delivery.actual = self._error(delivery.geometry)
                except Exception as error:
                    delivery.trouble = f"{type(error).__name__}: {error}"
                self._curves.redraw()
                self._write_list()

    def _error(self, geometry: Geometry) -> float:
        """Return the root mean square error of the members, averaged over atoms."""
        labels = self._truth(geometry)
        if labels is None or labels.forces is None:
            raise ValueError("the truth has no forces for this structure")
        errors = self.committee.predict([geometry]).forces.numpy() - labels.forces
        return float(np.sqrt(np.square(errors).sum(-1).mean(0)).mean())

    # -- drawing

    def _show_latest(self) -> None:
        if self._latest is None:
            return
        trace, step, geometry = self._latest
        sigma = self._sigma(geometry)
        trace[step] = float(sigma.mean())
        if trace is not self._trace:  # of an earlier attack
            return
        self._show(geometry, sigma)
        self._curves.redraw()
        self._write_list()

    def _show(self, geometry: Geometry, sigma: NDArray | None) -> None:
        colours = None if sigma is None else heat(sigma, 2 * self._present_target)
        names = None if sigma is None else symbols(geometry)
        self._molecule.show(geometry, colours=colours, labels=names)

    def _write_list(self) -> None:
        with self._writing:
            rows = [_described(delivery) for delivery in self.deliveries[-4:][::-1]]
            self._list.value = f'<div style="line-height:1.45">{"<br>".join(rows)}</div>'

    def _draw_curves(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.14, right=0.985, top=0.82, bottom=0.15, wspace=0.42)
        self._draw_trace(left)
        if self.deliveries:
            rows = [(d.target, d.actual, d.predicted) for d in self.deliveries]
            target, actual, predicted = _MEV * np.array(rows, dtype=float).T  # None becomes NaN
            promises(right, target, actual, predicted, "meV/Å")
            right.set_aspect("auto")
        else:
            right.axis("off")
            placeholder(right, "promise and delivery\nappear here", "0.5", 10)

    def _draw_trace(self, axes: Axes) -> None:
        steps, sigma = np.array(sorted(self._trace.items()) or [(0, np.nan)]).T
        axes.plot(steps, _MEV * sigma, color=plots.UNCERTAIN, marker="o", ms=3, lw=1.5)
        if self._kept is not None:
            step, value = self._kept
            star = {"color": plots.ADVERSARIAL, "ms": 8, "mec": "white", "zorder": 5}
            axes.plot(step, _MEV * value, "o", **star, label=f"kept, step {step}")
        axes.axhline(_MEV * self._present_target, color="k", ls="--", lw=1, label="target")
        axes.axhline(
            _MEV * self.heldout, color="0.5", ls=":", lw=1.2, label="unattacked structures"
        )
        high = 1.1 * _MEV * np.nanmax([self._present_target, self.heldout, *sigma])
        axes.set(xlim=(-0.2, max(5, steps.max() + 1)), ylim=(0, high))
        axes.set(xlabel="attack step", ylabel="mean uncertainty (meV/Å)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(alpha=0.25)
        style = {"frameon": False, "fontsize": 8, "ncols": 2, "columnspacing": 1.0}
        axes.legend(loc="lower left", bbox_to_anchor=(-0.28, 1.0), borderaxespad=0.2, **style)

    def _draw_static(self, figure: Figure) -> None:
        widths = [_VIEW[0], _CURVES[0]]
        [[left, right]] = figure.subfigures(1, 2, width_ratios=widths, squeeze=False)
        self._molecule.draw(left.add_axes((0.0, 0.0, 1.0, 0.9)))
        text = f"target {_MEV * self._present_target:.0f} meV/Å\n{_COLOURS}"
        left.text(0.5, 0.98, text, ha="center", va="top", fontsize=9)
        self._draw_curves(right)

    # -- controls

    def _controls(self) -> ipywidgets.VBox:
        heldout = _MEV * self.heldout
        limits = {"min": 0.5 * heldout, "max": 4 * heldout, "value": 1.5 * heldout}
        limits["step"] = 10 ** np.floor(np.log10(heldout / 30))
        look = {"style": {"description_width": "45px"}, "layout": slider_layout(380)}
        look |= {"description": "target", "readout_format": ".0f"}
        self._slider = ipywidgets.FloatSlider(**limits, **look)
        self._slider.observe(lambda _: self._on_slider(), "value")
        self._multiple = ipywidgets.HTML()
        self._go = button("Attack", "crosshairs", self.start, width=110, style="danger")
        self._halt = button("Stop", "stop", self.stop, width=90)
        self._halt.disabled = True
        line = row(self._slider, ipywidgets.HTML("meV/Å"), self._go, self._halt)
        return ipywidgets.VBox([line, self._multiple])

    def _on_slider(self) -> None:
        loss = replace(self._objective, target=self.target)(self.committee)
        times = f"{self.target / self.heldout:.2f} times the error of unattacked structures"
        warning = f'<span style="{WARNING}">{_in_mev(loss.warning)}</span>' if loss.warning else ""
        self._multiple.value = " &nbsp;·&nbsp; ".join(filter(None, (times, warning)))


def promises(
    axes: Axes,
    targets: NDArray,
    errors: NDArray,
    predicted: NDArray | None = None,
    unit: str = "eV/Å",
) -> None:
    """Draw the true errors at the ends of attacks against the attacks' targets, and y = x.

    Each structure is a point; targets with more than two structures have medians and quartiles
    (Cezar 2025, Figs. 2c and 3a).

    Args:
        targets: (n,) target errors.
        errors: (n,) true errors; NaN where a label is missing.
        predicted: (n,) uncertainties at the ends of the attacks.
        unit: unit of all.
    """
    high = np.nanmax([targets.max(), *errors, *([] if predicted is None else predicted)]) * 1.1
    axes.plot([0, high], [0, high], color="k", ls="--", lw=1, label="as promised")
    expected, delivered = plots.looks(["uncertainty", "attack found"]).values()
    x = targets + np.random.default_rng(0).uniform(-0.012, 0.012, len(targets)) * high
    if predicted is not None:
        dash = {"marker": "_", "ls": "", "color": expected.colour, "ms": 7}
        axes.plot(x, predicted, **dash, label="uncertainty")
    axes.plot(x, errors, **{**delivered.style, "ls": ""}, ms=5, alpha=0.6, label="found")
    diamond = {"color": "k", "marker": "D", "ms": 5, "mfc": "white", "capsize": 3, "lw": 1.2}
    for target in np.unique(targets):
        values = errors[(targets == target) & np.isfinite(errors)]
        if len(values) > 2:
            low, middle, top = np.percentile(values, [25, 50, 75])
            lengths = [[middle - low], [top - middle]]
            axes.errorbar(target, middle, lengths, **diamond, zorder=5)
    axes.set(xlim=(0, high), ylim=(0, high), aspect="equal")
    axes.set(xlabel=f"target ({unit})", ylabel=f"error ({unit})")
    plots.framed_legend(axes, place="upper left")


def _in_mev(warning: str) -> str:
    """Return a warning of the calibration, which is in eV/angstrom, in the panel's unit."""
    scaled = re.sub(r"\d+\.?\d*(?:e[+-]\d+)?", lambda m: plain(_MEV * float(m[0])), warning)
    return escape(scaled.replace("eV/Å", "meV/Å"))


def _described(delivery: Delivery) -> str:
    """Return one line of the list, in HTML."""
    answer = escape(delivery.trouble) or "asking the truth …"
    if delivery.actual is not None:
        answer = f"<b>found {_MEV * delivery.actual:.0f}</b> meV/Å"
    target = f"structure {delivery.seed + 1}: target {_MEV * delivery.target:.0f}"
    reached = "" if delivery.reached else ", not reached"
    return f"{target}, predicted {_MEV * delivery.predicted:.0f}{reached}, {answer}"
