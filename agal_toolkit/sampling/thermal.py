"""A first set of structures: thermal displacements of one, with a model for its force constants."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from ase import units
from ase.data import covalent_radii
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.linalg import null_space

from ..ase_labels import Structures, structure_of
from ..geometry import Geometry
from .normal_modes import NormalModes

# Lindh 1995: of atoms of the first, the second and later rows of the periodic table, bohr
_DECAY = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])
_LENGTH = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])
STRETCH, BEND = 0.45, 0.15  # Lindh 1995, hartree/bohr^2 and hartree/radian^2
PLANE = 0.15  # of an atom out of the plane of its three neighbours, hartree/bohr^2
METAL = 0.4  # strength of all bonds of an atom together where that makes each one stronger
REACH, WEAKEST = 3.5, 0.003  # of bonds, angstrom and strength
SOFT = 0.8  # eV/angstrom^2


def start(
    ground: Structures,
    n: int,
    temperature: float | tuple[float, float] = (200.0, 600.0),
    *,
    hessian: NDArray | None = None,
    seed: int | Generator = 0,
) -> list[Geometry]:
    """Return `n` thermal displacements of a structure near a minimum: a first set to label.

    :class:`NormalModes` of molecules, clusters, surfaces and crystals, whose fixed atoms stay. Each
    draws its temperature from the range. The curvatures are those of :func:`model_hessian`, or a
    `hessian`, and 0.8 eV/angstrom^2 for every coordinate: softer modes (turns of methyl groups and
    of molecules in a cluster) move less, because straight displacements would stretch bonds.

    Args:
        ground: a Geometry, an ase.Atoms or the name of a file.
        n: number of structures.
        temperature: lowest and highest, K, or one for all.
        hessian: (3n, 3n) second derivatives, eV/angstrom^2, as ``references.hessian`` returns.
        seed: of the random numbers.

    Raises:
        ValueError: particles without a name, settings out of range, or a `hessian` of no minimum.
    """
    geometry = structure_of(ground)
    if geometry.dimension != 3 or not geometry.numbers.all():
        remedy = "use NormalModes with a Hessian, or Rattle"
        raise ValueError(f"start displaces atoms in three dimensions, not {geometry!r}: {remedy}")
    low, high = np.broadcast_to(temperature, 2).tolist()
    curvature = model_hessian(geometry) if hessian is None else np.asarray(hessian, dtype=float)
    curvature = curvature + SOFT * np.eye(len(curvature))
    return NormalModes(geometry, curvature, (low, high), n).draw(np.random.default_rng(seed))


def model_hessian(geometry: Geometry) -> NDArray:
    """Return (3n, 3n) second derivatives of a model of bonds, eV/angstrom^2, of atoms in 3D.

    Stretches, bends and moves of atoms out of the plane of three neighbours are harmonic. Constants
    are those of Lindh, Bernhardsson, Karlström and Malmqvist, Chem. Phys. Lett. 241, 423 (1995),
    which fall off with distance, at most those of single bonds; bonds of metals share a constant.

    With it, energies of :func:`start` above the minimum (mean of 40, 200 and 600 K) are this many
    kT/2 for each mode: 1.0 for malonaldehyde, 0.9 for ethanol, 0.8 for acetamide, 1.8 for CO2, 1.2
    for a formic acid dimer and 1.3 for three waters (GFN2-xTB); 0.8 for O on Cu(111) and 1.0 for
    copper (EMT); by harmonic energies, 0.5 for aluminium to 1.2 for platinum (EMT).
    """
    from ase.neighborlist import neighbor_list

    n = len(geometry)
    first, second, away = neighbor_list("ijD", geometry.to_ase(), REACH)
    length = np.linalg.norm(away, axis=1) / units.Bohr
    along = away / np.linalg.norm(away, axis=1)[:, None]
    row = np.searchsorted([3, 11], geometry.numbers, "right")
    kind, radii = (row[first], row[second]), covalent_radii[geometry.numbers] / units.Bohr
    touching = length < 1.25 * (radii[first] + radii[second])
    count = np.bincount(first[touching], minlength=n)
    shared = touching * METAL / np.maximum(1, np.maximum(count[first], count[second]))
    strength = np.exp(_DECAY[kind] * (_LENGTH[kind] ** 2 - length**2))
    strength = np.clip(strength, shared, 1.0)
    rows: list[NDArray] = []  # derivatives of sqrt(2 x energy) of each motion

    def add(constant: float, *slopes: tuple[int, NDArray]) -> None:
        rows.append(np.zeros((n, 3)))
        for atom, slope in slopes:
            rows[-1][atom] += np.sqrt(constant) * slope

    for i in range(n):
        bonds = np.flatnonzero((first == i) & (strength > WEAKEST))
        for x in bonds:  # each bond is met from both ends
            add(STRETCH / 2 * strength[x], (i, -along[x]), (second[x], along[x]))
        for x, y in combinations(bonds, 2):
            if strength[x] * strength[y] > 10 * WEAKEST:
                normal = np.cross(along[x], along[y])
                size = np.linalg.norm(normal)
                # a straight chain bends in two directions
                for axis in null_space(along[[x]]).T if size < 0.1 else [normal / size]:
                    a, b = (
                        np.cross(axis, along[x]) / length[x],
                        np.cross(along[y], axis) / length[y],
                    )
                    slopes = (i, -a - b), (second[x], a), (second[y], b)
                    add(BEND * strength[x] * strength[y], *slopes)
        close = bonds[strength[bonds] > 0.3]
        if len(close) == 3:
            normal = np.cross(*np.diff(away[close], axis=0))
            normal /= np.linalg.norm(normal)
            add(PLANE, (i, normal), *[(second[x], -normal / 3) for x in close])
    jacobian = np.reshape(rows, (-1, 3 * n))
    return jacobian.T @ jacobian * units.Hartree / units.Bohr**2
