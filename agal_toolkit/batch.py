"""Many structures as tensors of torch, their motion, and what is predicted of them.

Coordinates are float64 everywhere; a network computes in its own precision. Units are those of
:mod:`.geometry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from .geometry import Geometry, as_geometry


@dataclass(frozen=True, eq=False)
class Batch:
    """Many geometries of one dimension d as torch tensors on one device: N particles of B
    geometries.

    Attributes:
        positions: (N, d) float64; or (M, N, d), where each of M members sees positions of its own.
        numbers: (N,) int64 atomic numbers.
        owner: (N,) int64, the geometry each particle belongs to, ascending.
        cell: (B, d, d) float64, rows are the cell vectors; or (M, B, d, d).
        pbc: (B, d) bool. Open and periodic geometries may mix.
        charge: (B,) int64 total charges in elementary charges.
        multiplicity: (B,) int64 spin multiplicities 2S + 1.
    """

    positions: Tensor
    numbers: Tensor
    owner: Tensor
    cell: Tensor
    pbc: Tensor
    charge: Tensor
    multiplicity: Tensor

    @classmethod
    def of(
        cls, structures: Iterable[Geometry | Atoms], device: torch.device | str = "cpu"
    ) -> Batch:
        """The structures, concatenated.

        Raises:
            ValueError: no structures, or structures of different dimensions.
        """
        geometries = [as_geometry(structure) for structure in structures]
        if not geometries:
            raise ValueError("a batch needs at least one geometry")
        dimensions = sorted({geometry.dimension for geometry in geometries})
        if len(dimensions) > 1:
            raise ValueError(
                f"geometries of {dimensions} dimensions cannot share a batch: batch them apart"
            )
        return cls(
            positions=torch.tensor(
                np.concatenate([g.positions for g in geometries]), device=device
            ),
            numbers=torch.tensor(np.concatenate([g.numbers for g in geometries]), device=device),
            owner=torch.tensor(
                np.repeat(np.arange(len(geometries)), [len(g) for g in geometries]), device=device
            ),
            cell=torch.tensor(np.stack([g.cell for g in geometries]), device=device),
            pbc=torch.tensor(np.stack([g.pbc for g in geometries]), device=device),
            charge=torch.tensor([g.charge for g in geometries], device=device),
            multiplicity=torch.tensor([g.multiplicity for g in geometries], device=device),
        )

    def __len__(self) -> int:
        return self.pbc.shape[0]

    @property
    def dimension(self) -> int:
        """Number of coordinates of one particle."""
        return self.positions.shape[-1]

    @property
    def counts(self) -> Tensor:
        """(B,) particles of each geometry."""
        return torch.bincount(self.owner, minlength=len(self))

    def sum(self, values: Tensor) -> Tensor:
        """Per-particle `values` (..., N) summed over each geometry: (..., B)."""
        if len(self) == len(self.owner):
            return values
        out = values.new_zeros(*values.shape[:-1], len(self))
        return out.index_add(-1, self.owner, values)

    def mean(self, values: Tensor) -> Tensor:
        """Per-particle `values` (..., N) averaged over each geometry: (..., B)."""
        return self.sum(values) / self.counts.to(values.dtype)

    def largest(self, values: Tensor) -> Tensor:
        """Per-particle `values` (..., N): the largest of each geometry, (..., B)."""
        out = values.new_full((*values.shape[:-1], len(self)), -torch.inf)
        return out.scatter_reduce(-1, self.owner.expand(values.shape), values, "amax")

    def at(self, positions: Tensor, cell: Tensor | None = None) -> Batch:
        """The same particles at other positions (and in another cell)."""
        return replace(self, positions=positions, cell=self.cell if cell is None else cell)

    def member(self, m: int) -> Batch:
        """What member m sees: itself where all members see the same."""
        if self.positions.ndim == 2:
            return self
        return replace(
            self,
            positions=self.positions[m],
            cell=self.cell[m] if self.cell.ndim == 4 else self.cell,
        )

    def take(self, chosen: Tensor) -> tuple[Batch, Tensor]:
        """The `chosen` geometries (k,), and the indices of their particles."""
        if len(self) == len(self.owner):
            particles, owner = chosen, torch.arange(len(chosen), device=chosen.device)
        else:
            counts = self.counts
            first = counts.cumsum(0) - counts
            picked = counts[chosen]
            owner = torch.arange(len(chosen), device=chosen.device).repeat_interleave(picked)
            within = (
                torch.arange(len(owner), device=chosen.device) - (picked.cumsum(0) - picked)[owner]
            )
            particles = first[chosen][owner] + within
        taken = Batch(
            self.positions[..., particles, :],
            self.numbers[particles],
            owner,
            self.cell[..., chosen, :, :],
            self.pbc[chosen],
            self.charge[chosen],
            self.multiplicity[chosen],
        )
        return taken, particles

    def repeat(self, copies: int) -> Batch:
        """The whole batch `copies` times, one behind the other."""
        offset = torch.arange(copies, device=self.owner.device).repeat_interleave(
            len(self.owner)
        ) * len(self)
        return Batch(
            positions=self.positions.repeat(copies, 1),
            numbers=self.numbers.repeat(copies),
            owner=self.owner.repeat(copies) + offset,
            cell=self.cell.repeat(copies, 1, 1),
            pbc=self.pbc.repeat(copies, 1),
            charge=self.charge.repeat(copies),
            multiplicity=self.multiplicity.repeat(copies),
        )

    def split(self, values: Tensor) -> list[NDArray]:
        """Per-particle `values` (N, ...) as one numpy array for each geometry."""
        counts = torch.bincount(self.owner, minlength=len(self)).tolist()
        return [part.numpy() for part in values.detach().cpu().split(counts)]


@dataclass(frozen=True, eq=False)
class Delta:
    """A displacement of a batch: what an attack moves.

    Attributes:
        shift: (N, d), angstrom.
        strain: (B, d, d), symmetric, or None; x' = (x + shift)(1 + strain), cell' = cell (1 +
            strain).
    """

    shift: Tensor
    strain: Tensor | None = None

    def apply(self, batch: Batch) -> Batch:
        """The displaced batch."""
        positions = batch.positions + self.shift
        if self.strain is None:
            return batch.at(positions)
        stretch = (
            torch.eye(batch.dimension, dtype=positions.dtype, device=positions.device) + self.strain
        )
        return batch.at(
            torch.einsum("ni,nij->nj", positions, stretch[batch.owner]), batch.cell @ stretch
        )


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a potential says of a batch; a committee puts a member axis M in front of each.

    Attributes:
        energy: (..., B), eV.
        forces: (..., N, d), eV/angstrom.
        stress: (..., B, d, d), eV/angstrom^3, positive under tension; NaN for geometries that are
            not periodic in all directions.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor

    def detach(self) -> Prediction:
        """Without a graph."""
        return Prediction(self.energy.detach(), self.forces.detach(), self.stress.detach())

    def mean(self) -> Prediction:
        """The average over the leading member axis."""
        return Prediction(self.energy.mean(0), self.forces.mean(0), self.stress.mean(0))

    def __getitem__(self, members: Any) -> Prediction:
        return Prediction(self.energy[members], self.forces[members], self.stress[members])


def concatenate(predictions: Sequence[Prediction]) -> Prediction:
    """Predictions of consecutive parts of a batch as one."""
    return Prediction(
        torch.cat([p.energy for p in predictions], -1),
        torch.cat([p.forces for p in predictions], -2),
        torch.cat([p.stress for p in predictions], -3),
    )
