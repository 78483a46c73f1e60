"""The active-learning loop: train, attack, select, label, again (Schwalbe-Koda 2021, Fig. 1b).

A :class:`Loop` holds settings; its :meth:`~Loop.generations` is an endless generator of frozen
:class:`Generation` records. A generation is seven stages (members, calibration, seeds, adversaries,
verdicts, labels, metrics), each with random numbers of its own, so the next one does not depend on
which stages were run and which were read from the run directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..attack.attack import Attack
from ..committee import Committee
from ..dataset import CALIBRATION, TRAIN, Dataset
from ..events import Event, Finished, Note, Report, ignore
from ..files import absolute
from ..geometry import Labels
from ..references.reference import Reference
from ..sampling.samplers import Sampler
from ..selection import Selector
from ..settings import machine, to_settings
from ..training.folds import Folds
from ..training.trainer import Trainer
from ..uncertainty.calibration import Calibration
from . import run_directory as stored
from .generation import Generation, Proposal
from .packing import LabelsAndFailures
from .run_directory import RunDirectory
from .stages import Run, candidates_of, random_stream, select, with_outcomes

Metric = Callable[[Committee, Dataset], float]
Answers = Callable[[], Iterable[tuple[int, Labels | Exception | None]]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a generation.

    Attributes:
        trainer: fits the members.
        sampler: gives the seeds of the attack, or the candidates if there is no attack.
        attack: None takes the sampler's structures as they are, a random baseline.
        selectors: applied in order; the first that drops a candidate is its verdict.
        members: size of the committee.
        folds: how the members share the data.
        calibrate: share of the labelled structures that no member ever sees, drawn once when they
            are labelled: the committee is calibrated on them, and attacks can have a target (Cezar
            2025 puts a tenth aside). Structures that come with the role "calibration" count, too.
    """

    trainer: Trainer
    sampler: Sampler
    attack: Attack | None = None
    selectors: Sequence[Selector] = ()
    members: int = 5
    folds: Folds = Folds()
    calibrate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.calibrate < 1:
            wrong = f"calibrate={self.calibrate} is a share of the labelled structures"
            raise ValueError(f"{wrong}: give at least 0, below 1")
        if self.members < 2:
            raise ValueError(f"members={self.members}: a committee needs at least two to disagree")
        object.__setattr__(self, "selectors", tuple(self.selectors))


@dataclass(frozen=True)
class Schedule:
    """A recipe for each generation: in `recipes`, that of the largest key not above it, from 0."""

    recipes: Mapping[int, Recipe]

    def __post_init__(self) -> None:
        if 0 not in self.recipes:
            wrong = f"this one has {sorted(self.recipes)}"
            raise ValueError(f"a schedule starts at generation 0, {wrong}")

    def __call__(self, generation: int) -> Recipe:
        """Return the recipe of a generation."""
        return self.recipes[max(first for first in self.recipes if first <= generation)]


@dataclass(frozen=True)
class Loop:
    """Settings of an active-learning run.

    Attributes:
        recipe: of all generations; or a callable that gives it for each, as :class:`Schedule`.
        reference: labels the chosen structures.
        test: data that are only reported on, fixed before generation 0.
        metrics: name -> (committee, test data) -> number.
        seed: of all random numbers.
    """

    recipe: Recipe | Callable[[int], Recipe]
    reference: Reference
    test: Dataset | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.reference, Reference):
            given = self.reference
            name = given.__name__ if isinstance(given, type) else type(given).__name__
            remedy = "Loop(recipe, Reference(label)), with a label function such as XTB()"
            raise TypeError(f"reference is {name}, expected a Reference: give {remedy}")
        if self.metrics and not self.test:
            names = sorted(self.metrics)
            raise ValueError(f"metrics {names} need test data: give Loop(test=...), not empty")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: give one that is not negative")
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))

    def recipe_of(self, generation: int) -> Recipe:
        """Return the recipe of a generation."""
        return self.recipe if isinstance(self.recipe, Recipe) else self.recipe(generation)

    def generations(
        self, dataset: Dataset, directory: str | Path | None = None, report: Report = ignore
    ) -> Iterator[Generation]:
        """Yield generation after generation without end; finished stages in `directory` are read.

        Args:
            dataset: the labelled data to start from.
            directory: keeps every finished stage; None keeps nothing.
            report: receives every event; if it raises, the loop stops, finished stages are kept.

        Raises:
            ValueError: data too small to split, settings without a name (a lambda).
            RunDirectoryError: a directory of other settings, not writable, in use, or damaged.
            TrainingFailed: a loss that is not finite.
        """
        return self._generations(dataset, _directory(directory), report)

    def _generations(
        self, dataset: Dataset, run_directory: RunDirectory, report: Report
    ) -> Iterator[Generation]:
        self._open(dataset, run_directory)
        for index in count():
            run = Run(run_directory, index, self.seed, report)
            with run_directory.locked():
                generation = self._generation(dataset, run)
            report(Finished(generation))
            yield generation
            dataset = generation.grown

    def ask(
        self,
        dataset: Dataset,
        directory: str | Path | None = None,
        after: Generation | None = None,
        report: Report = ignore,
    ) -> Proposal:
        """Return the next structures to label; a person or a queue answers with :meth:`tell`.

        Args:
            dataset: the data to start from, as in :meth:`generations`.
            directory: finished generations are read from it.
            after: without a directory, the last generation that was told; its grown data are used.
            report: receives every event of the proposal.
        """
        run_directory = _directory(directory)
        self._open(dataset, run_directory)
        index, current = (0, dataset) if after is None else (after.index + 1, after.grown)
        with run_directory.locked():
            while run_directory.has_labels(index):
                run = Run(run_directory, index, self.seed, ignore)
                current = self._generation(current, run).grown
                index += 1
            return self._propose(current, Run(run_directory, index, self.seed, report))

    def tell(
        self,
        proposal: Proposal,
        answers: Sequence[Labels | Exception | None],
        directory: str | Path | None = None,
        report: Report = ignore,
    ) -> Generation:
        """Return the generation that a proposal becomes with answers to its geometries, in order.

        Args:
            proposal: from :meth:`ask`.
            answers: labels; an exception or None where there are none.
            directory: the one given to :meth:`ask`.
            report: receives every event.

        Raises:
            ValueError: another number of answers, or a generation that has been told before.
            TypeError: an answer that is neither labels nor an exception nor None.
        """
        geometries = proposal.geometries
        if len(answers) != len(geometries):
            wrong = f"{len(answers)} answers to {len(geometries)} geometries"
            raise ValueError(f"{wrong}: give one for each, None where there is none")
        labelled: dict[int, Labels] = {}
        for i, answer in enumerate(answers):
            if isinstance(answer, Labels):
                labelled[i] = answer.check(geometries[i], f"geometry {i}")
            elif not isinstance(answer, (Exception, type(None))):
                raise TypeError(
                    f"answer {i} is a {type(answer).__name__}: give Labels(energy=..., forces=...),"
                    " an exception, or None where there is none"
                )
        run_directory = _directory(directory)
        with run_directory.locked():
            if run_directory.has_labels(proposal.index):
                raise ValueError(
                    f"generation {proposal.index + 1} has its labels already: ask again, or prepare"
                    f" its failures with retry({str(directory)!r})"
                )
            # labels that are kept outlive a retry, and those told before one need no second answer
            cache, told = run_directory.cache, [geometries[i] for i in labelled]
            self.reference.remember(cache, told, list(labelled.values()))
            for i in set(range(len(geometries))) - set(labelled):
                earlier = self.reference.recall(cache, geometries[i])
                labelled |= {} if earlier is None else {i: earlier}
            merged = [(i, labelled.get(i, answer)) for i, answer in enumerate(answers)]
            run = Run(run_directory, proposal.index, self.seed, report)
            return self._complete(proposal, run, lambda: merged)

    def retry(self, directory: str | Path) -> int:
        """Prepare failed labels of the last generation to be computed again; return their number.

        Its other labels are kept. Later stages are removed, because they learned from data that now
        change. A folder that is not a run directory raises RunDirectoryError.
        """
        run_directory = _directory(directory)
        index, labelled, failures = run_directory.last_labels()
        with run_directory.locked():
            if failures:
                self.reference.remember(run_directory.cache, labelled.geometries, labelled.labels)
                run_directory.forget_labels(index)
            run_directory.cache.retry()
        return len(failures)

    def settings(self, dataset: Dataset) -> dict[str, Any]:
        """Return everything that changes results, as JSON.

        Raises:
            ValueError, TypeError: settings without a name (a lambda); the message names the place.
        """
        return {
            "dataset": dataset.digest(),
            "recipe": to_settings(self.recipe, "recipe"),
            "reference": self.reference.identity,
            "test": None if self.test is None else self.test.digest(),
            "metrics": to_settings(self.metrics, "metrics"),
            "seed": self.seed,
        }

    def _open(self, dataset: Dataset, run_directory: RunDirectory) -> None:
        """Make the run directory, or check that it belongs to this loop and these data."""
        if not isinstance(dataset, Dataset):
            wrong = f"a loop starts from a Dataset, not a {type(dataset).__name__}"
            raise TypeError(f"{wrong}: give Dataset(geometries, labels)")
        if not len(dataset):
            raise ValueError("the data set is empty: a loop needs labelled structures")
        if run_directory.folder is not None:
            run_directory.open(self.settings(dataset), machine())

    def _generation(self, dataset: Dataset, run: Run) -> Generation:
        proposal = self._propose(dataset, run)
        ask = partial(self.reference, proposal.geometries, run.directory.cache, run.report)
        return self._complete(proposal, run, ask)

    def _propose(self, dataset: Dataset, run: Run) -> Proposal:
        """Members, their calibration, seeds, adversaries and verdicts of a generation."""
        recipe, report = self.recipe_of(run.generation), run.report
        trainer = recipe.trainer
        # the split of the initial data is the same in all generations
        weights, valid = recipe.folds(dataset, recipe.members, random_stream(self.seed, 0, "folds"))
        learned = dataset[weights.any(axis=0)]
        rng, scratch = run.rng("members"), run.scratch("members")
        numbered = partial(_with_generation, report, run.generation)
        fit = partial(trainer.fit, dataset, weights, valid, rng, numbered, scratch)
        members = run.stage("members", stored.members_of(trainer), fit)
        committee = Committee(members)
        aside = dataset.of_role(CALIBRATION)
        if len(aside):
            calibration = run.stage(
                "calibration",
                stored.CALIBRATION_LAWS,
                lambda: Calibration.fit_with_fallback(committee.predict(list(aside)), aside),
            )
            committee = Committee(members, calibration)
            for note in calibration.notes:
                report(Note(run.generation, note))
        rng, scratch = run.rng("seeds"), run.scratch("seeds")
        sample = partial(recipe.sampler, committee, learned, rng, numbered, scratch)
        seeds = run.stage("seeds", stored.GEOMETRIES, sample)
        adversaries, rng = None, run.rng("adversaries")
        if recipe.attack is not None:
            attack = partial(recipe.attack, committee, learned, seeds, rng, numbered)
            adversaries = run.stage("adversaries", stored.ADVERSARIES, attack)
        candidates, rng = candidates_of(seeds, adversaries, run.generation), run.rng("verdicts")
        choose = partial(select, recipe.selectors, committee, learned, candidates, rng, dataset)
        verdicts = run.stage("verdicts", stored.VERDICTS, choose)
        pairs = zip(candidates, verdicts, strict=True)
        return Proposal(
            index=run.generation,
            dataset=dataset,
            committee=committee,
            candidates=tuple(replace(candidate, verdict=verdict) for candidate, verdict in pairs),
            seconds=dict(run.seconds),
        )

    def _complete(self, proposal: Proposal, run: Run, answers: Answers) -> Generation:
        label = partial(self._labelled, proposal, run, answers)
        labelled, failures = run.stage("labels", stored.LABELS, label)
        measure = partial(self._measured, proposal.committee)
        metrics = run.stage("metrics", stored.METRICS, measure)
        return Generation(
            index=proposal.index,
            dataset=proposal.dataset,
            committee=proposal.committee,
            candidates=with_outcomes(proposal.candidates, labelled, failures),
            metrics=metrics,
            seconds={**proposal.seconds, **run.seconds},
        )

    def _measured(self, committee: Committee) -> dict[str, float]:
        if self.test is None:
            return {}
        return {name: float(metric(committee, self.test)) for name, metric in self.metrics.items()}

    def _labelled(self, proposal: Proposal, run: Run, answers: Answers) -> LabelsAndFailures:
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
        share = self.recipe_of(proposal.index).calibrate
        aside = run.rng("roles").random(len(geometries)) < share
        order = sorted(labels)
        roles = [CALIBRATION if aside[i] else TRAIN for i in order]
        return Dataset([geometries[i] for i in order], [labels[i] for i in order], roles), failures


def _with_generation(report: Report, generation: int, event: Event) -> None:
    """Report an event of a trainer, which does not know the generation."""
    if isinstance(event, Note) and event.generation is None:
        event = replace(event, generation=generation)
    report(event)


def _directory(directory: str | Path | None) -> RunDirectory:
    return RunDirectory(None if directory is None else absolute(directory))
