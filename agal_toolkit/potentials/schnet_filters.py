"""SchNet's filters W(r) and their slopes dW/dr: computed, differentiated, and read from a table.

With Gaussians g = exp(-t^2 / 2), t = (r - mu) / w, shifted softplus ssp and the envelope f,

    W(r) = f(r) b(r),    b = ssp(ssp(g U + u) V + v).

Values and slopes take the same matrix products: arrays have 2 P rows for P pairs, first the values,
then their slopes in the distance, which are named with `_dot` where they stand alone.

A filter depends on one number, so a network that no longer learns need not compute it for every
pair at every step: :class:`FilterTable` is as accurate as float32 allows, and faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .neighbours import Envelope

SMALLEST_EXPONENT = -50.0  # below all rounding; exponentials that underflow are ten times slower
CELLS, FINEST = 256, 4096  # between knots of a table, at first and at most
ROUNDING = 2e-6  # relative to the largest filter or slope: what products in float32 leave


class Weights(NamedTuple):
    """The parameters of :class:`~agal_toolkit.potentials.schnet.Interaction`."""

    centres: Tensor
    widths: Tensor
    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    send: Tensor
    receive: Tensor
    receive_bias: Tensor
    update: Tensor
    update_bias: Tensor


class SavedFilter(NamedTuple):
    """Intermediate values of :func:`filters` that its reverse pass needs, with P or 2 P rows."""

    gaussians: Tensor  # (M, 2P, G)
    hidden: Tensor  # (M, 2P, K), output of the first layer
    first_sigmoid: Tensor  # (M, P, K), as all that follow: slope of the activation
    first_dot: Tensor  # slope of its argument
    second_sigmoid: Tensor  # the same in the second layer
    second_dot: Tensor
    bare: Tensor  # b of the equations


def softplus(z: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return ssp(z) = ln(1 + e^z) - ln 2, in `out` or in the memory of `z`, and its slope.

    The slope s is the logistic function, and ssp(z) = max(z, 0) - ln(1 + |2 s - 1|): one
    exponential serves both, and nothing overflows or cancels.
    """
    sigmoid = torch.sigmoid(z)
    below = torch.mul(sigmoid, 2).sub_(1).abs_().log1p_()
    return torch.sub(z.clamp_(min=0), below, out=z if out is None else out), sigmoid


def softplus_backward(
    dL_dh: Tensor, z_dot: Tensor, dL_dz_dot: Tensor, sigmoid: Tensor, out: Tensor
) -> Tensor:
    """Return dL/dz for h = ssp(z) and h_dot = s z_dot: s dL/dh + (1 - s) z_dot dL/dz_dot.

    `dL_dh` is overwritten and may be `out`; `dL_dz_dot` is s dL/dh_dot.
    """
    bend = z_dot * dL_dz_dot
    return torch.addcmul(bend, dL_dh.sub_(bend), sigmoid, out=out)


def filters(
    w: Weights, distances: Tensor, envelope: Envelope
) -> tuple[Tensor, Tensor, SavedFilter]:
    """Return W and dW/dr (M, P, K) at `distances` (M, P), and values for the reverse pass."""
    pairs = distances.shape[1]
    # Gaussians g, and their slopes -t g / w
    inverse = w.widths.reciprocal()
    t = (distances.unsqueeze(-1) - w.centres).mul_(inverse)
    gaussians = t.new_empty(t.shape[0], 2 * pairs, t.shape[2])
    exponents = t.square().mul_(-0.5).clamp_(min=SMALLEST_EXPONENT)
    g = torch.exp(exponents, out=gaussians[:, :pairs])
    torch.mul(g, t.mul_(-inverse), out=gaussians[:, pairs:])
    # first layer
    z = torch.bmm(gaussians, w.first)
    hidden, first_dot = torch.empty_like(z), z[:, pairs:]
    _, first_sigmoid = softplus(z[:, :pairs].add_(w.first_bias), hidden[:, :pairs])
    torch.mul(first_sigmoid, first_dot, out=hidden[:, pairs:])
    # second layer
    z = torch.bmm(hidden, w.second)
    second_dot = z[:, pairs:]
    bare, second_sigmoid = softplus(z[:, :pairs].add_(w.second_bias))
    # envelope: dW/dr = f b' + f' b
    dW_dr = (second_sigmoid * second_dot).mul_(envelope.value).addcmul_(bare, envelope.slope)
    slopes = first_sigmoid, first_dot, second_sigmoid, second_dot
    saved = SavedFilter(gaussians, hidden, *slopes, bare)
    return bare * envelope.value, dW_dr, saved


def filters_backward(
    w: Weights,
    distances: Tensor,
    envelope: Envelope,
    saved: SavedFilter,
    dL_dW: Tensor,
    dE_dW: Tensor,
    v: Tensor,
    moving: bool,
    learning: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Return the slopes of a loss L in distances (M, P) and in a filter's six parameters.

    Args:
        w, distances, envelope, saved: of :func:`filters`.
        dL_dW: (M, P, K); it is overwritten.
        dE_dW: (M, P, K), slope of the energy; the loss's slope in dW/dr is this times `v`.
        v: (M, P, 1), the loss's slopes in dE/dr.
        moving, learning: whether slopes in distances and parameters are wanted.
    """
    pairs, dL_dr = distances.shape[1], None
    if moving:  # through f and f' of W = f b and dW/dr = f b' + f' b
        b, b_dot, v_pair = saved.bare, saved.second_sigmoid * saved.second_dot, v.squeeze(-1)
        dL_df = (dL_dW * b).sum(-1) + v_pair * (dE_dW * b_dot).sum(-1)
        dL_df_dot = v_pair * (dE_dW * b).sum(-1)
        dL_dr = envelope.slope.squeeze(-1) * dL_df + envelope.curvature.squeeze(-1) * dL_df_dot
    # second layer
    dL_dz2 = torch.empty_like(saved.hidden)
    dL_db = dL_dW.mul_(envelope.value).addcmul_(dE_dW, envelope.slope * v)
    dL_ddot = torch.mul(dE_dW, envelope.value * v, out=dL_dz2[:, pairs:])
    dL_ddot = dL_ddot.mul_(saved.second_sigmoid)
    softplus_backward(dL_db, saved.second_dot, dL_ddot, saved.second_sigmoid, dL_dz2[:, :pairs])
    # first layer
    dL_dz1 = torch.bmm(dL_dz2, w.second.mT)
    dL_dh, dL_ddot = dL_dz1[:, :pairs], dL_dz1[:, pairs:].mul_(saved.first_sigmoid)
    softplus_backward(dL_dh, saved.first_dot, dL_ddot, saved.first_sigmoid, dL_dh)
    # Gaussians
    dL_dgaussians = torch.bmm(dL_dz1, w.first.mT)
    inverse = w.widths.reciprocal()
    t = (distances.unsqueeze(-1) - w.centres) * inverse
    g, g_dot = saved.gaussians[:, :pairs], saved.gaussians[:, pairs:]
    dL_dg, dL_dg_dot = dL_dgaussians[:, :pairs], dL_dgaussians[:, pairs:]
    dL_dt = (dL_dg * t + dL_dg_dot * (1 - t.square()) * inverse) * g * -inverse
    if dL_dr is not None:
        dL_dr = dL_dr + dL_dt.sum(-1)
    if not learning:
        return dL_dr, []
    dL_dwidths = (dL_dt * t + dL_dg_dot * g_dot * inverse).sum(1, keepdim=True).neg_()
    return dL_dr, [
        -dL_dt.sum(1, keepdim=True),
        dL_dwidths,
        torch.bmm(saved.gaussians.mT, dL_dz1),
        dL_dz1[:, :pairs].sum(1, keepdim=True),
        torch.bmm(saved.hidden.mT, dL_dz2),
        dL_dz2[:, :pairs].sum(1, keepdim=True),
    ]


class FilterTable:
    """The filters of all interactions of M members at any distance within the cutoff, in float32.

    Between two knots stands the polynomial of fifth degree that has the filter's values and slopes
    at both ends and in the middle. Cells are halved until the table agrees with the network within
    the rounding of float32. One filter and its slope are each a weighted sum of six rows.

    Args:
        blocks: the parameters of each interaction.
        cutoff: angstrom.

    Attributes:
        agrees: False where the filters are too narrow for :data:`FINEST` cells.
    """

    def __init__(self, blocks: Sequence[Weights], cutoff: float) -> None:
        self.cutoff, self.members, self.cells = cutoff, len(blocks[0].first), CELLS
        blocks = [Weights(*(parameter.detach().double() for parameter in w)) for w in blocks]
        while not (agrees := self._fill(blocks)) and self.cells < FINEST:
            self.cells *= 2
        self.agrees = agrees

    def _fill(self, blocks: Sequence[Weights]) -> bool:
        """Set the rows (M cells 6, K) of each interaction; return whether they are accurate."""
        device, width, m = blocks[0].first.device, self.cutoff / self.cells, self.members
        double = {"dtype": torch.float64, "device": device}
        knots = torch.linspace(0, self.cutoff, 2 * self.cells + 1, **double).expand(m, -1)
        between = ((torch.arange(self.cells, **double) + 0.23) * width).expand(m, -1)
        # coefficients of the polynomials from values and slopes at 0, 1/2 and 1
        solve = torch.linalg.inv(_powers(torch.tensor([0.0, 0.5, 1.0], **double)).flatten(0, 1))
        self.rows, agrees = [], True
        for t, w in enumerate(blocks):
            W, dW_dr, _ = filters(w, knots, Envelope.of(knots, self.cutoff))
            conditions = [
                part[:, start : start + 2 * self.cells : 2]
                for part in (W, dW_dr * width)
                for start in (0, 1, 2)
            ]
            self.rows.append((solve @ torch.stack(conditions, dim=2)).float().flatten(0, 2))
            exact = filters(w, between, Envelope.of(between, self.cutoff))[:2]
            read = self.read(t, *self.place(between.float()))
            for a, b in zip(exact, read, strict=True):
                agrees &= bool((a - b).abs().max() <= ROUNDING * a.abs().max())
        return agrees

    def place(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Return six rows (2 M P, 6) and their weights, for the filters, then for their slopes.

        Distances (M, P) beyond the cutoff read the filter at the cutoff; NaN stays NaN.
        """
        x = distances * (self.cells / self.cutoff)
        cell = x.to(torch.int64).clamp_(0, self.cells - 1)
        weights = _powers((x - cell).clamp_(max=1.0) + 0 * x)  # 0 * x is NaN where x is not finite
        weights[1] *= self.cells / self.cutoff
        cell += self.cells * torch.arange(self.members, device=cell.device).unsqueeze(-1)
        rows = 6 * cell.flatten().unsqueeze(-1) + torch.arange(6, device=cell.device)
        return rows.repeat(2, 1), weights.view(-1, 6)

    def read(self, interaction: int, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return W and dW/dr, (M, P, K) each, at the rows and weights of :meth:`place`."""
        both = embedding_bag(rows, self.rows[interaction], per_sample_weights=weights, mode="sum")
        W, dW_dr = both.view(2, self.members, -1, both.shape[-1])
        return W, dW_dr


def _powers(t: Tensor) -> Tensor:
    """Return t^0 to t^5 and their derivatives, (2, ..., 6)."""
    exponents = torch.arange(6, dtype=t.dtype, device=t.device)
    powers = t.unsqueeze(-1) ** exponents
    lower = torch.cat([torch.zeros_like(powers[..., :1]), powers[..., :-1]], -1)
    return torch.stack([powers, exponents * lower])
