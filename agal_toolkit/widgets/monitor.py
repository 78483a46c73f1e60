"""A panel that runs loops and shows their generations while they run.

The loops take turns in one :class:`~agal_toolkit.widgets.background.Background`; the panel only
listens. It draws finished records and a tracker of events, so it may be displayed before, during
and after the run, more than once, and survives a reload of the page. Buttons only set the run's
events. The computations behind the maps have a thread of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import ipywidgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from .. import plots
from ..events import Epoch, Report, Step
from ..loop.generation import Generation
from . import background as run
from .background import LIVE, Background
from .generation_views import GenerationView, PlaneView, view_of
from .panel import RunPanel, button, placeholder, row
from .picture import DPI, Coalesced, Picture
from .progress import Begun, ProgressTracker, Turn, clock

Generations = Callable[[Report], Iterator[Generation]]

_WIDTH = 8.2  # inches; fits a notebook in a window of 1280 pixels with the file browser open
_BADGE = "color:white;border-radius:4px;padding:2px 10px;font-weight:600"
_STYLES = {  # state -> colour of the badge, style of the progress bar
    run.IDLE: ("#7f8c8d", ""),
    run.RUNNING: ("#1e8449", ""),
    run.PAUSING: ("#b9770e", "info"),
    run.PAUSED: ("#b9770e", "info"),
    run.STOPPING: ("#b03a2e", "warning"),
    run.STOPPED: ("#b03a2e", "warning"),
    run.DONE: ("#2471a3", "success"),
    run.FAILED: ("#922b21", "danger"),
}
_STARTABLE = (run.IDLE, run.STOPPED, run.FAILED)
_BUTTONS = {  # name -> icon, style, tooltip, states in which it can be pressed
    "Start": ("play", "success", "run the loops; after a stop, continue from disk", _STARTABLE),
    "Pause": ("pause", "", "hold at the next event", (run.RUNNING,)),
    "Resume": ("play", "", "continue", (run.PAUSING, run.PAUSED)),
    "Step": ("step-forward", "", "run one more generation, then pause", (*_STARTABLE, run.PAUSED)),
    "Stop": ("stop", "danger", "end at the next event", (run.RUNNING, run.PAUSING, run.PAUSED)),
}


class Monitor(RunPanel):
    """Runs loops side by side, with live pictures of every generation.

    Args:
        loops: name -> function of a listener that returns the generations, for example
            ``{"adversarial": lambda report: until(loop.generations(data, folder, report),
            count=6)}``. The loops take turns, one generation each.
        generations: number planned for each loop, for progress and time left; None if unknown.
        view: pictures of one generation; None chooses them by the data of the first.
        metric: metric of the learning curve; None takes the first.
    """

    background: Background[Turn]

    def __init__(
        self,
        loops: Mapping[str, Generations],
        *,
        generations: int | None = None,
        view: GenerationView | None = None,
        metric: str | None = None,
    ) -> None:
        if not loops:
            raise ValueError("a monitor needs at least one loop to run")
        self.background = Background(self._turns)
        self.view = view
        self._loops, self._generations, self._metric = dict(loops), generations, metric
        self._tracker = ProgressTracker(tuple(loops), generations)
        self._following = False  # whether the run, not a person, moves a control
        # content of the maps: strategy, generations, error of the computation
        self._prepared: tuple[str, tuple[Generation, ...], Exception | None] = ("", (), None)
        self._preparing = Coalesced(self._prepare_maps)
        controls = [self._steering_row(), self._progress_rows(), self._looking_row()]
        self._maps = Picture(self._draw_maps, (_WIDTH, 3.5))
        self._curves = Picture(self._draw_curves, (6.0, 2.35))
        self._live = Picture(self._draw_live, (2.15, 2.35))
        pictures = [self._maps, ipywidgets.HBox([self._curves, self._live])]
        super().__init__([*controls, *pictures], (_WIDTH, 5.85), [self._preparing])
        self.layout.width = f"{round(_WIDTH * DPI) + 8}px"
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
        finished = {name: [] for name in self._loops}
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

    def finish(self) -> Self:
        """Start or resume the run, wait for its end (or a pause or stop), and return the panel."""
        if self.state in (run.IDLE, run.STOPPED):
            self.start()
        elif self.state == run.PAUSED:
            self.resume()
        return self.wait()

    def _turns(self, report: Callable[[Any], None]) -> Iterator[Turn]:
        """Yield the loops' generations in turn, in the worker; a loop that ends drops out."""
        self._tracker = ProgressTracker(tuple(self._loops), self._generations)
        running = {name: loop(report) for name, loop in self._loops.items()}
        while running:
            for name in list(running):
                report(Begun(name))
                generation = next(running[name], None)
                if generation is None:
                    del running[name]
                else:
                    yield Turn(name, generation)

    # -- drawing

    def _upto_slider(self, strategy: str) -> tuple[Generation, ...]:
        return self.runs[strategy][: self._slider.value]

    def _view(self, generation: Generation) -> GenerationView:
        if self.view is None:
            self.view = view_of(generation.dataset)
        return self.view

    def _draw_maps(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.075, right=0.93, top=0.91, bottom=0.14, wspace=0.28)
        strategy, generations, error = self._prepared
        if error is not None:
            raise error
        if not generations:
            titles = PlaneView.titles if self.view is None else self.view.titles
            for axes, title in zip((left, right), titles, strict=True):
                _announce(axes, title, "after the first generation")
            return
        view = self._view(generations[0])
        view.draw(left, right, generations, self._paths.value)
        for axes, title in zip((left, right), view.titles, strict=True):
            axes.set_title(f"{title}, {strategy}", fontsize=10)

    def _draw_curves(self, figure: Figure) -> None:
        counted, sampled = "labelled structures", "sampled energies"
        errors, counts, energies = panels = figure.subplots(1, 3)
        figure.subplots_adjust(left=0.1, right=0.985, top=0.88, bottom=0.22, wspace=0.42)
        runs = {name: generations for name, generations in self.runs.items() if generations}
        if not runs:
            for axes, title in zip(panels, ("test error", counted, sampled), strict=True):
                _announce(axes, title, "after the first\ngeneration")
            return
        firsts = [generations[0] for generations in runs.values()]
        metrics = [name for generation in firsts for name in generation.metrics]
        metric = self._metric or next(iter(metrics), None)
        if metric is None:
            _announce(errors, "test error", "no metrics")
        else:
            plots.learning_curves(errors, runs, metric, "")
            errors.set_title(metric, fontsize=9)
            errors.yaxis.set_major_formatter("{x:g}")
            errors.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
            errors.tick_params(which="minor", labelsize=8)
        plots.data_curves(counts, runs)
        view = self._view(firsts[0])
        unit = view.unit_name
        plots.sampled_energies(energies, runs, zero=view.zero, unit=view.unit, name=unit)
        # one legend is enough, and one strategy needs none
        for axes in panels if len(runs) == 1 else (errors, energies):
            if axes.get_legend() is not None:
                axes.get_legend().remove()
        sampled = f"energies ({unit})" if unit else sampled
        for axes, title in ((counts, counted), (energies, sampled)):
            axes.set_title(title, fontsize=9)
            axes.set_ylabel("")
        last = max(self._generations or 0, *(len(generations) for generations in runs.values()))
        for axes in panels:
            axes.set_xlim(0.6, max(last, 2) + 0.4)
            axes.tick_params(labelsize=8)

    def _draw_live(self, figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.24, right=0.95, top=0.88, bottom=0.22)
        epochs, steps = self._tracker.epochs[:], self._tracker.steps[:]
        if steps:
            numbers, losses = zip(*((step.step, -step.losses) for step in steps), strict=True)
            axes.plot(numbers, losses, color=plots.ADVERSARIAL, lw=0.7, alpha=0.5)
            axes.set(xlabel="attack step", xlim=(0, max(1, steps[-1].steps)))
            axes.set_title(r"attack: $\mathcal{L}_\mathrm{adv}$", fontsize=9)
        elif epochs:
            plots.training_curves(axes, epochs[:: max(1, len(epochs) // 100)])
            axes.set(ylabel="", xlim=(0, epochs[-1].epochs))
            axes.legend(frameon=False, fontsize=7, loc="upper right")
            axes.set_title("training loss", fontsize=9)
        else:
            _announce(axes, "training, attack", "while they run")
            return
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.tick_params(which="both", labelsize=7.5)

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
        return row(*self._buttons.values(), self._badge)

    def _progress_rows(self) -> ipywidgets.VBox:
        layout = {"width": "230px", "height": "22px"}
        bars = (ipywidgets.FloatProgress(min=0.0, max=1.0, layout=layout) for _ in range(2))
        self._outer, self._inner = bars
        self._where, self._stage, self._time = (ipywidgets.Label() for _ in range(3))
        self._where.layout.width, self._time.layout.width = "230px", "330px"
        overall, inside = row(self._outer, self._where, self._time), row(self._inner, self._stage)
        return ipywidgets.VBox([overall, inside])

    def _looking_row(self) -> ipywidgets.HBox:
        def checkbox(value: bool, description: str, width: str) -> ipywidgets.Checkbox:
            look = {"layout": {"width": width}, "indent": False}
            return ipywidgets.Checkbox(value=value, description=description, **look)

        style, names = {"button_width": "104px"}, list(self._loops)
        self._strategy = ipywidgets.ToggleButtons(options=names, style=style)
        limits = {"value": 1, "min": 1, "max": 1, "layout": ipywidgets.Layout(width="300px")}
        self._slider = ipywidgets.IntSlider(description="generation", disabled=True, **limits)
        self._newest = checkbox(True, "newest", "80px")
        self._paths = checkbox(False, "attack paths", "120px")
        self._slider.observe(self._on_look, "value")
        self._paths.observe(self._on_look, "value")
        self._strategy.observe(self._on_strategy, "value")
        self._newest.observe(self._on_newest, "value")
        chooser = [self._strategy] if len(self._loops) > 1 else []
        return row(*chooser, self._slider, self._newest, self._paths)

    def _on_look(self, _: Any) -> None:
        """Draw what a person looks at; the run draws its own changes."""
        if not self._following:
            if self._slider.value < self._slider.max:
                self._newest.value = False
            self._preparing.request()

    def _on_newest(self, change: Any) -> None:
        if change["new"]:
            self._fit_to_run()
            self._preparing.request()

    def _on_strategy(self, _: Any) -> None:
        if not self._following:
            self._fit()
            self._preparing.request()

    def _fit(self) -> None:
        """Let the slider span the finished generations."""
        count = len(self.runs[self._chosen])
        self._slider.max, self._slider.disabled = max(count, 1), count < 2
        if self._newest.value:
            self._slider.value = self._slider.max

    def _fit_to_run(self) -> None:
        self._following = True
        try:
            self._fit()
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
        self._fit_to_run()
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
        self._show_state()
        self._clear_past_trouble()

    def _show_progress(self) -> None:
        tracker, seconds = self._tracker, self.background.seconds
        live, left = self.background.alive, tracker.left(seconds)
        self._outer.value = tracker.share if self._generations else float(self.state == run.DONE)
        self._inner.value = tracker.inside if live else 0.0
        self._where.value = tracker.overall()
        self._stage.value = tracker.detail() if live else ""
        elapsed = f"{clock(seconds)} elapsed" if tracker.strategy else ""
        remaining = f", about {clock(left)} left" if left is not None and live else ""
        self._time.value = elapsed + remaining

    def _show_state(self) -> None:
        state = self.background.state
        colour, self._outer.bar_style = _STYLES[state]
        self._badge.value = f'<span style="background:{colour};{_BADGE}">{state}</span>'
        for name, (_, _, _, states) in _BUTTONS.items():
            self._buttons[name].disabled = state not in states
        self._show_progress()
        if state == run.FAILED and self.background.error is not None:
            self._show_error(self.background.error, "the run failed: ")


def _announce(axes: Axes, title: str, text: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    placeholder(axes, text)
    for spine in axes.spines.values():
        spine.set_color("0.85")
