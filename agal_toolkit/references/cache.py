"""Labels on disk, one small file each, under the digest of the settings and the digest of the
geometry.

A label is the expensive thing, so each is complete on disk before anybody sees it: written beside
its place, synced, then renamed. Failures are kept as well, and read back instead of asked again.
Files are npz without pickled objects and JSON; everything can be deleted by hand at any time, at
the price of asking again.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry import Geometry, Labels
from .outcomes import LabelFailed


def _write(path: Path, content: bytes) -> None:
    """`content` at `path`, complete or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(part, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(
            f"cannot write {path} ({error}): give the cache a folder that can be written to"
        ) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} is damaged ({type(error).__name__}: {error}): delete it, its geometry will be"
        " asked again"
    )


@dataclass(frozen=True)
class Cache:
    """Labels and failures kept in `folder`, which is made when something is first kept; None keeps
    nothing.

    Layout: ``folder/<settings digest>/<geometry digest>.npz`` for labels, ``.failed.json`` for
    failures, and one ``settings.json`` beside them for people. Several processes may use one
    folder.
    """

    folder: str | os.PathLike | None

    def read(
        self, settings: str, geometry: Geometry, index: int = 0
    ) -> Labels | LabelFailed | None:
        """What is kept for `geometry` under the digest `settings`; None if nothing is. `index` is
        for the failure's name.

        Raises:
            ValueError: the file is damaged; names it.
        """
        if self.folder is None:
            return None
        labels, failed = self._paths(settings, geometry)
        if labels.exists():
            return _read_labels(labels, geometry)
        return _read_failure(failed, index) if failed.exists() else None

    def write(self, settings: str, geometry: Geometry, outcome: Labels | LabelFailed) -> None:
        """Keep `outcome`; labels replace an earlier failure.

        Raises:
            OSError: the folder cannot be written to; names it.
        """
        if self.folder is None:
            return
        labels, failed = self._paths(settings, geometry)
        if isinstance(outcome, LabelFailed):
            when = datetime.now(UTC).isoformat(timespec="seconds")
            record = {
                "reason": outcome.reason,
                "traceback": outcome.traceback,
                "time": when,
                "origin": dict(geometry.origin),
            }
            _write(failed, json.dumps(record, indent=1, default=str).encode())
            return
        arrays = {"energy": np.array(outcome.energy), "forces": outcome.forces}
        buffer = io.BytesIO()
        np.savez(
            buffer, **arrays if outcome.stress is None else {**arrays, "stress": outcome.stress}
        )
        _write(labels, buffer.getvalue())
        failed.unlink(missing_ok=True)

    def describe(self, settings: str, description: Mapping[str, Any]) -> None:
        """Write the JSON `description` behind the digest `settings` beside the labels, unless it is
        there.

        Called before anything is asked, so that a folder that cannot be written to is found out
        before it costs a label.

        Raises:
            OSError: the folder cannot be written to; names it.
        """
        if self.folder is None:
            return
        path = Path(self.folder) / settings / "settings.json"
        if not path.exists():
            _write(path, json.dumps(description, indent=1, sort_keys=True).encode())
        elif not os.access(path.parent, os.W_OK):
            raise OSError(
                f"cannot write to {path.parent}: give the cache a folder that can be written to"
            )

    def retry(self) -> int:
        """Forget all failures, so that they are asked again; how many they were."""
        failed = [] if self.folder is None else list(Path(self.folder).glob("*/*.failed.json"))
        for path in failed:
            path.unlink(missing_ok=True)
        return len(failed)

    def _paths(self, settings: str, geometry: Geometry) -> tuple[Path, Path]:
        """Where the labels of `geometry` are kept, and where its failure."""
        stem = Path(self.folder) / settings / geometry.digest()
        return stem.with_suffix(".npz"), stem.with_suffix(".failed.json")


def _read_labels(path: Path, geometry: Geometry) -> Labels:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            stress = arrays["stress"] if "stress" in arrays.files else None
            return Labels(energy=arrays["energy"], forces=arrays["forces"], stress=stress).check(
                geometry
            )
    except (
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        OSError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise _damaged(path, error) from error


def _read_failure(path: Path, index: int) -> LabelFailed:
    try:
        record = json.loads(path.read_text())
        return LabelFailed(index, record["reason"], record["traceback"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
