"""The elements that a network was built for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn


class Elements(nn.Module):
    """Finds the row of each atom's element; has no parameters.

    Args:
        numbers: atomic numbers, 0 for particles without a name.
        network: whose they are, for messages.

    Raises:
        ValueError: no elements, one named twice, or one that does not exist.
    """

    def __init__(self, numbers: Sequence[int], network: str) -> None:
        super().__init__()
        known = [int(z) for z in numbers]
        if not known or len(set(known)) < len(known) or not all(0 <= z <= 118 for z in known):
            raise ValueError(
                f"elements are {known}: give each atomic number that structures hold once"
            )
        self.numbers, self._network = tuple(known), network
        rows = torch.full((119,), -1)
        rows[known] = torch.arange(len(known))
        self.register_buffer("rows", rows, persistent=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def forward(self, numbers: Tensor) -> Tensor:
        """(N,) the rows of atomic numbers (N,).

        Raises:
            ValueError: an element that the network has never seen; names it, and what to build.
        """
        kinds = self.rows[numbers]
        if (kinds < 0).any():
            strange = ", ".join(chemical_symbols[z] for z in numbers[kinds < 0].unique().tolist())
            known = sorted({*self.numbers, *numbers.tolist()})
            raise ValueError(
                f"this network has never seen {strange}; it knows {self}: build and train"
                f" {self._network}({known}, ...)"
            )
        return kinds

    def __repr__(self) -> str:
        return ", ".join(chemical_symbols[z] for z in self.numbers)
