"""Where in a structure something sits: on how many atoms, and inside molecules or between them.

For displacements and for forces alike the moves of a molecule as a rigid body are three
translations and three rotations in coordinates weighted with the roots of masses; what is left
changes its shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def participation(sizes: ArrayLike) -> float:
    """The share of atoms that carry a quantity: (sum s^2)^2 / (n sum s^4) of its sizes s (n,); 1
    where all carry the same, 1/n where one carries all.

    Raises:
        ValueError: no atoms, or nothing on any of them.
    """
    squares = np.square(np.asarray(sizes, dtype=float))
    if not squares.size or not squares.any():
        raise ValueError("participation asks which atoms carry a quantity, and none does")
    return float(squares.sum() ** 2 / (squares.size * np.square(squares).sum()))


def internal_share(
    vectors: ArrayLike, molecules: ArrayLike, masses: ArrayLike, *, forces: bool
) -> float:
    """The share of vectors on atoms that changes the shapes of molecules, of the sum of squares in
    mass-weighted coordinates.

    Args:
        vectors: (..., w, a, 3) displacements or forces on the a atoms of w molecules.
        molecules: (w, a, 3) positions, each molecule in one piece, angstrom.
        masses: (a,) of a molecule's atoms.
        forces: vectors are forces, which are divided by the roots of masses; displacements are
            multiplied.
    """
    roots = np.sqrt(np.asarray(masses, dtype=float))[:, None]
    x = np.asarray(molecules, dtype=float)
    weighted = np.asarray(vectors, dtype=float) * (1 / roots if forces else roots)
    flat = weighted.reshape(*weighted.shape[:-2], -1)
    basis = _rigid(x, roots)
    rigid = np.einsum("wrk,...wk->...wr", basis, flat)
    return float(1 - np.square(rigid).sum() / np.square(flat).sum())


def _rigid(x: NDArray, roots: NDArray) -> NDArray:
    """(w, 6, 3 a) orthonormal moves of molecules as rigid bodies; those of a linear or a single one
    are fewer, and the rest are zero.
    """
    count, atoms, _ = x.shape
    centred = x - (x * roots**2).sum(1, keepdims=True) / np.square(roots).sum()
    moves = [np.broadcast_to(axis, x.shape) for axis in np.eye(3)] + [
        np.cross(axis, centred) for axis in np.eye(3)
    ]
    _, sizes, right = np.linalg.svd(
        (np.stack(moves, 1) * roots).reshape(count, 6, 3 * atoms), full_matrices=False
    )
    return right * (sizes > 1e-6 * sizes[:, :1])[..., None]
