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
from .protocol import SlopedEnergy, differentiable_once

# Rows for each thread in one pass without gradients: a layer of more rows outgrows the CPU's cache.
CACHED = 128


class MLP(SlopedEnergy):
    """Energies of single particles in d dimensions, M members side by side.

    Dense layers with shifted softplus, the network of Schwalbe-Koda 2021, A.2.1. Its four layers
    are d - width - width - width - 1, as in the authors' published code, with Xavier weights and
    zero biases; unlike there, no two layers share weights.

    Args:
        dimension: d.
        seeds: one integer for each member; a member's weights depend on its seed alone.
        width: units of a hidden layer.
        layers: number of dense layers, the last one included.
        dtype: precision of the network.
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
            wrong = f"layers={layers} and width={width}"
            raise ValueError(f"{wrong}: a network has at least two layers and one unit")
        sizes = [dimension] + [width] * (layers - 1) + [1]
        self.dimension, self.width = dimension, width
        self.keywords = {"dimension": dimension, "width": width, "layers": layers}
        members = [_xavier(sizes, int(seed)) for seed in seeds]
        weights = [torch.stack(layer).to(dtype) for layer in zip(*members, strict=True)]
        biases = [
            torch.zeros(len(members), 1, size, dtype=dtype, device="cpu") for size in sizes[1:]
        ]
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (M, B) of positions (M, N, d): B structures of one particle each, N = B.

        Raises:
            ValueError: geometries of more than one particle or another dimension.
        """
        hidden = self._input(batch)
        *layers, (last, last_bias) = zip(self.weights, self.biases, strict=True)
        for weight, bias in layers:
            hidden = softplus(torch.baddbmm(bias, hidden, weight)) - math.log(2.0)
        return torch.baddbmm(last_bias, hidden, last).squeeze(-1)

    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return energies (M, B), dE/dx and dE/d strain, which is None if nothing is periodic."""
        x, parameters = self._input(batch), (*self.weights, *self.biases)
        if torch.is_grad_enabled() or x.device.type != "cpu":
            energy, dE_dx = _Slopes.apply(x, *parameters)
        else:
            rows = x.split(CACHED * torch.get_num_threads(), 1)
            parts = [_Slopes.apply(part, *parameters) for part in rows]
            energy, dE_dx = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        if not batch.pbc.any():
            return energy, dE_dx, None
        virials = batch.positions.unsqueeze(-1) * dE_dx.unsqueeze(-2)
        return energy, dE_dx, (virials + virials.mT) / 2

    def _input(self, batch: Batch) -> Tensor:
        if len(batch) != len(batch.owner) or batch.dimension != self.dimension:
            takes = f"this network takes single particles in {self.dimension} dimensions"
            particles = f"{len(batch.owner)} particles in {len(batch)} geometries"
            raise ValueError(f"{takes}, the batch has {particles} of {batch.dimension} dimensions")
        return batch.positions.to(self.weights[0].dtype)

    def __repr__(self) -> str:
        sizes = [self.dimension] + [b.shape[-1] for b in self.biases]
        return f"MLP({' - '.join(map(str, sizes))})"


class _Slopes(torch.autograd.Function):
    """Energies and slopes of dense layers with shifted softplus, and their reverse pass.

    With z_l = a_{l-1} W_l + b_l, a_l = softplus(z_l) - ln 2 and s_l = sigmoid(z_l), the slope of
    the energy comes down the layers as g_l = dE/dz_l = r_l s_l, r_l = dE/da_l = g_{l+1} W_{l+1}^T.

    The slopes enter a loss L as v . dE/dx with v = dL/d(dE/dx), the derivative of the energy along
    v. So L is differentiated by one more pass up, with derivatives along v (`_dot`), and one down:
    three products of B rows for each layer and pass, where a pass for each coordinate would need
    1 + d blocks of B rows in each.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return energies (M, B) and dE/dx (M, B, d) at x (M, B, d); weights come before biases."""
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        values, sigmoids = [x], []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            z = torch.baddbmm(bias, values[-1], weight)
            sigmoids.append(torch.sigmoid(z))
            values.append(softplus(z).sub_(math.log(2.0)))
        energy = torch.baddbmm(biases[-1], values[-1], weights[-1])
        dE_da, dE_dz = [weights[-1].mT], []  # last layer first
        for weight, sigmoid in zip(weights[-2::-1], sigmoids[::-1], strict=True):
            dE_dz.append(dE_da[-1] * sigmoid)
            dE_da.append(torch.bmm(dE_dz[-1], weight.mT))
        ctx.save_for_backward(*weights, *values, *sigmoids, *dE_da[-2::-1], *dE_dz[::-1])
        return energy.squeeze(-1), dE_da[-1]

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dL_dE: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of L with respect to x, the weights and the biases."""
        saved, hidden = ctx.saved_tensors, (len(ctx.saved_tensors) - 2) // 5
        weights, values = saved[: hidden + 1], saved[hidden + 1 : 2 * hidden + 2]
        sigmoids, dE_da, dE_dz = (saved[2 + k * hidden : 2 + (k + 1) * hidden] for k in (2, 3, 4))
        for_x, for_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:])
        # Up: derivatives along v, and dE/da z_dot, to be multiplied by ds/dz = s (1 - s) below
        a_dot, a_dots, curvatures = v, [v], []
        for weight, sigmoid, slope in zip(weights[:-1], sigmoids, dE_da, strict=True):
            z_dot = torch.bmm(a_dot, weight)
            curvatures.append(z_dot * slope)
            a_dot = z_dot.mul_(sigmoid)
            a_dots.append(a_dot)
        # Down: the last layer, then the hidden ones
        dL_dE = dL_dE.unsqueeze(-1)
        dL_da, d_weights, d_biases = dL_dE * weights[-1].mT, [], []
        if for_weights:
            a_dot_sum = a_dot.sum(1).unsqueeze(-1)
            d_weights.append(torch.baddbmm(a_dot_sum, values[-1].mT, dL_dE))
            d_biases.append(dL_dE.sum(1, keepdim=True))
        for layer in range(hidden - 1, -1, -1):
            sigmoid, curvature = sigmoids[layer], curvatures[layer]
            dL_dz = torch.addcmul(curvature, curvature, sigmoid, value=-1).add_(dL_da).mul_(sigmoid)
            if for_weights:
                d_weight = torch.bmm(a_dots[layer].mT, dE_dz[layer])
                d_weights.append(d_weight.baddbmm_(values[layer].mT, dL_dz))
                d_biases.append(dL_dz.sum(1, keepdim=True))
            if layer or for_x:
                dL_da = torch.bmm(dL_dz, weights[layer].mT)
        dL_dx = dL_da if for_x else None
        if not for_weights:
            return dL_dx, *[None] * (2 * hidden + 2)
        return dL_dx, *reversed(d_weights), *reversed(d_biases)


def _xavier(sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Return Xavier-uniform weights (in, out) of one member, drawn in float32 for any dtype."""
    generator = torch.Generator("cpu").manual_seed(seed)
    single: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        layers.append((torch.rand(fan_in, fan_out, generator=generator, **single) * 2 - 1) * limit)
    return layers
