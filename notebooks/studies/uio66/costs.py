"""Cost of a committee on UiO-66 against the number of atoms: time and memory, four elements.

``python -m studies.uio66.costs``

Cells are the dry primitive one (114 atoms), the same with 14 and with 42 waters (156 and 240), and
the conventional ones of the dry framework and of the one with 42 waters (456 and 960). All are
timed in turns in one process with one thread, so that other work on the machine slows all alike;
compare their ratios. A step is energies, forces and stresses of all members, or one evaluation of
an attack's loss and its slope. Each peak of memory is that of a process of its own. Weights are
random: they do not change the cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from agal_toolkit.attack import LBFGS, Attack, TargetError
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials.density import DensityNet
from agal_toolkit.potentials.members import Stacked
from agal_toolkit.potentials.protocol import Baseline

from ..water.cost_tasks import peak
from ..water.costs import slope
from .structures import DRY, SEED, conventional, name, packed

TURNS = 5
MEMBERS = 4


def committee(members: int = MEMBERS) -> Committee:
    """Return members of the size of the study's, with random weights, on one thread."""
    torch.set_num_threads(1)
    network = DensityNet((1, 6, 8, 40), range(members)).requires_grad_(False)
    return Committee(Stacked(network, Baseline()))


def cells() -> list[Geometry]:
    """Return the cells, from small to large."""
    dry, loaded = packed(DRY), packed(name(42))
    return [dry, packed(name(14)), loaded, conventional(dry), conventional(loaded)]


def predict(model: Committee, cell: Geometry) -> None:
    """Predict energies, forces and stresses of all members."""
    model.predict(cell)


def attack(model: Committee, cell: Geometry) -> None:
    """Evaluate the loss of an attack and its slope once."""
    attacker = Attack(TargetError(0.3, raw=True), LBFGS(1), start=0.0, cell=True)
    next(attacker.iterate(model, None, [cell], np.random.default_rng(SEED)))


TASKS = {"prediction": predict, "attack step": attack}
Task = Callable[[Committee, Geometry], None]


def timed(task: Task, structures: Sequence[Geometry], turns: int = TURNS) -> np.ndarray:
    """Return (turns, n) processor seconds of a task; a first turn is not counted."""
    model, seconds = committee(), np.zeros((turns + 1, len(structures)))
    for turn in range(turns + 1):
        for k, cell in enumerate(structures):
            began = time.process_time()
            task(model, cell)
            seconds[turn, k] = time.process_time() - began
    return seconds[1:]


def memory(task: str, cell: Geometry) -> tuple[float, float]:
    """Return the peaks of this process's memory before and after a task, MB."""
    model = committee()
    before = peak()
    TASKS[task](model, cell)
    return before, peak()


def table(structures: Sequence[Geometry], turns: int = TURNS) -> list[str]:
    """Return lines that tell time, memory and their growth with the number of atoms."""
    atoms, lines = [len(cell) for cell in structures], []
    for title, task in TASKS.items():
        seconds = np.median(timed(task, structures, turns), axis=0)
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            taken = [*pool.map(memory, [title] * len(atoms), structures)]
        grown = [after - before for before, after in taken]
        lines.append(f"{title}, {MEMBERS} members: slope of log(seconds) against log(atoms)")
        lines[-1] += f" {slope(atoms, seconds):.2f}, of log(memory) {slope(atoms, grown):.2f}"
        for n, second, more in zip(atoms, seconds, grown, strict=True):
            each = 1e6 * second / n
            lines.append(f"  {n:4} atoms  {second:7.3f} s  {each:5.0f} us/atom  {more:6.0f} MB")
    return lines


def main() -> None:
    """Print the table."""
    print("\n".join(table(cells())))


if __name__ == "__main__":  # worker processes import this module by its name
    from studies.uio66 import costs

    costs.main()
