"""Structures as balls and sticks on plain axes: no third dimension but the order in which things are painted.

Balls and halves of sticks are sorted by their distance from the viewer and painted from behind. Sticks begin on the surface
of the balls, so one that points at the viewer is seen in front of its ball.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, Patch, Polygon
from numpy.typing import NDArray

from ..geometry import Geometry

SIZE, STICK, REACH = 0.5, 0.13, 1.25           # of balls in covalent radii; of sticks, angstrom; of bonds in sums of radii
LIGHT = np.array([-0.35, 0.4])                 # where it falls on a ball, in radii from its middle


def molecule(
    axes: Axes, geometry: Geometry, ghost: Geometry | None = None, colours: Sequence[object] | None = None, *, view: tuple[float, float] = (12.0, 25.0),
    limit: float | None = None,
) -> None:
    """One structure, another outlined in black over it (Schwalbe-Koda 2021, Fig. 4).

    Balls have half the covalent radius; atoms are bonded that are closer than 1.25 times the sum of their covalent radii,
    without regard to periodic images. The edges of periodic directions are drawn.

    Args:
        axes: its frame and numbers are switched off; one angstrom is as long in all directions.
        geometry: n atoms in up to three dimensions; missing coordinates are zero.
        ghost: a structure in the same frame, the ground state for example.
        colours: n matplotlib colours, one for each atom; None takes those of the elements.
        view: elevation above the plane of x and y, and azimuth, degrees: from where it is seen; z points upward.
        limit: half the width and height of the picture, angstrom; equal limits make molecules comparable. None fits it.

    Raises:
        ValueError: another number of colours than atoms.
    """
    shade = jmol_colors[geometry.numbers] if colours is None else [to_rgb(colour) for colour in colours]
    if len(shade) != len(geometry):
        raise ValueError(f"{len(shade)} colours for {len(geometry)} atoms: give one for each, or None")
    turned = _turn(view)
    atoms = geometry.to_atoms()
    edges = _edges(atoms.cell.array[atoms.pbc])
    centre = atoms.positions.mean(0) if not atoms.pbc.any() else edges.reshape(-1, 3).mean(0)
    seen, radii = (atoms.positions - centre) @ turned.T, SIZE * covalent_radii[geometry.numbers]
    axes.add_collection(LineCollection(((edges - centre) @ turned.T)[..., :2], colors="0.55", linewidths=0.8, zorder=1))
    axes.add_collection(PatchCollection(_solid(seen, radii, bonds(geometry), np.asarray(shade)), match_original=True, zorder=2))
    extent = [np.abs(seen[:, :2]).max(0) + radii.max(), np.abs(((edges - centre) @ turned.T)[..., :2].reshape(-1, 2)).max(0, initial=0)]
    if ghost is not None:
        other, thick = (ghost.to_atoms().positions - centre) @ turned.T, SIZE * covalent_radii[ghost.numbers]
        _outline(axes, other, thick, bonds(ghost))
        extent.append(np.abs(other[:, :2]).max(0) + thick.max())
    half = 1.05 * np.max(extent, axis=0) if limit is None else np.full(2, limit)
    axes.set(xlim=(-half[0], half[0]), ylim=(-half[1], half[1]), aspect="equal")
    axes.set_axis_off()


def bonds(geometry: Geometry) -> list[tuple[int, int]]:
    """Pairs (i < j) of atoms closer than 1.25 times the sum of their covalent radii, periodic images aside."""
    positions, radii = geometry.to_atoms().positions, covalent_radii[geometry.numbers]
    close = np.linalg.norm(positions[:, None] - positions, axis=-1) < REACH * (radii[:, None] + radii)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(close, 1))]


def _turn(view: tuple[float, float]) -> NDArray:
    """(3, 3): rows are the directions to the right, upward and to the viewer."""
    up, round_ = np.radians(view)
    return np.array([
        [-np.sin(round_), np.cos(round_), 0.0],
        [-np.sin(up) * np.cos(round_), -np.sin(up) * np.sin(round_), np.cos(up)],
        [np.cos(up) * np.cos(round_), np.cos(up) * np.sin(round_), np.sin(up)],
    ])


def _edges(vectors: NDArray) -> NDArray:
    """(edges, 2, 3) of the box that up to three vectors span."""
    corners = list(product((0, 1), repeat=len(vectors)))
    pairs = [(np.array(a), np.array(b)) for a, b in product(corners, repeat=2) if sum(b) - sum(a) == 1 and all(x <= y for x, y in zip(a, b, strict=True))]
    return np.array([[a @ vectors, b @ vectors] for a, b in pairs]).reshape(-1, 2, 3)


def _solid(at: NDArray, radii: NDArray, bonded: Sequence[tuple[int, int]], shade: NDArray) -> list[Patch]:
    """Balls and halves of sticks, the farthest first; `at` (n, 3) in the directions of :func:`_turn`."""
    painted: list[tuple[float, list[Patch]]] = []
    for position, radius, colour in zip(at, radii, shade, strict=True):
        painted.append((position[2], _ball(position, radius, colour)))
    for i, j in bonded:
        along = (at[j] - at[i]) / np.linalg.norm(at[j] - at[i])
        first, last = at[i] + 0.92 * radii[i] * along, at[j] - 0.92 * radii[j] * along
        middle = (first + last) / 2
        for atom, end in ((i, first), (j, last)):
            # In front of its ball or behind it, never at its depth: a stick in the plane of the picture goes behind.
            painted.append(((end[2] + middle[2]) / 2 - 1e-6, [_stick(end, middle, shade[atom])]))
    return [patch for _, patches in sorted(painted, key=lambda item: item[0]) for patch in patches]


def _ball(position: NDArray, radius: float, colour: NDArray) -> list[Patch]:
    """A disc with an edge, and smaller, lighter ones towards the light at the upper left."""
    discs: list[Patch] = [Circle(position[:2], radius, facecolor=0.8 * colour, edgecolor="0.3", linewidth=0.7)]
    for part in np.linspace(0.92, 0.12, 9):
        lit = (1 - part) * 0.8
        discs.append(Circle(position[:2] + radius * (1 - part) * LIGHT, part * radius, facecolor=colour * (0.85 + 0.15 * (1 - lit)) * (1 - lit) + lit, edgecolor="none"))
    return discs


def _stick(end: NDArray, middle: NDArray, colour: NDArray) -> Patch:
    across = _across(end, middle)
    corners = [end[:2] + across, middle[:2] + across, middle[:2] - across, end[:2] - across]
    return Polygon(corners, facecolor=0.92 * colour, edgecolor="0.3", linewidth=0.6)


def _across(one: NDArray, other: NDArray) -> NDArray:
    """(2,) half a stick's width at right angles to it; a stick seen end-on has some direction."""
    x, y = (other - one)[:2]
    return STICK / 2 * np.array([-y, x]) / max(np.hypot(x, y), 1e-12)


def _outline(axes: Axes, at: NDArray, radii: NDArray, bonded: Sequence[tuple[int, int]]) -> None:
    """Black circles, and the sides of sticks between them."""
    circles = [Circle(position[:2], radius, fill=False, edgecolor="k", linewidth=1.5) for position, radius in zip(at, radii, strict=True)]
    sides = []
    for i, j in bonded:
        along = (at[j] - at[i]) / np.linalg.norm(at[j] - at[i])
        first, last = at[i] + radii[i] * along, at[j] - radii[j] * along
        across = _across(first, last)
        sides += [[first[:2] + sign * across, last[:2] + sign * across] for sign in (1, -1)]
    axes.add_collection(LineCollection(sides, colors="k", linewidths=1.5, zorder=3))
    axes.add_collection(PatchCollection(circles, match_original=True, zorder=3))
