"""A figure that a person can click on; alone knows ipympl.

Without ipympl (the extra ``map`` installs it) :func:`clickable` gives a picture of the figure that
cannot be clicked, so a panel offers sliders beside it. Either way ``refresh()`` shows the figure as
it is now, from any thread.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable

import ipywidgets
import matplotlib
from IPython import get_ipython
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .picture import DPI, DRAWING, encoded, picture_layout

MISSING = "ipympl is not installed (pip install agal_toolkit[map])"
Clicked = Callable[[float, float], None]


class Still(ipywidgets.Image):
    """A figure as a PNG."""

    clickable = False

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        FigureCanvasAgg(figure)
        super().__init__(format="png", layout=picture_layout(figure.get_figwidth()))
        self.refresh()

    def refresh(self) -> None:
        """Shows the figure as it is now."""
        with DRAWING:
            self.value = encoded(self._figure)


def clickable(figure: Figure, clicked: Clicked) -> ipywidgets.DOMWidget:
    """A view of `figure` that calls `clicked(x, y)` with the data coordinates of a click on its
    axes, where ipympl is installed.
    """
    if importlib.util.find_spec("ipympl") is None:
        return Still(figure)
    return _clickable(figure, clicked)


def _clickable(figure: Figure, clicked: Clicked) -> ipywidgets.DOMWidget:
    backend = matplotlib.get_backend()
    from ipympl.backend_nbagg import Canvas, FigureManager

    if "inline" in backend and matplotlib.get_backend() != backend:
        get_ipython().enable_matplotlib(
            "inline"
        )  # importing ipympl had made it the backend of all other figures

    class Clickable(Canvas):
        """ipympl's canvas, drawn under the lock of all our drawing: a frame from the worker and a
        redraw that the browser asks for never mix.
        """

        clickable = True

        def draw(self) -> None:
            with DRAWING:
                # the browser skips frames that come too fast, and the next difference would be to
                # one it never showed
                self._force_full = True
                super().draw()

        def refresh(self) -> None:
            """Shows the figure as it is now."""
            self.draw()

    with DRAWING:
        canvas = Clickable(figure)
        # ipympl 0.10 would hand the browser a picture that it cannot read; the browser asks for one
        # itself
        canvas.syncing_data_url = False
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # traitlets', of how ipympl 0.10 makes its toolbar
            FigureManager(canvas, 0)
    canvas.header_visible = canvas.footer_visible = canvas.toolbar_visible = canvas.resizable = (
        False
    )
    canvas.layout.width = f"{round(figure.get_figwidth() * DPI)}px"

    def pressed(event: object) -> None:
        if event.inaxes is figure.axes[0] and event.xdata is not None:
            clicked(float(event.xdata), float(event.ydata))

    canvas.mpl_connect("button_press_event", pressed)
    canvas.refresh()
    return canvas
