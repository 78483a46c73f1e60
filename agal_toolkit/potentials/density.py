"""A light committee for condensed phases: members over one atomic density.

Around each atom the neighbours of each element make a density, expanded in radial functions and
spherical harmonics. That is
most of the arithmetic, and it knows nothing of members: where they see the same positions it is
computed once for all of them. A member mixes the expansion's channels with weights of its own,
forms invariants, and maps these to an energy. Slopes follow by the chain rule, from the members'
slopes in the density and the density's in each pair's vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ..batch import Batch
from .elements import Elements
from .neighbours import nan_where_invalid, neighbours
from .protocol import SlopedEnergy

DEGREES = (0, 1, 1, 1, 2, 2, 2, 2, 2)  # l of each of the nine harmonics up to l = 2


class DensityNet(SlopedEnergy):
    """Energies of molecules, liquids and crystals from invariants of smooth atomic densities, M
    members side by side.

    With R_n(r) = sqrt(2 / c) sin(n pi r / c) / r times an envelope that is twice continuously
    differentiable at the cutoff c, and real spherical harmonics Y_lm,

        A_i[s, n, lm] = sum over neighbours j of element s of R_n(r_ij) Y_lm(r_ij),
        B_i[c, lm] = sum_{s, n} W_l[c, s, n] A_i[s, n, lm],    p_i = (B_i[c, 00], sum_m B_i[c, lm]^2
        for l = 0, 1, 2),

    and an atom's energy is a residual network of p_i, one for each element. Energies of elements
    are no part of it: give :class:`~agal_toolkit.potentials.Stacked` a baseline, or let the trainer
    fit one.

    Args:
        elements: atomic numbers that the network knows.
        seeds: one integer for each member; a member's weights depend on its seed alone.
        radial: functions of the distance.
        channels: mixtures that a member makes of elements and radial functions.
        hidden: width of the networks of the energy.
        layers: residual layers of these.
        cutoff: angstrom.
        dtype: precision; distances are formed in that of the positions.

    Raises:
        ValueError: no elements, an element named twice, sizes too small.
    """

    def __init__(
        self,
        elements: Sequence[int],
        seeds: Sequence[int],
        *,
        radial: int = 12,
        channels: int = 16,
        hidden: int = 64,
        layers: int = 2,
        cutoff: float = 5.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if min(radial, channels, hidden) < 1 or layers < 0 or not cutoff > 0:
            raise ValueError(
                f"radial={radial}, channels={channels} and hidden={hidden} must be at least 1,"
                f" layers={layers} not negative, cutoff={cutoff} positive"
            )
        self.elements, self.cutoff, self.radial, self.channels = (
            Elements(elements, "DensityNet"),
            float(cutoff),
            radial,
            channels,
        )
        self.register_buffer("degrees", torch.tensor(DEGREES), persistent=False)
        kinds, members = len(self.elements), len(seeds)
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

        def normal(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(
                torch.stack(
                    [torch.randn(*shape, generator=generator) for generator in generators]
                ).to(dtype)
                * scale
            )

        self.mix = normal(kinds, 3, kinds * radial, channels, scale=1 / math.sqrt(kinds * radial))
        self.first = normal(kinds, 4 * channels, hidden, scale=1 / math.sqrt(4 * channels))
        self.first_bias = nn.Parameter(torch.zeros(members, kinds, 1, hidden, dtype=dtype))
        self.inner = nn.ParameterList(
            [normal(kinds, hidden, hidden, scale=1 / math.sqrt(hidden)) for _ in range(layers)]
        )
        self.inner_bias = nn.ParameterList(
            [
                nn.Parameter(torch.zeros(members, kinds, 1, hidden, dtype=dtype))
                for _ in range(layers)
            ]
        )
        self.last = normal(kinds, hidden, 1, scale=1 / math.sqrt(hidden))

    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energies (M, B), dE/dx (M, N, d) and dE/d strain (M, B, d, d), twice differentiable where
        gradients are recorded.
        """
        kinds, pairs = self.elements(batch.numbers), neighbours(batch, self.cutoff)
        shared = batch.positions.stride(0) == 0 and (
            batch.cell.ndim == 3 or batch.cell.stride(0) == 0
        )
        seen = (
            batch
            if not shared
            else batch.at(
                batch.positions[:1], batch.cell if batch.cell.ndim == 3 else batch.cell[:1]
            )
        )
        vectors = pairs.vectors(seen)
        lengths = pairs.distances(vectors, seen)
        dtype = self.mix.dtype
        values, bends = self._harmonics(
            (vectors / lengths.unsqueeze(-1)).to(dtype), lengths.to(dtype)
        )
        parity = 1 - 2 * (self.degrees % 2).to(dtype)
        density = self._density(values, parity, kinds, pairs.first, pairs.second)
        spare = (
            lengths.reshape(-1, lengths.shape[-1]).isfinite().all(0).int().argmax()
            if lengths.numel()
            else 0
        )
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            known = density.expand(len(self.mix), *density.shape[1:])
            known = (
                known if recording and density.requires_grad else known.detach().requires_grad_()
            )
            atoms = self._atoms(known, kinds)
            (owed,) = torch.autograd.grad(atoms.sum(), known, create_graph=recording)
        if not recording:
            atoms, owed = atoms.detach(), owed.detach()
        moved = torch.zeros(
            len(owed), *batch.positions.shape[-2:], dtype=vectors.dtype, device=vectors.device
        )
        strained = moved.new_zeros(len(owed), len(batch), *batch.cell.shape[-2:])
        for z in range(len(self.elements)):
            seats = _Seats.of(pairs.first, pairs.second, kinds == z, spare)
            if not seats.pair.numel():
                continue
            pulls = seats.pulls(owed[:, :, z], parity, bends).to(vectors.dtype)  # (M, N, K, d)
            moved = (moved - pulls.sum(2)).index_add(-2, seats.other.flatten(), pulls.flatten(1, 2))
            if batch.pbc.any():
                strained = strained.index_add(1, batch.owner, seats.vectors(vectors).mT @ pulls)
        return (
            batch.sum(atoms + nan_where_invalid(seen).to(atoms.dtype)),
            moved,
            strained if batch.pbc.any() else None,
        )

    def _harmonics(self, direction: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """R_n(r) Y_lm of pairs, (L, P, n, 9), and its slope in the pair's vector, (L, P, 3, n, 9)."""
        s = r / self.cutoff
        left = (1 - s).clamp(min=0)
        envelope, envelope_slope = (
            left**3 * (1 + 3 * s + 6 * s.square()),
            -30 * (s * left).square() / self.cutoff,
        )
        k = torch.arange(1, self.radial + 1, dtype=r.dtype, device=r.device) * (
            math.pi / self.cutoff
        )
        phase, inverse, size = r.unsqueeze(-1) * k, 1 / r.unsqueeze(-1), math.sqrt(2 / self.cutoff)
        wave = size * torch.sin(phase) * inverse
        wave_slope = size * k * torch.cos(phase) * inverse - wave * inverse
        radial = wave * envelope.unsqueeze(-1)
        radial_slope = wave_slope * envelope.unsqueeze(-1) + wave * envelope_slope.unsqueeze(-1)
        angular, turned = _spherical(direction)
        across = (
            turned.mT - direction.unsqueeze(-1) * (turned @ direction.unsqueeze(-1)).mT
        )  # (L, P, 3, 9), slopes on the sphere
        values = radial.unsqueeze(-1) * angular.unsqueeze(-2)
        along = (radial_slope.unsqueeze(-1) * angular.unsqueeze(-2)).unsqueeze(-3) * direction[
            ..., None, None
        ]
        return values, along + (radial * inverse)[..., None, :, None] * across.unsqueeze(-2)

    def _density(
        self, values: Tensor, parity: Tensor, kinds: Tensor, first: Tensor, second: Tensor
    ) -> Tensor:
        """(L, N, S, n, 9): both ends of each pair see the other."""
        elements = len(self.elements)
        flat = values.new_zeros(len(values), len(kinds) * elements, *values.shape[2:])
        flat = flat.index_add(1, first * elements + kinds[second], values).index_add(
            1, second * elements + kinds[first], values * parity
        )
        return flat.view(len(values), len(kinds), elements, *values.shape[2:])

    def _atoms(self, density: Tensor, kinds: Tensor) -> Tensor:
        """(M, N) energies of atoms."""
        members, atoms = density.shape[:2]
        energies = density.new_zeros(members, atoms)
        flat = density.flatten(2, 3)  # (M, N, S n, 9)
        for z in range(len(self.elements)):
            mine = torch.nonzero(kinds == z).flatten()
            if not len(mine):
                continue
            own = flat[:, mine]
            parts = []
            for degree in range(3):
                at = torch.nonzero(self.degrees == degree).flatten()
                mixed = torch.einsum("mask,msc->mack", own[..., at], self.mix[:, z, degree])
                if degree == 0:
                    parts.append(mixed.squeeze(-1))
                parts.append(mixed.square().sum(-1))
            x = silu(torch.baddbmm(self.first_bias[:, z], torch.cat(parts, -1), self.first[:, z]))
            for weight, bias in zip(self.inner, self.inner_bias, strict=True):
                x = x + silu(torch.baddbmm(bias[:, z], x, weight[:, z]))
            energies = energies.index_copy(1, mine, torch.bmm(x, self.last[:, z]).squeeze(-1))
        return energies

    def __repr__(self) -> str:
        return (
            f"DensityNet({self.elements}; {self.radial} radial functions, {self.channels} channels,"
            f" {len(self.inner)} layers of {self.last.shape[-2]}, {self.cutoff:g} A)"
        )


@dataclass(frozen=True)
class _Seats:
    """What each of N atoms sees of one element, in K seats, some empty: sums over pairs become
    products of matrices.

    Written pair by pair, the slopes of all members are by far the largest arrays, and moving them
    about takes most of a step.

    Attributes:
        pair: (N, K) who sits there: the pair (at empty seats any of finite length, or zero times
            what is no number would spread),
        other: (N, K) its other end,
        back: (N, K) whether the atom is the pair's second end, not its first,
        taken: (N, K) and whether anyone sits there at all.
    """

    pair: Tensor
    other: Tensor
    back: Tensor
    taken: Tensor

    @classmethod
    def of(cls, first: Tensor, second: Tensor, meant: Tensor, spare: Tensor | int) -> _Seats:
        """Seats for all pairs (P,) whose other end is one of the `meant` atoms (N,); empty ones
        name a `spare` pair, whose numbers are finite.
        """
        centre, other = torch.cat([first, second]), torch.cat([second, first])
        chosen = torch.nonzero(meant[other]).flatten()
        chosen = chosen[torch.argsort(centre[chosen], stable=True)]
        own, atoms = centre[chosen], len(meant)
        counts = torch.bincount(own, minlength=atoms)
        most = int(counts.max()) if len(own) else 0
        place = (own, torch.arange(len(own), device=own.device) - (counts.cumsum(0) - counts)[own])
        empty = torch.zeros(atoms, most, dtype=torch.int64, device=own.device)
        pair, there = (
            (empty + spare).index_put(place, chosen % len(first)),
            empty.index_put(place, other[chosen]),
        )
        return cls(
            pair,
            there,
            empty.index_put(place, chosen // len(first)).bool(),
            empty.index_put(place, torch.ones_like(own)).bool(),
        )

    def vectors(self, vectors: Tensor) -> Tensor:
        """(L, N, K, d) from each atom to whom it sees, of the pairs' (P, d) or (L, P, d); anything
        finite at empty seats.
        """
        picked = (vectors if vectors.ndim == 3 else vectors[None])[
            :, self.pair.flatten()
        ].unflatten(1, self.pair.shape)
        return torch.where(self.back[..., None], -picked, picked)

    def pulls(self, owed: Tensor, parity: Tensor, bends: Tensor) -> Tensor:
        """(M, N, K, d): slopes of members (M, N, n, 9) in the density times the density's in the
        vector to each seat, zero at empty ones.

        Seen from its second end a pair's vector, and harmonics of odd l, change their signs: both
        views are formed, and each seat takes its own.
        """
        views = torch.stack([owed, -owed * parity], 2).flatten(3)  # (M, N, 2, k)
        slopes = (
            bends.flatten(3)
            .index_select(1, self.pair.flatten())
            .view(len(bends), *self.pair.shape[:1], -1, views.shape[-1])
        )
        if len(bends) == 1:
            members = len(views)
            found = (
                torch.bmm(views.permute(1, 2, 0, 3).flatten(1, 2), slopes[0].mT)
                .view(len(self.pair), 2, members, -1)
                .permute(2, 0, 1, 3)
            )
        else:
            found = views @ slopes.mT
        ahead, behind = found.unflatten(3, (self.pair.shape[1], -1)).unbind(2)
        return torch.where(
            self.taken[..., None], torch.where(self.back[..., None], behind, ahead), 0.0
        )


def _spherical(u: Tensor) -> tuple[Tensor, Tensor]:
    """Real harmonics up to l = 2 of unit vectors (..., 3), each normalised to one on average: (...,
    9), and slopes of their polynomials, (..., 9, 3).
    """
    x, y, z = u.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    a, b = math.sqrt(3.0), math.sqrt(15.0)
    c, d = math.sqrt(5.0) / 2, math.sqrt(15.0) / 2
    values = torch.stack(
        [
            one,
            a * x,
            a * y,
            a * z,
            b * x * y,
            b * y * z,
            c * (2 * z * z - x * x - y * y),
            b * x * z,
            d * (x * x - y * y),
        ],
        -1,
    )
    slopes = torch.stack(
        [
            zero,
            zero,
            zero,
            a * one,
            zero,
            zero,
            zero,
            a * one,
            zero,
            zero,
            zero,
            a * one,
            b * y,
            b * x,
            zero,
            zero,
            b * z,
            b * y,
            -2 * c * x,
            -2 * c * y,
            4 * c * z,
            b * z,
            zero,
            b * x,
            2 * d * x,
            -2 * d * y,
            zero,
        ],
        -1,
    )
    return values, slopes.unflatten(-1, (9, 3))
