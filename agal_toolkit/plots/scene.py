"""The spheres, sticks and cell edges of a structure, for pictures and the live view.

Two atoms are bonded where they are at most 0.45 angstrom farther apart than the sum of their
covalent radii. Bonds are computed anew for every structure, so a distorted molecule is drawn as it
is and not as it was before the attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import neighbor_list
from numpy.typing import ArrayLike, NDArray

from ..geometry import Geometry

STICK = 0.1  # radius of a bond, angstrom
GHOST = 0.22  # opacity of a ghost, a second structure drawn faintly for comparison
_SLACK = 0.45  # how much longer than the covalent radii a bond may be, angstrom
_HYDROGEN = (0.86, 0.86, 0.88)  # Jmol's white atoms would vanish on white
_NAMELESS = (0.45, 0.55, 0.65)  # particles of no element
_TILT = np.radians((-14.0, 22.0))  # away from the principal axes, along which atoms hide each other


@dataclass(frozen=True, eq=False)
class Scene:
    """Balls, sticks and edges around an origin.

    Attributes:
        centres: (n, 3) centres of the balls, angstrom.
        radii: (n,) radii of the balls, angstrom.
        colours: (n, 3) red, green and blue of the balls, 0 to 1.
        sticks: (k, 2, 3) ends of half a bond, the atom first, angstrom; the other half belongs to
            the other atom.
        owners: (k,) atom of each half bond.
        edges: (e, 2, 3) ends of the edges of a periodic cell, angstrom.
        names: (n,) text at each atom, "" for none.
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
        """Return the scene of a structure.

        Args:
            geometry: structure of n atoms in at most three dimensions.
            colours: (n, 3) colours of the atoms; None takes the colours of the elements.
            labels: (n,) texts at the atoms.
            origin: (3,) point that becomes the scene's origin, angstrom; None takes :func:`middle`.

        Raises:
            ValueError: colours or labels of another number of atoms.
        """
        painted = element_colours(geometry) if colours is None else np.asarray(colours, dtype=float)
        names = ("",) * len(geometry) if labels is None else tuple(map(str, labels))
        if painted.shape != (len(geometry), 3) or len(names) != len(geometry):
            wrong = f"colours have shape {painted.shape}, and the number of labels is {len(names)}"
            n = len(geometry)
            raise ValueError(f"{wrong}: {geometry!r} needs ({n}, 3) and {n}")
        centre = middle(geometry) if origin is None else np.asarray(origin, dtype=float)
        positions = in_space(geometry.positions) - centre
        owners, halves = half_bonds(geometry)
        radii = 0.22 + 0.28 * np.where(geometry.numbers > 0, covalent_radii[geometry.numbers], 0.5)
        sticks = np.stack([positions[owners], positions[owners] + halves], axis=1)
        return cls(positions, radii, painted, sticks, owners, cell_edges(geometry) - centre, names)

    def turned(self, rotation: NDArray) -> Scene:
        """Return the scene after a rotation (3, 3); its z axis then points at the viewer."""
        moved = {name: getattr(self, name) @ rotation.T for name in ("centres", "sticks", "edges")}
        return replace(self, **moved)

    @property
    def reach(self) -> float:
        """Largest distance of any part from the origin, angstrom."""
        balls = np.linalg.norm(self.centres, axis=1) + self.radii
        return float(max(balls.max(), np.linalg.norm(self.edges, axis=2).max(initial=0.0)))


def scenes(
    geometry: Geometry,
    ghost: Geometry | None = None,
    colours: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
) -> list[Scene]:
    """Return the scenes of a structure and of its ghost, if any, around the ghost's middle."""
    origin = middle(geometry if ghost is None else ghost)
    scene = Scene.of(geometry, colours=colours, labels=labels, origin=origin)
    return [scene] if ghost is None else [scene, Scene.of(ghost, origin=origin)]


def in_space(vectors: NDArray) -> NDArray:
    """Return vectors (n, d) as (n, 3), padded with zeros."""
    padding = 3 - vectors.shape[1]
    if padding < 0:
        raise ValueError(f"positions have shape {vectors.shape}: draw at most three dimensions")
    return np.hstack([vectors, np.zeros((len(vectors), padding))])


def middle(geometry: Geometry) -> NDArray:
    """Return the middle (3,) of a fully periodic cell, or else of the atoms, angstrom."""
    if geometry.pbc.all():
        return in_space(geometry.cell).sum(0) / 2
    return in_space(geometry.positions).mean(0)


def half_bonds(geometry: Geometry) -> tuple[NDArray, NDArray]:
    """Return k atoms and the vectors (k, 3) from them to the middles of their bonds, angstrom.

    Each bond appears once from each end, also across the faces of a cell.
    """
    elements = np.unique(geometry.numbers[geometry.numbers > 0]).tolist()
    if not elements or len(geometry) < 2:
        return np.zeros(0, dtype=int), np.zeros((0, 3))
    pairs = product(elements, elements)
    lengths = {(a, b): _SLACK + covalent_radii[a] + covalent_radii[b] for a, b in pairs}
    owners, vectors = neighbor_list("iD", geometry.to_ase(), lengths)
    return owners, vectors / 2


def cell_edges(geometry: Geometry) -> NDArray:
    """Return (e, 2, 3) ends of the edges between periodic directions, angstrom.

    A crystal has 12 edges, a slab 4, a chain 1, a molecule none.
    """
    vectors = in_space(geometry.cell)[geometry.pbc]
    corners = np.array(list(product((0, 1), repeat=len(vectors))))
    pairs = combinations(range(len(corners)), 2)
    joined = [[i, j] for i, j in pairs if np.abs(corners[i] - corners[j]).sum() == 1]
    return (corners @ vectors)[np.array(joined, dtype=int).reshape(-1, 2)]


def direction(elevation: float, azimuth: float) -> NDArray:
    """Return the rotation (3, 3) of a view with z upward, by angles in degrees.

    The elevation is the eye's angle above the plane of x and y, the azimuth its angle around z.
    """
    (sin_e, sin_a), (cos_e, cos_a) = (f(np.radians((elevation, azimuth))) for f in (np.sin, np.cos))
    right, up = [-sin_a, cos_a, 0.0], [-sin_e * cos_a, -sin_e * sin_a, cos_e]
    return np.array([right, up, [cos_e * cos_a, cos_e * sin_a, sin_e]])


def bearing(geometry: Geometry) -> NDArray:
    """Return a rotation R (3, 3) for a good view: x R^T has x to the right and z towards the eye.

    The shortest principal axis of a molecule points nearly at the eye; a cell is seen from the
    front, a little from above.
    """
    no_principal_axes = geometry.pbc.any() or len(geometry) < 3
    if geometry.dimension < 3:
        return np.eye(3) if no_principal_axes else _principal_axes(geometry)
    front = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    axes = front if no_principal_axes else _principal_axes(geometry)
    (sx, sy), (cx, cy) = np.sin(_TILT), np.cos(_TILT)
    down = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    across = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return down @ across @ axes


def _principal_axes(geometry: Geometry) -> NDArray:
    """Return the principal axes as rows of a rotation (3, 3), the longest first."""
    positions = in_space(geometry.positions)
    axes = np.linalg.svd(positions - positions.mean(0), full_matrices=True)[2]
    # The largest component of each is positive; otherwise rounding would decide the sign.
    axes = axes * np.where(axes[np.arange(3), np.abs(axes).argmax(1)] < 0, -1.0, 1.0)[:, None]
    axes[2] *= np.sign(np.linalg.det(axes))
    return axes


def element_colours(geometry: Geometry) -> NDArray:
    """Return the colours (n, 3) of the atoms: Jmol's, except for hydrogen and particles."""
    colours = jmol_colors[geometry.numbers].copy()
    colours[geometry.numbers == 1] = _HYDROGEN
    colours[geometry.numbers == 0] = _NAMELESS
    return colours


def symbols(geometry: Geometry, most: int = 40) -> tuple[str, ...] | None:
    """Return the atoms' symbols as labels; None for more than `most`, which would hide them."""
    if len(geometry) > most or not geometry.numbers.all():
        return None
    return tuple(chemical_symbols[number] for number in geometry.numbers)


def formula(geometry: Geometry) -> str:
    """Return a formula: in Hill's order with carbon or if long, else in the atoms' own, as NH3.

    Structures without elements are a "particle".
    """
    if not geometry.numbers.any():
        return "particle"
    atoms = Atoms(geometry.numbers)
    if 6 in geometry.numbers:
        return atoms.get_chemical_formula("hill")
    short = atoms.get_chemical_formula("reduce")
    return short if len(short) <= 12 else atoms.get_chemical_formula("hill")
