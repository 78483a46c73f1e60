"""A pool of processes in which a label that hangs or crashes costs one process, and nothing else.

An executor of Python 3.11 can neither kill one task nor survive a crash in another. Workers are
started when they are first needed, keep the label function (and what it loaded) between geometries
and between runs, and are replaced when they die. A killed or abandoned run kills what was running;
idle workers stay.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import wait

from ..geometry import Geometry, Labels
from .outcomes import Answer, Label, LabelFailed
from .worker import BEGUN, INTERRUPTED, Worker, portable

STARTUP = 300.0  # seconds a worker may take to start and to import the label function


@dataclass(eq=False)
class _Task:
    """A geometry at a worker: from when on (monotonic clock) the worker is too late, and whether
    the label runs yet.
    """

    index: int
    geometry: Geometry
    deadline: float
    begun: bool = False


class Processes:
    """`n` worker processes with `threads` threads each. Made by :func:`processes`; a context
    manager, closed at exit at the latest.
    """

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
        """Kill the workers. A later run starts new ones."""
        _kill(self._workers, os.getpid())

    def run(
        self, label: Label, geometries: Sequence[Geometry], timeout: float | None = None
    ) -> Iterator[tuple[int, Labels | LabelFailed]]:
        """Ask `label` about all `geometries`; (index, labels or failure) as they arrive.

        Args:
            label: a function of an importable module, or a picklable callable.
            geometries: what it is asked about.
            timeout: seconds one label may take, counted from when the worker, started and with the
                label function imported, begins.

        Raises:
            TypeError: `label` cannot be sent to another process.
            RuntimeError: the pool is running already, or a worker cannot start or cannot import
                `label`.
            KeyboardInterrupt: `label` raised it.
        """
        code = portable(label)
        if not self._running.acquire(blocking=False):
            raise RuntimeError(
                f"{self!r} is already running: let that run end, or make another pool"
            )
        busy: dict[Worker, _Task] = {}
        try:
            waiting = deque(enumerate(geometries))
            while waiting or busy:
                while waiting and len(busy) < self.n:
                    index, geometry = waiting.popleft()
                    worker = self._idle(busy)
                    busy[worker] = _Task(index, geometry, time.monotonic() + STARTUP)
                    worker.ask(code, geometry)
                for worker, message in _heard(busy):
                    if message == BEGUN:
                        busy[worker].begun, busy[worker].deadline = (
                            True,
                            inf if timeout is None else time.monotonic() + timeout,
                        )
                        continue
                    outcome = self._outcome(worker, busy[worker], message, timeout)
                    yield busy.pop(worker).index, outcome
        finally:
            for worker in busy:
                self._drop(worker)
            self._running.release()

    def _idle(self, busy: dict[Worker, _Task]) -> Worker:
        """A worker that waits, or a new one."""
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
        self, worker: Worker, task: _Task, message: Answer | str | None, timeout: float | None
    ) -> Labels | LabelFailed:
        """What the last `message` of `worker` about `task` means; None is silence beyond the
        deadline or death.
        """
        if isinstance(message, Answer):
            return message.settled(task.index, task.geometry)
        if message == INTERRUPTED:
            raise KeyboardInterrupt
        if message is not None:
            raise RuntimeError(
                f"a worker process cannot import the label function ({message}): put it into a"
                " module that can be imported"
            )
        late = worker.alive() and time.monotonic() >= task.deadline
        self._drop(worker)
        if not task.begun:
            what = (
                f"was not ready within {STARTUP:.0f} s"
                if late
                else f"died (exit code {worker.exitcode}) before it could ask"
            )
            raise RuntimeError(
                f"a worker process {what}: a script must start processes below `if __name__ =="
                " '__main__':`"
            )
        return LabelFailed(
            task.index,
            (
                f"no answer within {timeout:g} s"
                if late
                else f"the process died (exit code {worker.exitcode})"
            ),
        )


def processes(n: int, threads: int = 1) -> Processes:
    """A pool of `n` processes, each with `threads` threads, that can kill a label that hangs.

    Raises:
        ValueError: `n` or `threads` is below 1.
    """
    return Processes(n, threads)


def _kill(workers: list[Worker], owner: int) -> None:
    """Kill and forget `workers`, unless this is a forked child of their `owner`."""
    while workers and os.getpid() == owner:
        workers.pop().kill()


def _heard(busy: dict[Worker, _Task]) -> list[tuple[Worker, Answer | str | None]]:
    """Wait until a worker says something, dies or is late; the message of each that did, None for
    the dead and the late.
    """
    soonest = min(task.deadline for task in busy.values())
    handles = {handle: worker for worker in busy for handle in (worker.pipe, worker.sentinel)}
    loud = {
        handles[handle]
        for handle in wait(
            handles, None if soonest == inf else max(0.0, soonest - time.monotonic())
        )
    }
    late = {worker for worker, task in busy.items() if task.deadline <= time.monotonic()}
    return [(worker, _message(worker)) for worker in busy if worker in loud | late]


def _message(worker: Worker) -> Answer | str | None:
    try:
        return worker.pipe.recv() if worker.pipe.poll() else None
    except (EOFError, OSError):
        return None
