"""Figures that may be drawn in any thread, shown as one PNG.

Drawing is a function of a matplotlib figure. It runs on an Agg canvas under one lock, never through
pyplot, so a worker may draw while a cell plots; when it fails, the picture says so in its place.
Controls do not draw: they ask for a redraw, and a helper thread makes one of all that were asked
for meanwhile.
"""

from __future__ import annotations

import base64
import io
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Draw = Callable[[Figure], None]
DPI = 100
DRAWING = threading.RLock()  # matplotlib shares font and text caches between figures


def png(draw: Draw, size: tuple[float, float], dpi: float = DPI) -> bytes:
    """A figure of `size` inches, white whatever the theme, drawn by `draw`."""
    with DRAWING:
        figure = Figure(figsize=size, dpi=dpi, facecolor="white")
        FigureCanvasAgg(figure)
        draw(figure)
        return encoded(figure)


def tried(draw: Draw, size: tuple[float, float]) -> tuple[bytes, Exception | None]:
    """The figure as :func:`png` has it; or what went wrong said in its place, and the error."""
    try:
        return png(draw, size), None
    except Exception as error:
        return png(apology(error), size), error


def encoded(figure: Figure) -> bytes:
    """The PNG of a figure whose canvas is Agg."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi="figure", facecolor="white")
    return stream.getvalue()


def apology(error: Exception) -> Draw:
    """Draws what went wrong, and where, in the place of a picture."""

    def draw(figure: Figure) -> None:
        figure.clear()
        width = max(20, int(figure.get_figwidth() * 11))
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = f"in {last[0].name}, line {last[0].lineno}" if last else ""
        text = "\n".join(
            [
                "this picture could not be drawn",
                *textwrap.wrap(f"{type(error).__name__}: {error}", width)[:8],
                where,
            ]
        )
        figure.text(
            0.03, 0.95, verbatim(text), va="top", fontsize=9, color="#922b21", family="monospace"
        )

    return draw


def verbatim(text: str) -> str:
    """For matplotlib, which takes what is between two dollars for a formula."""
    return text.replace("$", r"\$")


def bundle(live: dict[str, Any] | None, picture: bytes) -> dict[str, Any]:
    """A widget's representations with a PNG beside the live view, for readers without a kernel."""
    return {**(live or {}), "image/png": base64.b64encode(picture).decode()}


def red(text: str) -> str:
    """What went wrong, for a page."""
    return f'<div style="color:#922b21;white-space:pre-wrap;line-height:1.3">{escape(text)}</div>'


def as_wide(inches: float) -> ipywidgets.Layout:
    """Of a picture: a hundred pixels an inch, unless the page is narrower."""
    return ipywidgets.Layout(
        width=f"{round(inches * DPI)}px", max_width="100%", object_fit="contain", margin="0"
    )


class Latest:
    """Runs a function in a helper thread; requests made while it runs, or within `delay` seconds,
    become one run.
    """

    def __init__(self, call: Callable[[], None], delay: float = 0.0) -> None:
        self._call, self._delay = call, delay
        self._lock, self._wanted = threading.Lock(), False
        self._thread: threading.Thread | None = None

    def request(self) -> None:
        """Returns at once."""
        with self._lock:
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="agal redraw")
                self._thread.start()

    def settle(self, timeout: float = 60.0) -> None:
        """Waits until nothing is outstanding."""
        end = time.monotonic() + timeout
        while self._thread is not None and time.monotonic() < end:
            time.sleep(0.01)

    def _work(self) -> None:
        while True:
            time.sleep(self._delay)
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                self._call()
            except Exception:
                with self._lock:
                    self._wanted, self._thread = False, None
                raise


class Picture(ipywidgets.Image):
    """A drawing function and its latest PNG.

    Attributes:
        error: what the last drawing raised, None when it went well.

    Args:
        draw: called with an empty figure.
        size: inches; the width on the page is `DPI` times that, unless the page is narrower.
    """

    def __init__(self, draw: Draw, size: tuple[float, float]) -> None:
        self.error: Exception | None = None
        self._draw, self._size = draw, size
        self._latest = Latest(self.redraw)
        super().__init__(format="png", value=self.png(), layout=as_wide(size[0]))

    def png(self) -> bytes:
        """Drawn now."""
        picture, self.error = tried(self._draw, self._size)
        return picture

    def redraw(self) -> None:
        """Draws and shows, in this thread."""
        with DRAWING:  # else an older picture might arrive after a newer one
            self.value = self.png()

    def request(self) -> None:
        """Asks for a redraw, soon, in another thread."""
        self._latest.request()

    def settle(self) -> None:
        """Waits for the redraws that were asked for."""
        self._latest.settle()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(super()._repr_mimebundle_(**options), self.value)
