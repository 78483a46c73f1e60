"""A panel that runs loops and shows their generations while they run.

The loops take turns in one :class:`~agal_toolkit.widgets.background.Background`; the panel only
listens. It draws finished records and a tracker of events, so it may be displayed before, during
and after the run, more than once, and survives a reload of the page. Buttons only set the run's
events. The computations behind the maps have a thread of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import ipywidgets
from matplotlib.figure import Figure

from ..dataset import Dataset
from ..events import Epoch, Step
from ..loop.generation import Generation
from ..loop.loop import Loop
from . import background as run
from .background import LIVE, Background
from .controls import button, row, side_by_side, slider_layout
from .generation_views import GenerationView, PlaneView, view_of
from .panel import RunPanel
from .picture import AMBER, DPI, FAINT, Coalesced, Picture, error_html
from .progress import ProgressTracker, Turn, clock
from .run_pictures import announce, draw_curves, draw_live
from .turns import Generations, Turns, functions_of

_WIDTH = 8.2  # inches; fits a notebook in a window of 1280 pixels with the file browser open
_BADGE = "color:white;border-radius:4px;padding:2px 10px;font-weight:600"
_STYLES = {  # state -> colour of the badge, style of the progress bar
    run.IDLE: ("#5f6a6b", ""),
    run.RUNNING: ("#1e8449", ""),
    run.PAUSING: ("#8f5c0b", "info"),
    run.PAUSED: ("#8f5c0b", "info"),
    run.STOPPING: ("#b03a2e", "warning"),
    run.STOPPED: ("#b03a2e", "warning"),
    run.DONE: ("#2471a3", "success"),
    run.FAILED: ("#922b21", "danger"),
}
_ENDLESS = "give Monitor the loop itself, or a function without a count, and it can go on"
_LOST = "Dead or gone, after a reload or a restart of the kernel? Run this cell again."
_STARTABLE = (run.IDLE, run.STOPPED, run.FAILED)
_BUTTONS = {  # name -> icon, style, tooltip, states in which it can be pressed
    "Start": (
        "play",
        "success",
        "run the loops; after a stop, continue from disk; after the end, run more generations",
        (*_STARTABLE, run.DONE),
    ),
    "Pause": ("pause", "", "hold at the next event", (run.RUNNING,)),
    "Resume": ("play", "", "continue", (run.PAUSING, run.PAUSED)),
    "Step": ("step-forward", "", "run one more generation, then pause", (*_STARTABLE, run.PAUSED)),
    "Stop": ("stop", "danger", "end at the next event", (run.RUNNING, run.PAUSING, run.PAUSED)),
}


class Monitor(RunPanel):
    """Runs loops side by side, with live pictures of every generation.

    Args:
        loops: a loop, or name -> loop. They take turns, one generation each. Instead of a loop, a
            function of a listener may return the generations: ``lambda report:
            loop.generations(data, folder, report)``.
        dataset: the data that loops start from; functions have their own.
        directory: keeps what is finished, with a folder for each of several loops; None keeps
            nothing, so a start after a stop begins anew.
        generations: number to run of each loop; a finished panel runs further ones. None runs
            until a stop or the end of the functions.
        view: pictures of one generation; None chooses them by the data of the first.
        metric: metric of the learning curve; None takes the first, or without any the force error
            on the new structures before they are learned.
    """

    background: Background[Turn]

    def __init__(
        self,
        loops: Loop | Mapping[str, Loop | Generations],
        dataset: Dataset | None = None,
        directory: str | Path | None = None,
        *,
        generations: int | None = None,
        view: GenerationView | None = None,
        metric: str | None = None,
    ) -> None:
        if generations is not None and generations < 1:
            raise ValueError(f"generations is {generations}: give at least 1, or None for no end")
        functions = functions_of(loops, dataset, directory)
        self._names = tuple(functions)
        self._turns = Turns(functions, generations)
        self.background = Background(self._run)
        self.view = view
        self._metric = metric
        self._tracker = ProgressTracker(self._names, generations)
        self._earlier = 0.0  # seconds of runs that have ended
        self._following = False  # whether the run, not a person, moves a control
        # content of the maps: strategy, generations, error of the computation
        self._prepared: tuple[str, tuple[Generation, ...], Exception | None] = ("", (), None)
        self._preparing = Coalesced(self._prepare_maps)
        controls = [self._steering_row(), self._progress_rows(), self._looking_row()]
        self._maps = Picture(self._draw_maps, (_WIDTH, 3.5))
        self._curves = Picture(self._draw_curves, (6.0, 2.35))
        self._live = Picture(self._draw_live, (2.15, 2.35))
        pictures = [self._maps, side_by_side(self._curves, self._live)]
        super().__init__([*controls, *pictures], (_WIDTH, 5.85), [self._preparing])
        self.layout.width = f"{round(_WIDTH * DPI) + 16}px"
        self.background.observe(self._on_state, "state")
        self.background.subscribe(lambda message: self._tracker.update(message))
        subscribe, failed = self.background.subscribe, self._on_trouble
        self._subscribers = [
            subscribe(self._on_message, hz=4, failed=failed),
            subscribe(self._on_turn, hz=2, kinds=(Turn,), failed=failed),
            subscribe(lambda _: self._live.redraw(), hz=1, kinds=(Epoch, Step), failed=failed),
        ]
        self._show_state()

    @property
    def runs(self) -> dict[str, tuple[Generation, ...]]:
        """Finished generations of each loop."""
        finished = {name: [] for name in self._names}
        for turn in self.background.records:
            finished[turn.strategy].append(turn.generation)
        return {name: tuple(generations) for name, generations in finished.items()}

    @property
    def shown(self) -> Generation | None:
        """Generation in the maps: that of the chosen strategy at the slider, or its newest."""
        return (self._upto_slider(self._chosen) or (None,))[-1]

    @property
    def _chosen(self) -> str:
        return str(self._strategy.value)

    def start(self) -> Self:
        """Start, resume or, after a stop, continue; after the end, run further generations.

        After the end, the field "more" says how many further generations of each loop are run.
        """
        if self.state == run.DONE:
            if self._turns.planned is None:
                return self
            self._turns.planned += self._further.value
        return super().start()

    def finish(self) -> Self:
        """Start or resume the run, wait for its end (or a pause or stop), and return the panel."""
        if self.state in (run.IDLE, run.STOPPED):
            self.start()
        elif self.state == run.PAUSED:
            self.resume()
        self.wait()
        return self

    def _run(self, report: Callable[[Any], None]) -> Iterator[Turn]:
        """Run the loops, in the worker."""
        self._tracker = ProgressTracker(self._names, self._turns.planned)
        return self._turns(report)

    # -- drawing

    def _upto_slider(self, strategy: str) -> tuple[Generation, ...]:
        return self.runs[strategy][: self._slider.value]

    def _view(self, generation: Generation) -> GenerationView:
        if self.view is None:
            self.view = view_of(generation.dataset)
        return self.view

    def _draw_maps(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.085, right=0.93, top=0.91, bottom=0.14, wspace=0.28)
        strategy, generations, error = self._prepared
        if error is not None:
            raise error
        if not generations:
            titles = PlaneView.titles if self.view is None else self.view.titles
            for axes, title in zip((left, right), titles, strict=True):
                announce(axes, title, "after the first generation")
            return
        view = self._view(generations[0])
        view.draw(left, right, generations, self._paths.value)
        for axes, title in zip((left, right), view.titles, strict=True):
            axes.set_title("", loc="left")  # the view's own name of the generation
            number = f"generation {generations[-1].index + 1}"
            axes.set_title(", ".join((title, strategy, number)), fontsize=9.5)

    def _draw_curves(self, figure: Figure) -> None:
        planned = self._turns.planned
        draw_curves(figure, self.runs, metric=self._metric, planned=planned, view=self._view)

    def _draw_live(self, figure: Figure) -> None:
        draw_live(figure, self._tracker)

    def _draw_static(self, figure: Figure) -> None:
        [[top], [bottom]] = figure.subfigures(2, 1, height_ratios=[3.5, 2.35], squeeze=False)
        [[left, right]] = bottom.subfigures(1, 2, width_ratios=[6.0, 2.2], squeeze=False)
        self._draw_maps(top)
        self._draw_curves(left)
        self._draw_live(right)

    # -- controls

    def _steering_row(self) -> ipywidgets.HBox:
        calls = (self.start, self.pause, self.resume, self.step, self.stop)
        self._buttons = {
            name: button(name, icon, call, style=style, tooltip=tooltip)
            for call, (name, (icon, style, tooltip, _)) in zip(calls, _BUTTONS.items(), strict=True)
        }
        self._badge = ipywidgets.HTML(layout=ipywidgets.Layout(margin="0 0 0 10px"))
        layout = {"width": "120px", "display": None if self._turns.planned else "none"}
        look: dict[str, Any] = {"description": "more", "style": {"description_width": "45px"}}
        look["tooltip"] = "further generations that Start runs after the end"
        self._further = ipywidgets.BoundedIntText(1, min=1, max=1000, layout=layout, **look)
        return row(*self._buttons.values(), self._further, self._badge)

    def _progress_rows(self) -> ipywidgets.VBox:
        layout = {"width": "230px", "height": "22px"}
        bars = (ipywidgets.FloatProgress(min=0.0, max=1.0, layout=layout) for _ in range(2))
        self._outer, self._inner = bars
        self._where, self._stage, self._time = (ipywidgets.Label() for _ in range(3))
        for label in (self._where, self._stage, self._time):
            label.layout = {"min_width": "190px", "flex": "0 0 auto", "margin": "0 12px 0 6px"}
        overall, inside = row(self._outer, self._where, self._time), row(self._inner, self._stage)
        return ipywidgets.VBox([overall, inside])

    def _looking_row(self) -> ipywidgets.HBox:
        def checkbox(value: bool, description: str, width: str) -> ipywidgets.Checkbox:
            look = {"layout": {"width": width}, "indent": False}
            return ipywidgets.Checkbox(value=value, description=description, **look)

        style, names = {"button_width": "104px"}, list(self._names)
        self._strategy = ipywidgets.ToggleButtons(options=names, style=style)
        limits = {"value": 1, "min": 1, "max": 1, "layout": slider_layout(300)}
        self._slider = ipywidgets.IntSlider(description="generation", disabled=True, **limits)
        self._newest = checkbox(True, "newest", "80px")
        self._paths = checkbox(False, "attack paths", "120px")
        self._slider.observe(self._on_look, "value")
        self._paths.observe(self._on_look, "value")
        self._strategy.observe(self._on_strategy, "value")
        self._newest.observe(self._on_newest, "value")
        chooser = [self._strategy] if len(self._names) > 1 else []
        return row(*chooser, self._slider, self._newest, self._paths)

    def _on_look(self, _: Any) -> None:
        """Draw what a person looks at; the run draws its own changes."""
        if not self._following:
            if self._slider.value < self._slider.max:
                self._newest.value = False
            self._preparing.request()

    def _on_newest(self, change: Any) -> None:
        if change["new"]:
            self._fit()
            self._preparing.request()

    def _on_strategy(self, _: Any) -> None:
        if not self._following:
            self._fit()
            self._preparing.request()

    def _fit(self) -> None:
        """Let the slider span the finished generations; a smaller span moves it, not a person."""
        count = len(self.runs[self._chosen])
        self._following = True
        try:
            self._slider.max, self._slider.disabled = max(count, 1), count < 2
            if self._newest.value:
                self._slider.value = self._slider.max
        finally:
            self._following = False

    def _prepare_maps(self) -> None:
        """Compute for the maps without the lock of all drawings, then draw them."""
        strategy, error = self._chosen, None
        generations = self._upto_slider(strategy)
        try:
            if generations:
                self._view(generations[0]).prepare(generations)
        except Exception as caught:
            error = caught
        self._prepared = strategy, generations, error
        self._maps.redraw()

    # -- messages of the worker

    def _on_turn(self, _: Turn) -> None:
        """Follow one finished generation, or several since the last call."""
        self._fit()
        if self.shown not in self._prepared[1][-1:]:
            self._preparing.request()
        self._curves.redraw()

    def _on_message(self, _: Any) -> None:
        self._show_progress()
        self._clear_past_trouble()

    def _on_trouble(self, error: Exception) -> None:
        self._show_error(error, "this panel could not follow the run, which goes on: ")

    def _clear_past_trouble(self) -> None:
        if self.state != run.FAILED and all(s.error is None for s in self._subscribers):
            self._clear_error()

    def _on_state(self, change: Any) -> None:
        if change["old"] not in LIVE:
            self._clear_error()  # of an earlier run
        elif change["new"] not in LIVE:
            self._earlier += self.background.seconds
        self._clear_past_trouble()
        self._show_state()

    def _show_progress(self) -> None:
        tracker, seconds = self._tracker, self.background.seconds
        live, left = self.background.alive, tracker.left(seconds)
        self._outer.value = tracker.share if self._turns.planned else float(self.state == run.DONE)
        self._inner.value = tracker.inside if live else 0.0
        self._where.value = tracker.overall()
        self._stage.value = tracker.detail() if live else ""
        total = self._earlier + (seconds if live else 0.0)
        elapsed = f"{clock(total)} elapsed" if tracker.strategy else ""
        remaining = f", about {clock(left)} left" if left is not None and live else ""
        self._time.value = elapsed + remaining
        state = self.state
        seen = f' <span style="{FAINT}">at {time.strftime("%H:%M:%S")}. {_LOST}</span>'
        badge = f'<span style="background:{_STYLES[state][0]};{_BADGE}">{state}</span>'
        self._badge.value = badge + (seen if live else "")

    def _show_state(self) -> None:
        state = self.background.state
        _, self._outer.bar_style = _STYLES[state]
        for name, (_, _, _, states) in _BUTTONS.items():
            self._buttons[name].disabled = state not in states
        if self._turns.planned is None:
            self._buttons["Start"].disabled |= state == run.DONE
        self._show_progress()
        if state == run.DONE and self._turns.planned and self._turns.ended:
            wrong = f"{', '.join(sorted(self._turns.ended))} ended before the planned number"
            self._trouble.value = error_html(f"{wrong}: {_ENDLESS}", AMBER)
        if state == run.FAILED and self.background.error is not None:
            self._show_error(self.background.error, "the run failed: ")
