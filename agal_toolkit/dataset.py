"""Labelled geometries and their roles.

A :class:`Dataset` is immutable and grows by ``+``. A structure gets its role when it is labelled
and keeps it: members may learn from "train" structures, and never from "calibration" structures.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from numpy.random import Generator
from numpy.typing import NDArray

from .geometry import Geometry, Labels, as_geometry

TRAIN, CALIBRATION = "train", "calibration"
PARTICLES = 4096  # evaluated in one call: enough to be quick, and a bound on memory
QUOTED = "percent-encoded:"  # prefix of the strings of origins that files hold encoded


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dataset(Sequence[Geometry]):
    """Geometries with their labels and roles.

    Attributes:
        geometries: n structures, given as Geometry or ase.Atoms.
        labels: n labels.
        roles: n roles, "train" (the default) or "calibration".

    Raises:
        ValueError: different numbers of geometries, labels and roles, or labels of another shape
            than their geometry.
    """

    geometries: tuple[Geometry, ...]
    labels: tuple[Labels, ...]
    roles: tuple[str, ...]

    def __init__(
        self,
        geometries: Iterable[Geometry | Atoms] = (),
        labels: Iterable[Labels] = (),
        roles: Iterable[str] | None = None,
    ) -> None:
        geometries = tuple(as_geometry(structure) for structure in geometries)
        labels = tuple(labels)
        roles = (TRAIN,) * len(geometries) if roles is None else tuple(roles)
        if not len(geometries) == len(labels) == len(roles):
            counts = f"{len(geometries)} geometries, {len(labels)} labels and {len(roles)} roles"
            raise ValueError(f"{counts}: give one of each for every structure")
        for index, (geometry, label) in enumerate(zip(geometries, labels, strict=True)):
            label.check(geometry, f"geometry {index}")
        if not set(roles) <= {TRAIN, CALIBRATION}:
            expected = f"expected {TRAIN!r} or {CALIBRATION!r}"
            raise ValueError(f"roles are {sorted(set(roles))}, {expected}")
        object.__setattr__(self, "geometries", geometries)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "roles", roles)

    def __len__(self) -> int:
        return len(self.geometries)

    def __iter__(self) -> Iterator[Geometry]:
        return iter(self.geometries)

    def __getitem__(self, index: Any) -> Any:
        """Return one geometry for an integer, a Dataset for a slice, a mask or indices."""
        if isinstance(index, (int, np.integer)):
            return self.geometries[index]
        chosen = np.arange(len(self))[index]
        columns = (self.geometries, self.labels, self.roles)
        return Dataset(*([column[i] for i in chosen] for column in columns))

    def __add__(self, other: Dataset) -> Dataset:
        return Dataset(
            self.geometries + other.geometries, self.labels + other.labels, self.roles + other.roles
        )

    @property
    def energies(self) -> NDArray:
        """(n,) eV."""
        return np.array([label.energy for label in self.labels])

    @property
    def forces(self) -> list[NDArray]:
        """Forces of each geometry, (particles, d) eV/angstrom."""
        return [label.forces for label in self.labels]

    @property
    def generations(self) -> NDArray:
        """(n,) the generation that acquired each structure; 0 for the initial data."""
        return np.array([g.origin.get("generation", 0) for g in self.geometries], dtype=int)

    def of_role(self, role: str) -> Dataset:
        """Return the structures of one role."""
        return self[np.array([r == role for r in self.roles], dtype=bool)]

    def reserving(self, count: int, rng: Generator) -> Dataset:
        """Return the same data with `count` "train" structures, drawn at random, as "calibration".

        Raises:
            ValueError: more structures than have the role "train".
        """
        learnable = np.flatnonzero([role == TRAIN for role in self.roles])
        if not 0 <= count <= len(learnable):
            raise ValueError(f"cannot reserve {count} of {len(learnable)} training structures")
        reserved = set(rng.choice(learnable, count, replace=False).tolist())
        roles = [CALIBRATION if i in reserved else role for i, role in enumerate(self.roles)]
        return Dataset(self.geometries, self.labels, roles)

    def digest(self) -> str:
        """Return 16 hexadecimal digits for exactly these structures, labels, roles and generations.

        Movable atoms count, the rest of an origin does not.
        """
        sha = hashlib.sha256()
        for geometry, label, role in zip(self.geometries, self.labels, self.roles, strict=True):
            generation = geometry.origin.get("generation", 0)
            sha.update(f"{geometry.digest()}|{role}|{generation}|".encode())
            for part in (geometry.movable, np.float64(label.energy), label.forces, label.stress):
                sha.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
        return sha.hexdigest()[:16]

    def __repr__(self) -> str:
        if not len(self):
            return "Dataset(empty)"
        sources = Counter(
            (g.origin.get("generation", 0), g.origin.get("by", "given")) for g in self.geometries
        )
        reserved = self.roles.count(CALIBRATION)
        lines = [f"Dataset: {len(self)} structures, {reserved} of them for calibration"]
        for (generation, by), count in sorted(sources.items(), key=str):
            lines.append(f"  generation {generation:>2}  {by:<16} {count:>6}")
        energies, largest = self.energies, max(float(np.abs(f).max()) for f in self.forces)
        span = f"{energies.min():.4g} ... {energies.max():.4g}"
        lines.append(f"  energy {span}, largest force component {largest:.4g}")
        return "\n".join(lines)

    # -- files and ASE

    @classmethod
    def from_ase(
        cls,
        frames: Iterable[Atoms],
        energy: str | None = None,
        forces: str | None = None,
        stress: str | None = None,
    ) -> Dataset:
        """Return ASE structures as a data set.

        Labels come from the attached calculator, or from the keys of ``info`` (energy, stress) and
        ``arrays`` (forces) that are named.

        Raises:
            ValueError: a structure without energy or forces (the error lists its keys), or one
                whose calculator last computed another structure.
        """
        frames = list(frames)
        geometries = []
        for index, atoms in enumerate(frames):
            try:
                geometries.append(as_geometry(atoms))
            except ValueError as error:
                raise ValueError(f"structure {index}: {error}") from None
        keys = (energy, forces, stress)
        labels = [_labels_of(atoms, index, *keys) for index, atoms in enumerate(frames)]
        return cls(geometries, labels, [atoms.info.get("role", TRAIN) for atoms in frames])

    def to_ase(self) -> list[Atoms]:
        """Return ASE structures with a SinglePointCalculator; ``info`` has role and origin."""
        from ase.calculators.singlepoint import SinglePointCalculator

        frames = []
        for geometry, label, role in zip(self.geometries, self.labels, self.roles, strict=True):
            atoms = geometry.to_ase()
            padded = np.zeros((len(geometry), 3))
            padded[:, : geometry.dimension] = label.forces
            results = {"energy": label.energy, "forces": padded}
            if label.stress is not None and geometry.dimension == 3:
                results["stress"] = full_3x3_to_voigt_6_stress(label.stress)
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.info.update(role=role, origin=dict(geometry.origin))
            frames.append(atoms)
        return frames

    @classmethod
    def read(
        cls,
        path: str | Path,
        energy: str | None = None,
        forces: str | None = None,
        stress: str | None = None,
    ) -> Dataset:
        """Read a file of any format that ASE reads; the keys are those of :meth:`from_ase`.

        An empty file is an empty data set.
        """
        from ase.io import read  # takes half a second to import

        if Path(path).is_file() and _is_empty(Path(path)):
            return cls()
        frames = read(path, index=":")
        for atoms in frames:
            if "origin" in atoms.info:
                atoms.info["origin"] = _each_string(_unquoted, atoms.info["origin"])
        return cls.from_ase(frames, energy, forces, stress)

    def write(self, path: str | Path) -> None:
        """Write everything to an extended-xyz file; coordinates are rounded to 1e-8.

        Strings of origins that JSON would escape are percent-encoded, because ASE's parser drops
        backslashes; :meth:`read` decodes them.
        """
        from ase.io import write

        frames = self.to_ase()
        for atoms in frames:
            atoms.info["origin"] = _each_string(_quoted, atoms.info["origin"])
        write(path, frames, format="extxyz")


def _is_empty(path: Path) -> bool:
    """Return whether a file, decompressed if its name says so, holds nothing."""
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as stream:
        return not stream.read(1)


def _each_string(change: Callable[[str], str], value: Any) -> Any:
    """Return JSON `value` with every string in it changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        items = value.items()
        return {_each_string(change, key): _each_string(change, item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [_each_string(change, item) for item in value]
    return value


def _quoted(text: str) -> str:
    """Return `text` percent-encoded and marked if JSON would escape any of it."""
    plain = json.dumps(text) == f'"{text}"' and not text.startswith(QUOTED)
    return text if plain else QUOTED + quote(text, safe=" /:,;()+=", errors="surrogatepass")


def _unquoted(text: str) -> str:
    if not text.startswith(QUOTED):
        return text
    return unquote(text.removeprefix(QUOTED), errors="surrogatepass")


def _labels_of(
    atoms: Atoms, index: int, energy: str | None, forces: str | None, stress: str | None
) -> Labels:
    """Return the labels of one ASE structure."""
    results = {} if atoms.calc is None else atoms.calc.results
    results = {key: value for key, value in results.items() if value is not None}
    used = energy is None or forces is None or (stress is None and "stress" in results)
    if atoms.calc is not None and used and atoms.calc.check_state(atoms):
        raise ValueError(
            f"structure {index} shares its calculator with others, or moved since: the results of"
            f" {type(atoms.calc).__name__} belong to another structure; give each structure a"
            " SinglePointCalculator, name all labels with energy=, forces= and stress=, or let a"
            " Reference label them"
        )
    try:
        e = results["energy"] if energy is None else atoms.info[energy]
        f = results["forces"] if forces is None else atoms.arrays[forces]
        s = results.get("stress") if stress is None else atoms.info[stress]
    except KeyError as missing:
        raise ValueError(
            f"structure {index} has no {missing}: its calculator holds {sorted(results)}, its info"
            f" {sorted(atoms.info)}, its arrays {sorted(atoms.arrays)}: name the right keys with"
            " energy=, forces= and stress="
        ) from None
    if np.size(s) == 6:
        s = voigt_6_to_full_3x3_stress(s)
    elif np.size(s) == 9:
        s = np.reshape(s, (3, 3))
    if np.ndim(f) == 2:
        f = np.asarray(f)[:, : int(atoms.info.get("dimension", 3))]  # without padding
    try:
        return Labels(energy=e, forces=f, stress=s)
    except ValueError as error:
        raise ValueError(f"structure {index}: {error}") from None


def chunks(sizes: Sequence[int], room: int = PARTICLES) -> list[slice]:
    """Split consecutive structures into chunks of at most `room` particles.

    A larger structure gets a chunk of its own.
    """
    slices, start, total = [], 0, 0
    for index, size in enumerate(sizes):
        if total and total + size > room:
            slices.append(slice(start, index))
            start, total = index, 0
        total += size
    return [*slices, slice(start, len(sizes))]
