"""Labels through somebody's executor: threads, a process pool, a cluster.

Such a task cannot be killed. One that runs past its time is abandoned: it is reported as failed and
goes on in its place until it ends by itself.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

from ..geometry import Geometry, Labels
from .outcomes import Answer, Label, LabelFailed, answer, packed

# What a label function raises is in its answer, so these are the executor's own.
_UNUSABLE = (BrokenExecutor, pickle.PicklingError, AttributeError, TypeError, ImportError)


def through(
    executor: Executor,
    label: Label,
    geometries: Sequence[Geometry],
    timeout: float | None = None,
) -> Iterator[tuple[int, Labels | LabelFailed]]:
    """Ask `label` about all `geometries` through `executor`; (index, labels or failure) as they
    arrive.

    Args:
        executor: of concurrent.futures, or one that behaves like it.
        label: the label function.
        geometries: what it is asked about.
        timeout: seconds from when the executor says that a task runs. Executors that never say so
            (dask) are not limited here. Where abandoned tasks hold the executor, those that cannot
            start within `timeout` fail too.

    Raises:
        RuntimeError: the executor cannot run the label function, or broke.
    """
    futures: dict[Future, int] = {}
    try:
        for index, geometry in enumerate(geometries):
            futures[executor.submit(answer, label, packed(geometry))] = index
        clock = _Clock(timeout)
        pending = set(futures)
        while pending:
            done, _ = wait(pending, clock.tick, FIRST_COMPLETED)
            for future in sorted(done, key=futures.__getitem__):
                yield (
                    futures[future],
                    _outcome(future, futures[future], geometries[futures[future]], executor),
                )
            pending -= done
            for future, reason in clock.late(pending, moved=bool(done)):
                pending.discard(future)
                yield futures[future], LabelFailed(futures[future], reason)
    finally:
        for future in futures:
            future.cancel()


def _outcome(
    future: Future[Answer], index: int, geometry: Geometry, executor: Executor
) -> Labels | LabelFailed:
    error = future.exception()
    if error is None:
        return future.result().settled(index, geometry)
    if not isinstance(error, Exception):
        raise error
    if isinstance(error, _UNUSABLE):
        raise RuntimeError(
            f"{type(executor).__name__} could not run the label function ({type(error).__name__}:"
            f" {error}): put it into a module that can be imported; processes(n) survives a label"
            " that crashes"
        ) from error
    return LabelFailed(index, f"the executor gave it up ({type(error).__name__}: {error})")


class _Clock:
    """When each task was first seen running, and which of them are late."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.tick = None if timeout is None else min(timeout / 10, 0.1)
        self._started: dict[Future, float] = {}
        self._abandoned: set[Future] = set()
        self._moved = time.monotonic()  # when a task last started, ended or was given up

    def late(self, pending: set[Future], moved: bool) -> list[tuple[Future, str]]:
        """Those of `pending` that are abandoned now, with the reason; `moved` when a task has just
        ended.
        """
        if self.timeout is None:
            return []
        now = time.monotonic()
        self._moved = now if moved else self._moved
        for future in pending:
            if future.running() and future not in self._started:
                self._started[future] = self._moved = now
        running = [future for future in pending if future in self._started]
        over = [future for future in running if now - self._started[future] > self.timeout]
        if over:
            self._abandoned.update(over)
            self._moved = now
            return [
                (future, f"no answer within {self.timeout:g} s; it could not be stopped")
                for future in over
            ]
        held = not running and any(not future.done() for future in self._abandoned)
        if held and now - self._moved > self.timeout:
            reason = (
                f"not begun within {self.timeout:g} s: labels that do not answer hold the executor,"
                " processes(n) would stop them"
            )
            return [(future, reason) for future in pending if future.cancel()]
        return []
