"""Three ways to the slope of a loss, interchangeable.

A loss sees only predictions, L = l({E_m, F_m}). Its slope in the positions needs the members' second derivatives, but
only along one direction each: with v_m = dl/dF_m,

    dL/dx = explicit - sum_m (dl/dE_m) F_m + sum_m (dF_m/dx) v_m,

and since a conservative member has a symmetric dF_m/dx, its product with v_m is one central difference of the forces
*along v_m*: two force calls per member whatever the number of atoms. :class:`Autograd` computes the same with a backward
pass through the forces, :class:`FiniteDifference` (the scheme of Cezar 2025, Sec. IV A) coordinate by coordinate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..committee import Committee
from ..geometry import Batch, Delta, Prediction
from .objectives import Loss


class Gradient(Protocol):
    """The loss (B,) of a displaced batch and its slope in the displacement."""

    def __call__(self, committee: Committee, loss: Loss, batch: Batch, delta: Delta) -> tuple[Tensor, Delta]: ...


class NotConservative(RuntimeError):
    """Forces that are not the slope of an energy, where a gradient relies on it."""


def _displaced(batch: Batch, delta: Delta) -> Batch:
    """The displaced batch.

    Raises:
        ValueError: a strain; these slopes are in positions only.
    """
    if delta.strain is not None:
        raise ValueError("these gradients are in positions only: give Delta(shift) without strain")
    return delta.apply(batch)


@dataclass(frozen=True)
class Autograd:
    """One backward pass through the forces; needs members that are twice differentiable in torch."""

    def __call__(self, committee: Committee, loss: Loss, batch: Batch, delta: Delta) -> tuple[Tensor, Delta]:
        with torch.enable_grad():
            shift = delta.shift.detach().requires_grad_()
            moved = _displaced(batch, Delta(shift, delta.strain))
            losses = loss(committee(moved, graph=True), moved)
            (slope,) = torch.autograd.grad(losses.sum(), shift)
        return losses.detach(), Delta(slope)


@dataclass(frozen=True)
class HessianVector:
    """Two force calls per member beyond the evaluation, whatever the number of atoms, for any potential with conservative forces.

    Attributes:
        step: the largest displacement of any particle in the difference, angstrom; None takes 5e-5 where forces are float64
            and 5e-4 where they are float32 (positions are float64 in both).
        asymmetry: relative asymmetry of dF/dx up to which members count as conservative; see :meth:`check`.
    """

    step: float | None = None
    asymmetry: float = 0.01

    def __call__(self, committee: Committee, loss: Loss, batch: Batch, delta: Delta) -> tuple[Tensor, Delta]:
        moved = _displaced(batch, delta)
        said = committee(moved)
        with torch.enable_grad():
            energy, forces = said.energy.detach().requires_grad_(), said.forces.detach().requires_grad_()
            positions = moved.positions.detach().requires_grad_()
            losses = loss(Prediction(energy, forces, said.stress), moved.at(positions))
            slopes = torch.autograd.grad(losses.sum(), (energy, forces, positions), allow_unused=True)
        d_energy, direction, explicit = (torch.zeros_like(x) if s is None else s for x, s in zip((energy, forces, positions), slopes, strict=True))
        slope = explicit.double() - (d_energy[..., moved.owner, None] * said.forces).double().sum(0)
        used = torch.nonzero(direction.flatten(1).any(1)).flatten()
        if len(used):
            chosen = committee if len(used) == len(committee) else committee[used.cpu().numpy()]
            slope = slope + _along(chosen, moved, direction[used].double(), self._step(forces.dtype)).sum(0)
        return losses.detach(), Delta(slope)

    def _step(self, dtype: torch.dtype) -> float:
        if self.step is not None:
            return self.step
        return 5e-5 if dtype == torch.float64 else 5e-4

    def check(self, committee: Committee, batch: Batch, generator: torch.Generator | None = None) -> None:
        """Looks at eight geometries whether each member's J = dF/dx is symmetric between three random directions; seven force calls per member.

        For normal directions u and w, |u J w - w J u| / (|J u| + |J w|) is about the share of the antisymmetric part in J.

        Raises:
            NotConservative: a share above `asymmetry` (and above what rounding makes of it); names the member.
        """
        batch, _ = batch.take(torch.arange(min(8, len(batch)), device=batch.positions.device))
        generator = generator or torch.Generator().manual_seed(0)
        forces = committee(batch).forces
        step = self._step(forces.dtype)
        directions = [torch.randn(forces.shape, generator=generator, dtype=torch.float64).to(forces.device) for _ in range(3)]
        products = [_along(committee, batch, u, step) for u in directions]
        rounding = 16 * torch.finfo(forces.dtype).eps * forces.double().abs().amax((1, 2)) / step * math.sqrt(batch.positions.numel())
        share = torch.zeros(len(committee), dtype=torch.float64, device=forces.device)
        for i, k in ((0, 1), (0, 2), (1, 2)):
            u, w, ju, jw = directions[i], directions[k], products[i], products[k]
            difference = ((u * jw).sum((1, 2)) - (w * ju).sum((1, 2))).abs() - rounding
            share = torch.maximum(share, difference / (ju.norm(dim=(1, 2)) + jw.norm(dim=(1, 2))).clamp(min=1e-300))
        worst = int(share.argmax())
        if share[worst] > self.asymmetry:
            raise NotConservative(
                f"the forces of member {worst} are not the slope of an energy (about {share[worst]:.1%} of their Jacobian is antisymmetric): the "
                "gradient HessianVector would be wrong; use FiniteDifference(), or Autograd() for torch models"
            )


def _along(committee: Committee, batch: Batch, direction: Tensor, step: float) -> Tensor:
    """(M, N, d): (dF_m/dx) v_m by a central difference along v_m, scaled for each member and geometry to move a particle by at most `step`."""
    length = batch.largest(direction.norm(dim=-1))                            # (M, B)
    scale = torch.where(length > 0, step / length.clamp(min=1e-300), 0.0)[:, batch.owner, None]
    shift = direction * scale
    ahead, behind = (committee(batch.at(batch.positions + sign * shift)).forces.double() for sign in (1, -1))
    return torch.where(scale > 0, (ahead - behind) / (2 * scale.clamp(min=1e-300)), 0.0)


@dataclass(frozen=True)
class FiniteDifference:
    """Coordinate by coordinate: n d evaluations of the committee beyond the first, or 2 n d central ones; right for anything.

    The geometries of a batch move together, so the number of evaluations is that of the largest of them.

    Attributes:
        step: angstrom; None follows the precision of the forces.
        central: two-sided differences, twice the cost, an order more accurate.
        chunk: displaced geometries evaluated in one call.
    """

    step: float | None = None
    central: bool = False
    chunk: int = 256

    def __call__(self, committee: Committee, loss: Loss, batch: Batch, delta: Delta) -> tuple[Tensor, Delta]:
        moved = _displaced(batch, delta)
        said = committee(moved)
        losses = loss(said, moved).detach()
        step = self.step or self._step(said.forces.dtype)
        counts, d = moved.counts, moved.dimension
        first = counts.cumsum(0) - counts
        slope = torch.zeros_like(moved.positions)
        signs = (1.0, -1.0) if self.central else (1.0,)
        tasks = [(i, c, sign) for i in range(int(counts.max())) for c in range(d) for sign in signs]
        room = max(1, self.chunk // len(moved))
        for k in range(0, len(tasks), room):
            part = tasks[k : k + room]
            positions = moved.positions.repeat(len(part), 1, 1)
            for j, (i, c, sign) in enumerate(part):
                positions[j, first[counts > i] + i, c] += sign * step
            many = moved.repeat(len(part)).at(positions.flatten(0, 1))
            values = loss(committee(many), many).detach().view(len(part), len(moved))
            for j, (i, c, sign) in enumerate(part):
                has = counts > i
                rise = sign * values[j] / (2 * step) if self.central else (values[j] - losses) / step
                slope[first[has] + i, c] += rise[has]
        return losses, Delta(slope)

    def _step(self, dtype: torch.dtype) -> float:
        if dtype == torch.float64:
            return 1e-4 if self.central else 1e-6
        return 1e-2 if self.central else 3e-3
