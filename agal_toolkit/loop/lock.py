"""One process at a time computes in a run directory, and the others learn which one.

The lock is a folder that is renamed into place with its holder inside, which succeeds for one
process only on every file system. The lock of a process that died on this host is taken over; of
another host's processes nothing is known, so their locks are for a person to remove.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from ..files import atomic_write

LOCK, HOLDER = "lock", "holder.json"


class RunDirectoryError(RuntimeError):
    """A run directory that cannot be used as it is; the message names the remedy."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an existing run directory.

    Raises:
        RunDirectoryError: another process, or another run of this one, holds it; or `folder`
            cannot be written to.
    """
    lock, now = folder / LOCK, datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {"host": platform.node(), "process": os.getpid(), "since": now}
    holder |= {"started": _started(os.getpid()), "id": uuid.uuid4().hex}
    if not folder.is_dir():
        raise RunDirectoryError(f"there is no directory {folder}: was it removed, or moved?")
    try:
        _acquire(lock, holder)
        yield
    finally:
        if _read(lock).get("id") == holder["id"]:
            (lock / HOLDER).unlink(missing_ok=True)
            with suppress(OSError):  # another process may have it by now
                lock.rmdir()


def _acquire(lock: Path, holder: dict[str, Any]) -> None:
    for _ in range(5):
        try:
            with atomic_write(lock, parents=False) as part:
                part.mkdir()
                (part / HOLDER).write_text(json.dumps(holder))
            return
        except OSError as error:
            if not lock.exists():
                wrong = f"cannot write to {lock.parent} ({error})"
                remedy = "give a directory that exists and can be written to"
                raise RunDirectoryError(f"{wrong}: {remedy}") from error
        other = _read(lock)
        if other and not _may_run(other):
            # to the name of the dead holder: of two processes that do this, one meets the other's
            stale = lock.with_name(f"part-{other.get('id')}")
            with suppress(OSError):
                lock.rename(stale)
                shutil.rmtree(stale)
            continue
        if other.get("process") == holder["process"] and other.get("host") == holder["host"]:
            who = "another run of this process (a panel, a thread)"
        else:
            who = f"process {other.get('process', '?')} on {other.get('host', 'an unknown host')}"
        raise RunDirectoryError(
            f"{lock.parent} is in use by {who} since {other.get('since', 'some time')}: wait until"
            f" it ends or stop it, or give another directory; if it ended long ago, remove {lock}"
        )
    raise RunDirectoryError(f"{lock.parent} is being opened by several processes: open it again")


def _read(lock: Path) -> dict[str, Any]:
    """The holder of the lock; empty if there is none or it cannot be read."""
    try:
        holder = json.loads((lock / HOLDER).read_text())
        return holder if isinstance(holder, dict) else {}
    except (OSError, ValueError):
        return {}


def _may_run(holder: dict[str, Any]) -> bool:
    """Return False if the holder was a process of this host and is dead."""
    process = holder.get("process")
    if holder.get("host") != platform.node() or os.name != "posix" or not isinstance(process, int):
        return True
    try:
        os.kill(process, 0)  # no signal, only the question
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, for another user
        pass
    # another process may have got the number of a dead one
    return _started(process) == holder.get("started")


def _started(process: int) -> str | None:
    """When a process started, in ticks since boot; None if it is a zombie or outside Linux."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    return None
