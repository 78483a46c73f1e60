"""What all lessons share: the preset, words where a loop has not run yet, and checks of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from .jobs import chosen_preset

SMOKE = "smoke"
BANNER = "preset smoke:\nthis picture means nothing"
_STAMPED = "_stamped"
Sizes = TypeVar("Sizes")


def begin(presets: Mapping[str, Sizes]) -> tuple[str, Sizes]:
    """Return the name and sizes of the chosen preset; print them, and stamp figures in smoke."""
    # small networks train faster on one thread, and the page stays alive on another
    torch.set_num_threads(1)
    name = chosen_preset(presets)
    print(f"preset {name}")
    if name == SMOKE:
        print("Everything is too small to be true. Unset AGAL_PRESET for the lesson.")
        stamp_figures()
    return name, presets[name]


def stamp_figures() -> None:
    """Write :data:`BANNER` across all matplotlib figures of this process, also those of panels."""
    draw = Figure.draw
    if hasattr(draw, _STAMPED):
        return

    @wraps(draw)
    def draw_and_stamp(figure: Figure, renderer: Any) -> None:
        draw(figure, renderer)
        look = {"ha": "center", "va": "center", "rotation": 12, "color": "#c0392b", "alpha": 0.55}
        text = Text(0.5, 0.5, BANNER, weight="bold", transform=figure.transFigure, **look)
        text.set_figure(figure)
        text.set_fontsize(min(22.0, 3.4 * figure.get_figwidth()))
        text.draw(renderer)

    setattr(draw_and_stamp, _STAMPED, True)
    Figure.draw = draw_and_stamp


def started(generations: Sequence[Any], panel: str) -> bool:
    """Return whether a loop has finished a generation; if it has not, print what to do."""
    if not generations:
        print(
            f"No generation is finished yet. Press Start in {panel}, wait for the first"
            " generation, and run this cell again."
        )
    return bool(generations)


def check(answer: Any, right: Callable[[Any], bool], hint: str) -> None:
    """Print whether an answer is right; an answer of ``...`` is still a blank.

    Args:
        answer: what the reader filled in.
        right: returns whether the answer is right.
        hint: printed if it is not.
    """
    if answer is ...:
        print("Replace the dots by your answer, and run this cell again.")
    else:
        print("Right." if right(answer) else f"Not yet. {hint}")
