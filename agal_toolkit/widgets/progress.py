"""Where a run of several loops is: a plain account of its events, and the same in words.

The account is kept at every event and costs nothing; views read it as often as they draw. The time
left is what the run
itself has measured: seconds so far over the share of the work done so far, what was read from disk
left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..events import Epoch, Labelled, Progress, Stage, Step
from ..loop.generation import Generation

# About how a generation's time is shared before one has been measured.
_SHARES = {
    "members": 0.85,
    "seeds": 0.01,
    "adversaries": 0.1,
    "verdicts": 0.01,
    "labels": 0.02,
    "metrics": 0.01,
}
_WORDS = {
    "members": "training",
    "calibration": "calibrating",
    "seeds": "drawing seeds",
    "adversaries": "attacking",
    "verdicts": "selecting",
    "labels": "labelling",
    "metrics": "testing",
}


@dataclass(frozen=True, eq=False)
class Begun:
    """The next generation of a strategy begins."""

    strategy: str


@dataclass(frozen=True, eq=False)
class Turn:
    """A strategy finished a generation."""

    strategy: str
    generation: Generation


@dataclass
class Account:
    """What happened so far.

    Attributes:
        strategies: names of the loops that take turns.
        generations: planned for each, None when only the loops know.
        strategy: whose turn it is.
        index: of the generation at work.
        stage: of it; empty between two.
        done: steps of the stage.
        total: steps of the stage, 0 where it does not count.
        what: is counted.
        turns: finished generations of all strategies.
        epochs: of the latest training.
        steps: of the latest attack.
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
    _shares: Mapping[str, float] = field(default_factory=lambda: _SHARES)
    _passed: dict[str, bool] = field(
        default_factory=dict
    )  # finished stages of the generation at work: whether disk had them
    _read: float = 0.0  # work that disk already held

    def hear(self, message: Any) -> None:
        """Takes an event or a record into account."""
        match message:
            case Begun():
                self.strategy, self.index = message.strategy, self.turns // len(self.strategies)
                self._enter("")
            case Turn():
                self.turns += 1
                self._read += (
                    1.0
                    if all(self._passed.values())
                    else self._sum(name for name, read in self._passed.items() if read)
                )
                self._passed = {}
                self._measure(message.generation.seconds)
                self._enter("")
            case Stage():
                self.index = message.generation
                if message.status == "started" and message.name == "members":
                    self.epochs, self.steps = [], []
                if message.status != "started":
                    self._passed[message.name] = message.status == "read"
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
        self.stage = stage
        self._count("", 0, 0)

    def _measure(self, seconds: Mapping[str, float]) -> None:
        """Shares of the stages as the last generation had them; a generation that was read has no
        times.
        """
        if "members" in seconds:
            self._shares = {name: s / sum(seconds.values()) for name, s in seconds.items()}

    def _sum(self, stages: Iterable[str]) -> float:
        return sum(self._shares.get(stage, 0.0) for stage in stages)

    def _count(self, what: str, done: int, total: int) -> None:
        self.what, self.done, self.total = what, done, total

    @property
    def inside(self) -> float:
        """Share of the stage that is done."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def share(self) -> float:
        """Share of the whole run that is done; 0 when its length is unknown."""
        if self.generations is None:
            return 0.0
        return min(1.0, self._worked / (self.generations * len(self.strategies)))

    @property
    def _worked(self) -> float:
        """Work done, a generation of one strategy being 1."""
        current = 0.0 if self.stage in self._passed else self.inside * self._sum([self.stage])
        return self.turns + min(1.0, self._sum(self._passed) + current)

    def left(self, seconds: float) -> float | None:
        """Seconds that remain after `seconds` of work; None before it can be told."""
        worked = (
            self._worked
            - self._read
            - self._sum(name for name, read in self._passed.items() if read)
        )
        if self.generations is None or worked < 0.02:
            return None
        return max(0.0, seconds / worked * (self.generations * len(self.strategies) - self._worked))

    def overall(self) -> str:
        """Which generation of which strategy."""
        if not self.strategy:
            return "not started"
        if self.generations is not None and self.turns >= self.generations * len(self.strategies):
            return f"all {self.generations} generations"
        of = "" if self.generations is None else f" of {self.generations}"
        name = f" · {self.strategy}" if len(self.strategies) > 1 else ""
        return f"generation {self.index + 1}{of}{name}"

    def detail(self) -> str:
        """Which stage of it, and how far."""
        if not self.stage:
            return ""
        word = _WORDS.get(self.stage, self.stage)
        return word if not self.total else f"{word} · {self.what} {self.done} of {self.total}"


def clock(seconds: float) -> str:
    """Minutes and seconds, hours when there are any."""
    minutes, rest = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
