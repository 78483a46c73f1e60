"""Why a geometry has no labels. A failure is a value: it is yielded and kept beside the labels, never raised by a reference."""

from __future__ import annotations


class LabelFailed(Exception):
    """The label function gave no usable answer for one geometry.

    Attributes:
        index: which of the geometries that were asked together.
        reason: what went wrong, in a sentence.
        traceback: of the label function, as text; empty where there is none (a timeout, a process that died).
    """

    def __init__(self, index: int, reason: str, traceback: str = "") -> None:
        super().__init__(index, reason, traceback)
        self.index, self.reason, self.traceback = index, reason, traceback

    def of(self, index: int) -> LabelFailed:
        """The same failure of the geometry at another `index`."""
        return LabelFailed(index, self.reason, self.traceback)

    def __str__(self) -> str:
        return f"geometry {self.index}: {self.reason}"


class Refused(Exception):
    """The label function answered, but `accept` refused the answer for `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"refused: {self.reason}"
