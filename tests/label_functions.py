"""Label functions that misbehave on request, importable from a spawned process.

What a label does is decided by the x coordinate of its particle, so one function answers a whole
mixture of geometries.
"""

from __future__ import annotations

import os
import stat
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agal_toolkit.geometry import Geometry, Labels

GOOD, RAISES, HANGS, DIES, NOT_A_NUMBER, WRONG_SHAPE, WRONG_TYPE, INTERRUPTS, SLOW = range(9)
FORKS, WRITES, NO_LIBRARY, NO_PROGRAM, NO_MESSAGE = range(9, 14)


class Unspeakable(Exception):
    """An error whose text raises."""

    def __str__(self) -> str:
        raise ValueError("no text")


def squared(geometry: Geometry) -> Labels:
    """E = r^2 / 2."""
    return Labels(energy=0.5 * (geometry.positions**2).sum(), forces=-geometry.positions)


def moody(geometry: Geometry) -> Labels | float:
    """What x says: :func:`squared` between the moods."""
    x = geometry.positions[0, 0]
    if x == RAISES:
        raise RuntimeError("the SCF did not converge")
    if x == HANGS:
        time.sleep(600)
    if x == DIES:
        os._exit(3)
    if x == NOT_A_NUMBER:
        return Labels(energy=float("nan"), forces=geometry.positions)
    if x == WRONG_SHAPE:
        return Labels(energy=0.0, forces=np.zeros((4, 2)))
    if x == WRONG_TYPE:
        return 1.0
    if x == INTERRUPTS:
        raise KeyboardInterrupt
    if x == SLOW:
        time.sleep(0.3)
    if x == FORKS:
        child = os.fork()
        if child == 0:
            return squared(geometry)  # as code does that forgets that it is the child
        os.waitpid(child, 0)
    if x == WRITES:
        for number in range(3, 256):  # into the pipe of its process, as a stray library might
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    os.write(number, b"\0\0\0\5hello")
    if x == NO_LIBRARY:
        import no_such_library  # noqa: F401
    if x == NO_PROGRAM:
        subprocess.run(["/no-such-program"], check=True)
    if x == NO_MESSAGE:
        raise Unspeakable
    return squared(geometry)


def environment(geometry: Geometry) -> Labels:
    """Energy: the process; forces: threads of torch and of OpenMP."""
    import torch

    return Labels(
        energy=os.getpid(), forces=[[torch.get_num_threads(), float(os.environ["OMP_NUM_THREADS"])]]
    )


@dataclass(frozen=True)
class Counted:
    """:func:`moody`, with one file in `folder` for each time it was asked; the first `failures`
    times it raises.
    """

    folder: Path = field(compare=False)
    failures: int = 0
    scale: float = 1.0

    def __call__(self, geometry: Geometry) -> Labels:
        # The x is in the name, so that a thread which counts never meets a file that another one
        # has not filled yet.
        x = float(geometry.positions[0, 0])
        who = f"{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
        (self.folder / f"{who}={x!r}").touch()
        if len(self.calls()) <= self.failures:
            raise RuntimeError("not this time")
        return moody(geometry)

    def calls(self) -> list[float]:
        """The x of each time."""
        return sorted(float(path.name.partition("=")[2]) for path in self.folder.iterdir())


@dataclass(frozen=True)
class WithProgram:
    """:func:`squared`; where x is HANGS, starts a program as a quantum chemistry code would, writes
    its process id to `file` and waits.
    """

    file: Path

    def __call__(self, geometry: Geometry) -> Labels:
        if geometry.positions[0, 0] == HANGS:
            program = subprocess.Popen(["sleep", "600"])
            self.file.with_suffix(".part").write_text(str(program.pid))
            self.file.with_suffix(".part").rename(self.file)
            program.wait()
        return squared(geometry)


@dataclass(frozen=True)
class Spring:
    """Two atoms that like to be 1 + charge / 10 angstrom apart."""

    def __call__(self, geometry: Geometry) -> Labels:
        along = geometry.positions[1] - geometry.positions[0]
        length = np.linalg.norm(along)
        pull = (length - 1 - geometry.charge / 10) * 20.0
        force = pull * along / length
        return Labels(energy=pull**2 / 40, forces=np.stack([force, -force]))
