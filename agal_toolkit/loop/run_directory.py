"""The run directory: every finished stage of a loop, written atomically and read back instead of
run again.

Layout: ``run.json`` (what changes results, compared when a run goes on; what does not, for people),
``labels/`` (see :class:`~agal_toolkit.references.cache.Cache`), and for each generation a folder
with one file or folder a stage. A file is written as ``name.part`` and renamed, so what has its
name is complete.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..references.cache import Cache
from .records import Arrays

T = TypeVar("T")
FORMAT = 2  # of run directories; 1 named classes with their modules


class RunDirectoryError(RuntimeError):
    """A run directory that cannot be used as it is; the message names the remedy."""


def differences(stored: Any, given: Any, where: str = "") -> list[str]:
    """One line for each place where two JSON values differ."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        lines = []
        for key in sorted(set(stored) | set(given)):
            lines += differences(
                stored.get(key, "nothing"),
                given.get(key, "nothing"),
                f"{where}.{key}" if where else key,
            )
        return lines
    if isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        return [
            line
            for i, (a, b) in enumerate(zip(stored, given, strict=True))
            for line in differences(a, b, f"{where}[{i}]")
        ]
    return (
        []
        if stored == given
        else [f"{where}: {json.dumps(stored)} there, {json.dumps(given)} here"]
    )


@dataclass(frozen=True)
class Store:
    """A run directory; with ``folder=None`` everything is computed and nothing kept.

    Attributes:
        folder: made when it does not exist.
    """

    folder: Path | None

    def open(self, settings: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Makes the directory, or checks that it belongs to a run with these `settings`; `about` is
        only written down.

        Raises:
            RunDirectoryError: not writable, not a run directory, or made with other settings (the
                differences are shown).
        """
        if self.folder is None:
            return
        file = self.folder / "run.json"
        if file.exists():
            try:
                content = json.loads(file.read_text())
                stored, found_format = content["settings"], content.get("format", 1)
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                raise RunDirectoryError(
                    f"{file} is damaged ({error}): give another directory"
                ) from error
            if found_format != FORMAT:
                raise RunDirectoryError(
                    f"{self.folder} has format {found_format}, this version reads format {FORMAT}:"
                    " give another directory, or the version that made it"
                )
            found = differences(stored, json.loads(json.dumps(settings)))
            if found:
                raise RunDirectoryError(
                    f"{self.folder} was made with other settings; give another directory, or the"
                    " old settings:\n  " + "\n  ".join(found)
                )
            if not os.access(self.folder, os.W_OK):
                raise RunDirectoryError(
                    f"cannot write to {self.folder}: make it writable, or copy it; what is finished"
                    " is kept"
                )
            return
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise RunDirectoryError(
                f"{self.folder} exists and is not a run directory (it has no run.json): give"
                " another or an empty one"
            )
        self._write(
            file,
            lambda part: part.write_text(
                json.dumps({"format": FORMAT, "settings": settings, "about": about}, indent=1)
            ),
        )

    @property
    def cache(self) -> Cache:
        """Where this run's labels are kept."""
        return Cache(None if self.folder is None else self.folder / "labels")

    def place(self, generation: int, name: str) -> Path | None:
        """Where a stage is, or will be."""
        return None if self.folder is None else self.folder / f"generation_{generation:03d}" / name

    def scratch(self, generation: int, name: str) -> Path | None:
        """A folder for the checkpoints inside a long stage; it goes when the stage is finished and
        on disk.
        """
        return self.place(generation, f"{name}.scratch")

    def has(self, generation: int, name: str) -> bool:
        """Whether a stage is finished."""
        place = self.place(generation, name)
        return place is not None and place.exists()

    def arrays(
        self,
        generation: int,
        name: str,
        compute: Callable[[], T],
        pack: Callable[[T], Arrays],
        unpack: Callable[[Arrays], T],
    ) -> T:
        """A stage that is kept as arrays, read or computed.

        Raises:
            RunDirectoryError: a damaged file, or a directory that cannot be written to.
        """
        place = self.place(generation, f"{name}.npz")
        if place is not None and place.exists():
            try:
                with (
                    place.open("rb") as stream,
                    np.load(stream, allow_pickle=False) as arrays,
                ):  # given a path, numpy leaks a damaged file
                    return unpack(dict(arrays))
            except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
                raise _damaged(place, error) from error
        value = compute()
        if place is not None:
            self._write(place, lambda part: _savez(part, pack(value)))
            shutil.rmtree(self.scratch(generation, name), ignore_errors=True)
        return value

    def json(
        self, generation: int, name: str, compute: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """A stage that is kept as JSON, read or computed.

        Raises:
            RunDirectoryError: as :meth:`arrays`.
        """
        place = self.place(generation, f"{name}.json")
        if place is not None and place.exists():
            try:
                return json.loads(place.read_text())
            except ValueError as error:
                raise _damaged(place, error) from error
        value = compute()
        if place is not None:
            self._write(place, lambda part: part.write_text(json.dumps(value, indent=1)))
        return value

    def files(
        self,
        generation: int,
        name: str,
        compute: Callable[[], T],
        save: Callable[[T, Path], None],
        load: Callable[[Path], T],
    ) -> T:
        """A stage that is kept as a folder of files, read or computed.

        Raises:
            RunDirectoryError: as :meth:`arrays`.
        """
        place = self.place(generation, name)
        if place is not None and place.exists():
            try:
                return load(place)
            except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
                raise _damaged(place, error) from error
        value = compute()
        if place is not None:
            self._write(place, lambda part: save(value, part))
            shutil.rmtree(self.scratch(generation, name), ignore_errors=True)
        return value

    def forget(self, generation: int, name: str = "") -> None:
        """Removes a stage, or without a name a whole generation, so that it runs again."""
        place = self.place(generation, name)
        if place is not None and place.is_dir():
            shutil.rmtree(place)
        elif place is not None:
            place.unlink(missing_ok=True)

    def _write(self, place: Path, write: Callable[[Path], Any]) -> None:
        """`place`, complete or not at all."""
        part = place.with_name(place.name + ".part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                shutil.rmtree(part)
            write(part)
            for file in [part] if part.is_file() else part.rglob("*"):
                _sync(file)
            os.replace(part, place)
        except OSError as error:
            raise RunDirectoryError(
                f"cannot write {place} ({error}): give a directory that can be written to; what is"
                " finished is kept"
            ) from error


def _savez(part: Path, arrays: Arrays) -> None:
    with part.open("wb") as stream:
        np.savez(stream, **arrays)


def _sync(file: Path) -> None:
    """Forces a file to disk, so that a rename never overtakes its content."""
    if file.is_file():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _damaged(place: Path, error: Exception) -> RunDirectoryError:
    return RunDirectoryError(
        f"{place} is damaged ({type(error).__name__}: {error}): delete it, and it will be computed"
        " again from the stages before it"
    )
