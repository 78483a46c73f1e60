"""Attack a structure of one's choice: settings by controls, the attack as it runs, then its steps.

The attack runs in a :class:`~agal_toolkit.widgets.background.Background`; a helper thread evaluates
the committee at its latest step and draws. An attack that has ended goes to an
:class:`~agal_toolkit.widgets.attack_player.AttackPlayer`, which takes the place of the live view
until the next one starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import plots
from ..attack import (
    LBFGS,
    Adam,
    Adversary,
    Attack,
    Autograd,
    Ball,
    BoltzmannVariance,
    FiniteDifference,
    HessianVector,
    Objective,
    TargetError,
    Variance,
)
from ..committee import Committee
from ..dataset import Dataset
from ..events import Report, Step
from ..geometry import Geometry, as_geometry
from ..loop.for_atoms import fields_for
from ..plots.molecules import heat
from ..plots.scene import formula, symbols
from ..plots.style import plain
from ..uncertainty.variance import atomic_sigma
from .attack_player import UNITS, AttackPlayer, Truth
from .background import DONE, LIVE, STOPPING, Background
from .controls import button, placeholder, row, side_by_side, slider_layout
from .molecule import Molecule
from .panel import RunPanel, value_of
from .picture import Coalesced, Picture

LIKELY, CHOSEN, DOUBT = "doubt and Boltzmann factor", "chosen error", "doubt alone"
GRADIENTS = {
    "reverse pass": Autograd(),
    "two force calls": HessianVector(),
    "finite differences": FiniteDifference(),
}
_VIEW, _CURVES = (3.5, 3.3), (4.6, 3.3)  # inches


class _Goal(NamedTuple):
    """An objective that the panel offers, and the number that it needs."""

    name: str  # of the number
    unit: str
    value: float
    of: Callable[[float], Objective]


class AttackPanel(RunPanel):
    """Attacks on structures of one's choice, one after the other, with settings of one's choice.

    Objectives are the committee's doubt times the Boltzmann factor (Schwalbe-Koda 2021, Eqs. 3 and
    4), where there are data; a chosen error (Cezar 2025, Eqs. 6 and 8), where the committee is
    calibrated; and the doubt alone, within a radius about the seed.

    Args:
        committee: to attack.
        seeds: structures to choose from.
        data: labelled structures, for the Boltzmann factor and its kT.
        attack: of what no control shows (guard, bound, random start, moving cell); None takes what
            suits the data, see :meth:`~agal_toolkit.Recipe.for_atoms`, and nothing without data.
        truth: returns the reference's labels of a kept structure, in the background.
        unit: of energies along an attack, "eV" or "kcal/mol".

    Attributes:
        adversaries: all attacks that have ended.
        begun: number of attacks that were started, also of their random numbers.
    """

    background: Background[Adversary]
    seed = value_of("_seed", "Index of the structure to attack; set it to choose another.")
    objective = value_of("_objective", "Name of the objective.")
    strength = value_of("_strength", "kT (eV), target (eV/angstrom) or radius (angstrom).")
    steps = value_of("_steps", "Number of steps.")
    gradient = value_of("_gradient", "How the loss is differentiated, a name of `GRADIENTS`.")

    def __init__(
        self,
        committee: Committee,
        seeds: Sequence[Geometry | Atoms],
        data: Dataset | None = None,
        attack: Attack | None = None,
        truth: Truth | None = None,
        unit: str = "eV",
    ) -> None:
        if not len(seeds):
            raise ValueError("there is nothing to attack: give at least one structure")
        if unit not in UNITS:
            raise ValueError(f"unit is {unit!r}, expected one of {list(UNITS)}")
        self.committee, self.data = committee, data
        self.seeds = tuple(as_geometry(seed) for seed in seeds)
        self.adversaries: list[Adversary] = []
        if attack is None and data is not None and len(data):
            attack = fields_for(data, None)["attack"]
        self._base = Attack(Variance(), start=0.01) if attack is None else attack
        self._truth, self._unit = truth, unit
        self._goals = self._offered(attack)
        self._player: AttackPlayer | None = None
        self.begun = 0
        self._present: tuple[int, Attack] = (0, self._base)
        self._latest: Step | None = None
        self._losses: list[tuple[int, float]] = []  # of the present attack
        self._molecule = Molecule(size=_VIEW)
        self._curves = Picture(self._draw_curves, _CURVES)
        self._follow = Coalesced(self._show_latest, 0.05)
        self._numbers = ipywidgets.HTML()
        self._live = ipywidgets.VBox([side_by_side(self._molecule, self._curves), self._numbers])
        self._stage = ipywidgets.VBox([self._live])
        self.background = Background(self._attack_one)
        size = (_VIEW[0] + _CURVES[0], _CURVES[1])
        super().__init__([*self._controls(), self._stage], size, [self._follow, self._curves])
        self.background.observe(self._on_state, "state")
        self.background.subscribe(self._on_step, kinds=(Step,), failed=self._show_error)
        self._on_objective()
        self._show_seed()

    @property
    def attack(self) -> Attack:
        """The attack that the controls describe; its text is Python that makes it.

        Raises:
            ValueError: a number that the objective refuses.
        """
        name, base, steps = self.objective, self._base, int(self.steps)
        goal = self._goals[name].of(self.strength)
        minimizer: Any = base.minimizer
        if name == CHOSEN and not isinstance(minimizer, LBFGS):
            minimizer = LBFGS(steps)
        elif name != CHOSEN and isinstance(minimizer, LBFGS):
            minimizer = Adam(0.01, steps)
        minimizer = replace(minimizer, steps=steps)
        bound = base.bound
        if name == DOUBT:
            bound = Ball(self.strength) if bound is None else replace(bound, radius=self.strength)
        # a random start would only take longer to the target
        start = (
            0.0 if name == CHOSEN and not isinstance(base.objective, TargetError) else base.start
        )
        changed = {"objective": goal, "minimizer": minimizer, "bound": bound, "start": start}
        return replace(base, gradient=self._gradients[self.gradient], **changed)

    def settle(self, timeout: float = 300.0) -> AttackPanel:
        """Wait until the attack has ended and everything is drawn."""
        with suppress(Exception):  # the panel shows it
            self.background.wait(timeout)
        super().settle(timeout)
        if self._player is not None:
            self._player.settle(timeout)
        return self

    # -- the attack

    def _offered(self, given: Attack | None) -> dict[str, _Goal]:
        """Return the objectives that data and calibration allow; that of `given` comes first."""
        goals: dict[str, _Goal] = {}
        own = None if given is None else given.objective
        if self.data is not None and len(self.data):
            likely = own if isinstance(own, BoltzmannVariance) else BoltzmannVariance(1.0)
            goals[LIKELY] = _Goal("kT", "eV", likely.kT, lambda x: replace(likely, kT=x))
        laws, calibration = self.committee.force_laws, self.committee.calibration
        aim = own if isinstance(own, TargetError) else None
        if aim is None and laws is not None:
            law = laws.law("forces")
            high = float(f"{law.at([law.high])[0] * 3**0.5:.2g}")
            aim = TargetError(high or 0.1)
        if aim is not None and (aim.raw or calibration is not None):
            kind, goal = "eV/Å" if aim.quantity == "forces" else "eV per atom", aim
            kind = "times the error" if aim.relative else kind
            goals[CHOSEN] = _Goal("target", kind, aim.target, lambda x: replace(goal, target=x))
        bound = self._base.bound
        radius = 0.3 if bound is None or not np.isfinite(bound.radius) else bound.radius
        goals[DOUBT] = _Goal("radius", "Å", radius, lambda _: Variance())
        if own is None:
            return goals
        kinds = {BoltzmannVariance: LIKELY, TargetError: CHOSEN, Variance: DOUBT}
        first = kinds.get(type(own), type(own).__name__)  # type: ignore[arg-type]
        if type(own) not in kinds:
            goals[first] = _Goal("", "", 0.0, lambda _: own)
        return {first: goals[first], **goals} if first in goals else goals

    def _attack_one(self, report: Report) -> Iterator[Adversary]:
        """Attack the chosen structure, in the worker."""
        index, attack = self._present
        rng = np.random.default_rng([2021, index, self.begun])
        (adversary,) = attack(self.committee, self.data, [self.seeds[index]], rng, report)
        yield replace(adversary, seed=index)

    def start(self) -> AttackPanel:
        """Attack the chosen structure as the controls say; no effect during an attack."""
        if self.state in LIVE:
            return self
        try:
            self._present = int(self.seed), self.attack
        except ValueError as error:
            self._show_error(error)
            return self
        self._clear_error()
        self.begun += 1
        self._latest, self._losses = None, []
        self._stage.children = (self._live,)
        return super().start()

    def step(self) -> AttackPanel:
        """Attack one structure, as :meth:`start` does."""
        return self.start()

    def _on_step(self, step: Step) -> None:
        self._latest = step
        self._losses.append((step.step, float(step.losses[0])))
        self._follow.request()

    def _on_state(self, change: Any) -> None:
        """Begin or end an attack; it runs under the run's lock, so it must not wait for another."""
        old, new = change["old"], change["new"]
        if new == DONE and old != STOPPING:
            self.adversaries.append(self.background.records[-1])
        if self.background.error is not None:
            self._show_error(self.background.error)
        if new not in LIVE:
            self._follow.request()
        self._go.disabled, self._halt.disabled = new in LIVE, new not in LIVE

    # -- drawing

    def _show_latest(self) -> None:
        """Show the latest step, or play the attack once it has ended, in a helper thread."""
        try:
            self._show_what_there_is()
        except Exception as error:
            self._show_error(error)

    def _show_what_there_is(self) -> None:
        played = 0 if self._player is None else len(self._player.adversaries)
        if self.state not in LIVE and played < len(self.adversaries):
            for adversary in self.adversaries[played:]:
                self._play(adversary)
            return
        step = self._latest
        if step is None:
            return
        index, _ = self._present
        geometry = self.seeds[index].moved(step.positions)
        if step.cells is not None:
            geometry = replace(geometry, cell=step.cells[0])
        prediction = self.committee.predict([geometry])
        sigma = atomic_sigma(prediction).numpy()
        self._molecule.show(
            geometry, self.seeds[index], heat(sigma, sigma.max()), symbols(geometry)
        )
        energy = prediction.energy.numpy()
        parts = [
            f"<b>step {step.step}</b> of {step.steps}",
            f"energy {plain(energy.mean())} ± {plain(energy.std(ddof=1))} eV",
            f"most doubtful atom {plain(sigma.max())} eV/Å",
        ]
        self._numbers.value = " &nbsp;·&nbsp; ".join(parts)
        self._curves.redraw()

    def _play(self, adversary: Adversary) -> None:
        if self._player is None:
            truth, unit = self._truth, self._unit
            self._player = AttackPlayer(self.committee, [adversary], truth, unit=unit)
        else:
            self._player.add(adversary)
        self._stage.children = (self._player,)
        reason = f": {adversary.reason}" if adversary.reason else ""
        told = "may be labelled" if adversary.reached else "is not labelled"
        self._verdict.value = f"The kept structure {told}{reason}."

    def _show_seed(self) -> None:
        if self.state in LIVE:
            return
        geometry = self.seeds[int(self.seed)]
        self._latest, self._losses = None, []
        self._molecule.show(geometry)
        self._numbers.value = f"{formula(geometry)}, as it is before an attack"
        self._verdict.value = ""
        self._stage.children = (self._live,)
        self._curves.request()

    def _draw_curves(self, figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.17, right=0.97, top=0.95, bottom=0.15)
        if not self._losses:
            axes.axis("off")
            placeholder(axes, "press Attack:\nthe loss of each step appears here", "0.5", 10)
            return
        steps, losses = np.array(self._losses).T
        axes.plot(steps, losses, color=plots.ADVERSARIAL, marker="o", ms=3, lw=1.5)
        axes.set(xlabel="attack step", ylabel="loss (smaller is better)")
        axes.set_xlim(-0.2, max(5, self._present[1].minimizer.steps))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(alpha=0.25)

    def _draw_static(self, figure: Figure) -> None:
        if self._player is not None:
            self._player._draw_static(figure)
            return
        widths = [_VIEW[0], _CURVES[0]]
        [[left, right]] = figure.subfigures(1, 2, width_ratios=widths, squeeze=False)
        self._molecule.draw(left.add_axes((0.0, 0.0, 1.0, 0.95)))
        self._draw_curves(right)

    # -- controls

    def _controls(self) -> list[ipywidgets.Widget]:
        narrow = {"description_width": "62px"}
        names = [(f"{k}: {formula(seed)}", k) for k, seed in enumerate(self.seeds)]
        look: dict[str, Any] = {"style": narrow, "layout": {"width": "260px", "max_width": "97%"}}
        self._seed = ipywidgets.Dropdown(options=names, description="structure", **look)
        look["layout"] = {"width": "300px", "max_width": "97%"}
        self._objective = ipywidgets.Dropdown(
            options=list(self._goals), description="objective", **look
        )
        look["layout"] = {"width": "150px"}
        self._strength = ipywidgets.FloatText(**look)
        self._strength_unit = ipywidgets.HTML()
        steps, own = self._base.minimizer.steps, self._base.gradient
        look["layout"] = slider_layout(260)
        most = max(200, steps)
        self._steps = ipywidgets.IntSlider(steps, 0, most, description="steps", **look)
        names = [name for name, g in GRADIENTS.items() if type(g) is type(own)]
        name = next(iter(names), type(own).__name__)
        self._gradients: dict[str, Any] = GRADIENTS | {name: own}
        look["layout"] = {"width": "230px"}
        self._gradient = ipywidgets.Dropdown(
            options=list(self._gradients), value=name, description="gradient", **look
        )
        self._go = button("Attack", "crosshairs", self.start, width=110, style="danger")
        self._halt = button("Stop", "stop", self.stop, width=90)
        self._halt.disabled = True
        self._verdict = ipywidgets.HTML()
        self._seed.observe(lambda _: self._show_seed(), "value")
        self._objective.observe(lambda _: self._on_objective(), "value")
        return [
            row(self._seed, self._objective, self._strength, self._strength_unit),
            row(self._steps, self._gradient, self._go, self._halt),
            self._verdict,
        ]

    def _on_objective(self) -> None:
        goal = self._goals[self.objective]
        self._strength.description, self._strength_unit.value = goal.name, goal.unit
        self._strength.value, self._strength.disabled = goal.value, not goal.name
