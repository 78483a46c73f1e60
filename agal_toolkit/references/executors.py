"""Labels through an executor like those of concurrent.futures: threads, processes, a cluster.

A task of such an executor cannot be killed, so labels that may hang need
:func:`~agal_toolkit.references.processes` instead.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed

from ..geometry import Geometry
from .outcomes import IMPORTABLE, Label, LabelFailed, Outcome, Outcomes, Reply, outcome, reply

# The executor's own errors: what the label function raises is in the reply.
_UNUSABLE = (BrokenExecutor, pickle.PicklingError, AttributeError, TypeError, ImportError)


def through(executor: Executor, label: Label, geometries: Sequence[Geometry]) -> Outcomes:
    """Yield (index, outcome) for all `geometries` as they arrive from `executor`.

    Raises:
        RuntimeError: the executor cannot run the label function, or broke.
        ImportError, FileNotFoundError: `label` raised it, so it cannot label anything.
    """
    futures: dict[Future[Reply], int] = {}
    try:
        for index, geometry in enumerate(geometries):
            futures[executor.submit(reply, label, geometry.to_dict())] = index
        for future in as_completed(futures):
            yield futures[future], _outcome(future, executor)
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
