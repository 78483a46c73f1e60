"""Labels on disk, one small file each, named by the digests of the settings and of the geometry.

Labels are expensive, so each file is complete on disk before its label is yielded. Failures are
kept as well and not computed again. Files are JSON, and npz without pickled objects; any of them
may be deleted by hand, at the price of computing the label again.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic_write
from ..geometry import Geometry, Labels
from .outcomes import LabelFailed, Outcome


@dataclass(frozen=True)
class Cache:
    """Labels and failures in `folder`, which is made when needed; None keeps nothing.

    Layout: ``folder/<settings digest>/<geometry digest>.npz`` for labels, ``.failed.json`` for
    failures, and one ``settings.json`` beside them for people. Several processes may use one
    folder.
    """

    folder: str | os.PathLike | None

    def read(self, settings: str, geometry: Geometry) -> Outcome | None:
        """Return what is kept under the digest `settings`, or None; ValueError if it is damaged."""
        if self.folder is None:
            return None
        labels, failed = self._paths(settings, geometry)
        if labels.exists():
            return _read_labels(labels, geometry)
        return _read_failure(failed) if failed.exists() else None

    def write(self, settings: str, geometry: Geometry, outcome: Outcome) -> None:
        """Keep `outcome`; labels replace an earlier failure."""
        if self.folder is None:
            return
        labels, failed = self._paths(settings, geometry)
        if isinstance(outcome, LabelFailed):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            record = {"reason": outcome.reason, "traceback": outcome.traceback}
            record |= {"time": now, "origin": dict(geometry.origin)}
            with _writing(failed) as part:
                part.write_text(json.dumps(record, indent=1, default=str))
            return
        arrays: dict[str, Any] = {"energy": np.array(outcome.energy), "forces": outcome.forces}
        if outcome.stress is not None:
            arrays["stress"] = outcome.stress
        with _writing(labels) as part:
            np.savez(part, **arrays)
        failed.unlink(missing_ok=True)

    def describe(self, settings: str, description: Mapping[str, Any]) -> None:
        """Write the JSON `description` of the digest `settings` beside the labels, once.

        Called before labels are computed, so that a folder that cannot be written to costs none.
        """
        if self.folder is None:
            return
        path = Path(self.folder) / settings / "settings.json"
        if not path.exists() or not os.access(path.parent, os.W_OK):
            with _writing(path) as part:
                part.write_text(json.dumps(description, indent=1, sort_keys=True))

    def retry(self) -> int:
        """Forget all failures, so that their labels are computed again; return their number."""
        failed = [] if self.folder is None else list(Path(self.folder).glob("*/*.failed.json"))
        for path in failed:
            path.unlink(missing_ok=True)
        return len(failed)

    def _paths(self, settings: str, geometry: Geometry) -> tuple[Path, Path]:
        assert self.folder is not None
        stem = Path(self.folder) / settings / geometry.digest()
        return stem.with_suffix(".npz"), stem.with_suffix(".failed.json")


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """:func:`atomic_write` with the cache's remedy."""
    try:
        with atomic_write(path) as part:
            yield part
    except OSError as error:
        remedy = "give the cache a folder that can be written to"
        raise OSError(f"cannot write {path} ({error}): {remedy}") from error


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = f"{type(error).__name__}: {error}"
    return ValueError(f"{path} is damaged ({reason}): delete it to label its geometry again")


def _read_labels(path: Path, geometry: Geometry) -> Labels:
    errors = (ValueError, TypeError, KeyError, EOFError, OSError, AttributeError)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            stress = arrays["stress"] if "stress" in arrays.files else None
            labels = Labels(energy=arrays["energy"], forces=arrays["forces"], stress=stress)
        return labels.check(geometry)
    except (*errors, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _read_failure(path: Path) -> LabelFailed:
    try:
        record = json.loads(path.read_text())
        return LabelFailed(record["reason"], record["traceback"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
