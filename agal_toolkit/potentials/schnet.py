"""SchNet, a network of atoms that exchange messages filtered by distance, M members side by side.

A filter depends on a distance alone, so each pair's is computed once and used in both directions;
dense layers are products batched over members. Here is the energy as the paper writes it, which
torch can differentiate; forces, and what trains and attacks them, take the written passes of
:mod:`.schnet_passes`; what no longer learns reads filters from :mod:`.schnet_tables`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..batch import Batch
from .elements import Elements
from .neighbours import nan_where_invalid, neighbours
from .protocol import SlopedEnergy
from .schnet_passes import Meeting, Slopes, evaluate, split
from .schnet_tables import FilterTable


class SchNet(SlopedEnergy):
    """Energies of molecules and crystals: continuous-filter convolutions (Schütt 2018, J. Chem.
    Phys. 148, 241722, Sec. II).

    Atoms start as the embedding of their element. In each interaction, with ssp(z) = ln(1 + e^z) -
    ln 2,

        x_i <- x_i + C ssp(B sum_j (A x_j) * W(r_ij) + b) + c,

    where the filter W(r) is made of two dense layers with ssp on trainable Gaussians exp(-(r -
    mu)^2 / 2 w^2), times an envelope; an atom's energy is a dense layer with ssp and a linear one.
    The envelope is ours: with s = r / cutoff it is 1 - 10 s^3 + 15 s^4 - 6 s^5, twice continuously
    differentiable at the cutoff. Each interaction has Gaussians of its own, evenly spaced at first,
    as wide as they are apart. Weights start Xavier-uniform, biases zero, embeddings normal.

    The defaults are those of Schwalbe-Koda 2021, A.2.2. Energies of elements are no part of it:
    give :class:`~agal_toolkit.potentials.Stacked` a baseline, or let the trainer fit one.

    Args:
        elements: atomic numbers that the network knows.
        seeds: one integer for each member; a member's weights depend on its seed alone, not on its
            neighbours.
        features: length of an atom's vector x.
        filters: length of a filter W, and of what is between its two layers.
        interactions: how often atoms exchange messages.
        gaussians: functions in which a filter's network sees a distance.
        cutoff: angstrom; pairs further apart do not see each other.
        dtype: precision in which the network computes; distances are formed in that of the
            positions.

    Raises:
        ValueError: no elements, an element named twice, sizes too small.
    """

    def __init__(
        self,
        elements: Sequence[int],
        seeds: Sequence[int],
        *,
        features: int = 256,
        filters: int = 256,
        interactions: int = 4,
        gaussians: int = 32,
        cutoff: float = 5.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if min(features, gaussians) < 2 or min(filters, interactions) < 1 or not cutoff > 0:
            raise ValueError(
                f"features={features} and gaussians={gaussians} must be at least 2,"
                f" filters={filters} and interactions={interactions} at least 1, cutoff={cutoff}"
                " positive"
            )
        self.elements, self.cutoff = Elements(elements, "SchNet"), float(cutoff)
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        normal = [
            torch.randn(len(self.elements), features, generator=generator)
            for generator in generators
        ]
        self.embedding = nn.Parameter(torch.stack(normal).to(dtype))
        self.interactions = nn.ModuleList(
            [
                Interaction(generators, features, filters, gaussians, cutoff, dtype)
                for _ in range(interactions)
            ]
        )
        self.inner, self.inner_bias = _dense(generators, features, features // 2, dtype)
        self.outer, self.outer_bias = _dense(generators, features // 2, 1, dtype)
        self._table: tuple[list[tuple[int, int]], FilterTable | None, list[Tensor]] | None = None

    def forward(self, batch: Batch) -> Tensor:
        """(M, B) in eV from positions (M, N, d), or from (N, d) where members see the same.

        Raises:
            ValueError: an element that the network does not know, particles at the same place.
        """
        kinds, pairs = self.elements(batch.numbers), neighbours(batch, self.cutoff)
        distances = pairs.distances(pairs.vectors(batch), batch).to(self.embedding.dtype)
        envelope = _envelope(distances / self.cutoff).unsqueeze(-1)
        features = self.embedding.index_select(1, kinds)
        for block in self.interactions:
            filters = envelope * block.filters(distances)
            messages = _convolve(
                torch.bmm(features, block.send), filters, pairs.first, pairs.second
            )
            features = features + torch.baddbmm(
                block.update_bias,
                _ssp(torch.baddbmm(block.receive_bias, messages, block.receive)),
                block.update,
            )
        energy = torch.baddbmm(
            self.outer_bias, _ssp(torch.baddbmm(self.inner_bias, features, self.inner)), self.outer
        )
        return batch.sum(energy.squeeze(-1) + nan_where_invalid(batch).to(energy.dtype))

    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energies and their slopes from one pass up the network and one down, with a written
        derivative.
        """
        kinds, pairs = self.elements(batch.numbers), neighbours(batch, self.cutoff)
        vectors = pairs.vectors(batch)
        lengths = pairs.distances(vectors, batch)
        distances = lengths.to(self.embedding.dtype)
        meeting = Meeting(pairs.first, pairs.second, len(kinds), len(distances))
        if torch.is_grad_enabled():
            atoms, slopes = Slopes.apply(distances, self.cutoff, kinds, meeting, *self._ordered())
        else:
            atoms, slopes, _ = evaluate(
                distances,
                self.cutoff,
                kinds,
                meeting,
                self._ordered(),
                keep=False,
                table=self._frozen_filters(),
            )
        atoms = atoms + nan_where_invalid(batch).to(atoms.dtype)
        pulls = vectors * (slopes / lengths).unsqueeze(-1)
        moved = (
            torch.zeros_like(batch.positions)
            .index_add(-2, pairs.second, pulls)
            .index_add(-2, pairs.first, pulls, alpha=-1)
        )
        if not batch.pbc.any():
            return batch.sum(atoms), moved, None
        strained = pulls.new_zeros(len(pulls), len(batch), *batch.cell.shape[-2:])
        return (
            batch.sum(atoms),
            moved,
            strained.index_add(
                1, batch.owner[pairs.first], vectors.unsqueeze(-1) * pulls.unsqueeze(-2)
            ),
        )

    def _frozen_filters(self) -> FilterTable | None:
        """A table of the filters if none of the weights learns any more and one agrees with them;
        float64 is for those who want the network itself.
        """
        weights = [p for block in self.interactions for p in block.parameters()]
        if self.embedding.dtype != torch.float32 or any(
            p.requires_grad or p.is_inference() for p in weights
        ):  # torch counts no changes of inference tensors
            return None
        made_of = [(p.data_ptr(), p._version) for p in weights]
        if self._table is None or self._table[0] != made_of:
            table = FilterTable(split(self._ordered())[1], self.cutoff)
            self._table = (
                made_of,
                table if table.agrees else None,
                [p.detach() for p in weights],
            )  # held, so that no other weights get their place
        return self._table[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies make a table of their own."""
        return {**self.__dict__, "_table": None}

    def _ordered(self) -> list[Tensor]:
        """The parameters in the order of :class:`Slopes`, which is that of their definition."""
        return [
            self.embedding,
            *(p for block in self.interactions for p in block.parameters()),
            self.inner,
            self.inner_bias,
            self.outer,
            self.outer_bias,
        ]

    def __repr__(self) -> str:
        first = self.interactions[0]
        return (
            f"SchNet({self.elements}; {len(self.interactions)} interactions,"
            f" {self.embedding.shape[-1]} features, {first.send.shape[-1]} filters,"
            f" {first.centres.shape[-1]} Gaussians, {self.cutoff:g} A)"
        )


class Interaction(nn.Module):
    """The parameters of one interaction, each with a leading member axis.

    Attributes:
        centres, widths: (M, 1, G), angstrom.
        first, first_bias, second, second_bias: the filter's layers, (M, G, K), (M, 1, K), (M, K,
            K), (M, 1, K).
        send: A of the equations, (M, F, K).
        receive, receive_bias: B and b, (M, K, F), (M, 1, F).
        update, update_bias: C and c, (M, F, F), (M, 1, F).
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        features: int,
        filters: int,
        gaussians: int,
        cutoff: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        centres = torch.linspace(0, cutoff, gaussians).repeat(len(generators), 1, 1)
        self.centres = nn.Parameter(centres.to(dtype))
        self.widths = nn.Parameter(torch.full_like(centres, cutoff / (gaussians - 1)).to(dtype))
        self.first, self.first_bias = _dense(generators, gaussians, filters, dtype)
        self.second, self.second_bias = _dense(generators, filters, filters, dtype)
        self.send, _ = _dense(generators, features, filters, dtype)
        self.receive, self.receive_bias = _dense(generators, filters, features, dtype)
        self.update, self.update_bias = _dense(generators, features, features, dtype)

    def filters(self, distances: Tensor) -> Tensor:
        """(M, P, K): the filter of each of `distances` (M, P), before the envelope."""
        gaussians = torch.exp(
            -0.5 * ((distances.unsqueeze(-1) - self.centres) / self.widths).square()
        )
        hidden = _ssp(torch.baddbmm(self.first_bias, gaussians, self.first))
        return _ssp(torch.baddbmm(self.second_bias, hidden, self.second))


def _dense(
    generators: Sequence[torch.Generator], fan_in: int, fan_out: int, dtype: torch.dtype
) -> tuple[nn.Parameter, nn.Parameter]:
    """Xavier-uniform weights (M, in, out), drawn in float32 so that every precision starts alike,
    and zero biases (M, 1, out).
    """
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    weights = torch.stack(
        [
            (torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * limit
            for generator in generators
        ]
    )
    return nn.Parameter(weights.to(dtype)), nn.Parameter(
        torch.zeros(len(weights), 1, fan_out, dtype=dtype)
    )


def _ssp(z: Tensor) -> Tensor:
    """Shifted softplus."""
    return softplus(z) - math.log(2.0)


def _envelope(s: Tensor) -> Tensor:
    """1 - 10 s^3 + 15 s^4 - 6 s^5, zero beyond s = 1, in a form that does not cancel near it."""
    return (1 - s).clamp(min=0) ** 3 * (1 + 3 * s + 6 * s.square())


def _convolve(sent: Tensor, filters: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Filtered sums over neighbours, m_i = sum_j y_j * W_ij, each pair in both directions."""
    out = torch.zeros_like(sent).index_add(1, first, sent.index_select(1, second) * filters)
    return out.index_add(1, second, sent.index_select(1, first) * filters)
