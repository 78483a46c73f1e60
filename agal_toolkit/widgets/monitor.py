"""A panel that runs loops and shows what they learn, generation by generation.

The loops take turns in one :class:`~agal_toolkit.widgets.background.Background`; the panel only
listens. Everything it shows is drawn from finished records and from one account of the events, so
it may be displayed before, while and after it runs, more than once, and a reloaded page finds it as
it is. Buttons set the run's events and nothing else. What the maps need is computed in a thread
beside the run, which goes on, pauses and stops meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from .. import plots
from ..events import Epoch, Report, Step
from ..loop.generation import Generation
from .background import (
    DONE,
    FAILED,
    IDLE,
    LIVE,
    PAUSED,
    PAUSING,
    RUNNING,
    STOPPED,
    STOPPING,
    Background,
)
from .generation_views import GenerationView, PlaneView
from .picture import DPI, Coalesced, Picture, bundle, draw_or_explain, error_html
from .progress import Account, Begun, Turn, clock

Generations = Callable[[Report], Iterator[Generation]]

_WIDTH = 8.2  # inches; fits a notebook in a window of 1280 pixels with the file browser open
_TINT = {
    IDLE: "#7f8c8d",
    RUNNING: "#1e8449",
    PAUSING: "#b9770e",
    PAUSED: "#b9770e",
    STOPPING: "#b03a2e",
    STOPPED: "#b03a2e",
    DONE: "#2471a3",
    FAILED: "#922b21",
}
_BAR = {
    DONE: "success",
    FAILED: "danger",
    STOPPED: "warning",
    STOPPING: "warning",
    PAUSED: "info",
    PAUSING: "info",
}


class Monitor(ipywidgets.VBox):
    """Runs loops side by side, with live pictures of every generation.

    Args:
        loops: name -> a function of a listener that gives the generations, as
            ``{"adversarial": lambda report: until(loop.generations(data, folder, report),
            count=6)}``. They take turns, a generation each.
        generations: how many each will give, for the progress and the time left; None when only the
            loops know.
        view: what is drawn of one generation; None takes the plane of a model surface.
        metric: of the generations, for the learning curve; None takes the first that there is.

    Attributes:
        background: the run itself.
        runs: name -> the finished generations.
        view: see above.
    """

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
        self.background: Background[Turn] = Background(self._turns)
        self._loops, self._generations, self._metric = dict(loops), generations, metric
        self.view = PlaneView() if view is None else view
        self._account = Account(tuple(loops), generations)
        self._following = False  # the run moves a control, not a person
        self._charted: tuple[str, tuple[Generation, ...], Exception | None] = (
            "",
            (),
            None,
        )  # in the maps: strategy, generations, why they cannot be drawn
        self._chart = Coalesced(self._on_chart)
        self._build()
        super().__init__(
            [
                self._steering,
                self._progress,
                self._looking,
                self._maps,
                ipywidgets.HBox([self._curves, self._live]),
                self._trouble,
            ]
        )
        self.layout.width, self.layout.max_width = f"{round(_WIDTH * DPI) + 8}px", "100%"
        self.background.observe(self._on_state, "state")
        self.background.subscribe(lambda message: self._account.hear(message))
        self._followers = [
            self.background.subscribe(self._on_message, hz=4, failed=self._on_trouble),
            self.background.subscribe(self._on_turn, hz=2, kinds=(Turn,), failed=self._on_trouble),
            self.background.subscribe(
                self._on_live, hz=1, kinds=(Epoch, Step), failed=self._on_trouble
            ),
        ]
        self._show_state()

    # -- the run

    @property
    def runs(self) -> dict[str, tuple[Generation, ...]]:
        """The finished generations of each loop."""
        turns = self.background.records
        return {
            name: tuple(turn.generation for turn in turns if turn.strategy == name)
            for name in self._loops
        }

    @property
    def state(self) -> str:
        """Of the run: "idle", "running", "pausing", "paused", "stopping", "stopped", "done" or
        "failed".
        """
        return self.background.state

    def start(self) -> Monitor:
        """Starts the loops in the background; after a stop or a failure, again: what a run
        directory holds is read.
        """
        self.background.start()
        return self

    def pause(self) -> Monitor:
        """Holds them at the next event."""
        self.background.pause()
        return self

    def resume(self) -> Monitor:
        """Goes on."""
        self.background.resume()
        return self

    def stop(self) -> Monitor:
        """Ends them at the next event."""
        self.background.stop()
        return self

    def step(self) -> Monitor:
        """One more generation of one loop, then a pause."""
        self.background.step()
        return self

    def wait(self, timeout: float | None = None) -> Monitor:
        """Blocks until the loops have ended or are paused, and, unless they were stopped, until
        that is drawn; see :meth:`Background.wait`.
        """
        began = time.monotonic()
        self.background.wait(timeout)
        if self.state in (DONE, PAUSED):
            self.settle(math.inf if timeout is None else timeout - (time.monotonic() - began))
        return self

    def settle(self, timeout: float = 60.0) -> Monitor:
        """Waits until the maps show what was asked for."""
        self._chart.settle(timeout)
        return self

    def finish(self) -> Monitor:
        """Starts or resumes what has not been run, waits for its end (or for a pause or stop), and
        gives the panel, for a last picture.
        """
        if self.state in (IDLE, STOPPED):
            self.start()
        elif self.state == PAUSED:
            self.resume()
        return self.wait()

    def _turns(self, report: Report) -> Iterator[Turn]:
        """The loops' generations, in turn; a loop that ends drops out. Runs in the worker."""
        self._account = Account(tuple(self._loops), self._generations)
        running = {name: loop(report) for name, loop in self._loops.items()}
        while running:
            for name in list(running):
                report(Begun(name))
                generation = next(running[name], None)
                if generation is None:
                    del running[name]
                else:
                    yield Turn(name, generation)

    # -- what is shown

    @property
    def shown(self) -> Generation | None:
        """The generation to show in the maps: of the chosen strategy, at the slider, or its newest
        before that.
        """
        return (self._upto(self._strategy.value) or (None,))[-1]

    def _upto(self, strategy: str) -> tuple[Generation, ...]:
        """A strategy's generations up to the slider."""
        return self.runs[strategy][: self._slider.value]

    def _draw_maps(self, figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.075, right=0.93, top=0.91, bottom=0.14, wspace=0.28)
        strategy, generations, error = self._charted
        if error is not None:
            raise error
        for axes, title in zip((left, right), self.view.titles, strict=True):
            if not generations:
                _await(axes, title, "after the first generation")
        if not generations:
            return
        self.view.draw(left, right, generations, self._paths.value)
        for axes, title in zip((left, right), self.view.titles, strict=True):
            axes.set_title(f"{title}, {strategy}", fontsize=10)

    def _draw_curves(self, figure: Figure) -> None:
        left, middle, right = figure.subplots(1, 3)
        figure.subplots_adjust(left=0.1, right=0.985, top=0.88, bottom=0.22, wspace=0.42)
        runs = {name: generations for name, generations in self.runs.items() if generations}
        if not runs:
            for axes, title in (
                (left, "test error"),
                (middle, "labelled structures"),
                (right, "sampled energies"),
            ):
                _await(axes, title, "after the first\ngeneration")
            return
        metric = self._metric or next(
            (name for generations in runs.values() for name in generations[0].metrics), None
        )
        if metric is None:
            _await(left, "test error", "no metrics")
        else:
            plots.learning_curves(left, runs, metric, "")
            left.set_title(metric, fontsize=9)
            left.yaxis.set_major_formatter("{x:g}")
            left.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
            left.tick_params(which="minor", labelsize=8)
        plots.data_curves(middle, runs)
        plots.sampled_energies(
            right, runs, zero=self.view.zero, unit=self.view.unit, name=self.view.unit_name
        )
        for axes in (
            left,
            right,
            *([middle] if len(runs) == 1 else []),
        ):  # one is enough for all, and for one strategy none is needed
            if axes.get_legend() is not None:
                axes.get_legend().remove()
        energies = (
            f"energies ({self.view.unit_name})" if self.view.unit_name else "sampled energies"
        )
        for axes, title in ((middle, "labelled structures"), (right, energies)):
            axes.set_title(title, fontsize=9)
            axes.set_ylabel("")
        last = max(self._generations or 0, *(len(generations) for generations in runs.values()))
        for axes in (left, middle, right):
            axes.set_xlim(0.6, max(last, 2) + 0.4)
            axes.tick_params(labelsize=8)

    def _draw_live(self, figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.24, right=0.95, top=0.88, bottom=0.22)
        account = self._account
        epochs, steps = account.epochs[:], account.steps[:]
        if steps:
            axes.plot(
                [s.step for s in steps],
                [-s.losses for s in steps],
                lw=0.7,
                alpha=0.5,
                color=plots.ADVERSARIAL,
            )
            axes.set(xlabel="attack step", xlim=(0, max(1, steps[-1].steps)))
            axes.set_title(r"attack: $\mathcal{L}_\mathrm{adv}$", fontsize=9)
        elif epochs:
            plots.training_curves(axes, epochs[:: max(1, len(epochs) // 100)])
            axes.set(ylabel="", xlim=(0, epochs[-1].epochs))
            axes.legend(frameon=False, fontsize=7, loc="upper right")
            axes.set_title("training loss", fontsize=9)
        else:
            _await(axes, "training, attack", "while they run")
            return
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.tick_params(which="both", labelsize=7.5)

    def _summary(self, figure: Figure) -> None:
        """The panel without its controls."""
        top, bottom = figure.subfigures(2, 1, height_ratios=[3.5, 2.35])
        left, right = bottom.subfigures(1, 2, width_ratios=[6.0, 2.2])
        self._draw_maps(top)
        self._draw_curves(left)
        self._draw_live(right)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(
            super()._repr_mimebundle_(**options), draw_or_explain(self._summary, (_WIDTH, 5.85))[0]
        )

    # -- its parts

    def _build(self) -> None:
        def button(
            name: str, icon: str, style: str, call: Callable[[], Any], tooltip: str
        ) -> ipywidgets.Button:
            made = ipywidgets.Button(
                description=name,
                icon=icon,
                button_style=style,
                tooltip=tooltip,
                layout=ipywidgets.Layout(width="92px"),
            )
            made.on_click(lambda _: call())
            return made

        self._buttons = {
            "Start": button(
                "Start",
                "play",
                "success",
                self.start,
                "run the loops; after a stop, go on from what is on disk",
            ),
            "Pause": button("Pause", "pause", "", self.pause, "hold at the next event"),
            "Resume": button("Resume", "play", "", self.resume, "go on"),
            "Step": button(
                "Step", "step-forward", "", self.step, "one more generation, then pause"
            ),
            "Stop": button("Stop", "stop", "danger", self.stop, "end at the next event"),
        }
        self._badge = ipywidgets.HTML(layout=ipywidgets.Layout(margin="0 0 0 10px"))
        self._steering = ipywidgets.HBox(
            [*self._buttons.values(), self._badge],
            layout=ipywidgets.Layout(align_items="center", flex_flow="row wrap"),
        )

        bar = {"min": 0.0, "max": 1.0, "layout": ipywidgets.Layout(width="230px", height="22px")}
        self._outer, self._inner = (
            ipywidgets.FloatProgress(**bar),
            ipywidgets.FloatProgress(
                **{**bar, "layout": ipywidgets.Layout(width="230px", height="22px")}
            ),
        )
        self._where, self._stage, self._time = (ipywidgets.Label() for _ in range(3))
        self._where.layout.width, self._time.layout.width = "230px", "330px"
        self._progress = ipywidgets.VBox(
            [
                ipywidgets.HBox(
                    [self._outer, self._where, self._time],
                    layout=ipywidgets.Layout(align_items="center"),
                ),
                ipywidgets.HBox(
                    [self._inner, self._stage], layout=ipywidgets.Layout(align_items="center")
                ),
            ]
        )

        self._strategy = ipywidgets.ToggleButtons(
            options=list(self._loops), style={"button_width": "104px"}
        )
        self._slider = ipywidgets.IntSlider(
            value=1,
            min=1,
            max=1,
            description="generation",
            disabled=True,
            layout=ipywidgets.Layout(width="300px"),
        )
        self._newest = ipywidgets.Checkbox(
            value=True, description="newest", indent=False, layout=ipywidgets.Layout(width="80px")
        )
        self._paths = ipywidgets.Checkbox(
            value=False,
            description="attack paths",
            indent=False,
            layout=ipywidgets.Layout(width="120px"),
        )
        chooser = [self._strategy] if len(self._loops) > 1 else []
        self._looking = ipywidgets.HBox(
            [*chooser, self._slider, self._newest, self._paths],
            layout=ipywidgets.Layout(align_items="center", flex_flow="row wrap"),
        )

        self._maps = Picture(self._draw_maps, (_WIDTH, 3.5))
        self._curves = Picture(self._draw_curves, (6.0, 2.35))
        self._live = Picture(self._draw_live, (2.15, 2.35))
        self._trouble = ipywidgets.HTML()
        self._slider.observe(self._on_look, "value")
        self._paths.observe(self._on_look, "value")
        self._strategy.observe(self._on_strategy, "value")
        self._newest.observe(
            lambda change: change["new"] and self._follow(self._strategy.value), "value"
        )

    def _on_look(self, _: Any) -> None:
        """A control of the maps moved: by a person, who looks elsewhere than at the newest, or by
        the run, which draws itself.
        """
        if self._following:
            return
        if self._slider.value < self._slider.max:
            self._newest.value = False
        self._chart.request()

    def _on_strategy(self, _: Any) -> None:
        if not self._following:
            self._fit()
            self._chart.request()

    def _fit(self) -> None:
        """The slider spans what is there."""
        count = len(self.runs[self._strategy.value])
        self._slider.max, self._slider.disabled = max(count, 1), count < 2
        if self._newest.value:
            self._slider.value = self._slider.max

    def _follow(self, strategy: str) -> None:
        """Shows the newest generation of a strategy."""
        self._following = True
        try:
            self._strategy.value = strategy
            self._fit()
        finally:
            self._following = False
        self._chart.request()

    def _on_chart(self) -> None:
        """The maps anew, in a thread of its own: computed first, without the lock of all drawings."""
        strategy, error = self._strategy.value, None
        generations = self._upto(strategy)
        try:
            if generations:
                self.view.prepare(generations)
        except Exception as caught:
            error = caught
        self._charted = strategy, generations, error
        self._maps.redraw()

    # -- what the worker tells

    def _on_turn(self, _: Turn) -> None:
        """A generation is finished, or several since the last call."""
        self._following = True
        try:
            self._fit()
        finally:
            self._following = False
        if self.shown not in self._charted[1][-1:]:
            self._chart.request()
        self._curves.redraw()

    def _on_live(self, event: Epoch | Step) -> None:
        self._live.redraw()

    def _on_message(self, message: Any) -> None:
        self._show_progress()
        self._recover()

    def _on_trouble(self, error: Exception) -> None:
        self._trouble.value = error_html(
            f"this panel could not follow the run, which goes on: {type(error).__name__}: {error}"
        )

    def _recover(self) -> None:
        """Says nothing more of trouble that has passed."""
        if self.state != FAILED and all(follower.error is None for follower in self._followers):
            self._trouble.value = ""

    def _on_state(self, change: Any) -> None:
        if change["old"] not in LIVE:
            self._trouble.value = ""  # of an earlier run
        self._show_state()
        self._recover()

    def _show_progress(self) -> None:
        account, seconds = self._account, self.background.seconds
        left = account.left(seconds)
        live = self.background.alive
        self._outer.value = account.share if self._generations else float(self.state == DONE)
        self._inner.value = account.inside if live else 0.0
        self._where.value = account.overall()
        self._stage.value = account.detail() if live else ""
        spent = f"{clock(seconds)} elapsed" if account.strategy else ""
        self._time.value = spent + (
            f", about {clock(left)} left" if left is not None and live else ""
        )

    def _show_state(self) -> None:
        state = self.background.state
        self._badge.value = (
            f'<span style="background:{_TINT[state]};color:white;border-radius:4px;padding:2px'
            f' 10px;font-weight:600">{state}</span>'
        )
        usable = {
            "Start": state in (IDLE, STOPPED, FAILED),
            "Pause": state == RUNNING,
            "Resume": state in (PAUSING, PAUSED),
            "Step": state in (IDLE, STOPPED, FAILED, PAUSED),
            "Stop": state in LIVE and state != STOPPING,
        }
        for name, button in self._buttons.items():
            button.disabled = not usable[name]
        self._outer.bar_style = _BAR.get(state, "")
        self._show_progress()
        if state == FAILED:
            self._trouble.value = error_html(
                f"the run failed: {type(self.background.error).__name__}: {self.background.error}"
            )


def _await(axes: Any, title: str, text: str) -> None:
    """Empty axes that say what will be there."""
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.55", fontsize=9
    )
    for spine in axes.spines.values():
        spine.set_color("0.85")
