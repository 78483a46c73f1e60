"""Structures: one at a time in numpy, many at a time in torch.

A :class:`Geometry` is n particles in d dimensions, so a point of a two-dimensional model surface (n
= 1, d = 2) and a crystal (d = 3) are the same type. :class:`Batch` concatenates the particles of
many geometries and remembers the owner of each; coordinates are float64 everywhere, a network
computes in its own precision. Lengths are in angstrom, energies in eV, forces in eV/angstrom and
stress in eV/angstrom^3, positive under tension (ASE's units and signs); a model surface has units
of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray


def _frozen(values: ArrayLike, dtype: type, shape: tuple[int, ...], name: str) -> NDArray:
    """A read-only copy of `values`; `shape` is what it must be, `name` is for the error."""
    array = np.array(values, dtype=dtype)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if dtype is float and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(
            f"{name} holds {array[tuple(bad)]} at index {bad}: remove or repair this structure"
        )
    array.setflags(write=False)
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """One structure of n particles in d dimensions.

    Attributes:
        positions: (n, d), angstrom.
        numbers: (n,) atomic numbers; 0 is a particle without a name.
        cell: (d, d), rows are the cell vectors, zero where open. None becomes zeros.
        pbc: (d,) bool, periodic along each cell vector. None becomes False.
        charge: total charge in elementary charges.
        multiplicity: spin multiplicity 2S + 1.
        movable: (n,) bool; attacks, rattles and dynamics leave the others where they are. None
            becomes True.
        origin: where the structure comes from, e.g. ``{"generation": 3, "by": "attack", "seed":
            12}``; plain JSON values.

    Raises:
        ValueError: wrong shapes, NaN or infinity, a periodic direction without a cell vector.
    """

    positions: NDArray
    numbers: NDArray
    cell: NDArray | None = None
    pbc: NDArray | None = None
    charge: int = 0
    multiplicity: int = 1
    movable: NDArray | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions, dtype=float)
        if positions.ndim != 2 or 0 in positions.shape:
            raise ValueError(
                f"positions has shape {positions.shape}, expected (particles, dimensions), neither"
                " of them zero"
            )
        n, d = positions.shape
        cell = np.zeros((d, d)) if self.cell is None else self.cell
        pbc = (
            np.zeros(d, dtype=bool)
            if self.pbc is None
            else np.full(d, self.pbc)
            if np.ndim(self.pbc) == 0
            else self.pbc
        )
        movable = np.ones(n, dtype=bool) if self.movable is None else self.movable
        settled = {
            "positions": _frozen(positions, float, (n, d), "positions"),
            "numbers": _frozen(self.numbers, np.int64, (n,), "numbers"),
            "cell": _frozen(cell, float, (d, d), "cell"),
            "pbc": _frozen(pbc, bool, (d,), "pbc"),
            "movable": _frozen(movable, bool, (n,), "movable"),
            "origin": MappingProxyType(
                {
                    key: value.item() if isinstance(value, np.generic) else value
                    for key, value in self.origin.items()
                }
            ),
        }
        given = np.asarray(self.numbers)
        strange = given[(given != settled["numbers"]) | (given < 0) | (given > 118)]
        if len(strange):
            raise ValueError(
                f"numbers holds {strange[0]}: atomic numbers are 0 (a particle without a name) or 1"
                " to 118"
            )
        if int(self.multiplicity) < 1:
            raise ValueError(f"multiplicity is {self.multiplicity}: 2S + 1 is at least 1")
        if (settled["pbc"] & ~settled["cell"].any(axis=1)).any():
            raise ValueError("pbc is true along a zero cell vector: give the cell, or pbc=False")
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "charge", int(self.charge))
        object.__setattr__(self, "multiplicity", int(self.multiplicity))

    def __len__(self) -> int:
        return len(self.numbers)

    def __reduce__(self) -> tuple:
        return _rebuilt, ({**self.__dict__, "origin": dict(self.origin)},)

    @property
    def dimension(self) -> int:
        """Number of coordinates of one particle."""
        return self.positions.shape[1]

    def moved(self, positions: ArrayLike, **origin: Any) -> Geometry:
        """The same particles at other positions (n, d); `origin` is added to what is known of where
        it comes from.
        """
        return replace(self, positions=positions, origin={**self.origin, **origin})

    def digest(self) -> str:
        """A name for exactly this structure: SHA-256 of numbers, positions, cell, pbc, charge and
        multiplicity as bytes, unrounded.

        `movable` and `origin` do not change a label and are left out.
        """
        sha = hashlib.sha256(f"{self.positions.shape}|{self.charge}|{self.multiplicity}|".encode())
        for array in (
            self.numbers,
            self.positions + 0.0,
            self.cell + 0.0,
            self.pbc,
        ):  # + 0.0: no negative zero
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()

    @classmethod
    def from_ase(cls, atoms: Atoms, **origin: Any) -> Geometry:
        """From ASE: charge and multiplicity from ``atoms.info``, `movable` from FixAtoms.

        Raises:
            ValueError: a constraint other than FixAtoms, which attacks could not honour.
        """
        from ase.constraints import FixAtoms  # with spacegroups and integrators, half a second

        movable = np.ones(len(atoms), dtype=bool)
        for constraint in atoms.constraints:
            if not isinstance(constraint, FixAtoms):
                raise ValueError(
                    f"constraint {type(constraint).__name__} is not supported: use FixAtoms, or"
                    " remove it"
                )
            movable[constraint.index] = False
        known = atoms.info.get("origin", {})
        d = int(atoms.info.get("dimension", 3))
        return cls(
            positions=atoms.positions[:, :d],
            numbers=atoms.numbers,
            cell=atoms.cell.array[:d, :d],
            pbc=atoms.pbc[:d],
            charge=atoms.info.get("charge", 0),
            multiplicity=atoms.info.get("multiplicity", 1),
            movable=movable,
            origin={**(known if isinstance(known, Mapping) else {"by": str(known)}), **origin},
        )

    def to_ase(self) -> Atoms:
        """To ASE; positions of fewer than three dimensions are padded with zeros, and ``info``
        tells how many there are.
        """
        from ase.constraints import FixAtoms

        n, d = self.positions.shape
        positions, cell, pbc = np.zeros((n, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool)
        positions[:, :d], cell[:d, :d], pbc[:d] = self.positions, self.cell, self.pbc
        fixed = [] if self.movable.all() else [FixAtoms(np.flatnonzero(~self.movable))]
        info = {
            "charge": self.charge,
            "multiplicity": self.multiplicity,
            **({} if d == 3 else {"dimension": d}),
        }
        return Atoms(
            self.numbers, positions=positions, cell=cell, pbc=pbc, info=info, constraint=fixed
        )

    def __repr__(self) -> str:
        names = (
            Atoms(self.numbers).get_chemical_formula() if self.numbers.any() else f"{len(self)} x"
        )
        where = f", from {dict(self.origin)}" if self.origin else ""
        return (
            f"Geometry({names}, {self.dimension}d{', periodic' if self.pbc.any() else ''}{where})"
        )


def _rebuilt(values: dict[str, Any]) -> Geometry:
    """A geometry from its fields, for copies and for worker processes."""
    return Geometry(**values)


def as_geometry(structure: Geometry | Atoms) -> Geometry:
    """`structure` itself, or its translation from ASE.

    Raises:
        TypeError: neither a Geometry nor an ase.Atoms.
    """
    if isinstance(structure, Geometry):
        return structure
    if isinstance(structure, Atoms):
        return Geometry.from_ase(structure)
    raise TypeError(f"expected a Geometry or an ase.Atoms, got {type(structure).__name__}")


def points(positions: ArrayLike, **origin: Any) -> list[Geometry]:
    """Single nameless particles, one geometry for each row of `positions` (n, d): the points of a
    model surface.
    """
    return [
        Geometry(positions=row[None], numbers=[0], origin=origin)
        for row in np.atleast_2d(np.asarray(positions, dtype=float))
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """What a reference says of one geometry.

    Attributes:
        energy: eV.
        forces: (n, d), eV/angstrom.
        stress: (d, d), eV/angstrom^3, symmetric, positive under tension; None where there is none.

    Raises:
        ValueError: NaN, infinity or shapes that do not belong together.
    """

    energy: float
    forces: NDArray
    stress: NDArray | None = None

    def __post_init__(self) -> None:
        if np.size(self.energy) != 1:
            raise ValueError(f"energy has shape {np.shape(self.energy)}, expected one number")
        energy = float(np.reshape(self.energy, ()))
        if not np.isfinite(energy):
            raise ValueError(f"energy is {energy}: remove or repair this label")
        forces = np.asarray(self.forces, dtype=float)
        if forces.ndim != 2:
            raise ValueError(f"forces have shape {forces.shape}, expected (particles, dimensions)")
        object.__setattr__(self, "energy", energy)
        object.__setattr__(self, "forces", _frozen(forces, float, forces.shape, "forces"))
        if self.stress is not None:
            d = forces.shape[1]
            object.__setattr__(self, "stress", _frozen(self.stress, float, (d, d), "stress"))

    def check(self, geometry: Geometry, name: str = "the geometry") -> Labels:
        """These labels, if their shapes belong to `geometry`.

        Raises:
            ValueError: forces of another shape than the positions; names `name`.
        """
        if self.forces.shape != geometry.positions.shape:
            raise ValueError(
                f"forces of {name} have shape {self.forces.shape}, its positions"
                f" {geometry.positions.shape}: give one force per coordinate"
            )
        return self
