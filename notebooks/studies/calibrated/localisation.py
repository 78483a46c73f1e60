"""Where a quantity sits in a structure: on how many atoms, and inside molecules or between them.

In coordinates weighted with the roots of masses, a molecule moves as a rigid body by three
translations and three rotations; the rest of displacements or forces changes its shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def participation(sizes: ArrayLike) -> float:
    """Return the share of atoms that carry a quantity: (sum s^2)^2 / (n sum s^4) of sizes s (n,).

    It is 1 if all atoms carry the same, and 1/n if one atom carries everything.

    Raises:
        ValueError: no atoms, or all sizes are zero.
    """
    squares = np.square(np.asarray(sizes, dtype=float))
    if not squares.size or not squares.any():
        raise ValueError("participation asks which atoms carry a quantity, and none does")
    return float(squares.sum() ** 2 / (squares.size * np.square(squares).sum()))


def internal_share(
    vectors: ArrayLike, molecules: ArrayLike, masses: ArrayLike, *, forces: bool
) -> float:
    """Return the share of vectors that changes the shapes of molecules.

    It is a share of the sum of squares in mass-weighted coordinates.

    Args:
        vectors: (..., w, a, 3) displacements or forces on the a atoms of w molecules.
        molecules: (w, a, 3) positions, each molecule in one piece, angstrom.
        masses: (a,) of a molecule's atoms.
        forces: vectors are forces, which are divided by the roots of masses, or displacements,
            which are multiplied.
    """
    roots = np.sqrt(np.asarray(masses, dtype=float))[:, None]
    x = np.asarray(molecules, dtype=float)
    weighted = np.asarray(vectors, dtype=float) * (1 / roots if forces else roots)
    flat = weighted.reshape(*weighted.shape[:-2], -1)
    basis = _rigid(x, roots)
    rigid = np.einsum("wrk,...wk->...wr", basis, flat)
    return float(1 - np.square(rigid).sum() / np.square(flat).sum())


def _rigid(x: NDArray, roots: NDArray) -> NDArray:
    """Return (w, 6, 3 a) orthonormal moves of rigid molecules; zero rows for linear ones."""
    count, atoms, _ = x.shape
    centred = x - (x * roots**2).sum(1, keepdims=True) / np.square(roots).sum()
    moves = [np.broadcast_to(axis, x.shape) for axis in np.eye(3)] + [
        np.cross(axis, centred) for axis in np.eye(3)
    ]
    _, sizes, right = np.linalg.svd(
        (np.stack(moves, 1) * roots).reshape(count, 6, 3 * atoms), full_matrices=False
    )
    return right * (sizes > 1e-6 * sizes[:, :1])[..., None]
