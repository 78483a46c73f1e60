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
        return _Slopes.apply(self._input(batch), *self.weights, *self.biases)

    def _input(self, batch: Batch) -> Tensor:
        if len(batch) != len(batch.owner) or batch.dimension != self.dimension:
            raise ValueError(
                f"this network takes single particles in {self.dimension} dimensions, the batch has {len(batch.owner)} particles "
                f"in {len(batch)} geometries of {batch.dimension} dimensions"
            )
        return batch.positions.to(self.weights[0].dtype)

    def __repr__(self) -> str:
        return f"MLP({' - '.join(map(str, [self.dimension] + [b.shape[-1] for b in self.biases]))})"


class _Slopes(torch.autograd.Function):
    """Energies and slopes of dense layers with shifted softplus, and their reverse pass, in few passes over memory.

    A hidden layer holds one block (M, 1 + d, B, width): the values, then the d tangents. With s = sigmoid(value) it becomes
    (softplus(value) - ln 2, s t_1 ... s t_d).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        members, rows, d = x.shape
        value, tangents = torch.baddbmm(biases[0], x, weights[0]), weights[0].unsqueeze(2)       # first tangents: the same for every row
        kept = []
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            slope = torch.sigmoid(value)
            block = value.new_empty(members, 1 + d, rows, weight.shape[1])
            torch.sub(softplus(value), math.log(2.0), out=block[:, 0])
            torch.mul(slope.unsqueeze(1), tangents, out=block[:, 1:])
            kept += [slope, tangents, block]
            moved = torch.bmm(block.view(members, (1 + d) * rows, -1), weight).view(members, 1 + d, rows, -1)
            value, tangents = moved[:, 0].add_(bias), moved[:, 1:]
        ctx.save_for_backward(x, *weights, *kept)
        ctx.layers = len(weights)
        return value.squeeze(-1), tangents.squeeze(-1).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_energy: Tensor, d_slopes: Tensor) -> tuple[Tensor, ...]:
        x, *saved = ctx.saved_tensors
        weights, kept = saved[: ctx.layers], saved[ctx.layers :]
        members, rows, d = x.shape
        upstream = torch.cat([d_energy.unsqueeze(1), d_slopes.transpose(1, 2)], 1).unsqueeze(-1)    # (M, 1 + d, B, 1)
        d_weights, d_biases = [], []
        for layer in range(ctx.layers - 1, 0, -1):
            slope, tangents, block = kept[3 * layer - 3 : 3 * layer]
            flat = upstream.reshape(members, (1 + d) * rows, -1)
            d_weights.append(torch.bmm(block.view(members, (1 + d) * rows, -1).mT, flat))
            d_biases.append(upstream[:, 0].sum(1, keepdim=True))
            through = torch.bmm(flat, weights[layer].mT).view(members, 1 + d, rows, -1)
            curved = (through[:, 1:] * tangents).sum(1).mul_(1 - slope).add_(through[:, 0]).mul_(slope)
            upstream = through.mul_(slope.unsqueeze(1))
            upstream[:, 0] = curved
        d_weights.append(torch.bmm(x.mT, upstream[:, 0]).add_(upstream[:, 1:].sum(2)))
        d_biases.append(upstream[:, 0].sum(1, keepdim=True))
        d_x = torch.bmm(upstream[:, 0], weights[0].mT) if ctx.needs_input_grad[0] else None
        return d_x, *reversed(d_weights), *reversed(d_biases)


def _xavier(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Xavier-uniform weights (in, out) of one member, drawn in float32 so that every precision starts alike."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        layers.append((torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * limit)
    return layers
