"""A training step and the forces of five SchNets on ammonia, timed against each member alone, their
matrix products and SchNetPack.

One step is energies and forces, a loss on both, its gradient through the forces, and Adam. The
floor is what the dense
layers of one step cost by themselves: each pair's filter once, and six products for each weight
matrix, two to get energies and slopes and four to differentiate them; forces alone take two for
each matrix of the atoms, as networks that no longer learn read their filters from tables, which are
there before the clock starts. SchNetPack runs in an interpreter of its own, see
:mod:`.schnetpack_step`, and takes its turns like all others.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase.build import molecule
from torch import Tensor, nn

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import SchNet, Stacked, derive
from agal_toolkit.training.member_adam import MemberAdam

MEMBERS, TRAINING, PREDICTION = (
    5,
    30,
    100,
)  # members, molecules in a step, molecules whose forces are predicted


def ammonia(count: int, seed: int = 0) -> Batch:
    """Distorted molecules."""
    relaxed, rng = molecule("NH3"), np.random.default_rng(seed)
    return Batch.of(
        [
            Geometry(
                positions=relaxed.positions + rng.normal(0, 0.1, (4, 3)), numbers=relaxed.numbers
            )
            for _ in range(count)
        ]
    )


def network(members: int, width: int, interactions: int) -> SchNet:
    """Equal networks of H and N; members take seeds from 0."""
    return SchNet([1, 7], range(members), features=width, filters=width, interactions=interactions)


def training(
    members: int, width: int, interactions: int, molecules: int = TRAINING
) -> Callable[[], Tensor]:
    """One training step of all members; the call gives their losses."""
    return learning(network(members, width, interactions), members, ammonia(molecules))


def learning(module: nn.Module, members: int, batch: Batch) -> Callable[[], Tensor]:
    """A step on energies and forces that shall vanish; the call gives the members' losses."""
    optimizer = MemberAdam(module, members, 1e-4, patience=None, factor=0.5, keep_best=False)

    def step() -> Tensor:
        said = derive(module, batch, graph=True, members=members)
        losses = said.energy.square().mean(-1) + said.forces.square().mean((-1, -2))
        optimizer.step(losses.sum())
        return losses.detach()

    return step


def prediction(
    members: int, width: int, interactions: int, molecules: int = PREDICTION
) -> Callable[[], Prediction]:
    """Forces of all members."""
    potential, batch = (
        Stacked(network(members, width, interactions).requires_grad_(False)),
        ammonia(molecules),
    )
    return lambda: potential(batch)


def one_by_one(
    build: Callable[[int], Callable[[], object]], members: int
) -> Callable[[], list[object]]:
    """What `build` makes of one member, for each of `members` in turn."""
    calls = [build(1) for _ in range(members)]
    return lambda: [call() for call in calls]


def products(
    members: int, width: int, interactions: int, molecules: int, learning: bool
) -> Callable[[], None]:
    """The matrix products of a step (with `learning`) or of forces, and nothing else."""
    atoms, pairs = 4 * molecules, 6 * molecules
    sizes = [(pairs, 32, width), (pairs, width, width)] * interactions if learning else []
    sizes += [(atoms, width, width), (atoms, width, width)] * interactions
    sizes += [(atoms, width, width)] * (interactions - 1) + [
        (atoms, width, width // 2)
    ]  # the first message is a row for each element
    operands = [
        (torch.randn(members, rows, k), torch.randn(members, k, n), torch.randn(members, rows, n))
        for rows, k, n in sizes
    ]
    passes = 2 if learning else 1

    def multiply() -> None:
        for x, weight, y in operands:
            for _ in range(passes):
                torch.bmm(x, weight)
                torch.bmm(y, weight.mT)
                if learning:
                    torch.bmm(x.mT, y)

    return multiply


class SchNetPack:
    """SchNetPack at the other end of a pipe.

    Args:
        python: an interpreter that has it.
        threads: that it may use.
        width, interactions: of the networks; members and molecules are those of this module.
    """

    def __init__(self, python: str, threads: int, width: int, interactions: int) -> None:
        script = Path(__file__).with_name("schnetpack_step.py")
        sizes = {
            "threads": threads,
            "width": width,
            "interactions": interactions,
            "members": MEMBERS,
            "training": TRAINING,
            "prediction": PREDICTION,
        }
        options = [str(word) for name, value in sizes.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(script), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __call__(self, what: str) -> float:
        """Does "step" or "forces" once, and says how many seconds it took there.

        Raises:
            RuntimeError: the process has ended; its own message went to the terminal.
        """
        try:
            self._process.stdin.write(f"{what}\n".encode())
            said = self._process.stdout.readline()
        except BrokenPipeError:
            said = b""
        if not said:
            raise RuntimeError(
                "SchNetPack's process has ended: try schnetpack_step.py with its interpreter by"
                " hand"
            )
        return float(said)

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
