"""Frozen records of the progress of a long computation.

``report(event)`` is the only hook: every long computation calls it with these records. A listener
that raises cancels the computation; nothing catches the exception, and finished work is on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


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
    """A step of an attack: losses (B,) and positions of the particles (N, d)."""

    step: int
    steps: int
    losses: NDArray
    positions: NDArray


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
