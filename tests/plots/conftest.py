"""Axes on a canvas without a display, and a short loop to draw."""

from __future__ import annotations

from itertools import islice

import helpers
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def canvas(**size) -> Figure:
    """A figure of one's own."""
    figure = Figure(**size)
    FigureCanvasAgg(figure)
    return figure


@pytest.fixture(scope="session")
def generations():
    return list(islice(helpers.small_loop().generations(helpers.first_data()), 2))


@pytest.fixture
def figure():
    return canvas(layout="constrained")


@pytest.fixture
def axes(figure):
    return figure.add_subplot()


@pytest.fixture
def new_axes():
    """A function that makes further axes, each on a figure of its own."""
    return lambda: canvas().add_subplot()


@pytest.fixture
def drawn():
    """A function: the axes say what they show, and the canvas draws it; returns the picture's bytes."""

    def check(axes: Axes, x: str, y: str) -> np.ndarray:
        assert axes.get_xlabel() == x and axes.get_ylabel() == y
        axes.figure.canvas.draw()
        return np.asarray(axes.figure.canvas.buffer_rgba())

    return check
