"""What all panels share: a line for errors, waiting, and a picture for readers without a kernel.

A panel is a column of widgets that helper threads keep up to date. An error of a helper or of a run
is written below the widgets and the panel stays usable. A :class:`RunPanel` also steers a run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import ipywidgets
from ipywidgets import Widget
from matplotlib.figure import Figure

from .background import IDLE, STOPPED, Background
from .picture import Coalesced, Picture, Size, bundle, draw_or_explain, error_html

# ipywidgets gives handles of sliders and buttons of Play no accessible names, so the page copies
# the slider's description and the name of the button's icon.
_NAME_SLIDERS = """<img hidden src="data:," onerror="
const image = this, name = () => {
    const panel = image.closest('.agal-panel');
    image.tries = (image.tries || 0) + 1;
    if (!panel) return image.tries < 100 && setTimeout(name, 100);
    for (const handle of panel.querySelectorAll('.noUi-handle')) {
        const label = handle.closest('.jupyter-widgets').querySelector('.widget-label');
        if (label) handle.setAttribute('aria-label', label.textContent);
    }
    for (const button of panel.querySelectorAll('.widget-play button'))
        button.setAttribute('aria-label', button.firstChild.className.split('fa-').pop());
    if (!image.observer) {
        image.observer = new MutationObserver(name);
        image.observer.observe(panel, {childList: true, subtree: true});
    }
};
name();">"""


def value_of(control: str, doc: str) -> Any:
    """Return a property of a panel that reads and sets the value of one of its controls."""

    def assign(panel: Panel, value: Any) -> None:
        getattr(panel, control).value = value

    return property(lambda panel: getattr(panel, control).value, assign, doc=doc)


class Panel(ipywidgets.VBox):
    """A column of widgets above a line for errors; subclasses define :meth:`_draw_static`.

    Args:
        children: widgets from top to bottom.
        size: width and height of the static picture, in inches.
        helpers: work that :meth:`settle` waits for, in this order.
    """

    _settles = False  # whether the static picture waits until everything is drawn

    def __init__(
        self, children: Iterable[Widget], size: Size, helpers: Iterable[Coalesced | Picture] = ()
    ) -> None:
        self._size, self._helpers = size, tuple(helpers)
        self._trouble = ipywidgets.HTML()
        names = ipywidgets.HTML(_NAME_SLIDERS, layout={"display": "none"})
        super().__init__([*children, names, self._trouble])
        self.layout.max_width = "100%"
        self.add_class("agal-panel")

    def settle(self, timeout: float = 60.0) -> Self:
        """Wait until everything requested is drawn, at most `timeout` seconds."""
        end = time.monotonic() + timeout
        for helper in self._helpers:
            helper.settle(max(0.0, end - time.monotonic()))
        return self

    def _show_error(self, error: BaseException, prefix: str = "") -> None:
        self._trouble.value = error_html(f"{prefix}{type(error).__name__}: {error}")

    def _clear_error(self) -> None:
        self._trouble.value = ""

    def _draw_static(self, figure: Figure) -> None:
        """Draw the panel without its controls."""
        raise NotImplementedError

    def _static_picture(self) -> bytes:
        if self._settles:
            self.settle()
        return draw_or_explain(self._draw_static, self._size)[0]

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(super()._repr_mimebundle_(**options), self._static_picture())


class RunPanel(Panel):
    """A panel that steers one :class:`~agal_toolkit.widgets.background.Background` at a time."""

    background: Any  # a Background, or None before there is one

    @property
    def state(self) -> str:
        """State of the run, one of :data:`~agal_toolkit.widgets.background.STATES`."""
        return IDLE if self.background is None else self.background.state

    def start(self) -> Self:
        """Start the run, start it anew after its end, or resume it."""
        return self._steer(Background.start)

    def pause(self) -> Self:
        """Hold the run at its next event."""
        return self._steer(Background.pause)

    def resume(self) -> Self:
        """Continue after a pause."""
        return self._steer(Background.resume)

    def step(self) -> Self:
        """Run until one more record is finished, then pause."""
        return self._steer(Background.step)

    def stop(self) -> Self:
        """End the run at its next event."""
        return self._steer(Background.stop)

    def wait(self, timeout: float | None = None) -> None:
        """Wait like :meth:`Background.wait` and, unless the run was stopped, until all is drawn.

        Returns None, so that a cell which ends with it does not show the panel once more.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        self._steer(lambda run: run.wait(timeout))
        if self.state != STOPPED:
            self.settle(end - time.monotonic())

    def _steer(self, command: Callable[[Background[Any]], Any]) -> Self:
        if self.background is not None:
            command(self.background)
        return self
