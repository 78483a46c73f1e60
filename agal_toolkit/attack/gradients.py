"""Three ways to the slope of a loss, interchangeable.

A loss sees only predictions, L = l({E_m, F_m, S_m}), so its slope in y = (shift, stretch), where
stretch = 1 + strain, needs the members' second derivatives, but only along one direction each. With
the generalised forces G_m(y) = -dE_m/dy, of which forces and stress are made, and v_m = dl/dG_m,

    dL/dy = explicit - sum_m (dl/dE_m) G_m + sum_m (dG_m/dy) v_m,

and since a conservative member has a symmetric dG_m/dy, its product with v_m is one central
difference of generalised forces *along v_m*: two force calls per member whatever the number of
atoms. :class:`Autograd` computes the same with a backward pass through the forces,
:class:`FiniteDifference` (the scheme of Cezar 2025, Sec. IV A) coordinate by coordinate.

The algebra of cells is written once, in :class:`Frame`; what a loss makes of energies, forces and
stresses is differentiated by torch, never by hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..batch import Batch, Delta, Prediction
from ..committee import Committee
from .objectives import Loss


class Gradient(Protocol):
    """The loss (B,) of a displaced batch and its slope in the displacement."""

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]: ...


class NotConservative(RuntimeError):
    """Forces that are not the slope of an energy, where a gradient relies on it."""


@dataclass(frozen=True)
class Frame:
    """A batch moved by y = (shift, stretch), x' = (x + shift) stretch and cell' = cell stretch, any
    matrix for a stretch.

    Attributes:
        batch: before it moves, positions (N, d).
        shift: (N, d), or (M, N, d) where each member sees its own.
        stretch: (B, d, d), or (M, B, d, d); None moves particles only.
    """

    batch: Batch
    shift: Tensor
    stretch: Tensor | None = None

    @classmethod
    def of(cls, batch: Batch, delta: Delta) -> Frame:
        """Of a displacement whose strain is symmetric."""
        if delta.strain is None:
            return cls(batch, delta.shift)
        return cls(
            batch,
            delta.shift,
            torch.eye(batch.dimension, dtype=delta.strain.dtype, device=delta.strain.device)
            + delta.strain,
        )

    def moved(self) -> Batch:
        """The batch as it is then."""
        positions = self.batch.positions + self.shift
        if self.stretch is None:
            return self.batch.at(positions)
        return self.batch.at(
            torch.einsum("...ni,...nij->...nj", positions, self._owned(self.stretch)),
            self.batch.cell @ self.stretch,
        )

    def generalised(self, said: Prediction) -> tuple[Tensor, Tensor | None]:
        """G = -dE/dy of a prediction there, float64: F stretch^T (M, N, d), and -V stretch^-T S (M,
        B, d, d), zero where there is no volume.
        """
        forces = said.forces.double()
        if self.stretch is None:
            return forces, None
        pulls = torch.einsum("...ni,...nji->...nj", forces, self._owned(self.stretch))
        stress = torch.where(self._periodic, said.stress.double(), 0.0)
        return pulls, -self._volume * torch.linalg.inv(self.stretch).mT @ stress

    def predicted(
        self, energy: Tensor, pulls: Tensor, stretching: Tensor | None, like: Prediction
    ) -> Prediction:
        """The inverse of :meth:`generalised`, differentiable; in the precision of `like`."""
        if self.stretch is None:
            return Prediction(energy, pulls.to(like.forces.dtype), like.stress)
        forces = torch.einsum(
            "...ni,...nji->...nj", pulls, self._owned(torch.linalg.inv(self.stretch))
        )
        stress = torch.where(
            self._periodic, -(self.stretch.mT @ stretching) / self._volume, torch.nan
        )
        return Prediction(energy, forces.to(like.forces.dtype), stress.to(like.stress.dtype))

    def _owned(self, stretch: Tensor) -> Tensor:
        return stretch.index_select(-3, self.batch.owner)

    @property
    def _periodic(self) -> Tensor:
        return self.batch.pbc.all(-1)[:, None, None]

    @property
    def _volume(self) -> Tensor:
        """(..., B, 1, 1), one where there is none."""
        volume = torch.linalg.det(self.batch.cell @ self.stretch).abs()[..., None, None]
        return torch.where(self._periodic, volume, 1.0)


def _symmetric(stretch: Tensor) -> Tensor:
    return (stretch + stretch.mT) / 2


@dataclass(frozen=True)
class Autograd:
    """One backward pass through the forces; needs members that are twice differentiable in torch."""

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]:
        with torch.enable_grad():
            shift = delta.shift.detach().requires_grad_()
            strain = None if delta.strain is None else delta.strain.detach().requires_grad_()
            moved = Delta(shift, strain).apply(batch)
            losses = loss(committee(moved, graph=True), moved)
            if strain is None:
                return losses.detach(), Delta(torch.autograd.grad(losses.sum(), shift)[0])
            along, stretched = torch.autograd.grad(losses.sum(), (shift, strain))
        return losses.detach(), Delta(along, _symmetric(stretched))


@dataclass(frozen=True)
class HessianVector:
    """Two force calls per member beyond the evaluation, whatever the number of atoms, for any
    potential with conservative forces.

    Attributes:
        step: the largest displacement of any particle in the difference, angstrom; None takes 5e-5
            where forces are float64 and 5e-4 where they are float32 (positions are float64 in
            both).
        asymmetry: relative asymmetry of dF/dx up to which members count as conservative; see
            :meth:`check`.
    """

    step: float | None = None
    asymmetry: float = 0.01

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]:
        frame = Frame.of(batch, delta)
        if frame.stretch is None and bool(
            batch.pbc.all(-1).any()
        ):  # a loss may look at stresses although no cell moves
            frame = Frame(
                batch,
                delta.shift,
                torch.eye(
                    batch.dimension, dtype=torch.float64, device=batch.positions.device
                ).repeat(len(batch), 1, 1),
            )
        said = committee(frame.moved())
        known = (said.energy, *frame.generalised(said), frame.shift, frame.stretch)
        with torch.enable_grad():
            leaves = [None if value is None else value.detach().requires_grad_() for value in known]
            energy, pulls, stretching, shift, stretch = leaves
            there = Frame(batch, shift, stretch)
            losses = loss(there.predicted(energy, pulls, stretching, said), there.moved())
            given = [leaf for leaf in leaves if leaf is not None]
            slopes = iter(torch.autograd.grad(losses.sum(), given, allow_unused=True))
        found = [None if leaf is None else _or_zeros(next(slopes), leaf) for leaf in leaves]
        d_energy, v_shift, v_stretch, d_shift, d_stretch = found
        d_energy = d_energy.double()
        d_shift = d_shift - (d_energy[..., batch.owner, None] * pulls.detach()).sum(0)
        used = v_shift.flatten(1).any(1)
        if v_stretch is not None:
            d_stretch = d_stretch - (d_energy[..., None, None] * stretching.detach()).sum(0)
            used = used | v_stretch.flatten(1).any(1)
        members = torch.nonzero(used).flatten()
        if len(members):
            chosen = (
                committee if len(members) == len(committee) else committee[members.cpu().numpy()]
            )
            bent, stretched = along(
                chosen,
                frame,
                v_shift[members],
                None if v_stretch is None else v_stretch[members],
                self._step(said.forces.dtype),
            )
            d_shift = d_shift + bent.sum(0)
            d_stretch = None if d_stretch is None else d_stretch + stretched.sum(0)
        return losses.detach(), Delta(
            d_shift, None if delta.strain is None else _symmetric(d_stretch)
        )

    def _step(self, dtype: torch.dtype) -> float:
        if self.step is not None:
            return self.step
        return 5e-5 if dtype == torch.float64 else 5e-4

    def check(
        self, committee: Committee, batch: Batch, generator: torch.Generator | None = None
    ) -> None:
        """Looks at eight geometries whether each member's J = dF/dx is symmetric between three
        random directions; seven force calls per member.

        For normal directions u and w, |u J w - w J u| / (|J u| + |J w|) is about the share of the
        antisymmetric part in J.

        Raises:
            NotConservative: a share above `asymmetry` (and above what rounding makes of it); names
                the member.
        """
        batch, _ = batch.take(torch.arange(min(8, len(batch)), device=batch.positions.device))
        generator = generator or torch.Generator().manual_seed(0)
        forces = committee(batch).forces
        step = self._step(forces.dtype)
        directions = [
            torch.randn(forces.shape, generator=generator, dtype=torch.float64).to(forces.device)
            for _ in range(3)
        ]
        still = Frame(batch, torch.zeros_like(batch.positions))
        products = [along(committee, still, u, None, step)[0] for u in directions]
        rounding = (
            16
            * torch.finfo(forces.dtype).eps
            * forces.double().abs().amax((1, 2))
            / step
            * math.sqrt(batch.positions.numel())
        )
        share = torch.zeros(len(committee), dtype=torch.float64, device=forces.device)
        for i, k in ((0, 1), (0, 2), (1, 2)):
            u, w, ju, jw = directions[i], directions[k], products[i], products[k]
            difference = ((u * jw).sum((1, 2)) - (w * ju).sum((1, 2))).abs() - rounding
            share = torch.maximum(
                share, difference / (ju.norm(dim=(1, 2)) + jw.norm(dim=(1, 2))).clamp(min=1e-300)
            )
        worst = int(share.argmax())
        if share[worst] > self.asymmetry:
            raise NotConservative(
                f"the forces of member {worst} are not the slope of an energy (about"
                f" {share[worst]:.1%} of their Jacobian is antisymmetric): the gradient"
                " HessianVector would be wrong; use FiniteDifference(), or Autograd() for torch"
                " models"
            )


def _or_zeros(slope: Tensor | None, leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if slope is None else slope


def along(
    committee: Committee, frame: Frame, v_shift: Tensor, v_stretch: Tensor | None, step: float
) -> tuple[Tensor, Tensor | None]:
    """(dG_m/dy) v_m for each member m, by one central difference along v_m; both sides of all
    members in one call.

    Args:
        committee: M members.
        frame: where they are.
        v_shift, v_stretch: (M, N, d) and (M, B, d, d), or None without a cell.
        step: the largest displacement of any particle of a geometry, angstrom; a stretch moves them
            by its norm times the cube root of the volume.

    Returns:
        (M, N, d), and (M, B, d, d) or None.
    """
    batch = frame.batch
    length = batch.largest(v_shift.norm(dim=-1))
    if v_stretch is not None:
        size = torch.linalg.det(batch.cell @ frame.stretch).abs() ** (1 / batch.dimension)
        length = length + size * v_stretch.flatten(-2).norm(dim=-1)
    scale = torch.where(length > 0, step / length.clamp(min=1e-300), 0.0)  # (M, B)
    far = torch.cat([scale, -scale], 1)
    both = batch.repeat(2)
    shift = frame.shift.repeat(2, 1) + far[:, both.owner, None] * v_shift.repeat(1, 2, 1)
    stretch = (
        None
        if v_stretch is None
        else frame.stretch.repeat(2, 1, 1) + far[..., None, None] * v_stretch.repeat(1, 2, 1, 1)
    )
    sides = Frame(both, shift, stretch)
    pulls, stretching = sides.generalised(committee(sides.moved()))
    bent = _difference(pulls, scale[:, batch.owner, None])
    return bent, None if stretching is None else _difference(stretching, scale[..., None, None])


def _difference(values: Tensor, scale: Tensor) -> Tensor:
    """(ahead - behind) / (2 scale) of the two halves of `values` (M, 2 n, ...); zero where nothing
    moved.
    """
    ahead, behind = values.chunk(2, dim=1)
    return torch.where(scale > 0, (ahead - behind) / (2 * scale.clamp(min=1e-300)), 0.0)


@dataclass(frozen=True)
class FiniteDifference:
    """Coordinate by coordinate: n d evaluations of the committee beyond the first (six more with a
    cell), or twice as many central ones; right for anything.

    The geometries of a batch move together, so the number of evaluations is that of the largest of
    them.

    Attributes:
        step: angstrom; None follows the precision of the forces.
        central: two-sided differences, twice the cost, an order more accurate.
        chunk: particles of displaced geometries evaluated in one call, at least one displacement;
            large calls leave a processor's cache.
    """

    step: float | None = None
    central: bool = False
    chunk: int = 4096

    def __call__(
        self, committee: Committee, loss: Loss, batch: Batch, delta: Delta
    ) -> tuple[Tensor, Delta]:
        moved = delta.apply(batch)
        said = committee(moved)
        losses = loss(said, moved).detach()
        step = self.step or self._step(said.forces.dtype)
        counts, d = moved.counts, moved.dimension
        first = counts.cumsum(0) - counts
        shifts = [(i, c) for i in range(int(counts.max())) for c in range(d)]
        strains = [] if delta.strain is None else [(a, b) for a in range(d) for b in range(a, d)]
        signs = (1.0, -1.0) if self.central else (1.0,)
        size = torch.where(
            batch.pbc.all(-1), torch.linalg.det(batch.cell).abs() ** (1 / d), 1.0
        )  # so that a strain moves particles by `step`, too
        tasks = [
            (kind, i, c, sign)
            for kind, pairs in (("shift", shifts), ("strain", strains))
            for i, c in pairs
            for sign in signs
        ]
        slope = Delta(
            torch.zeros_like(moved.positions),
            None if delta.strain is None else torch.zeros_like(delta.strain),
        )
        room = max(1, self.chunk // len(moved.positions))
        for k in range(0, len(tasks), room):
            part = tasks[k : k + room]
            positions, cells = [], []
            for kind, i, c, sign in part:
                shift, strain = (
                    delta.shift.clone(),
                    None if delta.strain is None else delta.strain.clone(),
                )
                if kind == "shift":
                    shift[first[counts > i] + i, c] += sign * step
                else:
                    strain[:, i, c] += sign * step / size
                    strain[:, c, i] = strain[:, i, c]
                there = Delta(shift, strain).apply(batch)
                positions.append(there.positions)
                cells.append(there.cell)
            many = moved.repeat(len(part)).at(torch.cat(positions), torch.cat(cells))
            values = loss(committee(many), many).detach().view(len(part), len(moved))
            for j, (kind, i, c, sign) in enumerate(part):
                rise = sign * values[j] / 2 if self.central else values[j] - losses
                if kind == "shift":
                    has = counts > i
                    slope.shift[first[has] + i, c] += rise[has] / step
                else:
                    share = rise * size / step / (1 if i == c else 2)
                    slope.strain[:, i, c] += share
                    if i != c:
                        slope.strain[:, c, i] += share
        return losses, slope

    def _step(self, dtype: torch.dtype) -> float:
        if dtype == torch.float64:
            return 1e-4 if self.central else 1e-6
        return 1e-2 if self.central else 3e-3
