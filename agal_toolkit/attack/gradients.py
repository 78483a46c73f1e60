"""Three interchangeable gradients of a loss.

A loss sees only predictions, L = l({E_m, F_m, S_m}), so its slope in y = (shift, stretch), where
stretch = 1 + strain, needs the members' second derivatives, but only along one direction each. With
the generalised forces G_m(y) = -dE_m/dy, of which forces and stress are made, and v_m = dl/dG_m,

    dL/dy = explicit - sum_m (dl/dE_m) G_m + sum_m (dG_m/dy) v_m.

A conservative member has a symmetric dG_m/dy, so its product with v_m is one central difference of
generalised forces *along v_m*: two force calls per member whatever the number of atoms
(:class:`HessianVector`). :class:`Autograd` computes the same with a backward pass through the
forces, :class:`FiniteDifference` (Cezar 2025, Sec. IV A) coordinate by coordinate.

The algebra of cells is written once, in :class:`.Frame`; what a loss makes of energies, forces and
stresses is differentiated by torch, never by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..batch import Batch, Delta, Nearby
from ..committee import Committee
from .frame import Frame
from .objectives import Loss


class Gradient(Protocol):
    """The loss of a displaced batch and its slope in the displacement."""

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]:
        """Return losses (B,) and slopes in shift (N, d) and, if there is a strain, (B, d, d)."""
        ...

    def check(self, committee: Committee, batch: Batch) -> None:
        """Raise if this gradient would be wrong for the committee; by default it never is."""


class NotConservative(RuntimeError):
    """Forces that derive from no energy, where a gradient relies on an energy."""


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.mT) / 2


@dataclass(frozen=True)
class Autograd(Gradient):
    """One backward pass through the forces; members must be twice differentiable in torch."""

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]:
        with torch.enable_grad():
            shift = delta.shift.detach().requires_grad_()
            strain = None if delta.strain is None else delta.strain.detach().requires_grad_()
            moved = Delta(shift, strain).apply(batch)
            losses = loss(committee(moved, graph=True), moved)
            leaves = [leaf for leaf in (shift, strain) if leaf is not None]
            # atoms without neighbours have forces that do not depend on where they are
            slopes = [None] * len(leaves)
            if losses.requires_grad:
                slopes = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
            d_shift, *d_strain = (
                torch.zeros_like(leaf) if slope is None else slope
                for leaf, slope in zip(leaves, slopes, strict=True)
            )
        return losses.detach(), Delta(d_shift, _symmetric(d_strain[0]) if d_strain else None)


@dataclass(frozen=True)
class HessianVector(Gradient):
    """Two force calls per member beyond the evaluation; for any potential of conservative forces.

    Attributes:
        step: largest displacement of any particle in the difference, angstrom; None takes 5e-5 for
            float64 forces and 5e-4 for float32 (positions are float64 in both), and up to 5e-3
            for calculators whose forces are noisier.
        asymmetry: relative asymmetry of dF/dx, and relative difference between the slopes of the
            energy and the forces, up to which members count as conservative; see :meth:`check`.
    """

    step: float | None = None
    asymmetry: float = 0.01

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]:
        stretch = delta.stretch
        if stretch is None and bool(batch.pbc.all(-1).any()):
            # The cell stays, but the loss may depend on the stress, which G_stretch carries.
            one = torch.eye(batch.dimension, dtype=torch.float64, device=batch.positions.device)
            stretch = one.repeat(len(batch), 1, 1)
        frame = Frame(batch, delta.shift, stretch)
        prediction = committee(frame.moved())

        # L as a function of E_m, G_m and y, each of them a leaf; `cell` is empty without a stretch.
        G_shift, G_stretch = frame.generalised(prediction)
        values = (prediction.energy, G_shift, delta.shift, G_stretch, stretch)
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in values if value is not None]
            energy, G_shift, shift, *cell = leaves
            G_stretch, stretch = cell or (None, None)
            moving = Frame(batch, shift, stretch)
            losses = loss(moving.predicted(energy, G_shift, G_stretch, prediction), moving.moved())
            slopes = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)

        # dL/dE_m, v_m = dL/dG_m, and the explicit derivative of L in y
        dL_dE, v_shift, explicit_shift, *slopes_cell = slopes
        dL_dE = dL_dE.double()

        # dL/dy = explicit - sum_m (dL/dE_m) G_m + sum_m (dG_m/dy) v_m
        d_shift = explicit_shift - (dL_dE[..., batch.owner, None] * G_shift.detach()).sum(0)
        contributes = v_shift.flatten(1).any(1)
        v_stretch = d_stretch = None
        if slopes_cell:
            v_stretch, explicit_stretch = slopes_cell
            d_stretch = explicit_stretch - (dL_dE[..., None, None] * cell[0].detach()).sum(0)
            contributes = contributes | v_stretch.flatten(1).any(1)
        members = torch.nonzero(contributes).flatten()
        if len(members):  # the others cost no force call
            every = len(members) == len(committee)
            chosen = committee if every else committee[members.cpu().numpy()]
            v = v_shift[members], None if v_stretch is None else v_stretch[members]
            noise = committee.noise(frame.moved(), prediction)[:, 1]
            step = self._step(prediction.forces.dtype, noise)[members]
            Hv_shift, Hv_stretch = hessian_vector_product(chosen, frame, *v, step)
            d_shift = d_shift + Hv_shift.sum(0)
            if d_stretch is not None and Hv_stretch is not None:
                d_stretch = d_stretch + Hv_stretch.sum(0)
        if delta.strain is None or d_stretch is None:
            return losses.detach(), Delta(d_shift)
        return losses.detach(), Delta(d_shift, _symmetric(d_stretch))

    def _step(self, dtype: torch.dtype, noise: Tensor) -> Tensor:
        """Return steps (M, 1) for forces of `dtype` with random errors `noise` (M,) beyond it."""
        if self.step is not None:
            return torch.full_like(noise, self.step)[:, None]
        least = 5e-5 if dtype == torch.float64 else 5e-4
        return (5e-4 * (noise / 1e-6) ** (1 / 3)).clamp(least, 5e-3)[:, None]

    def check(
        self, committee: Committee, batch: Batch, generator: torch.Generator | None = None
    ) -> None:
        """Check on at most eight geometries that each member's forces derive from its energy.

        Between normal directions u and w, |u J w - w J u| / (|J u| + |J w|) is about the
        antisymmetric share of J = dF/dx, and along each (E(+) - E(-)) / 2h is -F u; three random
        directions cost seven force calls per member.

        Raises:
            NotConservative: a share above `asymmetry`, rounding set aside; names the member.
        """
        batch, _ = batch.take(torch.arange(min(8, len(batch)), device=batch.positions.device))
        generator = generator or torch.Generator("cpu").manual_seed(0)
        prediction = committee(batch)
        forces, noise = prediction.forces.double(), committee.noise(batch, prediction)
        step = self._step(prediction.forces.dtype, noise[:, 1])
        normal = partial(
            torch.randn, forces.shape, generator=generator, dtype=torch.float64, device="cpu"
        )
        directions = [normal().to(forces.device) for _ in range(3)]
        frame = Frame(batch, torch.zeros_like(batch.positions))
        sides = [_sides(committee, frame, u, None, step) for u in directions]
        products = [_central_difference(G, h[:, batch.owner, None]) for h, _, G, _ in sides]

        # what rounding contributes to u J w - w J u, and to the slopes of the energy
        eps = torch.finfo(prediction.forces.dtype).eps
        rounding = 16 * torch.maximum(eps * forces.abs().amax((1, 2)), noise[:, 1])
        rounding = rounding / step[:, 0] * math.sqrt(batch.positions.numel())
        share = torch.zeros(len(committee), dtype=torch.float64, device=forces.device)
        for i, k in ((0, 1), (0, 2), (1, 2)):
            u, w, Ju, Jw = directions[i], directions[k], products[i], products[k]
            difference = ((u * Jw).sum((1, 2)) - (w * Ju).sum((1, 2))).abs() - rounding
            length = Ju.norm(dim=(1, 2)) + Jw.norm(dim=(1, 2))
            share = torch.fmax(share, difference / length.clamp(min=1e-300))
        worst = int(share.argmax())
        if share[worst] > self.asymmetry:
            raise NotConservative(
                f"the forces of member {worst} derive from no energy ({share[worst]:.1%} of their"
                " Jacobian is antisymmetric), so HessianVector would be wrong: use"
                " FiniteDifference(), or Autograd() for torch models"
            )

        # (M, 3, B) slopes of energies along the directions, and those that forces promise
        scale = torch.stack([h for h, *_ in sides], 1)
        energies = torch.stack([energy for _, energy, *_ in sides], 1).double()
        ahead, behind = energies.chunk(2, dim=2)
        slopes = (ahead - behind) / (2 * scale)
        promised = torch.stack([-batch.sum((forces * u).sum(-1)) for u in directions], 1)
        rounding = torch.maximum(eps * energies.abs().amax((1, 2)), noise[:, 0])
        error = (slopes - promised).abs() - (4 * rounding)[:, None, None] / scale
        size = (slopes.abs() + promised.abs()).sum((1, 2))
        share = torch.nan_to_num(error.clamp(min=0).sum((1, 2)) / size.clamp(min=1e-300))
        worst = int(share.argmax())
        if share[worst] > self.asymmetry:
            ratio = float((slopes * promised).sum((1, 2))[worst] / promised[worst].square().sum())
            raise NotConservative(
                f"the energy of member {worst} changes {ratio:.3g} times as much as its forces say,"
                " so HessianVector would be wrong: give both in eV and angstrom, forces of the same"
                " energy (not of a free energy), or use FiniteDifference()"
            )


def hessian_vector_product(
    committee: Committee,
    frame: Frame,
    v_shift: Tensor,
    v_stretch: Tensor | None,
    step: float | Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Return (dG_m/dy) v_m of each member, by one central difference along v_m.

    Args:
        committee: M members.
        frame: where to differentiate.
        v_shift: (M, N, d) part of v_m in shift.
        v_stretch: (M, B, d, d) part of v_m in stretch, or None.
        step: largest displacement of any particle of a geometry, angstrom, or one (M, 1) for each
            member; a stretch counts by its norm times the cube root of the volume.

    Returns:
        (M, N, d), and (M, B, d, d) or None.
    """
    scale, _, G_shift, G_stretch = _sides(committee, frame, v_shift, v_stretch, step)
    Hv_shift = _central_difference(G_shift, scale[:, frame.batch.owner, None])
    if G_stretch is None:
        return Hv_shift, None
    return Hv_shift, _central_difference(G_stretch, scale[..., None, None])


def _sides(
    committee: Committee,
    frame: Frame,
    v_shift: Tensor,
    v_stretch: Tensor | None,
    step: float | Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return scale h (M, B), and energies, G_shift and G_stretch of y + h v, then of y - h v."""
    # scale (M, B): how much of v_m is a displacement by `step`
    batch = frame.batch
    length = batch.largest(v_shift.norm(dim=-1))
    if v_stretch is not None:
        size = torch.linalg.det(frame.cell).abs() ** (1 / batch.dimension)
        length = length + size * v_stretch.flatten(-2).norm(dim=-1)
    scale = torch.where(length > 0, step / length.clamp(min=1e-300), 0.0)

    # y + scale v and y - scale v, in one call of all members
    both, signed = batch.repeat(2), torch.cat([scale, -scale], 1)
    shift = frame.shift.repeat(2, 1) + signed[:, both.owner, None] * v_shift.repeat(1, 2, 1)
    stretch = None
    if v_stretch is not None and frame.stretch is not None:
        change = signed[..., None, None] * v_stretch.repeat(1, 2, 1, 1)
        stretch = frame.stretch.repeat(2, 1, 1) + change
    sides = Frame(both, shift, stretch)
    prediction = committee(replace(sides.moved(), nearby=_nearby(frame, scale, v_stretch, step)))
    return scale, prediction.energy, *sides.generalised(prediction)


def _nearby(
    frame: Frame, scale: Tensor, v_stretch: Tensor | None, step: float | Tensor
) -> Nearby | None:
    """Return the centre of both sides, from which all members take their neighbours."""
    shift, strain = float(torch.as_tensor(step, device=scale.device).max()), 0.0
    if v_stretch is not None and frame.stretch is not None:
        # x' = (x + shift)(stretch + change): vectors change by stretch^-1 change
        change = torch.where(scale > 0, scale * v_stretch.flatten(-2).norm(dim=-1), 0.0)
        inverse = torch.linalg.inv(frame.stretch).flatten(-2).norm(dim=-1)
        strain = torch.nan_to_num(change * inverse).max()
        shift = shift * (torch.nan_to_num(frame.stretch).flatten(-2).norm(dim=-1).max() + strain)
    if shift > 0.1 or strain > 0.01:  # a large step, or a cell that the attack has torn
        return None
    return Nearby(frame.moved(), 2, float(shift), float(strain))


def _central_difference(values: Tensor, scale: Tensor) -> Tensor:
    """Return (ahead - behind) / (2 scale) of the halves of `values` (M, 2 n, ...), 0 at scale 0."""
    ahead, behind = values.chunk(2, dim=1)
    return torch.where(scale > 0, (ahead - behind) / (2 * scale.clamp(min=1e-300)), 0.0)


@dataclass(frozen=True)
class FiniteDifference(Gradient):
    """Differences coordinate by coordinate, right for any potential.

    Costs n d evaluations of the committee beyond the first (six more with a cell), or twice as many
    if central. The geometries of a batch move together, so the largest one sets the number.

    Attributes:
        step: angstrom; None follows the precision of the forces.
        central: two-sided differences, twice the cost, an order more accurate.
        chunk: particles of displaced geometries evaluated in one call, at least one displacement;
            larger calls leave a processor's cache.
    """

    step: float | None = None
    central: bool = False
    chunk: int = 4096

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]:
        moved = delta.apply(batch)
        prediction = committee(moved)
        losses = loss(prediction, moved).detach()
        step = self.step or self._step(
            prediction.forces.dtype, committee.noise(moved, prediction)[:, 1]
        )
        counts, d = moved.counts, moved.dimension
        first = counts.cumsum(0) - counts
        # A strain is scaled so that it moves particles by about `step`, too.
        size = torch.where(batch.pbc.all(-1), torch.linalg.det(batch.cell).abs() ** (1 / d), 1.0)

        def displaced(kind: str, i: int, c: int, sign: float) -> Batch:
            """Move coordinate c of every geometry's particle i, or strain components (i, c)."""
            shift = delta.shift.clone()
            strain = None if delta.strain is None else delta.strain.clone()
            if kind == "shift":
                shift[first[counts > i] + i, c] += sign * step
            elif strain is not None:
                strain[:, i, c] += sign * step / size
                strain[:, c, i] = strain[:, i, c]
            return Delta(shift, strain).apply(batch)

        moves = [("shift", i, c) for i in range(int(counts.max())) for c in range(d)]
        if delta.strain is not None:
            moves += [("strain", a, b) for a in range(d) for b in range(a, d)]
        tasks = [(*move, sign) for move in moves for sign in (1.0, -1.0)[: 1 + self.central]]
        strain = None if delta.strain is None else torch.zeros_like(delta.strain)
        slope = Delta(torch.zeros_like(moved.positions), strain)
        room = max(1, self.chunk // len(moved.positions))
        for k in range(0, len(tasks), room):
            # as many displaced copies of the batch as there is room for, in one call
            part = tasks[k : k + room]
            copies = [displaced(*task) for task in part]
            positions = torch.cat([copy.positions for copy in copies])
            cells = torch.cat([copy.cell for copy in copies])
            many = moved.repeat(len(part)).at(positions, cells)
            values = loss(committee(many), many).detach().view(len(part), len(moved))
            for value, (kind, i, c, sign) in zip(values, part, strict=True):
                rise = sign * value / 2 if self.central else value - losses
                if kind == "shift":
                    has = counts > i
                    slope.shift[first[has] + i, c] += rise[has] / step
                elif slope.strain is not None:
                    share = rise * size / step / (1 if i == c else 2)
                    slope.strain[:, i, c] += share
                    if i != c:
                        slope.strain[:, c, i] += share
        return losses, slope

    def _step(self, dtype: torch.dtype, noise: Tensor) -> float:
        """Return the step for forces of `dtype` with random errors `noise` (M,) beyond it."""
        worst, central = float(noise.max()) / 1e-6, self.central
        if dtype == torch.float64:
            step, least, most = (2e-3, 1e-4, 1e-2) if central else (4e-4, 1e-6, 3e-3)
            return min(max(least, step * worst ** (1 / (2 + central))), most)
        return 1e-2 if central else 3e-3
