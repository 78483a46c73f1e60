"""The proton transfer of malonaldehyde: its coordinate, its mirror image and its band."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from ase.units import kcal, mol
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from tblite.ase import TBLite

import agal_toolkit as agal
from agal_toolkit.analysis.paths import Model, NudgedElasticBand, ReactionPath, relaxed
from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import LabelCalculator, NoMinimum, Reference
from agal_toolkit.references.processes import Processes

SMILES = "O=C/C=C\\O"
KCAL = kcal / mol  # eV


def reference(executor: Processes | None = None) -> Reference:
    """Return GFN2-xTB, an ASE calculator of tblite."""
    calculator = TBLite(method="GFN2-xTB", verbosity=0)
    return agal.Reference(calculator, executor=executor, timeout=600 if executor else None)


def chain(geometry: Geometry) -> tuple[int, ...]:
    """Return the indices O, C, C, C, O of the chain, the O far from the shared hydrogen first.

    Raises:
        ValueError: another molecule, or a chain that is torn.
    """
    apart, z = cdist(geometry.positions, geometry.positions), geometry.numbers
    carbons, oxygens = np.flatnonzero(z == 6), np.flatnonzero(z == 8)
    wrong = f"{geometry!r} is no malonaldehyde: give one near its minimum"
    if sorted(z) != [1] * 4 + [6] * 3 + [8] * 2:
        raise ValueError(wrong)
    middle = carbons[apart[np.ix_(carbons, carbons)].max(axis=1).argmin()]
    ends = [(o, carbons[apart[o, carbons].argmin()]) for o in oxygens]
    shared = shared_hydrogen(geometry)
    (far, first), (near, last) = sorted(ends, key=lambda end: -apart[end[0], shared])
    if len(set(map(int, (first, middle, last)))) != 3:
        raise ValueError(wrong)
    return tuple(int(i) for i in (far, first, middle, last, near))


def shared_hydrogen(geometry: Geometry) -> int:
    """Return the index of the hydrogen that is nearest to both oxygens."""
    hydrogens = np.flatnonzero(geometry.numbers == 1)
    to_oxygen = cdist(geometry.positions[hydrogens], geometry.positions[geometry.numbers == 8])
    return int(hydrogens[to_oxygen.sum(axis=1).argmin()])


def mirrored(geometry: Geometry) -> Geometry:
    """Return the structure after the transfer: atoms change places with those of the other side.

    Every atom has the position of its counterpart; the whole is laid onto `geometry`.
    """
    order, hydrogens = np.arange(len(geometry)), np.flatnonzero(geometry.numbers == 1)
    sides = chain(geometry)
    order[list(sides)] = sides[::-1]
    apart = cdist(geometry.positions, geometry.positions[hydrogens])
    first, last = (hydrogens[apart[c].argmin()] for c in (sides[1], sides[3]))
    order[[first, last]] = last, first
    swapped = geometry.moved(geometry.positions[order])
    match = AlignedRmsd(permutations=False, reflections=True)
    return geometry.moved(match.superpose(geometry, swapped).positions)


@dataclass(frozen=True)
class Coordinate:
    """The distance of a hydrogen to one oxygen minus that to the other, angstrom.

    Zero in the middle of the transfer, positive while the hydrogen is where it was at the start.

    Attributes:
        far: index of the first oxygen.
        hydrogen: index of the hydrogen.
        near: index of the oxygen that has the hydrogen at the start.
    """

    far: int
    hydrogen: int
    near: int

    @classmethod
    def of(cls, ground: Geometry) -> Coordinate:
        """Return the coordinate of a minimum."""
        sides = chain(ground)
        return cls(sides[0], shared_hydrogen(ground), sides[-1])

    def __call__(self, geometry: Geometry) -> float:
        x = geometry.positions
        to_far, to_near = (np.linalg.norm(x[o] - x[self.hydrogen]) for o in (self.far, self.near))
        return float(to_far - to_near)


def band(potential: Model, ground: Geometry, steps: int = 300) -> ReactionPath:
    """Return the path of the transfer on a potential, from its own minimum near `ground`.

    Raises:
        NoMinimum: the potential has none.
    """
    first = relaxed(potential, ground, fmax=0.01)
    search = NudgedElasticBand(images=11, fmax=0.02, steps=steps)
    return search(potential, first, mirrored(first))


def true_band(reference: Reference, ground: Geometry) -> ReactionPath:
    """Return the path of the transfer on the reference; its barrier is what is looked for."""
    first = agal.optimised(reference, ground)
    calculator = LabelCalculator(partial(_label, reference))
    return NudgedElasticBand(images=11)(calculator, first, mirrored(first))


def _label(reference: Reference, geometry: Geometry) -> agal.Labels:
    return reference.labelled(geometry).labels[0]


def barrier(potential: Model, ground: Geometry, steps: int = 300) -> tuple[float, bool]:
    """Return a potential's barrier, kcal/mol, and whether its band converged; NaN without one."""
    try:
        path = band(potential, ground, steps)
    except (NoMinimum, ValueError):  # no minimum, or not of malonaldehyde
        return np.nan, False
    return path.barrier / KCAL, path.converged


def heights(committee: Committee, path: ReactionPath) -> NDArray:
    """Return the members' energies above the first image of a path, (M, images), kcal/mol."""
    energies = committee.predict(list(path.images)).energy.numpy()
    return (energies - energies[:, :1]) / KCAL
