"""The run directory: finished stages of a loop, written atomically and read instead of run again.

Layout: ``run.json`` (the settings that change results, compared when a run goes on, and a record of
the machine), ``start.npz`` and ``committee.agal`` (what the run starts from), ``seconds.json``,
``labels/`` (see :class:`~agal_toolkit.references.cache.Cache`), and for each generation a folder
with one file or folder a stage. A file or folder that has its name is complete.
Arrays are npz files without pickles and read back exactly, float for float. Each stage carries a
digest of its content and says what it was made from: the run's settings, its generation and name,
and the digest of the stage before it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..committee import Committee
from ..dataset import Dataset
from ..events import Note, Report, ignore
from ..files import (
    atomic_write,
    check_seal,
    content_digest,
    read_arrays,
    read_json,
    reading,
    seal,
    stored_digest,
    write_arrays,
    write_json,
)
from ..potentials.members import Stacked
from ..references.cache import Cache
from ..settings import differences
from ..training.trainer import Trainer
from ..uncertainty.calibration import Calibration
from .lock import LOCK, RunDirectoryError, locked
from .packing import (
    Arrays,
    pack_adversaries,
    pack_geometries,
    pack_labels,
    unpack_adversaries,
    unpack_geometries,
    unpack_labels,
)
from .recipe import recipe_at

T = TypeVar("T")
FORMAT = 3  # of run directories; 2 had no digests, 1 named classes with their modules
START, COMMITTEE, SECONDS = "start.npz", "committee.agal", "seconds.json"
STAGES = ("members", "calibration", "seeds", "adversaries", "verdicts")
STAGES += ("review", "labels", "metrics")
_NO_RUN = "is not a run directory (it has no run.json)"


# -- how the value of a stage is kept


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How to write a stage's value and what it was made from, and to read and check both.

    `suffix` ends the stage's name; it is empty for a folder.
    """

    suffix: str
    write: Callable[[Path, T, Arrays], object]
    read: Callable[[Path, Arrays], T]


def as_json(pack: Callable[[Any], Any] = dict, unpack: Callable[[Any], Any] = dict) -> Kind:
    """Return a kind that is kept as JSON."""
    return Kind(
        ".json",
        lambda path, value, origin: write_json(path, {"made_from": origin, "value": pack(value)}),
        lambda path, origin: unpack(read_json(path, origin)["value"]),
    )


def as_arrays(pack: Callable[[T], Arrays], unpack: Callable[[Arrays], T]) -> Kind[T]:
    """Return a kind that is kept as named arrays."""
    return Kind(
        ".npz",
        lambda path, value, origin: write_arrays(path, pack(value), origin),
        lambda path, origin: unpack(read_arrays(path, origin)),
    )


def as_folder(save: Callable[[T, Path], object], load: Callable[[Path], T]) -> Kind[T]:
    """Return a kind that is kept as a folder, which `save` makes and `load` reads."""

    def write(path: Path, value: T, origin: Arrays) -> None:
        save(value, path)
        seal(path, origin)

    def read(path: Path, origin: Arrays) -> T:
        check_seal(path, origin)
        return load(path)

    return Kind("", write, read)


def members_of(trainer: Trainer) -> Kind:
    """Return the kind of members, a folder that their trainer writes and reads."""
    return as_folder(trainer.save, trainer.load)


CALIBRATION_LAWS = as_json(Calibration.to_json, Calibration.from_json)
GEOMETRIES = as_arrays(pack_geometries, unpack_geometries)
ADVERSARIES = as_arrays(pack_adversaries, unpack_adversaries)
VERDICTS = as_json(lambda verdicts: {"verdicts": verdicts}, lambda stored: stored["verdicts"])
LABELS = as_arrays(pack_labels, unpack_labels)
METRICS = as_json()


# -- the directory


@dataclass(frozen=True)
class RunDirectory:
    """A run directory; with ``folder=None`` everything is computed and nothing kept."""

    folder: Path | None

    def open(
        self, settings: Mapping[str, Any], machine: Mapping[str, Any], report: Report = ignore
    ) -> None:
        """Make the directory, or check that it belongs to a run with these `settings`.

        `machine` is written when the directory is made; a note tells of other versions than its,
        and nothing else of it is compared. A directory that holds only what an unfinished start
        left counts as empty.

        Raises:
            RunDirectoryError: not writable, not a run directory, in use by another process, or made
                with other settings (the differences are shown).
        """
        if self.folder is None:
            return
        file = self.folder / "run.json"
        foreign = f"{self.folder} exists and {_NO_RUN}: give another or an empty one"
        no_folder = self.folder.exists() and not self.folder.is_dir()
        if no_folder or not (file.exists() or self._is_empty()):
            raise RunDirectoryError(foreign)
        with _writing(file):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self.locked():
            if self._is_empty():
                content = {"format": FORMAT, "settings": settings, "about": machine}
                _write(file, lambda part: write_json(part, content))
            self.check({"committee": "nothing"} | dict(settings))
            self._go_on(settings, report)
            with reading(file, "give another directory", RunDirectoryError):
                there = read_json(file)["about"].get("versions", {})
            now = {name: machine.get("versions", {}).get(name, "nothing") for name in there}
            if lines := differences(there, now):
                found = f"{self.folder} was begun with other versions ({'; '.join(lines)})"
                report(Note(None, f"{found}: what is computed from now on may differ slightly"))
            for part in ("part-*", "generation_*/part-*", "labels/*/part-*"):
                for left in self.folder.glob(part):  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)

    def keep(self, dataset: Dataset, committee: Committee | None) -> None:
        """Keep what the run starts from, so that it can be opened without its script.

        A committee of calculators is not kept.
        """
        assert self.folder is not None
        start, file = self.folder / START, self.folder / COMMITTEE
        if not start.exists():
            _write(start, lambda part: LABELS.write(part, (dataset, {}), {}))
        if committee is not None and isinstance(committee.members, Stacked) and not file.exists():
            with _writing(file):
                committee.save(file)

    def spend(self, generation: int, stage: str, seconds: float) -> None:
        """Keep the wall time of a stage."""
        if self.folder is not None:
            times = self.seconds()
            times.setdefault(str(generation), {})[stage] = seconds
            _write(self.folder / SECONDS, lambda part: write_json(part, times))

    def seconds(self) -> dict[str, dict[str, float]]:
        """Return the wall times of stages, by generation; those of old runs are not known."""
        assert self.folder is not None
        try:
            return read_json(self.folder / SECONDS)
        except Exception:  # a missing or damaged record stops nobody
            return {}

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise RunDirectoryError unless this is the directory of a run with these `settings`."""
        made_with, given = self.settings(), json.loads(json.dumps(settings))
        there, begun = {key: made_with.get(key, "nothing") for key in given}, self.begun
        old, new = there.pop("recipe", None), given.pop("recipe", None)
        lines, remedy = differences(there, given), "give another directory, or the old settings"
        places = range(begun if new is not None else 0)
        changed = [differences(recipe_at(old, g), recipe_at(new, g), "recipe") for g in places]
        if any(changed):
            remedy += f"; for another recipe from generation {begun + 1} on give Schedule"
            remedy += f"({{0: the old recipe, {begun}: the new one}})"
        if lines := [*lines, *next(filter(None, changed), [])]:
            listed = "\n  ".join([f"made with other settings; {remedy}:", *lines])
            raise RunDirectoryError(f"{self.folder} was {listed}")

    def _go_on(self, settings: Mapping[str, Any], report: Report) -> None:
        """Tell where a run goes on, and record a recipe that changes there."""
        assert self.folder is not None
        if begun := self.begun:
            next_one = begun + self.has(begun - 1, "metrics", METRICS)
            report(Note(begun - 1, f"continuing {self.folder} at generation {next_one}"))
        file, given = self.folder / "run.json", json.loads(json.dumps(settings)).get("recipe")
        if self.settings().get("recipe") != given:
            content = read_json(file)
            earlier = {k: old for k, old in content.get("changes", {}).items() if int(k) < begun}
            content["changes"] = {**earlier, str(begun): given}
            _write(file, lambda part: write_json(part, content))

    @property
    def begun(self) -> int:
        """Number of generations of which something was computed."""
        paths = map(self.path, count())
        return next(index for index, path in enumerate(paths) if path is None or not path.exists())

    def add(self, data: Dataset) -> int:
        """Keep structures for the first generation that has not begun, and return its index."""
        index = self.begun
        moved = [replace(g, origin={**g.origin, "generation": index}) for g in data]
        pair = self.added(index) + Dataset(moved, data.labels, data.roles), {}
        _write(self._added(index), lambda part: LABELS.write(part, pair, {"index": index}))
        return index

    def added(self, generation: int) -> Dataset:
        """Return the structures that a person added to the data of a generation."""
        if self.folder is None or not self._added(generation).exists():
            return Dataset()
        return read(self._added(generation), LABELS, {"index": generation})[0]

    def _added(self, generation: int) -> Path:
        assert self.folder is not None
        return self.folder / f"added_{generation:03d}.npz"

    def _is_empty(self) -> bool:
        """Whether there is nothing but what an unfinished start left."""
        assert self.folder is not None
        names = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        if not all(name.startswith((LOCK, "part-", "run.json")) for name in names):
            return False
        file = self.folder / "run.json"
        try:
            return not file.exists() or not json.loads(file.read_text())
        except (ValueError, RecursionError):
            return True
        except OSError:
            return False

    def settings(self, generation: int | None = None) -> dict[str, Any]:
        """Return the settings in ``run.json`` with the last recipe, or a generation's."""
        assert self.folder is not None
        file = self.folder / "run.json"
        if not file.exists():
            raise RunDirectoryError(
                f"{self.folder} {_NO_RUN}: give the directory of a run, or put it back if it was"
                " removed or moved while it was in use"
            )
        with reading(file, "give another directory", RunDirectoryError):
            stored_format = json.loads(file.read_text()).get("format", 1)
            content = read_json(file) if stored_format == FORMAT else {}
            settings = dict(content.get("settings", {}))
            for first, recipe in content.get("changes", {}).items():  # in their order
                if generation is None or int(first) <= generation:
                    settings["recipe"] = recipe
        if stored_format != FORMAT:
            found = f"has format {stored_format!r}, this version reads format {FORMAT}"
            wrong = f"{self.folder} {found}"
            raise RunDirectoryError(f"{wrong}: give another directory, or the version that made it")
        return settings

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes and other runs of this one from computing here; see `lock`."""
        if self.folder is None:
            yield
            return
        with locked(self.folder):
            yield

    @property
    def cache(self) -> Cache:
        """The cache of this run's labels; RunDirectoryError if the directory was removed."""
        if self.folder is None:
            return Cache(None)
        self.settings()
        return Cache(self.folder / "labels")

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
        origin = self._origin(generation, name)
        if path.exists():
            value = read(path, kind, origin)
        else:
            with _writing(path):
                path.parent.mkdir(exist_ok=True)
            value = compute()
            _write(path, lambda part: kind.write(part, value, origin))
        shutil.rmtree(path.with_name(f"{name}.scratch"), ignore_errors=True)
        return value

    def _origin(self, generation: int, name: str) -> dict[str, Any]:
        """What a stage is made from, as JSON."""
        run = content_digest(self.settings(generation))
        before = list(STAGES[: STAGES.index(name)]) if name in STAGES else []
        ends = (".json", ".npz", "")
        places = [self.path(generation, s + end) for s in reversed(before) for end in ends]
        places += [self._added(generation), self.path(generation - 1, f"labels{LABELS.suffix}")]
        for path in places:
            if path is not None and path.exists():
                with reading(path, DELETE, RunDirectoryError):
                    after = stored_digest(path)
                return {"run": run, "generation": generation, "stage": name, "after": after}
        return {"run": run, "generation": generation, "stage": name, "after": None}

    def has_labels(self, generation: int) -> bool:
        """Return whether the labels of a generation are finished."""
        return self.has(generation, "labels", LABELS)

    def last_labels(self) -> tuple[int, Dataset, dict[int, str]]:
        """Return the last generation with labels, its labelled structures and its failures."""
        if self.folder is None:
            raise RunDirectoryError("there is no directory: give the directory of a run")
        self.settings()
        generation = 0
        while self.has_labels(generation + 1):
            generation += 1
        path = self.path(generation, f"labels{LABELS.suffix}")
        if path is None or not path.exists():
            return generation, Dataset(), {}
        return generation, *read(path, LABELS, self._origin(generation, "labels"))

    def forget_labels(self, generation: int, review: bool = False) -> None:
        """Remove labels, and what was computed after them; with `review`, also the verdicts."""
        path, later = self.path(generation, f"labels{LABELS.suffix}"), generation + 1
        while (folder := self.path(later)) is not None and folder.exists():
            shutil.rmtree(folder)
            later += 1
        if path is not None:
            for name in (f"metrics{METRICS.suffix}", path.name, *["review.json"] * review):
                path.with_name(name).unlink(missing_ok=True)


DELETE = "delete it, and it will be computed again from the stages before it"


def read(path: Path, kind: Kind[T], origin: Arrays) -> T:
    """Return what a file or folder holds; RunDirectoryError names a damaged one."""
    with reading(path, DELETE, RunDirectoryError):
        return kind.read(path, origin)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    with _writing(path), atomic_write(path, parents=False) as part:
        write(part)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write {path} ({error}): give a directory that can be written to; what is"
            " finished is kept"
        ) from error
