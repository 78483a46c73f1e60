"""A run that stops dead at a chosen moment, for whoever wants to kill it: ``python killed_run.py
FOLDER [MOMENT]``.

At the moment ("training", "attacking" or "labelling", in the second generation) its listener writes
FOLDER/marker and waits to be killed; without one the run goes to its end. Every question to the
label function is a line of FOLDER/asked.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import helpers
import torch

from agal_toolkit.events import Epoch, Event, Labelled, Stage, Step
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.loop.loop import Loop
from agal_toolkit.references import DoubleWell

MOMENTS = {
    "training": (Epoch, "epoch", 4),
    "attacking": (Step, "step", 2),
    "labelling": (Labelled, "done", 2),
}
GENERATIONS = 3


@dataclass(frozen=True)
class Logged:
    """The double well, with a line in `file` for each question."""

    file: Path = field(compare=False)

    def __call__(self, geometry: Geometry) -> Labels:
        with self.file.open("a") as log:
            log.write(geometry.digest() + "\n")
        return DoubleWell()(geometry)


def loop(folder: Path) -> Loop:
    return helpers.small_loop(Logged(folder / "asked"))


class Waits:
    """A listener that stops everything at a moment and says so with a file."""

    def __init__(self, moment: str, marker: Path) -> None:
        self.kind, self.name, self.value = MOMENTS[moment]
        self.marker, self.generation = marker, 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stage):
            self.generation = event.generation
        if (
            self.generation == 1
            and isinstance(event, self.kind)
            and getattr(event, self.name) == self.value
        ):
            self.marker.write_text("here")
            time.sleep(600)


def main(folder: Path, moment: str | None = None) -> None:
    torch.set_num_threads(1)
    listener = {} if moment is None else {"report": Waits(moment, folder / "marker")}
    for _ in islice(
        loop(folder).generations(helpers.first_data(), folder / "run", **listener), GENERATIONS
    ):
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
