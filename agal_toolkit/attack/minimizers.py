"""How a displacement goes downhill.

A minimizer is a frozen set of hyperparameters; called with a function it becomes a generator of iterates, so an attack
can be driven to its end, watched, or stepped by hand with ``next``. Each geometry of a batch descends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..geometry import Delta

Evaluate = Callable[[Delta], tuple[Tensor, Delta]]
Project = Callable[[Delta], Delta]


class Minimizer(Protocol):
    """Yields (displacement, its losses (B,)), the start first; ends after `steps` steps."""

    steps: int

    def __call__(self, evaluate: Evaluate, start: Delta, project: Project) -> Iterator[tuple[Delta, Tensor]]: ...


@dataclass(frozen=True)
class Adam:
    """Adam on the displacement, as both papers' authors run it.

    Attributes:
        learning_rate: angstrom in a step, about.
        steps: number of steps.
        betas: decay of the first and second moments of the slope.
        epsilon: added to the root of the second moment.
    """

    learning_rate: float
    steps: int
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, evaluate: Evaluate, start: Delta, project: Project) -> Iterator[tuple[Delta, Tensor]]:
        delta, (b1, b2) = start, self.betas
        first, second = torch.zeros_like(start.shift), torch.zeros_like(start.shift)
        for step in range(1, self.steps + 1):
            losses, slope = evaluate(delta)
            yield delta, losses
            first = b1 * first + (1 - b1) * slope.shift
            second = b2 * second + (1 - b2) * slope.shift.square()
            root = (second / (1 - b2**step)).sqrt() + self.epsilon
            delta = project(Delta(delta.shift - self.learning_rate / (1 - b1**step) * first / root))
        yield delta, evaluate(delta)[0]


@dataclass(frozen=True)
class GradientDescent:
    """Plain steps along the slope (Schwalbe-Koda 2021, Eq. 5, where the loss is maximised).

    Attributes:
        learning_rate: alpha_delta, angstrom^2 for a unit of loss.
        steps: number of steps.
    """

    learning_rate: float
    steps: int

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, evaluate: Evaluate, start: Delta, project: Project) -> Iterator[tuple[Delta, Tensor]]:
        delta = start
        for _ in range(self.steps):
            losses, slope = evaluate(delta)
            yield delta, losses
            delta = project(Delta(delta.shift - self.learning_rate * slope.shift))
        yield delta, evaluate(delta)[0]


def _check(minimizer: Adam | GradientDescent) -> None:
    if not minimizer.learning_rate > 0 or minimizer.steps < 0:
        raise ValueError(f"{minimizer!r}: the learning rate is positive, the number of steps not negative")
