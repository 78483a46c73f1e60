"""A reference: a label function with the care that expensive labels need.

The label function knows nothing of pools, caches and failures, and the reference nothing of
physics. Settings identify labels for ever; the executor, timeout and retries do not. The cache
keeps the labels as computed, and `accept` judges them whenever they are read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ase.calculators.calculator import BaseCalculator

from ..ase_labels import CONSTRAINED, Structures, constrained, structures_of
from ..dataset import Dataset
from ..events import Labelled, Report, ignore
from ..geometry import Geometry, Labels
from ..settings import is_frozen, name_of, parameters, settings_digest, to_settings
from .cache import Cache
from .calculators import OneCalculator
from .executors import through
from .outcomes import LabelFailed, Outcome, Outcomes, Refused, here
from .processes import Processes, processes

Compute = Callable[[Sequence[Geometry]], Outcomes]


def always(geometry: Geometry, labels: Labels) -> str | None:
    """Accept any labels."""
    return None


@dataclass(frozen=True, eq=False)
class Reference:
    """Turns geometries into labels.

    Attributes:
        label: Geometry -> Labels, or any ASE calculator (:class:`OneCalculator`). If it raises, or
            returns values that are not finite or of wrong shape or type, the outcome is a failure.
        settings: JSON that identifies its labels (code, version, parameters). Required unless
            `label` is a frozen dataclass, or a calculator whose parameters are all it is made
            from: these identify it, and `settings` are added to them.
        executor: Computes the labels: :func:`processes` (can kill), any concurrent.futures.Executor
            (cannot, and takes no timeout), or None for this thread, or, with a timeout, for one
            process during a call.
        timeout: Seconds one label may take, not counting the start of its process. Labels in the
            cache that failed for a shorter one are asked for again.
        retries: How many more times a failed label is tried, after the others.
        accept: (geometry, labels) -> None, or the reason why these labels are refused.

    Raises:
        TypeError: `label` is no label function.
        ValueError: `label` is a class, `settings` missing, `timeout` or `retries` out of range, or
            a timeout with a concurrent.futures.Executor.
    """

    label: Any
    settings: Mapping[str, Any] | None = None
    executor: Executor | Processes | None = None
    timeout: float | None = None
    retries: int = 0
    accept: Callable[[Geometry, Labels], str | None] = always
    _known: dict[str, Labels] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.label, BaseCalculator):
            object.__setattr__(self, "label", OneCalculator(self.label))
        if isinstance(self.label, type):
            kind, ase_class = self.label.__name__, issubclass(self.label, BaseCalculator)
            remedy = f"CalculatorLabels({kind})" if ase_class else f"{kind}(...)"
            wrong = f"label is the class {kind}, not an object of it (a frozen dataclass, say)"
            raise ValueError(f"{wrong}: give Reference({remedy})")
        if isinstance(self.label, Reference) or not callable(self.label):
            kind = type(self.label).__name__
            raise TypeError(f"label is a {kind}, expected a callable: Geometry -> Labels")
        if self.settings is None and not is_frozen(self.label):
            remedy = "give settings={'code': ..., 'version': ...}, or make it a frozen dataclass"
            raise ValueError(f"a label function needs settings that identify its labels: {remedy}")
        one = self.label if isinstance(self.label, OneCalculator) else None
        if self.settings is None and one is not None and one.told()[1]:
            wrong = f"{one.name} does not tell {', '.join(one.told()[1])} as parameters"
            remedy = "give settings={'version': ...}, a text that changes with its labels"
            raise ValueError(f"{wrong}: {remedy} (model, file, method)")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout}, expected seconds above 0, or None")
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"retries is {self.retries!r}, expected a whole number of at least 0")
        if not isinstance(self.executor, (Executor, Processes, type(None))):
            expected = "expected processes(n) or a concurrent.futures.Executor"
            raise TypeError(f"executor is a {type(self.executor).__name__}, {expected}")
        if isinstance(self.executor, Executor) and self.timeout is not None:
            kind, remedy = type(self.executor).__name__, "use processes(n) with a timeout"
            raise ValueError(f"a {kind} cannot stop a label: {remedy}")
        self._settings()

    def _settings(self) -> dict[str, Any]:
        fields = parameters(self.label, "label") if is_frozen(self.label) else {}
        if both := fields.keys() & (self.settings or {}).keys():
            wrong = f"settings has {sorted(both)}, which {name_of(self.label)} has, too"
            raise ValueError(f"{wrong}: give settings={{'version': ...}} or another name")
        return fields | to_settings(self.settings or {})

    @property
    def description(self) -> dict[str, Any]:
        """The label function's name and settings as JSON; ValueError if it is a lambda."""
        return {"label": name_of(self.label), "settings": self._settings()}

    @property
    def settings_digest(self) -> str:
        """16 hexadecimal digits of :attr:`description`, under which labels are kept."""
        return settings_digest(self.description)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes results as JSON: :attr:`description` and `accept`."""
        return {**self.description, "accept": to_settings(self.accept, "accept")}

    def remember(
        self, cache: Cache, geometries: Sequence[Geometry], labels: Sequence[Labels]
    ) -> None:
        """Keep labels from elsewhere in `cache`, as if this reference had computed them."""
        if cache.folder is None or not len(geometries):
            return
        cache.describe(self.settings_digest, self.description)
        for geometry, label in zip(geometries, labels, strict=True):
            cache.write(self.settings_digest, geometry, label)

    def recall(self, cache: Cache, geometry: Geometry) -> Labels | None:
        """Return the labels of `geometry` that `cache` keeps for this reference, if any."""
        if cache.folder is None:
            return None
        outcome = cache.read(self.settings_digest, geometry)
        return outcome if isinstance(outcome, Labels) else None

    def __call__(
        self,
        geometries: Structures,
        cache: Cache | str | Path | None = None,
        report: Report = ignore,
    ) -> Iterator[tuple[int, Outcome | Refused]]:
        """Yield (index, labels or failure) as they are completed, those in `cache` first.

        Labels are in `cache` before they are reported and yielded. Equal geometries are computed
        once and yielded for each. An exception of `report` is raised after everything that was
        running in processes was killed; so is KeyboardInterrupt. Abandoning the iterator kills too.

        Raises:
            ValueError: a damaged file in `cache`, or a lambda as label with a cache.
            OSError: `cache` cannot be written to.
            TypeError, RuntimeError: the executor cannot run the label function.
            ImportError, FileNotFoundError: the label function raised it: a library or a program is
                missing, which concerns all geometries.
        """
        cache = cache if isinstance(cache, Cache) else Cache(cache)
        return self._judged(structures_of(geometries), cache, report)

    def labelled(
        self,
        structures: Structures,
        cache: Cache | str | Path | None = None,
        report: Report = ignore,
    ) -> Dataset:
        """Return structures with their labels; one warning tells those that failed.

        Structures are Geometry, ase.Atoms or names of files, one or several. After an interrupt,
        another call goes on from what this reference has labelled; from a folder `cache` also in a
        new session.

        Raises:
            RuntimeError: no structure could be labelled; and as a call of the reference.
        """
        geometries, failures = structures_of(structures), {}
        digests = [geometry.digest() for geometry in geometries]
        missing = [i for i, digest in enumerate(digests) if digest not in self._known]
        for position, outcome in self([geometries[i] for i in missing], cache, report):
            if isinstance(outcome, Labels):
                self._known[digests[missing[position]]] = outcome
            else:
                failures.setdefault(str(outcome), []).append(missing[position])
        kept = [i for i, digest in enumerate(digests) if digest in self._known]
        if failures:
            wrong = f"{len(digests) - len(kept)} of {len(digests)} structures have no labels"
            reasons = [f"structures {sorted(i)}: {why}" for why, i in failures.items()]
            text = "\n  ".join([wrong, *reasons[:5], *["..."] * (len(reasons) > 5)])
            if not kept:
                raise RuntimeError(text)
            warnings.warn(text, stacklevel=2)
        return Dataset([geometries[i] for i in kept], [self._known[digests[i]] for i in kept])

    def _judged(
        self, geometries: list[Geometry], cache: Cache, report: Report
    ) -> Iterator[tuple[int, Outcome | Refused]]:
        done, total, warned = 0, len(geometries), False
        with closing(self._outcomes(geometries, cache)) as outcomes:
            for copies, outcome, cached in outcomes:
                for index in copies:
                    done += 1
                    result: Outcome | Refused = outcome
                    if isinstance(outcome, Labels):
                        reason = self.accept(geometries[index], outcome)
                        result = outcome if reason is None else Refused(reason)
                        if not warned and constrained(geometries[index], outcome):
                            warned = True
                            warnings.warn(f"structures have {CONSTRAINED}", stacklevel=3)
                    error = None if isinstance(result, Labels) else str(result)
                    report(Labelled(index, done, total, error, cached))
                    yield index, result

    def _outcomes(
        self, geometries: list[Geometry], cache: Cache
    ) -> Generator[tuple[list[int], Outcome, bool], None, None]:
        """(indices of equal geometries, outcome, was it in the cache), those in the cache first."""
        copies: dict[str, list[int]] = {}
        for index, geometry in enumerate(geometries):
            copies.setdefault(geometry.digest(), []).append(index)
        settings = "" if cache.folder is None else self.settings_digest
        missing = []
        for indices in copies.values():
            outcome = cache.read(settings, geometries[indices[0]])
            if outcome is None or self._has_more_time(outcome):
                missing.append(indices)
            else:
                yield indices, outcome, True
        if not missing:
            return
        if cache.folder is not None:
            cache.describe(settings, self.description)
        first = [geometries[indices[0]] for indices in missing]
        with closing(self._computed(first)) as outcomes:
            for position, outcome in outcomes:
                cache.write(settings, first[position], outcome)
                yield missing[position], outcome, False

    def _has_more_time(self, outcome: Outcome) -> bool:
        """Whether a label failed because its time was shorter than `timeout`."""
        limit = outcome.timeout if isinstance(outcome, LabelFailed) else None
        return limit is not None and (self.timeout is None or self.timeout > limit)

    def _computed(self, geometries: list[Geometry]) -> Outcomes:
        """(index, outcome) in rounds; each round tries again what failed in the one before."""
        waiting = list(range(len(geometries)))
        with self._compute() as compute:
            for rounds_left in range(self.retries, -1, -1):
                failed = []
                with closing(compute([geometries[index] for index in waiting])) as outcomes:
                    for position, outcome in outcomes:
                        if rounds_left and isinstance(outcome, LabelFailed):
                            failed.append(waiting[position])
                        else:
                            yield waiting[position], outcome
                waiting = failed

    @contextmanager
    def _compute(self) -> Iterator[Compute]:
        if isinstance(self.executor, Processes):
            yield partial(self.executor.run, self.label, timeout=self.timeout)
        elif self.executor is not None:
            yield partial(through, self.executor, self.label)
        elif self.timeout is not None:
            with processes(1) as pool:
                yield partial(pool.run, self.label, timeout=self.timeout)
        else:
            yield partial(here, self.label)
