"""One generation on its way: its stages, their random streams, and its candidates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..attack.attack import NOT_REACHED, Adversary
from ..committee import Committee
from ..dataset import CALIBRATION, TRAIN, Dataset
from ..events import Event, Note, Report, Stage
from ..geometry import Geometry, Labels
from ..potentials.protocol import Members
from ..selection import KEPT, Candidate, Deduplicate, Selector
from ..training.trainer import TrainingFailed
from ..training.weights import StartRefused
from ..uncertainty.calibration import Calibration
from .generation import Proposal
from .packing import Answers, LabelsAndFailures
from .recipe import Recipe
from .roles import calibration_data, roles_of
from .run_directory import CALIBRATION_LAWS, Kind, RunDirectory, members_of

T = TypeVar("T")

# From 1: a trailing zero changes nothing, so default_rng([seed, 0, 0]) would be default_rng(seed),
# which users draw from.
STREAMS = {"folds": 1, "members": 2, "seeds": 3, "adversaries": 4, "verdicts": 5, "roles": 6}


def random_stream(seed: int, generation: int, name: str) -> Generator:
    """Return the random numbers of one purpose in one generation of a loop."""
    return np.random.default_rng([seed, generation, STREAMS[name]])


@dataclass
class Stages:
    """Runs or reads the stages of a `generation` in a run `directory`; `seed` is the loop's.

    It tells `report` of each stage and keeps the wall `seconds` of those that were run. The first
    generation has the members of a committee that is `given`.
    """

    directory: RunDirectory
    generation: int
    seed: int
    report: Report
    given: Committee | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def rng(self, name: str) -> Generator:
        """Return the random numbers of a stage."""
        return random_stream(self.seed, self.generation, name)

    def scratch(self, name: str) -> Path | None:
        """Return the folder for checkpoints of a stage; None if nothing is kept."""
        return self.directory.scratch(self.generation, name)

    def numbered(self, event: Event) -> None:
        """Report an event of a trainer or sampler, which does not know the generation."""
        if isinstance(event, Note) and event.generation is None:
            event = replace(event, generation=self.generation)
        self.report(event)

    def stage(self, name: str, kind: Kind[T], compute: Callable[[], T]) -> T:
        """Return the value of a stage, see :meth:`RunDirectory.stage`, and report it."""
        finished = self.directory.has(self.generation, name, kind)
        if not finished:
            self.report(Stage(self.generation, name, "started"))
        began = time.monotonic()
        value = self.directory.stage(self.generation, name, kind, compute)
        seconds = time.monotonic() - began
        if not finished:
            self.seconds[name] = seconds
            self.directory.spend(self.generation, name, seconds)
        status = "read" if finished else "finished"
        self.report(Stage(self.generation, name, status, seconds))
        return value


def train(
    recipe: Recipe, dataset: Dataset, run: Stages, last: Proposal | None
) -> tuple[Members, NDArray | None]:
    """Return the members of a generation, and the weights (M, n) of the data in their training.

    They go on from the members of the `last` generation if the trainer is warm. Where these do not
    fit, or trained on structures that now validate, a note tells that members are trained afresh.
    Members that are given have no weights: these are None, because their training is not known.
    """
    if run.given is not None and run.generation == 0:
        return run.given.members, None
    trainer = recipe.trainer
    # the split of the initial data is the same in all generations
    weights, valid = recipe.folds(dataset, recipe.members, random_stream(run.seed, 0, "folds"))
    rng, scratch = run.rng("members"), run.scratch("members")
    arguments = dataset, weights, valid, rng, run.numbered, scratch

    def fit() -> Members:
        warm = getattr(trainer, "warm", None)
        if last is None or warm is None:
            return trainer.fit(*arguments)
        try:
            seen = np.zeros((0, 0)) if last.weights is None else last.weights
            same = warm.epochs and len(seen) == len(valid)
            if same and (seen * valid[:, : seen.shape[1]]).any():
                raise StartRefused("the last ones trained on structures that now validate")
            return trainer.fit(*arguments, start=last.committee.members)
        except StartRefused as error:
            run.numbered(Note(None, f"members are trained afresh: {error}"))
            return trainer.fit(*arguments)

    try:
        members = run.stage("members", members_of(trainer), fit)
    except TrainingFailed as error:
        kept = f"nothing labelled is lost: the {len(dataset)} structures of this generation are"
        error.add_note(f"{kept} the last one's `grown`, from which another loop can start")
        raise
    return members, weights


def trained(
    recipe: Recipe, dataset: Dataset, run: Stages, last: Proposal | None
) -> tuple[Committee, Dataset, NDArray | None]:
    """Return the calibrated committee of a generation, and what its members learned from.

    The first two stages: members, which may go on from those of the `last` generation, and their
    calibration. The third value are the weights (M, n) of the structures in the training.
    """
    members, weights = train(recipe, dataset, run, last)
    learned = dataset.of_role(TRAIN) if weights is None else dataset[weights.any(axis=0)]
    before = run.given if last is None else last.committee  # whose laws stay without new ones
    committee = Committee(members, None if before is None else before.calibration)
    aside = calibration_data(dataset, dataset if weights is None else learned, run.numbered)
    if len(aside):
        calibration = run.stage(
            "calibration",
            CALIBRATION_LAWS,
            lambda: Calibration.fit_with_fallback(
                *(committee.predict(list(aside)), aside),
                *(recipe.errors_of, recipe.laws_per_element),
            ),
        )
        committee = Committee(members, calibration)
        for note in calibration.notes:
            run.report(Note(run.generation, note))
    elif committee.calibration is not None and weights is not None:
        run.report(Note(run.generation, "nothing to calibrate on: the last calibration stays"))
    return committee, learned, weights


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


def with_verdicts(
    candidates: Sequence[Candidate], verdicts: Sequence[str]
) -> tuple[Candidate, ...]:
    """Give each candidate its verdict."""
    pairs = zip(candidates, verdicts, strict=True)
    return tuple(replace(candidate, verdict=verdict) for candidate, verdict in pairs)


def labels_of(
    proposal: Proposal, run: Stages, answers: Answers, calibrate: float
) -> LabelsAndFailures:
    """Return the labelled structures of a proposal, and reasons of failures by index.

    A share `calibrate` of the new structures gets the role "calibration".
    """
    geometries = proposal.geometries
    labels: dict[int, Labels] = {}
    failures: dict[int, str] = {}
    for i, answer in answers():
        if isinstance(answer, Labels):
            labels[i] = answer.check(geometries[i], f"geometry {i}")
        else:
            failures[i] = "no answer" if answer is None else str(answer)
    if failures and not labels:
        wrong = f"none of {len(failures)} structures got a label"
        run.report(Note(run.generation, f"{wrong}: {next(iter(failures.values()))}"))
    aside = run.rng("roles").random(len(geometries)) < calibrate
    order = sorted(labels)
    roles = [TRAIN] * len(order)
    if calibrate or CALIBRATION in proposal.dataset.roles:
        roles = roles_of([geometries[i] for i in order], aside[order], proposal.dataset)
    return Dataset([geometries[i] for i in order], [labels[i] for i in order], roles), failures


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
