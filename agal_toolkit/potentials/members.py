"""Members of a committee: equal networks in one module, or any potentials one by one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sized
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from ..batch import Batch, Prediction
from .protocol import Baseline, Noisy, Potential, derive, device_of


class Stacked:
    """M equal networks as one module with a member axis: every layer is one batched matrix product.

    Args:
        module: maps a batch with positions (M, N, d) to energies (M, B); every parameter has a
            leading axis M, every buffer is shared by all members.
        baseline: energies of isolated atoms, added to the module's in float64.
    """

    def __init__(self, module: nn.Module, baseline: Baseline = Baseline()) -> None:
        self.module = module
        self.baseline = baseline
        self._size = next(module.parameters()).shape[0]

    def __len__(self) -> int:
        return self._size

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.module.parameters()).device

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        prediction = derive(self.module, batch, graph=graph, members=self._size)
        if not self.baseline.energies:
            return prediction
        return replace(prediction, energy=prediction.energy + self.baseline(batch))

    def __getitem__(self, indices: ArrayLike) -> Stacked:
        """Return the chosen members, with copies of their weights."""
        chosen = _chosen(indices, self._size)
        module = copy.deepcopy(self.module)
        for part in module.modules():
            for name, value in list(part.named_parameters(recurse=False)):
                weights = value.detach()[chosen].clone()
                setattr(part, name, nn.Parameter(weights, value.requires_grad))
        return Stacked(module, self.baseline)

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.module.parameters()) // self._size
        baseline = f", {self.baseline!r}" if self.baseline.energies else ""
        return f"Stacked({self._size} x {self.module}, {weights:,} weights each{baseline})"


def _chosen(indices: Any, size: int) -> NDArray:
    """The chosen ones of `size` members as positive indices (k,)."""
    return np.atleast_1d(np.arange(size)[indices])


class Separate:
    """Any potentials, evaluated one after the other.

    Args:
        potentials: at least one.
        device: of the batches; None takes that of potentials which name theirs, or the CPU.

    Raises:
        ValueError: no potentials, several members in one of them, or potentials on two devices.
        TypeError: something that is no potential.
    """

    def __init__(
        self, potentials: Iterable[Potential], device: torch.device | str | None = None
    ) -> None:
        self.potentials = tuple(potentials)
        if not self.potentials:
            raise ValueError("a committee needs at least one potential")
        for index, potential in enumerate(self.potentials):
            kind = type(potential).__name__
            module = potential.forward if isinstance(potential, nn.Module) else None
            if module is not None and "graph" not in signature(module).parameters:
                wrong = f"potential {index} is the module {kind}, which gives energies only"
                remedy = "Committee(Stacked(module)) for a network with a member axis, or"
                raise TypeError(f"{wrong}: give {remedy} [Differentiable(module), ...]")
            if not callable(potential):
                wrong = f"potential {index} is a {kind}, expected a callable: Batch -> Prediction"
                raise TypeError(f"{wrong} (an ASE calculator may stand in Committee([...]))")
            if isinstance(potential, Sized):
                wrong = f"potential {index} is a {kind} of {len(potential)}"
                remedy = "[Committee(members[[m]]).mean for m in range(len(members))]"
                one = "members, not one potential: give its members one by one"
                raise ValueError(f"{wrong} {one}, {remedy}")
        self.device = device_of(*self.potentials) if device is None else torch.device(device)

    def __len__(self) -> int:
        return len(self.potentials)

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        members = enumerate(self.potentials)
        predictions = [potential(batch.member(m), graph=graph) for m, potential in members]
        energy = torch.stack([p.energy for p in predictions])
        forces = torch.stack([p.forces for p in predictions])
        return Prediction(energy, forces, torch.stack([p.stress for p in predictions]))

    def noise(self, batch: Batch) -> list[tuple[float, float]]:
        """Return measured random errors of each potential's energies and forces, or zeros."""
        members = enumerate(self.potentials)
        return [
            potential.noise(batch.member(m)) if isinstance(potential, Noisy) else (0.0, 0.0)
            for m, potential in members
        ]

    def __getitem__(self, indices: ArrayLike) -> Separate:
        return Separate([self.potentials[i] for i in _chosen(indices, len(self))], self.device)

    def __repr__(self) -> str:
        return "Separate(" + ", ".join(repr(p) for p in self.potentials) + ")"
