"""A feed-forward network of the coordinates, for model surfaces."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..batch import Batch
from .protocol import SlopedEnergy, once

# rows that a thread evaluates at a time where no graph is kept: the layers of more rows leave the
# cache
CACHED = 128


class MLP(SlopedEnergy):
    """Energies of single particles in d dimensions: dense layers with shifted softplus, M members
    side by side.

    The network of Schwalbe-Koda 2021, A.2.1: the text says four layers, which the authors'
    published code reads as four dense layers (d - width - width - width - 1) with Xavier weights
    and zero biases; here all layers have weights of their own.

    Args:
        dimension: d.
        seeds: one integer for each member; a member's weights depend on its seed alone, not on its
            neighbours.
        width: units of a hidden layer.
        layers: dense layers, the last one included.
        dtype: precision in which the network computes.
    """

    def __init__(
        self,
        dimension: int,
        seeds: Sequence[int],
        *,
        width: int = 128,
        layers: int = 4,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if layers < 2 or width < 1:
            raise ValueError(
                f"layers={layers} and width={width}: a network has at least two layers and one unit"
            )
        sizes = [dimension] + [width] * (layers - 1) + [1]
        self.dimension, self.width = dimension, width
        members = [_xavier(sizes, int(seed)) for seed in seeds]
        self.weights = nn.ParameterList(
            [torch.stack(layer).to(dtype) for layer in zip(*members, strict=True)]
        )
        self.biases = nn.ParameterList(
            [torch.zeros(len(members), 1, size, dtype=dtype) for size in sizes[1:]]
        )

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

    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energies and slopes by one pass up and one down, whose derivative is written down as
        well: a third of autograd's kernels.
        """
        x, parameters = self._input(batch), (*self.weights, *self.biases)
        if torch.is_grad_enabled() or x.device.type != "cpu":
            energy, slopes = _Slopes.apply(x, *parameters)
        else:
            parts = [
                _Slopes.apply(part, *parameters)
                for part in x.split(CACHED * torch.get_num_threads(), 1)
            ]
            energy, slopes = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        if not batch.pbc.any():
            return energy, slopes, None
        strained = batch.positions.unsqueeze(-1) * slopes.unsqueeze(-2)
        return energy, slopes, (strained + strained.mT) / 2

    def _input(self, batch: Batch) -> Tensor:
        if len(batch) != len(batch.owner) or batch.dimension != self.dimension:
            raise ValueError(
                f"this network takes single particles in {self.dimension} dimensions, the batch has"
                f" {len(batch.owner)} particles in {len(batch)} geometries of {batch.dimension}"
                " dimensions"
            )
        return batch.positions.to(self.weights[0].dtype)

    def __repr__(self) -> str:
        return f"MLP({' - '.join(map(str, [self.dimension] + [b.shape[-1] for b in self.biases]))})"


class _Slopes(torch.autograd.Function):
    """Energies and slopes of dense layers with shifted softplus, and their reverse pass, in few
    passes over memory.

    With pre-activations z_l, values a_l = softplus(z_l) - ln 2 and s_l = sigmoid(z_l), the slope
    comes down the layers as g_l = r_l s_l with r_l = g_{l+1} W_{l+1}^T. A loss that depends on
    energies and slopes is differentiated by one more pass up, the derivative of every g_l along the
    loss's own direction d loss / d slope, and one down: three products of B rows a layer and pass,
    where one tangent for each coordinate would need 1 + d blocks of B rows in each.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        values, sigmoids = [x], []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            z = torch.baddbmm(bias, values[-1], weight)
            sigmoids.append(torch.sigmoid(z))
            values.append(softplus(z).sub_(math.log(2.0)))
        energy = torch.baddbmm(biases[-1], values[-1], weights[-1])
        above, down = [weights[-1].mT], []
        for weight, sigmoid in zip(weights[-2::-1], sigmoids[::-1], strict=True):
            down.append(above[-1] * sigmoid)
            above.append(torch.bmm(down[-1], weight.mT))
        ctx.save_for_backward(*weights, *values, *sigmoids, *above[-2::-1], *down[::-1])
        return energy.squeeze(-1), above[-1]

    @staticmethod
    @once
    def backward(ctx: Any, d_energy: Tensor, d_slopes: Tensor) -> tuple[Tensor | None, ...]:
        hidden = (len(ctx.saved_tensors) - 2) // 5
        weights, values = (
            ctx.saved_tensors[: hidden + 1],
            ctx.saved_tensors[hidden + 1 : 2 * hidden + 2],
        )
        sigmoids, above, down = (
            ctx.saved_tensors[2 + k * hidden : 2 + (k + 1) * hidden] for k in (2, 3, 4)
        )
        learning = any(ctx.needs_input_grad[1:])
        along, passed, curved = d_slopes, [d_slopes], []
        for weight, sigmoid, r in zip(weights[:-1], sigmoids, above, strict=True):
            along = torch.bmm(along, weight)
            curved.append(along * r)
            along = along.mul_(sigmoid)
            passed.append(along)
        d_last = d_energy.unsqueeze(-1)
        back, d_weights, d_biases = d_last * weights[-1].mT, [], []
        if learning:
            d_weights.append(torch.baddbmm(along.sum(1).unsqueeze(-1), values[-1].mT, d_last))
            d_biases.append(d_last.sum(1, keepdim=True))
        for layer in range(hidden - 1, -1, -1):
            sigmoid = sigmoids[layer]
            d_z = (
                torch.addcmul(curved[layer], curved[layer], sigmoid, value=-1)
                .add_(back)
                .mul_(sigmoid)
            )
            if learning:
                d_weights.append(
                    torch.bmm(passed[layer].mT, down[layer]).baddbmm_(values[layer].mT, d_z)
                )
                d_biases.append(d_z.sum(1, keepdim=True))
            if layer or ctx.needs_input_grad[0]:
                back = torch.bmm(d_z, weights[layer].mT)
        d_x = back if ctx.needs_input_grad[0] else None
        if not learning:
            return d_x, *[None] * (2 * hidden + 2)
        return d_x, *reversed(d_weights), *reversed(d_biases)


def _xavier(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Xavier-uniform weights (in, out) of one member, drawn in float32 so that every precision
    starts alike.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        layers.append((torch.rand(fan_in, fan_out, generator=generator) * 2 - 1) * limit)
    return layers
