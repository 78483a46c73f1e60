"""Fill the pores of a framework with molecules, at random and without overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from agal_toolkit.geometry import Geometry


@dataclass(frozen=True)
class Contacts:
    """Smallest distances between atoms of different molecules, angstrom.

    The defaults are a tenth shorter than a hydrogen bond of water (O-O 2.8, H-O 1.8): room for 42
    waters in UiO-66's primitive cell takes 2,000 to 6,000 tries.

    Attributes:
        heavy: between two atoms, neither of them hydrogen.
        hydrogen: between hydrogen and any atom.

    Raises:
        ValueError: distances that do not ascend from zero.
    """

    heavy: float = 2.5
    hydrogen: float = 1.6

    def __post_init__(self) -> None:
        if not 0 < self.hydrogen <= self.heavy:
            raise ValueError(f"{self}: expected 0 < hydrogen <= heavy")

    def between(self, one: NDArray, other: NDArray) -> NDArray:
        """Return (n, m) smallest distances between atoms of numbers `one` (n,) and `other` (m,)."""
        light = (one[:, None] == 1) | (other == 1)
        return np.where(light, self.hydrogen, self.heavy)


def filled(
    framework: Geometry,
    molecule: Geometry,
    count: int,
    rng: Generator,
    contacts: Contacts = Contacts(),
    tries: int = 20000,
) -> Geometry:
    """Return the framework with `count` copies of a rigid molecule in its pores.

    Each copy is turned at random and put at a random place of the cell, again and again until no
    contact with the framework, an earlier copy or any periodic image is too short. Copies follow
    the framework's atoms in the molecule's order, and are whole: no copy is cut at the cell's
    faces.

    Args:
        framework: periodic along all three cell vectors.
        molecule: not periodic, without unpaired electrons.
        count: number of copies; 0 returns the framework.
        rng: of places and orientations.
        contacts: smallest distances.
        tries: for one copy, before there is no room.

    Raises:
        ValueError: no room for all copies, a framework or molecule of another kind, or a cell so
            small that a copy could touch its own image.
    """
    if framework.dimension != 3 or not framework.pbc.all() or molecule.pbc.any():
        wrong = f"cannot fill {framework!r} with {molecule!r}"
        raise ValueError(f"{wrong}: give a framework with pbc=True and a molecule with pbc=False")
    if molecule.dimension != 3 or max(framework.multiplicity, molecule.multiplicity) > 1:
        wrong = f"{framework!r} and {molecule!r} are not three-dimensional closed shells"
        raise ValueError(f"{wrong}: give both without unpaired electrons")
    if count < 0 or tries < 1:
        raise ValueError(f"count={count} and tries={tries}: expected at least 0 and 1")
    if not count:
        return framework
    shape = molecule.positions - molecule.positions.mean(0)
    extent = 2 * float(np.linalg.norm(shape, axis=1).max())
    inverse = np.linalg.inv(framework.cell)
    width = float(1 / np.linalg.norm(inverse, axis=0).max())
    # within half the width, rounding fractional coordinates finds the nearest image
    needed = contacts.heavy + max(contacts.heavy, extent)
    if width < needed:
        wrong = f"opposite faces of the cell of {framework!r} are {width:.1f} angstrom apart"
        raise ValueError(f"{wrong}, expected at least {needed:.1f}: repeat the cell")
    positions, numbers = framework.positions, framework.numbers
    shortest = contacts.between(molecule.numbers, np.append(numbers, [molecule.numbers] * count))
    for placed in range(count):
        limit = shortest[:, : len(positions)]
        for _ in range(tries):
            turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
            copy = rng.random(3) @ framework.cell + shape @ turn.T
            apart = copy[:, None] - positions
            apart -= np.round(apart @ inverse) @ framework.cell
            if (np.square(apart).sum(-1) >= limit**2).all():
                positions = np.concatenate([positions, copy])
                break
        else:
            wrong = f"there is room for {placed} of {count} molecules, and {tries} tries found none"
            least = (
                f"{contacts.heavy} angstrom between heavy atoms, {contacts.hydrogen} to hydrogen"
            )
            remedy = (
                "give fewer molecules, shorter contacts=Contacts(...), more tries or another rng"
            )
            raise ValueError(f"{wrong} for the next one ({least}): {remedy}")
    isotopes = None
    if framework.isotopes is not None or molecule.isotopes is not None:
        isotopes = np.append(framework.masses, [molecule.masses] * count)
    return Geometry(
        positions=positions,
        numbers=np.append(numbers, [molecule.numbers] * count),
        cell=framework.cell,
        pbc=True,
        charge=framework.charge + count * molecule.charge,
        isotopes=isotopes,
        movable=np.append(framework.movable, [molecule.movable] * count),
        origin={**framework.origin, "by": "filled", "molecules": count},
    )
