"""What an iterate of an attack must not break: guards, called with the moved batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry import Batch
from ..potentials.neighbours import neighbours


@dataclass(frozen=True)
class Apart:
    """No two particles of a geometry, images counted, nearer than `shortest`.

    Attributes:
        shortest: angstrom; Cezar 2025 drops structures below 0.75.

    Raises:
        ValueError: a distance that is not positive.
    """

    shortest: float = 0.75

    def __post_init__(self) -> None:
        if not self.shortest > 0:
            raise ValueError(f"shortest is {self.shortest}, expected a positive distance")

    def __call__(self, batch: Batch) -> Tensor:
        """(B,) whether each geometry keeps it."""
        pairs = neighbours(batch, self.shortest)
        near = pairs.vectors(batch).norm(dim=-1) < self.shortest
        broken = torch.zeros(len(batch), dtype=torch.bool, device=batch.positions.device)
        broken[batch.owner[pairs.first[near]]] = True
        return ~broken
