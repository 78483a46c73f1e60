"""How a displacement goes downhill.

A minimizer is a frozen set of hyperparameters; called with a function it becomes a generator of
iterates, so an attack can be driven to its end, watched, or stepped by hand with ``next``. Each
geometry of a batch descends by itself. What moves
are rows of numbers, all lengths: the shifts of particles, and the strain of each cell times its
size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
Project = Callable[[Tensor], Tensor]


class Minimizer(Protocol):
    """Yields (rows (K, d), losses (B,)), the start first; ends after `steps` steps, or before where
    nothing is left to do.

    Called with the function that gives losses (B,) and slopes (K, d) of rows, the start, a
    projection onto allowed rows, and the geometry that each row belongs to (K,).
    """

    steps: int

    def __call__(
        self, evaluate: Evaluate, start: Tensor, project: Project, owner: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]: ...


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

    def __call__(
        self, evaluate: Evaluate, start: Tensor, project: Project, owner: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rows, (b1, b2) = start, self.betas
        first, second = torch.zeros_like(start), torch.zeros_like(start)
        for step in range(1, self.steps + 1):
            losses, slope = evaluate(rows)
            yield rows, losses
            first = b1 * first + (1 - b1) * slope
            second = b2 * second + (1 - b2) * slope.square()
            root = (second / (1 - b2**step)).sqrt() + self.epsilon
            rows = project(rows - self.learning_rate / (1 - b1**step) * first / root)
        yield rows, evaluate(rows)[0]


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

    def __call__(
        self, evaluate: Evaluate, start: Tensor, project: Project, owner: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rows = start
        for _ in range(self.steps):
            losses, slope = evaluate(rows)
            yield rows, losses
            rows = project(rows - self.learning_rate * slope)
        yield rows, evaluate(rows)[0]


@dataclass(frozen=True)
class LBFGS:
    """Quasi-Newton steps from the slopes of the last iterates (Cezar 2025, Sec. IV A), each
    geometry with a memory of its own.

    The first step, and the first after a memory was dropped, takes a loss for a sum of squares and
    goes to where it would be zero. A step that makes the loss larger is taken back and halved,
    which costs an evaluation; of the batch only such geometries wait. No step moves any row further
    than `largest`.

    Attributes:
        steps: evaluations beyond the first.
        tolerance: a geometry is finished where no row's slope is longer; when all are, the attack
            ends.
        largest: angstrom.
        memory: pairs of steps and changes of slope that are remembered.
    """

    steps: int = 50
    tolerance: float = 1e-6
    largest: float = 0.1
    memory: int = 10

    def __post_init__(self) -> None:
        if self.steps < 0 or self.memory < 1 or not self.largest > 0 or not self.tolerance >= 0:
            raise ValueError(
                f"{self!r}: steps and tolerance are not negative, largest and memory positive"
            )

    def __call__(
        self, evaluate: Evaluate, start: Tensor, project: Project, owner: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rows = start
        losses, slope = evaluate(rows)
        yield rows, losses
        count = len(losses)

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return a.new_zeros(count).index_add_(0, owner, (a * b).sum(-1))

        def longest(a: Tensor) -> Tensor:
            return a.new_zeros(count).scatter_reduce_(0, owner, a.norm(dim=-1), "amax")

        pairs: list[
            tuple[Tensor, Tensor, Tensor]
        ] = []  # step, change of slope, 1 / their product, zero where forgotten
        shrink = torch.ones_like(losses)
        for _ in range(self.steps):
            moving = (longest(slope) > self.tolerance) & losses.isfinite()
            if not moving.any():
                return
            step = self._step(slope, losses, pairs, dot, owner)
            length = longest(step)
            step = (
                step
                * (shrink * (self.largest / length.clamp(min=self.largest)) * moving)[owner, None]
            )
            tried = project(rows + step)
            new_losses, new_slope = evaluate(tried)
            yield tried, new_losses
            better = new_losses <= losses
            taken, turned = tried - rows, new_slope - slope
            product = dot(taken, turned)
            good = (
                better
                & (product > 1e-12 * (dot(taken, taken) * dot(turned, turned)).sqrt())
                & moving
            )
            pairs = [
                (s, y, torch.where(better | ~moving | (shrink > 0.1), rho, 0.0))
                for s, y, rho in pairs
            ]  # stuck: forget
            pairs = [*pairs, (taken, turned, torch.where(good, 1 / product.where(good, 1.0), 0.0))][
                -self.memory :
            ]
            shrink = torch.where(better, 1.0, shrink / 2)
            keep = better[owner, None]
            rows, slope, losses = (
                torch.where(keep, tried, rows),
                torch.where(keep, new_slope, slope),
                torch.where(better, new_losses, losses),
            )

    def _step(
        self,
        slope: Tensor,
        losses: Tensor,
        pairs: list[tuple[Tensor, Tensor, Tensor]],
        dot: Callable[[Tensor, Tensor], Tensor],
        owner: Tensor,
    ) -> Tensor:
        """(K, d) the two-loop recursion, for each geometry over the pairs that it remembers;
        downhill in any case.
        """
        q, shares = slope, []
        for s, y, rho in reversed(pairs):
            share = rho * dot(s, q)
            shares.append(share)
            q = q - share[owner, None] * y
        scale = 2 * losses.abs() / dot(slope, slope).clamp(min=1e-300)
        for _, y, rho in pairs:
            scale = torch.where(
                rho > 0, 1 / (rho * dot(y, y)).where(rho > 0, torch.ones_like(rho)), scale
            )
        r = scale[owner, None] * q
        for (s, y, rho), share in zip(pairs, reversed(shares), strict=True):
            r = r + (share - rho * dot(y, r))[owner, None] * s
        uphill = dot(r, slope) <= 0
        return -torch.where(uphill[owner, None], scale[owner, None] * slope, r)


def _check(minimizer: Adam | GradientDescent) -> None:
    if not minimizer.learning_rate > 0 or minimizer.steps < 0:
        raise ValueError(
            f"{minimizer!r}: the learning rate is positive, the number of steps not negative"
        )
