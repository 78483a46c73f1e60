"""The loop of one strategy and seed: its iterations, and what is recorded of each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.batch import Batch
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.generation import Generation
from agal_toolkit.loop.loop import Loop
from agal_toolkit.references.amoeba import whole

from .. import loops
from ..calibrated.localisation import internal_share
from ..calibrated.records import MASSES, predict, rms
from ..jobs import Record, Runner, save
from .recipes import PRESETS, reference, schedule, start, trainer
from .truth import SEED, Sizes, Water, water


def folder_of(run: Runner, strategy: str, training: str, seed: int) -> Path:
    """Return the folder of a loop: its run directory, committees and records."""
    return run.out / f"{strategy}-{training}-{seed}"


@cache
def truth_in(folder: Path) -> Water:
    """Return the truth's data; they are read once."""
    return water(folder, Sizes())


def box_of(run: Runner) -> Geometry:
    """Return the one structure that everything starts from."""
    return truth_in(run.results / "water").box


def tests_of(run: Runner) -> Dataset:
    """Return frames of the truth's own simulations, which nothing learns from."""
    data = truth_in(run.results / "water")
    return (data.first + data.second)[: PRESETS[run.preset].tested]


def started(run: Runner, folder: Path, seed: int) -> Dataset:
    """Return the labelled structures at the start, from their file if there is one."""
    file = folder / "start.extxyz"
    if not file.exists():
        save(file, start(box_of(run), PRESETS[run.preset], seed))
    return Dataset.read(file)


def loop_of(run: Runner, strategy: str, training: str, seed: int) -> Loop:
    """Return the loop."""
    preset = PRESETS[run.preset]
    recipes = schedule(strategy, preset, training, box_of(run), run.device)
    return Loop(recipes, reference(), seed=SEED + seed)


def iterations(run: Runner, strategy: str, training: str, seed: int) -> Iterator[Record]:
    """Yield the record of each iteration; those that were finished before are read."""
    folder, loop = folder_of(run, strategy, training, seed), loop_of(run, strategy, training, seed)
    begin, measure = partial(started, run, folder, seed), partial(_measured, run)
    yield from loops.iterations(loop, begin, folder, PRESETS[run.preset].iterations, run, measure)


def committee_of(run: Runner, place: Path) -> Committee:
    """Return the calibrated committee that an iteration wrote."""
    return loops.committee_of(trainer(PRESETS[run.preset], "afresh", 0, run.device), place)


def _measured(run: Runner, generation: Generation) -> Record:
    return measured(generation, tests_of(run))


def measured(generation: Generation, tests: Dataset) -> dict[str, Any]:
    """Return the numbers of an iteration: its errors, its attacks and its labels.

    Errors of forces are root mean squares over components, eV/angstrom, of the mean and of the
    members; "found" and "reached" are averages over the atoms of each labelled structure, of the
    error of the members (Cezar 2025, Eq. 1) and of the calibrated uncertainty.
    """
    committee, dataset = generation.committee, generation.dataset
    record: dict[str, Any] = {
        "iteration": generation.index + 1,
        "labels": len(dataset),
        "calibrate": dataset.roles.count(CALIBRATION),
        **loops.outcomes(generation.candidates),
        "errors": errors(committee, tests),
    }
    new = generation.labelled
    if len(new):
        prediction = predict(committee, list(new))
        assert committee.calibration is not None
        sigma = committee.calibration.atomic_variance(prediction).sqrt().double()
        record["found"] = rms(prediction, new).round(5).tolist()
        record["said"] = Batch.of(list(new)).mean(sigma).numpy().round(5).tolist()
        record["by"] = [geometry.origin.get("by") for geometry in new]
    return record


def errors(committee: Committee, tests: Dataset) -> dict[str, float]:
    """Return errors on frames of the truth: eV/angstrom, eV per molecule, eV/angstrom^3.

    "inside" is the share of the squared force errors of the mean that changes the shapes of
    molecules, in mass-weighted coordinates; :func:`~studies.loops.errors` has the others.
    """
    prediction = predict(committee, list(tests))
    found = loops.errors(prediction, tests, [len(geometry) // 3 for geometry in tests])
    mean = (prediction.forces.numpy() - np.concatenate(tests.forces)).mean(0)
    return found | {"inside": _inside(mean, tests)}


def _inside(differences: NDArray, tests: Dataset) -> float:
    """Return the share of force differences (N, 3) that changes the shapes of molecules."""
    parts = differences.reshape(len(tests), -1, 3, 3)
    shares = [
        internal_share(part, whole(geometry).reshape(-1, 3, 3), MASSES, forces=True)
        for part, geometry in zip(parts, tests, strict=True)
    ]
    return float(np.mean(shares))
