"""Curves over which a mark moves, drawn once: a step of a slider costs the mark and a PNG, not a
figure.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from .picture import DPI, DRAWING, apology, as_wide, bundle

Mark = Callable[[int], Sequence[Artist]]


class Marked(ipywidgets.Image):
    """A figure with a mark at a step.

    Attributes:
        error: what the last drawing raised, None when it went well.

    Args:
        draw: called with an empty figure; draws all but the mark, and gives a function that moves
            the mark's artists to a step. They are animated, so that the figure is drawn without
            them.
        size: inches; a hundred pixels each on the page, unless the page is narrower.
    """

    def __init__(self, draw: Callable[[Figure], Mark], size: tuple[float, float]) -> None:
        self.error: Exception | None = None
        self._draw, self._size, self._step = draw, size, 0
        super().__init__(format="png", layout=as_wide(size[0]))
        self.redraw(0)

    def redraw(self, step: int) -> None:
        """Draws everything anew, in this thread."""
        with DRAWING:
            self._figure = Figure(figsize=self._size, dpi=DPI, facecolor="white")
            canvas = FigureCanvasAgg(self._figure)
            self._mark: Mark = lambda _: ()
            try:
                self._mark, self.error = self._draw(self._figure), None
                canvas.draw()
            except Exception as error:
                apology(error)(self._figure)
                self.error = error
                canvas.draw()
            self._background = canvas.copy_from_bbox(self._figure.bbox)
            self.move(step)

    def move(self, step: int) -> None:
        """Shows the mark at a step, in this thread."""
        with DRAWING:
            canvas = self._figure.canvas
            canvas.restore_region(self._background)
            for artist in self._mark(step):
                artist.axes.draw_artist(artist)
            stream = io.BytesIO()
            imsave(stream, canvas.buffer_rgba(), format="png", dpi=DPI)
            self._step, self.value = step, stream.getvalue()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle(super()._repr_mimebundle_(**options), self.value)
