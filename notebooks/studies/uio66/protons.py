"""Proton hops in a simulation: hydrogen atoms that change the atom that they are bound to.

Every hydrogen atom belongs to an oxygen or carbon atom: at first to the nearest one, later to
another one as soon as that is the nearest and at most :data:`BONDED` away. So a proton that is
shared between two atoms, or leaves its atom and returns, has not hopped. A hop takes one from the
number of hydrogen atoms of an atom, and adds one to that of another. Hops back and forth between
two frames are not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.dynamics import Frames
from agal_toolkit.geometry import Geometry

from .sites import nearest

BONDED = 1.15  # angstrom; O-H is 0.97 and C-H 1.09, and vibrations of 300 K add 0.1
SHOWN = 20  # hops of a record
NEAR = 3.5  # angstrom around a proton that are shown with it
PROTON = (0.49, 0.24, 0.6)  # its colour
_ENDS = "before", "after"


@dataclass(frozen=True)
class Hop:
    """A hydrogen atom that changed its partner.

    Attributes:
        frame: index of the first frame with the new partner.
        time: of this frame, fs.
        hydrogen: index of the atom.
        left, joined: indices of its partners before and after.
    """

    frame: int
    time: float
    hydrogen: int
    left: int
    joined: int


def owners(frames: Frames) -> tuple[NDArray, NDArray]:
    """Return (h,) hydrogen atoms and (T, h) the atom that each belongs to in every frame."""
    numbers = frames.start.numbers
    light, heavy = np.flatnonzero(numbers == 1), np.flatnonzero(np.isin(numbers, (6, 8)))
    result = np.zeros((len(frames), len(light)), dtype=int)
    if not len(light) or not len(heavy):
        return light[:0], result[:, :0]
    now = None
    for t, (x, cell) in enumerate(zip(frames.positions, frames.cells, strict=True)):
        distances = np.linalg.norm(nearest(x[heavy] - x[light][:, None], cell), axis=-1)
        closest = distances.argmin(1)
        new = heavy[closest]
        if now is not None:
            new = np.where(distances[np.arange(len(light)), closest] <= BONDED, new, now)
        result[t] = now = new
    return light, result


def hops(frames: Frames) -> list[Hop]:
    """Return the hops of a simulation in order."""
    light, partners = owners(frames)
    found = np.argwhere(partners[1:] != partners[:-1])
    return [
        Hop(
            int(t) + 1,
            float(frames.times[t + 1]),
            int(light[k]),
            int(partners[t, k]),
            int(partners[t + 1, k]),
        )
        for t, k in found
    ]


def bound(frames: Frames, atoms: Sequence[int] | NDArray) -> NDArray:
    """Return (T, k) the number of hydrogen atoms that belong to each of k atoms."""
    _, partners = owners(frames)
    return (partners[..., None] == np.asarray(atoms)).sum(1)


def record(frames: Frames) -> dict[str, Any]:
    """Return the number of hops, the first of them, and what the first one looks like.

    "scene" has the atoms within 3.5 angstrom of the proton, as nearest images around it, in the
    frame before and in that of the hop; the proton is the atom at the origin.
    """
    found = hops(frames)
    length = float(frames.times[-1]) / 1000 if len(frames) else 0.0
    result: dict[str, Any] = {"count": len(found), "picoseconds": length}
    if found:
        result["first"] = [asdict(hop) for hop in found[:SHOWN]]
        result["scene"] = scene(frames, found[0])
    return result


def scene(frames: Frames, hop: Hop) -> dict[str, Any]:
    """Return the surroundings of a hop, for :func:`drawn`."""
    near = around(frames.geometry(hop.frame), hop.hydrogen)
    shown = {"atoms": near.tolist(), "numbers": frames.start.numbers[near].tolist()}
    for name, frame in zip(_ENDS, (hop.frame - 1, hop.frame), strict=True):
        x, cell = frames.positions[frame], frames.cells[frame]
        shown[name] = nearest(x[near] - x[hop.hydrogen], cell).round(3).tolist()
    return shown


def around(geometry: Geometry, atom: int) -> NDArray:
    """Return the atoms within 3.5 angstrom of an atom."""
    apart = nearest(geometry.positions - geometry.positions[atom], geometry.cell)
    return np.flatnonzero(np.linalg.norm(apart, axis=1) < NEAR)


def as_frames(geometry: Geometry) -> Frames:
    """Return one structure as a simulation of one frame."""
    zero, x = np.zeros(1), geometry.positions
    return Frames(0, geometry, 0.0, zero, x[None], geometry.cell[None], zero, zero, 0 * x)


def drawn(scene: dict[str, Any]) -> tuple[Geometry, Geometry]:
    """Return the structures before and after a hop, without a cell, of a record's scene."""
    before, after = (Geometry(positions=scene[k], numbers=scene["numbers"]) for k in _ENDS)
    return before, after
