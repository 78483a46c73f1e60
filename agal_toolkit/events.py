"""What a running computation tells its listener.

``report(event)`` is the only hook: every long computation takes one callable and hands it frozen
records. A listener that raises cancels the computation; nothing catches what it raises, and what is
finished is already on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage of a generation begins (`status` "started"), ends ("finished") or is read from disk
    ("read").
    """

    generation: int
    name: str
    status: str
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Epoch:
    """One training epoch ends: mean losses of each member, (M,); `valid` is NaN without validation
    data.
    """

    epoch: int
    epochs: int
    train: NDArray
    valid: NDArray
    learning_rate: NDArray


@dataclass(frozen=True, eq=False)
class Step:
    """One step of an attack: losses (B,) and where the particles are, (N, d)."""

    step: int
    steps: int
    losses: NDArray
    positions: NDArray


@dataclass(frozen=True, eq=False)
class Progress:
    """Any other long computation: `done` of `total` of `what`."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Labelled:
    """A reference answered (or failed, with `error`) for the geometry at `index`; `cached` when it
    was read from disk.
    """

    index: int
    done: int
    total: int
    error: str | None = None
    cached: bool = False


@dataclass(frozen=True, eq=False)
class Note:
    """Something was done otherwise than asked; `text` says what and why."""

    generation: int
    text: str


@dataclass(frozen=True, eq=False)
class Finished:
    """A generation is complete; `generation` is the record itself."""

    generation: Any


Event = Stage | Epoch | Step | Progress | Labelled | Note | Finished
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The silent listener."""
