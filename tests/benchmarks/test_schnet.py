"""Five stacked SchNets of width 256 on ammonia: a training step on 30 molecules, forces of 100.

They are compared with each member alone, with their matrix products, and with SchNetPack where
``AGAL_SCHNETPACK`` names an interpreter that has it, see :mod:`.schnetpack_step`. The products are
those of dense layers alone: each pair's filter once, two for each weight matrix to get energies and
slopes, and four to differentiate them. Forces need two for each matrix of the atoms, because
networks that no longer learn read their filters from tables, which are made before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule
from benchmarks.steps import forces, one_by_one, products, training

from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import SchNet

MEMBERS, WIDTH, INTERACTIONS = 5, 256, 4
TRAINING, PREDICTION = 30, 100  # molecules
network = partial(SchNet, [1, 7], features=WIDTH, filters=WIDTH, interactions=INTERACTIONS)
TASKS = pytest.mark.parametrize(
    ("task", "molecules"), [(training, TRAINING), (forces, PREDICTION)], ids=["step", "forces"]
)


def ammonia(count: int) -> Batch:
    """Distorted molecules."""
    relaxed, rng = Geometry.from_ase(molecule("NH3")), np.random.default_rng(0)
    moved = [relaxed.positions + rng.normal(0, 0.1, (4, 3)) for _ in range(count)]
    return Batch.of([relaxed.moved(positions) for positions in moved])


def floor(molecules: int, learning: bool):
    """The matrix products of a step (with `learning`) or of forces."""
    atoms, pairs = 4 * molecules, 6 * molecules
    filters = [(pairs, 32, WIDTH), (pairs, WIDTH, WIDTH)] * INTERACTIONS if learning else []
    # the first message is a row for each element
    layers = [(atoms, WIDTH, WIDTH)] * (3 * INTERACTIONS - 1) + [(atoms, WIDTH, WIDTH // 2)]
    return products(MEMBERS, filters + layers, learning)


class SchNetPack:
    """SchNetPack in another interpreter; called with "step" or "forces", it does that once."""

    def __init__(self, python: str, threads: int) -> None:
        script, pipe = Path(__file__).with_name("schnetpack_step.py"), subprocess.PIPE
        options = f"--threads {threads} --members {MEMBERS} --width {WIDTH}"
        options += f" --interactions {INTERACTIONS} --training {TRAINING} --prediction {PREDICTION}"
        command = [python, "-W", "ignore", str(script), *options.split()]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0)

    def __call__(self, task: str) -> None:
        try:
            self.process.stdin.write(f"{task}\n".encode())
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            raise RuntimeError("SchNetPack's process has ended: try schnetpack_step.py by hand")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def schnetpack(threads) -> Iterator[SchNetPack]:
    if not (python := os.environ.get("AGAL_SCHNETPACK")):
        pytest.skip("set AGAL_SCHNETPACK to an interpreter that has SchNetPack")
    process = SchNetPack(python, threads)
    yield process
    process.close()


@TASKS
def test_time(compare, threads, task, molecules):
    build = partial(task, network, batch=ammonia(molecules))
    others = {
        "one by one": one_by_one(build, MEMBERS),
        "matrix products": floor(molecules, learning=task is training),
    }
    result = compare(build(MEMBERS), others, rounds=7)
    assert torch.isfinite(result.forces if task is forces else result).all()


@TASKS
def test_schnetpack(compare, schnetpack, task, molecules):
    name = "step" if task is training else "forces"
    ours = task(network, MEMBERS, ammonia(molecules))
    compare(ours, {"SchNetPack, member by member": partial(schnetpack, name)}, rounds=7)


def test_an_interpreter_without_schnetpack_is_named():
    process = SchNetPack(sys.executable, 1)
    process.process.wait()
    with pytest.raises(RuntimeError, match=r"try schnetpack_step.py"):
        process("step")
    process.close()
