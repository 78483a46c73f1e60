"""Roles of structures: which of them calibrate, and that no member trains on a copy of those."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..attack.target_error import TargetError
from ..committee import Committee
from ..dataset import CALIBRATION, TRAIN, Dataset
from ..distances import copies_of
from ..events import Note, Report
from ..geometry import Geometry
from .recipe import Recipe

RESERVE = 7  # names the stream of random numbers, after those of the stages


def roles_of(geometries: Sequence[Geometry], aside: NDArray, dataset: Dataset) -> list[str]:
    """Return the roles of new structures: "calibration" where `aside` (n,), if it is no copy.

    Copies of structures of `dataset`, or of earlier new ones, share their role, so that no copy of
    a calibration structure is trained on.
    """
    known, roles = list(dataset), list(dataset.roles)
    for geometry, reserved in zip(geometries, aside, strict=True):
        same = {roles[i] for i in copies_of(geometry, known)}
        role = CALIBRATION if CALIBRATION in same or (reserved and not same) else TRAIN
        known.append(geometry)
        roles.append(role)
    return roles[len(dataset) :]


def reserved(recipe: Recipe, dataset: Dataset, seed: int) -> Dataset:
    """Return the initial data; a share `recipe.reserve` of it calibrates if nothing of it does."""
    count = 0 if CALIBRATION in dataset.roles else round(recipe.reserve * len(dataset))
    return dataset.reserving(count, np.random.default_rng([seed, 0, RESERVE]))


def check_calibration(recipe: Recipe, dataset: Dataset, given: Committee | None = None) -> None:
    """Raise ValueError for an attack with a target, and no structures to calibrate on."""
    objective = recipe.attack.objective if recipe.attack else None
    aims = isinstance(objective, TargetError) and not objective.raw
    calibrated = given is not None and given.calibration is not None
    if aims and not calibrated and CALIBRATION not in dataset.roles:
        share = f"calibrate={recipe.calibrate} draws from newly labelled structures only"
        raise ValueError(
            f"TargetError needs a calibrated committee in the first generation, and {share}: start"
            " from data.reserving(count, rng), a tenth of the data or more"
        )


def calibration_data(dataset: Dataset, learned: Dataset, report: Report) -> Dataset:
    """Return the structures to calibrate on; notes tell which do not serve."""
    aside, trained = dataset.of_role(CALIBRATION), dataset.of_role(TRAIN)
    twice = sum(bool(copies_of(geometry, trained)) for geometry in aside)
    if twice:
        copies = f"{twice} of {len(aside)} calibration structures are copies of training ones"
        report(Note(None, f"{copies}: their errors are too small"))
    elements = {int(z) for geometry in learned for z in geometry.numbers}
    known = [elements.issuperset(geometry.numbers.tolist()) for geometry in aside]
    if not all(known):
        left = f"{known.count(False)} of {len(aside)} calibration structures are left out"
        report(Note(None, f"{left}: no member trains on all their elements"))
    return aside[np.array(known, dtype=bool)]
