"""Labels on disk, one small file each, named by the digests of the settings and of the geometry.

Labels are expensive, so each file is complete on disk before its label is yielded. Failures are
kept as well and not computed again. Files are JSON, and npz without pickled objects, each with a
digest of its content and of both names, so that damage and files under another name are noticed;
any of them may be deleted by hand, at the price of computing the label again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..files import (
    absolute,
    atomic_write,
    read_arrays,
    read_json,
    reading,
    write_arrays,
    write_json,
)
from ..geometry import Geometry, Labels
from .outcomes import LabelFailed, Outcome

DELETE = "delete it to label its geometry again"


@dataclass(frozen=True)
class Cache:
    """Labels and failures in `folder`, which is made when needed; None keeps nothing.

    A relative folder is that of the moment when the cache is made.

    Layout: ``folder/<settings digest>/<geometry digest>.npz`` for labels, ``.failed.json`` for
    failures, and one ``settings.json`` beside them for people. Several processes may use one
    folder.
    """

    folder: str | os.PathLike | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", None if self.folder is None else absolute(self.folder))

    def read(self, settings: str, geometry: Geometry) -> Outcome | None:
        """Return what is kept under the digest `settings`, or None.

        Raises:
            DamagedFile: a file that is damaged, or of another geometry or other settings.
        """
        if self.folder is None:
            return None
        path, failed = self._paths(settings, geometry)
        origin = {"settings": settings, "geometry": geometry.digest()}
        if path.exists():
            with reading(path, DELETE):
                arrays = read_arrays(path, origin)
                forces, stress = arrays.get("forces"), arrays.get("stress")
                labels = Labels(energy=arrays["energy"], forces=forces, stress=stress)
                return labels.check(geometry)
        if not failed.exists():
            return None
        with reading(failed, DELETE):
            record = read_json(failed, origin)
            return LabelFailed(record["reason"], record["traceback"], record["timeout"])

    def write(self, settings: str, geometry: Geometry, outcome: Outcome) -> None:
        """Keep `outcome`; labels replace an earlier failure."""
        if self.folder is None:
            return
        labels, failed = self._paths(settings, geometry)
        origin = {"settings": settings, "geometry": geometry.digest()}
        if isinstance(outcome, LabelFailed):
            record = {"reason": outcome.reason, "traceback": outcome.traceback}
            record |= {"timeout": outcome.timeout, "made_from": origin}
            record |= {"time": datetime.now(UTC).isoformat(timespec="seconds")}
            record |= {"origin": json.loads(json.dumps(dict(geometry.origin), default=str))}
            with _writing(failed) as part:
                write_json(part, record)
            return
        arrays: dict[str, Any] = {"energy": outcome.energy}
        for name in ("forces", "stress"):
            value = getattr(outcome, name)
            arrays |= {} if value is None else {name: value}
        with _writing(labels) as part:
            write_arrays(part, arrays, origin)
        failed.unlink(missing_ok=True)

    def describe(self, settings: str, description: Mapping[str, Any]) -> None:
        """Write the JSON `description` of the digest `settings` beside the labels, once.

        Called before labels are computed, so that a folder that cannot be written to costs none.
        """
        if self.folder is None:
            return
        path = Path(self.folder) / settings / "settings.json"
        if not path.exists() or not os.access(path.parent, os.W_OK):
            with _writing(path, parents=True) as part:
                part.write_text(json.dumps(description, indent=1, sort_keys=True))

    def forget(self, settings: str, geometry: Geometry) -> None:
        """Remove what is kept of a geometry under the digest `settings`."""
        if self.folder is not None:
            for path in self._paths(settings, geometry):
                path.unlink(missing_ok=True)

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
def _writing(path: Path, parents: bool = False) -> Iterator[Path]:
    """:func:`atomic_write` with the cache's remedy."""
    try:
        with atomic_write(path, parents) as part:
            yield part
    except OSError as error:
        remedy = "give the cache a folder that can be written to"
        raise OSError(f"cannot write {path} ({error}): {remedy}") from error
