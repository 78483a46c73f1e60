"""Progress of a run of several loops, as numbers and as text.

The tracker receives every event and is cheap; panels read it whenever they draw. The time left
follows from the run itself: seconds so far over the share of the work done, without what was read
from disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..events import Epoch, Labelled, Progress, Stage, Step
from ..loop.generation import Generation

_STAGES = {  # stage -> its name, its typical share of a generation's time
    "members": ("training", 0.85),
    "calibration": ("calibrating", 0.0),
    "seeds": ("drawing seeds", 0.01),
    "adversaries": ("attacking", 0.1),
    "verdicts": ("selecting", 0.01),
    "review": ("waiting for a person's review", 0.0),
    "labels": ("labelling", 0.02),
    "metrics": ("testing", 0.01),
}
_SHARES = {stage: share for stage, (_, share) in _STAGES.items()}


@dataclass(frozen=True, eq=False)
class Begun:
    """A strategy begins its next generation."""

    strategy: str


@dataclass(frozen=True, eq=False)
class Turn:
    """A strategy has finished a generation."""

    strategy: str
    generation: Generation


@dataclass
class ProgressTracker:
    """Progress so far, from the events and records of a run.

    Attributes:
        strategies: names of the loops, which take turns.
        generations: number planned for each strategy; None when only the loops know.
        strategy, index: strategy at work and index of its generation.
        stage: stage of that generation; empty between two stages.
        done, total, what: steps of the stage that are done, all (0 if unknown), and a step's name.
        turns: number of finished generations of all strategies.
        epochs, steps: events of the latest training and of the latest attack.
    """

    strategies: Sequence[str]
    generations: int | None
    strategy: str = ""
    index: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    what: str = ""
    turns: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    # stage -> share of a generation's time, measured once a generation is finished
    _shares: dict[str, float] = field(default_factory=_SHARES.copy)
    # finished stages of the generation at work, and whether each was read from disk
    _finished: dict[str, bool] = field(default_factory=dict)
    _read: float = 0.0  # work of finished generations that was read from disk

    def update(self, message: Any) -> None:
        """Take an event or a record into account."""
        match message:
            case Begun():
                self.strategy, self.index = message.strategy, self.turns // len(self.strategies)
                self._enter("")
            case Turn():
                self.turns += 1
                self._read += 1.0 if all(self._finished.values()) else self._sum(self._read_stages)
                self._finished = {}
                seconds = message.generation.seconds
                if "members" in seconds:  # a generation that was read has no times
                    self._shares = {name: s / sum(seconds.values()) for name, s in seconds.items()}
                self._enter("")
            case Stage():
                self.index = message.generation
                if message.status == "started" and message.name == "members":
                    self.epochs, self.steps = [], []
                if message.status != "started":
                    self._finished[message.name] = message.status == "read"
                self._enter(message.name)
            case Epoch():
                self.epochs.append(message)
                self._count("epoch", message.epoch, message.epochs)
            case Step():
                self.steps.append(message)
                self._count("step", message.step, message.steps)
            case Labelled():
                self._count("label", message.done, message.total)
            case Progress():
                self._count(message.what, message.done, message.total)

    def _enter(self, stage: str) -> None:
        self.stage, self.what, self.done, self.total = stage, "", 0, 0

    def _count(self, what: str, done: int, total: int) -> None:
        self.what, self.done, self.total = what, done, total

    def _sum(self, stages: Iterable[str]) -> float:
        return sum(self._shares.get(stage, 0.0) for stage in stages)

    @property
    def _read_stages(self) -> list[str]:
        return [name for name, read in self._finished.items() if read]

    @property
    def inside(self) -> float:
        """Share of the stage that is done."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def share(self) -> float:
        """Share of the whole run that is done; 0 when its length is unknown."""
        if self.generations is None:
            return 0.0
        return min(1.0, self._work / (self.generations * len(self.strategies)))

    @property
    def _work(self) -> float:
        """Work done; a generation of one strategy is 1."""
        current = 0.0 if self.stage in self._finished else self.inside * self._sum([self.stage])
        return self.turns + min(1.0, self._sum(self._finished) + current)

    def left(self, seconds: float) -> float | None:
        """Return the seconds that remain after `seconds` of work; None before that can be known."""
        measured = self._work - self._read - self._sum(self._read_stages)
        if self.generations is None or measured < 0.02:
            return None
        remaining = self.generations * len(self.strategies) - self._work
        return max(0.0, seconds / measured * remaining)

    def overall(self) -> str:
        """Return the generation and the strategy as text."""
        if not self.strategy:
            return "not started"
        if self.generations is not None and self.turns >= self.generations * len(self.strategies):
            return f"all {self.generations} generations"
        of = "" if self.generations is None else f" of {self.generations}"
        name = f" · {self.strategy}" if len(self.strategies) > 1 else ""
        return f"generation {self.index + 1}{of}{name}"

    def detail(self) -> str:
        """Return the stage and its progress as text."""
        if not self.stage:
            return ""
        name, _ = _STAGES.get(self.stage, (self.stage, 0.0))
        return f"{name} · {self.what} {self.done} of {self.total}" if self.total else name


def clock(seconds: float) -> str:
    """Return minutes and seconds, with hours when there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
