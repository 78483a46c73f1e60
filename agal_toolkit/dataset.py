"""Labelled geometries and their roles.

A :class:`Dataset` is immutable and grows by ``+``. A structure gets its role when it is labelled
and keeps it: members may learn from "train" structures, and never from "calibration" structures.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.random import Generator
from numpy.typing import NDArray

from .ase_labels import (
    LabelKeys,
    each_string,
    is_empty,
    quoted,
    read_frames,
    read_npz,
    read_structures,
    write_chemiscope,
)
from .distances import copies_of
from .geometry import OURS, Geometry, Labels, as_geometry, as_number

TRAIN, CALIBRATION = "train", "calibration"
PARTICLES = 4096  # evaluated in one call: enough to be quick, and a bound on memory


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
        if isinstance(geometries, (Geometry, Atoms)) or isinstance(labels, Labels):
            raise TypeError("a single structure or label is no sequence: give [structure], [label]")
        geometries = tuple(as_geometry(structure) for structure in geometries)
        labels = tuple(_checked(index, label) for index, label in enumerate(labels))
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
        """Forces of each geometry, (particles, d) eV/angstrom; NaN where not labelled."""
        pairs = zip(self.geometries, self.labels, strict=True)
        return [
            np.full(g.positions.shape, np.nan) if y.forces is None else y.forces for g, y in pairs
        ]

    @property
    def generations(self) -> NDArray:
        """(n,) the generation that acquired each structure; 0 for the initial data."""
        return np.array([g.origin.get("generation", 0) for g in self.geometries], dtype=int)

    @property
    def weights(self) -> NDArray:
        """(n,) factors of the loss: the ``config_weight`` of the file that a structure is from.

        It is 1 without one, and for structures that later generations acquired.

        Raises:
            ValueError: a weight that is negative or not finite.
        """
        initial = self.generations == 0
        info = [geometry.origin.get("info", {}) for geometry in self.geometries]
        given = [as_number(values.get("config_weight", 1.0), "config_weight") for values in info]
        weights = np.where(initial, given, 1.0)
        wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
        if len(wrong):
            value = f"config_weight of structure {wrong[0]} is {weights[wrong[0]]}"
            raise ValueError(f"{value}: give a number that is not negative")
        return weights

    def of_role(self, role: str) -> Dataset:
        """Return the structures of one role."""
        return self[np.array([r == role for r in self.roles], dtype=bool)]

    def reserving(self, count: int, rng: Generator) -> Dataset:
        """Return the same data with `count` "train" structures, drawn at random, as "calibration".

        Their copies (0.02 angstrom) follow them, so that no copy of them is trained on.

        Raises:
            ValueError: more structures than have the role "train".
        """
        learnable = np.flatnonzero([role == TRAIN for role in self.roles])
        if not 0 <= count <= len(learnable):
            raise ValueError(f"cannot reserve {count} of {len(learnable)} training structures")
        reserved = set(rng.choice(learnable, count, replace=False).tolist())
        train = [self.geometries[i] for i in learnable]
        for i in tuple(reserved):
            reserved.update(learnable[copies_of(self.geometries[i], train)].tolist())
        roles = [CALIBRATION if i in reserved else role for i, role in enumerate(self.roles)]
        return Dataset(self.geometries, self.labels, roles)

    def split(
        self, test: float = 0, calibration: float = 0, *, seed: int | Generator = 0
    ) -> tuple[Dataset, Dataset]:
        """Return the data to learn from, `calibration` of them with that role, and the test data.

        Both are counts (whole numbers) or shares of all structures (below 1), drawn at random from
        the "train" structures, the test data first. Copies (0.02 angstrom) of what is drawn follow
        it, so that none is on two sides: there may be more than requested. A copy of a test
        structure is tested on, whatever its role was.

        Raises:
            ValueError: numbers that are neither counts nor shares, or that leave nothing to train
                on.
        """
        counts = []
        for name, part in {"test": test, "calibration": calibration}.items():
            if isinstance(part, bool) or not (0 < part < 1 or (part >= 0 and part % 1 == 0)):
                raise ValueError(f"{name} is {part!r}: give a count, or a share between 0 and 1")
            counts.append(max(1, round(part * len(self))) if 0 < part < 1 else int(part))
        rng, taken, drawn = np.random.default_rng(seed), [], set()
        for count in counts:
            free = [i for i, role in enumerate(self.roles) if role == TRAIN and i not in drawn]
            taken.append(self._with_copies(rng.choice(free, min(count, len(free)), replace=False)))
            drawn |= taken[-1]
            if count and (count >= len(free) or drawn >= set(free)):
                wanted = f"{counts[0]} test and {counts[1]} calibration structures"
                wrong = f"{wanted}, with copies, of {self.roles.count(TRAIN)} training structures"
                raise ValueError(f"{wrong} leave none to train on: ask for fewer, or label more")
        roles = [CALIBRATION if i in taken[1] else role for i, role in enumerate(self.roles)]
        left = [i for i in range(len(self)) if i not in taken[0]]
        return Dataset(self.geometries, self.labels, roles)[left], self[sorted(taken[0])]

    def _with_copies(self, drawn: NDArray) -> set[int]:
        """Return the indices `drawn` and those of their copies, and of these copies' copies."""
        found, waiting = set(), drawn.tolist()
        while waiting:
            found.add(index := waiting.pop())
            copies = copies_of(self.geometries[index], self.geometries)
            waiting += [i for i in copies if i not in found]
        return found

    def digest(self) -> str:
        """Return 16 hexadecimal digits for exactly these structures, labels, roles and generations.

        Movable atoms, isotopes and weights count, the rest of an origin does not.
        """
        sha = hashlib.sha256()
        if (self.weights != 1).any():
            sha.update(self.weights.tobytes())
        for geometry, label, role in zip(self.geometries, self.labels, self.roles, strict=True):
            generation = geometry.origin.get("generation", 0)
            sha.update(f"{geometry.digest()}|{role}|{generation}|".encode())
            if geometry.isotopes is not None:
                sha.update(geometry.isotopes.tobytes())
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
        energies, forces = self.energies, [y.forces for y in self.labels if y.forces is not None]
        span = f"{energies.min():.4g} ... {energies.max():.4g}"
        largest = max((float(np.abs(f).max()) for f in forces), default=float("nan"))
        lines.append(f"  energy {span}, largest force component {largest:.4g}")
        if len(forces) < len(self):
            lines.append(f"  {len(self) - len(forces)} structures have energies only")
        if (self.weights != 1).any():
            span = f"{self.weights.min():.4g} ... {self.weights.max():.4g}"
            lines.append(f"  weights in the loss {span}")
        return "\n".join(lines)

    # -- files and ASE

    @classmethod
    def from_ase(
        cls,
        frames: Iterable[Atoms],
        energy: str | None = None,
        forces: str | None = None,
        stress: str | None = None,
        *,
        virial: str | None = None,
        units: str | Mapping[str, str] | None = None,
    ) -> Dataset:
        """Return ASE structures as a data set.

        Labels come from the attached calculator, or from the keys of ``info``, ``arrays`` or the
        calculator's results that are named. Once energy and forces are named, a stress that is not
        named is not read. Structures may lack forces; they then have energies only.

        Args:
            frames: the structures.
            energy, forces, stress: keys of the labels.
            virial: key of -stress times volume, eV, instead of a stress.
            units: the unit of energies, whose forces are per angstrom ("kcal/mol", "Hartree", ...),
                or units of "energy", "length", "forces" and "stress"; eV and angstrom by default.

        Raises:
            ValueError: a structure without energy, or with forces under another key (the error
                lists its keys), or one whose calculator last computed another structure.
        """
        frames = list(frames)
        keys = LabelKeys(energy, forces, stress, virial, units)
        geometries, labels = read_structures(frames, keys)
        return cls(geometries, labels, [a.info.get(OURS["role"], TRAIN) for a in frames])

    def to_ase(self) -> list[Atoms]:
        """Return ASE structures with a SinglePointCalculator; ``info`` has role and origin."""
        from ase.calculators.singlepoint import SinglePointCalculator

        frames = []
        for geometry, label, role in zip(self.geometries, self.labels, self.roles, strict=True):
            atoms = geometry.to_ase()
            results: dict[str, Any] = {"energy": label.energy}
            if label.forces is not None:
                results["forces"] = np.zeros((len(geometry), 3))
                results["forces"][:, : geometry.dimension] = label.forces
            if label.stress is not None and geometry.dimension == 3:
                results["stress"] = full_3x3_to_voigt_6_stress(label.stress)
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.info.update({OURS["role"]: role, OURS["origin"]: dict(geometry.origin)})
            atoms.info.update(geometry.origin.get("info", {}))
            frames.append(atoms)
        return frames

    @classmethod
    def read(
        cls,
        path: str | Path,
        energy: str | None = None,
        forces: str | None = None,
        stress: str | None = None,
        *,
        virial: str | None = None,
        units: str | Mapping[str, str] | None = None,
    ) -> Dataset:
        """Read a file of any format that ASE reads, or an npz file of rMD17 or sGDML.

        The keys and units are those of :meth:`from_ase`. An empty file is an empty data set.

        Raises:
            ValueError: as :meth:`from_ase`, or a file that cannot be read; names the file.
        """
        path = Path(path)
        with _naming(path):
            if path.suffix == ".npz":
                pairs = read_npz(path, units)
                return cls([geometry for geometry, _ in pairs], [labels for _, labels in pairs])
            if path.is_file() and is_empty(path):
                return cls()
            return cls.from_ase(
                read_frames(path), energy, forces, stress, virial=virial, units=units
            )

    def write(self, path: str | Path) -> None:
        """Write everything to an extended-xyz file, or to an ASE trajectory ("data.traj").

        "data.json.gz" is input of chemiscope, which shows structures and their properties, and
        "data.html" a page with chemiscope in it, which opens anywhere; the extra ``map`` installs
        it.
        Coordinates are rounded to 1e-8 in extended xyz. Strings of origins that JSON would escape
        are percent-encoded there, because ASE's parser drops backslashes; :meth:`read` decodes.

        Raises:
            ValueError: another ending of the file's name.
            ImportError: chemiscope is missing for its input.
        """
        from ase.io import write

        frames, suffixes = self.to_ase(), Path(path).suffixes
        if suffixes[-1:] == [".traj"]:
            write(path, frames, format="traj")
            return
        if {".json", ".html"} & set(suffixes[-2:]):
            write_chemiscope(Path(path), frames)
            return
        if not {".xyz", ".extxyz"} & set(suffixes[-2:]):
            remedy = "give a name that ends with .extxyz, .xyz, .traj, .json.gz or .html"
            raise ValueError(f"data sets are not written as {Path(path).name}: {remedy}")
        for atoms in frames:
            atoms.info[OURS["origin"]] = each_string(quoted, atoms.info[OURS["origin"]])
        write(path, frames, format="extxyz")


def _checked(index: int, label: Any) -> Labels:
    """Return `label` if it is one; otherwise raise TypeError with the remedy."""
    if isinstance(label, Labels):
        return label
    kind, remedy = type(label).__name__, "give Labels(energy=..., forces=...)"
    if isinstance(label, Exception):
        remedy = f"{label}: leave out its structure"
    elif isinstance(label, tuple):
        remedy = f"{remedy}; of a reference's, reference.labelled(structures) makes a data set"
    elif label is None:
        remedy = f"{remedy}, and no structure without labels"
    raise TypeError(f"label {index} is a {kind}: {remedy}")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn errors of the block that do not name the file `path` into ones that do."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise ValueError(f"{path}: {kind}{error}") from error


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
