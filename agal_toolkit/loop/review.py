"""Verdicts of a person on the structures to label, before anything is labelled.

A review is a stage of a generation, between its verdicts and its labels. A generation without one
accepts all that its selectors chose, as every run did before there were reviews.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..events import Note, Report
from ..files import atomic_write, read_json, reading, write_json
from ..geometry import Geometry
from ..selection import KEPT, Candidate
from . import run_directory as stored
from .generation import Proposal
from .run_directory import RunDirectory, as_json
from .stages import Stages, candidates_of, with_verdicts

REJECTED = "rejected"
Verdicts = dict[int, str | None]  # None accepts, a text rejects


@dataclass(frozen=True)
class Reviewed:
    """A person's verdicts; whatever is not rejected is accepted.

    Attributes:
        rejected: why structures shall not be labelled, by index among the proposal's `geometries`;
            a reason may be empty.
        notes: annotations of accepted or rejected structures, by the same index.
    """

    rejected: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[int, str] = field(default_factory=dict)

    def applied(self, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
        """Return candidates with these verdicts ("rejected: broken molecule") and notes.

        Raises:
            ValueError: an index of no chosen candidate.
            TypeError: a reason or a note that is no text.
        """
        chosen = [i for i, candidate in enumerate(candidates) if candidate.verdict == KEPT]
        for index, text in [*self.rejected.items(), *self.notes.items()]:
            if index not in range(len(chosen)):
                wrong = f"the review names structure {index!r} of {len(chosen)} to label"
                raise ValueError(f"{wrong}: give their indices, which count from 0")
            if not isinstance(text, str):
                wrong = f"the review says {text!r} of structure {index}"
                raise TypeError(f'{wrong}: give a text, which may be empty ("")')
        changed = list(candidates)
        for index, note in self.notes.items():
            changed[chosen[index]] = replace(changed[chosen[index]], note=note)
        for index, reason in self.rejected.items():
            verdict = f"{REJECTED}: {reason}" if reason else REJECTED
            changed[chosen[index]] = replace(changed[chosen[index]], verdict=verdict)
        return tuple(changed)


# Asked once for each generation that has structures to label, in the thread of the loop. One that
# waits reports Progress meanwhile, because a listener that raises is how a run is stopped. The path
# is a folder for unfinished verdicts, which need not exist and goes when the review is kept; None
# without a run directory.
Reviewer = Callable[[Proposal, Report, Path | None], Reviewed]


def _pack(value: Reviewed) -> dict[str, dict[str, str]]:
    parts = {"rejected": value.rejected, "notes": value.notes}
    return {name: {str(int(i)): part[i] for i in sorted(part)} for name, part in parts.items()}


def _unpack(content: Mapping[str, Mapping[str, str]]) -> Reviewed:
    return Reviewed(**{k: {int(i): t for i, t in part.items()} for k, part in content.items()})


REVIEW = as_json(_pack, _unpack)


def after_review(proposal: Proposal, run: Stages, review: Reviewer | None) -> Proposal:
    """Return a proposal after its review, which is read, or asked of `review` and kept.

    A generation whose labels exist is not reviewed any more.
    """
    directory, index = run.directory, run.generation
    if not directory.has(index, "review", REVIEW) and (
        review is None or not proposal.geometries or directory.has_labels(index)
    ):
        return proposal

    def ask() -> Reviewed:
        scratch = run.scratch("review")
        answer = None if review is None else review(proposal, run.numbered, scratch)
        if not isinstance(answer, Reviewed):
            wrong = f"the review returned a {type(answer).__name__}"
            raise TypeError(f"{wrong}: return Reviewed(rejected={{0: 'broken molecule'}})")
        answer.applied(proposal.candidates)  # or it raises, before anything is kept
        return answer

    candidates = run.stage("review", REVIEW, ask).applied(proposal.candidates)
    proposal = replace(proposal, candidates=candidates, seconds=dict(run.seconds))
    if not proposal.geometries:
        run.report(Note(index, "all structures were rejected: nothing is labelled"))
    return proposal


def asked(directory: RunDirectory, index: int, attacked: bool) -> list[Geometry]:
    """Return the structures to label of a generation in a run directory.

    Raises:
        ValueError: they are not known yet.
    """
    if not directory.has(index, "verdicts", stored.VERDICTS):
        wrong = f"generation {index + 1} was not asked in {directory.folder}"
        raise ValueError(f"{wrong}: call ask(data, directory) first")
    stage = partial(directory.stage, index)
    seeds = stage("seeds", stored.GEOMETRIES, list)
    adversaries = stage("adversaries", stored.ADVERSARIES, list) if attacked else None
    verdicts = stage("verdicts", stored.VERDICTS, list)
    candidates = with_verdicts(candidates_of(seeds, adversaries, index), verdicts)
    if directory.has(index, "review", REVIEW):
        candidates = stage("review", REVIEW, Reviewed).applied(candidates)
    return [candidate.geometry for candidate in candidates if candidate.verdict == KEPT]


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
