"""Files that get their name once they are complete, and that prove what they hold.

A JSON or npz file written here carries a digest of its content and says what it was made from.
Flipped bits, cut files, and files of another run or under another name are noticed when they are
read. :func:`reading` is the one place where errors of reading become one error with its remedy.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIGESTS = "digests.json"  # of the files in a sealed folder


class DamagedFile(ValueError):
    """A file that does not hold what was written, or that was made from something else."""


class _Unproved(Exception):
    """Says after the name of a file what is wrong with it."""


# -- writing as a whole


def absolute(path: str | os.PathLike) -> Path:
    """Return a path that stays the same when the process changes its directory; ``~`` is home."""
    return Path(path).expanduser().absolute()


@contextmanager
def atomic_write(path: str | Path, parents: bool = True) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, renamed to `path` when the block ends.

    Its last part is that of `path`, since an ending may choose the compression, and it lies in a
    new folder ``part-*`` beside `path`. Nothing is left behind if the block raises. Several
    processes may write the same file: the last one wins.

    Args:
        path: a file, replaced if it exists, or a folder that does not exist.
        parents: make all missing parents; otherwise only the last one, so that a folder that was
            removed while it is in use is an error and not made anew.

    Raises:
        OSError: `path` cannot be written or replaced.
    """
    path = Path(path)
    if not parents and not path.parent.parent.is_dir():
        gone = "was removed or moved while it was in use"
        raise FileNotFoundError(f"the folder {path.parent.parent} {gone}")
    path.parent.mkdir(parents=parents, exist_ok=True)
    with TemporaryDirectory(prefix="part-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        # on disk before the rename, or a power cut could leave the name without its content
        for written in [part, *part.rglob("*")]:
            _sync(written)
        os.replace(part, path)
    _sync(path.parent)  # the name itself


@contextmanager
def checkpoint_write(path: Path, *, parents: bool = True) -> Iterator[Path]:
    """Write as :func:`atomic_write`; an OSError says what to do, and that nothing is lost."""
    try:
        with atomic_write(path, parents=parents) as part:
            yield part
    except OSError as error:
        remedy = "free the disk or give another directory; what is finished is kept"
        raise OSError(f"cannot write the checkpoint {path} ({error}): {remedy}") from error


def _sync(path: Path) -> None:
    """Wait until a file, or on POSIX the entries of a folder, are on disk."""
    if path.is_file() or (path.is_dir() and os.name == "posix"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with suppress(OSError) if path.is_dir() else nullcontext():
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- reading what proves itself


@contextmanager
def reading(path: Path, remedy: str, kind: type[Exception] = DamagedFile) -> Iterator[None]:
    """Turn any error of the block into one of `kind`, which names `path` and the `remedy`."""
    try:
        yield
    except Exception as error:
        damaged = f"is damaged ({type(error).__name__}: {error})"
        wrong = error if isinstance(error, _Unproved) else damaged
        raise kind(f"{path} {wrong}: {remedy}") from error


def content_digest(content: Mapping[str, Any]) -> str:
    """Return 32 hexadecimal digits of named values: arrays by type, shape and bytes, or JSON."""
    sha = hashlib.sha256()
    for name, value in sorted(content.items()):
        if isinstance(value, np.ndarray):
            sha.update(json.dumps([name, value.dtype.str, value.shape]).encode())
            sha.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        else:
            sha.update(json.dumps([name, value], sort_keys=True).encode())
    return sha.hexdigest()[:32]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of its `content`."""
    content = json.loads(json.dumps(content))  # as it will be read: string keys, lists
    text = json.dumps({**content, "digest": content_digest(content)}, indent=1)
    path.write_text(text)


def read_json(path: Path, made_from: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what :func:`write_json` wrote; `made_from` is compared if given. Use in `reading`."""
    content = json.loads(path.read_text())
    _check(content, content.pop("digest", None), made_from)
    return content


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike], made_from: Mapping[str, Any]) -> str:
    """Write named arrays as npz without pickles, and what they were made from; return a digest."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    digest = content_digest({**arrays, "made_from": made_from})
    proof = np.array(json.dumps({"digest": digest, "made_from": made_from}))
    with path.open("wb") as stream:  # numpy adds ".npz" to other names
        np.savez(stream, **arrays, proof=proof)  # type: ignore[arg-type]  # names are free
    return digest


def read_arrays(path: Path, made_from: Mapping[str, Any] | None) -> dict[str, NDArray]:
    """Return what :func:`write_arrays` wrote, None for a file without digest. Use in `reading`."""
    # a stream, because numpy leaks a damaged file that it opens itself
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        arrays = dict(stored)
    if made_from is None:
        return arrays
    proof = json.loads(str(arrays.pop("proof", "{}")))
    _check({**arrays, "made_from": proof.get("made_from")}, proof.get("digest"), made_from)
    return arrays


def seal(folder: Path, made_from: Mapping[str, Any]) -> None:
    """Write the digests of all files in `folder` beside them."""
    write_json(folder / DIGESTS, {"made_from": made_from, "files": _file_digests(folder)})


def check_seal(folder: Path, made_from: Mapping[str, Any]) -> None:
    """Compare the files that :func:`seal` found in `folder`. Use in `reading`."""
    sealed, found = read_json(folder / DIGESTS, made_from)["files"], _file_digests(folder)
    for name, digest in sealed.items():
        if found.get(name) != digest:
            raise _Unproved(f"is damaged ({name} is not the file that was written)")


def stored_digest(path: Path) -> str:
    """Return the digest that a file, or a sealed folder, carries; it is not checked."""
    if path.suffix != ".npz":
        return json.loads((path / DIGESTS if path.is_dir() else path).read_text())["digest"]
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return json.loads(str(stored["proof"]))["digest"]


def _file_digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != DIGESTS]
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {path.relative_to(folder).as_posix(): digest for path, digest in digests.items()}


def _check(
    content: Mapping[str, Any], digest: str | None, made_from: Mapping[str, Any] | None
) -> None:
    """Compare a content with its digest, and what it was made from with what is expected."""
    if digest is None:
        raise _Unproved("is damaged, or of an earlier version (it has no digest)")
    if content_digest(content) != digest:
        raise _Unproved("is damaged (its content does not agree with its digest)")
    if made_from is not None and content["made_from"] != made_from:
        stored = content["made_from"]
        names = [name for name in made_from if stored.get(name) != made_from[name]]
        places = [f"{name} {stored.get(name)!r}, not {made_from[name]!r}" for name in names]
        raise _Unproved(f"was made from something else ({', '.join(places)})")
