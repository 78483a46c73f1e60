"""What predicts: a potential, several at once, and how forces and stress follow from an energy.

A network only ever writes down an energy; :func:`derive` is the one place where forces and stress
are made from it, so signs, units and the member axis are settled once. Whatever takes part in a
committee satisfies :class:`Members`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..batch import Batch, Prediction


class NoGraph(RuntimeError):
    """A potential was asked for a differentiable prediction and has none to give."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} cannot be differentiated twice: use the gradient HessianVector(), which needs"
            " forces only (or FiniteDifference())"
        )


class Potential(Protocol):
    """Predicts energy, forces and stress of a batch.

    With ``graph=True`` the prediction stays differentiable in positions and cell; a potential that
    cannot raises NoGraph.
    """

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction: ...


class Members(Protocol):
    """Several potentials whose predictions carry a leading member axis M.

    Where the positions of the batch are (M, N, d), member m sees its own.

    Attributes:
        device: where batches should be.
    """

    device: torch.device

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction: ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: ArrayLike) -> Members: ...


Energy = Callable[[Batch], Tensor]


class SlopedEnergy(nn.Module, ABC):
    """An energy module that writes down its slope as well, where that is cheaper than a reverse
    pass.
    """

    @abstractmethod
    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energies (M, B), dE/dx (M, N, d) and dE/d strain (M, B, d, d) of a batch with positions
        (M, N, d), once differentiable.

        A symmetric strain moves particles and cell, x -> x (1 + strain); None stands for it where
        no geometry is periodic.
        """


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A written ``backward`` of which torch keeps no graph.

    torch's ``once_differentiable`` refuses only where the incoming slope is itself to be
    differentiated: of the slope of a sum it gives a constant, and whoever differentiates that again
    would get zero without a word.
    """

    @wraps(backward)
    def guarded(ctx: Any, *slopes: Tensor) -> Any:
        if torch.is_grad_enabled():  # true in a backward pass under create_graph only
            raise RuntimeError(
                "what this network predicts is differentiable once, and create_graph=True asks for"
                " more: for second derivatives of the energy differentiate the forces of the"
                " prediction once, or the energies that the module itself says, module(batch), as"
                " often as you like"
            )
        return backward(ctx, *slopes)

    return guarded


def derive(energy: Energy, batch: Batch, *, graph: bool, members: int | None = None) -> Prediction:
    """Energy, F = -dE/dx and stress = (dE/d strain) / volume (Schwalbe-Koda 2021, Eq. 6) of a
    batch.

    Args:
        energy: maps a batch to (B,), or to (M, B) where `members` is M; it then sees positions (M,
            N, d).
        batch: positions (N, d) or, with `members`, (M, N, d).
        graph: keep the prediction differentiable (in positions, cell and the network's parameters);
            once only where `energy` is a :class:`SlopedEnergy`
            whose slopes are, so a Hessian is the slope of forces: differentiating such an energy
            twice is a RuntimeError.
        members: M, or None for a single potential without the member axis.
    """
    periodic = batch.pbc.all(-1)
    if isinstance(energy, SlopedEnergy):
        positions = (
            batch.positions
            if batch.positions.ndim == 3
            else batch.positions.expand(members, *batch.positions.shape)
        )
        with torch.set_grad_enabled(graph):
            e, moved, strained = energy.slopes(batch.at(positions))
            return Prediction(e, -moved.to(e.dtype), _stress(e, strained, batch, periodic))
    with torch.enable_grad():
        positions = (
            batch.positions
            if batch.positions.requires_grad
            else batch.positions.detach().requires_grad_()
        )
        cell = batch.cell
        if members is not None and positions.ndim == 2:
            positions = positions.expand(members, *positions.shape)
        strain = None
        if periodic.any():
            d = batch.dimension
            strain = torch.zeros(
                *positions.shape[:-2],
                len(batch),
                d,
                d,
                dtype=positions.dtype,
                device=positions.device,
                requires_grad=True,
            )
            stretch = (
                torch.eye(d, dtype=positions.dtype, device=positions.device)
                + (strain + strain.mT) / 2
            )
            positions_in = torch.einsum(
                "...ni,...nij->...nj", positions, stretch[..., batch.owner, :, :]
            )
            cell = cell @ stretch
        else:
            positions_in = positions
        e = energy(batch.at(positions_in, cell))
        wanted = (positions,) if strain is None else (positions, strain)
        slopes = torch.autograd.grad(e.sum(), wanted, create_graph=graph)
        prediction = Prediction(
            e,
            -slopes[0].to(e.dtype),
            _stress(e, None if strain is None else slopes[1], batch, periodic),
        )
    return prediction if graph else prediction.detach()


def _stress(energy: Tensor, strained: Tensor | None, batch: Batch, periodic: Tensor) -> Tensor:
    """(..., B, d, d) from dE/d strain, NaN where a geometry is not `periodic` (B,) in all
    directions.
    """
    stress = energy.new_full((*energy.shape, batch.dimension, batch.dimension), torch.nan)
    if strained is None or not periodic.any():
        return stress
    volume, where = torch.linalg.det(batch.cell).abs()[..., None, None], periodic[:, None, None]
    return torch.where(where, (strained / torch.where(where, volume, 1.0)).to(energy.dtype), stress)


class Recorded:
    """A potential, or the mean of several members, that keeps its latest prediction.

    Stop criteria of a simulation read from it how far the members differ.

    Args:
        potential: a potential, members or a committee.

    Attributes:
        batch: the latest batch.
        prediction: the latest prediction, with the member axis of members or a committee.
        calls: number of batches predicted so far.
    """

    batch: Batch
    prediction: Prediction

    def __init__(self, potential: Potential | Members) -> None:
        self.potential, self.calls = potential, 0

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        self.batch, self.prediction = batch, self.potential(batch, graph=graph)
        self.calls += 1
        several = self.prediction.energy.ndim > 1
        return self.prediction.mean() if several else self.prediction


@dataclass(frozen=True)
class Differentiable:
    """A potential from a differentiable energy.

    Attributes:
        energy: maps a batch to energies (B,) in torch, twice differentiable.
    """

    energy: Energy

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        return derive(self.energy, batch, graph=graph)


@dataclass(frozen=True)
class Baseline:
    """Energy of isolated atoms, subtracted in float64 before a network sees an energy, so that it
    learns small numbers.

    Attributes:
        energies: eV for each atomic number.
    """

    energies: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(
            self,
            "energies",
            MappingProxyType({int(z): float(e) for z, e in sorted(self.energies.items())}),
        )

    @classmethod
    def fit(
        cls,
        numbers: list[np.ndarray],
        energies: ArrayLike,
        toward: Mapping[int, float] | None = None,
        ridge: float = 1e-6,
    ) -> Baseline:
        """Least squares of total energies on the composition, drawn `toward` given isolated-atom
        energies (zero otherwise).

        Compositions that cannot tell elements apart are normal (pure water knows only 2 H + O): the
        ridge then shares the energy between them. Nameless particles have no baseline.

        Args:
            numbers: atomic numbers of each structure.
            energies: (n,) total energies, eV.
            toward: eV for each atomic number.
            ridge: weight of the pull, relative to the number of structures.
        """
        elements = np.unique(np.concatenate(numbers))
        elements = elements[elements > 0]
        if not len(elements):
            return cls()
        counts = np.array([[(z == e).sum() for e in elements] for z in numbers], dtype=float)
        prior = np.array([(toward or {}).get(int(e), 0.0) for e in elements])
        matrix = counts.T @ counts / len(counts) + ridge * np.eye(len(elements))
        shift = np.linalg.solve(
            matrix, counts.T @ (np.asarray(energies) - counts @ prior) / len(counts)
        )
        return cls(dict(zip(elements.tolist(), (prior + shift).tolist(), strict=True)))

    def __call__(self, batch: Batch) -> Tensor:
        """(B,) float64: the sum over the atoms of each geometry.

        Raises:
            ValueError: an element that the baseline does not know.
        """
        table = torch.zeros(119, dtype=torch.float64)
        for z, energy in self.energies.items():
            table[z] = energy
        strange = set(batch.numbers.unique().tolist()) - set(self.energies) - {0}
        if strange and self.energies:
            names = ", ".join(chemical_symbols[z] for z in sorted(strange))
            known = ", ".join(chemical_symbols[z] for z in self.energies)
            raise ValueError(
                f"no baseline energy for {names}; the model knows {known}: add such structures to"
                " the training data"
            )
        return batch.sum(table.to(batch.numbers.device)[batch.numbers])

    def __repr__(self) -> str:
        return (
            "Baseline("
            + ", ".join(f"{chemical_symbols[z]} {e:.4f} eV" for z, e in self.energies.items())
            + ")"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file; ``Baseline(json)`` reads them back."""
        return {str(z): e for z, e in self.energies.items()}
