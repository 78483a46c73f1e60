"""Distances between structures in angstrom, and which structures are copies of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Geometry

COPIES = 0.02  # angstrom, root mean square: an attack's start displaces about as much


def euclidean(one: Geometry, other: Geometry) -> float:
    """Return the norm of the difference of all coordinates and cell vectors, angstrom.

    Periodic particles are compared with their nearest images. The distance is infinite between
    structures of different elements, charges, multiplicities or periodicity.
    """
    return float(distances_to(one, [other])[0])


def distances_to(one: Geometry, others: Sequence[Geometry]) -> NDArray:
    """Return the :func:`euclidean` distances (n,) of a structure to others."""
    distances, kind = np.full(len(others), np.inf), _kind(one)
    same = [i for i, other in enumerate(others) if _kind(other) == kind]
    if not same:
        return distances
    shift = one.positions - np.stack([others[i].positions for i in same])
    squares = np.zeros(len(same))
    if one.pbc.any():
        from ase.geometry import find_mic  # slow to import

        n, d = one.positions.shape
        cell, pbc, flat = np.zeros((3, 3)), np.zeros(3, dtype=bool), np.zeros((len(same) * n, 3))
        cell[:d, :d], pbc[:d], flat[:, :d] = (
            one.cell * one.pbc[:, None],
            one.pbc,
            shift.reshape(-1, d),
        )
        mic: Any = find_mic  # ASE annotates pbc as one bool
        shift = mic(flat, cell, pbc)[0][:, :d].reshape(shift.shape)
        cells = np.stack([(others[i].cell - one.cell)[one.pbc] for i in same])
        squares = np.square(cells).sum((1, 2))
    distances[same] = np.sqrt(squares + np.square(shift).sum((1, 2)))
    return distances


def _kind(geometry: Geometry) -> tuple:
    """What two structures share if their coordinates can be compared one by one."""
    shape, spin = geometry.positions.shape, geometry.multiplicity
    return shape, geometry.charge, spin, geometry.numbers.tobytes(), geometry.pbc.tobytes()


def copies_of(geometry: Geometry, others: Sequence[Geometry]) -> list[int]:
    """Return the indices of structures that are copies of `geometry`, see :data:`COPIES`."""
    limit = COPIES * np.sqrt(len(geometry))
    alike = [i for i, other in enumerate(others) if len(other) == len(geometry)]
    if not alike:
        return []
    shift = np.stack([others[i].positions for i in alike]) - geometry.positions
    if geometry.pbc.any():
        cell = geometry.cell[geometry.pbc]
        shift -= np.round(shift @ np.linalg.pinv(cell)) @ cell
    near = np.flatnonzero(np.linalg.norm(shift, axis=(1, 2)) <= limit)  # few are left to compare
    return [alike[k] for k in near if euclidean(geometry, others[alike[k]]) <= limit]
