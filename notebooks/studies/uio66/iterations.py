"""The loop of one strategy, group of systems and seed: what is recorded of each iteration.

Every system has books of its own: its labels, candidates and their fates, the errors that attacks
found in it, and what its calibration structures say of the law that all systems share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agal_toolkit.batch import Batch
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.generation import Generation
from agal_toolkit.loop.loop import Loop
from agal_toolkit.uncertainty.calibration import Calibration, samples
from agal_toolkit.uncertainty.power_law import CalibrationRefused

from .. import loops
from ..calibrated.records import predict, rms
from ..jobs import Record, Runner
from .held_out import tests_of
from .recipes import (
    PRESETS,
    first,
    reference,
    schedule,
    simulations,
    start,
    systems_of,
    trainer,
)
from .structures import SEED


def folder_of(run: Runner, strategy: str, group: str, seed: int) -> Path:
    """Return the folder of a loop: its run directory, committees and records."""
    return run.out / f"{strategy}-{group}-{seed}"


def loop_of(run: Runner, strategy: str, group: str, seed: int) -> Loop:
    """Return the loop."""
    preset = PRESETS[run.preset]
    recipes = schedule(strategy, preset, group, run.device)
    return Loop(recipes, reference(preset), seed=SEED + seed)


def iterations(run: Runner, strategy: str, group: str, seed: int) -> Iterator[Record]:
    """Yield the record of each iteration; those that were finished before are read."""
    preset, folder = PRESETS[run.preset], folder_of(run, strategy, group, seed)
    begin = partial(start, preset, group, seed, folder / "start-labels")
    measure = partial(measured, systems_of(preset, group))
    loop = loop_of(run, strategy, group, seed)
    yield from loops.iterations(loop, begin, folder, preset.iterations, run, measure, simulations)


def committee_of(run: Runner, group: str, place: Path) -> Committee:
    """Return the calibrated committee that an iteration wrote."""
    return loops.committee_of(trainer(PRESETS[run.preset], group, 0, run.device), place)


def of_system(data: Dataset, system: str) -> Dataset:
    """Return the structures of a system."""
    return data[np.array([g.origin.get("system") == system for g in data], dtype=bool)]


def check_unmixed(structures: Sequence[Geometry], systems: Sequence[str]) -> None:
    """Raise RuntimeError for a structure that is not of the system that it is booked under."""
    for geometry in structures:
        system = geometry.origin.get("system")
        if system not in systems:
            raise RuntimeError(f"{geometry!r} is booked under {system!r}, which is no system here")
        if not np.array_equal(geometry.numbers, first(system)[0].numbers):
            raise RuntimeError(f"{geometry!r} is booked under {system!r}, and has other atoms")


def measured(systems: Sequence[str], generation: Generation) -> Record:
    """Return the books of an iteration: those of each system, and the law that they share."""
    check_unmixed([*generation.grown, *(c.geometry for c in generation.candidates)], systems)
    calibration = generation.committee.calibration
    assert calibration is not None
    return {
        "iteration": generation.index + 1,
        "labels": len(generation.dataset),
        "law": law(calibration),
        "systems": {system: books(generation, system) for system in systems},
    }


def law(calibration: Calibration) -> dict[str, float]:
    """Return the law of forces."""
    forces = calibration.law("forces")
    return {"scale": forces.scale, "exponent": forces.exponent}


def books(generation: Generation, system: str) -> Record:
    """Return the books of a system.

    "found" and "said" are averages over the atoms of each labelled structure, of the error of
    the members (Cezar 2025, Eq. 1) and of the calibrated uncertainty, eV/angstrom. "ratio" is the
    root mean square of errors over calibrated uncertainties on the system's own calibration
    structures, 1 where the shared law holds, and "own law" one that is fitted on these alone.
    """
    data, committee = of_system(generation.dataset, system), generation.committee
    mine = [c for c in generation.candidates if c.geometry.origin["system"] == system]
    record: Record = {
        "labels": len(data),
        "calibrate": data.roles.count(CALIBRATION),
        **loops.outcomes(mine),
        **trusted(committee, data.of_role(CALIBRATION)),
    }
    new = of_system(generation.labelled, system)
    if len(new):
        prediction = predict(committee, list(new))
        assert committee.calibration is not None
        sigma = committee.calibration.atomic_variance(prediction).sqrt().double()
        record["found"] = rms(prediction, new).round(5).tolist()
        record["said"] = Batch.of(list(new)).mean(sigma).numpy().round(5).tolist()
        record["by"] = [geometry.origin.get("by") for geometry in new]
        record["roles"] = list(new.roles)
    return record


def trusted(committee: Committee, aside: Dataset) -> dict[str, Any]:
    """Return what calibration structures of one system say of the law that all systems share."""
    if not len(aside):
        return {}
    prediction = predict(committee, list(aside))
    points, shared = samples(prediction, aside), committee.calibration
    assert shared is not None
    sigma = shared.forces(torch.from_numpy(points.sigma**2)).sqrt().numpy()
    found: dict[str, Any] = {"ratio": float(np.sqrt(np.mean((points.errors / sigma) ** 2)))}
    try:
        found["own law"] = law(Calibration.fit_with_fallback(prediction, aside))
    except CalibrationRefused as refused:
        found["own law"] = str(refused)
    return found


def errors(
    run: Runner, strategy: str, group: str, seed: int, iteration: int
) -> dict[str, dict[str, float]]:
    """Return errors on the held-out structures of each system: eV/angstrom, eV per atom, eV/A^3."""
    place = folder_of(run, strategy, group, seed) / f"committee-{iteration}"
    committee, found = committee_of(run, group, place), {}
    for system in systems_of(PRESETS[run.preset], group):
        tests = tests_of(run, system)
        atoms = [len(geometry) for geometry in tests]
        prediction = predict(committee, list(tests))
        volumes = [abs(np.linalg.det(geometry.cell)) for geometry in tests]
        found[system] = loops.errors(prediction, tests, atoms)
        found[system]["virial"] = found[system]["stress"] * float(np.mean(volumes)) / atoms[0]
        found[system] |= {"frames": len(tests), "ratio": trusted(committee, tests)["ratio"]}
    return found
