"""One label function, one geometry, and the outcome as plain data.

Geometries and replies travel to and from threads, processes and clusters as builtin types and
arrays. The traceback of a label function that raised is kept as text.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from ..geometry import Geometry, Labels

Label = Callable[[Geometry], Labels]
INSTALL = "pip install 'agal_toolkit[references]'"
OTHER_SPIN = "give another multiplicity, or drop the geometry (MinDistance before labelling)"
IMPORTABLE = "put it into a module that can be imported"


class LabelFailed(Exception):
    """No usable labels for one geometry: the reason, and the label function's traceback as text.

    The traceback is empty if the label function did not raise (a timeout, a crash).
    """

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason, traceback)
        self.reason, self.traceback = reason, traceback

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
Reply = dict[str, Any] | LabelFailed


def reply(label: Label, fields: Mapping[str, Any]) -> Reply:
    """Return the fields of the labels of ``Geometry(**fields)``, or why there are none.

    Interrupts and exits are raised.
    """
    try:
        geometry = Geometry(**fields)
        labels = label(geometry)
        if not isinstance(labels, Labels):
            expected = "expected Labels(energy=..., forces=...)"
            raise TypeError(f"the label function returned {type(labels).__name__}, {expected}")
        labels.check(geometry)
    except Exception as error:
        return LabelFailed(f"{type(error).__name__}: {error}", traceback.format_exc())
    return {"energy": labels.energy, "forces": labels.forces, "stress": labels.stress}


def outcome(reply: Reply) -> Outcome:
    """Return the labels that a reply holds, or its failure."""
    return reply if isinstance(reply, LabelFailed) else Labels(**reply)


def here(label: Label, geometries: Sequence[Geometry]) -> Outcomes:
    """Yield (index, outcome) for one geometry after the other, computed in this thread."""
    for index, geometry in enumerate(geometries):
        yield index, outcome(reply(label, geometry.to_dict()))
