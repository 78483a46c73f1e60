"""A feed-forward network of the coordinates, for model surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..geometry import Batch


class MLP(nn.Module):
    """Energies of single particles in d dimensions: dense layers with shifted softplus, M members side by side.

    The network of Schwalbe-Koda 2021, A.2.1: the text says four layers, which the authors' published code reads as four
    dense layers (d - width - width - width - 1) with Xavier weights and zero biases; here all layers have weights of
    their own.

    Args:
        dimension: d.
        seeds: one integer for each member; a member's weights depend on its seed alone, not on its neighbours.
        width: units of a hidden layer.
        layers: dense layers, the last one included.
        dtype: precision in which the network computes.
    """

    def __init__(self, dimension: int, seeds: Sequence[int], *, width: int = 128, layers: int = 4, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if layers < 2 or width < 1:
            raise ValueError(f"layers={layers} and width={width}: a network has at least two layers and one unit")
        sizes = [dimension] + [width] * (layers - 1) + [1]
        self.dimension, self.width = dimension, width
        members = [_xavier(sizes, int(seed)) for seed in seeds]
        self.weights = nn.ParameterList([torch.stack(layer).to(dtype) for layer in zip(*members, strict=True)])
        self.biases = nn.ParameterList([torch.zeros(len(members), 1, size, dtype=dtype) for size in sizes[1:]])

    def forward(self, batch: Batch) -> Tensor:
        """(M, B) from positions (M, N, d), N = B.

        Raises:
            ValueError: geometries of more than one particle or another dimension.
        """
        if len(batch) != len(batch.owner) or batch.dimension != self.dimension:
            raise ValueError(f"this network takes single particles in {self.dimension} dimensions, the batch has {len(batch.owner)} in {len(batch)} geometries of {batch.dimension}")
        hidden = batch.positions.to(self.weights[0].dtype)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = softplus(torch.baddbmm(bias, hidden, weight)) - math.log(2.0)
        return torch.baddbmm(self.biases[-1], hidden, self.weights[-1]).squeeze(-1)

    def __repr__(self) -> str:
        return f"MLP({' - '.join(map(str, [self.dimension] + [b.shape[-1] for b in self.biases]))})"


def _xavier(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Xavier-uniform weights (in, out) of one member, drawn in float32 so that every precision starts alike."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        layers.append((torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * limit)
    return layers
