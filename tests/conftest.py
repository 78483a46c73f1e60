"""What every test stands on: one thread, no display, no one's Jupyter settings, the same random
numbers each time.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Read at import by the libraries below and by the kernels, servers and workers that tests start.
os.environ["MPLBACKEND"] = "Agg"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["JUPYTER_PLATFORM_DIRS"] = (
    "1"  # without it jupyter_core warns, and a warning is an error here
)
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = (
    "1"  # the debugger's complaint about frozen modules would be a kernel's stderr
)
_private = tempfile.TemporaryDirectory(prefix="agal-tests-")
atexit.register(_private.cleanup)
for _variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
    _folder = Path(_private.name, _variable.lower())
    _folder.mkdir()
    os.environ[_variable] = str(_folder)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

pytest.register_assert_rewrite("helpers")
torch.set_num_threads(1)
# No deadline: on a shared machine it would measure the neighbours. Derandomized: a failure seen
# once is seen by everyone.
settings.register_profile("agal", deadline=None, derandomize=True)
settings.load_profile("agal")

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before -m deselects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder: tests/benchmarks are `benchmark`, tests/browser are `browser`."""
    for item in items:
        if item.path.is_relative_to(_HERE / "benchmarks"):
            item.add_marker("benchmark")
        if item.path.is_relative_to(_HERE / "browser"):
            item.add_marker("browser")


@pytest.fixture(autouse=True)
def _alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """With several workers (-n 2), a browser test has the machine to itself: it measures how soon a
    page answers.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    import fcntl  # not on Windows, where tests run in one worker

    with (tmp_path_factory.getbasetemp().parent / "turn").open("w") as turn:
        fcntl.flock(
            turn, fcntl.LOCK_EX if request.node.get_closest_marker("browser") else fcntl.LOCK_SH
        )
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator that starts anew, and equal, in every test."""
    return np.random.default_rng(20211)


# -- pictures


def canvas(**size) -> Figure:
    """A figure of one's own, on a canvas without a display."""
    figure = Figure(**size)
    FigureCanvasAgg(figure)
    return figure


@pytest.fixture
def figure() -> Figure:
    """An empty figure."""
    return canvas(layout="constrained")


@pytest.fixture
def axes(figure) -> Axes:
    """Empty axes."""
    return figure.add_subplot()


@pytest.fixture
def new_axes():
    """A function that makes further axes, each on a figure of its own."""
    return lambda: canvas().add_subplot()


@pytest.fixture
def drawn():
    """A function: the axes say what they show, and the canvas draws it; returns the picture's
    bytes.
    """

    def check(axes: Axes, x: str, y: str) -> np.ndarray:
        assert axes.get_xlabel() == x
        assert axes.get_ylabel() == y
        axes.figure.canvas.draw()
        return np.asarray(axes.figure.canvas.buffer_rgba())

    return check
