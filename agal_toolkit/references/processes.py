"""A pool of processes in which a label that hangs or crashes costs one process, and nothing else.

An executor of Python 3.11 can neither kill one task nor survive a crash in another. Workers start
when they are first needed, keep the label function (and what it loaded) between geometries and
between runs, and are replaced when they die. Interrupting or abandoning a run kills the workers
that are computing; idle workers stay.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import wait

from ..geometry import Geometry
from .outcomes import IMPORTABLE, Label, LabelFailed, Outcome, Outcomes, outcome
from .worker import BEGUN, INTERRUPTED, OUT_OF_STEP, UNUSABLE, Message, Worker, portable

STARTUP = 300.0  # seconds a worker may take to start and to import the label function


@dataclass(eq=False)
class _Task:
    """The geometry at a worker, the worker's deadline (monotonic clock), and if the label runs."""

    index: int
    deadline: float
    begun: bool = False


class Processes:
    """`n` worker processes of `threads` threads each; see :func:`processes`."""

    def __init__(self, n: int, threads: int = 1) -> None:
        for name, value in {"n": n, "threads": threads}.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        self.n, self.threads = n, threads
        self._workers: list[Worker] = []
        self._running = threading.Lock()
        weakref.finalize(self, _kill, self._workers, os.getpid())

    def __repr__(self) -> str:
        return f"processes({self.n}, threads={self.threads})"

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers; a later run starts new ones."""
        _kill(self._workers, os.getpid())

    def run(
        self, label: Label, geometries: Sequence[Geometry], timeout: float | None = None
    ) -> Outcomes:
        """Yield (index, outcome) for all `geometries` as they arrive.

        A label may take `timeout` seconds, not counting the start of its worker.

        Raises:
            TypeError: `label` cannot be sent to another process.
            RuntimeError: the pool is already running, or a worker cannot start or import `label`.
            ImportError, FileNotFoundError: `label` raised it, so it cannot label anything.
        """
        code = portable(label)
        if not self._running.acquire(blocking=False):
            raise RuntimeError(f"{self!r} is already running: let it finish, or make another pool")
        busy: dict[Worker, _Task] = {}
        waiting = deque(enumerate(geometries))
        try:
            while waiting or busy:
                while waiting and len(busy) < self.n:
                    index, geometry = waiting.popleft()
                    worker = self._idle(busy)
                    busy[worker] = _Task(index, time.monotonic() + STARTUP)
                    worker.send(code, geometry)
                for worker, message in _messages(busy):
                    task = busy[worker]
                    if message == BEGUN:
                        task.begun = True
                        task.deadline = inf if timeout is None else time.monotonic() + timeout
                        continue
                    result = self._outcome(worker, task, message, timeout)
                    del busy[worker]
                    yield task.index, result
        finally:
            for worker in busy:
                self._drop(worker)
            self._running.release()

    def _idle(self, busy: dict[Worker, _Task]) -> Worker:
        for worker in [worker for worker in self._workers if worker not in busy]:
            if worker.alive():
                return worker
            self._drop(worker)
        self._workers.append(Worker(self.threads))
        return self._workers[-1]

    def _drop(self, worker: Worker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            worker.kill()

    def _outcome(
        self, worker: Worker, task: _Task, message: Message | None, timeout: float | None
    ) -> Outcome:
        """Return what the last `message` of `worker` means; None if it died or is late."""
        if message == INTERRUPTED:
            raise KeyboardInterrupt
        if message == OUT_OF_STEP:
            self._drop(worker)
            wrong = "its process sent an answer to another question"
            remedy = "a label function must not write to the pipes of its process"
            return LabelFailed(f"{wrong}: {remedy}")
        if message is not None:
            kind, content = message
            if kind == UNUSABLE:
                wrong = f"a worker process cannot import the label function ({content})"
                raise RuntimeError(f"{wrong}: {IMPORTABLE}")
            return outcome(content)
        late = worker.alive() and time.monotonic() >= task.deadline
        self._drop(worker)
        died = f"died (exit code {worker.exitcode})"
        if task.begun:
            if late:
                return LabelFailed(f"no answer within {timeout:g} s", timeout=timeout)
            return LabelFailed(f"the process {died}")
        event = f"was not ready within {STARTUP:.0f} s" if late else f"{died} before it could begin"
        remedy = "a script must start processes below `if __name__ == '__main__':`"
        raise RuntimeError(f"a worker process {event}: {remedy}")


def processes(n: int, threads: int = 1) -> Processes:
    """Return a pool of `n` processes with `threads` threads each, which can kill hanging labels.

    It may serve as a context manager, and is closed at exit at the latest.
    """
    return Processes(n, threads)


def _kill(workers: list[Worker], owner: int) -> None:
    """Kill and forget `workers`, unless this is a forked child of their `owner`."""
    while workers and os.getpid() == owner:
        workers.pop().kill()


def _messages(busy: dict[Worker, _Task]) -> list[tuple[Worker, Message | None]]:
    """Wait until a worker sends something, dies or is late; None for the dead and the late."""
    deadline = min(task.deadline for task in busy.values())
    handles = [handle for worker in busy for handle in (worker.pipe, worker.sentinel)]
    ready = wait(handles, None if deadline == inf else max(0.0, deadline - time.monotonic()))
    now = time.monotonic()
    return [
        (worker, worker.message())
        for worker, task in busy.items()
        if worker.pipe in ready or worker.sentinel in ready or task.deadline <= now
    ]
