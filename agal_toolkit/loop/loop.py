"""The active-learning loop: train, attack, select, label, again (Schwalbe-Koda 2021, Fig. 1b).

A :class:`Loop` holds settings; its :meth:`~Loop.generations` is an endless generator of frozen
:class:`Generation` records. A generation is seven stages (members, calibration, seeds, adversaries,
verdicts, labels, metrics), each with a random stream of its own where it draws, so what ran before
does not change what runs next, and each is read from the run directory when it is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.random import Generator

from ..attack.attack import Adversary, Attack
from ..committee import Committee
from ..dataset import CALIBRATION, TRAIN, Dataset
from ..events import Finished, Note, Report, ignore
from ..geometry import Geometry, Labels
from ..potentials.protocol import Members
from ..references.reference import Reference
from ..sampling.samplers import Sampler
from ..selection import Selector
from ..settings import machine, to_settings
from ..training.folds import Folds
from ..training.trainer import Trainer
from ..uncertainty.calibration import Calibration
from .generation import Generation, Proposal
from .records import pack_adversaries, pack_geometries, unpack_adversaries, unpack_geometries
from .run_directory import RunDirectoryError, Store
from .stages import Clock, candidates_of, judged, pack_labels, unpack_labels

# From 1: a trailing zero changes nothing, so default_rng([seed, 0, 0]) would be default_rng(seed),
# which users draw from.
_STREAMS = {
    name: number
    for number, name in enumerate(
        ("folds", "members", "seeds", "adversaries", "verdicts", "roles"), 1
    )
}

Metric = Callable[[Committee, Dataset], float]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a generation does.

    Attributes:
        trainer: fits the members.
        sampler: gives the seeds of the attack, or the candidates where there is none.
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
            raise ValueError(
                f"calibrate={self.calibrate} is a share of the labelled structures: at least 0,"
                " below 1"
            )
        if self.members < 2:
            raise ValueError(f"members={self.members}: a committee needs at least two to disagree")
        object.__setattr__(self, "selectors", tuple(self.selectors))


@dataclass(frozen=True)
class Schedule:
    """A recipe for each generation: the one of the largest key that is not above it.

    Attributes:
        recipes: first generation of each recipe; 0 must be among them.
    """

    recipes: Mapping[int, Recipe]

    def __post_init__(self) -> None:
        if 0 not in self.recipes:
            raise ValueError(
                f"a schedule starts at generation 0, this one has {sorted(self.recipes)}"
            )

    def __call__(self, generation: int) -> Recipe:
        return self.recipes[max(first for first in self.recipes if first <= generation)]


@dataclass(frozen=True)
class Loop:
    """Settings of an active-learning run.

    Attributes:
        recipe: what each generation does; or a callable that gives it for each generation, as
            :class:`Schedule`.
        reference: labels the chosen structures.
        test: data that are only reported on, fixed before generation 0.
        metrics: name -> (committee, test data) -> number.
        seed: of all random streams.
    """

    recipe: Recipe | Callable[[int], Recipe]
    reference: Reference
    test: Dataset | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.metrics and not self.test:
            raise ValueError(
                f"metrics {sorted(self.metrics)} need test data: give Loop(test=...), not empty"
            )
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: random streams want one that is not negative")
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))

    def recipe_of(self, generation: int) -> Recipe:
        """The recipe of a generation."""
        return self.recipe if isinstance(self.recipe, Recipe) else self.recipe(generation)

    def generations(
        self, dataset: Dataset, directory: str | Path | None = None, report: Report = ignore
    ) -> Iterator[Generation]:
        """Generation after generation, without end; what `directory` already holds is read, not
        run.

        Args:
            dataset: the labelled data to start from.
            directory: keeps every finished stage; None keeps nothing.
            report: hears every event; where it raises, the loop stops, and what is finished is on
                disk.

        Raises:
            ValueError: data too small to split, settings without a name to keep them under (a
                lambda).
            RunDirectoryError: a directory of other settings, not writable, or damaged.
            TrainingFailed: a loss that is no longer a number.
        """
        store = self.opened(dataset, directory)
        generation = None
        while True:
            generation = self.generation(
                dataset if generation is None else generation.grown,
                0 if generation is None else generation.index + 1,
                store,
                report,
            )
            report(Finished(generation))
            yield generation

    def ask(
        self,
        dataset: Dataset,
        directory: str | Path | None = None,
        after: Generation | None = None,
        report: Report = ignore,
    ) -> Proposal:
        """What to label next; a person or a queue answers with :meth:`tell`.

        Args:
            dataset: the data to start from, as in :meth:`generations`.
            directory: finished generations are read from it.
            after: without a directory, the last generation told; its grown data are used.
        """
        store = self.opened(dataset, directory)
        index = 0 if after is None else after.index + 1
        current = dataset if after is None else after.grown
        while store.has(index, "labels.npz"):
            current, index = self.generation(current, index, store, ignore).grown, index + 1
        return self._propose(current, index, store, report)

    def tell(
        self,
        proposal: Proposal,
        answers: Sequence[Labels | Exception | None],
        directory: str | Path | None = None,
        report: Report = ignore,
    ) -> Generation:
        """The generation that a proposal becomes with the answers to its geometries, in their
        order.

        Args:
            proposal: what :meth:`ask` gave.
            answers: labels; an exception or None where there is none.
            directory: the one given to :meth:`ask`.

        Raises:
            ValueError: not as many answers as geometries, or a generation that has been told
                before.
            TypeError: an answer that is neither labels nor an exception nor None.
        """
        geometries = proposal.geometries
        if len(answers) != len(geometries):
            raise ValueError(
                f"{len(answers)} answers to {len(geometries)} geometries: give one for each, None"
                " where there is none"
            )
        for i, answer in enumerate(answers):
            if not isinstance(answer, (Labels, Exception, type(None))):
                raise TypeError(
                    f"answer {i} is a {type(answer).__name__}: give Labels(energy=..., forces=...),"
                    " an exception, or None where there is none"
                )
            if isinstance(answer, Labels):
                answer.check(geometries[i], f"geometry {i}")
        store = Store(None if directory is None else Path(directory))
        if store.has(proposal.index, "labels.npz"):
            raise ValueError(
                f"generation {proposal.index + 1} has its labels already: ask again, or prepare its"
                f" failures with retry({str(directory)!r})"
            )
        self._keep(
            store,
            [
                (g, answer)
                for g, answer in zip(geometries, answers, strict=True)
                if isinstance(answer, Labels)
            ],
        )
        if store.folder is not None:  # what was told before a retry is known already
            known = [
                (
                    None
                    if isinstance(a, Labels)
                    else store.cache.read(self.reference.settings_digest, g)
                )
                for g, a in zip(geometries, answers, strict=True)
            ]
            answers = [
                k if isinstance(k, Labels) else a for k, a in zip(known, answers, strict=True)
            ]
        return self._complete(proposal, lambda: enumerate(answers), store, report)

    def retry(self, directory: str | Path) -> int:
        """Prepares the failed labels of the last generation that got some to be asked again; their
        number.

        Its labels are kept; whatever began after it is forgotten, for it learned from data which
        now change.

        Raises:
            RunDirectoryError: not a run directory.
        """
        store = Store(Path(directory))
        if not (store.folder / "run.json").exists():
            raise RunDirectoryError(
                f"{store.folder} is not a run directory (it has no run.json): give the directory of"
                " a run"
            )
        index = 0
        while store.has(index + 1, "labels.npz"):
            index += 1
        failures: Mapping[int, str] = {}
        if store.has(index, "labels.npz"):
            labelled, failures = store.arrays(index, "labels", tuple, pack_labels, unpack_labels)
            if failures:
                self._keep(store, list(zip(labelled, labelled.labels, strict=True)))
                store.forget(index, "labels.npz")
                store.forget(index, "metrics.json")
                store.forget(index + 1)
        store.cache.retry()
        return len(failures)

    def _keep(self, store: Store, labelled: Sequence[tuple[Geometry, Labels]]) -> None:
        """Writes labels into the run's cache, so that no stage that is forgotten takes them along."""
        if store.folder is None or not labelled:
            return
        settings = self.reference.settings_digest
        store.cache.describe(settings, self.reference.description)
        for geometry, labels in labelled:
            store.cache.write(settings, geometry, labels)

    def settings(self, dataset: Dataset) -> dict[str, Any]:
        """Everything that changes results, as JSON.

        Raises:
            ValueError, TypeError: settings that have no name to keep them under; the message names
                the place and the remedy.
        """
        return {
            "dataset": digest_of(dataset),
            "recipe": to_settings(self.recipe, "recipe"),
            "reference": self.reference.identity,
            "test": None if self.test is None else digest_of(self.test),
            "metrics": {
                name: to_settings(metric, f"metrics[{name!r}]")
                for name, metric in self.metrics.items()
            },
            "seed": self.seed,
        }

    def opened(self, dataset: Dataset, directory: str | Path | None) -> Store:
        """The run directory, made or found to belong to this loop and these data; it keeps nothing
        where `directory` is None.

        Raises:
            TypeError, ValueError, RunDirectoryError: as :meth:`generations`.
        """
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"a loop starts from a Dataset, not a {type(dataset).__name__}: give"
                " Dataset(geometries, labels)"
            )
        if not len(dataset):
            raise ValueError(
                "the data set is empty: a loop needs labelled structures to start from"
            )
        store = Store(None if directory is None else Path(directory))
        if store.folder is not None:
            store.open(self.settings(dataset), machine())
        return store

    def _rng(self, generation: int, stage: str) -> Generator:
        return np.random.default_rng([self.seed, generation, _STREAMS[stage]])

    def generation(
        self,
        dataset: Dataset,
        index: int,
        store: Store,
        report: Report = ignore,
    ) -> Generation:
        """One generation from its data, stage by stage."""
        proposal = self._propose(dataset, index, store, report)
        cache = store.cache
        return self._complete(
            proposal, lambda: self.reference(proposal.geometries, cache, report), store, report
        )

    def _propose(
        self,
        dataset: Dataset,
        index: int,
        store: Store,
        report: Report,
    ) -> Proposal:
        """Members, their calibration, seeds, adversaries and verdicts of a generation."""
        recipe, clock = self.recipe_of(index), Clock(index, report)
        # the split of the initial data is the same in all generations
        weights, valid = recipe.folds(dataset, recipe.members, self._rng(0, "folds"))
        learned = dataset[weights.any(axis=0)]

        def train() -> Members:
            return recipe.trainer.fit(
                dataset,
                weights,
                valid,
                self._rng(index, "members"),
                report,
                store.scratch(index, "members"),
            )

        with clock("members", store.has(index, "members")):
            committee = Committee(
                store.files(index, "members", train, recipe.trainer.save, recipe.trainer.load)
            )
        aside = dataset.of_role(CALIBRATION)
        if len(aside):
            with clock("calibration", store.has(index, "calibration.json")):
                stored = store.json(
                    index,
                    "calibration",
                    lambda: Calibration.fit_with_fallback(
                        committee.predict(list(aside)), aside
                    ).to_json(),
                )
            committee = Committee(committee.members, Calibration.from_json(stored))
            for note in committee.calibration.notes:
                report(Note(index, note))
        with clock("seeds", store.has(index, "seeds.npz")):
            rng, scratch = self._rng(index, "seeds"), store.scratch(index, "seeds")
            seeds = store.arrays(
                index,
                "seeds",
                lambda: recipe.sampler(committee, learned, rng, report, scratch),
                pack_geometries,
                unpack_geometries,
            )
        adversaries: list[Adversary] = []
        if recipe.attack is not None:
            rng_attack = self._rng(index, "adversaries")
            with clock("adversaries", store.has(index, "adversaries.npz")):
                adversaries = store.arrays(
                    index,
                    "adversaries",
                    lambda: recipe.attack(committee, learned, seeds, rng_attack, report),
                    pack_adversaries,
                    unpack_adversaries,
                )
        candidates = candidates_of(seeds, adversaries, index)
        with clock("verdicts", store.has(index, "verdicts.json")):
            rng_select = self._rng(index, "verdicts")
            verdicts = store.json(
                index,
                "verdicts",
                lambda: {
                    "verdicts": judged(
                        recipe.selectors, committee, learned, candidates, adversaries, rng_select
                    )
                },
            )
        return Proposal(
            index=index,
            dataset=dataset,
            committee=committee,
            adversaries=tuple(adversaries),
            candidates=tuple(candidates),
            verdicts=tuple(verdicts["verdicts"]),
            seconds=clock.seconds,
        )

    def _complete(
        self,
        proposal: Proposal,
        answers: Callable[[], Iterable[tuple[int, Labels | Exception | None]]],
        store: Store,
        report: Report,
    ) -> Generation:
        """Labels and metrics of a generation."""
        index, clock = proposal.index, Clock(proposal.index, report)
        geometries = proposal.geometries

        def label() -> tuple[Dataset, dict[int, str]]:
            found: dict[int, Labels] = {}
            failed: dict[int, str] = {}
            for i, answer in answers():
                if isinstance(answer, Labels):
                    found[i] = answer.check(geometries[i], f"geometry {i}")
                else:
                    failed[i] = "no answer" if answer is None else str(answer)
            order = sorted(found)
            aside = (
                self._rng(index, "roles").random(len(geometries)) < self.recipe_of(index).calibrate
            )
            roles = [CALIBRATION if aside[i] else TRAIN for i in order]
            return Dataset([geometries[i] for i in order], [found[i] for i in order], roles), failed

        with clock("labels", store.has(index, "labels.npz")):
            labelled, failures = store.arrays(index, "labels", label, pack_labels, unpack_labels)
        with clock("metrics", store.has(index, "metrics.json")):
            said = store.json(
                index,
                "metrics",
                lambda: {
                    name: float(metric(proposal.committee, self.test))
                    for name, metric in self.metrics.items()
                },
            )
        return Generation(
            index=index,
            dataset=proposal.dataset,
            committee=proposal.committee,
            adversaries=proposal.adversaries,
            candidates=proposal.candidates,
            verdicts=proposal.verdicts,
            labelled=labelled,
            failures=failures,
            metrics=said,
            seconds={**proposal.seconds, **clock.seconds},
        )


def digest_of(dataset: Dataset) -> str:
    """A name for exactly these structures with all that changes results: labels, roles, what may
    move and the generation that acquired each.
    """
    sha = hashlib.sha256()
    for geometry, label, role in zip(dataset, dataset.labels, dataset.roles, strict=True):
        sha.update(f"{geometry.digest()}|{role}|{geometry.origin.get('generation', 0)}|".encode())
        for part in (geometry.movable, np.float64(label.energy), label.forces, label.stress):
            sha.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
    return sha.hexdigest()[:16]
