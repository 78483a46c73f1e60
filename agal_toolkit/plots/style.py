"""What all pictures share: colours that mean the same everywhere, axes with readable numbers,
legends and tags.

Red is adversarial, blue random, near-black the truth, purple an uncertainty; white points are the
original data, gray ones acquired earlier, black ones new (Schwalbe-Koda 2021, Fig. 2a). Several
groups of one kind are tones of its colour from light to dark, so that they can be told apart in
print without colours; a marker and a line style tell the kinds apart there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

ADVERSARIAL, RANDOM, TRUTH, UNCERTAIN = "#c0392b", "#2471a3", "0.15", "#7d3c98"
CYCLE = (
    RANDOM,
    ADVERSARIAL,
    "#1e8449",
    "#d68910",
    UNCERTAIN,
    "#17a2b8",
    "#873600",
    "#7f8c8d",
)  # of groups that have no colour of their own
PLATE = {
    "boxstyle": "round,pad=0.2",
    "fc": "white",
    "ec": "none",
    "alpha": 0.85,
}  # below a text on colours
ENERGY_COLOURS, SIGMA_COLOURS = "viridis", "magma"
ORIGINAL, EARLIER, NEW = "white", "0.6", "black"


def strategy_colour(name: str) -> str:
    """Red for adversarial, blue for random, green for anything else."""
    return {"adversarial": ADVERSARIAL, "random": RANDOM}.get(name, "#1e8449")


@dataclass(frozen=True)
class Look:
    """How a group of structures or a committee is drawn.

    Attributes:
        colour: of points, lines and boxes.
        marker: of points.
        line: style of lines.
    """

    colour: str
    marker: str = "o"
    line: str = "-"


# How words of a name begin -> tones from light to dark, marker and line; the first kind that fits
# counts.
_KINDS: tuple[tuple[tuple[str, ...], tuple[str, ...], str, str], ...] = (
    (("dft", "tru", "reference"), (TRUTH,), "*", "-"),
    (("random",), ("#8fc3ea", RANDOM, "#123a63"), "s", "--"),
    (("displaced", "initial", "original"), ("0.75",), "D", ":"),
    (
        ("adversar", "attack", "generation", "committee"),
        ("#f2a590", ADVERSARIAL, "#66130d"),
        "o",
        "-",
    ),
)
_OTHERS = ("#1e8449", "#7d3c98", "#d68910", "#17a2b8", "#873600", "#5d6d7e")


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, from the words in it: "DFT", "random 0.3", "adversarial 2", "committee
    3", "displaced".

    Reference and truth are near-black, random ones blue, displaced ones gray, attacks, generations
    and committees red; names of one kind become darker in the order given, and other names have
    colours of their own. Give the same names, or the result itself, to all panels of a figure.
    """
    names = list(dict.fromkeys(names))
    kinds: dict[int, list[str]] = {}
    for name in names:
        words = name.lower().replace("-", " ").split()
        found = next(
            (
                k
                for k, (starts, *_) in enumerate(_KINDS)
                if any(word.startswith(starts) for word in words)
            ),
            len(_KINDS),
        )
        kinds.setdefault(found, []).append(name)
    found = {
        name: Look(_OTHERS[k % len(_OTHERS)], "^", "-.")
        for k, name in enumerate(kinds.pop(len(_KINDS), []))
    }
    for kind, members in kinds.items():
        _, tones, marker, line = _KINDS[kind]
        found |= {
            name: Look(colour, marker, line)
            for name, colour in zip(members, _tones(tones, len(members)), strict=True)
        }
    return {name: found[name] for name in names}


def _tones(anchors: tuple[str, ...], count: int) -> list[str]:
    """`count` colours between the anchors; one alone has the middle one."""
    if count == 1 or len(anchors) == 1:
        return [anchors[len(anchors) // 2]] * count
    between = LinearSegmentedColormap.from_list("", anchors)
    return [to_hex(between(place)) for place in np.linspace(0, 1, count)]


def plain_logarithm(axis: Axis, at: tuple[int, ...] = (1, 2, 5)) -> None:
    """Numbers, not powers, on a logarithmic axis; `at` are those shown of each decade."""
    axis.set_major_locator(LogLocator(subs=at))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def round_ticks(axes: Axes) -> None:
    """Few ticks at round numbers."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def framed_legend(axes: Axes, *, place: str = "best", columns: int = 1) -> None:
    """A legend of all labelled artists, if there are any, in a light frame that keeps it readable
    where it lies on data.
    """
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc=place,
            ncols=columns,
            fontsize=9,
            framealpha=0.85,
            edgecolor="0.85",
            borderpad=0.3,
            labelspacing=0.3,
            columnspacing=1.2,
            handlelength=1.9,
        )


def tag(axes: Axes, text: str) -> None:
    """A label in the top left corner, readable on any colour."""
    axes.text(
        0.03,
        0.97,
        text,
        transform=axes.transAxes,
        va="top",
        ha="left",
        fontsize=9,
        zorder=9,
        bbox=PLATE,
    )
