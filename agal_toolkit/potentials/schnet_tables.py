"""Filters that no longer learn, read from a table over the distance.

A filter of SchNet is a function of one number, and asking its network about every pair at every
step of a simulation is asking the same again and again. Between knots a table holds the polynomial
of fifth degree that has the filter's values and slopes at both ends and in the middle; knots are
set closer until what is read agrees with the network within the rounding of float32, so nothing is
traded for the speed; where even the closest do not, there is no table, and the network is asked.
One pair's filter and its slope are each a weighted sum of six rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .schnet_passes import Envelope, Weights, filters

CELLS = 256  # between knots, at first: 0.02 angstrom at a cutoff of 5
FINEST = 4096
ROUNDING = 2e-6  # of the largest filter or slope: what products in float32 leave


class FilterTable:
    """The filters of all interactions of M members at any distance within the cutoff, in float32.

    Args:
        blocks: the parameters of each interaction.
        cutoff: angstrom.

    Attributes:
        cells: between knots.
        agrees: whether what is read agrees with the network; else the filters are too narrow for
            :data:`FINEST` cells.
    """

    def __init__(self, blocks: Sequence[Weights], cutoff: float) -> None:
        self.cutoff, self.members = cutoff, len(blocks[0].first)
        double = [
            Weights(*(parameter.detach().double() for parameter in block)) for block in blocks
        ]
        self.cells = CELLS
        while not (agrees := self._fill(double)) and self.cells < FINEST:
            self.cells *= 2
        self.agrees = agrees

    def _fill(self, blocks: Sequence[Weights]) -> bool:
        """Makes the rows (M cells 6, K) of each interaction; whether they agree with the network
        between their knots.
        """
        device, width, m = blocks[0].first.device, self.cutoff / self.cells, self.members
        knots = torch.linspace(
            0, self.cutoff, 2 * self.cells + 1, dtype=torch.float64, device=device
        ).expand(m, -1)
        between = (
            (torch.arange(self.cells, dtype=torch.float64, device=device) + 0.23) * width
        ).expand(m, -1)
        solve = torch.linalg.inv(
            _powers(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64, device=device)).flatten(0, 1)
        )
        self.rows, agrees = [], True
        for w in blocks:
            value, slope, _ = filters(w, knots, Envelope.of(knots, self.cutoff))
            pieces = torch.stack(
                [
                    part[:, at : at + 2 * self.cells : 2]
                    for part in (value, slope * width)
                    for at in (0, 1, 2)
                ],
                dim=2,
            )
            self.rows.append((solve @ pieces).float().flatten(0, 2))
            exact = filters(w, between, Envelope.of(between, self.cutoff))[:2]
            read = self.read(len(self.rows) - 1, *self.place(between.float()))
            agrees &= all(
                bool((a - b).abs().max() <= ROUNDING * a.abs().max())
                for a, b in zip(exact, read, strict=True)
            )
        return agrees

    def place(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """For distances (M, P): six rows (2 M P, 6) and their weights in the filters, then in the
        slopes.
        """
        x = distances * (self.cells / self.cutoff)
        cell = x.to(torch.int64).clamp_(0, self.cells - 1)
        weights = _powers(
            (x - cell).clamp_(max=1.0) + 0 * x
        )  # beyond the cutoff as at it, but what is no number stays none
        weights[1] *= self.cells / self.cutoff
        cell += self.cells * torch.arange(self.members, device=cell.device).unsqueeze(-1)
        rows = 6 * cell.flatten().unsqueeze(-1) + torch.arange(6, device=cell.device)
        return rows.repeat(2, 1), weights.view(-1, 6)

    def read(self, interaction: int, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """W and dW/dr, (M, P, K) each, where :meth:`place` found the distances."""
        said = embedding_bag(rows, self.rows[interaction], per_sample_weights=weights, mode="sum")
        value, slope = said.view(2, self.members, -1, said.shape[-1])
        return value, slope


def _powers(t: Tensor) -> Tensor:
    """(2, ..., 6): t^0 to t^5, and their derivatives."""
    exponents = torch.arange(6, dtype=t.dtype, device=t.device)
    powers = t.unsqueeze(-1) ** exponents
    return torch.stack(
        [powers, exponents * torch.cat([torch.zeros_like(powers[..., :1]), powers[..., :-1]], -1)]
    )
