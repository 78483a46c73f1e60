"""One process that computes labels, and can be killed in the middle of one.

It is spawned, not forked: the parent may hold torch threads and CUDA. On POSIX it leads a process
group of its own, so that killing it also kills the programs it started, an interrupt of the
terminal reaches only the parent, and a parent that dies takes it along. Pickles travel between
parent and worker only, and every answer has the number of its question.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..geometry import Geometry
from .outcomes import IMPORTABLE, Label, reply

# A message is (kind, content): a label begins, it was interrupted, its function cannot be imported
# (content: the error), it is done (content: the reply), or the worker is out of step.
Message = tuple[str, Any]
BEGUN, INTERRUPTED, UNUSABLE, DONE = ("begun", None), ("interrupted", None), "unusable", "done"
OUT_OF_STEP = ("out of step", None)
_SPAWN = multiprocessing.get_context("spawn")
_ENVIRONMENT = threading.Lock()


def portable(label: Label) -> bytes:
    """Return `label` pickled for a spawned process.

    Raises:
        TypeError: it cannot be pickled, or a new process could not import it.
    """
    name, remedy = f"the label function {label!r}", f"{IMPORTABLE}, and import it from there"
    remedy += "; for a calculator, give CalculatorLabels(make) with a function that makes it there"
    try:
        code = pickle.dumps(label)
    except Exception as error:
        raise TypeError(f"{name} cannot be sent to another process ({error}): {remedy}") from error
    if b"__main__" in code and getattr(sys.modules["__main__"], "__file__", None) is None:
        notebook = "is defined in a notebook, which another process cannot import"
        raise TypeError(f"{name} {notebook}: {remedy}")
    return code


class Worker:
    """The parent's end of one process; `exitcode` is set once it was killed."""

    def __init__(self, threads: int) -> None:
        self.pipe, child = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(child, threads), daemon=True, name="agal_toolkit label"
        )
        self._code: bytes | None = None
        self._question = 0
        self.exitcode: int | None = None
        with _threads_in_environment(threads):
            self._process.start()
        child.close()
        self.sentinel = self._process.sentinel

    def alive(self) -> bool:
        """Return True if the process runs."""
        return self._process.is_alive()

    def send(self, code: bytes, geometry: Geometry) -> None:
        """Send `geometry`, and the label function if the process does not hold it yet.

        A dead process shows in `sentinel`, not here.
        """
        self._question += 1
        with suppress(OSError):
            known = None if code == self._code else code
            self.pipe.send((self._question, known, geometry.to_dict()))
        self._code = code

    def message(self) -> Message | None:
        """Return the next message of the process; None if there is none."""
        try:
            if not self.pipe.poll():
                return None
            question, message = self.pipe.recv()
            return message if question == self._question else OUT_OF_STEP
        except (EOFError, OSError):
            return None
        except Exception:  # no message of ours
            return OUT_OF_STEP

    def kill(self) -> None:
        """End the process and everything it started, at once."""
        if os.name == "posix":
            pid = self._process.pid
            assert pid is not None  # it was started
            with suppress(ProcessLookupError, PermissionError):  # no group yet: it is only starting
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.exitcode = self._process.exitcode
        self._process.close()
        self.pipe.close()


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """Set OMP_NUM_THREADS for a new process: libraries read it when they are loaded."""
    with _ENVIRONMENT:
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(threads)
        try:
            yield
        finally:
            del os.environ["OMP_NUM_THREADS"]
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before


def _work(pipe: Connection, threads: int) -> None:
    """Run in the process: receive a geometry, report that its label begins, send the reply."""
    if os.name == "posix":
        os.setsid()
    threading.Thread(target=_follow_parent, daemon=True).start()
    torch.set_num_threads(threads)
    label: Any = None
    with suppress(EOFError, OSError):  # the parent is gone, or no longer wants the reply
        while True:
            question, code, geometry = pipe.recv()
            try:
                label = label if code is None else pickle.loads(code)
            except Exception as error:
                pipe.send((question, (UNUSABLE, f"{type(error).__name__}: {error}")))
                continue
            pipe.send((question, BEGUN))
            try:
                pipe.send((question, (DONE, reply(label, geometry))))
            except KeyboardInterrupt:
                pipe.send((question, INTERRUPTED))


def _follow_parent() -> None:
    """Die with the parent, even if a label hangs and nothing reads the pipe."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a spawned process
    parent.join()
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
