"""An attack as a minimizer sees it, and what keeps one seed from spoiling the others.

A seed that cannot be evaluated stays where it is, with the reason, and the others are evaluated as
if they were alone: their numbers are those of an attack without it, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..batch import Batch, Delta
from ..committee import Committee
from ..dataset import chunks
from ..geometry import Geometry
from .constraints import Ball
from .gradients import Gradient
from .minimizers import Minimizer
from .objectives import HasTarget, Loss
from .target_error import TargetLoss

MISSED = "target missed"


class _NotFinite(ArithmeticError):
    """A loss, a slope or a prediction that is not finite."""


@dataclass(frozen=True)
class _Part:
    """Some of the geometries: `batch`, their indices, and those of their particles and rows."""

    batch: Batch
    chosen: Tensor
    particles: Tensor
    rows: Tensor


class Problem:
    """Losses and slopes of rows that are all lengths.

    The first N rows are the shifts of the particles. If cells move, d rows for each geometry
    follow: its strain times the cube root of its volume.

    Attributes:
        reasons: {seed: why it was left where it is}.
        travel: (B,) sum over steps of the longest step of a row that the minimizer asked for.
    """

    def __init__(
        self,
        committee: Committee,
        loss: Loss,
        geometries: Sequence[Geometry],
        shift: Tensor,
        *,
        gradient: Gradient,
        bound: Ball | None = None,
        cell: bool = False,
        guard: Callable[[Batch], Tensor] | None = None,
        chunk: int,
    ) -> None:
        self.committee, self.loss, self.gradient = committee, loss, gradient
        self.bound, self.cell, self.guard, self.chunk = bound, cell, guard, chunk
        self.batch = batch = committee.batch(geometries)
        device, d = batch.positions.device, batch.dimension
        movable = np.concatenate([geometry.movable for geometry in geometries])
        self.movable = torch.tensor(movable, device=device)[:, None]
        self.start, self.owner = shift.to(device) * self.movable, batch.owner
        if cell:
            whole = torch.tensor([bool(g.movable.all()) for g in geometries], device=device)
            self.elastic = (batch.pbc.all(-1) & whole)[:, None, None]
            volume = torch.linalg.det(batch.cell).abs()[:, None, None]
            self.size = torch.where(self.elastic, volume ** (1 / d), 1.0)
            self.start = torch.cat([self.start, self.start.new_zeros(len(batch) * d, d)])
            index = torch.arange(len(batch), device=device)
            self.owner = torch.cat([batch.owner, index.repeat_interleave(d)])
        self.reasons: dict[int, str] = {}
        self.travel = self.start.new_zeros(len(batch))
        self._left = torch.zeros(len(batch), dtype=torch.bool, device=device)
        self._raised: list[Exception] = []
        self._rows = torch.full_like(self.start, torch.nan)  # the rows that were evaluated last
        self._losses, self._slope = torch.zeros_like(self.travel), torch.zeros_like(self.start)
        self._asked: tuple[list[int], list[_Part]] = ([], [])

    def iterates(self, minimizer: Minimizer) -> Iterator[tuple[Batch, Tensor]]:
        """Yield the moved batch and its losses (B,) at each iterate, the start first.

        Raises:
            Exception: the error of the first seed, if every seed raises one at the start.
        """
        start = self._bounded(self.start)
        self.evaluate(start)
        if len(self._raised) == len(self.batch):
            raise self._raised[0]
        sound = (~self._left).nonzero().flatten()
        if len(sound):
            self.gradient.check(self.committee, self._delta(start).apply(self.batch).take(sound)[0])
        for rows, losses in minimizer(self.evaluate, start, self._project, self.owner):
            yield self._delta(rows).apply(self.batch), losses

    def evaluate(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return losses (B,) and slopes (K, d); geometries that stand still are not asked again."""
        moved = rows.new_zeros(len(self.batch), dtype=torch.int64)
        moved = moved.index_add(0, self.owner, (rows != self._rows).any(-1).to(torch.int64)) > 0
        self._losses, self._slope = self._losses.clone(), self._slope.clone()
        delta, chosen = self._delta(rows), (moved & ~self._left).nonzero().flatten().tolist()
        if chosen != self._asked[0]:
            sizes = self.batch.counts[chosen].tolist()
            split = [chosen[part] for part in chunks(sizes, self.chunk)] if chosen else []
            self._asked = chosen, [self._part(part) for part in split]
        for part in self._asked[1]:
            self._ask(delta, part)
        self._rows = rows
        return self._losses, self._slope

    def start_noise(self) -> Tensor:
        """Return (B,) the longest random displacement of a particle of each seed."""
        return self._longest(self.start)

    def missed(self, geometries: Sequence[Geometry]) -> list[str | None]:
        """Return "target missed" for structures beside the objective's target, else None."""
        if not isinstance(self.loss, HasTarget) or not geometries:
            return [None] * len(geometries)
        missed: list[str | None] = []
        for part in chunks([len(geometry) for geometry in geometries], self.chunk):
            batch = self.committee.batch(geometries[part])
            prediction = self.committee(batch)
            texts = [MISSED] * len(batch)
            if isinstance(self.loss, TargetLoss):
                texts = [f"{MISSED} ({text})" for text in self.loss.described(prediction, batch)]
            reached = self.loss.reached(prediction, batch).tolist()
            missed += [None if r else text for r, text in zip(reached, texts, strict=True)]
        return missed

    # -- one seed must not spoil the others

    def _ask(self, delta: Delta, part: _Part) -> None:
        """Evaluate a part; halve it until those that cannot be evaluated are found."""
        try:
            losses, slope = self._values(delta, part)
        except Exception as error:  # whatever a member, a guard or an objective raises
            chosen = part.chosen.tolist()
            if len(chosen) == 1:
                self._leave(delta, part, error)
                return
            before, middle = len(self.reasons), len(chosen) // 2
            for half in (chosen[:middle], chosen[middle:]):
                self._ask(delta, self._part(half))
            rest = [i for i in chosen if i not in self.reasons]
            if rest and len(self.reasons) > before:  # again, as a batch without the others
                self._ask(delta, self._part(rest))
            return
        self._losses[part.chosen], self._slope[part.rows] = losses, slope

    def _values(self, delta: Delta, part: _Part) -> tuple[Tensor, Tensor]:
        """Losses and slopes of a part; the guard is asked first."""
        own = self._of(delta, part)
        allowed = None if self.guard is None else self.guard(own.apply(part.batch))
        losses, slope = self.gradient(self.committee, self.loss, part.batch, own)
        rows = torch.where(self.movable[part.particles], slope.shift, 0.0)
        if slope.strain is not None:
            strain = slope.strain / self.size[part.chosen]
            strain = torch.where(self.elastic[part.chosen], strain, 0.0)
            rows = torch.cat([rows, strain.flatten(0, 1)])
        if not losses.isfinite().all() or not rows.isfinite().all():
            raise _NotFinite("its loss, or the slope of its loss, is not finite")
        return losses if allowed is None else torch.where(allowed, losses, torch.inf), rows

    def _leave(self, delta: Delta, part: _Part, error: Exception) -> None:
        """Note why a single seed cannot be evaluated; from now on it stays where it is."""
        seed = int(part.chosen)
        try:
            prediction = self.committee(self._of(delta, part).apply(part.batch))
        except Exception as raised:
            error = raised
        else:
            finite = prediction.energy.isfinite().all(1) & prediction.forces.isfinite().all((1, 2))
            members = (~finite).nonzero().flatten().tolist()
            if members:
                named = f"members {members} predict" if len(members) > 1 else f"member {members[0]}"
                named += "" if len(members) > 1 else " predicts"
                error = _NotFinite(f"{named} an energy or forces that are not finite")
        if not isinstance(error, _NotFinite):
            self._raised.append(error)
        self.reasons[seed] = str(error).partition("\n")[0] or type(error).__name__
        self._left[seed], self._losses[seed] = True, torch.nan
        self._slope[part.rows] = 0.0

    # -- rows

    def _part(self, chosen: list[int]) -> _Part:
        index = torch.tensor(chosen, device=self.owner.device)
        batch, particles = self.batch, torch.arange(len(self.batch.owner), device=index.device)
        if len(chosen) < len(batch):
            batch, particles = batch.take(index)
        rows = particles
        if self.cell:
            d = batch.dimension
            below = torch.arange(d, device=index.device) + len(self.batch.owner)
            rows = torch.cat([particles, (index[:, None] * d + below).flatten()])
        return _Part(batch, index, particles, rows)

    def _of(self, delta: Delta, part: _Part) -> Delta:
        strain = None if delta.strain is None else delta.strain[part.chosen]
        return Delta(delta.shift[part.particles], strain)

    def _longest(self, rows: Tensor) -> Tensor:
        """Return (B,) the length of the longest row of each geometry."""
        return torch.zeros_like(self.travel).scatter_reduce(
            0, self.owner, rows.norm(dim=-1), "amax"
        )

    def _project(self, rows: Tensor) -> Tensor:
        self.travel = self.travel + self._longest(rows - self._rows)
        return torch.where(self._left[self.owner, None], self._rows, self._bounded(rows))

    def _bounded(self, rows: Tensor) -> Tensor:
        if self.bound is None:
            return rows
        delta = self.bound(self.batch, self._delta(rows))
        if delta.strain is None:
            return delta.shift
        return torch.cat([delta.shift, (delta.strain * self.size).flatten(0, 1)])

    def _delta(self, rows: Tensor) -> Delta:
        if not self.cell:
            return Delta(rows)
        n, d = self.batch.positions.shape
        return Delta(rows[:n], rows[n:].view(-1, d, d) / self.size)
