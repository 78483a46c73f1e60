"""Rules that end a loop.

Schwalbe-Koda 2021, Sec. 2, go on "until the test error is sufficiently low".
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .generation import Generation


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
    no_new: int | None = None,
    hours: float | None = None,
    count: int | None = None,
) -> Iterator[Generation]:
    """Yield generations up to the first that fulfils one of the rules, which is included.

    Args:
        generations: of a loop.
        budget: labelled structures in the grown data set, the initial ones included.
        plateau: a metric that no longer falls.
        no_new: consecutive generations without a new label.
        hours: wall-clock time since the first generation was started.
        count: number of generations.

    Raises:
        ValueError: no rule, or a plateau of a metric that the loop does not compute.
    """
    if all(rule is None for rule in (budget, plateau, no_new, hours, count)):
        rules = "budget, plateau, no_new, hours, count"
        raise ValueError(f"a loop does not end by itself: give until() at least one of {rules}")
    began, best, waited, without = time.monotonic(), np.inf, 0, 0
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
        if (
            (budget is not None and len(generation.grown) >= budget)
            or (plateau is not None and waited >= plateau.patience)
            or (no_new is not None and without >= no_new)
            or (hours is not None and time.monotonic() - began >= hours * 3600)
            or (count is not None and number >= count)
        ):
            return
