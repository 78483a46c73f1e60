"""The elements for which a network was built."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn


class Elements(nn.Module):
    """Finds the row of each atom's element; has no parameters.

    Args:
        numbers: atomic numbers, 0 for particles without a name.
        network: name of the network, for messages.

    Raises:
        ValueError: no elements, one named twice, or one that does not exist.
    """

    rows: Tensor

    def __init__(self, numbers: Sequence[int], network: str) -> None:
        super().__init__()
        plain = [int(z) for z in numbers]
        if not plain or len(set(plain)) < len(plain) or not all(0 <= z <= 118 for z in plain):
            remedy = "give each atomic number that structures hold once"
            raise ValueError(f"elements are {plain}: {remedy}")
        self.numbers, self._network = tuple(plain), network
        rows = torch.full((119,), -1)
        rows[plain] = torch.arange(len(plain))
        self.register_buffer("rows", rows, persistent=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return the rows (N,) of atomic numbers (N,).

        Raises:
            ValueError: an element for which the network was not built.
        """
        kinds = self.rows[numbers]
        if (kinds < 0).any():
            missing = ", ".join(chemical_symbols[z] for z in numbers[kinds < 0].unique().tolist())
            needed = sorted({*self.numbers, *numbers.tolist()})
            wrong = f"this network has never seen {missing}; it knows {self}"
            raise ValueError(f"{wrong}: build and train {self._network}({needed}, ...)")
        return kinds

    def __repr__(self) -> str:
        return ", ".join(chemical_symbols[z] for z in self.numbers)
