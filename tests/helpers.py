"""Small potentials and data for the tests."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from agal_toolkit.attack import Adam, Attack, BoltzmannVariance
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.loop.loop import Loop, Recipe
from agal_toolkit.potentials import MLP, Differentiable, SchNet, Separate, Stacked
from agal_toolkit.references import DoubleWell, Reference
from agal_toolkit.sampling.samplers import FromDataset
from agal_toolkit.selection import AtMost, Deduplicate
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer


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
    """sum of (20 exp(-a r^2) - b exp(-c r^2)) (1 - r^2 / R^2)^3 within the cutoff R, minimum image,
    twice continuously differentiable, O(n^2).
    """

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
            first, second = self._near(x.detach().float(), cell.detach().float(), pbc)
            r = x[first] - x[second]
            if pbc.any():
                fractional = r @ torch.linalg.inv(cell)
                r = r - torch.where(pbc, fractional.detach().round(), 0.0) @ cell
            s = r.to(self.dtype).square().sum(-1)
            envelope = (1 - s / self.cutoff**2).clamp(min=0) ** 3
            energies.append(
                ((20.0 * torch.exp(-self.a * s) - self.b * torch.exp(-self.c * s)) * envelope).sum()
            )
        return torch.stack(energies)

    def _near(self, x: torch.Tensor, cell: torch.Tensor, pbc: torch.Tensor) -> torch.Tensor:
        """(2, pairs) that may be within the cutoff: only they are differentiated, which is what
        takes time.
        """
        r = x[:, None] - x
        if pbc.any():
            r = r - torch.where(pbc, (r @ torch.linalg.inv(cell)).round_(), 0.0) @ cell
        near = r.square_() @ torch.ones(x.shape[1]) < (self.cutoff + 0.01) ** 2
        return near.triu(1).nonzero().T


def pair_committee(
    members: int = 3, dtype: torch.dtype = torch.float64, counted: bool = False
) -> Committee:
    potentials = [
        Differentiable(PairEnergy(2.0 + 0.07 * m, 0.6 - 0.05 * m, 0.5 + 0.02 * m, dtype=dtype))
        for m in range(members)
    ]
    return Committee(Separate([Counted(p) for p in potentials] if counted else potentials))


def molecule(rng: np.random.Generator, atoms: int = 5) -> Geometry:
    return Geometry(positions=rng.normal(0, 1.2, (atoms, 3)), numbers=[6] * atoms)


def crystal(
    rng: np.random.Generator, repeats: tuple[int, int, int] = (4, 4, 12), spacing: float = 1.9
) -> Geometry:
    """192 atoms, periodic, in a slightly skewed cell."""
    grid = (
        np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3) * spacing
    )
    cell = np.diag(np.array(repeats) * spacing)
    cell[1, 0] = 0.4
    positions = grid @ np.linalg.inv(np.diag(np.array(repeats) * spacing)) @ cell
    return Geometry(
        positions=positions + rng.normal(0, 0.1, positions.shape),
        numbers=[6] * len(positions),
        cell=cell,
        pbc=True,
    )


def well_data(rng: np.random.Generator, count: int = 40, limit: float = 1.2) -> Dataset:
    well = DoubleWell()
    geometries = points(rng.uniform(-limit, limit, (count, 2)))
    return Dataset(geometries, [well(g) for g in geometries])


def network(seeds, width: int = 16, dtype: torch.dtype = torch.float64) -> MLP:
    return MLP(2, seeds, width=width, dtype=dtype)


def mlp_committee(
    members: int = 3, width: int = 16, dtype: torch.dtype = torch.float64
) -> Committee:
    """Random networks, with biases so that they are not odd functions, scaled up so that they
    disagree.
    """
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


def slope(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a function of an array, element by element."""
    out = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[index] = step
        out[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return out


def well_potential(well: DoubleWell = DoubleWell()) -> Differentiable:
    """The double well itself as a potential."""
    return Differentiable(lambda batch: well.energy(batch.positions))


class Blob(torch.nn.Module):
    """Energies of molecules of any size, M members: a small network of each atom's distance from
    the centre.
    """

    def __init__(self, seeds, width: int = 8) -> None:
        super().__init__()
        draws = [
            torch.randn(
                3, width, generator=torch.Generator().manual_seed(int(seed)), dtype=torch.float64
            )
            for seed in seeds
        ]
        self.inner, self.bias, self.outer = (
            torch.nn.Parameter(torch.stack([draw[i] for draw in draws])[:, None]) for i in range(3)
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        x = batch.positions
        centre = batch.mean(x.mT).mT[:, batch.owner]
        s = (x - centre).square().sum(-1, keepdim=True)
        return batch.sum((torch.tanh(s * self.inner + self.bias) * self.outer).sum(-1))


@dataclass(frozen=True)
class Harmonic:
    """E = sum of k x^2 / 2 over all coordinates, around `centre`."""

    stiffness: tuple[float, ...] = (1.0,)
    centre: float = 0.0

    def __call__(self, batch: Batch) -> torch.Tensor:
        x = batch.positions - self.centre
        return batch.sum(0.5 * (x.square() * torch.tensor(self.stiffness, dtype=x.dtype)).sum(-1))


@dataclass(frozen=True)
class Springs:
    """E = sum over all pairs of k (r - r0)^2 / 2: molecules of equal size that cannot fall apart,
    but rotate and translate.
    """

    stiffness: float = 10.0
    length: float = 1.5

    def __call__(self, batch: Batch) -> torch.Tensor:
        x = batch.positions.reshape(len(batch), -1, 3)
        first, second = torch.triu_indices(x.shape[1], x.shape[1], 1)
        r = (x[:, first] - x[:, second]).square().sum(-1).sqrt()
        return (0.5 * self.stiffness * (r - self.length).square()).sum(-1)


def tetrahedron(length: float = 1.5) -> Geometry:
    """Four carbon atoms, `length` apart."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return Geometry(positions=corners * length / np.sqrt(8), numbers=[6] * 4)


def ammonia() -> Geometry:
    """Near its minimum: N-H 1.02 angstrom, the lone pair along z; nitrogen first."""
    angles = np.arange(3) * 2 * np.pi / 3
    hydrogens = np.column_stack([0.94 * np.cos(angles), 0.94 * np.sin(angles), np.full(3, -0.38)])
    return Geometry(positions=np.vstack([[0.0, 0.0, 0.0], hydrogens]), numbers=[7, 1, 1, 1])


def schnet_committee(members: int = 3) -> Committee:
    """Small untrained networks of nitrogen and hydrogen."""
    return Committee(
        Stacked(
            SchNet([1, 7], list(range(members)), features=8, filters=8, interactions=1, gaussians=8)
        )
    )


# -- loops


def rmse(committee: Committee, test: Dataset) -> float:
    """Root mean square error of the mean energy."""
    return float(
        np.sqrt(
            np.mean(
                (committee.predict(test.geometries).energy.mean(0).numpy() - test.energies) ** 2
            )
        )
    )


def small_recipe(**changes) -> Recipe:
    """Two small networks, eight seeds, at most four labels a generation: a fraction of a second."""
    trainer = TorchTrainer(
        network=partial(MLP, 2, width=8), epochs=6, batch_size=16, checkpoint=0.0
    )
    defaults = {
        "trainer": trainer,
        "sampler": FromDataset(8),
        "attack": Attack(BoltzmannVariance(kT=5.0), Adam(0.05, 4)),
        "selectors": (Deduplicate(1e-6), AtMost(4)),
        "members": 2,
        "folds": Folds(acquired=1.0),
    }
    return Recipe(**{**defaults, **changes})


def small_loop(label=DoubleWell(), recipe=None, **changes) -> Loop:
    reference = label if isinstance(label, Reference) else Reference(label)
    defaults = {
        "test": well_data(np.random.default_rng(8), 10),
        "metrics": {"rmse": rmse},
        "seed": 3,
    }
    return Loop(small_recipe() if recipe is None else recipe, reference, **{**defaults, **changes})


def first_data(count: int = 20) -> Dataset:
    return well_data(np.random.default_rng(3), count)


def picture(widget) -> bytes:
    """The PNG of a widget that a reader without a kernel sees."""
    return base64.b64decode(widget._repr_mimebundle_()["image/png"])


def contents(folder: Path) -> dict[str, object]:
    """Everything in the generations and labels of a run directory, array by array and bit by bit;
    not when it was written.
    """
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if not file.is_file() or name in ("run.json", "seconds.json"):
            continue
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                found[name] = {
                    key: (str(arrays[key].dtype), arrays[key].shape, arrays[key].tobytes())
                    for key in arrays.files
                }
        elif file.suffix == ".json":
            values = json.loads(file.read_text())
            found[name] = {
                key: value for key, value in values.items() if key not in ("time", "traceback")
            }
        else:
            found[name] = file.read_bytes()
    return found


def aside(data: Dataset) -> Dataset:
    """The same structures with the role "calibration"."""
    return Dataset(data.geometries, data.labels, ["calibration"] * len(data))
