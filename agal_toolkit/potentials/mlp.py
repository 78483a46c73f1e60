"""A feed-forward network of the coordinates, for model surfaces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from ..geometry import Batch
from .protocol import SlopedEnergy


class MLP(SlopedEnergy):
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
        hidden = self._input(batch)
        *layers, (last, last_bias) = zip(self.weights, self.biases, strict=True)
        for weight, bias in layers:
            hidden = softplus(torch.baddbmm(bias, hidden, weight)) - math.log(2.0)
        return torch.baddbmm(last_bias, hidden, last).squeeze(-1)

    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Energies and slopes, pushing the d tangents forward beside the values: a layer is one matrix product of (1 + d) B rows.

        For few dimensions this costs a third of the kernels of a reverse pass that is differentiated again.
        """
        x = self._input(batch)
        members, rows, d = x.shape
        (first, first_bias), *layers = zip(self.weights, self.biases, strict=True)
        value = torch.baddbmm(first_bias, x, first)
        tangents = first.unsqueeze(2)                                          # (M, d, 1, width), the same for every row
        for weight, bias in layers:
            hidden = _Activation.apply(value, tangents)
            moved = torch.bmm(hidden.view(members, (1 + d) * rows, -1), weight).view(members, 1 + d, rows, -1)
            value, tangents = moved[:, 0] + bias, moved[:, 1:]
        return value.squeeze(-1), tangents.squeeze(-1).transpose(1, 2)

    def _input(self, batch: Batch) -> Tensor:
        if len(batch) != len(batch.owner) or batch.dimension != self.dimension:
            raise ValueError(
                f"this network takes single particles in {self.dimension} dimensions, the batch has {len(batch.owner)} particles "
                f"in {len(batch)} geometries of {batch.dimension} dimensions"
            )
        return batch.positions.to(self.weights[0].dtype)

    def __repr__(self) -> str:
        return f"MLP({' - '.join(map(str, [self.dimension] + [b.shape[-1] for b in self.biases]))})"


class _Activation(torch.autograd.Function):
    """Shifted softplus of values (M, B, w) and of tangents (M, d, B, w) beside them: (M, 1 + d, B, w), in a few passes over memory."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, tangents: Tensor) -> Tensor:
        slope = torch.sigmoid(value)
        out = value.new_empty(value.shape[0], 1 + tangents.shape[1], *value.shape[1:])
        torch.sub(softplus(value), math.log(2.0), out=out[:, 0])
        torch.mul(slope.unsqueeze(1), tangents, out=out[:, 1:])
        ctx.save_for_backward(slope, tangents)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        slope, tangents = ctx.saved_tensors
        through = upstream[:, 1:] * tangents                                   # (M, d, B, w)
        d_value = through.sum(1).mul_(1 - slope).add_(upstream[:, 0]).mul_(slope)
        d_tangents = upstream[:, 1:] * slope.unsqueeze(1)
        return d_value, d_tangents if tangents.shape == d_tangents.shape else d_tangents.sum(2, keepdim=True)


def _xavier(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Xavier-uniform weights (in, out) of one member, drawn in float32 so that every precision starts alike."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        layers.append((torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * limit)
    return layers
