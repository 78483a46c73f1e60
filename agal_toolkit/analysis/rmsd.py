"""How far apart two structures are, whatever their place in space and the order of their equal
atoms.

Structures are superposed by Kabsch's rotation about their centroids (unweighted), for every
permutation of equal atoms
where there are few, and otherwise for permutations found by turns: the best assignment for a
rotation (Hungarian method), the best rotation for an assignment, from many rotations. The second
way can miss the best one: it is an upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from ..geometry import Geometry


@dataclass(frozen=True)
class AlignedRmsd:
    """Root mean square deviation after optimal superposition, minimised over permutations of equal
    atoms, angstrom.

    The abscissa of Schwalbe-Koda 2021, Fig. 3c, which does not say how it is aligned; permutations
    and, for ammonia, reflections are our choice. It may be the `distance` of
    :class:`~agal_toolkit.selection.Deduplicate`, but not for points of a model
    surface: a lone particle can always be moved onto another.

    Attributes:
        reflections: mirror images may be superposed too. Ammonia before and after its inversion are
            mirror images, and so are most distorted geometries and their inverted selves, which
            have the same energy.
        permutations: atoms of one element may change places; otherwise atom i is compared with atom
            i.
        exact: up to so many permutations all are tried (ammonia has 6, methane 24); beyond, the
            distance is an upper bound.
        starts: random rotations from which an inexact search begins, besides those that match
            principal axes.
    """

    reflections: bool = False
    permutations: bool = True
    exact: int = 5040
    starts: int = 20

    def __call__(self, one: Geometry, other: Geometry) -> float:
        """The distance; infinite between different compositions.

        Raises:
            ValueError: a periodic structure, which has no superposition.
        """
        if not comparable(one, other, ordered=not self.permutations):
            return np.inf
        fixed, moving, _ = self._matched(one, other)
        return float(np.sqrt(np.square(fixed - moving).sum(1).mean()))

    def superpose(self, one: Geometry, other: Geometry) -> Geometry:
        """`other`, turned onto `one` with its atoms in the order of the atoms of `one` that they
        match.

        Raises:
            ValueError: different compositions, or a periodic structure.
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
            movable=other.movable[order],
            origin=other.origin,
        )

    def _matched(self, one: Geometry, other: Geometry) -> tuple[NDArray, NDArray, NDArray]:
        """Centred positions of `one` and of `other`, (n, d), the latter turned and permuted by its
        third value (n,).
        """
        fixed, moving = (
            one.positions - one.positions.mean(0),
            other.positions - other.positions.mean(0),
        )
        orders = self._orders(one.numbers, other.numbers)
        if orders is None:
            order = self._searched(fixed, moving, one.numbers, other.numbers)
        else:
            gains = _gains(np.einsum("ni,knj->kij", fixed, moving[orders]), self.reflections)
            order = orders[np.argmax(gains)]
        matched = moving[order]
        return fixed, matched @ rotation(matched, fixed, reflections=self.reflections), order

    def _orders(self, ours: NDArray, theirs: NDArray) -> NDArray | None:
        """(k, n): every order of `theirs` that gives the elements of `ours`; None where there are
        too many.
        """
        if not self.permutations:
            return np.arange(len(ours))[None]
        elements, counts = np.unique(ours, return_counts=True)
        if math.prod(math.factorial(int(count)) for count in counts) > self.exact:
            return None
        slots = [np.flatnonzero(ours == element) for element in elements]
        choices = product(
            *(permutations(np.flatnonzero(theirs == element)) for element in elements)
        )
        orders = []
        for choice in choices:
            order = np.empty(len(ours), dtype=int)
            for slot, chosen in zip(slots, choice, strict=True):
                order[slot] = chosen
            orders.append(order)
        return np.array(orders)

    def _searched(self, fixed: NDArray, moving: NDArray, ours: NDArray, theirs: NDArray) -> NDArray:
        """(n,) the best order that turns of assignment and rotation find."""
        best, found = (
            -np.inf,
            np.argsort(theirs, kind="stable")[np.argsort(np.argsort(ours, kind="stable"))],
        )
        for turn in self._rotations(fixed, moving):
            order = None
            for _ in range(100):
                proposed = _assigned(fixed, moving @ turn, ours, theirs)
                if order is not None and np.array_equal(proposed, order):
                    break
                order = proposed
                turn = rotation(moving[order], fixed, reflections=self.reflections)
            gain = np.sum(fixed * (moving[order] @ turn))
            if gain > best:
                best, found = gain, order
        return found

    def _rotations(self, fixed: NDArray, moving: NDArray) -> list[NDArray]:
        """Where the search starts: as they are, principal axis on principal axis in every order and
        sense, and at random.
        """
        d, rng = fixed.shape[1], np.random.default_rng(0)
        ours, theirs = (np.linalg.svd(x, full_matrices=True)[2].T for x in (fixed, moving))
        signed = [
            np.eye(d)[list(order)] * np.array(signs)[:, None]
            for order in permutations(range(d))
            for signs in product((1, -1), repeat=d)
        ]
        turns = [
            np.eye(d),
            *(theirs @ s @ ours.T for s in signed),
            *(np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(self.starts)),
        ]
        return [turn for turn in turns if self.reflections or np.linalg.det(turn) > 0]


def comparable(one: Geometry, other: Geometry, *, ordered: bool = False) -> bool:
    """Whether two structures consist of the same atoms, in the same order where `ordered`.

    Raises:
        ValueError: one of them is periodic.
    """
    if one.pbc.any() or other.pbc.any():
        raise ValueError("periodic structures cannot be superposed: compare descriptors of them")
    if one.positions.shape != other.positions.shape:
        return False
    return (
        np.array_equal(one.numbers, other.numbers)
        if ordered
        else np.array_equal(np.sort(one.numbers), np.sort(other.numbers))
    )


def rotation(moving: NDArray, fixed: NDArray, *, reflections: bool = False) -> NDArray:
    """The orthogonal matrix R (d, d) for which `moving` @ R is closest to `fixed`, both (n, d) and
    centred.

    Kabsch 1976 (Acta Cryst. A 32, 922), with the sign that keeps R a proper rotation unless
    `reflections` are allowed.
    """
    u, _, vt = np.linalg.svd(moving.T @ fixed)
    if not reflections and np.linalg.det(u) * np.linalg.det(vt) < 0:
        u[:, -1] *= -1
    return u @ vt


def _gains(covariance: NDArray, reflections: bool) -> NDArray:
    """The largest trace of (k, d, d) with a rotation, (k,): half of what superposing takes off the
    squared distance.
    """
    singular = np.linalg.svd(covariance, compute_uv=False)
    if not reflections:
        singular[:, -1] *= np.where(np.linalg.det(covariance) < 0, -1.0, 1.0)
    return singular.sum(1)


def _assigned(fixed: NDArray, moving: NDArray, ours: NDArray, theirs: NDArray) -> NDArray:
    """(n,) which atom of `moving` goes with each of `fixed`, elements kept, with the smallest sum
    of squared distances.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    order = np.empty(len(ours), dtype=int)
    for element in np.unique(ours):
        mine, its = np.flatnonzero(ours == element), np.flatnonzero(theirs == element)
        rows, columns = linear_sum_assignment(fixed[mine] @ moving[its].T, maximize=True)
        order[mine[rows]] = its[columns]
    return order
