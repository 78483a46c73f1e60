"""Labelled geometries, the role each plays, and how members share them.

A :class:`Dataset` is immutable and grows by ``+``. A structure's role is settled when it is
labelled and stored with
it: "train" may be learned from, "calibration" never is. Which of the learnable ones a member trains
on and which stop its training early is one matrix of weights and one mask, drawn by :class:`Folds`.
"""

from __future__ import annotations

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
PARTICLES = 4096  # of structures evaluated in one call: enough to be quick, and a bound on memory
QUOTED = "percent-encoded:"  # begins strings of origins in files that are not written as they are


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dataset(Sequence[Geometry]):
    """Geometries with their labels and roles.

    Attributes:
        geometries: n structures (given as Geometry or ase.Atoms).
        labels: n labels.
        roles: n roles, "train" or "calibration".

    Raises:
        ValueError: numbers of geometries, labels and roles that differ, forces that do not belong
            to their geometry.
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
            raise ValueError(
                f"{len(geometries)} geometries, {len(labels)} labels and {len(roles)} roles: give"
                " one of each for every structure"
            )
        for index, (geometry, label) in enumerate(zip(geometries, labels, strict=True)):
            label.check(geometry, f"geometry {index}")
        if not set(roles) <= {TRAIN, CALIBRATION}:
            raise ValueError(
                f"roles are {sorted(set(roles))}, expected {TRAIN!r} or {CALIBRATION!r}"
            )
        object.__setattr__(self, "geometries", geometries)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "roles", roles)

    def __len__(self) -> int:
        return len(self.geometries)

    def __iter__(self) -> Iterator[Geometry]:
        return iter(self.geometries)

    def __getitem__(self, index: Any) -> Any:
        """One geometry for an integer; a Dataset for a slice, a mask or a list of indices."""
        if isinstance(index, (int, np.integer)):
            return self.geometries[index]
        chosen = np.arange(len(self))[index]
        return Dataset(
            [self.geometries[i] for i in chosen],
            [self.labels[i] for i in chosen],
            [self.roles[i] for i in chosen],
        )

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
        return np.array(
            [geometry.origin.get("generation", 0) for geometry in self.geometries], dtype=int
        )

    def of_role(self, role: str) -> Dataset:
        """The structures of one role."""
        return self[np.array([r == role for r in self.roles], dtype=bool)]

    def reserving(self, count: int, rng: Generator) -> Dataset:
        """The same structures, `count` of those that may be learned from put aside for calibration,
        drawn at random.

        Raises:
            ValueError: more than there are.
        """
        learnable = np.flatnonzero([role == TRAIN for role in self.roles])
        if not 0 <= count <= len(learnable):
            raise ValueError(
                f"{count} structures cannot be put aside of {len(learnable)} that may be learned"
                " from"
            )
        aside = set(rng.choice(learnable, count, replace=False).tolist())
        return Dataset(
            self.geometries,
            self.labels,
            [CALIBRATION if i in aside else role for i, role in enumerate(self.roles)],
        )

    def __repr__(self) -> str:
        if not len(self):
            return "Dataset(empty)"
        sources = Counter(
            (g.origin.get("generation", 0), g.origin.get("by", "given")) for g in self.geometries
        )
        largest = [float(np.abs(f).max()) for f in self.forces]
        lines = [
            f"Dataset: {len(self)} structures, {len(self.of_role(CALIBRATION))} of them for"
            " calibration"
        ]
        for (generation, by), count in sorted(sources.items(), key=str):
            lines.append(f"  generation {generation:>2}  {by:<16} {count:>6}")
        lines.append(
            f"  energy {self.energies.min():.4g} ... {self.energies.max():.4g}, largest force"
            f" component {max(largest):.4g}"
        )
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
        """From ASE structures: labels from the attached calculator, or from the named keys of
        ``info`` and ``arrays``.

        Raises:
            ValueError: a structure without energy or forces, named with the keys that it has, or
                whose calculator, asked for any label, last computed another structure.
        """
        frames = list(frames)
        geometries = []
        for index, atoms in enumerate(frames):
            try:
                geometries.append(as_geometry(atoms))
            except ValueError as error:
                raise ValueError(f"structure {index}: {error}") from None
        labels = [
            _labels_of(atoms, index, energy, forces, stress) for index, atoms in enumerate(frames)
        ]
        return cls(geometries, labels, [atoms.info.get("role", TRAIN) for atoms in frames])

    def to_ase(self) -> list[Atoms]:
        """ASE structures with a SinglePointCalculator; role and origin are in ``info``."""
        from ase.calculators.singlepoint import SinglePointCalculator

        frames = []
        for geometry, label, role in zip(self.geometries, self.labels, self.roles, strict=True):
            atoms = geometry.to_ase()
            padded = np.zeros((len(geometry), 3))
            padded[:, : geometry.dimension] = label.forces
            stress = (
                {}
                if label.stress is None or geometry.dimension < 3
                else {"stress": full_3x3_to_voigt_6_stress(label.stress)}
            )
            atoms.calc = SinglePointCalculator(atoms, energy=label.energy, forces=padded, **stress)
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
        """A file of any format ASE reads (extxyz); the keys name where the labels are, as in
        :meth:`from_ase`. An empty file is an empty data set.
        """
        from ase.io import read  # half a second, which importing the package should not cost

        if Path(path).is_file() and _is_empty(Path(path)):
            return cls()
        frames = read(path, index=":")
        for atoms in frames:
            if "origin" in atoms.info:
                atoms.info["origin"] = _each_string(_unquoted, atoms.info["origin"])
        return cls.from_ase(frames, energy, forces, stress)

    def write(self, path: str | Path) -> None:
        """An extended-xyz file with energies, forces, stresses, roles, origins and dimensions;
        coordinates are rounded to 1e-8.

        Strings of origins that JSON would escape are percent-encoded, and :meth:`read` decodes
        them: ASE's parser drops backslashes.
        """
        from ase.io import write

        frames = self.to_ase()
        for atoms in frames:
            atoms.info["origin"] = _each_string(_quoted, atoms.info["origin"])
        write(path, frames, format="extxyz")


def _is_empty(path: Path) -> bool:
    """Whether a file, after decompression if its name says so, holds nothing."""
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as stream:
        return not stream.read(1)


def _each_string(change: Callable[[str], str], value: Any) -> Any:
    """JSON `value` with every string in it changed, those of keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {
            _each_string(change, key): _each_string(change, item) for key, item in value.items()
        }
    return (
        [_each_string(change, item) for item in value]
        if isinstance(value, (list, tuple))
        else value
    )


def _quoted(text: str) -> str:
    """`text` without what JSON escapes, marked; itself where there is none of that."""
    plain = json.dumps(text) == f'"{text}"' and not text.startswith(QUOTED)
    return text if plain else QUOTED + quote(text, safe=" /:,;()+=", errors="surrogatepass")


def _unquoted(text: str) -> str:
    return (
        unquote(text.removeprefix(QUOTED), errors="surrogatepass")
        if text.startswith(QUOTED)
        else text
    )


def _labels_of(
    atoms: Atoms, index: int, energy: str | None, forces: str | None, stress: str | None
) -> Labels:
    """Labels of one ASE structure."""
    known = (
        {}
        if atoms.calc is None
        else {key: value for key, value in atoms.calc.results.items() if value is not None}
    )
    taken = energy is None or forces is None or (stress is None and "stress" in known)
    if atoms.calc is not None and taken and atoms.calc.check_state(atoms):
        raise ValueError(
            f"structure {index} shares its calculator with others, or moved since: what"
            f" {type(atoms.calc).__name__} last computed is of another structure; keep the labels"
            " of each with a SinglePointCalculator of its own, name all of them with energy=,"
            " forces= and stress=, or let a Reference label them"
        )
    try:
        e = known["energy"] if energy is None else atoms.info[energy]
        f = known["forces"] if forces is None else atoms.arrays[forces]
        s = known.get("stress") if stress is None else atoms.info[stress]
    except KeyError as missing:
        raise ValueError(
            f"structure {index} has no {missing}: its calculator holds {sorted(known)}, its info"
            f" {sorted(atoms.info)}, its arrays {sorted(atoms.arrays)}: name the right keys with"
            " energy=, forces= and stress="
        ) from None
    if np.size(s) == 6:
        s = voigt_6_to_full_3x3_stress(s)
    elif np.size(s) == 9:
        s = np.reshape(s, (3, 3))
    if np.ndim(f) == 2:
        f = np.asarray(f)[:, : int(atoms.info.get("dimension", 3))]  # a model surface was padded
    try:
        return Labels(energy=e, forces=f, stress=s)
    except ValueError as error:
        raise ValueError(f"structure {index}: {error}") from None


def chunks(sizes: Sequence[int], room: int = PARTICLES) -> list[slice]:
    """Slices of structures of so many particles, one after the other, each of at most `room`
    particles or of one structure.
    """
    slices, start, held = [], 0, 0
    for index, size in enumerate(sizes):
        if held and held + size > room:
            slices.append(slice(start, index))
            start, held = index, 0
        held += size
    return [*slices, slice(start, len(sizes))]
