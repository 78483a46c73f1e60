"""Adversarial attacks: displacements that make a committee disagree.

:class:`Attack` holds settings and no results; called with a committee, data and seeds it returns
one :class:`Adversary` for each seed. :meth:`Attack.iterate` yields the same attack step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ..batch import Batch
from ..committee import Committee
from ..dataset import PARTICLES, Dataset
from ..events import Note, Report, Step, ignore
from ..geometry import Geometry, as_geometry
from .constraints import Ball
from .gradients import Autograd, Gradient
from .minimizers import LBFGS, Adam, Minimizer
from .objectives import HasTarget, Objective
from .problem import MISSED, Problem

NOT_REACHED, UNMOVED, UNKNOWN = "no sound iterate", "did not move", "cannot be evaluated"


@dataclass(frozen=True, eq=False)
class Adversary:
    """The result of an attack on one seed.

    Attributes:
        seed: index of the seed.
        geometry: the iterate that was kept.
        path: (s, n, d) positions of the iterates that were recorded (all of them, unless
            ``Attack.record`` says otherwise), the start first.
        losses: (s,) losses of these iterates.
        kept: index in `path` of the kept iterate: the lowest loss, or the last if ``Attack.last``.
        reached: the structure may be labelled: some iterate is finite and passes the guard, the
            seed has moved, and the attacked members meet the objective's target at `geometry`, if
            it has one (:class:`TargetError`); or ``Attack.accept`` names the reason.
        cells: (s, d, d) cells of these iterates; None if the attack kept the cell.
        reason: why the target was not reached, or why the seed was left before the last step.
    """

    seed: int
    geometry: Geometry
    path: NDArray
    losses: NDArray
    kept: int
    reached: bool
    cells: NDArray | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Attack:
    """Gradient descent on an adversarial loss, from many seeds at once.

    A seed that cannot be evaluated (a member raises an error, or predicts what is not finite) stays
    where it is, with the reason; the others go on as they would without it.

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
        accept: reasons for which a structure is labelled all the same: "did not move" (all steps
            together are shorter than a tenth of the random start, because the slope has vanished),
            "target missed".
        chunk: particles evaluated in one call; a larger structure is evaluated by itself.
        record: every how many steps an iterate is recorded in ``Adversary.path``, besides the start
            and the kept one; 0 records these two alone.
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
    accept: tuple[str, ...] = ()
    chunk: int = field(default=PARTICLES, compare=False)
    record: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        if self.start < 0:
            raise ValueError(f"start is {self.start}: a standard deviation is not negative")
        if self.chunk < 1 or self.record < 0:
            given = f"chunk={self.chunk} and record={self.record}"
            raise ValueError(f"{given}: expected at least 1 particle, and 0 steps or more")
        unknown = set(self.accept) - {UNMOVED, MISSED}
        if isinstance(self.accept, str) or unknown:
            raise ValueError(f"accept={self.accept!r}: expected a tuple of {UNMOVED!r}, {MISSED!r}")

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
        problem = self._problem(committee, dataset, geometries, rng)
        for moved, losses in problem.iterates(self.minimizer):
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
            Exception: the error of the first seed, if every seed raises one.
        """
        if not len(seeds):
            raise ValueError("an attack needs at least one seed")
        geometries = [as_geometry(seed) for seed in seeds]
        problem = self._problem(committee, dataset, geometries, rng)
        # L-BFGS yields steps that it undoes, too: its last step is that of the lowest loss
        last = self.last and not isinstance(self.minimizer, LBFGS)
        history = _History(problem.batch.owner.cpu().numpy(), last, self.record)
        for step, (moved, values) in enumerate(problem.iterates(self.minimizer)):
            positions, losses = moved.positions.cpu().numpy(), values.cpu().numpy()
            cells = moved.cell.cpu().numpy()
            history.add(step, positions, cells, losses)
            report(Step(step, self.minimizer.steps, losses, positions, cells))
        adversaries = history.adversaries(geometries, self.cell)
        adversaries = self._judged(problem, adversaries, history.best >= 0)
        for text in _notes(adversaries):
            report(Note(None, text))
        return adversaries

    def _problem(
        self,
        committee: Committee,
        dataset: Dataset | None,
        geometries: Sequence[Geometry],
        rng: Generator,
    ) -> Problem:
        committee = committee if self.members is None else committee.subset(self.members, rng)
        loss = self.objective(committee, dataset)
        shape = sum(len(geometry) for geometry in geometries), geometries[0].dimension
        return Problem(
            committee,
            loss,
            geometries,
            torch.from_numpy(rng.normal(0.0, self.start, shape)),
            gradient=self.gradient,
            bound=self.bound,
            cell=self.cell,
            guard=self.guard,
            chunk=self.chunk,
        )

    def _judged(
        self, problem: Problem, adversaries: Sequence[Adversary], sound: NDArray
    ) -> list[Adversary]:
        """Give each adversary its reason, and whether its structure may be labelled."""
        moving = isinstance(problem.loss, HasTarget) or not self.minimizer.steps
        unmoved = (problem.travel <= 0.1 * problem.start_noise()).tolist()
        geometries = [a.geometry for a in adversaries if sound[a.seed]]
        missed = dict(zip(np.flatnonzero(sound).tolist(), problem.missed(geometries), strict=True))
        judged = []
        for adversary in adversaries:
            left = problem.reasons.get(adversary.seed)
            reason = missed.get(adversary.seed)
            if not sound[adversary.seed]:
                reason = NOT_REACHED if left is None else f"{UNKNOWN} ({left})"
            elif unmoved[adversary.seed] and not moving and left is None:
                reason = f"{UNMOVED} (path of {float(problem.travel[adversary.seed]):.1e} A)"
            reached = reason is None or reason.partition(" (")[0] in self.accept
            reason = f"left early ({left})" if left and reason is None else reason
            judged.append(replace(adversary, reached=reached, reason=reason))
        return judged


def _notes(adversaries: Sequence[Adversary]) -> list[str]:
    """Return one sentence for each kind of reason, with the first seed as an example."""
    first: dict[str, Adversary] = {}
    kinds = [(a.reason or "").partition(" (")[0] for a in adversaries]
    for kind, adversary in zip(kinds, adversaries, strict=True):
        first.setdefault(kind, adversary)
    return [
        f"{kinds.count(kind)} of {len(kinds)} attacks: {kind}; seed {a.seed}: {a.reason}"
        for kind, a in first.items()
        if kind
    ]


class _History:
    """Recorded iterates of an attack, and the best, or latest, valid iterate of each seed.

    Attributes:
        best: (B,) step of that iterate; -1 if none is valid.
    """

    def __init__(self, owner: NDArray, last: bool, record: int) -> None:
        self.owner, self.last, self.record = owner, last, record
        self.counts = np.bincount(owner)
        self.best = np.full(len(self.counts), -1)
        self.loss = np.full(len(self.counts), np.inf)
        self.kept: tuple[NDArray, NDArray] | None = None  # positions and cells of the best
        self.recorded: list[tuple[int, NDArray, NDArray, NDArray]] = []
        self.latest: tuple[int, NDArray, NDArray, NDArray] | None = None

    def add(self, step: int, positions: NDArray, cells: NDArray, losses: NDArray) -> None:
        """Take the next iterate: positions (N, d), cells (B, d, d) and losses (B,)."""
        lost = np.bincount(self.owner, ~np.isfinite(positions).all(1), len(self.counts)) > 0
        valid = np.isfinite(losses) & ~lost
        better = valid & (self.last | (self.best < 0) | (losses < self.loss))
        kept = (positions, cells) if self.kept is None else self.kept
        self.kept = (
            np.where(better[self.owner, None], positions, kept[0]),
            np.where(better[:, None, None], cells, kept[1]),
        )
        self.best, self.loss = (
            np.where(better, step, self.best),
            np.where(better, losses, self.loss),
        )
        self.latest = step, positions, cells, losses
        if step == 0 or (self.record and step % self.record == 0):
            self.recorded.append(self.latest)

    def adversaries(self, geometries: Sequence[Geometry], cell: bool) -> list[Adversary]:
        """Return the kept iterate and the path of each seed, in arrays of their own."""
        assert self.kept is not None
        assert self.latest is not None
        if self.recorded[-1][0] != self.latest[0]:
            self.recorded.append(self.latest)
        steps = np.array([record[0] for record in self.recorded])
        ends = np.cumsum(self.counts)
        adversaries = []
        for i, geometry in enumerate(geometries):
            mine = slice(ends[i] - self.counts[i], ends[i])
            path = np.stack([record[1][mine] for record in self.recorded])
            cells = np.stack([record[2][i] for record in self.recorded])
            losses = np.array([record[3][i] for record in self.recorded])
            kept = 0
            if self.best[i] > 0:  # it takes the place of the recorded iterate nearest to it
                kept = 1 + int(np.abs(steps[1:] - self.best[i]).argmin())
                path[kept], cells[kept] = self.kept[0][mine], self.kept[1][i]
                losses[kept] = self.loss[i]
            moved = geometry.moved(path[kept], by="attack", seed=i)
            moved = replace(moved, cell=cells[kept]) if cell else moved
            adversaries.append(
                Adversary(i, moved, path, losses, kept, False, cells if cell else None)
            )
        return adversaries
