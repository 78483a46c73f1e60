"""Independent loops side by side, whose committees are trained as one.

What a loop does in a generation is settled in :mod:`agal_toolkit.loop.loop`; here only the fits of
several are brought together, so that small networks fill the machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..dataset import Dataset
from ..events import Report, ignore
from ..settings import to_settings
from .generation import Generation
from .loop import Loop


def lockstep(
    loops: Sequence[Loop],
    datasets: Sequence[Dataset],
    directories: Sequence[str | Path] | None = None,
    report: Report = ignore,
    stack: int = 8,
) -> Iterator[list[Generation]]:
    """Independent loops side by side: in each generation the members of up to `stack` loops are
    trained as one; without end.

    Every loop keeps its own data, split, random streams, run directory and stages, so each ends as
    it would alone, within rounding. Fits of about equally many structures share a stack, for the
    shorter ones wait in every epoch.

    Args:
        loops: of equal trainers with ``fit_many``; structures of one composition.
        datasets: one for each loop.
        directories: one for each loop; finished stages are read.
        report: hears the events of all; a generation of all loops together is what is yielded, not
            reported.
        stack: loops in one fit; more amortise better, until the weights no longer fit the
            processor's cache.

    Raises:
        ValueError: trainers that differ.
    """
    stores = [
        loop.opened(data, None if directories is None else directories[k])
        for k, (loop, data) in enumerate(zip(loops, datasets, strict=True))
    ]
    current, index = list(datasets), 0
    while True:
        trainer = loops[0].recipe_of(index).trainer
        if any(
            to_settings(loop.recipe_of(index).trainer) != to_settings(trainer) for loop in loops
        ):
            raise ValueError(
                "loops in lockstep train as one and need equal trainers: run those that differ"
                " apart"
            )
        missing = sorted(
            (k for k, store in enumerate(stores) if not store.has(index, "members")),
            key=lambda k: len(current[k]),
        )
        finished: dict[int, Generation] = {}
        for first in range(0, len(missing), stack):
            together = missing[first : first + stack]
            tasks = [loops[k].task(current[k], index) for k in together]
            began = time.monotonic()
            fitted = dict(zip(together, trainer.fit_many(tasks, report), strict=True))
            share = (time.monotonic() - began) / len(together)
            for k in together:  # all on disk before any goes on
                stores[k].files(
                    index, "members", partial(fitted.get, k), trainer.save, trainer.load
                )
            for k in together:
                generation = loops[k].generation(
                    current[k], index, stores[k], report, fitted.pop(k)
                )
                finished[k] = replace(generation, seconds={**generation.seconds, "members": share})
        for k in range(len(loops)):
            if k not in finished:
                finished[k] = loops[k].generation(current[k], index, stores[k], report)
        generations = [finished[k] for k in range(len(loops))]
        yield generations
        current, index = [generation.grown for generation in generations], index + 1
