"""Frozen records of the progress of a long computation.

``report(event)`` is the only hook: every long computation calls it with these records. A listener
that raises cancels the computation; nothing catches the exception, and finished work is on disk.
:data:`text` is a listener for terminals.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from tqdm import tqdm

logger = logging.getLogger(__name__.partition(".")[0])


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage of a generation has the `status` "started", "finished" or "read" (from disk)."""

    generation: int
    name: str
    status: str
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Epoch:
    """A training epoch ended: mean losses (M,); `valid` is NaN without validation data."""

    epoch: int
    epochs: int
    train: NDArray
    valid: NDArray
    learning_rate: NDArray


@dataclass(frozen=True, eq=False)
class Step:
    """A step of an attack: losses (B,), positions of the particles (N, d) and cells (B, d, d)."""

    step: int
    steps: int
    losses: NDArray
    positions: NDArray
    cells: NDArray | None = None


@dataclass(frozen=True, eq=False)
class Progress:
    """Progress of any other long computation: `done` of `total` of `what`."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Labelled:
    """The geometry at `index` got labels, or failed with `error`; `cached` if read from disk."""

    index: int
    done: int
    total: int
    error: str | None = None
    cached: bool = False


@dataclass(frozen=True, eq=False)
class Note:
    """Something was done differently than requested; `text` says what and why.

    `generation` counts from 0; None outside a loop.
    """

    generation: int | None
    text: str


@dataclass(frozen=True, eq=False)
class Finished:
    """A generation is complete; `generation` is the record itself."""

    generation: Any


Event = Stage | Epoch | Step | Progress | Labelled | Note | Finished
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event."""


class Text:
    """A listener that draws bars with the time left, where standard error is a terminal.

    Stages and notes are logged anywhere: ``logging.basicConfig(level="INFO")`` shows them.
    """

    def __init__(self) -> None:
        self._place, self._bar = "", None

    def __call__(self, event: Event) -> None:
        """Write an event."""
        terminal = sys.stderr is not None and sys.stderr.isatty()
        if isinstance(event, Stage):
            self._close()
            self._place = f"generation {event.generation + 1}, {event.name}"
            spent = f" in {event.seconds:.1f} s" if event.status == "finished" else ""
            logger.info("%s %s%s", self._place, event.status, spent)
        elif isinstance(event, Note):
            logger.info("%s", event.text)
            if terminal:
                tqdm.write(event.text, file=sys.stderr)
        elif terminal and not isinstance(event, Finished):
            if isinstance(event, Epoch):
                what, done, total = "epochs", event.epoch, event.epochs
            elif isinstance(event, Step):
                what, done, total = "steps", event.step, event.steps
            else:
                what = event.what if isinstance(event, Progress) else "labels"
                done, total = event.done, event.total
            name = f"{self._place}: {what}".removeprefix(": ")
            if self._bar is None or (self._bar.desc, self._bar.total) != (f"{name}: ", total):
                self._close()
                self._bar = tqdm(total=total, desc=name, leave=False, file=sys.stderr)
            self._bar.update(done - self._bar.n)

    def __reduce__(self) -> str:
        return "text"  # a copy is the same listener

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


text = Text()
