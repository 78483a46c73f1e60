"""One process at a time computes in a run directory, and the others learn which one.

The lock is a file that one process only can create, on every file system, and that names its
holder. The lock of a process that died on this host is taken over; of another host's processes
nothing is known, so their locks are for a person to remove.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import SoftFileLock

LOCK = "lock"


class RunDirectoryError(RuntimeError):
    """A run directory that cannot be used as it is; the message names the remedy."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an existing run directory.

    Raises:
        RunDirectoryError: another process, or another run of this one, holds it; or `folder`
            cannot be written to.
    """
    if not folder.is_dir():
        raise RunDirectoryError(f"there is no directory {folder}: was it removed, or moved?")
    # a second attempt takes over the lock of a dead process where the first has removed it
    lock = SoftFileLock(folder / LOCK, timeout=0.2, thread_local=False)
    try:
        lock.acquire()
    except OSError as error:  # a Timeout, too
        if (folder / LOCK).exists():
            raise RunDirectoryError(_in_use(folder / LOCK)) from error
        wrong = f"cannot write to {folder} ({error})"
        remedy = "give a directory that exists and can be written to"
        raise RunDirectoryError(f"{wrong}: {remedy}") from error
    try:
        yield
    finally:
        lock.release()


def _in_use(lock: Path) -> str:
    """Return who holds a lock, and the remedy."""
    process, host, since = "?", "an unknown host", "some time"
    with suppress(OSError, ValueError):
        since = datetime.fromtimestamp(lock.stat().st_mtime).isoformat(" ", "seconds")
        process, host = lock.read_text().splitlines()[:2]
    who = f"process {process} on {host}"
    if (process, host.partition("?")[0]) == (str(os.getpid()), platform.node()):
        who = "another run of this process (a panel, a thread)"
    return (
        f"{lock.parent} is in use by {who} since {since}: wait until it ends or stop it, or give"
        f" another directory; if it ended long ago, remove {lock}"
    )
