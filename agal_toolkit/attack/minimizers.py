"""Minimizers of an attack's loss.

A minimizer is a frozen set of hyperparameters; called with a function it becomes a generator of
iterates, so an attack can be run to its end, watched, or stepped by hand with ``next``. Each
geometry of a batch descends by itself. The unknowns are rows (K, d) of lengths: the shifts of
particles, and the strain of each cell times its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
Project = Callable[[Tensor], Tensor]
Dot = Callable[[Tensor, Tensor], Tensor]
FUTILE = 8  # steps in a row without a gain, after which L-BFGS gives a geometry up
ROUNDING = 1e-7  # share of a loss that is no gain: about the rounding of float32
Pair = tuple[Tensor, Tensor, Tensor]  # step s, change of slope y, and 1 / (s y); 0 if forgotten


class Minimizer(Protocol):
    """Yields (rows (K, d), losses (B,)), the start first."""

    @property
    def steps(self) -> int:
        """Largest number of steps."""
        ...

    def __call__(
        self, evaluate: Evaluate, start: Tensor, project: Project, owner: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the iterates.

        Args:
            evaluate: returns losses (B,) and slopes (K, d) of rows.
            start: (K, d) rows.
            project: returns the nearest allowed rows.
            owner: (K,) index of the geometry that each row belongs to.
        """
        ...


@dataclass(frozen=True)
class Adam:
    """Adam on the displacement, as in both papers.

    Attributes:
        learning_rate: about the length of a step, angstrom.
        steps: number of steps.
        betas: decay of the first and second moments of the slope.
        epsilon: added to the root of the second moment.
        relative: largest epsilon as a share of the largest root of a geometry, so that it moves
            however small its slope is; None sets no limit, and where slopes are far below
            `epsilon` nothing moves.
    """

    learning_rate: float
    steps: int
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    relative: float | None = 0.1

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
            root = (second / (1 - b2**step)).sqrt()
            root = root + self._epsilon(root, losses, owner)
            rows = project(rows - self.learning_rate / (1 - b1**step) * first / root)
        yield rows, evaluate(rows)[0]

    def _epsilon(self, root: Tensor, losses: Tensor, owner: Tensor) -> Tensor | float:
        if self.relative is None:
            return self.epsilon
        largest = _longest(root, losses, owner)
        # squares of slopes below 1e-154 are zero: a quotient by their root would explode
        return (self.relative * largest).clamp(1e-150, self.epsilon)[owner, None]


@dataclass(frozen=True)
class GradientDescent:
    """Plain steps along the slope (Schwalbe-Koda 2021, Eq. 5, where the loss is maximised).

    Attributes:
        learning_rate: alpha_delta, angstrom^2 per unit of loss.
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
    """Quasi-Newton steps (Cezar 2025, Sec. IV A), with a memory for each geometry.

    The first step, and the first after the memory was dropped, treats the loss as a sum of squares
    and goes to where that would be zero. A step that raises a geometry's loss is undone and halved,
    which costs an evaluation; the other geometries go on. No step moves a row further than
    `largest`. Steps that are undone are among the iterates.

    A geometry is finished, and asked for no more losses, when no row's slope is longer than
    `tolerance`, or when FUTILE steps one after the other gained nothing beyond rounding.

    Attributes:
        steps: evaluations beyond the first.
        tolerance: a geometry is finished when no row's slope is longer than this; the attack ends
            when all are finished.
        largest: longest step of a row, angstrom.
        memory: number of remembered pairs of step and change of slope.
    """

    steps: int = 50
    tolerance: float = 1e-6
    largest: float = 0.1
    memory: int = 10

    def __post_init__(self) -> None:
        if self.steps < 0 or self.memory < 1 or not self.largest > 0 or not self.tolerance >= 0:
            expected = "steps and tolerance are not negative, largest and memory positive"
            raise ValueError(f"{self!r}: {expected}")

    def __call__(
        self, evaluate: Evaluate, start: Tensor, project: Project, owner: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rows = start
        losses, slope = evaluate(rows)
        yield rows, losses

        def dot(a: Tensor, b: Tensor) -> Tensor:
            """Return the scalar product (B,) of each geometry's rows."""
            return a.new_zeros(len(losses)).index_add_(0, owner, (a * b).sum(-1))

        pairs: list[Pair] = []
        shrink = torch.ones_like(losses)
        futile = torch.zeros_like(losses)
        for _ in range(self.steps):
            moving = (_longest(slope, losses, owner) > self.tolerance) & losses.isfinite()
            moving = moving & (futile < FUTILE)
            if not moving.any():
                return
            step = _step(slope, losses, pairs, dot, owner)
            length = _longest(step, losses, owner)
            limit = shrink * (self.largest / length.clamp(min=self.largest))
            # rows that are finished stay bit for bit, which costs no evaluation
            trial = torch.where(
                moving[owner, None], project(rows + step * limit[owner, None]), rows
            )
            new_losses, new_slope = evaluate(trial)
            yield trial, new_losses

            # A stuck geometry forgets its pairs; a good step of positive curvature is added.
            better = new_losses <= losses
            remembered = better | ~moving | (shrink > 0.1)
            pairs = [(s, y, torch.where(remembered, rho, 0.0)) for s, y, rho in pairs]
            s, y = trial - rows, new_slope - slope
            sy = dot(s, y)
            curved = better & (sy > 1e-12 * (dot(s, s) * dot(y, y)).sqrt()) & moving
            pairs.append((s, y, torch.where(curved, 1 / sy.where(curved, 1.0), 0.0)))
            pairs = pairs[-self.memory :]

            gained = losses - new_losses > ROUNDING * losses.abs()
            futile = torch.where(gained, 0.0, futile + 1)
            shrink = torch.where(better, 1.0, shrink / 2)
            kept = better[owner, None]
            rows, slope = torch.where(kept, trial, rows), torch.where(kept, new_slope, slope)
            losses = torch.where(better, new_losses, losses)


def _step(slope: Tensor, losses: Tensor, pairs: list[Pair], dot: Dot, owner: Tensor) -> Tensor:
    """Return the step (K, d) of the two-loop recursion, downhill in any case."""
    q, alphas = slope, []
    for s, y, rho in reversed(pairs):
        alpha = rho * dot(s, q)
        alphas.append(alpha)
        q = q - alpha[owner, None] * y
    # inverse curvature: that of a sum of squares without pairs, else that of the latest pair
    scale = 2 * losses.abs() / dot(slope, slope).clamp(min=1e-300)
    for _, y, rho in pairs:
        latest = 1 / (rho * dot(y, y)).where(rho > 0, torch.ones_like(rho))
        scale = torch.where(rho > 0, latest, scale)
    r = scale[owner, None] * q
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + (alpha - rho * dot(y, r))[owner, None] * s
    uphill = dot(r, slope) <= 0
    return -torch.where(uphill[owner, None], scale[owner, None] * slope, r)


def _longest(rows: Tensor, losses: Tensor, owner: Tensor) -> Tensor:
    """Return the length (B,) of each geometry's longest row."""
    return torch.zeros_like(losses).scatter_reduce_(0, owner, rows.norm(dim=-1), "amax")


def _check(minimizer: Adam | GradientDescent) -> None:
    if not minimizer.learning_rate > 0 or minimizer.steps < 0:
        expected = "the learning rate is positive, the number of steps not negative"
        raise ValueError(f"{minimizer!r}: {expected}")
