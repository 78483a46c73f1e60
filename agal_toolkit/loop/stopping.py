"""Rules that end a loop: "until the test error is sufficiently low" (Schwalbe-Koda 2021)."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..events import Note, Report
from ..selection import kind_of
from .generation import Generation

BARREN = 3  # generations without a new label that end a loop which waits for labels


class Generations(Iterator[Generation]):
    """The generations of a loop; `report` receives its events, `folder` keeps its stages."""

    def __init__(self, made: Generator[Generation], report: Report, folder: Path | None) -> None:
        self.made, self.report, self.folder = made, report, folder

    def __next__(self) -> Generation:
        try:
            return next(self.made)
        except KeyboardInterrupt as stopped:
            kept = f"finished stages are in {self.folder}: the same lines go on from there"
            stopped.add_note(kept if self.folder else "nothing is kept without a directory")
            raise

    def close(self) -> None:
        """End the loop where it is."""
        self.made.close()


@dataclass(frozen=True)
class Plateau:
    """A metric that no longer falls.

    Attributes:
        metric: its name.
        patience: generations without a new best before the rule ends the loop.
        tolerance: relative gain that counts as a new best.
    """

    metric: str
    patience: int = 2
    tolerance: float = 0.01


def until(
    generations: Iterable[Generation],
    *,
    budget: int | None = None,
    plateau: Plateau | None = None,
    known: float | None = None,
    no_new: int | None = None,
    hours: float | None = None,
    count: int | None = None,
) -> Iterator[Generation]:
    """Yield generations up to the first that fulfils one of the rules, which is included.

    The loop reports in a :class:`~agal_toolkit.events.Note` why it ends.

    Args:
        generations: of a loop.
        budget: labelled structures in the grown data set, the initial ones included.
        plateau: a metric that no longer falls.
        known: largest RMS error of the mean's forces on new labels, before they are learned,
            relative to these forces, in two generations in a row with at least four labels each.
        no_new: consecutive generations without a new label; with a budget or `known` 3 unless it
            is given.
        hours: wall-clock time since the first generation was started.
        count: number of generations.

    Raises:
        ValueError: no rule, or a plateau of a metric that the loop does not compute.
    """
    if all(rule is None for rule in (budget, plateau, known, no_new, hours, count)):
        rules = "budget, plateau, known, no_new, hours, count"
        raise ValueError(f"a loop does not end by itself: give until() at least one of {rules}")
    for name, value in {"budget": budget, "no_new": no_new, "count": count}.items():
        if value is not None and not (isinstance(value, (int, float)) and value >= 1):
            raise ValueError(f"{name} is {value!r}, expected a number of at least 1")
    if known is not None and not 0 < known < 1:
        raise ValueError(f"known is {known}: give a share of the forces, such as 0.1")
    waits = budget is not None or known is not None
    barren = BARREN if no_new is None and waits else no_new
    began, best, waited, without, right = time.monotonic(), np.inf, 0, 0, 0
    for number, generation in enumerate(generations, 1):
        yield generation
        without = 0 if len(generation.labelled) else without + 1
        if plateau is not None:
            if plateau.metric not in generation.metrics:
                computed = sorted(generation.metrics)
                raise ValueError(
                    f"there is no metric {plateau.metric!r} to watch; the loop computes {computed}"
                )
            value = generation.metrics[plateau.metric]
            better = value < (best - plateau.tolerance * abs(best) if np.isfinite(best) else best)
            best, waited = min(best, value), 0 if better else waited + 1
        if known is not None:
            error, _, force = generation.found
            right = right + 1 if len(generation.labelled) > 3 and error <= known * force else 0
        structures, hour = len(generation.grown), (time.monotonic() - began) / 3600
        reason = ""
        if budget is not None and structures >= budget:
            reason = f"{structures} structures are labelled, the budget is {budget}"
        elif plateau is not None and waited >= plateau.patience:
            reason = f"{plateau.metric} has not fallen for {waited} generations (best {best:.4g})"
        elif right > 1:
            reason = f"twice in a row errors on new labels were below {known:.0%} of the forces"
        elif barren is not None and without >= barren:
            verdicts = Counter(map(kind_of, generation.verdicts))
            verdicts += Counter(failed=len(generation.failures))
            last = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
            reason = f"no new label for {without} generations; of the last candidates {last}"
        elif hours is not None and hour >= hours:
            reason = f"{hours} hours are over"
        elif count is not None and number >= count:
            reason = f"{count} generations are done"
        if reason:
            if no_new is None and without and without == barren:
                note = f"{reason}: give until() no_new= to go on for longer"
                warnings.warn(f"the loop ends early: {note}", stacklevel=2)
            if isinstance(generations, Generations):
                generations.report(Note(generation.index, f"the loop ends: {reason}"))
            return
