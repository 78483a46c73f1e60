"""The active-learning loop: train, attack, select, label, again (Schwalbe-Koda 2021, Fig. 1b).

A :class:`Loop` holds settings; its :meth:`~Loop.generations` is an endless generator of frozen
:class:`Generation` records. A generation is eight stages (members, calibration, seeds, adversaries,
verdicts, review, labels, metrics), each with random numbers of its own, so the next one does not
depend on which stages were run and which were read from the run directory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ase import Atoms

from ..committee import Committee
from ..dataset import Dataset
from ..events import Finished, Report, ignore, text
from ..files import absolute
from ..geometry import Geometry, Labels
from ..references.reference import Reference
from ..settings import machine, to_settings
from . import run_directory as stored
from .generation import Generation, Proposal
from .matching import for_each, in_order
from .packing import Answers
from .recipe import Recipe as Recipe
from .recipe import Schedule as Schedule
from .review import REVIEW, Reviewed, Reviewer, after_review, asked
from .roles import check_calibration, reserved
from .run_directory import RunDirectory
from .stages import Stages, candidates_of, labels_of, select, trained, with_outcomes, with_verdicts
from .stopping import Generations

Metric = Callable[[Committee, Dataset], float]
USUAL = ("forces", "energy per atom")  # errors that are measured without metrics


@dataclass(frozen=True)
class Loop:
    """Settings of an active-learning run.

    Attributes:
        recipe: of all generations; or a callable that gives it for each, as :class:`Schedule`.
        reference: labels the chosen structures.
        test: data that are only reported on, fixed before generation 0.
        metrics: name -> (committee, test data) -> number; without any, RMS errors.
        seed: of all random numbers.
        review: asked before structures are labelled, ``review(proposal, report, scratch)`` with a
            :class:`Reviewed` as answer, for example a panel. It is asked once for a generation; its
            answer is kept in the run directory. None accepts all.
    """

    recipe: Recipe | Callable[[int], Recipe]
    reference: Reference
    test: Dataset | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    seed: int = 0
    review: Reviewer | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.reference, Reference):
            given = self.reference
            is_class = isinstance(given, type)
            name = f"the class {given.__name__}" if is_class else type(given).__name__
            remedy = "Loop(recipe, Reference(label)), with a label function such as XTB()"
            raise TypeError(f"reference is {name}, expected a Reference: give {remedy}")
        if self.metrics and not self.test:
            names = sorted(self.metrics)
            raise ValueError(f"metrics {names} need test data: give Loop(test=...), not empty")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: give one that is not negative")
        object.__setattr__(self, "metrics", MappingProxyType(dict(self.metrics)))

    def __reduce__(self) -> tuple:
        # a read-only mapping cannot be pickled
        return partial(Loop, **(vars(self) | {"metrics": dict(self.metrics)})), ()

    def recipe_of(self, generation: int) -> Recipe:
        """Return the recipe of a generation."""
        return self.recipe if isinstance(self.recipe, Recipe) else self.recipe(generation)

    def generations(
        self,
        dataset: Dataset | None,
        directory: str | Path | None = None,
        report: Report = text,
        committee: Committee | None = None,
    ) -> Iterator[Generation]:
        """Yield generation after generation without end; finished stages in `directory` are read.

        Args:
            dataset: the labelled data to start from; None with a committee and a sampler that has
                structures of its own.
            directory: keeps every finished stage; None keeps nothing.
            report: receives every event; if it raises, the loop stops, finished stages are kept.
            committee: attacked in the first generation, without training, then trained afresh (a
                warm trainer goes on from members that fit it). Its calibration serves until there
                are structures to calibrate on.

        Raises:
            ValueError: data too small to split, settings without a name (a lambda).
            RunDirectoryError: a directory of other settings, not writable, in use, or damaged.
            TrainingFailed: a loss that is not finite.
        """
        kept = _directory(directory)
        return Generations(self._generations(dataset, kept, report, committee), report, kept.folder)

    def _generations(
        self,
        dataset: Dataset | None,
        run_directory: RunDirectory,
        report: Report,
        given: Committee | None,
    ) -> Generator[Generation]:
        dataset = self._open(dataset, run_directory, report, given)
        generation = None
        for index in count():
            run = Stages(run_directory, index, self.seed, report, given)
            with run_directory.locked():
                generation = self.read(dataset, run, generation)
            report(Finished(generation))
            yield generation
            dataset = generation.grown

    def ask(
        self,
        dataset: Dataset | None,
        directory: str | Path | None = None,
        after: Generation | None = None,
        report: Report = text,
        committee: Committee | None = None,
    ) -> Proposal:
        """Return the next structures to label; a person or a queue answers with :meth:`tell`.

        Args:
            dataset, committee: what to start from, as in :meth:`generations`.
            directory: finished generations are read from it.
            after: without a directory, the last generation that was told; its grown data are used.
            report: receives every event of the proposal.
        """
        run_directory = _directory(directory)
        dataset = self._open(dataset, run_directory, report, committee)
        index, current = (0, dataset) if after is None else (after.index + 1, after.grown)
        with run_directory.locked():
            while run_directory.has_labels(index):
                run = Stages(run_directory, index, self.seed, ignore, committee)
                after = self.read(current, run, after)
                current, index = after.grown, index + 1
            stages = Stages(run_directory, index, self.seed, report, committee)
            return self._propose(current, stages, after)

    def tell(
        self,
        proposal: Proposal,
        answers: Dataset | Sequence[Labels | Exception | Atoms | None],
        directory: str | Path | None = None,
        report: Report = text,
        tolerance: float = 1e-3,
    ) -> Generation:
        """Return the generation that a proposal becomes with answers to its geometries.

        Args:
            proposal: from :meth:`ask`.
            answers: a data set, or ASE structures with labels, of all or some geometries in any
                order; or a list with labels, an exception or None for each geometry, in order.
            directory: the one given to :meth:`ask`.
            report: receives every event.
            tolerance: root mean square distance, angstrom, up to which a structure of a data set
                is the one that was asked.

        Raises:
            ValueError: a structure that was not asked, or told twice; another number of answers in
                a list; a proposal of another run; a generation that has been told before.
            TypeError: an answer that is neither labels nor an exception nor None.
        """
        geometries = proposal.geometries
        given = for_each(geometries, answers, proposal.index, tolerance)
        labelled = in_order(geometries, given)
        run_directory = _directory(directory)
        self._check(run_directory)
        with run_directory.locked():
            self._check_asked(run_directory, proposal)
            # labels that are kept outlive a retry, and those told before one need no second answer
            cache, told = run_directory.cache, [geometries[i] for i in labelled]
            self.reference.remember(cache, told, list(labelled.values()))
            for i in set(range(len(geometries))) - set(labelled):
                earlier = self.reference.recall(cache, geometries[i])
                labelled |= {} if earlier is None else {i: earlier}
            merged = [(i, labelled.get(i, answer)) for i, answer in enumerate(given)]
            run = Stages(run_directory, proposal.index, self.seed, report)
            return self._complete(proposal, run, lambda: merged)

    def reviewed(
        self, proposal: Proposal, verdicts: Reviewed, directory: str | Path | None = None
    ) -> Proposal:
        """Return a proposal without the structures that a person rejects, for :meth:`tell`.

        Args:
            proposal: from :meth:`ask` of a loop without a `review`.
            verdicts: by index among its `geometries`.
            directory: the one given to :meth:`ask`; it keeps the verdicts.

        Raises:
            ValueError: a generation that has its review or its labels, a proposal of another run.
        """
        run_directory = _directory(directory)
        self._check(run_directory)
        with run_directory.locked():
            self._check_asked(run_directory, proposal)
            if run_directory.has(proposal.index, "review", REVIEW):
                wrong = f"generation {proposal.index + 1} has its review already"
                raise ValueError(f"{wrong}: ask(data, directory) returns what it accepted")
            run = Stages(run_directory, proposal.index, self.seed, ignore)
            return after_review(proposal, run, lambda *_: verdicts)

    def add(self, data: Dataset, directory: str | Path) -> int:
        """Add structures of your own, labelled as by the reference, to the data of a run.

        They join in the first generation that has not begun; return its index.
        """
        if not len(data):
            raise ValueError("there is nothing to add: give a Dataset that is not empty")
        run_directory = _directory(directory)
        self._check(run_directory)
        with run_directory.locked():
            return run_directory.add(data)

    def retry(self, directory: str | Path) -> int:
        """Prepare failed labels of the last generation to be computed again; return their number.

        Its other labels are kept. Later stages are removed, because they learned from data that now
        change. A folder that is not a run directory raises RunDirectoryError.
        """
        run_directory = _directory(directory)
        self._check(run_directory)
        index, labelled, failures = run_directory.last_labels()
        with run_directory.locked():
            if failures:
                self.reference.remember(run_directory.cache, labelled.geometries, labelled.labels)
                run_directory.forget_labels(index)
            run_directory.cache.retry()
        return len(failures)

    def forget(
        self, directory: str | Path, generation: int | Proposal, review: bool = False
    ) -> int:
        """Take back all labels of a generation, told or computed; return their number.

        The cache forgets them, too: :meth:`ask` returns the same proposal, :meth:`tell` takes other
        answers. Later generations are removed; what they labelled stays in the cache.

        Args:
            directory: of the run.
            generation: its index, which counts from 0, or its record.
            review: also take back a person's verdicts, so that they are asked for again.

        Raises:
            ValueError: a generation without labels, unless its review is taken back.
            RunDirectoryError: not the directory of a run with this loop's settings.
        """
        index = generation.index if isinstance(generation, Proposal) else generation
        run_directory = _directory(directory)
        self._check(run_directory)
        with run_directory.locked():
            if not ((labelled := run_directory.has_labels(index)) or review):
                wrong = f"generation {index + 1} (index {index}) has no labels in {directory}"
                raise ValueError(f"{wrong}: indices count from 0")
            for geometry in (geometries := self._asked(run_directory, index)):
                run_directory.cache.forget(self.reference.settings_digest, geometry)
            run_directory.forget_labels(index, review)
        return len(geometries) if labelled else 0

    def settings(self, dataset: Dataset, committee: Committee | None = None) -> dict[str, Any]:
        """Return everything that changes results, as JSON; `committee` is the one to start from.

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
            **({} if committee is None else {"committee": committee.digest()}),
        }

    def _open(
        self,
        dataset: Dataset | None,
        run_directory: RunDirectory,
        report: Report,
        given: Committee | None = None,
    ) -> Dataset:
        """Make the run directory, or check that it belongs to this start; return the data."""
        dataset = Dataset() if dataset is None else dataset
        if not isinstance(dataset, Dataset):
            wrong = f"a loop starts from a Dataset, not a {type(dataset).__name__}"
            raise TypeError(f"{wrong}: give Dataset(geometries, labels)")
        if not len(dataset) and given is None:
            remedy = "a loop needs labelled structures, or a committee to start from"
            raise ValueError(f"the data set is empty: {remedy}")
        start = reserved(recipe := self.recipe_of(0), dataset, self.seed)
        check_calibration(recipe, start, given)
        if run_directory.folder is not None:
            run_directory.open(self.settings(start, given), machine(), report)
            run_directory.keep(start, given)
        return start

    def _check(self, run_directory: RunDirectory) -> None:
        """Raise RunDirectoryError unless the directory is of a run with this loop's settings."""
        if run_directory.folder is not None:
            settings = self.settings(Dataset())
            run_directory.check({k: v for k, v in settings.items() if k != "dataset"})

    def _asked(self, run_directory: RunDirectory, index: int) -> list[Geometry]:
        return asked(run_directory, index, self.recipe_of(index).attack is not None)

    def _check_asked(self, run_directory: RunDirectory, proposal: Proposal) -> None:
        """Raise ValueError unless labels of this proposal are what the run waits for."""
        folder, index = run_directory.folder, proposal.index
        if folder is None:
            return
        if run_directory.has_labels(index):
            raise ValueError(
                f"generation {index + 1} has its labels already: ask again, prepare its failures"
                f" with retry({str(folder)!r}), or take all its labels back with"
                f" forget({str(folder)!r}, {index})"
            )
        digests = [geometry.digest() for geometry in self._asked(run_directory, index)]
        if digests != [geometry.digest() for geometry in proposal.geometries]:
            wrong = f"this proposal is not the one that was asked in {folder}"
            raise ValueError(f"{wrong}: tell the one that ask(data, directory) returns")

    def read(self, dataset: Dataset, run: Stages, last: Generation | None) -> Generation:
        """Return the record of one generation that begins with `dataset`; run what is missing."""
        proposal = self._propose(dataset, run, last)
        ask = partial(self.reference, proposal.geometries, run.directory.cache, run.report)
        return self._complete(proposal, run, ask)

    def _propose(self, dataset: Dataset, run: Stages, last: Generation | None) -> Proposal:
        """Members, their calibration, seeds, adversaries and verdicts of a generation.

        Members may go on from those of the `last` generation.
        """
        recipe = self.recipe_of(run.generation)
        dataset = dataset + run.directory.added(run.generation)
        committee, learned, weights = trained(recipe, dataset, run, last)
        rng, scratch = run.rng("seeds"), run.scratch("seeds")
        sample = partial(recipe.sampler, committee, learned, rng, run.numbered, scratch)
        seeds = run.stage("seeds", stored.GEOMETRIES, sample)
        adversaries, rng = None, run.rng("adversaries")
        if recipe.attack is not None:
            attack = partial(recipe.attack, committee, learned, seeds, rng, run.numbered)
            adversaries = run.stage("adversaries", stored.ADVERSARIES, attack)
        candidates, rng = candidates_of(seeds, adversaries, run.generation), run.rng("verdicts")
        choose = partial(select, recipe.selectors, committee, learned, candidates, rng, dataset)
        verdicts = run.stage("verdicts", stored.VERDICTS, choose)
        proposal = Proposal(
            index=run.generation,
            dataset=dataset,
            committee=committee,
            candidates=with_verdicts(candidates, verdicts),
            seconds=dict(run.seconds),
            weights=weights,
        )
        return after_review(proposal, run, self.review)

    def _complete(self, proposal: Proposal, run: Stages, answers: Answers) -> Generation:
        share = self.recipe_of(proposal.index).calibrate
        label = partial(labels_of, proposal, run, answers, share)
        labelled, failures = run.stage("labels", stored.LABELS, label)
        measure = partial(self._measured, proposal.committee)
        metrics = run.stage("metrics", stored.METRICS, measure)
        return Generation(
            index=proposal.index,
            dataset=proposal.dataset,
            committee=proposal.committee,
            candidates=with_outcomes(proposal.candidates, labelled, failures),
            metrics=metrics,
            weights=proposal.weights,
            seconds={**proposal.seconds, **run.seconds},
        )

    def _measured(self, committee: Committee) -> dict[str, float]:
        test = self.test or Dataset()  # there are no metrics without
        errors = committee.errors(test).items() if test and not self.metrics else ()
        usual = {f"{name} ({e.unit})": e.rmse for name, e in errors if name in USUAL}
        return usual | {name: float(f(committee, test)) for name, f in self.metrics.items()}


def _directory(directory: str | Path | None) -> RunDirectory:
    return RunDirectory(None if directory is None else absolute(directory))
