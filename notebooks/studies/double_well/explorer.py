"""A map of a two-dimensional surface on which a person drops points that an attack then pushes.

A push runs in the background and is drawn live; the next drop cancels it. The committee is
evaluated on the map's grid once, so repainting the map needs no further prediction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Self

import ipywidgets
import numpy as np
from ipywidgets import FloatLogSlider, FloatSlider, IntSlider, Layout
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agal_toolkit import plots
from agal_toolkit.analysis.grids import Grid, Surface, predict_at
from agal_toolkit.attack import Adam, Attack, Ball, BoltzmannVariance, GradientDescent
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Report
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.uncertainty.variance import force_variance
from agal_toolkit.widgets.background import LIVE, PAUSED, Background
from agal_toolkit.widgets.controls import button, placeholder, row, side_by_side, slider_layout
from agal_toolkit.widgets.energies import is_surface
from agal_toolkit.widgets.panel import RunPanel
from agal_toolkit.widgets.picture import CARD, DPI, DRAWING, Coalesced, Picture

from ..clickable import MISSING, clickable
from .attack_maps import attack_gain, draw_gain, draw_paths

_SIZE = (4.15, 3.6)  # inches, of the map and of the curves beside it
_EVALUATED = 600  # path points, roughly, at which the curves evaluate the committee
Iterate = tuple[NDArray, NDArray]  # (seeds, 2) positions, (seeds,) losses after a step
LOSS, ENERGY, SIGMA = "loss", "energy", "uncertainty"
_TITLES = {LOSS: "what the attack climbs", ENERGY: "mean energy", SIGMA: "uncertainty"}


class AttackExplorer(RunPanel):
    """A map of an attack's loss; the attack pushes a point that a click drops on it.

    The path is drawn while it is computed. The sliders change the attack and repeat the last drop.

    Args:
        committee: committee of potentials of one particle in the plane.
        dataset: its training data; drawn, and used by the objective's partition function.
        attack: initial settings; None means ``Attack(BoltzmannVariance(kT=5.0), Adam(0.01, 200))``.
        limit, points: settings of the map's :class:`~agal_toolkit.analysis.grids.Grid`.
        truth: label function of the surface, for the true energy along a path.
        seconds: shortest time in which a path is drawn; 0 draws as fast as it is computed.
    """

    background: Background[Iterate] | None = None

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
        if not is_surface(dataset):
            content = repr(dataset[0]) if len(dataset) else "nothing"
            need = "give single particles in the plane"
            raise ValueError(f"the data set of this map holds {content}: {need}")
        self._committee, self._dataset, self._truth = committee, dataset, truth
        self._given = attack or Attack(BoltzmannVariance(kT=5.0), Adam(0.01, 200))
        self._seconds, self._on_grid = seconds, Surface.of(committee, Grid(limit, points))
        self._seeds: list[Geometry] = []  # of the latest drop
        self._start = 0.0  # how far an attack displaces the seeds before its first step
        self._follows = True  # whether the newest step is shown, not that of the slider
        self._path_artists: list[Artist] = []
        choosing, pressing, setting = self._choosing(), self._pressing(), self._setting()
        self._placing = self._placing_row(limit)
        look = {"layout": slider_layout(600), "style": {"description_width": "110px"}}
        self._walk = IntSlider(max=1, description="along the path", disabled=True, **look)
        self._walk.observe(self._on_walk, "value")
        self._figure = Figure(figsize=_SIZE, dpi=DPI, facecolor=CARD)
        self._redraw_figure()
        self._map = clickable(self._figure, self.drop)
        self._curves = Picture(self._draw_curves, _SIZE)
        self._push = Coalesced(self._push_again, 0.15)
        self._repaint = Coalesced(self._repaint_map, 0.1)
        self._retrace = Coalesced(self._retrace_path)
        placing = [] if self._map.clickable else [self._placing]
        by_slider = f"{MISSING}: place a point with x and y"
        self._hint.value = by_slider if placing else "click on the map to drop a point"
        pictures = side_by_side(self._map, self._curves)
        children = [choosing, pictures, *placing, pressing, setting, self._walk]
        helpers = [self._repaint, self._retrace, self._curves]
        super().__init__(children, (2 * _SIZE[0], _SIZE[1]), helpers)

    # -- pushing

    @property
    def attack(self) -> Attack:
        """Attack with the settings of the sliders."""
        given, radius = self._given, self._radius.value
        minimizer: Any = given.minimizer  # every minimizer is a dataclass with `steps`
        objective, minimizer = given.objective, replace(minimizer, steps=self._steps.value)
        if isinstance(objective, BoltzmannVariance):
            objective = replace(objective, kT=self._kT.value)
        if isinstance(minimizer, (Adam, GradientDescent)):
            minimizer = replace(minimizer, learning_rate=self._rate.value)
        bound = Ball(radius) if given.bound is None else replace(given.bound, radius=radius)
        if not self._bounded.value:
            bound = None
        return replace(given, objective=objective, minimizer=minimizer, bound=bound)

    @property
    def path(self) -> NDArray:
        """(steps + 1, seeds, 2) positions of the latest push so far."""
        positions = [positions for positions, _ in self._iterates]
        return np.stack(positions) if positions else np.zeros((0, 0, 2))

    @property
    def losses(self) -> NDArray:
        """(steps + 1, seeds) losses of the latest push so far: minus the L_adv that it climbs."""
        losses = [losses for _, losses in self._iterates]
        return np.stack(losses) if losses else np.zeros((0, 0))

    @property
    def _iterates(self) -> tuple[Iterate, ...]:
        return () if self.background is None else self.background.records

    def drop(self, x: float, y: float) -> Self:
        """Drop a point and push it from exactly there, in the background; cancel any other push."""
        return self._begin(points([[x, y]]), start=0.0)

    def drop_all(self) -> Self:
        """Push all training points at once, as a loop does."""
        return self._begin(list(self._dataset), start=self._given.start)

    def step(self) -> Self:
        """Compute one step of the present push, or of the last drop from its start, and pause."""
        if self.background is not None and self.background.alive:
            return super().step()
        first = [self._dataset[0]]  # before any drop
        return self._begin(self._seeds or first, self._start, by_hand=True)

    def wait(self, timeout: float | None = None) -> None:
        """Block until the push has ended or is paused and is drawn."""
        self._push.settle()
        super().wait(timeout)

    def _begin(self, seeds: list[Geometry], start: float, by_hand: bool = False) -> Self:
        self.stop()
        self._seeds, self._start = seeds, start
        attack = replace(self.attack, start=start)
        pace = 0.0 if by_hand else self._seconds / attack.minimizer.steps

        def push(report: Report) -> Iterator[Iterate]:
            began, rng = time.monotonic(), np.random.default_rng(0)
            iterates = attack.iterate(self._committee, self._dataset, seeds, rng)
            for number, iterate in enumerate(iterates):
                yield iterate
                time.sleep(min(0.1, max(0.0, pace * number - (time.monotonic() - began))))

        def if_latest(draw: Callable[[], None]) -> Callable[[Any], None]:
            return lambda _: draw() if background is self.background else None

        self.background = background = Background(push)
        self._follows, failed = True, self._show_error
        background.subscribe(if_latest(self._draw_frame), hz=5, failed=failed)
        background.subscribe(if_latest(self._curves.redraw), hz=1, failed=failed)
        background.observe(lambda _: self._on_state(background), "state")
        self._clear_error()
        background.step() if by_hand else background.start()
        return self

    def _push_again(self) -> None:
        if self.background is not None and self._seeds:
            self._begin(self._seeds, self._start)

    def _on_state(self, background: Background[Iterate]) -> None:
        if background is not self.background:
            return
        state, count = background.state, len(background.records)
        self._stop.disabled = state not in LIVE
        if state in LIVE and state != PAUSED:
            self._walk.disabled = True
        elif count:
            self._follows = True
            self._walk.max = max(1, count - 1)  # still disabled, so nothing is drawn
            self._walk.value = count - 1
            self._walk.disabled = count < 2
        if background.error is not None:
            self._show_error(background.error)

    # -- drawing

    def _draw_map(self, figure: Figure) -> None:
        figure.clear()
        axes = figure.subplots()
        figure.subplots_adjust(left=0.13, right=0.83, top=0.92, bottom=0.13)
        surface, shown = self._on_grid, str(self._surface.value)
        title = _TITLES[shown]
        if shown == ENERGY:
            plots.energy_surface(axes, surface.grid, surface.energy)
        elif shown == SIGMA:
            plots.sigma_surface(axes, surface)
        else:
            gain = attack_gain(self.attack, self._committee, self._dataset, surface)
            draw_gain(axes, surface.grid, gain)
            title += "" if self._kT.disabled else f", kT = {self._kT.value:.3g}"
        plots.structures(axes, self._dataset)
        axes.set_title(title, fontsize=10)

    def _draw_path(self, axes: Axes) -> list[Artist]:
        path = self.path  # read once: it grows while the attack runs
        return draw_paths(axes, path, self._shown_step(len(path))) if len(path) else []

    def _shown_step(self, count: int) -> int:
        """Return the step to show of `count` iterates: the newest, or that of the slider."""
        return count - 1 if self._follows else min(self._walk.value, count - 1)

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
            placeholder(upper, "drop a point")
            upper.set(xlim=(0, self._steps.value))
            return
        many = path.shape[1] > 1
        style = {"lw": 0.7, "alpha": 0.5} if many else {"lw": 1.4, "alpha": 1.0}
        steps = np.arange(len(path))
        upper.plot(steps, -losses, color=plots.ADVERSARIAL, **style)
        stride = max(1, path.shape[0] * path.shape[1] // _EVALUATED)
        chosen = np.unique(np.append(steps[::stride], steps[-1]))
        energy, sigma, true = self._along(path[chosen])
        lower.plot(chosen, energy, color="0.2", label="committee", **style)
        if true is not None:
            dashed = {**style, "lw": 1.0, "ls": "--"}
            lower.plot(chosen, true, color="#1e8449", label="true", **dashed)
            if not many:
                lower.legend(frameon=False, fontsize=8, loc="best")
        right.plot(chosen, sigma, color=plots.UNCERTAIN, **style)
        step = self._shown_step(len(path))
        for axes in (upper, lower):
            axes.axvline(step, color="0.4", lw=0.8, ls=":")
        if not many:
            upper.plot(step, -losses[step, 0], "o", ms=6, color=plots.ADVERSARIAL, mec="white")
        upper.set_xlim(0, max(len(path) - 1, self._steps.value))

    def _along(self, path: NDArray) -> tuple[NDArray, NDArray, NDArray | None]:
        """Return (steps, seeds) energies, uncertainties and true energies on a path."""
        shape, places = path.shape[:2], path.reshape(-1, 2)
        prediction, batch = predict_at(self._committee, places)
        energy = prediction.energy.mean(0).numpy().reshape(shape)
        sigma = force_variance(prediction, batch).sqrt().numpy().reshape(shape)
        if self._truth is None:
            return energy, sigma, None
        true = np.array([self._truth(geometry).energy for geometry in points(places)])
        return energy, sigma, true.reshape(shape)

    def _redraw_figure(self) -> None:
        with DRAWING:
            self._draw_map(self._figure)
            self._path_artists = self._draw_path(self._figure.axes[0])

    def _draw_frame(self) -> None:
        """Draw the paths over the map as it is: one frame of the animation."""
        with DRAWING:
            for artist in self._path_artists:
                artist.remove()
            self._path_artists = []
            self._path_artists = self._draw_path(self._figure.axes[0])
            self._map.refresh()

    def _repaint_map(self) -> None:
        self._draw_or_show_error(self._redraw_figure)
        self._draw_or_show_error(self._map.refresh)

    def _retrace_path(self) -> None:
        self._draw_or_show_error(self._draw_frame)
        self._curves.redraw()

    def _draw_or_show_error(self, draw: Callable[[], None]) -> None:
        try:
            draw()
        except Exception as error:
            self._show_error(error)

    def _draw_static(self, figure: Figure) -> None:
        [[left, right]] = figure.subfigures(1, 2, squeeze=False)
        self._draw_map(left)
        self._draw_path(left.axes[0])
        self._draw_curves(right)

    # -- controls

    def _choosing(self) -> ipywidgets.HBox:
        surfaces, style = [LOSS, ENERGY, SIGMA], {"button_width": "100px"}
        self._surface = ipywidgets.ToggleButtons(options=surfaces, style=style)
        self._surface.observe(lambda _: self._repaint.request(), "value")
        self._hint = ipywidgets.Label()
        return row(self._surface, self._hint)

    def _pressing(self) -> ipywidgets.HBox:
        everything = button("all training points", "bullseye", self.drop_all, width=170)
        by_hand = button("step by hand", "step-forward", self.step, width=150)
        self._stop = button("Stop", "stop", self.stop, width=90)
        self._stop.disabled = True
        return row(everything, by_hand, self._stop)

    def _placing_row(self, limit: float) -> ipywidgets.HBox:
        side = {"min": -limit, "max": limit, "step": 0.05, "layout": slider_layout(240)}
        self._x = FloatSlider(value=-0.7, description="x", **side)
        self._y = FloatSlider(value=0.0, description="y", **side)
        drop = button("drop", "crosshairs", lambda: self.drop(self._x.value, self._y.value), 90)
        return row(self._x, self._y, drop)

    def _setting(self) -> ipywidgets.VBox:
        objective, minimizer = self._given.objective, self._given.minimizer
        kT = objective.kT if isinstance(objective, BoltzmannVariance) else None
        has_rate = isinstance(minimizer, (Adam, GradientDescent))
        rate = minimizer.learning_rate if has_rate else None
        self._kT = _log_slider("kT", kT, 1.0, (-1.0, 2.0))
        self._rate = _log_slider("learning rate", rate, 0.01, (-4.0, -0.5))
        steps = {"value": minimizer.steps, "min": 5, "max": max(600, minimizer.steps)}
        self._steps = IntSlider(description="steps", **steps, **_look(275, "92px"))
        bound = self._given.bound
        radius = 0.5 if bound is None else bound.radius
        named = {"description": "stay within", "indent": False, "layout": Layout(width="110px")}
        self._bounded = ipywidgets.Checkbox(value=bound is not None, **named)
        limits = {"value": radius, "min": 0.05, "max": max(2.0, radius), "step": 0.05}
        self._radius = FloatSlider(description="radius", **limits, **_look(250, "50px"))
        for control in (self._kT, self._rate, self._steps, self._bounded, self._radius):
            control.observe(self._on_setting, "value")
        attack = row(self._kT, self._rate, self._steps)
        return ipywidgets.VBox([attack, row(self._bounded, self._radius)])

    def _on_walk(self, change: Any) -> None:
        if not self._walk.disabled and self.background is not None:
            self._follows = change["new"] >= len(self.background.records) - 1
            self._retrace.request()

    def _on_setting(self, change: Any) -> None:
        if change["owner"] is self._kT and self._surface.value == LOSS:
            self._repaint.request()
        if self.background is not None and self.background.state != PAUSED:
            self._push.request()


def _look(width: int, label_width: str) -> dict[str, Any]:
    """Return the options of a slider that acts only when it is released."""
    style = {"description_width": label_width}
    return {"layout": slider_layout(width), "style": style, "continuous_update": False}


def _log_slider(
    name: str, value: float | None, default: float, decades: tuple[float, float]
) -> FloatLogSlider:
    """Return a slider over at least the powers of ten `decades`, disabled without a value."""
    shown = default if value is None else value
    low, high = min(decades[0], np.log10(shown)), max(decades[1], np.log10(shown))
    look = {"step": 0.05, "readout_format": ".3g", **_look(275, "92px")}
    named = {"description": name, "disabled": value is None}
    return FloatLogSlider(value=shown, min=low, max=high, **named, **look)
