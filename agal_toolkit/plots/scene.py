"""What there is to see of a structure: spheres, sticks and the edges of a cell.

Pictures and the live view draw the same :class:`Scene`. Bonds are where two atoms are at most 0.45
angstrom farther apart than the sum of their covalent radii, looked for anew in every structure, so
that a molecule that an attack has distorted is drawn as it is and not as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import neighbor_list
from numpy.typing import ArrayLike, NDArray

from ..geometry import Geometry

STICK = 0.1  # angstrom, radius of a bond
GHOST = 0.22  # opacity of where an attack started
_NEAR = 0.45  # angstrom by which a bond may be longer than the covalent radii
_HYDROGEN = (0.86, 0.86, 0.88)  # white atoms would vanish on white
_NAMELESS = (0.45, 0.55, 0.65)
_TILT = np.radians((-14.0, 22.0))  # away from the principal axes, along which atoms hide each other


@dataclass(frozen=True, eq=False)
class Scene:
    """Balls, sticks and edges around an origin.

    Attributes:
        centres: (n, 3) angstrom.
        radii: (n,) of the balls, angstrom.
        colours: (n, 3) red, green and blue, 0 to 1.
        sticks: (k, 2, 3) ends of half a bond, the atom first, angstrom; the other half is the other
            atom's.
        owners: (k,) the atom of each half.
        edges: (e, 2, 3) ends of the edges of a periodic cell, angstrom; none otherwise.
        names: (n,) what is written at each atom; empty where nothing is.
    """

    centres: NDArray
    radii: NDArray
    colours: NDArray
    sticks: NDArray
    owners: NDArray
    edges: NDArray
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        geometry: Geometry,
        *,
        colours: ArrayLike | None = None,
        labels: Sequence[str] | None = None,
        origin: ArrayLike | None = None,
    ) -> Scene:
        """The scene of a structure.

        Args:
            geometry: of at most three dimensions.
            colours: (n, 3) of the atoms; None takes those of the elements.
            labels: (n,) to write at the atoms.
            origin: (3,) what becomes the scene's origin, angstrom; None is :func:`middle`.

        Raises:
            ValueError: colours or labels of another number of atoms.
        """
        painted = element_colours(geometry) if colours is None else np.asarray(colours, dtype=float)
        names = ("",) * len(geometry) if labels is None else tuple(map(str, labels))
        if painted.shape != (len(geometry), 3) or len(names) != len(geometry):
            raise ValueError(
                f"colours have shape {painted.shape} and there are {len(names)} labels,"
                f" {geometry!r} needs ({len(geometry)}, 3) and {len(geometry)}"
            )
        centre = middle(geometry) if origin is None else np.asarray(origin, dtype=float)
        positions = in_space(geometry.positions) - centre
        owners, halves = half_bonds(geometry)
        radii = 0.22 + 0.28 * np.where(geometry.numbers > 0, covalent_radii[geometry.numbers], 0.5)
        sticks = np.stack([positions[owners], positions[owners] + halves], axis=1)
        return cls(positions, radii, painted, sticks, owners, cell_edges(geometry) - centre, names)

    def turned(self, turn: NDArray) -> Scene:
        """As it is seen from where a rotation (3, 3) looks: x to the right, y upwards and z towards
        the eye.
        """
        return replace(
            self,
            centres=self.centres @ turn.T,
            sticks=self.sticks @ turn.T,
            edges=self.edges @ turn.T,
        )

    @property
    def reach(self) -> float:
        """Distance from the origin within which everything is, angstrom."""
        far = np.linalg.norm(self.centres, axis=1) + self.radii
        return float(max(far.max(), np.linalg.norm(self.edges, axis=2).max(initial=0.0)))


def scenes(
    geometry: Geometry,
    ghost: Geometry | None = None,
    colours: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
) -> list[Scene]:
    """The structure, and then where it started, a ghost; the origin is the middle of what does not
    move.
    """
    origin = middle(geometry if ghost is None else ghost)
    scene = Scene.of(geometry, colours=colours, labels=labels, origin=origin)
    return [scene] if ghost is None else [scene, Scene.of(ghost, origin=origin)]


def in_space(vectors: NDArray) -> NDArray:
    """(n, 3) of vectors (n, d), padded with zeros where a model surface has fewer dimensions."""
    if vectors.shape[1] > 3:
        raise ValueError(
            f"a structure in {vectors.shape[1]} dimensions cannot be seen: give at most three"
            " dimensions"
        )
    return np.pad(vectors, ((0, 0), (0, 3 - vectors.shape[1])))


def middle(geometry: Geometry) -> NDArray:
    """(3,) the middle of a cell that is periodic everywhere, otherwise of the atoms, angstrom."""
    return (
        in_space(geometry.cell).sum(0) / 2
        if geometry.pbc.all()
        else in_space(geometry.positions).mean(0)
    )


def half_bonds(geometry: Geometry) -> tuple[NDArray, NDArray]:
    """Atoms (k,) and where from them the middles of their bonds are (k, 3), angstrom; each bond is
    there from both ends, across a cell's faces too.
    """
    elements = np.unique(geometry.numbers[geometry.numbers > 0]).tolist()
    if not elements or len(geometry) < 2:
        return np.zeros(0, dtype=int), np.zeros((0, 3))
    reaches = {
        (one, other): _NEAR + covalent_radii[one] + covalent_radii[other]
        for one in elements
        for other in elements
    }
    owners, vectors = neighbor_list("iD", geometry.to_ase(), reaches)
    return owners, vectors / 2


def cell_edges(geometry: Geometry) -> NDArray:
    """(e, 2, 3) ends of the edges of what the periodic cell vectors span, angstrom: 12 edges of a
    crystal, 4 of a slab, 1 of a chain, none of a molecule.
    """
    vectors = in_space(geometry.cell)[geometry.pbc]
    corners = np.array(list(product((0, 1), repeat=len(vectors))))
    pairs = [
        pair
        for pair in combinations(range(len(corners)), 2)
        if np.abs(corners[pair[0]] - corners[pair[1]]).sum() == 1
    ]
    return (corners @ vectors)[np.array(pairs, dtype=int).reshape(-1, 2)]


def direction(elevation: float, azimuth: float) -> NDArray:
    """(3, 3) the rotation from which z is upward, seen from so many degrees above the plane of x
    and y and around z.
    """
    up, about = np.radians((elevation, azimuth))
    return np.array(
        [
            [-np.sin(about), np.cos(about), 0.0],
            [-np.sin(up) * np.cos(about), -np.sin(up) * np.sin(about), np.cos(up)],
            [np.cos(up) * np.cos(about), np.cos(up) * np.sin(about), np.sin(up)],
        ]
    )


def bearing(geometry: Geometry) -> NDArray:
    """(3, 3) the rotation R from which it is looked at: x R^T has x to the right, y upwards and z
    towards the eye.

    A molecule is turned so that its shortest principal axis points nearly at the eye; a cell is
    looked at from the front, a little from above.
    """
    if geometry.pbc.any() or len(geometry) < 3:
        axes = (
            np.eye(3) if geometry.dimension < 3 else np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        )
    else:
        positions = in_space(geometry.positions)
        axes = np.linalg.svd(positions - positions.mean(0), full_matrices=True)[2]
        axes = (
            axes * np.where(axes[np.arange(3), np.abs(axes).argmax(1)] < 0, -1.0, 1.0)[:, None]
        )  # else a matter of rounding
        axes[2] *= np.sign(np.linalg.det(axes))
    if geometry.dimension < 3:
        return axes
    (sx, sy), (cx, cy) = np.sin(_TILT), np.cos(_TILT)
    down = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    across = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return down @ across @ axes


def element_colours(geometry: Geometry) -> NDArray:
    """(n, 3) the usual colours of the elements (Jmol's)."""
    colours = jmol_colors[geometry.numbers].copy()
    colours[geometry.numbers == 1] = _HYDROGEN
    colours[geometry.numbers == 0] = _NAMELESS
    return colours


def formula(geometry: Geometry) -> str:
    """Its atoms, in their own order where that is short, as in NH3, else in Hill's; "particle"
    without a name.
    """
    if not geometry.numbers.any():
        return "particle"
    atoms = Atoms(geometry.numbers)
    own = atoms.get_chemical_formula("reduce")
    return own if len(own) <= 12 else atoms.get_chemical_formula("hill")
