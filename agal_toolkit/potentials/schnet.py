"""SchNet, a network of atoms that exchange messages filtered by distance, M members side by side.

A filter depends on a distance alone, so each pair's is computed once and used in both directions;
dense layers are products batched over members. :meth:`SchNet.forward` is the energy as the paper
writes it. Forces, training and attacks take the written derivatives of :mod:`.schnet_passes`;
networks that no longer learn read their filters from a table, see :mod:`.schnet_filters`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..batch import Batch
from .elements import Elements
from .neighbours import envelope, nan_where_invalid, neighbours
from .protocol import SlopedEnergy
from .schnet_filters import FilterTable
from .schnet_passes import EnergySlopes, Neighbourhood, evaluate, unpack

SINGLE: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # of weights as they are drawn


class SchNet(SlopedEnergy):
    """Energies of molecules and crystals by continuous-filter convolutions.

    Schütt 2018, J. Chem. Phys. 148, 241722, Sec. II: atoms start as the embedding of their element.
    In each interaction, with ssp(z) = ln(1 + e^z) - ln 2,

        x_i <- x_i + C ssp(B sum_j (A x_j) * W(r_ij) + b) + c,

    where the filter W(r) is made of two dense layers with ssp on trainable Gaussians exp(-(r -
    mu)^2 / 2 w^2), times an envelope; an atom's energy is a dense layer with ssp and a linear one.
    The envelope is ours, twice continuously differentiable at the cutoff, see :mod:`.envelope`.
    Each interaction has Gaussians of its own, evenly spaced at first and as wide as their spacing.
    Weights start Xavier-uniform, biases zero, embeddings normal.

    The defaults are those of Schwalbe-Koda 2021, A.2.2. Energies of isolated atoms are not part of
    it: give :class:`~agal_toolkit.potentials.Stacked` a baseline, or let the trainer fit one.

    Args:
        elements: atomic numbers or symbols that the network knows.
        seeds: one integer for each member; a member's weights depend on its seed alone.
        features: length of an atom's vector x.
        filters: length of a filter W, and width between its two layers.
        interactions: number of rounds of messages.
        gaussians: number of functions in which a filter's network sees a distance.
        cutoff: angstrom; pairs further apart do not see each other.
        dtype: precision of the network; distances are formed in that of the positions.

    Raises:
        ValueError: no elements, an element named twice, sizes too small.
    """

    def __init__(
        self,
        elements: Sequence[int | str],
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
            two = f"features={features} and gaussians={gaussians} must be at least 2"
            one = f"filters={filters} and interactions={interactions} at least 1"
            raise ValueError(f"{two}, {one}, cutoff={cutoff} positive")
        self.elements, self.cutoff = Elements(elements, "SchNet"), float(cutoff)
        self.keywords = {"elements": self.elements.numbers, "features": features}
        self.keywords |= {"filters": filters, "interactions": interactions, "gaussians": gaussians}
        self.keywords |= {"cutoff": self.cutoff}
        generators = [torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds]
        rows = [
            torch.randn(len(self.elements), features, generator=g, **SINGLE) for g in generators
        ]
        self.embedding = nn.Parameter(torch.stack(rows).to(dtype))
        sizes = features, filters, gaussians, cutoff, dtype
        blocks = [Interaction(generators, *sizes) for _ in range(interactions)]
        self.interactions = nn.ModuleList(blocks)
        self.inner, self.inner_bias = _dense(generators, features, features // 2, dtype)
        self.outer, self.outer_bias = _dense(generators, features // 2, 1, dtype)
        self._table: tuple[list[tuple[int, int]], FilterTable | None, list[Tensor]] | None = None

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (M, B), eV, of positions (M, N, d), or (N, d) if members see the same.

        Raises:
            ValueError: an element that the network does not know, particles at the same place.
        """
        kinds, pairs = self.elements(batch.numbers), neighbours(batch, self.cutoff)
        distances = pairs.distances(pairs.vectors(batch), batch).to(self.embedding.dtype)
        f = envelope(distances / self.cutoff)[0].unsqueeze(-1)
        x = self.embedding.index_select(1, kinds)
        for block in self._blocks:
            y, W = torch.bmm(x, block.send), f * block.filters(distances)
            m = _convolve(y, W, pairs.first, pairs.second)
            h = _ssp(torch.baddbmm(block.receive_bias, m, block.receive))
            x = x + torch.baddbmm(block.update_bias, h, block.update)
        h = _ssp(torch.baddbmm(self.inner_bias, x, self.inner))
        energies = torch.baddbmm(self.outer_bias, h, self.outer).squeeze(-1)
        return batch.sum(energies + nan_where_invalid(batch).to(energies.dtype))

    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return energies (M, B), dE/dx (M, N, d) and dE/d strain, by the written derivative."""
        kinds, pairs = self.elements(batch.numbers), neighbours(batch, self.cutoff)
        vectors = pairs.vectors(batch)
        lengths = pairs.distances(vectors, batch)
        distances = lengths.to(self.embedding.dtype)
        near = Neighbourhood(pairs, self.cutoff, kinds, len(distances))
        if torch.is_grad_enabled():
            atoms, dE_dr = EnergySlopes.apply(distances, near, *self._ordered())
        else:
            table = self._filter_table()
            atoms, dE_dr, _ = evaluate(distances, near, self._ordered(), keep=False, table=table)
        energies = batch.sum(atoms + nan_where_invalid(batch).to(atoms.dtype))
        # along each pair's vector, which begins at the first atom and ends at the second
        dE_dvector = vectors * (dE_dr / lengths).unsqueeze(-1)
        dE_dx = torch.zeros_like(batch.positions).index_add(-2, pairs.second, dE_dvector)
        dE_dx = dE_dx.index_add(-2, pairs.first, dE_dvector, alpha=-1)
        if not batch.pbc.any():
            return energies, dE_dx, None
        virials = vectors.unsqueeze(-1) * dE_dvector.unsqueeze(-2)
        dE_dstrain = dE_dvector.new_zeros(len(dE_dvector), len(batch), *batch.cell.shape[-2:])
        return energies, dE_dx, dE_dstrain.index_add(1, batch.owner[pairs.first], virials)

    @property
    def _blocks(self) -> list[Interaction]:
        return cast("list[Interaction]", list(self.interactions))

    def _filter_table(self) -> FilterTable | None:
        """Return a table; None in float64, while a weight learns, or if none is accurate enough."""
        weights = [p for block in self._blocks for p in block.parameters()]
        # torch counts no changes of inference tensors
        learning = any(p.requires_grad or p.is_inference() for p in weights)
        if self.embedding.dtype != torch.float32 or learning:
            return None
        versions = [(p.data_ptr(), p._version) for p in weights]
        if self._table is None or self._table[0] != versions:
            table = FilterTable(unpack(self._ordered())[1], self.cutoff)
            # the weights are kept, so that no others can take their addresses
            held = [p.detach() for p in weights]
            self._table = (versions, table if table.agrees else None, held)
        return self._table[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the table: a copy makes its own."""
        return {**self.__dict__, "_table": None}

    def _ordered(self) -> list[Tensor]:
        """Return the parameters in the order of :class:`EnergySlopes`."""
        blocks = [p for block in self._blocks for p in block.parameters()]
        last = [self.inner, self.inner_bias, self.outer, self.outer_bias]
        return [self.embedding, *blocks, *last]

    def __repr__(self) -> str:
        first = self._blocks[0]
        return (
            f"SchNet({self.elements}; {len(self.interactions)} interactions,"
            f" {self.embedding.shape[-1]} features, {first.send.shape[-1]} filters,"
            f" {first.centres.shape[-1]} Gaussians, {self.cutoff:g} A)"
        )


class Interaction(nn.Module):
    """The parameters of one interaction, each with a leading member axis.

    Attributes:
        centres, widths: (M, 1, G), angstrom.
        first, first_bias, second, second_bias: layers of the filter, (M, G, K) and (M, K, K).
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
        centres = torch.linspace(0, cutoff, gaussians, **SINGLE).repeat(len(generators), 1, 1)
        self.centres = nn.Parameter(centres.to(dtype))
        self.widths = nn.Parameter(torch.full_like(centres, cutoff / (gaussians - 1)).to(dtype))
        self.first, self.first_bias = _dense(generators, gaussians, filters, dtype)
        self.second, self.second_bias = _dense(generators, filters, filters, dtype)
        self.send, _ = _dense(generators, features, filters, dtype)
        self.receive, self.receive_bias = _dense(generators, filters, features, dtype)
        self.update, self.update_bias = _dense(generators, features, features, dtype)

    def filters(self, distances: Tensor) -> Tensor:
        """Return the filters (M, P, K) at `distances` (M, P), without the envelope."""
        t = (distances.unsqueeze(-1) - self.centres) / self.widths
        gaussians = torch.exp(-0.5 * t.square())
        hidden = _ssp(torch.baddbmm(self.first_bias, gaussians, self.first))
        return _ssp(torch.baddbmm(self.second_bias, hidden, self.second))


def _dense(
    generators: Sequence[torch.Generator], fan_in: int, fan_out: int, dtype: torch.dtype
) -> tuple[nn.Parameter, nn.Parameter]:
    """Return Xavier-uniform weights (M, in, out), drawn in float32, and zero biases."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    rows = [
        (torch.rand(fan_in, fan_out, generator=g, **SINGLE) * 2 - 1) * limit for g in generators
    ]
    biases = torch.zeros(len(rows), 1, fan_out, dtype=dtype, device="cpu")
    return nn.Parameter(torch.stack(rows).to(dtype)), nn.Parameter(biases)


def _ssp(z: Tensor) -> Tensor:
    return softplus(z) - math.log(2.0)


def _convolve(y: Tensor, W: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return m_i = sum_j y_j * W_ij (M, N, K); each pair counts in both directions."""
    sums = torch.zeros_like(y).index_add(1, first, y.index_select(1, second) * W)
    return sums.index_add(1, second, y.index_select(1, first) * W)
