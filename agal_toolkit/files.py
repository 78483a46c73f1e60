"""Writing of files and folders that get their name only once they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, renamed to `path` when the block ends.

    Its last part is that of `path`, since an ending may choose the compression, and it lies in a
    new folder ``part-*`` beside `path`. Nothing is left behind if the block raises. Several
    processes may write the same file: the last one wins.

    Args:
        path: a file, replaced if it exists, or a folder that does not exist; parents are made.

    Raises:
        OSError: `path` cannot be written or replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="part-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        # on disk before the rename, or a power cut could leave the name without its content
        for file in [part] if part.is_file() else part.rglob("*"):
            if file.is_file():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
        os.replace(part, path)
