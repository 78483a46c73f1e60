"""Attacks on a two-dimensional surface, to be touched.

:class:`AttackExplorer` pushes a point that a person drops on the map, live, in a worker of its own;
the next drop cancels the push before it. It evaluates the committee on a grid once and redraws from
what it has, so a slider costs a drawing and not a prediction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .. import plots
from ..analysis.grids import Grid, ask
from ..attack import Adam, Attack, Ball, BoltzmannVariance, GradientDescent
from ..committee import Committee
from ..dataset import Dataset
from ..events import Report
from ..geometry import Geometry, Labels, points
from ..uncertainty.variance import force_variance
from .attack_maps import CommitteeOnGrid, draw_gain, draw_paths
from .background import LIVE, PAUSED, Background
from .clickable import MISSING, clickable
from .picture import DPI, DRAWING, Coalesced, Picture, bundle, draw_or_explain, error_html

_SIZE = (4.15, 3.6)  # inches, of the map and of the curves beside it
_SHOWN = 600  # points of the paths at which energy and sigma are evaluated for the curves
LOSS, ENERGY, SIGMA = "loss", "energy", "uncertainty"


@dataclass(frozen=True, eq=False)
class Iterate:
    """Positions (seeds, 2) and losses (seeds,) after a step of an attack."""

    positions: NDArray
    losses: NDArray


class AttackExplorer(ipywidgets.VBox):
    """A map of what an attack sees; a point dropped on it is pushed by the attack.

    A click drops a point (or :meth:`drop`, or "all training points"); its path is drawn while it is
    computed. The sliders change the attack, and the last drop is pushed again with the new
    settings.

    Args:
        committee: of potentials of one particle in the plane.
        dataset: its labelled data: drawn, and the partition function of the objective.
        attack: settings to begin with; None is ``Attack(BoltzmannVariance(kT=5.0), Adam(0.01,
            200))``.
        limit: the map spans [-limit, limit] in both coordinates.
        truth: of the surface, for its energy along the path.
        points: of the map's grid, along each side.
        seconds: that the drawing of a path takes at least; 0 draws as fast as it computes.

    Attributes:
        background: the latest push; None before the first drop.

    Raises:
        ValueError: data that are not single particles in the plane.
    """

    def __init__(
        self,
        committee: Committee,
        dataset: Dataset,
        attack: Attack | None = None,
        limit: float = 1.5,
        truth: Callable[[Geometry], Labels] | None = None,
        *,
        points: int = 80,
        seconds: float = 2.0,
    ) -> None:
        if not len(dataset) or any(geometry.positions.shape != (1, 2) for geometry in dataset):
            what = repr(dataset[0]) if len(dataset) else "nothing"
            raise ValueError(
                f"this map shows single particles in the plane, the data set holds {what}: give the"
                " data that the committee learned from"
            )
        self.background: Background[Iterate] | None = None
        self._committee, self._dataset, self._truth, self._seconds = (
            committee,
            dataset,
            truth,
            seconds,
        )
        self._given = attack or Attack(BoltzmannVariance(kT=5.0), Adam(0.01, 200))
        self._said = CommitteeOnGrid.of(committee, Grid(limit, points))
        self._seeds: list[Geometry] = []
        self._layer: list[Artist] = []
        self._start, self._followed = 0.0, True
        self._build()
        self._figure = Figure(figsize=_SIZE, dpi=DPI, facecolor="white")
        self._relief()
        self._map = clickable(self._figure, self.drop)
        self._curves = Picture(self._draw_curves, _SIZE)
        self._push, self._repaint, self._retrace = (
            Coalesced(self._again, 0.15),
            Coalesced(self._redrawn, 0.1),
            Coalesced(self._traced),
        )
        self._hint = ipywidgets.Label(
            "click on the map to drop a point"
            if self._map.clickable
            else f"{MISSING}: place a point with x and y"
        )
        super().__init__(
            [
                ipywidgets.HBox(
                    [self._surface, self._hint], layout=ipywidgets.Layout(align_items="center")
                ),
                ipywidgets.HBox([self._map, self._curves]),
                *([] if self._map.clickable else [self._placing]),
                self._pressing,
                self._setting,
                self._walk,
                self._trouble,
            ]
        )
        self._surface.observe(lambda _: self._repaint.request(), "value")
        for slider in (self._kT, self._rate, self._steps, self._bounded, self._radius):
            slider.observe(self._on_setting, "value")
        self._walk.observe(self._on_walk, "value")

    # -- pushing

    @property
    def attack(self) -> Attack:
        """With the settings of the sliders."""
        attack = self._given
        objective = (
            replace(attack.objective, kT=self._kT.value)
            if isinstance(attack.objective, BoltzmannVariance)
            else attack.objective
        )
        minimizer = replace(attack.minimizer, steps=self._steps.value)
        bound = (
            Ball(self._radius.value)
            if attack.bound is None
            else replace(attack.bound, radius=self._radius.value)
        )
        if isinstance(minimizer, (Adam, GradientDescent)):
            minimizer = replace(minimizer, learning_rate=self._rate.value)
        return replace(
            attack,
            objective=objective,
            minimizer=minimizer,
            bound=bound if self._bounded.value else None,
        )

    @property
    def path(self) -> NDArray:
        """(steps + 1, seeds, 2) positions of the latest push so far."""
        records = self.background.records if self.background is not None else ()
        return np.stack([r.positions for r in records]) if records else np.zeros((0, 0, 2))

    @property
    def losses(self) -> NDArray:
        """(steps + 1, seeds) losses of the latest push so far, smaller is better."""
        records = self.background.records if self.background is not None else ()
        return np.stack([r.losses for r in records]) if records else np.zeros((0, 0))

    def drop(self, x: float, y: float) -> AttackExplorer:
        """Drops a point, which is pushed from exactly there, in the background; cancels what is
        being pushed.
        """
        return self._begin(points([[x, y]]), start=0.0)

    def drop_all(self) -> AttackExplorer:
        """Pushes all training points at once, as a loop does."""
        return self._begin(list(self._dataset), start=self._given.start)

    def step(self) -> AttackExplorer:
        """One step by hand: of what is being pushed, else of the last drop from its start, else of
        the first training point.
        """
        if self.background is not None and self.background.alive:
            self.background.step()
            return self
        return self._begin(self._seeds or [self._dataset[0]], self._start, by_hand=True)

    def stop(self) -> AttackExplorer:
        """Ends the push at its next step."""
        if self.background is not None:
            self.background.stop()
        return self

    def wait(self, timeout: float | None = None) -> AttackExplorer:
        """Blocks until the push has ended or waits for the next step by hand, and is drawn."""
        self._push.settle()
        if self.background is not None:
            self.background.wait(timeout)
        self._repaint.settle()
        self._retrace.settle()
        self._curves.settle()
        return self

    def _begin(self, seeds: list[Geometry], start: float, by_hand: bool = False) -> AttackExplorer:
        self.stop()
        self._seeds, self._start = seeds, start
        attack, began = replace(self.attack, start=start), time.monotonic()

        def push(report: Report) -> Iterator[Iterate]:
            pace = 0.0 if by_hand else self._seconds / attack.minimizer.steps
            for number, (positions, losses) in enumerate(
                attack.iterate(self._committee, self._dataset, seeds, np.random.default_rng(0))
            ):
                yield Iterate(positions, losses)
                time.sleep(min(0.1, max(0.0, pace * number - (time.monotonic() - began))))

        background = Background(push)
        self.background, self._followed = background, True
        background.subscribe(
            lambda _: background is self.background and self._trace(), hz=5, failed=self._on_trouble
        )
        background.subscribe(
            lambda _: background is self.background and self._curves.redraw(),
            hz=1,
            failed=self._on_trouble,
        )
        background.observe(lambda _: self._on_state(background), "state")
        self._trouble.value = ""
        background.step() if by_hand else background.start()
        return self

    def _again(self) -> None:
        if self.background is not None and self._seeds:
            self._begin(self._seeds, self._start)

    # -- drawing

    def _gain(self) -> NDArray:
        return self._said.gain(self.attack, self._committee, self._dataset)

    def _draw_map(self, figure: Figure) -> None:
        figure.clear()
        axes = figure.subplots()
        figure.subplots_adjust(left=0.13, right=0.83, top=0.92, bottom=0.13)
        surface = self._said.surface
        if self._surface.value == ENERGY:
            plots.energy_surface(axes, surface.grid, surface.energy)
        elif self._surface.value == SIGMA:
            plots.sigma_surface(axes, surface)
        else:
            draw_gain(axes, surface.grid, self._gain())
        plots.structures(axes, self._dataset)
        kT = (
            f", kT = {self._kT.value:.3g}"
            if self._surface.value == LOSS and not self._kT.disabled
            else ""
        )
        title = {LOSS: "what the attack climbs", ENERGY: "mean energy", SIGMA: "uncertainty"}[
            self._surface.value
        ]
        axes.set_title(title + kT, fontsize=10)

    def _draw_layer(self, axes: Axes) -> list[Artist]:
        path = self.path
        return draw_paths(axes, path, self._at(len(path))) if len(path) else []

    def _at(self, count: int) -> int:
        """The step to show of `count` iterates: the newest, or where a person walked to."""
        return count - 1 if self._followed else min(self._walk.value, count - 1)

    def _draw_curves(self, figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        figure.subplots_adjust(left=0.16, right=0.86, top=0.96, bottom=0.13, hspace=0.12)
        path, losses = self.path, self.losses[: len(self.path)]
        right = lower.twinx()
        upper.set_ylabel(r"$\mathcal{L}_\mathrm{adv}$")
        lower.set(xlabel="attack step", ylabel="energy")
        right.set_ylabel(r"$\sigma_F$", color=plots.UNCERTAIN)
        right.tick_params(axis="y", labelcolor=plots.UNCERTAIN, labelsize=8)
        for axes in (upper, lower):
            axes.grid(alpha=0.25)
            axes.tick_params(labelsize=8)
        if not len(path):
            upper.text(
                0.5,
                0.5,
                "drop a point",
                transform=upper.transAxes,
                ha="center",
                va="center",
                color="0.55",
                fontsize=9,
            )
            upper.set(xlim=(0, self._steps.value))
            return
        many = path.shape[1] > 1
        style = {"lw": 0.7 if many else 1.4, "alpha": 0.5 if many else 1.0}
        steps = np.arange(len(path))
        upper.plot(steps, -losses, color=plots.ADVERSARIAL, **style)
        stride = max(1, path.shape[0] * path.shape[1] // _SHOWN)
        chosen = np.unique(np.append(steps[::stride], steps[-1]))
        energy, sigma, true = self._along(path[chosen])
        lower.plot(chosen, energy, color="0.2", label="committee", **style)
        if true is not None:
            lower.plot(chosen, true, color="#1e8449", ls="--", label="true", **{**style, "lw": 1.0})
            if not many:
                lower.legend(frameon=False, fontsize=8, loc="best")
        right.plot(chosen, sigma, color=plots.UNCERTAIN, **style)
        step = self._at(len(path))
        for axes in (upper, lower):
            axes.axvline(step, color="0.4", lw=0.8, ls=":")
        if not many:
            upper.plot(step, -losses[step, 0], "o", ms=6, color=plots.ADVERSARIAL, mec="white")
        upper.set_xlim(0, max(len(path) - 1, self._steps.value))

    def _along(self, path: NDArray) -> tuple[NDArray, NDArray, NDArray | None]:
        """Energies, uncertainties and true energies (steps, seeds) on a path (steps, seeds, 2)."""
        prediction, batch = ask(self._committee, path.reshape(-1, 2))
        sigma = force_variance(prediction, batch).sqrt().numpy()
        true = None
        if self._truth is not None:
            true = np.array(
                [self._truth(geometry).energy for geometry in points(path.reshape(-1, 2))]
            ).reshape(path.shape[:2])
        return (
            prediction.energy.mean(0).numpy().reshape(path.shape[:2]),
            sigma.reshape(path.shape[:2]),
            true,
        )

    def _relief(self) -> None:
        """The map, and the paths over it, on the panel's own figure."""
        with DRAWING:
            self._draw_map(self._figure)
            self._layer = self._draw_layer(self._figure.axes[0])

    def _redrawn(self) -> None:
        self._guarded(self._relief)
        self._guarded(self._map.refresh)

    def _trace(self) -> None:
        """The paths anew, over the map as it is: a frame of the animation."""
        with DRAWING:
            for artist in self._layer:
                artist.remove()
            self._layer = []
            self._layer = self._draw_layer(self._figure.axes[0])
            self._map.refresh()

    def _traced(self) -> None:
        self._guarded(self._trace)
        self._curves.redraw()

    def _guarded(self, draw: Callable[[], None]) -> None:
        try:
            draw()
        except Exception as error:
            self._on_trouble(error)

    def _summary(self, figure: Figure) -> None:
        """The map and the curves, without controls."""
        left, right = figure.subfigures(1, 2)
        self._draw_map(left)
        self._draw_layer(left.axes[0])
        self._draw_curves(right)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(
            super()._repr_mimebundle_(**options),
            draw_or_explain(self._summary, (2 * _SIZE[0], _SIZE[1]))[0],
        )

    # -- its parts

    def _build(self) -> None:
        objective, minimizer = self._given.objective, self._given.minimizer
        boltzmann = isinstance(objective, BoltzmannVariance)
        wide, text = ipywidgets.Layout(width="275px"), {"description_width": "92px"}
        rated = isinstance(minimizer, (Adam, GradientDescent))
        rate = np.log10(minimizer.learning_rate) if rated else -2.0

        def button(
            name: str, icon: str, call: Callable[[], Any], width: str = "150px"
        ) -> ipywidgets.Button:
            made = ipywidgets.Button(
                description=name, icon=icon, layout=ipywidgets.Layout(width=width)
            )
            made.on_click(lambda _: call())
            return made

        def slider(kind: type, description: str, **settings: Any) -> Any:
            return kind(
                description=description,
                continuous_update=False,
                **{"layout": wide, "style": text, **settings},
            )

        self._surface = ipywidgets.ToggleButtons(
            options=[LOSS, ENERGY, SIGMA], style={"button_width": "100px"}
        )
        log = {"step": 0.05, "readout_format": ".3g"}
        kT = objective.kT if boltzmann else 1.0
        self._kT = slider(
            ipywidgets.FloatLogSlider,
            "kT",
            value=kT,
            min=min(-1.0, np.log10(kT)),
            max=max(2.0, np.log10(kT)),
            disabled=not boltzmann,
            **log,
        )
        self._rate = slider(
            ipywidgets.FloatLogSlider,
            "learning rate",
            value=10**rate,
            min=min(-4.0, rate),
            max=max(-0.5, rate),
            disabled=not rated,
            **log,
        )
        self._steps = slider(
            ipywidgets.IntSlider,
            "steps",
            value=minimizer.steps,
            min=5,
            max=max(600, minimizer.steps),
        )
        bound = self._given.bound
        self._bounded = ipywidgets.Checkbox(
            value=bound is not None,
            description="stay within",
            indent=False,
            layout=ipywidgets.Layout(width="110px"),
        )
        radius = 0.5 if bound is None else bound.radius
        small = {"layout": ipywidgets.Layout(width="250px"), "style": {"description_width": "50px"}}
        self._radius = slider(
            ipywidgets.FloatSlider,
            "radius",
            value=radius,
            min=0.05,
            max=max(2.0, radius),
            step=0.05,
            **small,
        )
        self._setting = ipywidgets.VBox(
            [
                ipywidgets.HBox([self._kT, self._rate, self._steps]),
                ipywidgets.HBox([self._bounded, self._radius]),
            ]
        )
        self._stop = button("Stop", "stop", self.stop, "90px")
        self._stop.disabled = True
        everything = button("all training points", "bullseye", self.drop_all, "170px")
        self._pressing = ipywidgets.HBox(
            [everything, button("step by hand", "step-forward", self.step), self._stop]
        )
        limit = self._said.surface.grid.limit
        place = {
            "min": -limit,
            "max": limit,
            "step": 0.05,
            "layout": ipywidgets.Layout(width="240px"),
        }
        self._x, self._y = (
            ipywidgets.FloatSlider(value=-0.7, description="x", **place),
            ipywidgets.FloatSlider(value=0.0, description="y", **place),
        )
        self._placing = ipywidgets.HBox(
            [
                self._x,
                self._y,
                button(
                    "drop", "crosshairs", lambda: self.drop(self._x.value, self._y.value), "90px"
                ),
            ]
        )
        self._walk = ipywidgets.IntSlider(
            value=0,
            min=0,
            max=1,
            description="along the path",
            disabled=True,
            layout=ipywidgets.Layout(width="600px"),
            style={"description_width": "110px"},
        )
        self._trouble = ipywidgets.HTML()

    def _on_state(self, background: Background[Iterate]) -> None:
        """The push started, waits or ended."""
        if background is not self.background:
            return
        state = background.state
        self._stop.disabled = state not in LIVE
        if state in LIVE and state != PAUSED:
            self._walk.disabled = True
        elif background.records:
            followed, self._followed = self._followed, True
            self._walk.max = max(1, len(background.records) - 1)
            self._walk.value = len(background.records) - 1
            self._walk.disabled, self._followed = len(background.records) < 2, followed
        if background.error is not None:
            self._on_trouble(background.error)

    def _on_walk(self, change: Any) -> None:
        if self._walk.disabled or self.background is None:
            return
        self._followed = change["new"] >= len(self.background.records) - 1
        self._retrace.request()

    def _on_setting(self, change: Any) -> None:
        if change["owner"] is self._kT and self._surface.value == LOSS:
            self._repaint.request()
        if self.background is not None and self.background.state != PAUSED:
            self._push.request()

    def _on_trouble(self, error: BaseException) -> None:
        self._trouble.value = error_html(f"{type(error).__name__}: {error}")
