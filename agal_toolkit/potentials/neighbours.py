"""Pairs of particles within a cutoff, for all geometries of a batch at once.

A list belongs to the positions for which it was made: potentials build a new one at each call.
Small open geometries, which training visits thousands of times, get all their pairs by index
arithmetic over the whole batch; for crystals, slabs and large molecules the library vesin finds the
pairs and their images. Pairs fade out at the cutoff by an envelope: with s = r / cutoff it is
f = 1 - 10 s^3 + 15 s^4 - 6 s^5, zero beyond s = 1 and twice continuously differentiable there. The
product with (1 - s)^3 does not cancel near s = 1. It stands here twice: networks were trained with
either order of rounding, and keep theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from vesin import NeighborList

from ..batch import Batch

# For an open geometry of up to this many particles, testing all pairs is faster than a cell list.
FEW = 128
OVERLAP = 1e-6  # angstrom; the slope of a shorter distance has no direction
# Smallest extent of a cell, relative to the cutoff or its largest extent, the lesser of the two: a
# thinner cell has more images than fit into memory, and a flat one ends the process inside vesin.
FLAT = 1e-4


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of particles, each once; of two opposite images of a particle itself, one is a pair.

    Attributes:
        first, second: (P,) int64 particles of one geometry; equal for a particle and its image.
        shift: (P, d) float64, whole cell vectors to add to the second; None if all are zero.
    """

    first: Tensor
    second: Tensor
    shift: Tensor | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, chosen: Tensor) -> Pairs:
        shift = None if self.shift is None else self.shift[chosen]
        return Pairs(self.first[chosen], self.second[chosen], shift)

    def repeat(self, copies: int, particles: int) -> Pairs:
        """Return the pairs of `copies` of all `particles`, one copy behind the other."""
        starts = torch.arange(copies, device=self.first.device).repeat_interleave(len(self))
        first, second = (i.repeat(copies) + starts * particles for i in (self.first, self.second))
        return Pairs(first, second, None if self.shift is None else self.shift.repeat(copies, 1))

    def among(self, chosen: Tensor, batch: Batch) -> Tensor:
        """Return (B,) True for geometries with at least one `chosen` (P,) pair."""
        return torch.bincount(batch.owner[self.first[chosen]], minlength=len(batch)) > 0

    def vectors(self, batch: Batch) -> Tensor:
        """Return vectors (..., P, d) float64, angstrom, from the first particle to the second.

        They are differentiable in positions and cell.
        """
        x = batch.positions
        r = x.index_select(-2, self.second) - x.index_select(-2, self.first)
        if self.shift is None:
            return r
        cell = batch.cell.index_select(-3, batch.owner[self.first])
        return r + (self.shift.unsqueeze(-2) @ cell).squeeze(-2)

    def distances(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Return the lengths (..., P) of `vectors` (..., P, d), angstrom.

        Raises:
            ValueError: particles at the same place; names them.
        """
        r = torch.linalg.vector_norm(vectors, dim=-1)
        overlapping = r < OVERLAP
        if overlapping.any():
            pair = int(overlapping.reshape(-1, len(self)).any(0).nonzero()[0])
            b = int(batch.owner[self.first[pair]])
            start = int((batch.owner < b).sum())
            i, j = int(self.first[pair]) - start, int(self.second[pair]) - start
            wrong = f"particles {i} and {j} of geometry {b} of the batch are at the same place"
            remedy = "move them apart, or drop such structures (MinDistance does among candidates)"
            raise ValueError(f"{wrong}: {remedy}")
        return r


def neighbours(batch: Batch, cutoff: float) -> Pairs:
    """Return the pairs closer than `cutoff` (angstrom), images included.

    If each member sees its own positions, these are the pairs of all members; a member's list then
    holds pairs beyond the cutoff, which the envelope of a network makes zero. Positions that are
    not finite count as near, so that they reach the energy of their geometry and of no other; an
    atom without neighbours is in no pair, see :func:`nan_where_invalid`.

    Where the batch has a ``nearby`` one, the pairs are those of that batch within a cutoff that no
    pair can have crossed since: one list for all members, copies and potentials.

    Raises:
        ValueError: a periodic cell without a volume.
    """
    near = batch.nearby
    if near is None:
        return _found(batch, cutoff)
    if cutoff not in near.lists:
        # r' = r + e with |e| <= 2 shift + strain r, so r' < cutoff only if r is below this
        pairs = _found(near.batch, (cutoff + 2 * near.shift) / (1 - near.strain))
        near.lists[cutoff] = pairs.repeat(near.copies, len(near.batch.owner))
    return near.lists[cutoff]


def _found(batch: Batch, cutoff: float) -> Pairs:
    positions, cell = batch.positions.detach(), batch.cell.detach()
    members = positions if positions.ndim == 3 else positions[None]
    if members.stride(0) == 0:
        members = members[:1]
    counts = batch.counts
    simple = ~batch.pbc.any(-1) & (counts <= FEW)
    none = batch.owner[:0]
    pairs = (
        _all(members, batch.owner, counts, simple, cutoff) if simple.any() else Pairs(none, none)
    )
    rest = (~simple).nonzero().flatten().tolist()
    if not rest:
        return pairs
    first, second = [pairs.first.cpu()], [pairs.second.cpu()]
    shift = [torch.zeros(len(pairs), batch.dimension, dtype=torch.float64, device="cpu")]
    points, periodic = members.cpu().numpy(), batch.pbc.cpu().numpy()
    cells = cell.reshape(-1, *cell.shape[-3:]).cpu().numpy()
    ends = counts.cumsum(0).tolist()
    # more threads would change the order of pairs, and with it the rounding of sums
    library = NeighborList(cutoff=cutoff, full_list=False, sorted=True, n_threads=1)
    for b in rest:
        start, end = ends[b - 1] if b else 0, ends[b]
        name = f"geometry {b} of the batch"
        rows = _listed(library, points[:, start:end], cells[:, b], periodic[b], name)
        first.append(torch.from_numpy(rows[:, 0] + start))
        second.append(torch.from_numpy(rows[:, 1] + start))
        shift.append(torch.from_numpy(rows[:, 2:].astype(float)))
    device = batch.positions.device
    return Pairs(*(torch.cat(parts).to(device) for parts in (first, second, shift)))


def pairs_within(
    batch: Batch, limit: float, between: tuple[int, int] | None = None
) -> tuple[Pairs, Tensor]:
    """Return the pairs within `limit` (angstrom), images included, and their distances (P,).

    `between` keeps pairs of these two atomic numbers. A distance that is not finite is kept.
    """
    pairs = neighbours(batch, limit)
    if between is not None:
        one, other = batch.numbers[pairs.first], batch.numbers[pairs.second]
        a, b = between
        pairs = pairs[((one == a) & (other == b)) | ((one == b) & (other == a))]
    return pairs, pairs.vectors(batch).norm(dim=-1)


def any_closer(batch: Batch, limit: float, between: tuple[int, int] | None = None) -> Tensor:
    """Return (B,) True where two particles, or one and its own image, are closer than `limit`."""
    pairs, distances = pairs_within(batch, limit, between)
    return pairs.among(distances < limit, batch)


def nan_where_invalid(batch: Batch) -> Tensor:
    """Return (..., N), NaN where a position is not finite and zero elsewhere.

    Networks add it to energies of atoms, because an atom without neighbours is in no pair.
    """
    return (0 * batch.positions.detach()).sum(-1)


def _all(members: Tensor, owner: Tensor, counts: Tensor, chosen: Tensor, cutoff: float) -> Pairs:
    """Return pairs in the `chosen` (B,) geometries that are near for any of `members` (m, N, d)."""
    index = torch.arange(len(owner), device=owner.device)
    # each particle pairs with those after it
    followers = (counts.cumsum(0)[owner] - index - 1) * chosen[owner]
    first = index.repeat_interleave(followers)
    before = followers.cumsum(0) - followers
    second = first + 1 + torch.arange(len(first), device=owner.device) - before[first]
    r = members.index_select(1, second) - members.index_select(1, first)
    near = ~(r.square().sum(-1) > cutoff**2).all(0)
    return Pairs(first, second) if near.all() else Pairs(first[near], second[near])


def _listed(
    library: NeighborList, members: NDArray, cells: NDArray, pbc: NDArray, name: str
) -> NDArray:
    """First, second, shift (P, 2 + d) of pairs of `members` (m, n, d) in `cells` (m or 1, d, d)."""
    d = members.shape[-1]
    cells = np.broadcast_to(cells, (max(len(members), len(cells)), d, d))
    members = np.broadcast_to(members, (len(cells), *members.shape[1:]))
    lists = []
    for m, (x, cell) in enumerate(zip(members, cells, strict=True)):
        if m and np.array_equal(x, members[0]) and np.array_equal(cell, cells[0]):
            continue
        invalid = ~np.isfinite(x).all(-1) | ~np.isfinite(cell).all()
        if invalid.any():  # NaN for this member only: it pairs such particles with all others
            pairs = np.argwhere(np.triu(invalid[:, None] | invalid, 1))
            lists.append(np.concatenate([pairs, np.zeros((len(pairs), d), dtype=np.int64)], 1))
            continue
        extents = np.linalg.svd(cell[pbc], compute_uv=False)
        if pbc.any() and extents.min() <= FLAT * min(library.cutoff, extents.max()):
            wrong = f"the periodic cell vectors {cell[pbc].round(6).tolist()} of {name}"
            remedy = "give a cell with a volume, or pbc=False"
            raise ValueError(f"{wrong} lie in one plane or line: {remedy}")
        points, box, periodic = np.zeros((len(x), 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool)
        points[:, :d], box[:d, :d], periodic[:d] = x, cell, pbc
        pairs, shift = library.compute(points, box, periodic, "PS")
        lists.append(np.concatenate([pairs.astype(np.int64), shift[:, :d].astype(np.int64)], 1))
    if len(lists) == 1:
        return lists[0]
    rows = np.concatenate(lists)
    if not len(rows):
        return rows
    # Give each pair one direction: else a pair of two members could count twice.
    turned = np.concatenate([rows[:, 1::-1], -rows[:, 2:]], 1)
    signs = np.concatenate([rows[:, 1:2] - rows[:, :1], rows[:, 2:]], 1)
    leading = np.take_along_axis(signs, (signs != 0).argmax(1)[:, None], 1)
    rows = np.where(leading < 0, turned, rows)
    # sorted by one integer for each row: np.unique(axis=0) takes most of the time of a step
    smallest = rows.min(0)
    keys = np.ravel_multi_index((rows - smallest).T, rows.max(0) - smallest + 1)
    return rows[np.unique(keys, return_index=True)[1]]


def envelope(s: Tensor) -> tuple[Tensor, Tensor]:
    """Return f and df/ds at the relative distances `s`."""
    left = (1 - s).clamp(min=0)
    return left**3 * (1 + 3 * s + 6 * s.square()), -30 * (s * left).square()


class Envelope(NamedTuple):
    """The function and its first two derivatives in the distance r, (M, P, 1) each."""

    value: Tensor
    slope: Tensor
    curvature: Tensor

    @classmethod
    def of(cls, distances: Tensor, cutoff: float) -> Envelope:
        """Evaluate all three at `distances` (M, P), angstrom."""
        s = (distances / cutoff).unsqueeze(-1)
        left = (1 - s).clamp_(min=0)
        product = s * left
        return cls(
            left**3 * (6 * s.square() + 3 * s + 1),
            product.square() * (-30 / cutoff),
            product * (1 - 2 * s) * (-60 / cutoff**2),
        )
