"""Where attacks start, and what is proposed where there is no attack.

A sampler is called with the committee, the labelled structures that some member learns from, a random generator, a
listener and a scratch folder for long runs; it returns geometries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from ase import units
from ase.data import atomic_masses
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from .committee import Committee
from .dataset import Dataset
from .dynamics import Stop, Watch, nvt
from .events import Report, ignore
from .geometry import Batch, Geometry, Prediction
from .uncertainty import force_variance

Sampler = Callable[[Committee, Dataset, Generator, Report, Path | None], list[Geometry]]


@dataclass(frozen=True)
class FromDataset:
    """The labelled structures themselves: every training point is a seed (Schwalbe-Koda 2021, A.2.1).

    Attributes:
        count: this many of them, drawn at random; None takes all.
    """

    count: int | None = None

    def __call__(self, committee: Committee, dataset: Dataset, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> list[Geometry]:
        if self.count is None or self.count >= len(dataset):
            return list(dataset)
        return [dataset[i] for i in np.sort(rng.choice(len(dataset), self.count, replace=False))]


@dataclass(frozen=True)
class Mixture:
    """What several samplers propose, one after the other.

    Attributes:
        samplers: at least one.
    """

    samplers: Sequence[Sampler]

    def __post_init__(self) -> None:
        if not self.samplers:
            raise ValueError("Mixture() has no samplers: give at least one")
        object.__setattr__(self, "samplers", tuple(self.samplers))

    def __call__(self, committee: Committee, dataset: Dataset, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> list[Geometry]:
        folders = [None if scratch is None else scratch / str(index) for index in range(len(self.samplers))]
        return [geometry for sampler, own in zip(self.samplers, folders, strict=True) for geometry in sampler(committee, dataset, rng, report, own)]


@dataclass(frozen=True)
class Copies:
    """One structure, as often as it shall be attacked: a start displaces each copy otherwise (Schwalbe-Koda 2021, A.2.2, for ammonia).

    Attributes:
        geometry: the structure.
        count: how often.
    """

    geometry: Geometry
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"Copies(count={self.count}): give a positive number")

    def __call__(self, committee: Committee, dataset: Dataset, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> list[Geometry]:
        return [self.geometry] * self.count


@dataclass(frozen=True)
class Rattle:
    """Random displacements of the labelled structures, uniform or normal in each coordinate.

    With uniform displacements of the training points and past samples, the random baseline of Schwalbe-Koda 2021, A.2.1.

    Attributes:
        amplitude: half the width of the uniform distribution, or the standard deviation of the normal one, angstrom.
        normal: draw from the normal distribution.
        copies: displaced structures made of each.
    """

    amplitude: float
    normal: bool = False
    copies: int = 1

    def __post_init__(self) -> None:
        if not self.amplitude > 0 or self.copies < 1:
            raise ValueError(f"Rattle(amplitude={self.amplitude}, copies={self.copies}): both must be positive")

    def __call__(self, committee: Committee, dataset: Dataset, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> list[Geometry]:
        rattled = []
        for index, geometry in enumerate(dataset):
            for _ in range(self.copies):
                shape = geometry.positions.shape
                shift = rng.normal(0.0, self.amplitude, shape) if self.normal else rng.uniform(-self.amplitude, self.amplitude, shape)
                rattled.append(geometry.moved(geometry.positions + shift * geometry.movable[:, None], by="rattle", seed=index))
        return rattled


@dataclass(frozen=True, kw_only=True)
class MolecularDynamics:
    """Where simulations with the committee's mean arrive: one structure of each replica (Cezar 2025 attacks from such frames).

    Constant temperature, all replicas in one batch (:func:`~agal_toolkit.dynamics.nvt`). A replica that is stopped gives the
    frame before the one that stopped it; one that goes where the committee is `uncertain` ends there.

    Attributes:
        temperature: lowest and highest, K; each replica draws its own, uniformly.
        picoseconds: of each replica.
        count: replicas.
        start: where they start; None draws from the labelled structures.
        timestep: fs.
        damping: relaxation time of the thermostats, fs.
        stops: what a replica must not do, see :mod:`agal_toolkit.dynamics.stops`.
        uncertain: root of the force variance (Schwalbe-Koda 2021, Eq. 10), eV/angstrom, at which a replica ends; None lets it go on.

    Raises:
        ValueError: settings out of range.
    """

    temperature: tuple[float, float]
    picoseconds: float
    count: int
    start: Geometry | None = None
    timestep: float = 0.5
    damping: float = 50.0
    stops: tuple[Stop, ...] = ()
    uncertain: float | None = None

    def __post_init__(self) -> None:
        low, high = self.temperature
        if not 0 < low <= high or self.count < 1 or not min(self.picoseconds, self.timestep, self.damping) > 0:
            raise ValueError(f"{self}: temperatures must be (lowest, highest) above 0 K, at least one replica, and the times positive")

    def __call__(self, committee: Committee, dataset: Dataset, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> list[Geometry]:
        starts = [dataset[int(i)] for i in rng.integers(len(dataset), size=self.count)] if self.start is None else [self.start] * self.count
        temperatures, steps = rng.uniform(*self.temperature, self.count), max(1, round(1000 * self.picoseconds / self.timestep))
        doubting = _Doubting(committee, np.inf if self.uncertain is None else self.uncertain)
        ran = nvt(
            doubting, starts, temperatures, timestep=self.timestep, steps=steps, damping=self.damping, rng=rng, device=committee.device, report=report,
            watch=Watch(every=max(1, round(10 / self.timestep)), stops=(*self.stops, doubting.doubt)),
        )
        return [frames.geometry(-1 if frames.reason in (None, doubting.doubt.name) else max(len(frames) - 2, 0)) for frames in ran]


class _Doubting:
    """A committee's mean that remembers where its members disagreed when it was last asked.

    Attributes:
        doubt: a criterion on it, for the same batch.
    """

    def __init__(self, committee: Committee, limit: float) -> None:
        self._committee, self.sigma = committee, torch.zeros(0)
        self.doubt = _Doubt(self, limit)

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        said = self._committee(batch, graph=graph)
        self.sigma = force_variance(said, batch).sqrt()
        return said.mean()


@dataclass(frozen=True)
class _Doubt:
    """The members disagree by more than `limit`, eV/angstrom."""

    asked: _Doubting
    limit: float
    name: str = "uncertain"

    def __call__(self, batch: Batch, prediction: Prediction) -> Tensor:
        return self.asked.sigma > self.limit


@dataclass(frozen=True, eq=False)
class NormalModes:
    """Thermal displacements along the normal modes of one structure: the "Hessian-displaced" start of Schwalbe-Koda 2021.

    Classical harmonic sampling. With masses m and the Hessian H, the modes are eigenvectors L_k of H_ij / sqrt(m_i m_j),
    with eigenvalues w_k^2, and

        x = x0 + m^(-1/2) sum_k Q_k L_k,    Q_k ~ N(0, kT / w_k^2),

    so every mode holds a potential energy of kT/2 on average. Each sample draws its temperature uniformly from the range.
    Displacements are straight: a mode that turns a bond also stretches it, the more the hotter. Moves of the structure as a
    whole are projected out of H before it is diagonalised; those of them that would move a fixed atom are none, so the
    modes of a structure with fixed atoms are those of the movable ones between them.

    Attributes:
        geometry: a minimum of the energy, n particles in d dimensions; its unmovable particles stay.
        hessian: (n d, n d) second derivatives there, eV/angstrom^2, over particles, then coordinates.
        temperature: lowest and highest, K (250 and 750 in the paper).
        count: samples (78 in the paper).
        free: the energy does not change when the structure moves, or, if it is open, turns as a whole. False where
            particles lie in a potential from outside, as points of a model surface do.

    Raises:
        ValueError: a Hessian of another shape or not symmetric, settings out of range, modes without a restoring force.
    """

    geometry: Geometry
    hessian: NDArray
    temperature: tuple[float, float] = (250.0, 750.0)
    count: int = 78
    free: bool = True

    def __post_init__(self) -> None:
        hessian, size = np.array(self.hessian, dtype=float), self.geometry.positions.size
        if hessian.shape != (size, size) or not np.isfinite(hessian).all():
            raise ValueError(f"the hessian has shape {hessian.shape}, expected ({size}, {size}) finite second derivatives, in eV/angstrom^2")
        asymmetry = np.abs(hessian - hessian.T).max()
        if asymmetry > 0.01 * np.abs(hessian).max():
            raise ValueError(f"the hessian is not symmetric: elements differ by {asymmetry:.3g} of {np.abs(hessian).max():.3g} eV/angstrom^2; compute it more accurately")
        low, high = self.temperature
        if not 0 < low <= high or self.count < 1:
            raise ValueError(f"temperature={self.temperature} and count={self.count}: give (lowest, highest) in K above 0, and at least one sample")
        hessian = (hessian + hessian.T) / 2
        hessian.setflags(write=False)
        object.__setattr__(self, "hessian", hessian)
        curvatures = self._modes[0]
        if not len(curvatures):
            raise ValueError("no mode is left: the structure moves only as a whole, or not at all; free=False keeps such moves where a potential from outside resists")
        if curvatures[0] <= 1e-8 * np.abs(curvatures).max():
            soft = ", ".join(f"{value:.0f}" for value in self.wavenumbers[curvatures <= 1e-8 * np.abs(curvatures).max()])
            raise ValueError(
                f"modes without a restoring force, {soft} cm^-1 (imaginary ones as negative numbers): this is no minimum; optimise the geometry further, "
                "away from a saddle point, with the energy that the hessian belongs to"
            )

    @cached_property
    def _modes(self) -> tuple[NDArray, NDArray]:
        """w^2 (K,), ascending, eV / (angstrom^2 amu), and the displacements m^(-1/2) L (K, n, d) of movable particles, amu^(-1/2)."""
        n, d = self.geometry.positions.shape
        root = np.sqrt(np.where(self.geometry.numbers > 0, atomic_masses[self.geometry.numbers], 1.0)).repeat(d)
        rigid = _rigid(self.geometry) if self.free else np.zeros((0, n * d))
        moving = self.geometry.movable.repeat(d)
        _, basis = _spanned(np.concatenate([rigid * root, np.eye(n * d)[~moving]]))
        curvatures, vectors = np.linalg.eigh(basis @ (self.hessian / root / root[:, None]) @ basis.T)
        return curvatures, (vectors.T @ basis / root).reshape(-1, n, d)

    @property
    def wavenumbers(self) -> NDArray:
        """(K,) w / (2 pi c), ascending, cm^-1; imaginary ones as negative numbers."""
        curvatures = self._modes[0]
        angular = np.sign(curvatures) * np.sqrt(np.abs(curvatures)) * np.sqrt(units._e / units._amu) * 1e10          # rad/s
        return angular / (2 * np.pi * units._c * 100)

    def __call__(self, committee: Committee, dataset: Dataset, rng: Generator, report: Report = ignore, scratch: Path | None = None) -> list[Geometry]:
        curvatures, displacements = self._modes
        temperatures = rng.uniform(*self.temperature, self.count)
        amplitudes = rng.normal(size=(self.count, len(curvatures))) * np.sqrt(units.kB * temperatures[:, None] / curvatures)
        shifts = np.einsum("sk,knd->snd", amplitudes, displacements)
        return [
            self.geometry.moved(self.geometry.positions + shift * self.geometry.movable[:, None], by="normal modes", temperature=float(temperature))
            for shift, temperature in zip(shifts, temperatures, strict=True)
        ]


def _rigid(geometry: Geometry) -> NDArray:
    """(r, n d) orthonormal moves of a structure as a whole: translations, and rotations if it is open; only those that leave fixed particles."""
    n, d = geometry.positions.shape
    moves = [np.tile(axis, (n, 1)) for axis in np.eye(d)]
    if not geometry.pbc.any():
        centred = geometry.positions - geometry.positions.mean(0)
        for i, j in combinations(range(d), 2):
            turn = np.zeros((d, d))
            turn[i, j], turn[j, i] = 1.0, -1.0
            moves.append(centred @ turn)
    _, leaving = _spanned(np.stack(moves)[:, ~geometry.movable].reshape(len(moves), -1).T)
    # The tolerance decides what is linear: turned about its axis, a molecule bent by noise would seem to bend.
    return _spanned(leaving @ np.reshape(moves, (len(moves), -1)), tolerance=1e-3)[0]


def _spanned(rows: NDArray, tolerance: float = 1e-6) -> tuple[NDArray, NDArray]:
    """Orthonormal rows that span `rows` (m, k), and those that span what is orthogonal to them: (rank, k) and (k - rank, k)."""
    if not rows.size:
        return np.zeros((0, rows.shape[1])), np.eye(rows.shape[1])
    _, singular, vectors = np.linalg.svd(rows)
    rank = int((singular > tolerance * max(singular.max(), 1e-300)).sum())
    return vectors[:rank], vectors[rank:]
