"""What all pictures share: colours that mean the same everywhere, readable axes, legends, tags.

Red is adversarial, blue random, near-black the truth, purple an uncertainty; white points are the
original data, gray ones acquired earlier, black ones new (Schwalbe-Koda 2021, Fig. 2a). Groups of
one kind are tones of its colour from light to dark; markers and line styles tell kinds apart in
print without colours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

ADVERSARIAL, RANDOM, TRUTH, UNCERTAIN, GREEN = "#c0392b", "#2471a3", "0.15", "#7d3c98", "#1e8449"
ENERGY_COLOURS, SIGMA_COLOURS = "viridis", "magma"
ORIGINAL, EARLIER, NEW = "white", "0.6", "black"
Place = Literal[
    "best", "upper left", "upper center", "upper right", "lower left", "lower center", "lower right"
]
# Of groups that have no colour of their own.
CYCLE = (RANDOM, ADVERSARIAL, GREEN, "#d68910", UNCERTAIN, "#17a2b8", "#873600", "#7f8c8d")
# The frame below a text on colours.
PLATE = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85}


def strategy_colour(name: str) -> str:
    """Return red for "adversarial", blue for "random", green for any other strategy."""
    return {"adversarial": ADVERSARIAL, "random": RANDOM}.get(name, GREEN)


@dataclass(frozen=True)
class Look:
    """How a group of structures or a committee is drawn: its colour, marker and line style."""

    colour: str
    marker: str = "o"
    line: str = "-"

    @property
    def style(self) -> dict[str, Any]:
        """Colour, marker and line style as keyword arguments of :meth:`Axes.plot`."""
        return {"color": self.colour, "marker": self.marker, "ls": self.line}


class _Kind(NamedTuple):
    """The look of names with a word that begins in one of these ways; tones darken."""

    beginnings: tuple[str, ...]
    tones: tuple[str, ...]
    marker: str
    line: str


_REDS, _BLUES = ("#f2a590", ADVERSARIAL, "#66130d"), ("#8fc3ea", RANDOM, "#123a63")
_KINDS = (  # the first that fits counts
    _Kind(("dft", "tru", "reference"), (TRUTH,), "*", "-"),
    _Kind(("random",), _BLUES, "s", "--"),
    _Kind(("displaced", "initial", "original"), ("0.75",), "D", ":"),
    _Kind(("adversar", "attack", "generation", "committee"), _REDS, "o", "-"),
)
_OTHERS = (GREEN, UNCERTAIN, "#d68910", "#17a2b8", "#873600", "#5d6d7e")


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for each name, from the words in it: "DFT", "random 0.3", "adversarial 2".

    Reference and truth are near-black, random ones blue, displaced ones gray, attacks, generations
    and committees red; names of one kind become darker in the order given, and other names have
    colours of their own. Give the same names, or the result itself, to all panels of a figure.
    """
    names = list(dict.fromkeys(names))
    kinds = {name: _kind(name) for name in names}
    others = [name for name in names if kinds[name] is None]
    result = {name: Look(_OTHERS[k % 6], "^vPX<>"[k % 6], "-.") for k, name in enumerate(others)}
    for kind in _KINDS:
        group = [name for name in names if kinds[name] is kind]
        for name, colour in zip(group, _tones(kind.tones, len(group)), strict=True):
            result[name] = Look(colour, kind.marker, kind.line)
    return {name: result[name] for name in names}


def _kind(name: str) -> _Kind | None:
    words = name.lower().replace("-", " ").split()
    fitting = (k for k in _KINDS if any(word.startswith(k.beginnings) for word in words))
    return next(fitting, None)


def _tones(anchors: tuple[str, ...], count: int) -> list[str]:
    """Return `count` colours between the anchors; a single one is the middle anchor."""
    if count < 2 or len(anchors) == 1:
        return [anchors[len(anchors) // 2]] * count
    between = LinearSegmentedColormap.from_list("", anchors)
    return [to_hex(between(place)) for place in np.linspace(0, 1, count)]


def plain_logarithm(axis: Axis, shown: tuple[int, ...] = (1, 2, 5)) -> None:
    """Write numbers instead of powers on a logarithmic axis, `shown` of each decade."""
    axis.set_major_locator(LogLocator(subs=shown))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def plain(value: float) -> str:
    """Return a number with three significant digits and no power of ten for large ones."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plain_numbers(axis: Axis) -> None:
    """Write whole numbers at the ticks of an axis, without an offset or a power above it."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def round_ticks(axes: Axes) -> None:
    """Put few ticks at round numbers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def framed_legend(axes: Axes, *, place: Place = "best", columns: int = 1) -> None:
    """Add a legend in a light frame that stays readable on data, if any artist has a label."""
    if axes.get_legend_handles_labels()[0]:
        options: dict[str, Any] = {"borderpad": 0.3, "labelspacing": 0.3, "columnspacing": 1.2}
        options |= {"handlelength": 1.9, "framealpha": 0.85, "edgecolor": "0.85", "fontsize": 9}
        axes.legend(loc=place, ncols=columns, **options)
