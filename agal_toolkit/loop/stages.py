"""The small parts of a generation: its clock, its candidates and their verdicts, and labels as
arrays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..attack.attack import Adversary
from ..committee import Committee
from ..dataset import Dataset
from ..events import Report, Stage
from ..geometry import Geometry
from ..selection import Candidate, Selector
from .generation import KEPT
from .records import pack_dataset, unpack_dataset

NOT_REACHED = "no sound iterate"


class Clock:
    """Reports the stages of one generation and keeps their times."""

    def __init__(self, generation: int, report: Report) -> None:
        self.generation, self.report, self.seconds = generation, report, {}
        self._name, self._known, self._began = "", False, 0.0

    def __call__(self, name: str, known: bool) -> Clock:
        self._name, self._known = name, known
        return self

    def __enter__(self) -> None:
        if not self._known:
            self.report(Stage(self.generation, self._name, "started"))
        self._began = time.monotonic()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            return
        seconds = time.monotonic() - self._began
        if not self._known:
            self.seconds[self._name] = seconds
        self.report(
            Stage(self.generation, self._name, "read" if self._known else "finished", seconds)
        )


def candidates_of(
    seeds: Sequence[Geometry], adversaries: Sequence[Adversary], generation: int
) -> list[Candidate]:
    """What might be labelled: the attack's structures, or the sampler's where there was no attack;
    `generation` counts from 1 for acquired data.
    """
    if adversaries:
        found = [(a.geometry, a.seed, float(a.losses[a.kept])) for a in adversaries]
    else:
        found = [(geometry, i, float("nan")) for i, geometry in enumerate(seeds)]
    return [
        Candidate(replace(g, origin={**g.origin, "generation": generation + 1}), seed, loss)
        for g, seed, loss in found
    ]


def judged(
    selectors: Sequence[Selector],
    committee: Committee,
    dataset: Dataset,
    candidates: Sequence[Candidate],
    adversaries: Sequence[Adversary],
    rng: Generator,
) -> list[str]:
    """ "kept", or the reason of the first drop, for each candidate."""
    verdicts = [KEPT] * len(candidates)
    for i, adversary in enumerate(adversaries):
        if not adversary.reached:
            verdicts[i] = NOT_REACHED
    for selector in selectors:
        left = [i for i, verdict in enumerate(verdicts) if verdict == KEPT]
        if not left:
            break
        keep = np.asarray(
            selector(committee, dataset, [candidates[i] for i in left], rng), dtype=bool
        )
        if keep.shape != (len(left),):
            raise ValueError(
                f"{selector!r} answered with shape {keep.shape} for {len(left)} candidates: return"
                " one bool for each"
            )
        for i, kept in zip(left, keep, strict=True):
            if not kept:
                verdicts[i] = type(selector).__name__
    return verdicts


def pack_labels(value: tuple[Dataset, dict[int, str]]) -> dict[str, NDArray]:
    """Labels, and why some failed, as arrays."""
    labelled, failures = value
    keys = sorted(failures)
    return {
        **pack_dataset(labelled),
        "failed": np.array(keys, dtype=np.int64),
        "reasons": np.array([failures[k] for k in keys], dtype=np.str_),
    }


def unpack_labels(arrays: Mapping[str, NDArray]) -> tuple[Dataset, dict[int, str]]:
    """What :func:`pack_labels` packed."""
    failures = {
        int(k): str(reason) for k, reason in zip(arrays["failed"], arrays["reasons"], strict=True)
    }
    return unpack_dataset(arrays), failures
