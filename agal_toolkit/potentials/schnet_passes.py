"""Energies and slopes of SchNet as one function with a written derivative.

Autograd would derive the same from :meth:`SchNet.forward`, but spends most of its time between
small products. On one thread, with five members of width 256, the written passes train 1.8 to 2.0
times faster than autograd of the same stacked network, attack 1.3 times and predict forces 1.1
times faster.

Each interaction computes, with atoms i and j, pairs p and sums over neighbours,

    y = x A,    m_i = sum_j y_j W_p,    z = m B + b,    h = ssp(z),    x <- x + h C + c,

and the energy E is made of the last x. In names of variables, `dE_dx` is the slope of the energy,
`dL_dx` that of a loss L, and `x_dot` the derivative of x along a direction v of the distances.

* :func:`evaluate` goes up to E and down to dE/dr_p = sum_k (dE/dW_pk) (dW_pk/dr).
* :func:`differentiate` takes a loss of E and dE/dr. The slopes enter it as sum_p v_p dE/dr_p with
  v = dL/d(dE/dr), which is the derivative of E along v: one more pass up with derivatives along v,
  and one down through values and derivatives. That is six products for each weight matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .neighbours import Envelope, Pairs
from .protocol import differentiable_once
from .schnet_filters import (
    FilterTable,
    SavedFilter,
    Weights,
    filters,
    filters_backward,
    softplus,
    softplus_backward,
)


class Neighbourhood:
    """P pairs closer than `cutoff` of N atoms, whose `kinds` (N,) are rows of the embedding.

    It sums over neighbours for M members. Each pair counts in both directions: (M, 2, P, K) holds
    what the second atom of each pair sends to the first, then what the first sends to the second.
    """

    def __init__(self, pairs: Pairs, cutoff: float, kinds: Tensor, members: int) -> None:
        self.cutoff, self.kinds, self.members = cutoff, kinds, members
        first, second = pairs.first, pairs.second
        self.senders, receivers = torch.cat([second, first]), torch.cat([first, second])
        offsets = len(receivers) * torch.arange(members, device=first.device).unsqueeze(-1)
        counts = torch.bincount(receivers, minlength=len(kinds))
        self.order = (receivers.argsort(stable=True) + offsets).flatten()
        self.starts = (counts.cumsum(0) - counts + offsets).flatten()

    def send(self, atoms: Tensor) -> Tensor:
        """Return the senders' rows (M, 2, P, K) of `atoms` (M, N, K)."""
        return atoms.index_select(1, self.senders).view(self.members, 2, -1, atoms.shape[-1])

    def receive(self, messages: Tensor) -> Tensor:
        """Return the sums (M, N, K) of the messages (M, 2, P, K) to each atom."""
        k = messages.shape[-1]
        rows = messages.view(-1, k)
        sums = torch.embedding_bag(rows, self.order, self.starts, False, 0)[0]
        return sums.view(self.members, -1, k)


def pair_products(a: Tensor, b: Tensor) -> Tensor:
    """Return a_i b_j + a_j b_i (M, P, K) of the senders' rows of both, (M, 2, P, K)."""
    return torch.mul(a[:, 1], b[:, 0]).addcmul_(a[:, 0], b[:, 1])


class EnergySlopes(torch.autograd.Function):
    """Energies of atoms (M, N) and the slopes of their sum in the distances (M, P).

    Arguments: distances (M, P), :class:`Neighbourhood`, then the parameters: embedding, eleven of
    each interaction in the order of :class:`Weights`, and weight and bias of the energy's layers.
    """

    @staticmethod
    def forward(
        ctx: Any, distances: Tensor, near: Neighbourhood, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Evaluate, and save what the derivative needs."""
        E, dE_dr, saved = evaluate(distances, near, parameters, keep=True)
        ctx.near = near
        ctx.save_for_backward(distances, *parameters, *saved)
        return E, dE_dr

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, dL_dE: Tensor, v: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate once; the result keeps no graph."""
        distances, *saved = ctx.saved_tensors
        moving, _, *learning = ctx.needs_input_grad
        parameters, saved = saved[: len(learning)], saved[len(learning) :]
        loss = dL_dE.unsqueeze(-1), v.unsqueeze(-1), moving, any(learning)
        dL_dr, dL_dparameters = differentiate(distances, ctx.near, parameters, saved, *loss)
        return dL_dr, None, *dL_dparameters


def unpack(parameters: Sequence[Tensor]) -> tuple[Tensor, list[Weights], Sequence[Tensor]]:
    """Return the embedding, the weights of each interaction, and those of the energy's layers."""
    size = len(Weights._fields)
    starts = range(1, len(parameters) - 4, size)
    blocks = [Weights(*parameters[start : start + size]) for start in starts]
    return parameters[0], blocks, parameters[-4:]


class SavedInteraction(NamedTuple):
    """Intermediate values of one interaction that the derivative needs, in the module's symbols.

    `x` comes in, `dE_dx_out` belongs to the x that goes out; `sigmoid` is the slope of ssp at z.
    """

    x: Tensor
    y: Tensor
    m: Tensor
    sigmoid: Tensor
    h: Tensor
    dE_dx_out: Tensor
    dE_dz: Tensor
    dE_dm: Tensor
    dE_dy: Tensor
    dE_dW: Tensor
    W: Tensor
    dW_dr: Tensor


def _unpack_saved(saved: Sequence[Tensor]) -> list[tuple[SavedInteraction, SavedFilter]]:
    """Return what :func:`evaluate` saved of each interaction, first to last."""
    size, split = len(SavedInteraction._fields + SavedFilter._fields), len(SavedInteraction._fields)
    blocks = [saved[start : start + size] for start in range(len(saved) - size, 0, -size)]
    return [(SavedInteraction(*b[:split]), SavedFilter(*b[split:])) for b in blocks]


def evaluate(
    distances: Tensor,
    near: Neighbourhood,
    parameters: Sequence[Tensor],
    keep: bool,
    table: FilterTable | None = None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return energies of atoms (M, N), dE/dr (M, P), and values for :func:`differentiate`.

    Args:
        distances, near, parameters: as of :class:`EnergySlopes`.
        keep: whether the values for the derivative are wanted.
        table: filters to be read instead of computed, without `keep` only.
    """
    embedding, blocks, (inner, inner_bias, outer, outer_bias) = unpack(parameters)
    envelope = Envelope.of(distances, near.cutoff) if table is None else None
    place = () if table is None else table.place(distances)
    # Up: the interactions
    x, up = embedding.index_select(1, near.kinds), []
    for t, w in enumerate(blocks):
        if envelope is not None:
            W, dW_dr, saved_filter = filters(w, distances, envelope)
        else:
            assert table is not None
            (W, dW_dr), saved_filter = table.read(t, *place), None
        # in the first interaction y has one row for each element
        y = torch.bmm(x, w.send) if t else torch.bmm(embedding, w.send).index_select(1, near.kinds)
        m = near.receive(near.send(y).mul_(W.unsqueeze(1)))
        h, sigmoid = softplus(torch.baddbmm(w.receive_bias, m, w.receive))
        x_in, x = x, torch.baddbmm(x, h, w.update).add_(w.update_bias)
        if keep:
            up.append((x_in, y, m, sigmoid, h, W, dW_dr, saved_filter))
        else:
            up.append((None, y, None, sigmoid, None, W, dW_dr, None))
    # Energies, and down through their two layers
    h, sigmoid = softplus(torch.baddbmm(inner_bias, x, inner))
    E = torch.baddbmm(outer_bias, h, outer).squeeze(-1)
    dE_dz = sigmoid * outer.mT
    dE_dx = torch.bmm(dE_dz, inner.mT)
    # Down: the interactions
    dE_dr, saved = torch.zeros_like(distances), [x, h, sigmoid, dE_dz]
    for t in range(len(blocks) - 1, -1, -1):
        x_in, y, m, sigmoid, h, W, dW_dr, saved_filter = up.pop()
        w = blocks[t]
        dE_dz = torch.bmm(dE_dx, w.update.mT).mul_(sigmoid)
        dE_dm = torch.bmm(dE_dz, w.receive.mT)
        dE_dm_sent = near.send(dE_dm)
        dE_dW = pair_products(dE_dm_sent, near.send(y))
        dE_dr += (dE_dW * dW_dr).sum(-1)
        dE_dx_out, dE_dy = dE_dx, dE_dm  # the embedding needs no slope: dE_dy is unused at t = 0
        if t:
            dE_dy = near.receive(dE_dm_sent.mul_(W.unsqueeze(1)))
            dE_dx = torch.baddbmm(dE_dx, dE_dy, w.send.mT)
        if keep:
            saved += [x_in, y, m, sigmoid, h, dE_dx_out, dE_dz, dE_dm, dE_dy, dE_dW, W, dW_dr]
            saved += saved_filter
    return E, dE_dr, saved if keep else []


def differentiate(
    distances: Tensor,
    near: Neighbourhood,
    parameters: Sequence[Tensor],
    saved: Sequence[Tensor],
    dL_dE: Tensor,
    v: Tensor,
    moving: bool,
    learning: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Return the slopes of a loss L in distances (M, P) and in all parameters.

    Args:
        distances, near, parameters, saved: as of :func:`evaluate`.
        dL_dE: (M, N, 1), the loss's slopes in the atoms' energies.
        v: (M, P, 1), the loss's slopes in dE/dr.
        moving, learning: whether slopes in distances and parameters are wanted, else None.
    """
    embedding, blocks, (inner, _, outer, _) = unpack(parameters)
    x_last, h_last, sigmoid_last, dE_dz_last = saved[:4]
    saved_blocks, envelope = _unpack_saved(saved), Envelope.of(distances, near.cutoff)
    # Up: derivatives along v. Distances move, so filters do; the embedding does not.
    x_dot, up = None, []
    for w, (s, _) in zip(blocks, saved_blocks, strict=True):
        W_dot = s.dW_dr * v
        y_sent, y_sent_dot, x_in_dot = near.send(s.y), None, x_dot
        messages = y_sent * W_dot.unsqueeze(1)
        if x_dot is not None:
            y_sent_dot = near.send(torch.bmm(x_dot, w.send))
            messages.addcmul_(y_sent_dot, s.W.unsqueeze(1))
        m_dot = near.receive(messages)
        z_dot = torch.bmm(m_dot, w.receive)
        h_dot = z_dot * s.sigmoid
        if x_dot is None:
            x_dot = torch.bmm(h_dot, w.update)
        else:
            x_dot = torch.baddbmm(x_dot, h_dot, w.update)
        up.append((x_in_dot, W_dot, y_sent, y_sent_dot, m_dot, z_dot, h_dot))
    assert x_dot is not None  # there is at least one interaction
    # Down through the energy's two layers
    grads: list[Tensor] = []
    z_dot, dL_dz = torch.bmm(x_dot, inner), dL_dE * outer.mT
    softplus_backward(dL_dz, z_dot, dE_dz_last, sigmoid_last, out=dL_dz)
    if learning:
        h_dot_sum = (z_dot * sigmoid_last).sum(1).unsqueeze(-1)
        grads = [
            torch.bmm(x_last.mT, dL_dz).baddbmm_(x_dot.mT, dE_dz_last),
            dL_dz.sum(1, keepdim=True),
            torch.bmm(h_last.mT, dL_dE).add_(h_dot_sum),
            dL_dE.sum(1, keepdim=True),
        ]
    dL_dx = torch.bmm(dL_dz, inner.mT)
    dL_dr = torch.zeros_like(distances) if moving else None
    # Down the interactions; slopes of L in derivatives along v (in x_dot, ...) are dE/dx, ...
    for t in range(len(blocks) - 1, -1, -1):
        w, (s, saved_filter) = blocks[t], saved_blocks[t]
        x_in_dot, W_dot, y_sent, y_sent_dot, m_dot, z_dot, h_dot = up.pop()
        block_grads: list[Tensor] = []
        embedding_grad: list[Tensor] = []
        dL_dz = torch.bmm(dL_dx, w.update.mT)
        softplus_backward(dL_dz, z_dot, s.dE_dz, s.sigmoid, out=dL_dz)
        dL_dm = torch.bmm(dL_dz, w.receive.mT)
        if learning:
            block_grads = [
                torch.bmm(s.m.mT, dL_dz).baddbmm_(m_dot.mT, s.dE_dz),
                dL_dz.sum(1, keepdim=True),
                torch.bmm(s.h.mT, dL_dx).baddbmm_(h_dot.mT, s.dE_dx_out),
                dL_dx.sum(1, keepdim=True),
            ]
        # Messages: to the filters, then to their senders
        dL_dm_sent, dE_dm_sent = near.send(dL_dm), near.send(s.dE_dm)
        dL_dW = pair_products(dL_dm_sent, y_sent)
        if y_sent_dot is not None:
            dL_dW.addcmul_(dE_dm_sent[:, 1], y_sent_dot[:, 0])
            dL_dW.addcmul_(dE_dm_sent[:, 0], y_sent_dot[:, 1])
        if t or learning:
            dL_dm_sent.mul_(s.W.unsqueeze(1)).addcmul_(dE_dm_sent, W_dot.unsqueeze(1))
            dL_dy = near.receive(dL_dm_sent)
            if x_in_dot is not None:
                if learning:
                    dL_dsend = torch.bmm(s.x.mT, dL_dy).baddbmm_(x_in_dot.mT, s.dE_dy)
                    block_grads.insert(0, dL_dsend)
                dL_dx = torch.baddbmm(dL_dx, dL_dy, w.send.mT)
            else:  # the first interaction: one row of y for each element
                rows = embedding.new_zeros(*embedding.shape[:2], dL_dy.shape[-1])
                dL_dy = rows.index_add_(1, near.kinds, dL_dy)
                block_grads.insert(0, torch.bmm(embedding.mT, dL_dy))
                embedding_grad = [torch.bmm(dL_dy, w.send.mT).index_add_(1, near.kinds, dL_dx)]
        from_filter, filter_grads = filters_backward(
            w, distances, envelope, saved_filter, dL_dW, s.dE_dW, v, moving, learning
        )
        if dL_dr is not None and from_filter is not None:
            dL_dr += from_filter
        grads = [*embedding_grad, *filter_grads, *block_grads, *grads]
    return dL_dr, [*grads] if learning else [None] * len(parameters)
