"""A figure that a person can click on; the only file that knows ipympl.

Without ipympl (the extra ``map`` installs it) :func:`clickable` returns a picture of the figure, so
a panel offers sliders beside it. ``refresh()`` shows the current figure and suits any thread.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib
from IPython import get_ipython
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agal_toolkit.widgets.picture import DPI, DRAWING, encoded, picture_layout

MISSING = "ipympl is not installed (pip install agal_toolkit[map])"
Clicked = Callable[[float, float], Any]


class Still(ipywidgets.Image):
    """A figure as a PNG."""

    clickable = False

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        FigureCanvasAgg(figure)
        super().__init__(format="png", layout=picture_layout(figure.get_figwidth()))
        self.refresh()

    def refresh(self) -> None:
        """Show the current figure."""
        with DRAWING:
            self.value = encoded(self._figure)


def clickable(figure: Figure, clicked: Clicked) -> Any:
    """Return a view of `figure`; with ipympl, a click on the first axes calls `clicked(x, y)`."""
    if importlib.util.find_spec("ipympl") is None:
        return Still(figure)
    backend = matplotlib.get_backend()
    from ipympl.backend_nbagg import Canvas, FigureManager

    if matplotlib.get_backend() != backend:  # importing ipympl changed it for all figures
        matplotlib.use(backend)
        if "inline" in backend:
            get_ipython().enable_matplotlib("inline")

    class Live(Canvas):
        """ipympl's canvas under the lock of all drawing, which workers and the browser share."""

        clickable = True

        def draw(self) -> None:
            with DRAWING:
                # The browser skips frames that come too fast, so a difference to the last frame
                # might be one to a frame that it never showed.
                self._force_full = True
                super().draw()

        def refresh(self) -> None:
            """Show the current figure."""
            self.draw()

    with DRAWING, warnings.catch_warnings():
        # traitlets deprecates how ipympl 0.10 makes its toolbar
        warnings.simplefilter("ignore", DeprecationWarning)
        canvas = Live(figure)
        # ipympl 0.10 would send a picture that the browser cannot read; the browser asks for one
        canvas.syncing_data_url = False
        FigureManager(canvas, 0)
    canvas.header_visible = canvas.footer_visible = canvas.toolbar_visible = False
    canvas.resizable = False
    canvas.layout.width = f"{round(figure.get_figwidth() * DPI)}px"

    def pressed(event: Any) -> None:
        if event.inaxes is figure.axes[0] and event.xdata is not None:
            clicked(float(event.xdata), float(event.ydata))

    canvas.mpl_connect("button_press_event", pressed)
    canvas.refresh()
    return canvas
