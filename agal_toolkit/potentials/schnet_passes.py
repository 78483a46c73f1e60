"""Energies and slopes of SchNet as one function with a written derivative.

An energy of pair distances has one slope for each pair. Filters are followed forward in the
distance, W and dW/dr side by side in one product of twice the rows, atoms backward from the energy;
so a pair's slope is what the messages owe to its filter, times dW/dr. A loss of energies and slopes
is differentiated by one more pass up the atoms, along the loss's own direction, and one down
everything, as in :mod:`.mlp`: six products for each layer, where autograd's nested passes spend
most of their time between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .protocol import once

# exponents of Gaussians end here, below all rounding: exponentials that underflow take ten times as
# long
FAINT = -50.0


class Weights(NamedTuple):
    """The parameters of an interaction, see :class:`~agal_toolkit.potentials.schnet.Interaction`."""

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


class Envelope(NamedTuple):
    """What fades a filter out at the cutoff, and its derivatives in the distance, (M, P, 1) each."""

    value: Tensor
    slope: Tensor
    curvature: Tensor

    @classmethod
    def of(cls, distances: Tensor, cutoff: float) -> Envelope:
        """1 - 10 s^3 + 15 s^4 - 6 s^5 with s = r / cutoff, zero beyond s = 1, in a form that does
        not cancel near it.
        """
        s = (distances / cutoff).unsqueeze(-1)
        left = (1 - s).clamp_(min=0)
        bend = s * left
        return cls(
            left**3 * (6 * s.square() + 3 * s + 1),
            bend.square() * (-30 / cutoff),
            bend * (1 - 2 * s) * (-60 / cutoff**2),
        )


class Meeting:
    """Who hears whom: index arithmetic of the filtered sums over P pairs of N atoms, for M members.

    Each pair carries its filter both ways: (M, 2, P, K) holds what the second atom of a pair sends,
    then what the first does.
    """

    def __init__(self, first: Tensor, second: Tensor, atoms: int, members: int) -> None:
        self.senders, hearing = torch.cat([second, first]), torch.cat([first, second])
        rows = torch.arange(members, device=first.device).unsqueeze(-1)
        heard = torch.bincount(hearing, minlength=atoms)
        self.order = (hearing.argsort(stable=True) + len(hearing) * rows).flatten()
        self.starts = (heard.cumsum(0) - heard + len(hearing) * rows).flatten()
        self.members = members

    def sent(self, atoms: Tensor) -> Tensor:
        """(M, 2, P, K) from (M, N, K)."""
        return atoms.index_select(1, self.senders).view(self.members, 2, -1, atoms.shape[-1])

    def heard(self, messages: Tensor) -> Tensor:
        """(M, N, K): the sums over what each atom hears, of messages (M, 2, P, K)."""
        k = messages.shape[-1]
        return torch.embedding_bag(messages.view(-1, k), self.order, self.starts, False, 0)[0].view(
            self.members, -1, k
        )


def couple(a: Tensor, b: Tensor) -> Tensor:
    """(M, P, K): what filtered sums owe to their filters, a_i b_j + a_j b_i of what both (M, 2, P,
    K) send.
    """
    return torch.mul(a[:, 1], b[:, 0]).addcmul_(a[:, 0], b[:, 1])


def softplus(z: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Shifted softplus, ln(1 + e^z) - ln 2, in `out` or else in the memory of `z`, and its slope s,
    the logistic function.

    As max(z, 0) - ln(1 + |2 s - 1|): one exponential serves both, and nothing overflows or cancels.
    """
    rise = torch.sigmoid(z)
    fall = torch.mul(rise, 2).sub_(1).abs_().log1p_()
    return torch.sub(z.clamp_(min=0), fall, out=z if out is None else out), rise


class Table(Protocol):
    """Filters that are read, not computed, see :mod:`.schnet_tables`."""

    def place(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`read` takes."""
        ...

    def read(self, interaction: int, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """W and dW/dr (M, P, K)."""
        ...


class Slopes(torch.autograd.Function):
    """Energies of atoms (M, N) and the slope of their sum in each distance (M, P), from distances
    (M, P).

    Arguments: distances, cutoff, row of the embedding of each atom (N,), :class:`Meeting`, then the
    parameters: embedding, eleven of each interaction in the order of :class:`Weights`, and weight
    and bias of the two layers of the energy.
    """

    @staticmethod
    def forward(
        ctx: Any,
        distances: Tensor,
        cutoff: float,
        kinds: Tensor,
        meeting: Meeting,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Up and down the network, :func:`evaluate`."""
        energies, slopes, kept = evaluate(distances, cutoff, kinds, meeting, parameters, keep=True)
        ctx.about = cutoff, kinds, meeting
        ctx.save_for_backward(distances, *parameters, *kept)
        return energies, slopes

    @staticmethod
    @once
    def backward(ctx: Any, d_energies: Tensor, d_slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Up and down again, :func:`differentiate`; what it returns is not differentiable further."""
        cutoff, kinds, meeting = ctx.about
        distances, *saved = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 4
        d_distances, d_parameters = differentiate(
            distances,
            cutoff,
            kinds,
            meeting,
            saved[:count],
            saved[count:],
            d_energies,
            d_slopes.unsqueeze(-1),
            moving=ctx.needs_input_grad[0],
            learning=any(ctx.needs_input_grad[4:]),
        )
        return d_distances, None, None, None, *d_parameters


def split(parameters: Sequence[Tensor]) -> tuple[Tensor, list[Weights], Sequence[Tensor]]:
    """The embedding, the weights of each interaction, and those of the energy's layers."""
    size = len(Weights._fields)
    return (
        parameters[0],
        [Weights(*parameters[at : at + size]) for at in range(1, len(parameters) - 4, size)],
        parameters[-4:],
    )


class Kept(NamedTuple):
    """What the derivative of an interaction needs: features that it met, what they sent, heard and
    became, and slopes of the energy in these.
    """

    features: Tensor
    sent: Tensor
    heard: Tensor
    rise: Tensor
    hidden: Tensor
    d_features: Tensor
    d_received: Tensor
    d_heard: Tensor
    d_sent: Tensor
    owed: Tensor
    filter: Tensor
    filter_slope: Tensor
    seen: Tensor
    between: Tensor
    inner_rise: Tensor
    inner_tangent: Tensor
    outer_rise: Tensor
    outer_tangent: Tensor
    bare: Tensor


def evaluate(
    distances: Tensor,
    cutoff: float,
    kinds: Tensor,
    meeting: Meeting,
    parameters: Sequence[Tensor],
    keep: bool,
    table: Table | None = None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Energies of atoms (M, N), slopes (M, P), and with `keep` what :func:`differentiate` needs;
    without, filters may come from a `table`.
    """
    embedding, blocks, (inner, inner_bias, outer, outer_bias) = split(parameters)
    features, up = embedding.index_select(1, kinds), []
    envelope, place = (
        (Envelope.of(distances, cutoff), ()) if table is None else (None, table.place(distances))
    )
    for t, w in enumerate(blocks):
        value, slope, kept = (
            filters(w, distances, envelope) if table is None else (*table.read(t, *place), None)
        )
        sent = (
            torch.bmm(features, w.send)
            if t
            else torch.bmm(embedding, w.send).index_select(1, kinds)
        )
        heard = meeting.heard(meeting.sent(sent).mul_(value.unsqueeze(1)))
        hidden, rise = softplus(torch.baddbmm(w.receive_bias, heard, w.receive))
        before, features = features, torch.baddbmm(features, hidden, w.update).add_(w.update_bias)
        up.append(
            (before, sent, heard, rise, hidden, value, slope, kept)
            if keep
            else (None, sent, None, rise, None, value, slope, None)
        )
    hidden, rise = softplus(torch.baddbmm(inner_bias, features, inner))
    energies = torch.baddbmm(outer_bias, hidden, outer).squeeze(-1)
    d_inner = rise * outer.mT
    d_features = torch.bmm(d_inner, inner.mT)
    slopes, down = torch.zeros_like(distances), [features, hidden, rise, d_inner]
    for t in range(len(blocks) - 1, -1, -1):
        before, sent, heard, rise, hidden, value, slope, kept = up.pop()
        w = blocks[t]
        d_received = torch.bmm(d_features, w.update.mT).mul_(rise)
        d_heard = torch.bmm(d_received, w.receive.mT)
        back = meeting.sent(d_heard)
        owed = couple(back, meeting.sent(sent))
        slopes += (owed * slope).sum(-1)
        above, d_sent = d_features, d_heard
        if t:
            d_sent = meeting.heard(back.mul_(value.unsqueeze(1)))
            d_features = torch.baddbmm(d_features, d_sent, w.send.mT)
        if keep:
            down += Kept(
                before,
                sent,
                heard,
                rise,
                hidden,
                above,
                d_received,
                d_heard,
                d_sent,
                owed,
                value,
                slope,
                *kept,
            )
    return energies, slopes, down if keep else []


def differentiate(
    distances: Tensor,
    cutoff: float,
    kinds: Tensor,
    meeting: Meeting,
    parameters: Sequence[Tensor],
    kept: Sequence[Tensor],
    d_energies: Tensor,
    d_slopes: Tensor,
    moving: bool,
    learning: bool,
) -> tuple[Tensor | None, list[Tensor | None]]:
    """The slope of a loss in distances and parameters, from its slopes in energies (M, N) and in
    slopes (M, P, 1).
    """
    embedding, blocks, (inner, _, outer, _) = split(parameters)
    features, hidden, rise, d_inner = kept[:4]
    size = len(Kept._fields)
    keeps = [Kept(*kept[at : at + size]) for at in range(len(kept) - size, 0, -size)]
    envelope = Envelope.of(distances, cutoff)
    along, up = None, []
    for w, k in zip(blocks, keeps, strict=True):
        bent = k.filter_slope * d_slopes
        sent, sent_along, before = meeting.sent(k.sent), None, along
        messages = sent * bent.unsqueeze(1)
        if along is not None:
            sent_along = meeting.sent(torch.bmm(along, w.send))
            messages.addcmul_(sent_along, k.filter.unsqueeze(1))
        heard = meeting.heard(messages)
        received = torch.bmm(heard, w.receive)
        hidden_along = received * k.rise
        along = (
            torch.bmm(hidden_along, w.update)
            if along is None
            else torch.baddbmm(along, hidden_along, w.update)
        )
        up.append((before, bent, sent, sent_along, heard, received, hidden_along))
    d_last, grads = d_energies.unsqueeze(-1), []
    inner_along = torch.bmm(along, inner)
    back = d_last * outer.mT
    _activated(back, inner_along, d_inner, rise, back)
    if learning:
        d_outer = torch.bmm(hidden.mT, d_last).add_((inner_along * rise).sum(1).unsqueeze(-1))
        grads = [
            torch.bmm(features.mT, back).baddbmm_(along.mT, d_inner),
            back.sum(1, keepdim=True),
            d_outer,
            d_last.sum(1, keepdim=True),
        ]
    d_features, d_distances = (
        torch.bmm(back, inner.mT),
        torch.zeros_like(distances) if moving else None,
    )
    for t in range(len(blocks) - 1, -1, -1):
        w, k = blocks[t], keeps[t]
        before, bent, sent, sent_along, heard, received, hidden_along = up.pop()
        own = []
        back = torch.bmm(d_features, w.update.mT)
        _activated(back, received, k.d_received, k.rise, back)
        d_heard = torch.bmm(back, w.receive.mT)
        if learning:
            own = [
                torch.bmm(k.heard.mT, back).baddbmm_(heard.mT, k.d_received),
                back.sum(1, keepdim=True),
                torch.bmm(k.hidden.mT, d_features).baddbmm_(hidden_along.mT, k.d_features),
                d_features.sum(1, keepdim=True),
            ]
        value_back, slope_back = meeting.sent(d_heard), meeting.sent(k.d_heard)
        d_filter = couple(value_back, sent)
        if sent_along is not None:
            d_filter.addcmul_(slope_back[:, 1], sent_along[:, 0]).addcmul_(
                slope_back[:, 0], sent_along[:, 1]
            )
        if t or learning:
            d_sent = meeting.heard(
                value_back.mul_(k.filter.unsqueeze(1)).addcmul_(slope_back, bent.unsqueeze(1))
            )
        if t:
            if learning:
                own.insert(0, torch.bmm(k.features.mT, d_sent).baddbmm_(before.mT, k.d_sent))
            d_features = torch.baddbmm(d_features, d_sent, w.send.mT)
        elif learning:
            d_sent = (
                torch.zeros_like(embedding[..., :1])
                .expand(*embedding.shape[:2], d_sent.shape[-1])
                .contiguous()
                .index_add_(1, kinds, d_sent)
            )
            own.insert(0, torch.bmm(embedding.mT, d_sent))
            d_embedding = torch.bmm(d_sent, w.send.mT).index_add_(1, kinds, d_features)
        d_r, of_filter = filters_back(
            w, distances, envelope, k, d_filter, d_slopes, moving, learning
        )
        if moving:
            d_distances += d_r
        grads = [*of_filter, *own, *grads]
    return d_distances, [d_embedding, *grads] if learning else [None] * len(parameters)


def _activated(
    d_value: Tensor, tangent: Tensor, d_tangent: Tensor, rise: Tensor, out: Tensor
) -> Tensor:
    """Down through an activation, s d_value + s (1 - s) z' d_tangent, where `d_tangent` already
    holds a factor s; spends `d_value`, which may be `out`.
    """
    bend = tangent * d_tangent
    return torch.addcmul(bend, d_value.sub_(bend), rise, out=out)


def filters(
    w: Weights, distances: Tensor, envelope: Envelope
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """W and dW/dr (M, P, K), and what :func:`filters_back` needs: values in the first P rows,
    slopes in the others.
    """
    pairs = distances.shape[1]
    inverse = w.widths.reciprocal()
    t = (distances.unsqueeze(-1) - w.centres).mul_(inverse)
    seen = t.new_empty(t.shape[0], 2 * pairs, t.shape[2])
    gaussians = torch.exp(t.square().mul_(-0.5).clamp_(min=FAINT), out=seen[:, :pairs])
    torch.mul(gaussians, t.mul_(-inverse), out=seen[:, pairs:])
    z = torch.bmm(seen, w.first)
    between, inner_tangent = torch.empty_like(z), z[:, pairs:]
    _, inner_rise = softplus(z[:, :pairs].add_(w.first_bias), between[:, :pairs])
    torch.mul(inner_rise, inner_tangent, out=between[:, pairs:])
    z = torch.bmm(between, w.second)
    outer_tangent = z[:, pairs:]
    bare, outer_rise = softplus(z[:, :pairs].add_(w.second_bias))
    slope = (outer_rise * outer_tangent).mul_(envelope.value).addcmul_(bare, envelope.slope)
    return (
        bare * envelope.value,
        slope,
        (seen, between, inner_rise, inner_tangent, outer_rise, outer_tangent, bare),
    )


def filters_back(
    w: Weights,
    distances: Tensor,
    envelope: Envelope,
    k: Kept,
    d_value: Tensor,
    d_slopes: Tensor,
    moving: bool,
    learning: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """The slope of a loss in distances (M, P) and in a filter's six parameters, from its slope in W
    and that in dW/dr, `k.owed` times `d_slopes`.
    """
    pairs, d_distances = distances.shape[1], None
    if moving:
        strength = (d_value * k.bare).sum(-1) + d_slopes.squeeze(-1) * (
            k.owed * (k.outer_rise * k.outer_tangent)
        ).sum(-1)
        bend = d_slopes.squeeze(-1) * (k.owed * k.bare).sum(-1)
        d_distances = envelope.slope.squeeze(-1) * strength + envelope.curvature.squeeze(-1) * bend
    back = torch.empty_like(k.between)
    d_value = d_value.mul_(envelope.value).addcmul_(k.owed, envelope.slope * d_slopes)
    d_tangent = torch.mul(k.owed, envelope.value * d_slopes, out=back[:, pairs:]).mul_(k.outer_rise)
    _activated(d_value, k.outer_tangent, d_tangent, k.outer_rise, back[:, :pairs])
    front = torch.bmm(back, w.second.mT)
    d_tangent = front[:, pairs:].mul_(k.inner_rise)
    _activated(front[:, :pairs], k.inner_tangent, d_tangent, k.inner_rise, front[:, :pairs])
    d_seen = torch.bmm(front, w.first.mT)
    inverse = w.widths.reciprocal()
    t = (distances.unsqueeze(-1) - w.centres) * inverse
    gaussians, gaussian_slopes = k.seen[:, :pairs], k.seen[:, pairs:]
    d_gaussians, d_gaussian_slopes = d_seen[:, :pairs], d_seen[:, pairs:]
    d_t = (d_gaussians * t + d_gaussian_slopes * (1 - t.square()) * inverse) * gaussians * -inverse
    if moving:
        d_distances = d_distances + d_t.sum(-1)
    if not learning:
        return d_distances, []
    d_widths = (d_t * t + d_gaussian_slopes * gaussian_slopes * inverse).sum(1, keepdim=True).neg_()
    return d_distances, [
        -d_t.sum(1, keepdim=True),
        d_widths,
        torch.bmm(k.seen.mT, front),
        front[:, :pairs].sum(1, keepdim=True),
        torch.bmm(k.between.mT, back),
        back[:, :pairs].sum(1, keepdim=True),
    ]
