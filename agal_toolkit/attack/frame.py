"""How energies, forces and stresses answer when a batch is moved and its cells are deformed.

This is the algebra that every gradient of a loss shares: the chain rule of x' = (x + shift) stretch
and cell' = cell stretch, written once and tested against differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..batch import Batch, Prediction


@dataclass(frozen=True)
class Frame:
    """A batch moved by y = (shift, stretch): x' = (x + shift) stretch, cell' = cell stretch.

    Attributes:
        batch: the batch before it moves, positions (N, d).
        shift: (N, d), or (M, N, d) where each member sees its own.
        stretch: any matrices (B, d, d), or (M, B, d, d); None moves particles only.
    """

    batch: Batch
    shift: Tensor
    stretch: Tensor | None = None

    def moved(self) -> Batch:
        """Return the moved batch."""
        return self.batch.deformed(self.shift, self.stretch)

    def generalised(self, prediction: Prediction) -> tuple[Tensor, Tensor | None]:
        """Return G = -dE/dy of a prediction for the moved batch, float64.

        G_shift = F stretch^T is (M, N, d). G_stretch = -V stretch^-T S is (M, B, d, d), zero for
        geometries without a volume.
        """
        forces = prediction.forces.double()
        if self.stretch is None:
            return forces, None
        G_shift = torch.einsum("...ni,...nji->...nj", forces, self._of_particles(self.stretch))
        stress = torch.where(self._periodic, prediction.stress.double(), 0.0)
        return G_shift, -self._volume * torch.linalg.inv(self.stretch).mT @ stress

    def predicted(
        self, energy: Tensor, G_shift: Tensor, G_stretch: Tensor | None, like: Prediction
    ) -> Prediction:
        """Invert :meth:`generalised`, differentiably, in the precision of `like`."""
        if self.stretch is None or G_stretch is None:
            return Prediction(energy, G_shift.to(like.forces.dtype), like.stress)
        inverse = self._of_particles(torch.linalg.inv(self.stretch))
        forces = torch.einsum("...ni,...nji->...nj", G_shift, inverse)
        stress = -(self.stretch.mT @ G_stretch) / self._volume
        stress = torch.where(self._periodic, stress, torch.nan)
        return Prediction(energy, forces.to(like.forces.dtype), stress.to(like.stress.dtype))

    def _of_particles(self, stretch: Tensor) -> Tensor:
        return stretch.index_select(-3, self.batch.owner)

    @property
    def cell(self) -> Tensor:
        """(..., B, d, d) cells of the moved batch."""
        return self.batch.cell if self.stretch is None else self.batch.cell @ self.stretch

    @property
    def _periodic(self) -> Tensor:
        return self.batch.pbc.all(-1)[:, None, None]

    @property
    def _volume(self) -> Tensor:
        """(..., B, 1, 1) volumes, one for geometries that have none."""
        return torch.where(self._periodic, torch.linalg.det(self.cell).abs()[..., None, None], 1.0)
