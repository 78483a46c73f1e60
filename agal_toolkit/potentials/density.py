"""Energies of atoms for molecules, liquids and crystals: members over one atomic density.

Around each atom the neighbours of each element make a density, expanded in radial functions and
spherical harmonics. That is most of the arithmetic, and it does not depend on the member: where all
members see the same positions it is computed once for all of them. A member mixes the expansion's
channels with weights of its own, forms invariants, and maps these to an energy. Slopes follow by
the chain rule: a member's slopes in the density are summed over radial functions for each pair, and
then over harmonics. The density's own slopes of all pairs, the largest arrays, are never formed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from ..batch import Batch
from .elements import Elements
from .neighbours import Pairs, envelope, nan_where_invalid, neighbours
from .protocol import SlopedEnergy

DEGREES = (0, 1, 1, 1, 2, 2, 2, 2, 2)  # l of each of the nine harmonics up to l = 2


def _forms() -> Tensor:
    """Return symmetric forms F (9, 4, 4) of real harmonics, Y(u) = w F w with w = (1, x, y, z).

    Each has a mean square of one over the sphere.
    """
    a, b, c = math.sqrt(3.0) / 2, math.sqrt(15.0) / 2, math.sqrt(5.0) / 2
    forms = torch.zeros(9, 4, 4, dtype=torch.float64, device="cpu")
    forms[0, 0, 0] = 1.0
    for lm, i, j, value in (
        *((1, 0, 1, a), (2, 0, 2, a), (3, 0, 3, a), (4, 1, 2, b), (5, 2, 3, b), (7, 1, 3, b)),
        *((6, 1, 1, -c), (6, 2, 2, -c), (6, 3, 3, 2 * c), (8, 1, 1, b), (8, 2, 2, -b)),
    ):
        forms[lm, i, j] = forms[lm, j, i] = value
    return forms


# Harmonics (9, 10) over the different products w_i w_j, and these products' factors (4, 10);
# slopes of the harmonics in the components of u (9, 3, 4) over w
_I, _J = torch.triu_indices(4, 4, device="cpu")
FACTORS = tuple(torch.eye(4, dtype=torch.float64, device="cpu")[:, k] for k in (_I, _J))
HARMONICS = _forms()[:, _I, _J] * torch.where(_I == _J, 1.0, 2.0)
SLOPES = 2 * _forms()[:, 1:]


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
        self.keywords = {"elements": self.elements.numbers, "radial": radial, "channels": channels}
        self.keywords |= {"hidden": hidden, "layers": layers, "cutoff": self.cutoff}
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
        seen, A, vectors, r, u, groups = self._expansion(batch, kinds, pairs)
        # The members' part, with its slope in A by a reverse pass
        recording = torch.is_grad_enabled()
        with torch.enable_grad():
            A = A.expand(len(self.mix), *A.shape[1:])
            A = A if recording and A.requires_grad else A.detach().requires_grad_()
            atoms = self._atoms(A, kinds)
            (dE_dA,) = torch.autograd.grad(atoms.sum(), A, create_graph=recording)
        if not recording:
            atoms, dE_dA = atoms.detach(), dE_dA.detach()
        energies = batch.sum(atoms + nan_where_invalid(seen).to(atoms.dtype))
        # The chain rule through the pairs' vectors; sums over pairs have members in the columns
        dE_dv = self._pair_slopes(dE_dA, r, u, groups).to(vectors.dtype)
        (copies, _, columns, d), members = dE_dv.shape, len(dE_dA)
        rows = dE_dv.transpose(0, 1).flatten(1)
        dE_dx = rows.new_zeros(len(kinds), members * d).index_add(0, pairs.second, rows)
        dE_dx = dE_dx.index_add(0, pairs.first, -rows).view(-1, members, d).transpose(0, 1)
        if not batch.pbc.any():
            return energies, dE_dx, None
        if len(batch) == 1:
            virials = vectors.mT @ dE_dv.flatten(2)  # (L, d, M / L d)
        else:
            rows = vectors.unsqueeze(-1) @ dE_dv.flatten(2).unsqueeze(-2)  # (L, P, d, M / L d)
            rows = rows.transpose(0, 1).flatten(1)
            virials = rows.new_zeros(len(batch), rows.shape[1])
            virials = virials.index_add(0, batch.owner[pairs.first], rows)
        virials = virials.view(-1, copies, d, columns, d).permute(1, 3, 0, 2, 4).flatten(0, 1)
        return energies, dE_dx, virials

    def _expansion(
        self, batch: Batch, kinds: Tensor, pairs: Pairs
    ) -> tuple[Batch, Tensor, Tensor, Tensor, Tensor, list[_PaddedNeighbours]]:
        """Return A (L, 9, N, S n) and what its slopes need; L = 1 where members see the same."""
        # L = 1 where all members see the same positions and cell, L = M where they do not
        cell = batch.cell if batch.cell.ndim == 3 else batch.cell[:1]
        same_cell = batch.cell.ndim == 3 or batch.cell.stride(0) == 0
        shared = batch.positions.stride(0) == 0 and same_cell
        seen = batch.at(batch.positions[:1], cell) if shared else batch
        vectors = pairs.vectors(seen)
        lengths = pairs.distances(vectors, seen)
        r, u = lengths.unsqueeze(-1), vectors / lengths.unsqueeze(-1)
        r, u = r.to(self.mix.dtype), u.to(self.mix.dtype)
        # Padding points at one more pair, at the cutoff: its radial functions are zero
        radial = self._radial(pad(r, (0, 0, 0, 1), value=self.cutoff))
        towards = pad(u, (0, 0, 0, 1))
        products = _products(torch.cat([towards, -towards], 1))
        groups = [
            _PaddedNeighbours.of(*places, radial, products)
            for places in _padded(pairs, kinds, len(self.elements))
        ]
        A = u.new_zeros(len(u), len(kinds) * len(self.elements), self.radial, products.shape[-1])
        for group in groups:
            A = A.index_copy(1, group.rows, group.R.mT @ group.products)
        A = A.view(len(u), len(kinds), -1, A.shape[-1]) @ HARMONICS.to(A).mT
        return seen, A.permute(0, 3, 1, 2), vectors, r, u, groups

    def _radial(self, r: Tensor) -> Tensor:
        """Return R_n and dR_n / dr (L, P, 2 n) at the distances `r` (L, P, 1)."""
        f, f_slope = envelope(r / self.cutoff)
        n = torch.arange(1, self.radial + 1, dtype=r.dtype, device=r.device)
        k, norm = n * (math.pi / self.cutoff), math.sqrt(2 / self.cutoff)
        height = norm * f / r
        slope = (norm / self.cutoff * f_slope - height) / r
        phase = r * k
        wave = torch.sin(phase)
        return torch.cat([wave * height, wave * slope + torch.cos(phase) * (k * height)], -1)

    def _pair_slopes(
        self, dE_dA: Tensor, r: Tensor, u: Tensor, groups: Sequence[_PaddedNeighbours]
    ) -> Tensor:
        """Return dE/dv (L, P, M / L, 3), with the pairs' vectors v = `r` `u`.

        With G = dE/dA of an atom, a neighbour contributes b u + (t - (t . u) u) / r, where
        b = sum_{n, lm} G dR_n/dr Y_lm and t = sum_{n, lm} G R_n dY_lm/du.
        """
        (copies, count, _), n = u.shape, self.radial
        # G (L, N S, n, M / L, 9), then over the products of components and over the slopes' terms
        G = dE_dA.unflatten(-1, (-1, n)).unflatten(0, (copies, -1))
        G = G.permute(0, 3, 4, 5, 1, 2).flatten(1, 2).contiguous()
        in_products, in_slopes = (G @ x.to(G).flatten(1) for x in (HARMONICS, SLOPES))
        ends = [G.new_zeros(copies, 0, G.shape[-2], 4)]
        ends += [group.slopes(in_products, in_slopes) for group in groups]
        ends = torch.cat(ends, 1)
        # t and b of the two atoms of each pair
        entry = torch.cat([r.new_zeros(0, dtype=torch.int64), *(g.entry.flatten() for g in groups)])
        place = entry.new_zeros(2 * count + 2)
        place = place.index_copy(0, entry, torch.arange(len(entry), device=entry.device))
        of_first = ends.index_select(1, place[:count])
        of_second = ends.index_select(1, place[count + 1 : -1])
        b = of_first[..., 3:] + of_second[..., 3:]
        t = (of_first[..., :3] - of_second[..., :3]) / r.unsqueeze(-2)
        return t + (b - t @ u.unsqueeze(-1)) * u.unsqueeze(-2)

    def _atoms(self, A: Tensor, kinds: Tensor) -> Tensor:
        """Return the energies (M, N) of atoms from their densities A (M, 9, N, S n)."""
        energies = A.new_zeros(len(A), len(kinds))
        for z in range(len(self.elements)):
            chosen = torch.nonzero(kinds == z).flatten()
            if not len(chosen):
                continue
            mix = self.mix[:, z].index_select(1, self.degrees)
            B = A.index_select(2, chosen) @ mix  # (M, 9, atoms, channels)
            squares = B.square().split((1, 3, 5), 1)
            p = torch.cat([B[:, :1], *(s.sum(1, keepdim=True) for s in squares)], 1)
            p = p.transpose(1, 2).flatten(2)
            x = silu(torch.baddbmm(self.first_bias[:, z], p, self.first[:, z]))
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
    """The neighbours of one element, in rows of one for each atom, padded to the same number K.

    Sums over neighbours become products of matrices. A row's number is its atom's times the number
    of elements, plus that of the neighbours' element.
    """

    rows: Tensor  # (rows,) their numbers
    entry: Tensor  # (rows, K) see _padded
    R: Tensor  # (L, rows, K, n) radial functions, zero in the padding
    R_slope: Tensor  # (L, rows, K, n) their slopes
    products: Tensor  # (L, rows, K, 10) of the components of the direction to the neighbour

    @classmethod
    def of(cls, rows: Tensor, entry: Tensor, radial: Tensor, products: Tensor) -> _PaddedNeighbours:
        """Pick from `radial` (L, P + 1, 2 n) and `products` (L, 2 P + 2, 10) of the pairs."""
        flat, pairs = entry.flatten(), radial.shape[1]
        pair = torch.where(flat < pairs, flat, flat - pairs)
        R, R_slope = radial.index_select(1, pair).unflatten(1, entry.shape).chunk(2, -1)
        return cls(
            rows, entry, R, R_slope, products.index_select(1, flat).unflatten(1, entry.shape)
        )

    def slopes(self, in_products: Tensor, in_slopes: Tensor) -> Tensor:
        """Return t and b (L, rows K, M / L, 4) of :meth:`DensityNet._pair_slopes`."""
        t = self.R @ in_slopes.index_select(1, self.rows).flatten(-2)
        t = t.unflatten(-1, (-1, 4)) @ self.products[..., :4, None]
        b = self.R_slope @ in_products.index_select(1, self.rows).flatten(-2)
        b = b.unflatten(-1, (-1, self.products.shape[-1])) @ self.products.unsqueeze(-1)
        return torch.cat([t.unflatten(-2, (-1, 3)).squeeze(-1), b], -1).flatten(1, 2)


def _padded(pairs: Pairs, kinds: Tensor, elements: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield numbers (rows,) and entries (rows, K) of rows that have neighbours.

    An entry is p where the atom is the first of pair p of P, P + 1 + p where it is the second, and
    P in the padding. Rows with at most half as many neighbours are apart where they would be mostly
    padding, so that a crystal's atoms do not pad those of a thousand molecules.
    """
    P = len(pairs)
    centre, other = (
        torch.cat(i) for i in ((pairs.first, pairs.second), (pairs.second, pairs.first))
    )
    row = centre * elements + kinds[other]
    counts = torch.bincount(row, minlength=len(kinds) * elements)
    starts, order = counts.cumsum(0) - counts, _order(row, len(counts))
    order = pad(torch.where(order < P, order, order + 1), (0, 1), value=P)
    rows_of = counts.bincount().tolist()  # how many rows have 0, 1, 2, ... neighbours
    while most := max((k for k in range(len(rows_of)) if rows_of[k]), default=0):
        wasteful = sum(rows_of[1:]) * most > 1.5 * sum(k * n for k, n in enumerate(rows_of))
        least = most // 2 if wasteful else 0
        rows = torch.nonzero((counts > least) & (counts <= most)).flatten()
        column = torch.arange(most, device=row.device)
        inside = column < counts[rows, None]
        yield rows, order[torch.where(inside, starts[rows, None] + column, 2 * P)]
        rows_of = rows_of[: least + 1]


def _order(row: Tensor, count: int) -> Tensor:
    """Return the stable order of `row`, integers below `count`."""
    if row.device.type == "cpu" and count <= 2**16:  # numpy sorts 16 bits by radix, much faster
        return torch.from_numpy(row.numpy().astype(np.uint16).argsort(kind="stable"))
    return row.argsort(stable=True)


def _products(u: Tensor) -> Tensor:
    """Return the different products (..., 10) of two of w = (1, x, y, z); the first four are w."""
    w = torch.cat([torch.ones_like(u[..., :1]), u], -1)
    left, right = (w @ factor.to(w) for factor in FACTORS)
    return left * right
