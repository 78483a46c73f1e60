"""One label function asked about one geometry, and its answer as plain data.

Whoever asks, this thread, a process of ours or somebody's cluster, calls :func:`answer` and settles
what it returns. Geometries and answers travel as builtin types and arrays, so an executor needs to
know nothing of our classes, and the traceback of a label that raised arrives as text.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from numpy.typing import NDArray

from ..geometry import Geometry, Labels

Label = Callable[[Geometry], Labels]


class LabelFailed(Exception):
    """The label function gave no usable answer for one geometry.

    Attributes:
        index: which of the geometries that were asked together.
        reason: what went wrong, in a sentence.
        traceback: of the label function, as text; empty where there is none (a timeout, a process
            that died).
    """

    def __init__(self, index: int, reason: str, traceback: str = "") -> None:
        super().__init__(index, reason, traceback)
        self.index, self.reason, self.traceback = index, reason, traceback

    def of(self, index: int) -> LabelFailed:
        """The same failure of the geometry at another `index`."""
        return LabelFailed(index, self.reason, self.traceback)

    def __str__(self) -> str:
        return f"geometry {self.index}: {self.reason}"


class NotConverged(RuntimeError):
    """A self-consistent field did not converge; the message names the geometry."""


class Refused(Exception):
    """The label function answered, but `accept` refused the answer for `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"refused: {self.reason}"


@dataclass(frozen=True, eq=False)
class Answer:
    """What a label function said: the fields of its :class:`Labels`, or `reason` (and `traceback`)
    why there are none.
    """

    energy: float = 0.0
    forces: NDArray | None = None
    stress: NDArray | None = None
    reason: str | None = None
    traceback: str = ""

    def settled(self, index: int, geometry: Geometry) -> Labels | LabelFailed:
        """The labels if they belong to `geometry`, else the failure of the geometry at `index`."""
        if self.reason is not None:
            return LabelFailed(index, self.reason, self.traceback)
        try:
            return Labels(energy=self.energy, forces=self.forces, stress=self.stress).check(
                geometry
            )
        except ValueError as error:
            return LabelFailed(index, str(error))


def packed(geometry: Geometry) -> dict[str, Any]:
    """The fields of `geometry` as builtin types and arrays, ready to travel."""
    return {field.name: getattr(geometry, field.name) for field in fields(Geometry)} | {
        "origin": dict(geometry.origin)
    }


def answer(label: Label, geometry: Mapping[str, Any]) -> Answer:
    """Ask `label` about the :func:`packed` `geometry`. What it raises becomes a reason, save
    interrupts and exits.
    """
    try:
        labels = label(Geometry(**geometry))
    except Exception as error:
        return Answer(reason=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
    if not isinstance(labels, Labels):
        return Answer(
            reason=(
                f"the label function returned {type(labels).__name__}, expected Labels: return"
                " Labels(energy=..., forces=...)"
            )
        )
    return Answer(labels.energy, labels.forces, labels.stress)


def here(
    label: Label, geometries: Sequence[Geometry]
) -> Iterator[tuple[int, Labels | LabelFailed]]:
    """Ask in this thread, one after the other."""
    for index, geometry in enumerate(geometries):
        yield index, answer(label, packed(geometry)).settled(index, geometry)
