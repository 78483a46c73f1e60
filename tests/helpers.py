"""Small potentials and data for the tests."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Batch, Geometry, Labels, Prediction, points
from agal_toolkit.potentials import MLP, Differentiable, Separate, Stacked
from agal_toolkit.references import DoubleWell


@dataclass
class Counted:
    """A potential that counts the geometries it was asked for."""

    potential: object
    calls: int = 0

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        self.calls += len(batch)
        return self.potential(batch, graph=graph)


@dataclass(frozen=True)
class PairEnergy:
    """sum of (20 exp(-a r^2) - b exp(-c r^2)) (1 - r^2 / R^2)^3 within the cutoff R, minimum image, twice continuously differentiable, O(n^2)."""

    a: float = 2.0
    b: float = 0.6
    c: float = 0.5
    cutoff: float = 3.5
    dtype: torch.dtype = torch.float64

    def __call__(self, batch: Batch) -> torch.Tensor:
        energies = []
        for i in range(len(batch)):
            mine = batch.owner == i
            x = batch.positions[mine]
            cell, pbc = batch.cell[i], batch.pbc[i]
            first, second = torch.triu_indices(len(x), len(x), 1)
            r = x[first] - x[second]
            if pbc.any():
                fractional = r @ torch.linalg.inv(cell)
                r = r - torch.where(pbc, fractional.detach().round(), 0.0) @ cell
            s = r.to(self.dtype).square().sum(-1)
            envelope = (1 - s / self.cutoff**2).clamp(min=0) ** 3
            energies.append(((20.0 * torch.exp(-self.a * s) - self.b * torch.exp(-self.c * s)) * envelope).sum())
        return torch.stack(energies)


def pair_committee(members: int = 3, dtype: torch.dtype = torch.float64, counted: bool = False) -> Committee:
    potentials = [Differentiable(PairEnergy(2.0 + 0.07 * m, 0.6 - 0.05 * m, 0.5 + 0.02 * m, dtype=dtype)) for m in range(members)]
    return Committee(Separate([Counted(p) for p in potentials] if counted else potentials))


def molecule(rng: np.random.Generator, atoms: int = 5) -> Geometry:
    return Geometry(positions=rng.normal(0, 1.2, (atoms, 3)), numbers=[6] * atoms)


def crystal(rng: np.random.Generator, repeats: tuple[int, int, int] = (4, 4, 12), spacing: float = 1.9) -> Geometry:
    """192 atoms, periodic, in a slightly skewed cell."""
    grid = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3) * spacing
    cell = np.diag(np.array(repeats) * spacing)
    cell[1, 0] = 0.4
    positions = grid @ np.linalg.inv(np.diag(np.array(repeats) * spacing)) @ cell
    return Geometry(positions=positions + rng.normal(0, 0.1, positions.shape), numbers=[6] * len(positions), cell=cell, pbc=True)


def well_data(rng: np.random.Generator, count: int = 40, limit: float = 1.2) -> Dataset:
    well = DoubleWell()
    geometries = points(rng.uniform(-limit, limit, (count, 2)))
    return Dataset(geometries, [well(g) for g in geometries])


def network(seeds, width: int = 16, dtype: torch.dtype = torch.float64) -> MLP:
    return MLP(2, seeds, width=width, dtype=dtype)


def mlp_committee(members: int = 3, width: int = 16, dtype: torch.dtype = torch.float64) -> Committee:
    """Random networks, with biases so that they are not odd functions, scaled up so that they disagree."""
    module = network(list(range(members)), width, dtype)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for bias in module.biases:
            bias.copy_(torch.randn(bias.shape, generator=generator))
        for weight in module.weights:
            weight.mul_(2.0)
    return Committee(Stacked(module))


@dataclass(frozen=True)
class Swirl:
    """A harmonic well whose forces also turn: not the slope of any energy."""

    turn: float = 0.3
    stiffness: float = 2.0
    rotation: np.ndarray = field(default_factory=lambda: np.array([[0.0, -1.0], [1.0, 0.0]]))

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        x = batch.positions
        energy = batch.sum(0.5 * self.stiffness * x.square().sum(-1))
        forces = -self.stiffness * x + self.turn * x @ torch.tensor(self.rotation).to(x)
        return Prediction(energy, forces, torch.full((len(batch), 2, 2), torch.nan, dtype=x.dtype))


def labels_of(geometry: Geometry) -> Labels:
    return DoubleWell()(geometry)
