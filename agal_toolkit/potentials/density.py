"""Energies of atoms for molecules, liquids and crystals: members over one atomic density.

Around each atom the neighbours of each element make a density, expanded in radial functions and
spherical harmonics. That is most of the arithmetic, and it does not depend on the member: where all
members see the same positions it is computed once for all of them. A member mixes the expansion's
channels with weights of its own, forms invariants, and maps these to an energy. Slopes follow by
the chain rule: the members' slopes in the density, times the density's in each pair's vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from ..batch import Batch
from .elements import Elements
from .neighbours import Pairs, envelope, nan_where_invalid, neighbours
from .protocol import SlopedEnergy

DEGREES = (0, 1, 1, 1, 2, 2, 2, 2, 2)  # l of each of the nine harmonics up to l = 2


class DensityNet(SlopedEnergy):
    """Energies from invariants of smooth atomic densities, M members side by side.

    With R_n(r) = sqrt(2 / c) sin(n pi r / c) / r times the envelope of :mod:`.envelope` that ends
    at the cutoff c, and real spherical harmonics Y_lm,

        A_i[s, n, lm] = sum over neighbours j of element s of R_n(r_ij) Y_lm(r_ij),
        B_i[c, lm] = sum_{s, n} W_l[c, s, n] A_i[s, n, lm],
        p_i = (B_i[c, 00], sum_m B_i[c, lm]^2 for l = 0, 1, 2),

    and an atom's energy is a residual network of p_i, one for each element. Energies of isolated
    atoms are not part of it: give :class:`~agal_toolkit.potentials.Stacked` a baseline, or let the
    trainer fit one.

    Args:
        elements: atomic numbers or symbols that the network knows.
        seeds: one integer for each member; a member's weights depend on its seed alone.
        radial: number of functions of the distance.
        channels: mixtures that a member makes of elements and radial functions.
        hidden: width of the networks of the energy.
        layers: residual layers of these.
        cutoff: angstrom.
        dtype: precision of the network; distances are formed in that of the positions.

    Raises:
        ValueError: no elements, an element named twice, sizes too small.
    """

    degrees: Tensor

    def __init__(
        self,
        elements: Sequence[int | str],
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
            sizes = f"radial={radial}, channels={channels} and hidden={hidden} must be at least 1"
            raise ValueError(f"{sizes}, layers={layers} not negative, cutoff={cutoff} positive")
        self.elements, self.cutoff = Elements(elements, "DensityNet"), float(cutoff)
        self.radial, self.channels = radial, channels
        self.register_buffer("degrees", torch.tensor(DEGREES, device="cpu"), persistent=False)
        kinds, members = len(self.elements), len(seeds)
        generators = [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]
        single: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}

        def normal(*shape: int, scale: float) -> nn.Parameter:
            values = torch.stack([torch.randn(*shape, generator=g, **single) for g in generators])
            return nn.Parameter(values.to(dtype) * scale)

        def zeros() -> nn.Parameter:
            return nn.Parameter(torch.zeros(members, kinds, 1, hidden, dtype=dtype, device="cpu"))

        self.mix = normal(kinds, 3, kinds * radial, channels, scale=1 / math.sqrt(kinds * radial))
        self.first = normal(kinds, 4 * channels, hidden, scale=1 / math.sqrt(4 * channels))
        self.first_bias = zeros()
        scale = 1 / math.sqrt(hidden)
        inner = [normal(kinds, hidden, hidden, scale=scale) for _ in range(layers)]
        self.inner = nn.ParameterList(inner)
        self.inner_bias = nn.ParameterList([zeros() for _ in range(layers)])
        self.last = normal(kinds, hidden, 1, scale=scale)

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (M, B), eV, of positions (M, N, d), or (N, d) if members see the same."""
        positions = batch.positions.expand(len(self.mix), *batch.positions.shape[-2:])
        batch = replace(batch, positions=positions)
        kinds, pairs = self.elements(batch.numbers), neighbours(batch, self.cutoff)
        seen, A, *_ = self._expansion(batch, kinds, pairs)
        atoms = self._atoms(A.expand(len(self.mix), *A.shape[1:]), kinds)
        return batch.sum(atoms + nan_where_invalid(seen).to(atoms.dtype))

    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return energies (M, B), dE/dx (M, N, d) and dE/d strain (M, B, d, d).

        They are twice differentiable where gradients are recorded.
        """
        kinds, pairs = self.elements(batch.numbers), neighbours(batch, self.cutoff)
        seen, A, parity, vectors, lengths, term_slopes = self._expansion(batch, kinds, pairs)
        # The members' part, with its slope in A by a reverse pass
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            A = A.expand(len(self.mix), *A.shape[1:])
            A = A if recording and A.requires_grad else A.detach().requires_grad_()
            atoms = self._atoms(A, kinds)
            (dE_dA,) = torch.autograd.grad(atoms.sum(), A, create_graph=recording)
        if not recording:
            atoms, dE_dA = atoms.detach(), dE_dA.detach()
        # The chain rule through the pairs' vectors, for the neighbours of one element at a time
        filler = lengths.isfinite().all(0).int().argmax() if lengths.numel() else 0
        dE_dx = vectors.new_zeros(len(dE_dA), *batch.positions.shape[-2:])
        dE_dstrain = vectors.new_zeros(len(dE_dA), len(batch), *batch.cell.shape[-2:])
        for z in range(len(self.elements)):
            for padded in _PaddedNeighbours.groups(pairs, kinds == z, filler):
                own = dE_dA[:, padded.atom, z]
                dE_dv = padded.slopes(own, parity, term_slopes).to(vectors.dtype)
                dE_dx = dE_dx.index_add(-2, padded.atom, dE_dv.sum(2), alpha=-1)
                dE_dx = dE_dx.index_add(-2, padded.other.flatten(), dE_dv.flatten(1, 2))
                if batch.pbc.any():
                    virials = padded.vectors(vectors).mT @ dE_dv
                    dE_dstrain = dE_dstrain.index_add(1, batch.owner[padded.atom], virials)
        energies = batch.sum(atoms + nan_where_invalid(seen).to(atoms.dtype))
        return energies, dE_dx, dE_dstrain if batch.pbc.any() else None

    def _expansion(
        self, batch: Batch, kinds: Tensor, pairs: Pairs
    ) -> tuple[Batch, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return A (L, N, S, n, 9) and what its slopes need; L = 1 where members see the same."""
        # L = 1 where all members see the same positions and cell, L = M where they do not
        cell = batch.cell if batch.cell.ndim == 3 else batch.cell[:1]
        same_cell = batch.cell.ndim == 3 or batch.cell.stride(0) == 0
        shared = batch.positions.stride(0) == 0 and same_cell
        seen = batch.at(batch.positions[:1], cell) if shared else batch
        vectors = pairs.vectors(seen)
        lengths = pairs.distances(vectors, seen)
        dtype = self.mix.dtype
        directions = (vectors / lengths.unsqueeze(-1)).to(dtype)
        terms, term_slopes = self._pair_terms(directions, lengths.to(dtype))
        parity = 1 - 2 * (self.degrees % 2).to(dtype)
        A = self._density(terms, parity, kinds, pairs)
        return seen, A, parity, vectors, lengths, term_slopes

    def _pair_terms(self, u: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return R_n(r) Y_lm(u) (L, P, n, 9) and its slopes in the pair's vector r u.

        The slopes are (L, P, 3, n, 9); `u` (L, P, 3) are unit vectors.
        """
        s = r / self.cutoff
        f, f_slope = envelope(s)
        f_slope = f_slope / self.cutoff
        frequencies = torch.arange(1, self.radial + 1, dtype=r.dtype, device=r.device)
        k = frequencies * (math.pi / self.cutoff)
        phase, inverse, norm = r.unsqueeze(-1) * k, 1 / r.unsqueeze(-1), math.sqrt(2 / self.cutoff)
        wave = norm * torch.sin(phase) * inverse
        wave_slope = norm * k * torch.cos(phase) * inverse - wave * inverse
        R = wave * f.unsqueeze(-1)
        R_slope = wave_slope * f.unsqueeze(-1) + wave * f_slope.unsqueeze(-1)
        Y, Y_slopes = _harmonics(u)
        # on the sphere: slopes of the polynomials without their part along the pair's vector
        across = Y_slopes.mT - u.unsqueeze(-1) * (Y_slopes @ u.unsqueeze(-1)).mT  # (L, P, 3, 9)
        terms = R.unsqueeze(-1) * Y.unsqueeze(-2)
        radial = (R_slope.unsqueeze(-1) * Y.unsqueeze(-2)).unsqueeze(-3)
        radial = radial * u[..., None, None]
        angular = (R * inverse)[..., None, :, None] * across.unsqueeze(-2)
        return terms, radial + angular

    def _density(self, terms: Tensor, parity: Tensor, kinds: Tensor, pairs: Pairs) -> Tensor:
        """Return A (L, N, S, n, 9); each pair counts for both of its atoms."""
        elements, first, second = len(self.elements), pairs.first, pairs.second
        A = terms.new_zeros(len(terms), len(kinds) * elements, *terms.shape[2:])
        A = A.index_add(1, first * elements + kinds[second], terms)
        A = A.index_add(1, second * elements + kinds[first], terms * parity)
        return A.view(len(terms), len(kinds), elements, *terms.shape[2:])

    def _atoms(self, A: Tensor, kinds: Tensor) -> Tensor:
        members, atoms = A.shape[:2]
        energies = A.new_zeros(members, atoms)
        channels = A.flatten(2, 3)  # (M, N, S n, 9)
        for z in range(len(self.elements)):
            chosen = torch.nonzero(kinds == z).flatten()
            if not len(chosen):
                continue
            of_element = channels[:, chosen]
            p = []
            for degree in range(3):
                m = torch.nonzero(self.degrees.eq(degree)).flatten()
                B = torch.einsum("mask,msc->mack", of_element[..., m], self.mix[:, z, degree])
                if degree == 0:
                    p.append(B.squeeze(-1))
                p.append(B.square().sum(-1))
            x = silu(torch.baddbmm(self.first_bias[:, z], torch.cat(p, -1), self.first[:, z]))
            for weight, bias in zip(self.inner, self.inner_bias, strict=True):
                x = x + silu(torch.baddbmm(bias[:, z], x, weight[:, z]))
            energy = torch.bmm(x, self.last[:, z]).squeeze(-1)
            energies = energies.index_copy(1, chosen, energy)
        return energies

    def __repr__(self) -> str:
        return (
            f"DensityNet({self.elements}; {self.radial} radial functions, {self.channels} channels,"
            f" {len(self.inner)} layers of {self.last.shape[-2]}, {self.cutoff:g} A)"
        )


@dataclass(frozen=True)
class _PaddedNeighbours:
    """The neighbours of one element of each of N atoms, padded to the same number K.

    Sums over pairs become products of matrices: as rows for each pair, the slopes of all members
    would be by far the largest arrays. Padding points at a pair of finite length: 0 * NaN is NaN.
    """

    atom: Tensor  # (N,) index of the atom in the batch
    pair: Tensor  # (N, K) index of the pair
    other: Tensor  # (N, K) index of the neighbour
    reversed: Tensor  # (N, K) True where the atom is the second of its pair
    mask: Tensor  # (N, K) False where the entry is padding

    @classmethod
    def groups(
        cls, pairs: Pairs, chosen: Tensor, filler: Tensor | int
    ) -> Iterator[_PaddedNeighbours]:
        """Yield the atoms that have `chosen` (N,) neighbours; padding points at pair `filler`.

        They are one group, unless few atoms have many neighbours: atoms with at most half as many
        are then apart, so that a crystal's do not pad those of a thousand molecules.
        """
        first, second = pairs.first, pairs.second
        centre, other = torch.cat([first, second]), torch.cat([second, first])
        entries = torch.nonzero(chosen[other]).flatten()
        entries = entries[torch.argsort(centre[entries], stable=True)]
        row = centre[entries]
        counts = torch.bincount(row, minlength=len(chosen))
        column = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        atoms = counts.bincount().tolist()  # how many atoms have 0, 1, 2, ... neighbours
        while most := max((k for k in range(len(atoms)) if atoms[k]), default=0):
            wasteful = sum(atoms[1:]) * most > 3 * sum(k * n for k, n in enumerate(atoms))
            least = most // 2 if wasteful else 0
            inside = (counts > least) & (counts <= most)
            atom, here = torch.nonzero(inside).flatten(), inside[row]
            place = (inside.cumsum(0) - 1)[row[here]], column[here]
            entry, zeros = entries[here], row.new_zeros(len(atom), most)
            yield cls(
                atom=atom,
                pair=(zeros + filler).index_put(place, entry % len(first)),
                other=zeros.index_put(place, other[entry]),
                reversed=zeros.index_put(place, entry // len(first)).bool(),
                mask=zeros.index_put(place, torch.ones_like(entry)).bool(),
            )
            atoms = atoms[: least + 1]

    def vectors(self, vectors: Tensor) -> Tensor:
        """Return vectors (L, N, K, d) to the neighbours from the pairs' (L, P, d); padding too."""
        picked = vectors[:, self.pair.flatten()].unflatten(1, self.pair.shape)
        return torch.where(self.reversed[..., None], -picked, picked)

    def slopes(self, dE_dA: Tensor, parity: Tensor, term_slopes: Tensor) -> Tensor:
        """Return the slopes (M, N, K, d) of energies in the vectors to neighbours; padding is zero.

        Seen from the second atom of a pair, its vector and harmonics of odd l change their signs:
        both views are computed, and each entry takes its own.

        Args:
            dE_dA: (M, N, n, 9), of the neighbours' element.
            parity: (9,), 1 or -1 where l is odd.
            term_slopes: (L, P, d, n, 9), slopes of the pairs' terms in A in the pair's vector.
        """
        # NaN of one atom times the zeros of its padding would reach the filler pair backward
        finite = dE_dA.isfinite().all(-1).all(-1)[..., None, None]
        if not finite.all():
            slopes = self.slopes(torch.where(finite, dE_dA, 0.0), parity, term_slopes)
            return torch.where(finite | ~self.mask[..., None], slopes, torch.nan)
        (atoms, most), copies = self.pair.shape, len(term_slopes)
        views = torch.stack([dE_dA, -dE_dA * parity], 2).flatten(3)  # (M, N, 2, 9 n)
        picked = term_slopes.flatten(3).index_select(1, self.pair.flatten())
        picked = picked.view(copies, atoms, -1, views.shape[-1])  # (L, N, K d, 9 n)
        if copies == 1:  # one product for all members
            products = torch.bmm(views.permute(1, 2, 0, 3).flatten(1, 2), picked[0].mT)
            products = products.view(atoms, 2, len(views), -1).permute(2, 0, 1, 3)
        else:
            products = views @ picked.mT
        forward, backward = products.unflatten(3, (most, -1)).unbind(2)
        slopes = torch.where(self.reversed[..., None], backward, forward)
        return torch.where(self.mask[..., None], slopes, 0.0)


def _harmonics(u: Tensor) -> tuple[Tensor, Tensor]:
    """Return real harmonics up to l = 2 of unit vectors (..., 3), and slopes of their polynomials.

    They are (..., 9), each with a mean square of one over the sphere, and (..., 9, 3).
    """
    x, y, z = u.unbind(-1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    a, b = math.sqrt(3.0), math.sqrt(15.0)
    c, d = math.sqrt(5.0) / 2, math.sqrt(15.0) / 2
    values = [
        *(one, a * x, a * y, a * z, b * x * y, b * y * z),
        *(c * (2 * z * z - x * x - y * y), b * x * z, d * (x * x - y * y)),
    ]
    values = torch.stack(values, -1)
    slopes = [
        (zero, zero, zero),
        (a * one, zero, zero),
        (zero, a * one, zero),
        (zero, zero, a * one),
        (b * y, b * x, zero),
        (zero, b * z, b * y),
        (-2 * c * x, -2 * c * y, 4 * c * z),
        (b * z, zero, b * x),
        (2 * d * x, -2 * d * y, zero),
    ]
    flat = torch.stack([component for slope in slopes for component in slope], -1)
    return values, flat.unflatten(-1, (9, 3))
