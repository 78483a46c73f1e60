"""Adversarial attacks: displacements that make a committee disagree.

:class:`Attack` holds settings and no results; called with a committee, data and seeds it returns
one :class:`Adversary` for each seed. :meth:`Attack.iterate` yields the same attack step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..batch import Batch, Delta
from ..committee import Committee
from ..dataset import Dataset
from ..events import Report, Step, ignore
from ..geometry import Geometry, as_geometry
from .constraints import Ball
from .gradients import Autograd, Gradient
from .minimizers import Adam, Minimizer
from .objectives import HasTarget, Objective


@dataclass(frozen=True, eq=False)
class Adversary:
    """The result of an attack on one seed.

    Attributes:
        seed: index of the seed.
        geometry: the iterate that was kept.
        path: (steps + 1, n, d) positions of all iterates, the start first.
        losses: (steps + 1,) losses of all iterates.
        kept: index of the kept iterate: the lowest loss, or the last iterate if ``Attack.last``.
        reached: some iterate is finite and passes the guard; and the attacked members meet the
            objective's target at `geometry`, if it has one (:class:`TargetError`).
        cells: (steps + 1, d, d) cells of all iterates; None if the attack kept the cell.
    """

    seed: int
    geometry: Geometry
    path: NDArray
    losses: NDArray
    kept: int
    reached: bool
    cells: NDArray | None = None


@dataclass(frozen=True)
class Attack:
    """Gradient descent on an adversarial loss, from many seeds at once.

    Attributes:
        objective: the loss to minimise, e.g. ``BoltzmannVariance(kT=5.0)``.
        minimizer: Adam, GradientDescent or LBFGS.
        gradient: how the loss is differentiated: Autograd, HessianVector or FiniteDifference.
        start: standard deviation of the random displacement of each coordinate, angstrom.
        bound: projection that limits the displacement, e.g. ``Ball(0.5)``.
        cell: also strain the cells (Cezar 2025, Sec. IV A) of structures that are periodic in all
            directions and have no fixed atoms.
        guard: function of the moved batch, True (B,) for a valid geometry; an iterate that breaks
            the guard is never kept.
        members: size of the random subset of members to attack, drawn anew for each attack; None
            attacks all.
        last: keep the last valid iterate, as the authors' published code does, not the best one
            (Schwalbe-Koda 2021 does not say which).
    """

    objective: Objective
    minimizer: Minimizer = Adam(0.01, 60)
    gradient: Gradient = Autograd()
    start: float = 0.01
    bound: Ball | None = None
    cell: bool = False
    guard: Callable[[Batch], Tensor] | None = None
    members: int | None = None
    last: bool = False

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ValueError(f"start is {self.start}: a standard deviation is not negative")

    def iterate(
        self,
        committee: Committee,
        dataset: Dataset | None,
        seeds: Sequence[Geometry | Atoms],
        rng: Generator,
    ) -> Iterator[tuple[NDArray, NDArray]]:
        """Yield positions (N, d) of all particles and losses (B,) of each iterate, the start first.

        Args:
            committee: the committee to attack.
            dataset: labelled data, if the objective needs them (:class:`BoltzmannVariance` does).
            seeds: B structures to start from.
            rng: for the random displacements and the subset of members.
        """
        geometries = [as_geometry(seed) for seed in seeds]
        for moved, losses in _Problem(self, committee, dataset, geometries, rng).iterates():
            yield moved.positions.cpu().numpy(), losses.cpu().numpy()

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset | None,
        seeds: Sequence[Geometry | Atoms],
        rng: Generator,
        report: Report = ignore,
    ) -> list[Adversary]:
        """Return one adversary for each seed; arguments as for :meth:`iterate`.

        Raises:
            ValueError: no seeds.
            NoGraph: Autograd was given members that cannot be differentiated.
            NotConservative: HessianVector was given members whose forces derive from no energy.
        """
        if not len(seeds):
            raise ValueError("an attack needs at least one seed")
        geometries = [as_geometry(seed) for seed in seeds]
        problem = _Problem(self, committee, dataset, geometries, rng)
        positions, cells, losses = [], [], []
        for step, (moved, values) in enumerate(problem.iterates()):
            positions.append(moved.positions.cpu().numpy())
            cells.append(moved.cell.cpu().numpy())
            losses.append(values.cpu().numpy())
            report(Step(step, self.minimizer.steps, losses[-1], positions[-1]))
        ends = np.cumsum([len(geometry) for geometry in geometries])
        paths = np.split(np.stack(positions), ends[:-1], axis=1)
        boxes = np.stack(cells, 1) if self.cell else [None] * len(geometries)
        histories = zip(geometries, paths, boxes, np.stack(losses, 1), strict=True)
        adversaries = [self._adversary(i, *history) for i, history in enumerate(histories)]
        reached = problem.reached([adversary.geometry for adversary in adversaries])
        return [
            replace(adversary, reached=adversary.reached and on_target)
            for adversary, on_target in zip(adversaries, reached, strict=True)
        ]

    def _adversary(
        self, seed: int, geometry: Geometry, path: NDArray, cells: NDArray | None, losses: NDArray
    ) -> Adversary:
        """Keep the best finite iterate, or the last; the start if none is finite."""
        valid = np.flatnonzero(np.isfinite(losses) & np.isfinite(path).all(axis=(1, 2)))
        kept = 0
        if len(valid):
            kept = int(valid[-1] if self.last else valid[np.argmin(losses[valid])])
        moved = geometry.moved(path[kept], by="attack", seed=seed)
        if cells is not None:
            moved = replace(moved, cell=cells[kept])
        return Adversary(seed, moved, path, losses, kept, bool(len(valid)), cells)


class _Problem:
    """An attack as a minimizer sees it: losses and slopes of rows that are all lengths.

    The first N rows are the shifts of the particles. If cells move, d rows for each geometry
    follow: its strain times the cube root of its volume.
    """

    def __init__(
        self,
        attack: Attack,
        committee: Committee,
        dataset: Dataset | None,
        geometries: Sequence[Geometry],
        rng: Generator,
    ) -> None:
        self.attack = attack
        members = attack.members
        self.committee = committee if members is None else committee.subset(members, rng)
        self.loss = attack.objective(self.committee, dataset)
        self.batch = batch = self.committee.batch(geometries)
        device, d = batch.positions.device, batch.dimension
        movable = np.concatenate([geometry.movable for geometry in geometries])
        self.movable = torch.tensor(movable, device=device)[:, None]
        shift = torch.tensor(rng.normal(0.0, attack.start, batch.positions.shape), device=device)
        self.start, self.owner = shift * self.movable, batch.owner
        if attack.cell:
            whole = torch.tensor([bool(g.movable.all()) for g in geometries], device=device)
            self.elastic = (batch.pbc.all(-1) & whole)[:, None, None]
            volume = torch.linalg.det(batch.cell).abs()[:, None, None]
            self.size = torch.where(self.elastic, volume ** (1 / d), 1.0)
            self.start = torch.cat([self.start, self.start.new_zeros(len(batch) * d, d)])
            index = torch.arange(len(batch), device=device)
            self.owner = torch.cat([batch.owner, index.repeat_interleave(d)])

    def iterates(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield the moved batch and its losses (B,) at each iterate, the start first."""
        self.attack.gradient.check(self.committee, self._delta(self.start).apply(self.batch))
        start = self._project(self.start)
        for rows, losses in self.attack.minimizer(self._evaluate, start, self._project, self.owner):
            yield self._delta(rows).apply(self.batch), losses

    def reached(self, geometries: Sequence[Geometry]) -> list[bool]:
        """Return which geometries meet the objective's target; all if it has no target."""
        if not isinstance(self.loss, HasTarget):
            return [True] * len(geometries)
        batch = self.committee.batch(geometries)
        return self.loss.reached(self.committee(batch), batch).tolist()

    def _evaluate(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        delta = self._delta(rows)
        losses, slope = self.attack.gradient(self.committee, self.loss, self.batch, delta)
        parts = [slope.shift * self.movable]
        if slope.strain is not None:
            parts.append((slope.strain / self.size * self.elastic).flatten(0, 1))
        if self.attack.guard is not None:
            valid = self.attack.guard(delta.apply(self.batch))
            losses = torch.where(valid, losses, torch.inf)
        return losses, torch.nan_to_num(torch.cat(parts), 0.0, 0.0, 0.0)

    def _project(self, rows: Tensor) -> Tensor:
        if self.attack.bound is None:
            return rows
        delta = self.attack.bound(self.batch, self._delta(rows))
        if delta.strain is None:
            return delta.shift
        return torch.cat([delta.shift, (delta.strain * self.size).flatten(0, 1)])

    def _delta(self, rows: Tensor) -> Delta:
        if not self.attack.cell:
            return Delta(rows)
        n, d = self.batch.positions.shape
        return Delta(rows[:n], rows[n:].view(-1, d, d) / self.size)
