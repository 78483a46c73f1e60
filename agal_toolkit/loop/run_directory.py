"""The run directory: finished stages of a loop, written atomically and read instead of run again.

Layout: ``run.json`` (the settings that change results, compared when a run goes on, and a record of
the machine), ``labels/`` (see :class:`~agal_toolkit.references.cache.Cache`), and for each
generation a folder with one file or folder a stage. A file or folder that has its name is complete.
Arrays are npz files without pickles and read back exactly, float for float.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..attack.attack import Adversary
from ..dataset import Dataset
from ..files import atomic_write
from ..geometry import Geometry, Labels
from ..references.cache import Cache
from ..training.trainer import Trainer
from ..uncertainty.calibration import Calibration

T = TypeVar("T")
Arrays = Mapping[str, Any]
LabelsAndFailures = tuple[Dataset, dict[int, str]]
FORMAT = 2  # of run directories; 1 named classes with their modules
_NO_RUN = "is not a run directory (it has no run.json)"
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile)


class RunDirectoryError(RuntimeError):
    """A run directory that cannot be used as it is; the message names the remedy."""


# -- how the value of a stage is kept


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How to `write` and `read` a stage's value; `suffix` ends its name, empty for a folder."""

    suffix: str
    write: Callable[[Path, T], object]
    read: Callable[[Path], T]


def as_json(pack: Callable[[Any], Any] = dict, unpack: Callable[[Any], Any] = dict) -> Kind:
    """Return a kind that is kept as JSON."""
    return Kind(
        ".json",
        lambda path, value: path.write_text(json.dumps(pack(value), indent=1)),
        lambda path: unpack(json.loads(path.read_text())),
    )


def as_arrays(pack: Callable[[T], Arrays], unpack: Callable[[Arrays], T]) -> Kind[T]:
    """Return a kind that is kept as named arrays."""

    def read(path: Path) -> T:
        # a stream, because numpy leaks a damaged file that it opens itself
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return unpack(dict(arrays))

    return Kind(".npz", lambda path, value: np.savez(path, **pack(value)), read)


def members_of(trainer: Trainer) -> Kind:
    """Return the kind of members, a folder that their trainer writes and reads."""
    return Kind("", lambda path, members: trainer.save(members, path), trainer.load)


def _joined(parts: Sequence[ArrayLike], shape: tuple[int, ...], dtype: type = float) -> NDArray:
    """Parts (n, *shape) in one array, which keeps its shape if there are none."""
    return np.concatenate([np.zeros((0, *shape), dtype), *parts])


def pack_geometries(geometries: Sequence[Geometry]) -> Arrays:
    """Return structures of one dimension as concatenated arrays.

    Raises:
        ValueError: structures of different dimensions.
    """
    n, d = len(geometries), geometries[0].dimension if len(geometries) else 0
    if any(geometry.dimension != d for geometry in geometries):
        raise ValueError("geometries of different dimensions cannot be stored together")
    rest = [
        {"charge": g.charge, "multiplicity": g.multiplicity, "origin": dict(g.origin)}
        for g in geometries
    ]
    return {
        "counts": np.array([len(g) for g in geometries], dtype=np.int64),
        "positions": _joined([g.positions for g in geometries], (d,)),
        "numbers": _joined([g.numbers for g in geometries], (), np.int64),
        "movable": _joined([g.movable for g in geometries], (), bool),
        "cell": np.array([g.cell for g in geometries]).reshape(n, d, d),
        "pbc": np.array([g.pbc for g in geometries], dtype=bool).reshape(n, d),
        "about": np.array(json.dumps(rest)),
    }


def _parts(arrays: Arrays) -> list[slice]:
    ends = np.cumsum(arrays["counts"])
    return [slice(end - count, end) for end, count in zip(ends, arrays["counts"], strict=True)]


def unpack_geometries(arrays: Arrays) -> list[Geometry]:
    """Invert :func:`pack_geometries`."""
    rest = json.loads(str(arrays["about"]))
    return [
        Geometry(
            positions=arrays["positions"][part],
            numbers=arrays["numbers"][part],
            movable=arrays["movable"][part],
            cell=arrays["cell"][i],
            pbc=arrays["pbc"][i],
            **rest[i],
        )
        for i, part in enumerate(_parts(arrays))
    ]


def pack_labels(value: LabelsAndFailures) -> Arrays:
    """Return labelled structures with their roles, and reasons of failures by index, as arrays."""
    dataset, failures = value
    n, d = len(dataset), dataset[0].dimension if len(dataset) else 0
    stresses = [label.stress for label in dataset.labels]
    nothing = np.full((d, d), np.nan)
    return {
        **pack_geometries(dataset.geometries),
        "energy": dataset.energies.astype(float),
        "forces": _joined(dataset.forces, (d,)),
        "stress": np.array([nothing if s is None else s for s in stresses]).reshape(n, d, d),
        "has_stress": np.array([s is not None for s in stresses], dtype=bool),
        "roles": np.array(json.dumps(dataset.roles)),
        "failed": np.array(sorted(failures), dtype=np.int64),
        "reasons": np.array([failures[i] for i in sorted(failures)], dtype=np.str_),
    }


def unpack_labels(arrays: Arrays) -> LabelsAndFailures:
    """Invert :func:`pack_labels`."""
    labels = [
        Labels(
            energy=arrays["energy"][i],
            forces=arrays["forces"][part],
            stress=arrays["stress"][i] if arrays["has_stress"][i] else None,
        )
        for i, part in enumerate(_parts(arrays))
    ]
    dataset = Dataset(unpack_geometries(arrays), labels, json.loads(str(arrays["roles"])))
    failures = zip(arrays["failed"], arrays["reasons"], strict=True)
    return dataset, {int(i): str(reason) for i, reason in failures}


def pack_adversaries(adversaries: Sequence[Adversary]) -> Arrays:
    """Return the adversaries of one attack, whose paths have equally many steps, as arrays."""
    paths = [adversary.path for adversary in adversaries]
    cells = [adversary.cells for adversary in adversaries if adversary.cells is not None]
    return {
        **pack_geometries([adversary.geometry for adversary in adversaries]),
        "seed": np.array([adversary.seed for adversary in adversaries], dtype=np.int64),
        "paths": np.concatenate(paths, axis=1) if paths else np.zeros((0, 0, 0)),
        "losses": np.array([adversary.losses for adversary in adversaries]),
        "kept": np.array([adversary.kept for adversary in adversaries], dtype=np.int64),
        "reached": np.array([adversary.reached for adversary in adversaries], dtype=bool),
        **({"cells": np.stack(cells)} if cells else {}),
    }


def unpack_adversaries(arrays: Arrays) -> list[Adversary]:
    """Invert :func:`pack_adversaries`."""
    geometries = unpack_geometries(arrays)
    return [
        Adversary(
            seed=int(arrays["seed"][i]),
            geometry=geometries[i],
            path=arrays["paths"][:, part],
            losses=arrays["losses"][i],
            kept=int(arrays["kept"][i]),
            reached=bool(arrays["reached"][i]),
            cells=arrays["cells"][i] if "cells" in arrays else None,
        )
        for i, part in enumerate(_parts(arrays))
    ]


CALIBRATION_LAWS = as_json(Calibration.to_json, Calibration.from_json)
GEOMETRIES = as_arrays(pack_geometries, unpack_geometries)
ADVERSARIES = as_arrays(pack_adversaries, unpack_adversaries)
VERDICTS = as_json(lambda verdicts: {"verdicts": verdicts}, lambda stored: stored["verdicts"])
LABELS = as_arrays(pack_labels, unpack_labels)
METRICS = as_json()


# -- the directory


def differences(stored: Any, given: Any, where: str = "") -> list[str]:
    """Return one line for each place where two JSON values differ."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        keys = sorted(set(stored) | set(given))
        pairs = [(stored.get(key, "nothing"), given.get(key, "nothing")) for key in keys]
        places = [f"{where}.{key}" if where else key for key in keys]
    elif isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        pairs = list(zip(stored, given, strict=True))
        places = [f"{where}[{i}]" for i in range(len(pairs))]
    else:
        same = stored == given
        return [] if same else [f"{where}: {json.dumps(stored)} there, {json.dumps(given)} here"]
    items = zip(pairs, places, strict=True)
    return [line for (a, b), place in items for line in differences(a, b, place)]


@dataclass(frozen=True)
class RunDirectory:
    """A run directory; with ``folder=None`` everything is computed and nothing kept."""

    folder: Path | None

    def open(self, settings: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        """Make the directory, or check that it belongs to a run with these `settings`.

        `machine` is written when the directory is made, and never compared.

        Raises:
            RunDirectoryError: not writable, not a run directory, or made with other settings (the
                differences are shown).
        """
        if self.folder is None:
            return
        file = self.folder / "run.json"
        if not file.exists():
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                wrong = f"{self.folder} exists and {_NO_RUN}"
                raise RunDirectoryError(f"{wrong}: give another or an empty one")
            content = {"format": FORMAT, "settings": settings, "about": machine}
            _write(file, lambda part: part.write_text(json.dumps(content, indent=1)))
            return
        try:
            content = json.loads(file.read_text())
            stored, stored_format = content["settings"], content.get("format", 1)
        except (*DAMAGED, OSError) as error:
            remedy = "give another directory"
            raise RunDirectoryError(f"{file} is damaged ({error}): {remedy}") from error
        if stored_format != FORMAT:
            wrong = f"{self.folder} has format {stored_format}, this version reads format {FORMAT}"
            raise RunDirectoryError(f"{wrong}: give another directory, or the version that made it")
        lines = differences(stored, json.loads(json.dumps(settings)))
        if lines:
            remedy = "give another directory, or the old settings"
            listed = "\n  ".join([f"made with other settings; {remedy}:", *lines])
            raise RunDirectoryError(f"{self.folder} was {listed}")
        if not os.access(self.folder, os.W_OK):
            raise RunDirectoryError(f"cannot write to {self.folder}: make it writable, or copy it")

    @property
    def cache(self) -> Cache:
        """The cache of this run's labels."""
        return Cache(None if self.folder is None else self.folder / "labels")

    def path(self, generation: int, name: str = "") -> Path | None:
        """Return the path of a file or folder of a generation, or of the generation's folder."""
        return None if self.folder is None else self.folder / f"generation_{generation:03d}" / name

    def scratch(self, generation: int, name: str) -> Path | None:
        """Return a folder for checkpoints inside a long stage; it goes when the stage is kept."""
        return self.path(generation, f"{name}.scratch")

    def has(self, generation: int, name: str, kind: Kind) -> bool:
        """Return whether a stage is finished."""
        path = self.path(generation, name + kind.suffix)
        return path is not None and path.exists()

    def stage(self, generation: int, name: str, kind: Kind[T], compute: Callable[[], T]) -> T:
        """Return the value of a stage: read if it is finished, otherwise computed and kept.

        Raises:
            RunDirectoryError: a damaged file, or a directory that cannot be written to.
        """
        path = self.path(generation, name + kind.suffix)
        if path is None:
            return compute()
        if path.exists():
            return _read(path, kind)
        value = compute()
        _write(path, lambda part: kind.write(part, value))
        shutil.rmtree(path.with_name(f"{name}.scratch"), ignore_errors=True)
        return value

    def has_labels(self, generation: int) -> bool:
        """Return whether the labels of a generation are finished."""
        return self.has(generation, "labels", LABELS)

    def last_labels(self) -> tuple[int, Dataset, dict[int, str]]:
        """Return the last generation with labels, its labelled structures and its failures."""
        if self.folder is None or not (self.folder / "run.json").exists():
            raise RunDirectoryError(f"{self.folder} {_NO_RUN}: give the directory of a run")
        generation = 0
        while self.has_labels(generation + 1):
            generation += 1
        path = self.path(generation, f"labels{LABELS.suffix}")
        if path is None or not path.exists():
            return generation, Dataset(), {}
        return generation, *_read(path, LABELS)

    def forget_labels(self, generation: int) -> None:
        """Remove the labels of a generation, and everything that was computed after them."""
        later, path = self.path(generation + 1), self.path(generation, f"labels{LABELS.suffix}")
        if later is not None and later.exists():
            shutil.rmtree(later)
        if path is not None:
            path.with_name(f"metrics{METRICS.suffix}").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _read(path: Path, kind: Kind[T]) -> T:
    try:
        return kind.read(path)
    except (*DAMAGED, OSError) as error:
        raise RunDirectoryError(
            f"{path} is damaged ({type(error).__name__}: {error}): delete it, and it will be"
            " computed again from the stages before it"
        ) from error


def _write(path: Path, write: Callable[[Path], object]) -> None:
    try:
        with atomic_write(path) as part:
            write(part)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write {path} ({error}): give a directory that can be written to; what is"
            " finished is kept"
        ) from error
