"""The loop of one strategy and seed: its iterations, and what is recorded of each."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.batch import Batch
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.events import Event, Stage, Step
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.generation import Generation
from agal_toolkit.loop.loop import Loop
from agal_toolkit.loop.recipe import Recipe
from agal_toolkit.loop.stopping import until
from agal_toolkit.references.amoeba import whole
from agal_toolkit.sampling import MemberDynamics
from agal_toolkit.training.trainer import TorchTrainer
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.variance import force_variance

from ..calibrated.localisation import internal_share
from ..calibrated.records import MASSES, predict, rms
from ..jobs import Record, Runner, save
from .recipes import PRESETS, Preset, reference, schedule, start, trainer
from .truth import SEED, Sizes, Water, water

OFTEN = 20.0  # seconds between writes of the clock


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


class Clock:
    """Seconds of each stage of each iteration, in a file that outlives a stop or a kill.

    They are seconds of this process's work, which other processes do not lengthen. "evaluations"
    counts the boxes that attacks evaluated.
    """

    def __init__(self, file: Path, run: Runner) -> None:
        self.file, self.run = file, run
        self.seconds = json.loads(file.read_text()) if file.exists() else {}
        self.evaluations = 0
        self.began: tuple[int, str, float] | None = None
        self.written = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Take an event of the loop; raises OutOfTime if the minutes are over."""
        if isinstance(event, Step):
            self.evaluations += len(event.losses)
        if isinstance(event, Stage):
            self._write()
            going = event.status == "started"
            self.began = (event.generation, event.name, time.process_time()) if going else None
        elif time.monotonic() - self.written > OFTEN:
            self._write()
        try:
            self.run.report(event)
        except BaseException:
            self._write()
            raise

    def _write(self) -> None:
        """Add what was used since the last time, and write the file."""
        if self.began is not None:
            generation, stage, began = self.began
            now, stages = time.process_time(), self.seconds.setdefault(str(generation), {})
            stages[stage] = round(stages.get(stage, 0.0) + now - began, 2)
            if self.evaluations:
                stages["evaluations"] = stages.get("evaluations", 0) + self.evaluations
            self.began, self.evaluations = (generation, stage, now), 0
        save(self.file, self.seconds)
        self.written = time.monotonic()


def iterations(run: Runner, strategy: str, training: str, seed: int) -> Iterator[Record]:
    """Yield the record of each iteration; those that were finished before are read."""
    preset, folder = PRESETS[run.preset], folder_of(run, strategy, training, seed)
    records = [folder / f"iteration-{k}.json" for k in range(preset.iterations)]
    if all(file.exists() for file in records):
        yield from (json.loads(file.read_text()) for file in records)
        return
    clock, tests = Clock(folder / "seconds.json", run), tests_of(run)
    loop = loop_of(run, strategy, training, seed)
    made = loop.generations(started(run, folder, seed), folder / "run", clock)
    for generation, file in zip(until(made, count=preset.iterations), records, strict=True):
        if not file.exists():
            keep(generation, preset, training, folder, run)
            seconds = dict(clock.seconds.get(str(generation.index), {}))
            evaluated = seconds.pop("evaluations", 0)
            calls = force_calls(generation, loop.recipe_of(generation.index), evaluated)
            record = {**measured(generation, tests), "force calls": calls, "cpu seconds": seconds}
            save(file, record)
        yield json.loads(file.read_text())


def keep(generation: Generation, preset: Preset, training: str, folder: Path, run: Runner) -> None:
    """Keep the committee of an iteration where simulations find it, and the labels so far."""
    place, committee = folder / f"committee-{generation.index}", generation.committee
    trainer(preset, training, generation.index, run.device).save(committee.members, place)
    assert committee.calibration is not None
    save(place / "calibration.json", committee.calibration.to_json())
    save(folder / f"labels-{generation.index}.extxyz", generation.grown)


def committee_of(run: Runner, place: Path) -> Committee:
    """Return the calibrated committee that :func:`keep` wrote."""
    members = trainer(PRESETS[run.preset], "afresh", 0, run.device).load(place)
    laws = json.loads((place / "calibration.json").read_text())
    return Committee(members, Calibration.from_json(laws))


def force_calls(generation: Generation, recipe: Recipe, evaluated: int) -> dict[str, int]:
    """Return how often a member computed the forces of a box, by stage; planned, for simulations.

    Args:
        generation: that has ended.
        recipe: of it.
        evaluated: boxes that attacks evaluated.
    """
    trainer = recipe.trainer
    assert isinstance(trainer, TorchTrainer)
    warm = trainer.warm if generation.index else None
    assert generation.weights is not None
    learned = int((generation.weights > 0).any(axis=0).sum())
    calls = {"members": (warm or trainer).epochs * learned * recipe.members}
    if isinstance(recipe.sampler, MemberDynamics):
        conditions = recipe.sampler.conditions
        steps = round(1000 * conditions.picoseconds / conditions.timestep)
        calls["seeds"] = steps * recipe.sampler.replicas * recipe.members
    if recipe.attack is not None:
        calls["adversaries"] = evaluated * (recipe.attack.members or recipe.members)
    return calls


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
        "candidates": len(generation.candidates),
        "verdicts": dict(Counter(v.partition(" (")[0] for v in generation.verdicts)),
        "reasons": dict(
            Counter((a.reason or "reached").partition(" (")[0] for a in generation.adversaries)
        ),
        "refused": list(generation.failures.values()),
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
    molecules, in mass-weighted coordinates; energies "without shift" have their mean error
    subtracted; "spread" is the root of the force variance.
    """
    prediction = predict(committee, list(tests))
    true = np.concatenate(tests.forces)
    members = prediction.forces.numpy() - true
    mean = members.mean(0)
    molecules = np.array([len(geometry) // 3 for geometry in tests])
    energy = (prediction.energy.mean(0).numpy() - tests.energies) / molecules
    stress = prediction.stress.mean(0).numpy()
    spread = force_variance(prediction, Batch.of(list(tests))).mean().sqrt()
    return {
        "forces": float(np.sqrt(np.mean(mean**2))),
        "members": float(np.sqrt(np.mean(members**2))),
        "spread": float(spread),
        "inside": _inside(mean, tests),
        "energy": float(np.sqrt(np.mean(energy**2))),
        "energy without shift": float(energy.std()),
        "stress": float(np.sqrt(np.mean((stress - [y.stress for y in tests.labels]) ** 2))),
    }


def _inside(differences: NDArray, tests: Dataset) -> float:
    """Return the share of force differences (N, 3) that changes the shapes of molecules."""
    parts = differences.reshape(len(tests), -1, 3, 3)
    shares = [
        internal_share(part, whole(geometry).reshape(-1, 3, 3), MASSES, forces=True)
        for part, geometry in zip(parts, tests, strict=True)
    ]
    return float(np.mean(shares))
