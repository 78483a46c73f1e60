"""Labels of ASE structures and files: where they stand, and in which units.

Labels are read from the attached calculator, or from the keys that are named. As soon as energy or
forces are named, nothing unnamed is taken from a calculator, whose results may be another theory's.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms, units
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from .files import atomic_write
from .geometry import OURS, Geometry, Labels, as_geometry
from .html_page import page

# fmt: off
UNITS: Mapping[str, float] = {
    "eV": 1.0, "meV": 1e-3, "Hartree": units.Hartree, "Ha": units.Hartree, "Ry": units.Rydberg,
    "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol,
    "angstrom": 1.0, "Ang": 1.0, "A": 1.0, "Bohr": units.Bohr, "nm": units.nm,
    "GPa": units.GPa, "kbar": 1e3 * units.bar, "bar": units.bar,
}
# fmt: on
BOTH = "name both, or labels of two theories mix"
# structures as a person holds them; a string is the name of a file
Structures: TypeAlias = Geometry | Atoms | str | os.PathLike | Iterable["Structures"]
CONSTRAINED = (
    "forces of exactly zero on their fixed atoms, as get_forces() gives them under constraints, and"
    " potentials learn the zeros: store get_forces(apply_constraint=False), or label them anew"
)
QUOTED = "percent-encoded:"  # prefix of the strings of origins that files hold encoded
# arrays of rMD17 and of sGDML files: numbers, positions, energies, forces
NPZ = (("nuclear_charges", "coords", "energies", "forces"), ("z", "R", "E", "F"))


def unit(name: str) -> float:
    """Return a unit in eV and angstrom: a name of :data:`UNITS`, or two of them with a slash.

    Raises:
        ValueError: an unknown unit.
    """
    if name in UNITS:
        return UNITS[name]
    above, slash, below = name.rpartition("/")
    if not slash:
        raise ValueError(f"unit {name!r} is not known: use one of {', '.join(UNITS)}")
    return unit(above) / unit(below)


@dataclass(frozen=True, init=False)
class LabelKeys:
    """Where labels stand, and their units.

    Attributes:
        energy, forces, stress, virial: keys of ``info``, ``arrays`` or the calculator's results.
        scales: units of "energy", "length" (of positions and cell), "forces" and "stress", given as
            names, or as one name of a unit of energy whose forces are per angstrom.
    """

    energy: str | None
    forces: str | None
    stress: str | None
    virial: str | None
    scales: Mapping[str, float]

    def __init__(
        self,
        energy: str | None = None,
        forces: str | None = None,
        stress: str | None = None,
        virial: str | None = None,
        units: str | Mapping[str, str] | None = None,
    ) -> None:
        if energy is None and forces is not None:
            raise ValueError(f"forces= is named and energy= is not: {BOTH}")
        if stress is not None and virial is not None:
            raise ValueError("stress= and virial= are both named: give the one that the file has")
        if "virial" in (stress or "").lower():
            raise ValueError(
                f"stress={stress!r} names a virial, -stress times volume: give virial= instead"
            )
        names = {"energy": units} if isinstance(units, str) else dict(units or {})
        strange = set(names) - {"energy", "length", "forces", "stress"}
        if strange:
            raise ValueError(f"units has {sorted(strange)}: give energy, length, forces or stress")
        scales = {key: unit(name) for key, name in names.items()}
        values = (energy, forces, stress, virial, scales)
        for field, value in zip(fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)

    @property
    def length(self) -> float:
        """The unit of positions and cell, angstrom."""
        return self.scales.get("length", 1.0)

    def labels(self, atoms: Atoms, name: str) -> Labels:
        """Return the labels of one structure, whose `name` is for errors.

        Raises:
            ValueError: no energy, or forces under another key (the error lists the keys), values
                that are not finite, or a calculator that last computed another structure.
        """
        results = {} if atoms.calc is None else atoms.calc.results
        results = {key: value for key, value in results.items() if value is not None}
        from_calculator = self.energy is None and bool(results)
        if atoms.calc is not None and from_calculator and atoms.calc.check_state(atoms):
            raise ValueError(
                f"{name} shares its calculator with others, or moved since: the results of"
                f" {type(atoms.calc).__name__} belong to another structure; give each structure a"
                " SinglePointCalculator, name all labels with energy=, forces= and stress=, or let"
                " a Reference label them"
            )
        stores = {"info": atoms.info, "arrays": atoms.arrays, "calculator": results}

        def at(key: str) -> Any:
            for store in stores.values():
                if key in store:
                    return store[key]
            places = ", ".join(f"its {place} {sorted(store)}" for place, store in stores.items())
            raise ValueError(
                f"{name} has no {key!r}: {places}; name the right keys with energy=, forces=,"
                " stress= or virial="
            )

        # forces are the slope of the free energy where a calculator tells it from the energy
        own = "free_energy" if "free_energy" in results else "energy"
        energy = at(own if self.energy is None else self.energy)
        key = "forces" if self.energy is None else self.forces
        held = [store[key] for store in stores.values() if key in store]
        if not held and self.forces is None:
            unread = sorted(k for store in stores.values() for k in store if "force" in k.lower())
            if unread and self.energy is not None:
                wrong = f"energy= is named and forces= is not: {BOTH}"
                raise ValueError(f"{wrong}; {name} has {unread}")
            if unread:
                at("forces")
        forces = held[0] if held else None
        dimension = int(atoms.info.get(OURS["dimension"], 3))
        scale = self.scales.get("energy", 1.0)
        force_scale = self.scales.get("forces", scale / self.length)
        if forces is not None:
            forces = np.multiply(forces, force_scale)
            forces = forces[:, :dimension] if forces.ndim == 2 else forces  # without padding
            forces = None if np.isnan(forces).all() else forces
        try:
            stress = self._stress(atoms, stores, results if from_calculator else {})
            return Labels(energy=np.multiply(energy, scale), forces=forces, stress=stress)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _stress(
        self, atoms: Atoms, stores: Mapping[str, Mapping], results: Mapping
    ) -> NDArray | None:
        """Return the stress (3, 3), or None if a structure has none or is open."""
        key = self.stress or self.virial
        held = [store[key] for store in stores.values() if key is not None and key in store]
        value = held[0] if held else results.get("stress") if key is None else None
        if value is None or (key is None and not atoms.pbc.any()):
            return None
        tensor = np.asarray(value, dtype=float)
        tensor = voigt_6_to_full_3x3_stress(tensor) if tensor.size == 6 else tensor.reshape(3, 3)
        if self.virial is None:
            if "stress" not in self.scales and set(self.scales.values()) - {1.0}:
                wrong = "a stress without a unit beside others that are not eV and angstrom"
                raise ValueError(f'{wrong}: name it, units={{..., "stress": "GPa"}}')
            return tensor * self.scales.get("stress", 1.0)
        volume = abs(np.linalg.det(atoms.cell.array * self.length))
        if not volume:
            raise ValueError("a virial needs a cell with a volume: give the cell, or no virial=")
        return -tensor * self.scales.get("energy", 1.0) / volume


def read_structures(
    frames: Sequence[Atoms], keys: LabelKeys
) -> tuple[list[Geometry], list[Labels]]:
    """Return geometries and labels of ASE structures.

    Raises:
        ValueError: as :meth:`LabelKeys.labels`; or a named key that no structure has.
    """
    geometries = []
    if len({id(atoms) for atoms in frames}) < len(frames):
        warnings.warn(
            "some frames are one object, which is the last step of a simulation: append copies,"
            " with the calculator's results in a SinglePointCalculator",
            stacklevel=3,
        )
    for index, atoms in enumerate(frames):
        try:
            geometry = as_geometry(atoms)
            if keys.length != 1.0:
                cell = geometry.cell * keys.length
                values = {"positions": geometry.positions * keys.length, "cell": cell}
                geometry = Geometry(**{**geometry.to_dict(), **values})
        except ValueError as error:
            raise ValueError(f"structure {index}: {error}") from None
        geometries.append(geometry)
    labels = [keys.labels(atoms, f"structure {index}") for index, atoms in enumerate(frames)]
    key = keys.stress or keys.virial
    columns = ((keys.forces, [y.forces for y in labels]), (key, [y.stress for y in labels]))
    for name, values in columns:
        if name is not None and frames and all(value is None for value in values):
            raise ValueError(f"structure 0 has no {name!r}, nor has any other: name the right key")
    unread = sorted({k for a in frames for k in a.info if "virial" in k.lower() and k != key})
    if unread and all(label.stress is None for label in labels):
        warnings.warn(f"{unread} is not read: name it with virial=", stacklevel=3)
    zeros = [i for i, pair in enumerate(zip(geometries, labels, strict=True)) if constrained(*pair)]
    if zeros:
        warnings.warn(f"structures {zeros} have {CONSTRAINED}", stacklevel=3)
    return geometries, labels


def constrained(geometry: Geometry, labels: Labels) -> bool:
    """Return whether the forces are zero on fixed atoms only, as under a constraint of ASE."""
    if labels.forces is None or geometry.movable.all():
        return False
    return bool(not labels.forces[~geometry.movable].any() and labels.forces.any())


def structures_of(source: Structures) -> list[Geometry]:
    """Return the structures of a Geometry, an ase.Atoms, a file, or of several of these."""
    if isinstance(source, (str, os.PathLike)):
        return [as_geometry(atoms) for atoms in read_frames(Path(source))]
    if isinstance(source, (Geometry, Atoms)) or not isinstance(source, Iterable):
        return [as_geometry(source)]
    return [geometry for item in source for geometry in structures_of(item)]


def structure_of(source: Structures) -> Geometry:
    """Return the one structure of a Geometry, an ase.Atoms or a file."""
    found = structures_of(source)
    if len(found) != 1:
        raise ValueError(f"{source!r} holds {len(found)} structures: give one, as an ase.Atoms")
    return found[0]


def read_npz(path: Path, given: str | Mapping[str, str] | None) -> list[tuple[Geometry, Labels]]:
    """Return the structures of an rMD17 or sGDML file.

    Raises:
        ValueError: other arrays, or a file that does not say its units when none are given.
    """
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if stored[name].dtype != object}
    names = next((names for names in NPZ if set(names) <= set(arrays)), None)
    if names is None:
        raise ValueError(f"{path} holds the arrays {sorted(arrays)}, expected {NPZ[0]} or {NPZ[1]}")
    if given is None and "e_unit" in arrays:
        length = str(arrays["r_unit"]) if "r_unit" in arrays else "Ang"
        given = {"energy": str(arrays["e_unit"]), "length": length}
    if given is None:
        raise ValueError(f'{path} does not say its units: give units=, "kcal/mol" for rMD17')
    keys = LabelKeys(units=given)
    numbers, positions, energies, forces = (arrays[name] for name in names)
    scale = keys.scales.get("energy", 1.0)
    force_scale = keys.scales.get("forces", scale / keys.length)
    return [
        (
            Geometry(positions=x * keys.length, numbers=numbers),
            Labels(energy=np.ravel(e)[0] * scale, forces=f * force_scale),
        )
        for x, e, f in zip(positions, energies, forces, strict=True)
    ]


def each_string(change: Callable[[str], str], value: Any) -> Any:
    """Return JSON `value` with every string in it changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        items = value.items()
        return {each_string(change, key): each_string(change, item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [each_string(change, item) for item in value]
    return value


def quoted(text: str) -> str:
    """Return `text` percent-encoded and marked if JSON would escape any of it."""
    plain = json.dumps(text) == f'"{text}"' and not text.startswith(QUOTED)
    return text if plain else QUOTED + quote(text, safe=" /:,;()+=", errors="surrogatepass")


def unquoted(text: str) -> str:
    """Return the text that :func:`quoted` was given."""
    if not text.startswith(QUOTED):
        return text
    return unquote(text.removeprefix(QUOTED), errors="surrogatepass")


def read_frames(path: Path) -> list[Atoms]:
    """Read a file with ASE, with the origins that we wrote; errors name the structure."""
    from ase.io import iread  # takes half a second to import
    from ase.io.formats import open_with_compression

    if {".xyz", ".extxyz"} & set(path.suffixes[-2:]):
        # ASE waits for as many lines as are announced, also beyond the end of the file
        with open_with_compression(str(path), "rb") as stream:
            index = 0
            while (line := stream.readline()).strip().isdigit():
                if not all(stream.readline() for _ in range(int(line) + 1)):
                    announced = f"structure {index} announces {int(line)} atoms"
                    raise ValueError(f"{announced}, and the file ends before the last one")
                index += 1
    frames: list[Atoms] = []
    try:
        frames.extend(iread(path, index=":"))
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = f"{type(error).__name__}: {error}"
        remedy = "repair the file, or take a format that ASE reads"
        raise ValueError(f"structure {len(frames)} cannot be read ({reason}): {remedy}") from error
    for atoms in frames:
        if OURS["origin"] in atoms.info:
            atoms.info[OURS["origin"]] = each_string(unquoted, atoms.info[OURS["origin"]])
    return frames


def is_empty(path: Path) -> bool:
    """Return whether a file, decompressed if its name says so, holds nothing."""
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as stream:
        return not stream.read(1)


def write_chemiscope(path: Path, frames: Sequence[Atoms]) -> None:
    """Write labelled structures as input of chemiscope, or as a page with chemiscope in it.

    Input is compressed if the name ends with .gz; a page ends with .html.

    Raises:
        ValueError: no structures.
        ImportError: chemiscope is missing.
    """
    if not frames:
        raise ValueError(f"{path.name} would hold no structures: give chemiscope at least one")
    try:
        from chemiscope import create_input, write_input
    except ImportError as error:
        remedy = "pip install 'agal_toolkit[map]', or give a name that ends with .extxyz or .traj"
        raise ImportError(f"{path.name} needs chemiscope, which is missing: {remedy}") from error
    rows = []
    for atoms in frames:
        results, origin = (atoms.calc.results if atoms.calc else {}), atoms.info[OURS["origin"]]
        norms = np.linalg.norm(results.get("forces", np.full((1, 3), np.nan)), axis=1)
        values = results["energy"] / len(atoms), float(norms.max()), origin.get("generation", 0)
        rows.append([*values, str(origin.get("by", "given")), atoms.info[OURS["role"]]])
    names = ("energy per atom (eV)", "largest force (eV/Å)", "generation", "origin", "role")
    properties = {
        name: {"target": "structure", "values": list(values)}
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
        if all(value == value for value in values)  # not where some have no forces
    }
    with atomic_write(path) as part:
        if path.suffix != ".html":
            write_input(str(part), frames, properties=properties)
            return
        metadata = {"name": path.stem, "description": f"{len(frames)} labelled structures"}
        # the two first properties are the axes of the map
        settings = {"map": {"color": {"property": "generation"}}}
        content = {"structures": frames, "properties": properties, "metadata": metadata}
        part.write_text(page(create_input(**content, settings=settings), path.stem), "utf-8")
