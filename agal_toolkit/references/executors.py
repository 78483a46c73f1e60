"""Labels through an executor like those of concurrent.futures: threads, processes, a cluster.

Such a task cannot be killed. A task that exceeds its time is reported as failed and abandoned: it
keeps its place in the executor until it ends by itself.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

from ..geometry import Geometry
from .outcomes import IMPORTABLE, Label, LabelFailed, Outcome, Outcomes, Reply, outcome, reply

# The executor's own errors: what the label function raises is in the reply.
_UNUSABLE = (BrokenExecutor, pickle.PicklingError, AttributeError, TypeError, ImportError)


def through(
    executor: Executor, label: Label, geometries: Sequence[Geometry], timeout: float | None = None
) -> Outcomes:
    """Yield (index, outcome) for all `geometries` as they arrive from `executor`.

    `timeout` counts seconds from when the executor reports that a task runs; executors that never
    do (dask) have no limit here. If abandoned tasks occupy the executor, tasks that cannot start
    within `timeout` fail too.

    Raises:
        RuntimeError: the executor cannot run the label function, or broke.
        ImportError, FileNotFoundError: `label` raised it, so it cannot label anything.
    """
    futures: dict[Future[Reply], int] = {}
    try:
        for index, geometry in enumerate(geometries):
            futures[executor.submit(reply, label, geometry.to_dict())] = index
        clock = _Clock(timeout)
        pending = set(futures)
        while pending:
            done, _ = wait(pending, clock.tick, FIRST_COMPLETED)
            for future in sorted(done, key=futures.__getitem__):
                yield futures[future], _outcome(future, executor)
            pending -= done
            for future, reason in clock.late(pending, progress=bool(done)):
                pending.discard(future)
                yield futures[future], LabelFailed(reason, timeout=timeout)
    finally:
        for future in futures:
            future.cancel()


def _outcome(future: Future[Reply], executor: Executor) -> Outcome:
    error = future.exception()
    if error is None:
        return outcome(future.result())
    if not isinstance(error, Exception):
        raise error
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, _UNUSABLE):
        wrong = f"{type(executor).__name__} could not run the label function ({reason})"
        remedy = f"{IMPORTABLE}; processes(n) survives a label that crashes"
        raise RuntimeError(f"{wrong}: {remedy}") from error
    return LabelFailed(f"the executor gave it up ({reason})")


class _Clock:
    """When each task was first seen running, and which tasks are late."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.tick = None if timeout is None else min(timeout / 10, 0.1)
        self._started: dict[Future, float] = {}
        self._abandoned: set[Future] = set()
        self._progress = time.monotonic()  # when a task last started, ended or was abandoned

    def late(self, pending: set[Future], progress: bool) -> list[tuple[Future, str]]:
        """Return the tasks to abandon now, with the reason; `progress` if a task has just ended."""
        if self.timeout is None:
            return []
        now, limit = time.monotonic(), f"{self.timeout:g} s"
        starting = [f for f in pending if f not in self._started and f.running()]
        self._started.update(dict.fromkeys(starting, now))
        running = [future for future in pending if future in self._started]
        over = [future for future in running if now - self._started[future] > self.timeout]
        self._abandoned.update(over)
        if progress or starting or over:
            self._progress = now
        if over:
            reason = f"no answer within {limit}; it could not be stopped"
            return [(future, reason) for future in over]
        occupied = not running and any(not future.done() for future in self._abandoned)
        if occupied and now - self._progress > self.timeout:
            cause = "labels that do not answer occupy the executor"
            reason = f"not begun within {limit}: {cause}; processes(n) would stop them"
            return [(future, reason) for future in pending if future.cancel()]
        return []
