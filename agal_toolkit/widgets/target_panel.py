"""Promise against delivery: a slider for the error that a structure shall have, attacks that go
there, and what the truth then found.

An attack runs in a thread of its own and tells each of its steps; another thread asks the committee
about the latest of them and colours the atoms, so that looking does not hold up the attack. A third
asks the truth about structures that have arrived, and points appear as it answers.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import ipywidgets
import numpy as np
import torch
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import plots
from ..attack import Attack, TargetError
from ..committee import Committee
from ..dataset import Dataset
from ..events import Event, Step
from ..geometry import Geometry, Labels, as_geometry
from ..plots.molecules import heat
from .attack_player import Truth
from .molecule import Molecule
from .picture import Coalesced, Picture, bundle, draw_or_explain, error_html

_VIEW, _CURVES = (3.1, 3.3), (5.4, 3.3)  # inches
_MEV = 1000.0  # in one eV
_COLOURS = (
    '<div style="font-size:12px;color:#555;line-height:1.2;text-align:center">yellow to red:'
    " uncertainty, up to twice the target</div>"
)


@dataclass(eq=False)
class Delivery:
    """A structure that was sent to a target.

    Attributes:
        target: eV/angstrom.
        seed: which structure it began as.
        geometry: where the attack arrived.
        predicted: average over atoms of the calibrated uncertainty there, eV/angstrom.
        reached: within the attack's tolerances.
        found: average over atoms of the root mean square error of the members, eV/angstrom; None
            before the truth has answered, or where it failed.
        trouble: why it failed.
    """

    target: float
    seed: int
    geometry: Geometry
    predicted: float
    reached: bool
    found: float | None = None
    trouble: str = ""


class _Stopped(Exception):
    """A person pressed Stop."""


class TargetPanel(ipywidgets.VBox):
    """Sends structures to a chosen error, live (Cezar 2025, Fig. 1), and holds every promise
    against what the truth found.

    Args:
        committee: calibrated.
        seeds: structures to begin with, one after the other.
        truth: their labels.
        attack: whose objective is a :class:`~agal_toolkit.attack.TargetError`; the slider sets its
            target.
        heldout: the error of the members on structures as they are, eV/angstrom: what a target is a
            multiple of.
        deliveries: earlier ones, to go on from.

    Attributes:
        deliveries: all so far.

    Raises:
        ValueError: no seeds, a committee that is not calibrated, another objective.
    """

    def __init__(
        self,
        committee: Committee,
        seeds: Sequence[Geometry | Atoms],
        truth: Truth,
        attack: Attack,
        heldout: float,
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        aim = attack.objective
        if not isinstance(aim, TargetError) or aim.quantity != "forces" or aim.raw or attack.cell:
            raise ValueError(
                "a target panel shows calibrated errors of forces in a cell that stays: give an"
                f" attack without cell=True for a TargetError of forces, not {aim!r}"
            )
        if not len(seeds) or committee.calibration is None or not heldout > 0:
            raise ValueError(
                f"a target panel needs seeds ({len(seeds)} given), a calibrated committee"
                f" ({committee.calibration}) and a positive held-out error ({heldout})"
            )
        self.committee, self.seeds, self.attack, self.heldout = (
            committee,
            tuple(as_geometry(seed) for seed in seeds),
            attack,
            heldout,
        )
        self.deliveries: list[Delivery] = list(deliveries)
        self._truth, self._lock, self._stop = truth, threading.RLock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._course: dict[int, float] = {}  # step -> average uncertainty, of the present attack
        self._latest: tuple[dict[int, float], int, Geometry] | None = (
            None  # course, step, and where the atoms are
        )
        self._busy = False
        self._aimed = 1.5 * heldout
        self._molecule = Molecule(_VIEW)
        self._molecule.layout.flex = "0 0 auto"
        self._build()
        self._curves = Picture(self._draw, _CURVES)
        self._follow, self._ask = Coalesced(self._look, 0.05), Coalesced(self._asked)
        super().__init__(
            [
                self._asking,
                ipywidgets.HBox(
                    [ipywidgets.VBox([self._molecule, ipywidgets.HTML(_COLOURS)]), self._curves]
                ),
                self._told,
                self._trouble,
            ]
        )
        self.layout.max_width = "100%"
        self._slider.observe(lambda _: self._aim(), "value")
        self._go.on_click(lambda _: self.start())
        self._halt.on_click(lambda _: self.stop())
        self._aim()
        self._show(self.seeds[self._next], None)
        self._tell()
        self._ask.request()

    # -- what a person does

    @property
    def target(self) -> float:
        """eV/angstrom; set it to move the slider."""
        return self._slider.value / _MEV

    @target.setter
    def target(self, value: float) -> None:
        """Moves the slider."""
        self._slider.value = value * _MEV

    @property
    def running(self) -> bool:
        """An attack is on its way."""
        return self._busy

    def start(self) -> TargetPanel:
        """Sends the next structure to the slider's target; does nothing while one is on its way."""
        with self._lock:
            if not self.running:
                self._busy = True
                self._stop.clear()
                self._go.disabled, self._halt.disabled = True, False
                self._aimed, self._course = self.target, {}
                self._thread = threading.Thread(
                    target=self._work,
                    args=(self._next, self._course),
                    daemon=True,
                    name="agal target",
                )
                self._thread.start()
        return self

    def stop(self) -> TargetPanel:
        """Ends the attack at its next step; nothing of it is kept."""
        with self._lock:
            self._stop.set()
        return self

    def settle(self, timeout: float = 300.0) -> TargetPanel:
        """Waits until the attack has ended, the truth has answered and everything is drawn."""
        if self._thread is not None:
            self._thread.join(timeout)
        for waiting in (self._follow, self._ask, self._curves):
            waiting.settle(timeout)
        return self

    # -- what happens

    @property
    def _next(self) -> int:
        return (self.deliveries[-1].seed + 1) % len(self.seeds) if self.deliveries else 0

    def _work(self, index: int, course: dict[int, float]) -> None:
        """The attack, in its thread; its steps go to its own course."""
        aim = replace(self.attack.objective, target=self._aimed)
        seed = self.seeds[index]

        def report(event: Event) -> None:
            if self._stop.is_set():
                raise _Stopped
            if isinstance(event, Step):
                self._latest = (course, event.step, seed.moved(event.positions))
                self._follow.request()

        try:
            rng = np.random.default_rng([2025, index, round(_MEV * self._aimed)])
            (adversary,) = replace(self.attack, objective=aim)(
                self.committee, Dataset(), [seed], rng, report
            )
            predicted = float(self._sigma(adversary.geometry).mean())
            with self._lock:
                if self._stop.is_set():
                    raise _Stopped
                self.deliveries.append(
                    Delivery(self._aimed, index, adversary.geometry, predicted, adversary.reached)
                )
            self._latest = (course, adversary.kept, adversary.geometry)
            self._trouble.value = ""
            self._ask.request()
        except _Stopped:
            pass
        except Exception as error:
            self._trouble.value = error_html(f"{type(error).__name__}: {error}")
        self._follow.request()
        with self._lock:
            self._busy = False
            self._go.disabled, self._halt.disabled = False, True

    def _sigma(self, geometry: Geometry) -> np.ndarray:
        """(n,) calibrated uncertainty of the force on each atom, eV/angstrom."""
        with torch.no_grad():
            return (
                self.committee.calibration.atomic_variance(self.committee.predict([geometry]))
                .sqrt()
                .numpy()
            )

    def _look(self) -> None:
        """Shows the latest step."""
        if self._latest is None:
            return
        course, step, geometry = self._latest
        sigma = self._sigma(geometry)
        course[step] = float(sigma.mean())
        if course is not self._course:  # of an attack that is over
            return
        self._show(geometry, sigma)
        self._curves.redraw()
        self._tell()

    def _asked(self) -> None:
        """Asks the truth about every structure that it does not know yet."""
        for delivery in self.deliveries:
            if delivery.found is None and not delivery.trouble:
                try:
                    labels = self._truth(delivery.geometry)
                    if labels is None or labels.forces is None:
                        raise ValueError("the truth has no forces for this structure")
                    delivery.found = self._error(delivery.geometry, labels)
                except Exception as error:
                    delivery.trouble = f"{type(error).__name__}: {error}"
                self._curves.redraw()
                self._tell()

    def _error(self, geometry: Geometry, labels: Labels) -> float:
        """Average over atoms of the root mean square error of the members."""
        errors = self.committee.predict([geometry]).forces.numpy() - labels.forces
        return float(np.sqrt(np.square(errors).sum(-1).mean(0)).mean())

    def _aim(self) -> None:
        """The slider moved."""
        loss = replace(self.attack.objective, target=self.target)(self.committee, Dataset())
        warning = (
            f' &nbsp;·&nbsp; <span style="color:#922b21">{loss.warning}</span>'
            if loss.warning
            else ""
        )
        self._multiple.value = (
            f"{self.target / self.heldout:.2f} times the error of structures as they are{warning}"
        )

    # -- what is shown

    def _show(self, geometry: Geometry, sigma: np.ndarray | None) -> None:
        self._molecule.show(
            geometry, colours=None if sigma is None else heat(sigma, 2 * self._aimed)
        )

    def _tell(self) -> None:
        with self._lock:  # two threads tell, and the later word must stay
            rows = []
            for delivery in self.deliveries[-4:][::-1]:
                found = (
                    f"<b>found {_MEV * delivery.found:.0f}</b> meV/Å"
                    if delivery.found is not None
                    else escape(delivery.trouble) or "asking the truth …"
                )
                reached = "" if delivery.reached else ", not reached"
                rows.append(
                    f"structure {delivery.seed + 1}: target {_MEV * delivery.target:.0f}, predicted"
                    f" {_MEV * delivery.predicted:.0f}{reached}, {found}"
                )
            self._told.value = f'<div style="line-height:1.45">{"<br>".join(rows)}</div>'

    def _draw(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.115, right=0.985, top=0.96, bottom=0.15, wspace=0.4)
        self._draw_course(left)
        if self.deliveries:
            told = [
                np.array([np.nan if value is None else value for value in column]) * _MEV
                for column in zip(
                    *((d.target, d.found, d.predicted) for d in self.deliveries), strict=True
                )
            ]
            plots.promises(right, told[0], told[1], told[2], "meV/Å", name="found")
            right.set_aspect("auto")
        else:
            right.axis("off")
            right.text(
                0.5,
                0.5,
                "promise and delivery\nappear here",
                ha="center",
                va="center",
                color="0.5",
                fontsize=10,
                transform=right.transAxes,
            )

    def _draw_course(self, axes: Axes) -> None:
        steps, sigma = np.array(list(self._course.items()) or [(0, np.nan)]).T
        order = np.argsort(steps)
        axes.plot(
            steps[order], _MEV * sigma[order], color=plots.UNCERTAIN, marker="o", ms=3, lw=1.5
        )
        axes.axhline(_MEV * self._aimed, color="k", ls="--", lw=1, label="target")
        axes.axhline(_MEV * self.heldout, color="0.5", ls=":", lw=1.2, label="as structures are")
        high = 1.35 * _MEV * np.nanmax([self._aimed, self.heldout, *sigma])
        axes.set(
            xlim=(0, max(5, steps.max() + 1)),
            ylim=(0, high),
            xlabel="attack step",
            ylabel="mean uncertainty (meV/Å)",
        )
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(alpha=0.25)
        plots.framed_legend(axes, place="upper right")

    def _summary(self, figure: Figure) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=[_VIEW[0], _CURVES[0]])
        self._molecule.draw(left.add_axes((0.0, 0.0, 1.0, 0.9)))
        left.text(
            0.5,
            0.98,
            f"target {_MEV * self._aimed:.0f} meV/Å\nyellow to red: uncertainty, up to twice that",
            ha="center",
            va="top",
            fontsize=9,
        )
        self._draw(right)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        self.settle()
        return bundle(
            super()._repr_mimebundle_(**options),
            draw_or_explain(self._summary, (_VIEW[0] + _CURVES[0], _CURVES[1]))[0],
        )

    # -- its parts

    def _build(self) -> None:
        held = _MEV * self.heldout
        step = 10 ** np.floor(np.log10(held / 30))
        self._slider = ipywidgets.FloatSlider(
            value=1.5 * held,
            min=0.5 * held,
            max=4 * held,
            step=step,
            description="target",
            readout_format=".3g",
            style={"description_width": "45px"},
            layout=ipywidgets.Layout(width="380px"),
            continuous_update=True,
        )
        self._unit, self._multiple = ipywidgets.HTML("meV/Å"), ipywidgets.HTML()
        self._go = ipywidgets.Button(
            description="Attack",
            icon="crosshairs",
            button_style="danger",
            layout=ipywidgets.Layout(width="110px"),
        )
        self._halt = ipywidgets.Button(
            description="Stop", icon="stop", disabled=True, layout=ipywidgets.Layout(width="90px")
        )
        self._asking = ipywidgets.VBox(
            [
                ipywidgets.HBox(
                    [self._slider, self._unit, self._go, self._halt],
                    layout=ipywidgets.Layout(align_items="center"),
                ),
                self._multiple,
            ]
        )
        self._told, self._trouble = ipywidgets.HTML(), ipywidgets.HTML()
