"""A training step and forces of a committee, as functions that are ready to be timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.potentials import Stacked, derive
from agal_toolkit.training.member_adam import MemberAdam

Network = Callable[[Sequence[int]], nn.Module]  # a network from its members' seeds


def training(network: Network, members: int, batch: Batch) -> Callable[[], Tensor]:
    """Return a step: energies, forces, a loss that is zero where both vanish, gradient and Adam."""
    module = network(range(members))
    adam = MemberAdam(module, members, 1e-4, patience=None, factor=0.5, keep_best=False)

    def step() -> Tensor:
        prediction = derive(module, batch, graph=True, members=members)
        losses = prediction.energy.square().mean(-1) + prediction.forces.square().mean((-1, -2))
        adam.step(losses.sum())
        return losses.detach()

    return step


def forces(network: Network, members: int, batch: Batch) -> Callable[[], Prediction]:
    """Return a function that predicts the batch with members that no longer learn."""
    potential = Stacked(network(range(members)).requires_grad_(False))
    return lambda: potential(batch)


def one_by_one(
    build: Callable[[int], Callable[[], object]], members: int
) -> Callable[[], list[object]]:
    """Return a function that calls, one after the other, what `build` makes of one member."""
    calls = [build(1) for _ in range(members)]
    return lambda: [call() for call in calls]


def products(
    members: int, sizes: Sequence[tuple[int, int, int]], learning: bool, repeats: int = 1
) -> Callable[[], None]:
    """Return a function that only multiplies matrices of `sizes` (rows, in, out).

    A pass up and one down takes two products; `learning` adds the four that differentiate them.
    """
    operands = [
        (torch.randn(members, n, k), torch.randn(members, k, m), torch.randn(members, n, m))
        for n, k, m in sizes
    ]

    def multiply() -> None:
        for _ in range(repeats):
            for x, weight, y in operands:
                for _ in range(2 if learning else 1):
                    torch.bmm(x, weight)
                    torch.bmm(y, weight.mT)
                    if learning:
                        torch.bmm(x.mT, y)

    return multiply
