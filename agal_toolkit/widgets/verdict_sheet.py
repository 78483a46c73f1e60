"""The verdicts that a person has given so far, on disk after each of them, with undo."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..files import atomic_write, read_json, reading, write_json
from ..loop.review import Reviewed

Verdicts = dict[int, str | None]  # None accepts, a text rejects


@dataclass
class VerdictSheet:
    """Verdicts on structures, which are named by their digests.

    Attributes:
        digests: of the structures.
        draft: file that holds unfinished verdicts; None keeps them in memory.
        verdicts: by index, those given so far: None accepts, a text (it may be empty) rejects.
        notes: by index.
        index: structure in view.
    """

    digests: list[str]
    draft: Path | None = None
    verdicts: Verdicts = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    index: int = 0
    _history: list[tuple[int, Verdicts]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.draft is not None and self.draft.exists():
            with reading(self.draft, "delete it, and review these structures again"):
                stored = read_json(self.draft)
            if stored["of"] == self.digests:
                self.verdicts = {int(i): reason for i, reason in stored["verdicts"].items()}
                self.notes = {int(i): note for i, note in stored["notes"].items()}
                self.index = self._next_open()

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def complete(self) -> bool:
        """Whether every structure has a verdict."""
        return len(self.verdicts) == len(self)

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of accepted and of rejected structures."""
        rejected = sum(reason is not None for reason in self.verdicts.values())
        return len(self.verdicts) - rejected, rejected

    @property
    def reviewed(self) -> Reviewed:
        """The verdicts as a loop takes them."""
        rejected = {i: reason for i, reason in self.verdicts.items() if reason is not None}
        return Reviewed(rejected, {i: note for i, note in self.notes.items() if note})

    def judge(self, verdicts: Verdicts) -> None:
        """Add verdicts, and go to the next structure without one."""
        self._history.append((self.index, self.verdicts))
        self.verdicts = self.verdicts | verdicts
        self.index = self._next_open()

    def accept_rest(self) -> None:
        """Accept all structures without a verdict."""
        self.judge({i: None for i in range(len(self)) if i not in self.verdicts})

    def undo(self) -> None:
        """Take back what was judged last, and go there."""
        if self._history:
            self.index, self.verdicts = self._history.pop()

    def save(self) -> None:
        """Write the draft; OSError where that fails."""
        content = {"of": self.digests, "verdicts": self.verdicts, "notes": self.notes}
        if self.draft is not None:
            with atomic_write(self.draft, parents=False) as part:
                write_json(part, content)

    def _next_open(self) -> int:
        order = [(self.index + k) % len(self) for k in range(len(self))]
        return next((i for i in order if i not in self.verdicts), self.index)
