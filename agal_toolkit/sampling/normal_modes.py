"""Thermal displacements along normal modes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from ase import units
from numpy.random import Generator
from numpy.typing import NDArray

from ..geometry import Geometry
from .samplers import StructureSampler


@dataclass(frozen=True, eq=False)
class NormalModes(StructureSampler):
    """Thermal displacements along normal modes: the start of Schwalbe-Koda 2021, A.2.2.

    Classical harmonic sampling. With masses m and the Hessian H, the modes are eigenvectors L_k of
    H_ij / sqrt(m_i m_j), with eigenvalues w_k^2, and

        x = x0 + m^(-1/2) sum_k Q_k L_k,    Q_k ~ N(0, kT / w_k^2),

    so every mode holds a potential energy of kT/2 on average. Each sample draws its temperature
    uniformly from the range. Displacements are straight: a mode that turns a bond also stretches
    it, more so when hot. Moves of the structure as a whole are projected out of H, unless they
    would move a fixed atom: a structure with fixed atoms has the modes of its movable ones.

    Attributes:
        geometry: a minimum of the energy, n particles in d dimensions; unmovable particles stay.
        hessian: (n d, n d) second derivatives, eV/angstrom^2, over particles, then coordinates.
        temperature: lowest and highest, K (250 and 750 in the paper).
        count: number of samples (78 in the paper).
        free: True if translations, and rotations if open, do not change the energy; False for
            particles in an external potential, as points of a model surface are.

    Raises:
        ValueError: a Hessian of another shape or not symmetric, settings out of range, modes
            without a restoring force.
    """

    geometry: Geometry
    hessian: NDArray
    temperature: tuple[float, float] = (250.0, 750.0)
    count: int = 78
    free: bool = True

    def __post_init__(self) -> None:
        hessian, size = np.array(self.hessian, dtype=float), self.geometry.positions.size
        if hessian.shape != (size, size) or not np.isfinite(hessian).all():
            expected = f"expected ({size}, {size}) finite second derivatives in eV/angstrom^2"
            raise ValueError(f"the hessian has shape {hessian.shape}, {expected}")
        asymmetry, largest = np.abs(hessian - hessian.T).max(), np.abs(hessian).max()
        if asymmetry > 0.01 * largest:
            raise ValueError(
                f"the hessian is not symmetric: elements differ by {asymmetry:.3g} of"
                f" {largest:.3g} eV/angstrom^2; compute it more accurately"
            )
        low, high = self.temperature
        if not 0 < low <= high or self.count < 1:
            given = f"temperature={self.temperature} and count={self.count}"
            raise ValueError(f"{given}: give (lowest, highest) in K above 0, and at least 1 sample")
        hessian = (hessian + hessian.T) / 2
        hessian.setflags(write=False)
        object.__setattr__(self, "hessian", hessian)
        curvatures = self._modes[0]
        if not len(curvatures):
            raise ValueError(
                "no mode is left: the Hessian has no vibrations after removing rigid-body motion"
                " and fixed atoms. For particles in an external potential use free=False"
            )
        soft = self.wavenumbers[curvatures <= 1e-8 * np.abs(curvatures).max()]
        if len(soft):
            values = ", ".join(f"{value:.0f}" for value in soft)
            raise ValueError(
                f"modes without a restoring force, {values} cm^-1 (imaginary ones as negative"
                " numbers): this is no minimum; optimise the geometry with the Hessian's energy"
            )

    @cached_property
    def _modes(self) -> tuple[NDArray, NDArray]:
        """w^2 (K,) eV / (angstrom^2 amu), ascending, and m^(-1/2) L (K, n, d) amu^(-1/2)."""
        n, d = self.geometry.positions.shape
        root = np.sqrt(self.geometry.masses).repeat(d)
        # `basis` spans what is orthogonal to rigid moves and to the coordinates of fixed atoms.
        rigid = _rigid(self.geometry) if self.free else np.zeros((0, n * d))
        fixed = np.eye(n * d)[~self.geometry.movable.repeat(d)]
        _, basis = _spanned(np.concatenate([rigid * root, fixed]))
        weighted = self.hessian / root / root[:, None]
        curvatures, vectors = np.linalg.eigh(basis @ weighted @ basis.T)
        return curvatures, (vectors.T @ basis / root).reshape(-1, n, d)

    @property
    def wavenumbers(self) -> NDArray:
        """(K,) w / (2 pi c), ascending, cm^-1; imaginary ones as negative numbers."""
        curvatures = self._modes[0]
        root = np.sign(curvatures) * np.sqrt(np.abs(curvatures))
        angular = root * np.sqrt(units._e / units._amu) * 1e10  # rad/s
        return angular / (2 * np.pi * units._c * 100)

    def draw(self, rng: Generator) -> list[Geometry]:
        """Return `count` displaced structures."""
        curvatures, displacements = self._modes
        temperatures = rng.uniform(*self.temperature, self.count)
        amplitudes = rng.normal(size=(self.count, len(curvatures))) * np.sqrt(
            units.kB * temperatures[:, None] / curvatures
        )
        shifts = np.einsum("sk,knd->snd", amplitudes, displacements)
        start, movable = self.geometry.positions, self.geometry.movable[:, None]
        return [
            self.geometry.moved(start + shift * movable, by="normal modes", temperature=float(t))
            for shift, t in zip(shifts, temperatures, strict=True)
        ]


def _rigid(geometry: Geometry) -> NDArray:
    """Return (r, n d) orthonormal moves of the whole structure that leave fixed particles.

    These are translations, and rotations if it is open.
    """
    n, d = geometry.positions.shape
    moves = [np.tile(axis, (n, 1)) for axis in np.eye(d)]
    if not geometry.pbc.any():
        centred = geometry.positions - geometry.positions.mean(0)
        for i, j in combinations(range(d), 2):
            turn = np.zeros((d, d))
            turn[i, j], turn[j, i] = 1.0, -1.0
            moves.append(centred @ turn)
    _, leaving = _spanned(np.stack(moves)[:, ~geometry.movable].reshape(len(moves), -1).T)
    # The tolerance decides which molecules are linear: turned about its axis, a molecule bent by
    # noise would seem to bend.
    return _spanned(leaving @ np.reshape(moves, (len(moves), -1)), tolerance=1e-3)[0]


def _spanned(rows: NDArray, tolerance: float = 1e-6) -> tuple[NDArray, NDArray]:
    """Return orthonormal bases (rank, k) of `rows` (m, k), (k - rank, k) of what is orthogonal."""
    if not rows.size:
        return np.zeros((0, rows.shape[1])), np.eye(rows.shape[1])
    _, singular, vectors = np.linalg.svd(rows)
    rank = int((singular > tolerance * max(singular.max(), 1e-300)).sum())
    return vectors[:rank], vectors[rank:]
