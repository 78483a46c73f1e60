"""Which atom is which: those of the framework, of its bridging hydroxyls, and of the waters.

Atoms of waters follow those of the framework, O H H each. Zirconium binds to three kinds of oxygen:
those of the linkers' carboxylates, and in turn those that bridge three zirconium atoms, half of
them bare (mu3-O) and half with a hydrogen (mu3-OH). A primitive cell has four of each bridge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.geometry import Geometry

FRAMEWORK = 114  # atoms of a primitive cell without water
COORDINATED = 2.6  # angstrom, of zirconium and oxygen; 2.06 to 2.28 in the relaxed cell
BOUND = 1.3  # angstrom, of hydrogen and oxygen or carbon
KINDS = (
    "Zr",
    "µ3-O",
    "µ3-OH: O",
    "µ3-OH: H",
    "carboxylate O",
    "C",
    "H of linkers",
    "O of waters",
    "H of waters",
)


def vectors(geometry: Geometry, one: NDArray, other: NDArray) -> NDArray:
    """Return (n, m, 3) nearest images of the vectors from positions (n, 3) to others (m, 3).

    They are the nearest ones up to half the distance of the cell's opposite faces.
    """
    return nearest(other - one[:, None], geometry.cell)


def nearest(apart: NDArray, cell: NDArray) -> NDArray:
    """Return the nearest periodic images of vectors (..., 3); see :func:`vectors`."""
    fractional = apart @ np.linalg.inv(cell)
    return (fractional - np.round(fractional)) @ cell


def framework_size(geometry: Geometry) -> int:
    """Return the number of atoms before those of the waters, 0 for liquid water."""
    liquid = np.isin(geometry.numbers, (1, 8)).all()
    return 0 if liquid else min(FRAMEWORK, len(geometry))


def oxygens(geometry: Geometry) -> NDArray:
    """Return the indices of the waters' oxygen atoms."""
    begin = framework_size(geometry)
    return begin + np.flatnonzero(geometry.numbers[begin:] == 8)


def hydroxyls(geometry: Geometry) -> NDArray:
    """Return the indices of the oxygen atoms of mu3-OH groups: three Zr and a H are bound."""
    return np.flatnonzero(kinds(geometry) == KINDS.index("µ3-OH: O"))


def kinds(geometry: Geometry) -> NDArray:
    """Return (n,) the kind of each atom as its place in :data:`KINDS`."""
    numbers, x, begin = geometry.numbers, geometry.positions, framework_size(geometry)
    result = np.full(len(geometry), -1)
    for number, kind in ((40, "Zr"), (6, "C"), (1, "H of linkers"), (8, "carboxylate O")):
        result[numbers == number] = KINDS.index(kind)
    metal, hydrogen = (np.flatnonzero(numbers[:begin] == number) for number in (40, 1))
    oxygen = np.flatnonzero(numbers[:begin] == 8)
    if len(metal) and len(oxygen):
        to_metal = np.linalg.norm(vectors(geometry, x[oxygen], x[metal]), axis=-1)
        to_hydrogen = np.linalg.norm(vectors(geometry, x[oxygen], x[hydrogen]), axis=-1)
        bridges = (to_metal < COORDINATED).sum(1) >= 3
        with_hydrogen = to_hydrogen < BOUND
        result[oxygen[bridges]] = KINDS.index("µ3-O")
        result[oxygen[bridges & with_hydrogen.any(1)]] = KINDS.index("µ3-OH: O")
        result[hydrogen[with_hydrogen[bridges].any(0)]] = KINDS.index("µ3-OH: H")
    guests = numbers[begin:]
    result[begin:][guests == 8] = KINDS.index("O of waters")
    result[begin:][guests == 1] = KINDS.index("H of waters")
    return result


def whole(geometry: Geometry) -> Geometry:
    """Return the same structure with each water whole and its oxygen inside the cell."""
    begin = framework_size(geometry)
    positions = geometry.positions.copy()
    waters = positions[begin:].reshape(-1, 3, 3)
    oxygen = waters[:, :1]
    inside = oxygen - np.floor(oxygen @ np.linalg.inv(geometry.cell)) @ geometry.cell
    positions[begin:] = (inside + nearest(waters - oxygen, geometry.cell)).reshape(-1, 3)
    return geometry.moved(positions)
