"""Many structures as torch tensors, their displacement, and predictions for them.

Coordinates are float64 everywhere; a network computes in its own precision. Units are those of
:mod:`.geometry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from .geometry import Geometry, as_geometry


@dataclass(frozen=True, eq=False)
class Batch:
    """N particles of B geometries of one dimension d, as torch tensors on one device.

    Attributes:
        positions: (N, d) float64; or (M, N, d), where each of M members sees its own positions.
        numbers: (N,) int64 atomic numbers.
        owner: (N,) int64, the geometry each particle belongs to, ascending.
        cell: (B, d, d) float64, rows are the cell vectors; or (M, B, d, d).
        pbc: (B, d) bool. Open and periodic geometries may mix.
        charge: (B,) int64 total charges in elementary charges.
        multiplicity: (B,) int64 spin multiplicities 2S + 1.
        nearby: a batch so close to this one that both can share a list of neighbours, or None.
    """

    positions: Tensor
    numbers: Tensor
    owner: Tensor
    cell: Tensor
    pbc: Tensor
    charge: Tensor
    multiplicity: Tensor
    nearby: Nearby | None = None

    @classmethod
    def of(
        cls, structures: Iterable[Geometry | Atoms], device: torch.device | str = "cpu"
    ) -> Batch:
        """Concatenate structures.

        Raises:
            ValueError: no structures, or structures of different dimensions.
        """
        geometries = [as_geometry(structure) for structure in structures]
        if not geometries:
            raise ValueError("a batch needs at least one geometry")
        dimensions = sorted({geometry.dimension for geometry in geometries})
        if len(dimensions) > 1:
            remedy = "cannot share a batch: batch them apart"
            raise ValueError(f"geometries of {dimensions} dimensions {remedy}")
        columns = {
            "positions": np.concatenate([g.positions for g in geometries]),
            "numbers": np.concatenate([g.numbers for g in geometries]),
            "owner": np.repeat(np.arange(len(geometries)), [len(g) for g in geometries]),
            "cell": np.stack([g.cell for g in geometries]),
            "pbc": np.stack([g.pbc for g in geometries]),
            "charge": [g.charge for g in geometries],
            "multiplicity": [g.multiplicity for g in geometries],
        }
        tensors = {name: torch.tensor(v, device=device) for name, v in columns.items()}
        return cls(**tensors, nearby=None)

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
        """Sum per-particle `values` (..., N) over each geometry: (..., B)."""
        if len(self) == len(self.owner):
            return values
        out = values.new_zeros(*values.shape[:-1], len(self))
        return out.index_add(-1, self.owner, values)

    def mean(self, values: Tensor) -> Tensor:
        """Average per-particle `values` (..., N) over each geometry: (..., B)."""
        return self.sum(values) / self.counts.to(values.dtype)

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest of the per-particle `values` (..., N) of each geometry: (..., B)."""
        out = values.new_full((*values.shape[:-1], len(self)), -torch.inf)
        return out.scatter_reduce(-1, self.owner.expand(values.shape), values, "amax")

    def at(self, positions: Tensor, cell: Tensor | None = None) -> Batch:
        """Return the same particles at other positions, and in another cell if given."""
        cell = self.cell if cell is None else cell
        return replace(self, positions=positions, cell=cell, nearby=None)

    def deformed(self, shift: Tensor, stretch: Tensor | None = None) -> Batch:
        """Return the batch at x' = (x + shift) stretch and cell' = cell stretch.

        Args:
            shift: (N, d), or (M, N, d) where each member sees its own.
            stretch: any matrices (B, d, d), or (M, B, d, d); None keeps the cell.
        """
        positions = self.positions + shift
        if stretch is None:
            return self.at(positions)
        own = stretch[..., self.owner, :, :]
        return self.at(torch.einsum("...ni,...nij->...nj", positions, own), self.cell @ stretch)

    def member(self, m: int) -> Batch:
        """Return the batch that member m sees: this one if all members see the same."""
        if self.positions.ndim == 2:
            return self
        cell = self.cell[m] if self.cell.ndim == 4 else self.cell
        return replace(self, positions=self.positions[m], cell=cell)

    def take(self, chosen: Tensor) -> tuple[Batch, Tensor]:
        """Return the `chosen` geometries (k,), and the indices of their particles."""
        owner = torch.arange(len(chosen), device=chosen.device)
        if len(self) == len(self.owner):
            particles = chosen
        else:
            counts = self.counts
            first, sizes = (counts.cumsum(0) - counts)[chosen], counts[chosen]
            owner = owner.repeat_interleave(sizes)
            # place of each particle within its geometry
            within = torch.arange(len(owner), device=chosen.device)
            within = within - (sizes.cumsum(0) - sizes)[owner]
            particles = first[owner] + within
        taken = Batch(
            positions=self.positions[..., particles, :],
            numbers=self.numbers[particles],
            owner=owner,
            cell=self.cell[..., chosen, :, :],
            pbc=self.pbc[chosen],
            charge=self.charge[chosen],
            multiplicity=self.multiplicity[chosen],
        )
        return taken, particles

    def repeat(self, copies: int) -> Batch:
        """Return the whole batch `copies` times, one copy behind the other."""
        copy = torch.arange(copies, device=self.owner.device).repeat_interleave(len(self.owner))
        return Batch(
            positions=self.positions.repeat(copies, 1),
            numbers=self.numbers.repeat(copies),
            owner=self.owner.repeat(copies) + copy * len(self),
            cell=self.cell.repeat(copies, 1, 1),
            pbc=self.pbc.repeat(copies, 1),
            charge=self.charge.repeat(copies),
            multiplicity=self.multiplicity.repeat(copies),
        )

    def split(self, values: Tensor) -> list[NDArray]:
        """Split per-particle `values` (N, ...) into one numpy array for each geometry."""
        return [part.numpy() for part in values.detach().cpu().split(self.counts.tolist())]


@dataclass(frozen=True, eq=False)
class Nearby:
    """A batch from which copies of it differ by a small motion only.

    Attributes:
        batch: B geometries, positions (N, d).
        copies: how often they stand in the batch that has moved, one copy behind the other.
        shift: the farthest that any particle has moved, angstrom.
        strain: the largest relative change of any vector beyond that.
        lists: pairs of neighbours that were found for a cutoff, for the next potential.
    """

    batch: Batch
    copies: int
    shift: float
    strain: float
    lists: dict[float, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Delta:
    """A displacement of a batch, x' = (x + shift)(1 + strain) and cell' = cell (1 + strain).

    Attributes:
        shift: (N, d), angstrom.
        strain: (B, d, d), symmetric, or None.
    """

    shift: Tensor
    strain: Tensor | None = None

    @property
    def stretch(self) -> Tensor | None:
        """(B, d, d) 1 + strain; None without a strain."""
        if self.strain is None:
            return None
        d, like = self.strain.shape[-1], self.strain
        return torch.eye(d, dtype=like.dtype, device=like.device) + self.strain

    def apply(self, batch: Batch) -> Batch:
        """Return the displaced batch."""
        return batch.deformed(self.shift, self.stretch)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Energies, forces and stresses of a batch; those of a committee have a leading member axis M.

    Attributes:
        energy: (..., B), eV.
        forces: (..., N, d), eV/angstrom.
        stress: (..., B, d, d), eV/angstrom^3, positive under tension; NaN unless a geometry is
            periodic in all directions.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor

    def detach(self) -> Prediction:
        """Return the prediction without its graph."""
        return Prediction(self.energy.detach(), self.forces.detach(), self.stress.detach())

    def mean(self) -> Prediction:
        """Average over the leading member axis."""
        return Prediction(self.energy.mean(0), self.forces.mean(0), self.stress.mean(0))

    def __getitem__(self, members: Any) -> Prediction:
        return Prediction(self.energy[members], self.forces[members], self.stress[members])


def concatenate(predictions: Sequence[Prediction]) -> Prediction:
    """Join predictions for consecutive parts of a batch."""
    return Prediction(
        torch.cat([p.energy for p in predictions], -1),
        torch.cat([p.forces for p in predictions], -2),
        torch.cat([p.stress for p in predictions], -3),
    )
