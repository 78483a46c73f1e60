"""One structure and its labels, in numpy.

A :class:`Geometry` is n particles in d dimensions, so a point of a two-dimensional model surface
(n = 1, d = 2) and a crystal (d = 3) are the same type. Lengths are in angstrom, energies in eV,
forces in eV/angstrom and stress in eV/angstrom^3, positive under tension (ASE's units and signs); a
model surface has units of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from numpy.typing import ArrayLike, NDArray

# keys of ``atoms.info`` that hold what ASE has no place for; other programs' keys mean other things
OURS = {"role": "agal_role", "origin": "agal_origin", "dimension": "agal_dimension"}
# where charges and spin multiplicities stand in files of other programs
CHARGES, MULTIPLICITIES = ("charge", "total_charge"), ("multiplicity", "spin", "total_spin")


def _read_only(values: ArrayLike, dtype: type, shape: tuple[int, ...], name: str) -> NDArray:
    """Return a read-only copy of `values`, which must have this shape and be finite."""
    array = np.array(values, dtype=dtype)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if dtype is float and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        value = array[tuple(bad)]
        raise ValueError(f"{name} holds {value} at index {bad}: remove or repair this structure")
    array.setflags(write=False)
    return array


def _masses(numbers: NDArray) -> NDArray:
    """Return standard atomic masses, 1 for particles without a name."""
    return np.where(numbers > 0, atomic_masses[numbers], 1.0)


def as_number(value: Any, name: str) -> float:
    """Return a number, which may be a text or an array of one."""
    try:
        return float(np.reshape(value, ()))
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}: give a number, or remove it") from None


def _whole(value: float, name: str) -> int:
    """Return a number that is whole to 1e-6 as an integer."""
    if not np.isfinite(value) or abs(value - round(value)) > 1e-6:
        raise ValueError(f"{name} is {value}: give a whole number")
    return round(value)


def _plain(value: Any) -> Any:
    """Return numpy scalars as Python numbers."""
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Geometry:
    """One structure of n particles in d dimensions.

    Attributes:
        positions: (n, d), angstrom.
        numbers: (n,) atomic numbers; 0 is a particle without a name.
        cell: (d, d), rows are the cell vectors; zeros, the default, where open.
        pbc: (d,) bool, periodic along each cell vector; False by default.
        charge: total charge in elementary charges.
        multiplicity: spin multiplicity 2S + 1.
        isotopes: (n,) masses of isotopes, atomic mass units; None for the standard masses.
        movable: (n,) bool, True by default; attacks, rattles and dynamics leave the others alone.
        origin: plain JSON values that say where the structure comes from, for example
            ``{"generation": 3, "by": "attack", "seed": 12}``.

    Raises:
        ValueError: wrong shapes, values that are not finite, a periodic direction without a cell
            vector, or atomic numbers that do not exist.
    """

    positions: NDArray
    numbers: NDArray
    cell: NDArray
    pbc: NDArray
    charge: int
    multiplicity: int
    isotopes: NDArray | None
    movable: NDArray
    origin: Mapping[str, Any]

    def __init__(
        self,
        *,
        positions: ArrayLike,
        numbers: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: ArrayLike | None = None,
        charge: int = 0,
        multiplicity: int = 1,
        isotopes: ArrayLike | None = None,
        movable: ArrayLike | None = None,
        origin: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        shape = np.shape(positions)
        if len(shape) != 2 or 0 in shape:
            expected = "expected (particles, dimensions), neither of them zero"
            raise ValueError(f"positions has shape {shape}, {expected}")
        n, d = shape
        values = {
            "positions": _read_only(positions, float, (n, d), "positions"),
            "numbers": _read_only(numbers, np.int64, (n,), "numbers"),
            "cell": _read_only(np.zeros((d, d)) if cell is None else cell, float, (d, d), "cell"),
            "pbc": _read_only(
                np.full(d, bool(pbc)) if pbc is None or np.ndim(pbc) == 0 else pbc,
                bool,
                (d,),
                "pbc",
            ),
            "charge": _whole(charge, "charge"),
            "multiplicity": _whole(multiplicity, "multiplicity"),
            "movable": _read_only(
                np.ones(n) if movable is None else movable, bool, (n,), "movable"
            ),
            "origin": MappingProxyType({key: _plain(value) for key, value in origin.items()}),
        }
        given = np.asarray(numbers)
        strange = given[(given != values["numbers"]) | (given < 0) | (given > 118)]
        if len(strange):
            expected = "atomic numbers are 0 (a particle without a name) or 1 to 118"
            raise ValueError(f"numbers holds {strange[0]}: {expected}")
        if isotopes is not None:
            isotopes = _read_only(isotopes, float, (n,), "isotopes")
            if not (isotopes > 0).all():
                raise ValueError(f"isotopes goes down to {isotopes.min()}: give positive masses")
        values["isotopes"] = isotopes
        if values["multiplicity"] < 1:
            raise ValueError(f"multiplicity is {multiplicity}: 2S + 1 is at least 1")
        if (values["pbc"] & ~values["cell"].any(axis=1)).any():
            raise ValueError("pbc is true along a zero cell vector: give the cell, or pbc=False")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.numbers)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as builtin types and arrays; ``Geometry(**fields)`` is the inverse.

        Standard masses are left out.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.isotopes is None:
            del values["isotopes"]
        return {**values, "origin": dict(self.origin)}

    @property
    def masses(self) -> NDArray:
        """(n,) atomic mass units; 1 for particles without a name."""
        return _masses(self.numbers) if self.isotopes is None else self.isotopes

    def __reduce__(self) -> tuple:
        return partial(Geometry, **self.to_dict()), ()

    @property
    def dimension(self) -> int:
        """Number of coordinates of one particle."""
        return self.positions.shape[1]

    def moved(self, positions: ArrayLike, **origin: Any) -> Geometry:
        """Return the same particles at other positions (n, d); `origin` is added to the origin."""
        return replace(self, positions=positions, origin={**self.origin, **origin})

    def digest(self) -> str:
        """Return a name for exactly this structure: SHA-256 of what can change a label, unrounded.

        That is numbers, positions, cell, pbc, charge and multiplicity; not `isotopes`, `movable`
        and `origin`, and not the box around an open structure.
        """
        sha = hashlib.sha256(f"{self.positions.shape}|{self.charge}|{self.multiplicity}|".encode())
        # adding 0.0 turns a negative zero into a positive one
        cell = self.cell + 0.0 if self.pbc.any() else np.zeros_like(self.cell)
        for array in (self.numbers, self.positions + 0.0, cell, self.pbc):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()

    @classmethod
    def from_ase(cls, atoms: Atoms, **origin: Any) -> Geometry:
        """Return an ASE structure as a geometry.

        Charge and multiplicity are read from ``atoms.info`` ("charge" or "total_charge",
        "multiplicity", "spin" or "total_spin"), and from initial charges and magnetic moments;
        `movable` from FixAtoms. Texts and weights of ``atoms.info`` are kept in ``origin["info"]``.

        Raises:
            ValueError: a constraint other than FixAtoms, which attacks could not keep; charges or
                spins that are not whole or contradict each other.
        """
        from ase.constraints import FixAtoms  # takes half a second to import

        movable = np.ones(len(atoms), dtype=bool)
        for constraint in atoms.constraints:
            if not isinstance(constraint, FixAtoms):
                name = type(constraint).__name__
                raise ValueError(f"constraint {name} is not supported: use FixAtoms, or remove it")
            movable[constraint.index] = False
        isotopes = atoms.get_masses() if atoms.has("masses") else None
        if isotopes is not None and np.allclose(isotopes, _masses(atoms.numbers), rtol=1e-3):
            isotopes = None  # another table of standard masses
        origin = {**atoms.info.get(OURS["origin"], {}), **origin}
        kept = {key: value for key, value in atoms.info.items() if _is_kept(key, value)}
        if kept:
            origin["info"] = {**kept, **origin.get("info", {})}
        d = int(atoms.info.get(OURS["dimension"], 3))
        charge, multiplicity = state_of(atoms)
        return cls(
            positions=atoms.positions[:, :d],
            numbers=atoms.numbers,
            cell=atoms.cell.array[:d, :d],
            pbc=atoms.pbc[:d],
            charge=charge,
            multiplicity=multiplicity,
            isotopes=isotopes,
            movable=movable,
            origin=origin,
        )

    def to_ase(self) -> Atoms:
        """Return the geometry as an ASE structure.

        Missing dimensions are padded with zeros; ``info`` then holds the number of dimensions.
        ASE has no single place for charge and spin: ``info`` has both ("charge" and
        "multiplicity"). Unless they are those of a neutral singlet, ``info["spin"]`` (read by MACE
        and fairchem) is the multiplicity too, and initial charges and magnetic moments (read by
        tblite) are spread evenly over the atoms.
        """
        from ase.constraints import FixAtoms

        n, d = self.positions.shape
        positions, cell, pbc = np.zeros((n, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool)
        positions[:, :d], cell[:d, :d], pbc[:d] = self.positions, self.cell, self.pbc
        fixed = [] if self.movable.all() else [FixAtoms(np.flatnonzero(~self.movable))]
        info = {"charge": self.charge, "multiplicity": self.multiplicity}
        if d != 3:
            info[OURS["dimension"]] = d
        atoms = Atoms(
            self.numbers, positions=positions, cell=cell, pbc=pbc, info=info, constraint=fixed
        )
        if self.isotopes is not None:
            atoms.set_array("masses", self.isotopes, float, ())
        if (self.charge, self.multiplicity) != (0, 1):
            atoms.info["spin"] = self.multiplicity
            atoms.set_initial_charges(np.full(n, self.charge / n))
            atoms.set_initial_magnetic_moments(np.full(n, (self.multiplicity - 1) / n))
        return atoms

    from_atoms, to_atoms = from_ase, to_ase  # the names of version 0.1

    def __repr__(self) -> str:
        formula = Atoms(self.numbers).get_chemical_formula()
        name = formula if self.numbers.any() else f"{len(self)} x"
        periodic = ", periodic" if self.pbc.any() else ""
        origin = f", from {dict(self.origin)}" if self.origin else ""
        return f"Geometry({name}, {self.dimension}d{periodic}{origin})"


def _is_kept(key: str, value: Any) -> bool:
    """Return whether an entry of ``atoms.info`` is a text or a weight, and no label."""
    if key in (*OURS.values(), *CHARGES, *MULTIPLICITIES):
        return False
    return isinstance(value, str) or key in ("config_weight", "weight")


def _state(atoms: Atoms, names: tuple[str, ...]) -> int:
    """Return the charge or the multiplicity of an ASE structure.

    Raises:
        ValueError: values that are no whole numbers, or places that contradict each other.
    """
    spin = names == MULTIPLICITIES
    found = {f"info[{name!r}]": atoms.info.get(name) for name in names}
    found = {place: as_number(v, place) for place, v in found.items() if v is not None}
    if spin:  # fairchem's files write a spin of 0 where it is not known
        found = {place: value for place, value in found.items() if place != "info['spin']" or value}
    array = "initial_magmoms" if spin else "initial_charges"
    if atoms.has(array) and np.any(atoms.arrays[array]):
        if atoms.arrays[array].ndim > 1:
            raise ValueError(f"{array} are vectors, without a multiplicity: remove them")
        total = float(np.sum(atoms.arrays[array]))
        value = abs(total) + 1 if spin else total
        # files have eight decimals of each atom's share
        if abs(value - round(value)) > max(1e-6, 1e-8 * len(atoms)):
            read = "multiplicity, one more than their sum," if spin else "charge, their sum,"
            remedy = f"give a whole number: the {read} is read from them; or remove them"
            raise ValueError(f"{array} is {value:g}: {remedy}, del atoms.arrays[{array!r}]")
        found[array] = round(value)
    values = {place: _whole(value, place) for place, value in found.items()}
    if len(set(values.values())) > 1:
        raise ValueError(f"{values} contradict each other: remove the wrong ones")
    return next(iter(values.values()), 1 if spin else 0)


def state_of(atoms: Atoms) -> tuple[int, int]:
    """Return charge and multiplicity of an ASE structure, as :meth:`Geometry.from_ase` does."""
    return _state(atoms, CHARGES), _state(atoms, MULTIPLICITIES)


def as_geometry(structure: Geometry | Atoms) -> Geometry:
    """Return `structure` itself, or its translation from ASE.

    Raises:
        TypeError: neither a Geometry nor an ase.Atoms.
    """
    if isinstance(structure, Geometry):
        return structure
    if isinstance(structure, Atoms):
        return Geometry.from_ase(structure)
    raise TypeError(f"expected a Geometry or an ase.Atoms, got {type(structure).__name__}")


def points(positions: ArrayLike, **origin: Any) -> list[Geometry]:
    """Return a nameless particle for each row of `positions` (n, d): points of a model surface."""
    rows = np.atleast_2d(np.asarray(positions, dtype=float))
    return [Geometry(positions=row[None], numbers=[0], origin=origin) for row in rows]


@dataclass(frozen=True, init=False, eq=False)
class Labels:
    """Energy, forces and stress of one geometry.

    Attributes:
        energy: eV.
        forces: (n, d), eV/angstrom; None if not known, and then they enter no loss.
        stress: (d, d), eV/angstrom^3, symmetric, positive under tension; None if not known.

    Raises:
        ValueError: values that are not finite, or shapes that do not belong together.
    """

    energy: float
    forces: NDArray | None
    stress: NDArray | None

    def __init__(
        self, *, energy: ArrayLike, forces: ArrayLike | None, stress: ArrayLike | None = None
    ) -> None:
        if np.size(energy) != 1:
            raise ValueError(f"energy has shape {np.shape(energy)}, expected one number")
        value = float(np.reshape(energy, ()))
        if not np.isfinite(value):
            raise ValueError(f"energy is {value}: remove or repair this label")
        object.__setattr__(self, "energy", value)
        d = len(np.atleast_1d(stress)) if stress is not None else 0
        if forces is not None:
            shape = np.shape(forces)
            if len(shape) != 2:
                raise ValueError(f"forces have shape {shape}, expected (particles, dimensions)")
            forces, d = _read_only(forces, float, shape, "forces"), shape[1]
        object.__setattr__(self, "forces", forces)
        if stress is not None:
            stress = _read_only(stress, float, (d, d), "stress")
            if np.abs(stress - stress.T).max() > 1e-3 * np.abs(stress).max():
                raise ValueError(
                    f"stress is not symmetric: {stress.tolist()}; give a stress tensor"
                )
        object.__setattr__(self, "stress", stress)

    def check(self, geometry: Geometry, name: str = "the geometry") -> Labels:
        """Return these labels if they can belong to `geometry`, whose `name` is for the error.

        Raises:
            ValueError: forces and positions have different shapes; a stress without a cell.
        """
        positions = geometry.positions.shape
        forces = positions if self.forces is None else self.forces.shape
        if forces != positions:
            raise ValueError(
                f"forces of {name} have shape {forces}, its positions {positions}: give one force"
                " per coordinate"
            )
        if self.stress is not None and not geometry.pbc.any():
            raise ValueError(f"{name} is open and its labels have a stress: give stress=None")
        if self.stress is not None and len(self.stress) != geometry.dimension:
            shape = f"{self.stress.shape}, its cell {geometry.cell.shape}"
            raise ValueError(f"the stress of {name} has shape {shape}: give a stress of that shape")
        return self
