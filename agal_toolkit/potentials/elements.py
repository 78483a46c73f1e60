"""The elements for which a network was built."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor, nn


class Elements(nn.Module):
    """Find for each atom the row of its element in a network's tables; holds no parameters.

    Args:
        numbers: atomic numbers or symbols in the order of the rows, 0 for particles of no element.
        network: name of the network, for error messages.

    Raises:
        ValueError: no elements, one named twice, or one that does not exist.
    """

    rows: Tensor

    def __init__(self, numbers: Sequence[int | str], network: str) -> None:
        super().__init__()
        unknown = [z for z in numbers if isinstance(z, str) and z not in atomic_numbers]
        if unknown:
            raise ValueError(f"elements {unknown} do not exist: give symbols such as 'H', 'C'")
        listed = [atomic_numbers[z] if isinstance(z, str) else int(z) for z in numbers]
        if not listed or len(set(listed)) < len(listed) or not all(0 <= z <= 118 for z in listed):
            remedy = "give each atomic number of the structures once"
            raise ValueError(f"elements are {listed}: {remedy}")
        self.numbers, self._network = tuple(listed), network
        rows = torch.full((119,), -1, device="cpu")
        rows[listed] = torch.arange(len(listed), device="cpu")
        self.register_buffer("rows", rows, persistent=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return the rows (N,) of atomic numbers (N,).

        Raises:
            ValueError: an element for which the network was not built.
        """
        found = self.rows[numbers]
        if (found < 0).any():
            missing = ", ".join(chemical_symbols[z] for z in numbers[found < 0].unique().tolist())
            needed = sorted({*self.numbers, *numbers.tolist()})
            wrong = f"this network has never seen {missing}; it knows {self}"
            raise ValueError(f"{wrong}: build and train {self._network}({needed}, ...)")
        return found

    def __repr__(self) -> str:
        return ", ".join(chemical_symbols[z] for z in self.numbers)
