"""An adversarial attack: displacements that make a committee disagree.

:class:`Attack` holds settings and no results; called with a committee, data and seeds it returns one :class:`Adversary`
for each seed. :meth:`Attack.iterate` is the same, step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..committee import Committee
from ..dataset import Dataset
from ..events import Report, Step, ignore
from ..geometry import Batch, Delta, Geometry, as_geometry
from .gradients import Autograd, Gradient, HessianVector
from .minimizers import Adam, Minimizer
from .objectives import Objective


@dataclass(frozen=True)
class Ball:
    """The displacements with an l_p norm of at most `radius` (Schwalbe-Koda 2021, Sec. 2); an attack is projected onto it.

    Attributes:
        radius: epsilon, angstrom.
        p: 2, the Euclidean norm over all coordinates of a geometry, or infinity, the largest coordinate.
    """

    radius: float
    p: float = 2

    def __post_init__(self) -> None:
        if not self.radius > 0 or self.p not in (2, np.inf):
            raise ValueError(f"Ball(radius={self.radius}, p={self.p}): the radius is positive, p is 2 or infinity")

    def __call__(self, batch: Batch, delta: Delta) -> Delta:
        """The nearest displacement inside the ball, for each geometry."""
        if self.p == np.inf:
            return Delta(delta.shift.clamp(-self.radius, self.radius))
        norm = batch.sum(delta.shift.square().sum(-1)).sqrt()
        scale = (self.radius / norm.clamp(min=self.radius))[batch.owner, None]
        return Delta(delta.shift * scale)


@dataclass(frozen=True, eq=False)
class Adversary:
    """What an attack made of one seed.

    Attributes:
        seed: index of the seed.
        geometry: the iterate that was kept.
        path: (steps + 1, n, d) positions of all iterates, the start first.
        losses: (steps + 1,) their losses.
        kept: the step whose positions `geometry` has: that of the lowest loss, unless the attack keeps the last.
        reached: the loss is finite and some iterate kept the guard; then `geometry` is worth labelling.
    """

    seed: int
    geometry: Geometry
    path: NDArray
    losses: NDArray
    kept: int
    reached: bool


@dataclass(frozen=True)
class Attack:
    """Gradient descent on an adversarial loss, from many seeds at once.

    Attributes:
        objective: what to minimise, e.g. ``BoltzmannVariance(kT=5.0)``.
        minimizer: how.
        gradient: how the slope is found: Autograd, HessianVector or FiniteDifference.
        start: standard deviation of the normal displacement each coordinate starts with, angstrom.
        bound: keeps the displacement small, e.g. ``Ball(0.5)``.
        guard: called with the moved batch, True (B,) where a geometry is sound; an iterate that breaks it is never kept.
        members: attack a random subset of this many members, drawn anew for each attack; None attacks all.
        last: keep the last sound iterate, as the authors' published code does, instead of the one of the lowest loss. Schwalbe-Koda
            2021 does not say which; the losses of Adam's last steps go up and down.
    """

    objective: Objective
    minimizer: Minimizer = Adam(0.01, 60)
    gradient: Gradient = Autograd()
    start: float = 0.01
    bound: Ball | None = None
    guard: Callable[[Batch], Tensor] | None = None
    members: int | None = None
    last: bool = False

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ValueError(f"start is {self.start}: a standard deviation is not negative")

    def iterate(
        self, committee: Committee, dataset: Dataset, seeds: Sequence[Geometry | Atoms], rng: Generator,
    ) -> Iterator[tuple[NDArray, NDArray]]:
        """Positions (N, d) of all seeds' particles and losses (B,) after each step, the start first.

        Args:
            committee: who is attacked.
            dataset: the labelled data, for the objective's partition function.
            seeds: where to start.
            rng: for the first displacements and the subset of members.
        """
        attacked = committee if self.members is None else committee.subset(self.members, rng)
        loss = self.objective(attacked, dataset)
        geometries = [as_geometry(seed) for seed in seeds]
        batch = attacked.batch(geometries)
        movable = torch.tensor(np.concatenate([g.movable for g in geometries]), device=batch.positions.device)[:, None]
        shift = torch.tensor(rng.normal(0.0, self.start, batch.positions.shape), device=batch.positions.device) * movable
        if isinstance(self.gradient, HessianVector):
            self.gradient.check(attacked, batch.at(batch.positions + shift))

        def evaluate(delta: Delta) -> tuple[Tensor, Delta]:
            losses, slope = self.gradient(attacked, loss, batch, delta)
            return losses, Delta(torch.nan_to_num(slope.shift, 0.0, 0.0, 0.0) * movable)

        def project(delta: Delta) -> Delta:
            return delta if self.bound is None else self.bound(batch, delta)

        for delta, losses in self.minimizer(evaluate, project(Delta(shift)), project):
            moved = delta.apply(batch)
            if self.guard is not None:
                losses = torch.where(self.guard(moved), losses, torch.inf)
            yield moved.positions.cpu().numpy(), losses.cpu().numpy()

    def __call__(
        self, committee: Committee, dataset: Dataset, seeds: Sequence[Geometry | Atoms], rng: Generator, report: Report = ignore,
    ) -> list[Adversary]:
        """One adversary for each seed: the best iterate (or the last), and the whole path.

        Raises:
            ValueError: no seeds.
            NoGraph: a gradient by Autograd of members that cannot be differentiated.
            NotConservative: a gradient by HessianVector of members whose forces are not the slope of an energy.
        """
        if not len(seeds):
            raise ValueError("an attack needs at least one seed")
        geometries = [as_geometry(seed) for seed in seeds]
        positions, losses = [], []
        for step, (where, how) in enumerate(self.iterate(committee, dataset, geometries, rng)):
            positions.append(where)
            losses.append(how)
            report(Step(step, self.minimizer.steps, how, where))
        ends = np.cumsum([len(g) for g in geometries])
        paths = np.split(np.stack(positions), ends[:-1], axis=1)
        return [self._adversary(i, geometry, path, loss) for i, (geometry, path, loss) in enumerate(zip(geometries, paths, np.stack(losses, 1), strict=True))]

    def _adversary(self, seed: int, geometry: Geometry, path: NDArray, losses: NDArray) -> Adversary:
        """The best finite iterate, or the last; the start where none is finite."""
        finite = np.isfinite(losses) & np.isfinite(path).all(axis=(1, 2))
        found = np.flatnonzero(finite)
        kept = 0 if not len(found) else int(found[-1]) if self.last else int(found[np.argmin(losses[found])])
        return Adversary(seed, geometry.moved(path[kept], by="attack", seed=seed), path, losses, kept, bool(finite.any()))
