"""The distance between two structures, whatever their place in space and the order of equal atoms.

Structures are superposed by Kabsch's rotation about their centroids (unweighted), for every
permutation of equal atoms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry


@dataclass(frozen=True)
class AlignedRmsd:
    """Root mean square deviation after superposition, minimal over permutations, angstrom.

    The abscissa of Schwalbe-Koda 2021, Fig. 3c, which does not say how it is aligned; permutations
    and, for ammonia, reflections are our choice. It may be the `distance` of
    :class:`~agal_toolkit.selection.Deduplicate`, but not for points of a model surface: a lone
    particle can always be moved onto another.

    Attributes:
        reflections: Superpose mirror images too. Ammonia before and after its inversion are mirror
            images, and so are most distorted geometries and their inverted copies, which have the
            same energy.
        permutations: Atoms of one element may change places; False compares them in order.
        exact: Largest number of permutations (ammonia has 6, methane 24).
        starts: Not used; stored settings contain it.
    """

    reflections: bool = False
    permutations: bool = True
    exact: int = 5040
    starts: int = 20

    def __call__(self, one: Geometry, other: Geometry) -> float:
        """Return the distance; infinite between different compositions, charges or multiplicities.

        Raises:
            ValueError: periodic structures, or more than `exact` permutations.
        """
        fields = (one.charge, one.multiplicity, bool(one.pbc.any()))
        if fields != (other.charge, other.multiplicity, bool(other.pbc.any())):
            return np.inf
        if not comparable(one, other, ordered=not self.permutations):
            return np.inf
        fixed, moving, _ = self._matched(one, other)
        return float(np.sqrt(np.square(fixed - moving).sum(1).mean()))

    def superpose(self, one: Geometry, other: Geometry) -> Geometry:
        """Return `other` rotated onto `one`, its atoms in the order of the atoms they match.

        Raises:
            ValueError: different atoms, a periodic structure, or more than `exact` permutations.
        """
        if not comparable(one, other, ordered=not self.permutations):
            raise ValueError(
                f"{other!r} cannot be superposed on {one!r}: they must consist of the same atoms"
            )
        _, moving, order = self._matched(one, other)
        return Geometry(
            positions=moving + one.positions.mean(0),
            numbers=other.numbers[order],
            charge=other.charge,
            multiplicity=other.multiplicity,
            isotopes=None if other.isotopes is None else other.isotopes[order],
            movable=other.movable[order],
            origin=other.origin,
        )

    def _matched(self, one: Geometry, other: Geometry) -> tuple[NDArray, NDArray, NDArray]:
        """Centred positions (n, d) of `one` and of the superposed `other`, and its order (n,)."""
        fixed = one.positions - one.positions.mean(0)
        moving = other.positions - other.positions.mean(0)
        orders = self._orders(one.numbers, other.numbers)
        overlaps = _overlaps(np.einsum("ni,knj->kij", fixed, moving[orders]), self.reflections)
        order = orders[np.argmax(overlaps)]
        matched = moving[order]
        return fixed, matched @ rotation(matched, fixed, reflections=self.reflections), order

    def _orders(self, numbers: NDArray, others: NDArray) -> NDArray:
        """(k, n) every order of the atoms `others` (n,) that gives the elements `numbers` (n,)."""
        if not self.permutations:
            return np.arange(len(numbers))[None]
        counts = np.unique(numbers, return_counts=True)[1]
        count = math.prod(math.factorial(int(count)) for count in counts)
        if count > self.exact:
            raise ValueError(
                f"equal atoms have {count} permutations, expected at most {self.exact}: use"
                " AlignedRmsd(permutations=False), or compare descriptors such as Soap()"
            )
        return _permutations(tuple(numbers.tolist()), tuple(others.tolist()))


@lru_cache(maxsize=8)
def _permutations(numbers: tuple[int, ...], others: tuple[int, ...]) -> NDArray:
    """(k, n) every order of the elements `others` that gives `numbers`."""
    fixed, moving = np.array(numbers), np.array(others)
    elements = np.unique(fixed)
    places = np.concatenate([np.flatnonzero(fixed == element) for element in elements])
    choices = (permutations(np.flatnonzero(moving == element)) for element in elements)
    rows = [np.concatenate([np.array(part) for part in choice]) for choice in product(*choices)]
    orders = np.empty((len(rows), len(numbers)), dtype=int)
    orders[:, places] = rows
    orders.setflags(write=False)
    return orders


def comparable(one: Geometry, other: Geometry, *, ordered: bool = False) -> bool:
    """Return True if both structures consist of the same atoms, if `ordered` in the same order.

    Raises:
        ValueError: one of them is periodic.
    """
    if one.pbc.any() or other.pbc.any():
        raise ValueError("periodic structures cannot be superposed: compare descriptors of them")
    if one.positions.shape != other.positions.shape:
        return False
    if ordered:
        return np.array_equal(one.numbers, other.numbers)
    return np.array_equal(np.sort(one.numbers), np.sort(other.numbers))


def rotation(moving: NDArray, fixed: NDArray, *, reflections: bool = False) -> NDArray:
    """Return the orthogonal R (d, d) with `moving` @ R closest to `fixed`, both (n, d) and centred.

    Kabsch 1976 (Acta Cryst. A 32, 922), with the sign that keeps R a proper rotation unless
    `reflections` are allowed.
    """
    u, _, vt = np.linalg.svd(moving.T @ fixed)
    if not reflections and np.linalg.det(u) * np.linalg.det(vt) < 0:
        u[:, -1] *= -1
    return u @ vt


def _overlaps(covariance: NDArray, reflections: bool) -> NDArray:
    """(k,) largest trace of each covariance (k, d, d) times a rotation: large for a small RMSD."""
    singular = np.linalg.svd(covariance, compute_uv=False)
    if not reflections:
        singular[:, -1] *= np.where(np.linalg.det(covariance) < 0, -1.0, 1.0)
    return singular.sum(1)
