"""An adversarial attack: displacements that make a committee disagree.

:class:`Attack` holds settings and no results; called with a committee, data and seeds it returns
one :class:`Adversary` for each seed. :meth:`Attack.iterate` is the same, step by step.
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
from .gradients import Autograd, Gradient, HessianVector
from .minimizers import Adam, Minimizer
from .objectives import Aimed, Objective


@dataclass(frozen=True, eq=False)
class Adversary:
    """What an attack made of one seed.

    Attributes:
        seed: index of the seed.
        geometry: the iterate that was kept.
        path: (steps + 1, n, d) positions of all iterates, the start first.
        losses: (steps + 1,) their losses.
        kept: the step whose positions `geometry` has: that of the lowest loss, unless the attack
            keeps the last.
        reached: the loss is finite and some iterate kept the guard; then `geometry` is worth
            labelling. Where the objective has an aim (:class:`TargetError`), the aim is also met
            there, as the attacked members see it.
        cells: (steps + 1, d, d) cells of all iterates where the attack moved them; None where the
            cell stayed.
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
        objective: what to minimise, e.g. ``BoltzmannVariance(kT=5.0)``.
        minimizer: how.
        gradient: how the slope is found: Autograd, HessianVector or FiniteDifference.
        start: standard deviation of the normal displacement each coordinate starts with, angstrom.
        bound: keeps the displacement small, e.g. ``Ball(0.5)``.
        cell: cells move, too, by a symmetric strain (Cezar 2025, Sec. IV A): of structures that are
            periodic in all directions and have no fixed atoms.
        guard: called with the moved batch, True (B,) where a geometry is sound; an iterate that
            breaks it is never kept.
        members: attack a random subset of this many members, drawn anew for each attack; None
            attacks all.
        last: keep the last sound iterate, as the authors' published code does, instead of the one
            of the lowest loss. Schwalbe-Koda 2021 does not say which; the losses of Adam's last
            steps go up and down.
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
        dataset: Dataset,
        seeds: Sequence[Geometry | Atoms],
        rng: Generator,
    ) -> Iterator[tuple[NDArray, NDArray]]:
        """Positions (N, d) of all seeds' particles and losses (B,) after each step, the start
        first.

        Args:
            committee: who is attacked.
            dataset: the labelled data, for the objective's partition function.
            seeds: where to start.
            rng: for the first displacements and the subset of members.
        """
        for moved, losses in _Run(
            self, committee, dataset, [as_geometry(seed) for seed in seeds], rng
        ).iterates():
            yield moved.positions.cpu().numpy(), losses.cpu().numpy()

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        seeds: Sequence[Geometry | Atoms],
        rng: Generator,
        report: Report = ignore,
    ) -> list[Adversary]:
        """One adversary for each seed: the best iterate (or the last), and the whole path.

        Raises:
            ValueError: no seeds.
            NoGraph: a gradient by Autograd of members that cannot be differentiated.
            NotConservative: a gradient by HessianVector of members whose forces are not the slope
                of an energy.
        """
        if not len(seeds):
            raise ValueError("an attack needs at least one seed")
        geometries = [as_geometry(seed) for seed in seeds]
        positions, cells, losses = [], [], []
        run = _Run(self, committee, dataset, geometries, rng)
        for step, (moved, how) in enumerate(run.iterates()):
            positions.append(moved.positions.cpu().numpy())
            cells.append(moved.cell.cpu().numpy())
            losses.append(how.cpu().numpy())
            report(Step(step, self.minimizer.steps, losses[-1], positions[-1]))
        ends = np.cumsum([len(g) for g in geometries])
        paths = np.split(np.stack(positions), ends[:-1], axis=1)
        moved_cells = np.stack(cells, 1) if self.cell else [None] * len(geometries)
        found = [
            self._adversary(i, geometry, path, cell, loss)
            for i, (geometry, path, cell, loss) in enumerate(
                zip(geometries, paths, moved_cells, np.stack(losses, 1), strict=True)
            )
        ]
        met = run.met([adversary.geometry for adversary in found])
        return [
            replace(adversary, reached=adversary.reached and bool(there))
            for adversary, there in zip(found, met, strict=True)
        ]

    def _adversary(
        self, seed: int, geometry: Geometry, path: NDArray, cells: NDArray | None, losses: NDArray
    ) -> Adversary:
        """The best finite iterate, or the last; the start where none is finite."""
        finite = np.isfinite(losses) & np.isfinite(path).all(axis=(1, 2))
        found = np.flatnonzero(finite)
        kept = (
            0
            if not len(found)
            else int(found[-1])
            if self.last
            else int(found[np.argmin(losses[found])])
        )
        there = geometry.moved(path[kept], by="attack", seed=seed)
        if cells is not None:
            there = replace(there, cell=cells[kept])
        return Adversary(seed, there, path, losses, kept, bool(finite.any()), cells)


class _Run:
    """An attack on its way: the members attacked, the loss, and the rows that a minimizer moves.

    Rows are the shifts of all particles, and below them, where cells move, each strain times the
    cube root of its volume, so that all are lengths.
    """

    def __init__(
        self,
        attack: Attack,
        committee: Committee,
        dataset: Dataset,
        geometries: Sequence[Geometry],
        rng: Generator,
    ) -> None:
        self.attack = attack
        self.attacked = (
            committee if attack.members is None else committee.subset(attack.members, rng)
        )
        self.loss = attack.objective(self.attacked, dataset)
        self.batch = self.attacked.batch(geometries)
        device, d = self.batch.positions.device, self.batch.dimension
        self.movable = torch.tensor(np.concatenate([g.movable for g in geometries]), device=device)[
            :, None
        ]
        self.start = (
            torch.tensor(rng.normal(0.0, attack.start, self.batch.positions.shape), device=device)
            * self.movable
        )
        self.owner = self.batch.owner
        self.elastic = (
            self.batch.pbc.all(-1)
            & torch.tensor([bool(g.movable.all()) for g in geometries], device=device)
        )[:, None, None]
        if attack.cell:
            self.size = torch.where(
                self.elastic, torch.linalg.det(self.batch.cell).abs()[:, None, None] ** (1 / d), 1.0
            )
            self.start = torch.cat([self.start, self.start.new_zeros(len(self.batch) * d, d)])
            self.owner = torch.cat(
                [self.owner, torch.arange(len(self.batch), device=device).repeat_interleave(d)]
            )

    def iterates(self) -> Iterator[tuple[Batch, Tensor]]:
        """The moved batch and its losses (B,) after each step, the start first."""
        attack, loss = self.attack, self.loss
        if isinstance(attack.gradient, HessianVector):
            attack.gradient.check(self.attacked, self._delta(self.start).apply(self.batch))

        def evaluate(rows: Tensor) -> tuple[Tensor, Tensor]:
            losses, slope = attack.gradient(self.attacked, loss, self.batch, self._delta(rows))
            below = (
                []
                if slope.strain is None
                else [(slope.strain / self.size * self.elastic).flatten(0, 1)]
            )
            guarded = (
                losses
                if attack.guard is None
                else torch.where(
                    attack.guard(self._delta(rows).apply(self.batch)), losses, torch.inf
                )
            )
            return guarded, torch.nan_to_num(
                torch.cat([slope.shift * self.movable, *below]), 0.0, 0.0, 0.0
            )

        def project(rows: Tensor) -> Tensor:
            return (
                rows
                if attack.bound is None
                else self._rows(attack.bound(self.batch, self._delta(rows)))
            )

        for rows, losses in attack.minimizer(evaluate, project(self.start), project, self.owner):
            moved = self._delta(rows).apply(self.batch)
            yield (
                moved,
                losses
                if attack.guard is None
                else torch.where(attack.guard(moved), losses, torch.inf),
            )

    def _delta(self, rows: Tensor) -> Delta:
        if not self.attack.cell:
            return Delta(rows)
        n, d = self.batch.positions.shape
        return Delta(rows[:n], rows[n:].view(-1, d, d) / self.size)

    def _rows(self, delta: Delta) -> Tensor:
        return (
            delta.shift
            if delta.strain is None
            else torch.cat([delta.shift, (delta.strain * self.size).flatten(0, 1)])
        )

    def met(self, geometries: Sequence[Geometry]) -> Sequence[bool] | Tensor:
        """Whether the objective's aim is met at the geometries (B,), as the attacked members see
        them; true where it has none.
        """
        if not isinstance(self.loss, Aimed):
            return [True] * len(geometries)
        batch = self.attacked.batch(geometries)
        return self.loss.reached(self.attacked(batch), batch)
