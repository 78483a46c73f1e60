"""A reference: a label function with everything around it that labels need when they are expensive.

The label function knows nothing of pools, caches and failures, and the reference nothing of
physics. Settings name the labels for ever; how they were computed (executor, timeout, retries) does
not. The cache keeps what the label function said, and `accept` judges it again whenever it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ase import Atoms

from ..events import Labelled, Report, ignore
from ..geometry import Geometry, Labels, as_geometry
from ..settings import settings_digest, is_frozen, name_of, parameters, to_settings
from .cache import Cache
from .executors import through
from .outcomes import Label, LabelFailed, Refused, here
from .processes import Processes, processes

Ask = Callable[[Sequence[Geometry]], Iterator[tuple[int, Labels | LabelFailed]]]


def always(geometry: Geometry, labels: Labels) -> str | None:
    """Accept any labels."""
    return None


@dataclass(frozen=True, eq=False)
class Reference:
    """Turns geometries into labels.

    Attributes:
        label: Geometry -> Labels. What it raises, and nonsense it returns (NaN, other shapes or
            types), becomes a failure.
        settings: what identifies its labels (code, version, parameters), as JSON. Required, unless
            `label` is a frozen
            dataclass: that is identified by its fields (see :mod:`agal_toolkit.settings`), to which
            these are added.
        executor: where labels are computed: :func:`processes` (can kill), any
            concurrent.futures.Executor (cannot), or None for this thread, or, with a timeout, for
            one process of our own while a call lasts.
        timeout: seconds one label may take, not counting the start of its process.
        retries: how often a label that failed is asked again, after the others, before it counts as
            failed.
        accept: (geometry, labels) -> None, or the reason why these labels are refused (a force too
            large, say). What it raises is raised.

    Raises:
        ValueError: `settings` missing or without JSON, `timeout` or `retries` out of range, a
            timeout with a ProcessPoolExecutor (which calls tasks running that are still queued).
        TypeError: `settings` without JSON, `label` not callable, `executor` of another type.
    """

    label: Label
    settings: Mapping[str, Any] | None = None
    executor: Executor | Processes | None = None
    timeout: float | None = None
    retries: int = 0
    accept: Callable[[Geometry, Labels], str | None] = always

    def __post_init__(self) -> None:
        if not callable(self.label):
            raise TypeError(
                f"label is a {type(self.label).__name__}, expected a callable: Geometry -> Labels"
            )
        if self.settings is None and not is_frozen(self.label):
            raise ValueError(
                "a label function needs settings, under which its labels are kept: Reference(label,"
                " settings={'code': ..., 'version': ..., ...}), or make it a frozen dataclass of"
                " its parameters"
            )
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout}, expected seconds above 0, or None")
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise ValueError(f"retries is {self.retries!r}, expected a whole number of at least 0")
        if not isinstance(self.executor, (Executor, Processes, type(None))):
            raise TypeError(
                f"executor is a {type(self.executor).__name__}, expected processes(n) or a"
                " concurrent.futures.Executor"
            )
        if isinstance(self.executor, ProcessPoolExecutor) and self.timeout is not None:
            raise ValueError(
                "a ProcessPoolExecutor cannot stop a label and does not know when it starts: use"
                " processes(n) with a timeout"
            )
        self._described()

    def _described(self) -> dict[str, Any]:
        """The fields of the label, where it has some, and the given settings, as JSON."""
        return (parameters(self.label, "label") if is_frozen(self.label) else {}) | to_settings(
            self.settings or {}
        )

    @property
    def asked(self) -> dict[str, Any]:
        """What decides on the answer, as JSON: the name of the label function and its settings.

        Raises:
            ValueError: the label function is a lambda.
        """
        return {"label": name_of(self.label), "settings": self._described()}

    @property
    def settings_digest(self) -> str:
        """16 hexadecimal digits of :attr:`asked`, under which answers are kept."""
        return settings_digest(self.asked)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes results, as JSON: :attr:`asked` and what is accepted; not
        executor, timeout or retries.

        Raises:
            ValueError: `label` or `accept` is a lambda.
            TypeError: `accept` is not a function, a partial or a frozen dataclass, or has
                parameters without JSON.
        """
        return {**self.asked, "accept": to_settings(self.accept, "accept")}

    def __call__(
        self,
        geometries: Sequence[Geometry | Atoms],
        cache: Cache | None = None,
        report: Report = ignore,
    ) -> Iterator[tuple[int, Labels | LabelFailed | Refused]]:
        """Label `geometries`; (index, labels or failure) in the order of completion, those already
        in `cache` first.

        A label is kept in `cache` before it is reported and yielded. Equal geometries are asked
        once and yielded for each. What `report` raises is raised, after everything that was running
        in processes was killed; so is KeyboardInterrupt, and abandoning the iterator does the same.

        Raises:
            ValueError: a damaged file in `cache`, or a lambda as label with a cache.
            OSError: `cache` cannot be written to.
            TypeError, RuntimeError: the executor cannot run the label function.
        """
        return self._labelled(
            [as_geometry(geometry) for geometry in geometries],
            Cache(None) if cache is None else cache,
            report,
        )

    def _labelled(
        self, geometries: list[Geometry], cache: Cache, report: Report
    ) -> Iterator[tuple[int, Labels | LabelFailed | Refused]]:
        done = 0
        with closing(self._outcomes(geometries, cache)) as outcomes:
            for copies, outcome, cached in outcomes:
                for index in copies:
                    result = self._judged(index, geometries[index], outcome)
                    done += 1
                    report(
                        Labelled(
                            index,
                            done,
                            len(geometries),
                            None if isinstance(result, Labels) else str(result),
                            cached,
                        )
                    )
                    yield index, result

    def _judged(
        self, index: int, geometry: Geometry, outcome: Labels | LabelFailed
    ) -> Labels | LabelFailed | Refused:
        """The `outcome` of the geometry at `index`, after `accept`."""
        if isinstance(outcome, LabelFailed):
            return outcome.of(index)
        reason = self.accept(geometry, outcome)
        return outcome if reason is None else Refused(reason)

    def _outcomes(
        self, geometries: list[Geometry], cache: Cache
    ) -> Iterator[tuple[list[int], Labels | LabelFailed, bool]]:
        """(indices of equal geometries, their outcome, whether it was known): what the cache knows,
        then what is asked.
        """
        copies: dict[str, list[int]] = {}
        for index, geometry in enumerate(geometries):
            copies.setdefault(geometry.digest(), []).append(index)
        settings = "" if cache.folder is None else self.settings_digest
        unknown = []
        for indices in copies.values():
            known = cache.read(settings, geometries[indices[0]])
            if known is None:
                unknown.append(indices)
            else:
                yield indices, known, True
        if not unknown:
            return
        if cache.folder is not None:
            cache.describe(settings, self.asked)
        asked = [geometries[indices[0]] for indices in unknown]
        with closing(self._answers(asked)) as answers:
            for position, outcome in answers:
                cache.write(settings, asked[position], outcome)
                yield unknown[position], outcome, False

    def _answers(self, geometries: list[Geometry]) -> Iterator[tuple[int, Labels | LabelFailed]]:
        """What the label function says, in rounds: each asks again what failed in the one before."""
        waiting = list(range(len(geometries)))
        with self._way() as ask:
            for rounds_left in range(self.retries, -1, -1):
                failed = []
                with closing(ask([geometries[index] for index in waiting])) as outcomes:
                    for position, outcome in outcomes:
                        if rounds_left and isinstance(outcome, LabelFailed):
                            failed.append(waiting[position])
                        else:
                            yield waiting[position], outcome
                waiting = failed

    @contextmanager
    def _way(self) -> Iterator[Ask]:
        """How geometries are asked."""
        if isinstance(self.executor, Processes):
            yield partial(self.executor.run, self.label, timeout=self.timeout)
        elif self.executor is not None:
            yield partial(through, self.executor, self.label, timeout=self.timeout)
        elif self.timeout is not None:
            with processes(1) as pool:
                yield partial(pool.run, self.label, timeout=self.timeout)
        else:
            yield partial(here, self.label)
