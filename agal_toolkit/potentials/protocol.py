"""Interfaces of a potential and of several members, and forces and stress from an energy.

A network only defines an energy; :func:`derive` is the one place where forces and stress are made
from it, so that signs, units and the member axis are settled once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import ArrayLike
from torch import Tensor, nn

from ..batch import Batch, Prediction

RIDGE = 1e-6  # pull of a fitted baseline toward zero, relative to the number of structures


class NoGraph(RuntimeError):
    """A potential cannot give a differentiable prediction."""

    def __init__(self, name: str) -> None:
        remedy = "use the gradient HessianVector(), which needs forces only (or FiniteDifference())"
        super().__init__(f"{name} cannot be differentiated twice: {remedy}")


class Potential(Protocol):
    """Predicts energy, forces and stress of a batch.

    With ``graph=True`` the prediction stays differentiable in positions and cell; a potential that
    cannot do this raises NoGraph.
    """

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction: ...


@runtime_checkable
class Noisy(Protocol):
    """A potential that measures its random errors, because the dtype does not tell them."""

    def noise(self, batch: Batch) -> tuple[float, float]:
        """Return the random errors of energies, eV, and forces, eV/angstrom."""
        ...


class Members(Protocol):
    """Several potentials whose predictions carry a leading member axis M.

    If the positions of the batch are (M, N, d), member m sees those of index m.
    """

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        ...

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction: ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: ArrayLike) -> Members: ...


def device_of(*potentials: Any) -> torch.device:
    """Return the device that `potentials` name as theirs, the CPU if none does.

    Raises:
        ValueError: they are on several devices.
    """
    devices = {torch.device(p.device) for p in potentials if getattr(p, "device", None) is not None}
    if len(devices) > 1:
        listed = ", ".join(sorted(map(str, devices)))
        raise ValueError(f"potentials are on {listed}: move them to one device")
    return devices.pop() if devices else torch.device("cpu")


Energy = Callable[[Batch], Tensor]


class SlopedEnergy(nn.Module, ABC):
    """An energy module that computes its slopes itself, faster than a reverse pass would.

    A network of this package has as `keywords` what it is built with, apart from seeds and dtype.
    """

    keywords: dict[str, Any]

    @abstractmethod
    def slopes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return energies (M, B), dE/dx (M, N, d) and dE/d strain (M, B, d, d), differentiable.

        Positions of the batch are (M, N, d). A symmetric strain moves particles and cell,
        x -> x (1 + strain); the third is None where no geometry is periodic.
        """

    def forward(self, batch: Batch) -> Tensor:
        """Return energies (M, B) alone."""
        return self.slopes(batch)[0]


def differentiable_once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a written ``backward`` of which torch keeps no graph.

    torch's ``once_differentiable`` accepts a constant incoming slope, as that of a sum: its second
    derivative would silently be zero.
    """

    @wraps(backward)
    def guarded(ctx: Any, *slopes: Tensor) -> Any:
        if torch.is_grad_enabled():  # true in a backward pass under create_graph only
            raise RuntimeError(
                "this network's prediction is differentiable once, and create_graph=True asks for"
                " more: differentiate the predicted forces once, or the plain energies of"
                " module(batch) as often as you like"
            )
        return backward(ctx, *slopes)

    return guarded


def derive(energy: Energy, batch: Batch, *, graph: bool, members: int | None = None) -> Prediction:
    """Return energy, F = -dE/dx and stress = (dE/d strain) / volume (Schwalbe-Koda 2021, Eq. 6).

    Args:
        energy: maps a batch to (B,), or to (M, B) and positions (M, N, d) if `members` is M.
        batch: positions (N, d) or, with `members`, (M, N, d).
        graph: keep the prediction differentiable in positions, cell and the network's parameters;
            once only if `energy` is a :class:`SlopedEnergy` with a written derivative, so that a
            Hessian is the slope of forces: differentiating the energy twice is a RuntimeError.
        members: M, or None for a single potential without the member axis.
    """
    periodic = batch.pbc.all(-1)
    if isinstance(energy, SlopedEnergy):
        positions = batch.positions
        if positions.ndim == 2:
            assert members is not None, "a SlopedEnergy has a member axis: give their number"
            positions = positions.expand(members, *positions.shape)
        with torch.set_grad_enabled(graph):
            e, dE_dx, dE_dstrain = energy.slopes(replace(batch, positions=positions))
            return Prediction(e, -dE_dx.to(e.dtype), _stress(e, dE_dstrain, batch, periodic))
    with torch.enable_grad():
        positions, cell, strain = batch.positions, batch.cell, None
        if not positions.requires_grad:
            positions = positions.detach().requires_grad_()
        if members is not None and positions.ndim == 2:
            positions = positions.expand(members, *positions.shape)
        strained = positions
        if periodic.any():
            d = batch.dimension
            strain = positions.new_zeros(*positions.shape[:-2], len(batch), d, d).requires_grad_()
            identity = torch.eye(d, dtype=positions.dtype, device=positions.device)
            stretch = identity + (strain + strain.mT) / 2
            stretches = stretch[..., batch.owner, :, :]
            strained = torch.einsum("...ni,...nij->...nj", positions, stretches)
            cell = cell @ stretch
        e = energy(replace(batch, positions=strained, cell=cell))
        inputs = (positions,) if strain is None else (positions, strain)
        dE_dx, *dE_dstrain = torch.autograd.grad(e.sum(), inputs, create_graph=graph)
        stress = _stress(e, dE_dstrain[0] if dE_dstrain else None, batch, periodic)
        prediction = Prediction(e, -dE_dx.to(e.dtype), stress)
    return prediction if graph else prediction.detach()


def _stress(energy: Tensor, dE_dstrain: Tensor | None, batch: Batch, periodic: Tensor) -> Tensor:
    """Return (..., B, d, d), NaN where a geometry is not `periodic` (B,) in all directions."""
    stress = energy.new_full((*energy.shape, batch.dimension, batch.dimension), torch.nan)
    if dE_dstrain is None or not periodic.any():
        return stress
    volume, where = torch.linalg.det(batch.cell).abs()[..., None, None], periodic[:, None, None]
    quotient = dE_dstrain / torch.where(where, volume, 1.0)
    return torch.where(where, quotient.to(energy.dtype), stress)


class Recorded:
    """A potential, or the mean of several members, that keeps its latest prediction.

    Stop criteria of a simulation read from it how far the members differ.

    Args:
        potential: a potential, members or a committee.

    Attributes:
        batch: the latest batch.
        prediction: the latest prediction, with the member axis of members or a committee.
        calls: number of batches predicted so far.
        device: of the potential.
    """

    batch: Batch
    prediction: Prediction

    def __init__(self, potential: Potential | Members) -> None:
        self.potential, self.calls, self.device = potential, 0, device_of(potential)

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        self.batch, self.prediction = batch, self.potential(batch, graph=graph)
        self.calls += 1
        several = self.prediction.energy.ndim > 1
        return self.prediction.mean() if several else self.prediction


@dataclass(frozen=True)
class Differentiable:
    """A potential from an `energy`, which maps a batch to (B,) in torch, twice differentiable."""

    energy: Energy

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        return derive(self.energy, batch, graph=graph)


@dataclass(frozen=True)
class Ensemble:
    """A network of any torch module of your own, with a copy for each member.

    ``TorchTrainer(network=Ensemble(Mine), ...)``, and ``Committee.load(path, Ensemble(Mine))``.

    Attributes:
        make: returns a new module, which maps a Batch (positions (N, d), numbers and owner (N,),
            ...) to energies (B,), eV, differentiable twice. It gets float64 and its eval mode.
    """

    make: Callable[[], nn.Module]

    def __call__(self, seeds: Sequence[int]) -> nn.Module:
        """Return a module with a member for each seed, as ``Stacked`` takes it."""
        modules = []
        for seed in seeds:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(seed))
                modules.append(self.make())
            if not isinstance(modules[-1], nn.Module):
                wrong = f"Ensemble made a {type(modules[-1]).__name__}, expected a torch module"
                raise TypeError(f"{wrong}: give what returns one, Ensemble(Mine) of a class Mine")
        return _Copies([module.double().eval() for module in modules])


class _Copies(nn.Module):
    """Equal modules, evaluated one after the other, whose parameters have a leading axis M."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        states = [dict(module.named_parameters(remove_duplicate=False)) for module in modules]
        self.one, shared = modules[0], dict[int, nn.Parameter]()
        for path, weight in states[0].items():
            stacked = nn.Parameter(torch.stack([state[path].detach() for state in states]))
            owner, _, name = path.rpartition(".")
            # layers that share a weight still do
            setattr(self.one.get_submodule(owner), name, shared.setdefault(id(weight), stacked))

    def forward(self, batch: Batch) -> Tensor:
        energies: list[Tensor] = []
        for m in range(len(next(self.parameters()))):
            weights = {name: value[m] for name, value in self.one.named_parameters()}
            energies.append(torch.func.functional_call(self.one, weights, (batch.member(m),)))
            if (shape := tuple(energies[-1].shape)) != (len(batch),):
                wrong = f"{type(self.one).__name__} returned energies of shape {shape}"
                remedy = "give one for each structure, as batch.sum(values of atoms) does"
                raise ValueError(f"{wrong}, expected ({len(batch)},): {remedy}")
        return torch.stack(energies)


@dataclass(frozen=True)
class Baseline:
    """`energies` of isolated atoms in eV, by atomic number, subtracted in float64."""

    energies: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = {int(z): float(e) for z, e in sorted(self.energies.items())}
        object.__setattr__(self, "energies", MappingProxyType(plain))

    @classmethod
    def fit(cls, numbers: list[np.ndarray], energies: ArrayLike) -> Baseline:
        """Fit total energies to the composition by least squares, drawn a little toward zero.

        Compositions that cannot tell elements apart are normal (pure water has only 2 H + O): the
        ridge then shares the energy between them. Nameless particles have no baseline.

        Args:
            numbers: atomic numbers of each structure.
            energies: (n,) total energies, eV.
        """
        elements = np.unique(np.concatenate(numbers))
        elements = elements[elements > 0]
        if not len(elements):
            return cls()
        counts = np.array([[(z == e).sum() for e in elements] for z in numbers], dtype=float)
        matrix = counts.T @ counts / len(counts) + RIDGE * np.eye(len(elements))
        atoms = np.linalg.solve(matrix, counts.T @ np.asarray(energies) / len(counts))
        return cls(dict(zip(elements.tolist(), atoms.tolist(), strict=True)))

    def __call__(self, batch: Batch) -> Tensor:
        """Return the sums (B,), float64, over the atoms of each geometry.

        Raises:
            ValueError: an element without a baseline energy.
        """
        table = torch.tensor(
            [self.energies.get(z, 0.0) for z in range(119)],
            dtype=torch.float64,
            device=batch.numbers.device,
        )
        missing = set(batch.numbers.unique().tolist()) - set(self.energies) - {0}
        if missing and self.energies:
            names = ", ".join(chemical_symbols[z] for z in sorted(missing))
            present = ", ".join(chemical_symbols[z] for z in self.energies)
            wrong = f"no baseline energy for {names}; the model knows {present}"
            raise ValueError(f"{wrong}: add such structures to the training data")
        return batch.sum(table[batch.numbers])

    def __reduce__(self) -> tuple[type, tuple[dict]]:
        return Baseline, (dict(self.energies),)

    def __hash__(self) -> int:
        return hash(tuple(self.energies.items()))

    def __repr__(self) -> str:
        energies = [f"{chemical_symbols[z]} {e:.4f} eV" for z, e in self.energies.items()]
        return f"Baseline({', '.join(energies)})"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file; ``Baseline(json)`` reads them."""
        return {str(z): e for z, e in self.energies.items()}
