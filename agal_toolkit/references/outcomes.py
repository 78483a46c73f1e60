"""One label function, one geometry, and the outcome as plain data.

Geometries and replies travel to and from threads, processes and clusters as builtin types and
arrays. The traceback of a label function that raised is kept as text.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from ..geometry import Geometry, Labels

Label = Callable[[Geometry], Labels]
INSTALL = "pip install 'agal_toolkit[references]'"
OTHER_SPIN = "give another multiplicity, or drop the geometry (MinDistance before labelling)"
IMPORTABLE = "put it into a module that can be imported"
# What a label function raises for all geometries alike: a library or a program is missing.
CANNOT_WORK = (ImportError, FileNotFoundError)


class LabelFailed(Exception):
    """No usable labels for one geometry: the reason, and the label function's traceback as text.

    The traceback is empty if the label function did not raise (a timeout, a crash). `timeout` is
    the limit in seconds that it exceeded, None if it failed for another reason.
    """

    def __init__(self, reason: str, traceback: str = "", timeout: float | None = None) -> None:
        super().__init__(reason, traceback, timeout)
        self.reason, self.traceback, self.timeout = reason, traceback, timeout

    def __str__(self) -> str:
        return self.reason


class Refused(Exception):
    """The label function gave labels, but `accept` refused them for `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"refused: {self.reason}"


class NotConverged(RuntimeError):
    """A self-consistent field did not converge; the message names the geometry."""


Outcome = Labels | LabelFailed
Outcomes = Generator[tuple[int, Outcome], None, None]  # (index of the geometry, outcome)
Reply = dict[str, Any] | LabelFailed | ImportError | FileNotFoundError


def reply(label: Label, fields: Mapping[str, Any]) -> Reply:
    """Return the fields of the labels of ``Geometry(**fields)``, or why there are none.

    Interrupts and exits are raised. A process that the label function forked ends here: two
    processes with one answer each would give later geometries the labels of earlier ones.
    """
    process = os.getpid()
    try:
        geometry = Geometry(**fields)
        labels = label(geometry)
        if not isinstance(labels, Labels):
            expected = "expected Labels(energy=..., forces=...)"
            raise TypeError(f"the label function returned {type(labels).__name__}, {expected}")
        labels.check(geometry)
    except CANNOT_WORK as error:
        kind = ImportError if isinstance(error, ImportError) else FileNotFoundError
        return kind(f"the label function cannot work: {error}")  # plain, so that it can travel
    except Exception as error:
        return LabelFailed(f"{type(error).__name__}: {_text(error)}", traceback.format_exc())
    finally:
        if os.getpid() != process:
            ending = sys.exc_info()[1]
            os._exit(0 if isinstance(ending, SystemExit) and not ending.code else 1)
    return {"energy": labels.energy, "forces": labels.forces, "stress": labels.stress}


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"(its message cannot be shown: {type(second).__name__})"


def outcome(reply: Reply) -> Outcome:
    """Return the labels that a reply holds, or its failure; raise what concerns all geometries."""
    if isinstance(reply, CANNOT_WORK):
        raise reply
    return reply if isinstance(reply, LabelFailed) else Labels(**reply)


def here(label: Label, geometries: Sequence[Geometry]) -> Outcomes:
    """Yield (index, outcome) for one geometry after the other, computed in this thread."""
    for index, geometry in enumerate(geometries):
        yield index, outcome(reply(label, geometry.to_dict()))
