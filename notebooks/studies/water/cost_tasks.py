"""Predictions, attacks and simulations of boxes of water, timed step by step, with their memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ase import io, units
from ase.optimize import FIRE

from agal_toolkit.attack import LBFGS, Attack, TargetError
from agal_toolkit.committee import Committee
from agal_toolkit.dynamics import Watch, npt, nvt
from agal_toolkit.events import Event, Progress
from agal_toolkit.files import atomic_write
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials.ase import PotentialCalculator

from ..calibrated.committee import trainer
from ..calibrated.recipes import PRESETS as CALIBRATED
from ..calibrated.records import APART
from ..jobs import RESULTS, Record
from .dynamics import packed
from .truth import SEED

COMMITTEE = RESULTS / "water" / "committee-laptop"
TARGET = 0.15  # eV/angstrom, of attacks, for the standard deviation of the members
MEGABYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the study.

    Attributes:
        molecules: waters of each box.
        members: of the committee that predicts and is attacked.
        turns: how often each task is timed.
        relax: largest number of steps in which a box is relaxed.
    """

    molecules: tuple[int, ...] = (64, 216, 512, 1000)
    members: int = 8
    turns: int = 9
    relax: int = 50


def committee(members: int) -> Committee:
    """Return the first members of the stored committee, on one thread."""
    torch.set_num_threads(1)
    stored = trainer(CALIBRATED["laptop"]).load(COMMITTEE)
    return Committee(stored[np.arange(members)])


def box(molecules: int, sizes: Sizes, folder: Path) -> Path:
    """Return the file of a box, which is packed and relaxed first if it is missing."""
    file = folder / f"box-{molecules}-{sizes.members}-{sizes.relax}.extxyz"
    if not file.exists():
        atoms = packed(molecules, np.random.default_rng([SEED, molecules])).to_ase()
        atoms.calc = PotentialCalculator(committee(sizes.members).mean)
        FIRE(atoms, logfile=os.devnull, maxstep=0.1).run(fmax=1.0, steps=sizes.relax)
        atoms.calc = None
        with atomic_write(file) as part:
            io.write(part, atoms, format="extxyz")
    return file


Task = Callable[[Committee, Geometry, int, Callable[[], None]], object]


def predict(
    members: int, model: Committee, start: Geometry, turns: int, tick: Callable[[], None]
) -> None:
    """Predict energies, forces and stresses with the first members; a turn is one prediction.

    This and the other tasks call `tick` before the first turn and after each.
    """
    chosen = model[np.arange(members)]
    tick()
    for _ in range(turns):
        chosen.predict(start)
        tick()


def attack(model: Committee, start: Geometry, turns: int, tick: Callable[[], None]) -> None:
    """Attack all members as the study of calibrated attacks does.

    A turn is one evaluation of the loss and its slope, with the step of L-BFGS.
    """
    attacker = Attack(TargetError(TARGET, raw=True), LBFGS(turns), start=0.0, guard=APART)
    for _ in attacker.iterate(model, None, [start], np.random.default_rng(SEED)):
        tick()


def simulate(
    by: Callable[..., object],
    model: Committee,
    start: Geometry,
    turns: int,
    tick: Callable[[], None],
) -> None:
    """Simulate the first member at 300 K by :func:`nvt` or :func:`npt`; a turn is one step."""

    def report(event: Event) -> None:
        if isinstance(event, Progress):
            tick()

    rng, watch = np.random.default_rng(SEED), Watch(every=1)
    potential = model[[0]].mean
    by(potential, [start], 300.0, timestep=0.25, steps=turns, rng=rng, watch=watch, report=report)


def tasks(members: int) -> dict[str, Task]:
    """Return what is timed, by name."""
    return {
        "prediction, 1 member": partial(predict, 1),
        f"prediction, {members} members": partial(predict, members),
        f"attack step, {members} members": attack,
        "NVT step, 1 member": partial(simulate, nvt),
        "NPT step, 1 member": partial(simulate, partial(npt, pressure=units.bar)),
    }


def peak() -> float:
    """Return the largest memory that this process has held, in MB.

    On Linux ``getrusage`` may also count the process that started this one, before it became a
    program of its own, so the kernel's own record is read there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        values = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(values["VmHWM"].split()[0]) * 1024 / MEGABYTE
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE  # macOS counts bytes


def measure(name: str, sizes: Sizes, file: Path) -> Record:
    """Return seconds of each turn of a task on a box, and the memory of this process in MB.

    A first turn, in which memory is allocated, is not counted. "idle" is the memory before it.
    """
    model, start = committee(sizes.members), Geometry.from_ase(next(io.iread(file)))
    idle, times = peak(), []
    tasks(sizes.members)[name](
        model, start, sizes.turns + 1, lambda: times.append(time.perf_counter())
    )
    seconds = np.diff(times)[1:]
    if len(seconds) != sizes.turns:
        raise RuntimeError(f"{name} of {start!r} ended after {len(seconds)} of {sizes.turns} turns")
    return {
        "atoms": len(start),
        "seconds": [round(float(value), 6) for value in seconds],
        "memory": round(peak(), 1),
        "idle": round(idle, 1),
    }
