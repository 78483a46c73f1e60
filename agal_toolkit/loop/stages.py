"""One generation on its way: its stages, their random streams, and its candidates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.random import Generator

from ..attack.attack import NOT_REACHED, Adversary
from ..committee import Committee
from ..dataset import Dataset
from ..events import Report, Stage
from ..geometry import Geometry
from ..selection import KEPT, Candidate, Deduplicate, Selector
from .run_directory import Kind, RunDirectory

T = TypeVar("T")

# From 1: a trailing zero changes nothing, so default_rng([seed, 0, 0]) would be default_rng(seed),
# which users draw from.
STREAMS = {"folds": 1, "members": 2, "seeds": 3, "adversaries": 4, "verdicts": 5, "roles": 6}


def random_stream(seed: int, generation: int, name: str) -> Generator:
    """Return the random numbers of one purpose in one generation of a loop."""
    return np.random.default_rng([seed, generation, STREAMS[name]])


@dataclass
class Run:
    """Runs or reads the stages of a `generation` in a run `directory`; `seed` is the loop's.

    It tells `report` of each stage and keeps the wall `seconds` of those that were run.
    """

    directory: RunDirectory
    generation: int
    seed: int
    report: Report
    seconds: dict[str, float] = field(default_factory=dict)

    def rng(self, name: str) -> Generator:
        """Return the random numbers of a stage."""
        return random_stream(self.seed, self.generation, name)

    def scratch(self, name: str) -> Path | None:
        """Return the folder for checkpoints of a stage; None if nothing is kept."""
        return self.directory.scratch(self.generation, name)

    def stage(self, name: str, kind: Kind[T], compute: Callable[[], T]) -> T:
        """Return the value of a stage, see :meth:`RunDirectory.stage`, and report it."""
        finished = self.directory.has(self.generation, name, kind)
        if not finished:
            self.report(Stage(self.generation, name, "started"))
        began = time.monotonic()
        value = self.directory.stage(self.generation, name, kind, compute)
        seconds = time.monotonic() - began
        self.seconds |= {} if finished else {name: seconds}
        status = "read" if finished else "finished"
        self.report(Stage(self.generation, name, status, seconds))
        return value


def candidates_of(
    seeds: Sequence[Geometry], adversaries: Sequence[Adversary] | None, generation: int
) -> list[Candidate]:
    """Return the structures of the attack as candidates, or the seeds if there was no attack.

    In the origin of a structure, `generation` counts from 1; 0 is the initial data.
    """

    def acquired(geometry: Geometry) -> Geometry:
        return replace(geometry, origin={**geometry.origin, "generation": generation + 1})

    if adversaries is None:
        return [Candidate(acquired(seed), i, float("nan")) for i, seed in enumerate(seeds)]
    candidates = []
    for a in adversaries:
        verdict = KEPT if a.reached else a.reason or NOT_REACHED
        loss = float(a.losses[a.kept])
        candidates.append(Candidate(acquired(a.geometry), a.seed, loss, a, verdict))
    return candidates


def select(
    selectors: Sequence[Selector],
    committee: Committee,
    dataset: Dataset,
    candidates: Sequence[Candidate],
    rng: Generator,
    labelled: Dataset | None = None,
) -> list[str]:
    """Return the verdict of each candidate: "kept", or the name of the selector that dropped it.

    Selectors see the structures that some member learns from; duplicates are told from all that are
    `labelled`, if they are given.

    Raises:
        ValueError: a selector that does not return one bool for each candidate.
    """
    verdicts = [candidate.verdict for candidate in candidates]
    for selector in selectors:
        left = [i for i, verdict in enumerate(verdicts) if verdict == KEPT]
        if not left:
            break
        every = labelled if isinstance(selector, Deduplicate) else None
        data = dataset if every is None else every
        mask = selector(committee, data, [candidates[i] for i in left], rng)
        keep = np.asarray(mask, dtype=bool)
        if keep.shape != (len(left),):
            wrong = f"{selector!r} returned shape {keep.shape} for {len(left)} candidates"
            raise ValueError(f"{wrong}: return one bool for each")
        for i in np.array(left)[~keep]:
            verdicts[i] = type(selector).__name__
    return verdicts


def with_outcomes(
    candidates: Sequence[Candidate], labelled: Dataset, failures: Mapping[int, str]
) -> tuple[Candidate, ...]:
    """Give each chosen candidate its labels and role, or the reason of its failure.

    `failures` holds reasons by index among the chosen; `labelled` are the others, in their order.
    """
    outcomes = list(candidates)
    chosen = [i for i, candidate in enumerate(candidates) if candidate.verdict == KEPT]
    for position, reason in failures.items():
        outcomes[chosen[position]] = replace(candidates[chosen[position]], outcome=reason)
    answered = [i for position, i in enumerate(chosen) if position not in failures]
    for i, labels, role in zip(answered, labelled.labels, labelled.roles, strict=True):
        outcomes[i] = replace(candidates[i], outcome=labels, role=role)
    return tuple(outcomes)
