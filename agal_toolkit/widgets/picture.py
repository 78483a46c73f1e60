"""Figures drawn in any thread and shown as one PNG.

A drawing is a function of a matplotlib figure. It runs on an Agg canvas under one lock, never
through pyplot, so a worker may draw while a cell plots. When it fails, the picture shows the error.
Controls do not draw: they request a redraw, and a helper thread answers several requests with one.
A picture is a light card with round corners, legible on light and on dark pages.
"""

from __future__ import annotations

import base64
import io
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

Draw = Callable[[Figure], Any]
Size = tuple[float, float]  # width and height, inches
MoveMark = Callable[[int], Sequence[Artist]]
DPI = 100
DRAWING = threading.RLock()  # matplotlib shares font and text caches between figures
CARD = "#f7f7f7"  # colour of all pictures, in any theme
# Colours of HTML: those of JupyterLab's theme, or others that are legible on black and white.
FAINT = "color:var(--jp-content-font-color2,#808080)"
RED, AMBER = "#c0392b", "#d68910"
WARNING = f"border-left:4px solid {AMBER};background:{AMBER}33;padding:0 6px;border-radius:4px"
_RADIUS = 8  # pixels, of a card's corners
_ERROR_COLOUR = "#922b21"


def png(draw: Draw, size: Size) -> bytes:
    """Return the PNG of a figure of `size` inches that `draw` fills."""
    with DRAWING:
        figure = Figure(figsize=size, dpi=DPI, facecolor=CARD)
        FigureCanvasAgg(figure)
        draw(figure)
        return encoded(figure)


def draw_or_explain(draw: Draw, size: Size) -> tuple[bytes, Exception | None]:
    """Return :func:`png` and None; when drawing fails, a picture of the error and the error."""
    try:
        return png(draw, size), None
    except Exception as error:
        return png(partial(error_figure, error=error), size), error


def encoded(figure: Figure) -> bytes:
    """Return the PNG of a figure whose canvas is Agg."""
    canvas: Any = figure.canvas
    canvas.draw()
    return _card(canvas)


def _card(canvas: Any) -> bytes:
    """Return the PNG of an Agg canvas, transparent outside its round corners."""
    pixels = np.array(canvas.buffer_rgba())
    inside = [_RADIUS - 0.5 - np.minimum(np.arange(n), np.arange(n)[::-1]) for n in pixels.shape]
    distance = np.hypot(np.maximum(inside[0][:, None], 0), np.maximum(inside[1], 0))
    share: NDArray = np.clip(_RADIUS + 0.5 - distance, 0, 1)
    pixels[..., 3] = pixels[..., 3] * share
    stream = io.BytesIO()
    imsave(stream, pixels, format="png", dpi=DPI)
    return stream.getvalue()


def error_figure(figure: Figure, error: Exception) -> None:
    """Write an error and the line that raised it on an emptied figure."""
    figure.clear()
    width = max(20, int(figure.get_figwidth() * 11))
    lines = textwrap.wrap(f"{type(error).__name__}: {error}", width)[:8]
    for frame in traceback.extract_tb(error.__traceback__)[-1:]:
        lines.append(f"in {frame.name}, line {frame.lineno}")
    text = escape_dollars("\n".join(["this picture could not be drawn", *lines]))
    font = {"fontsize": 9, "family": "monospace", "color": _ERROR_COLOUR}
    figure.text(0.03, 0.95, text, va="top", **font)


def error_html(text: str, colour: str = RED) -> str:
    """Return a message as HTML in a tinted box; :data:`RED` is for errors, `AMBER` for warnings."""
    box = f"border-left:4px solid {colour};background:{colour}26;padding:3px 8px;border-radius:4px"
    ink = "color:var(--jp-content-font-color1,inherit);white-space:pre-wrap;line-height:1.3"
    return f'<div style="{box};{ink}">{escape(text)}</div>'


def escape_dollars(text: str) -> str:
    """Return text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


def bundle(live: dict[str, Any] | None, picture: bytes) -> dict[str, Any]:
    """Return a widget's representations with a PNG beside them, for readers without a kernel."""
    return {**(live or {}), "image/png": base64.b64encode(picture).decode()}


def picture_layout(inches: float) -> ipywidgets.Layout:
    """Return the layout of a picture: `DPI` pixels an inch, at most the width of the page."""
    width = f"{round(inches * DPI)}px"
    return ipywidgets.Layout(width=width, max_width="100%", object_fit="contain", margin="2px 0")


class Coalesced:
    """A call in a helper thread; requests meanwhile or within `delay` seconds share the next."""

    def __init__(self, call: Callable[[], None], delay: float = 0.0) -> None:
        self._call, self._delay = call, delay
        self._lock, self._requested = threading.Lock(), False
        self._thread: threading.Thread | None = None

    def request(self) -> None:
        """Ask for a call and return at once."""
        with self._lock:
            self._requested = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="agal redraw")
                self._thread.start()

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until no request is outstanding, at most `timeout` seconds."""
        end = time.monotonic() + timeout
        while self._thread is not None and time.monotonic() < end:
            time.sleep(0.01)

    def _work(self) -> None:
        while True:
            time.sleep(self._delay)
            with self._lock:
                if not self._requested:
                    self._thread = None
                    return
                self._requested = False
            try:
                self._call()
            except Exception:
                with self._lock:
                    self._requested, self._thread = False, None
                raise


class Picture(ipywidgets.Image):
    """A drawing function and its latest PNG.

    Args:
        draw: draws on an empty figure; `error` is what it raised last, None when it succeeded.
        size: width and height in inches, `DPI` pixels each; narrower on a narrower page.
    """

    def __init__(self, draw: Draw, size: Size) -> None:
        self.error: Exception | None = None
        self._draw, self._size = draw, size
        self._redrawing = Coalesced(self.redraw)
        super().__init__(format="png", layout=picture_layout(size[0]))
        self.redraw()

    def redraw(self) -> None:
        """Draw and show, in this thread."""
        with DRAWING:  # else an older picture might arrive after a newer one
            self.value, self.error = draw_or_explain(self._draw, self._size)

    def request(self) -> None:
        """Ask for a redraw in another thread."""
        self._redrawing.request()

    def settle(self, timeout: float = 60.0) -> None:
        """Wait until all requested redraws are shown, at most `timeout` seconds."""
        self._redrawing.settle(timeout)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(super()._repr_mimebundle_(**options), self.value)


class MarkedPicture(Picture):
    """A figure drawn once, over which a mark moves: a step costs the mark and a PNG.

    `draw` returns a function that moves the mark's artists to a step and returns them. They are
    animated, so that the figure is drawn without them.
    """

    _move_mark: MoveMark

    def redraw(self, step: int = 0) -> None:
        """Draw everything, with the mark at `step`, in this thread."""
        with DRAWING:
            figure = Figure(figsize=self._size, dpi=DPI, facecolor=CARD)
            self._canvas = FigureCanvasAgg(figure)
            try:
                self._move_mark, self.error = self._draw(figure), None
                self._canvas.draw()
            except Exception as error:
                self._move_mark, self.error = lambda _: (), error
                error_figure(figure, error)
                self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(figure.bbox)
            self.move(step)

    def move(self, step: int) -> None:
        """Show the mark at `step`, in this thread."""
        with DRAWING:
            self._canvas.restore_region(self._background)
            for artist in self._move_mark(step):
                self._canvas.figure.draw_artist(artist)
            self.value = _card(self._canvas)
