"""What studies of whole loops share: iterations on disk, their ledger, and simulations of members.

A loop goes on from its last finished stage, a simulation from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.dynamics import Checkpoint, Frames
from agal_toolkit.events import Event, Stage, Step
from agal_toolkit.files import atomic_write
from agal_toolkit.geometry import Geometry
from agal_toolkit.loop.generation import Generation
from agal_toolkit.loop.loop import Loop
from agal_toolkit.loop.recipe import Recipe
from agal_toolkit.loop.stopping import until
from agal_toolkit.sampling import Conditions, MemberDynamics
from agal_toolkit.selection import Candidate
from agal_toolkit.training.trainer import TorchTrainer
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.variance import force_variance

from .jobs import Record, Runner, parser, runner, save

OFTEN = 20.0  # seconds between writes of the clock


class Clock:
    """Seconds of each stage of each iteration, in a file that outlives a stop or a kill.

    They are seconds of the work of this process and of its children that have ended, which other
    processes do not lengthen. "evaluations" counts the boxes that attacks evaluated.
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
            self.began = (event.generation, event.name, _worked()) if going else None
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
            now, stages = _worked(), self.seconds.setdefault(str(generation), {})
            stages[stage] = round(stages.get(stage, 0.0) + now - began, 2)
            if self.evaluations:
                stages["evaluations"] = stages.get("evaluations", 0) + self.evaluations
            self.began, self.evaluations = (generation, stage, now), 0
        save(self.file, self.seconds)
        self.written = time.monotonic()


def _worked() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def simulations(recipe: Recipe) -> Sequence[MemberDynamics]:
    """Return the simulations from which a recipe draws seeds."""
    return [recipe.sampler] if isinstance(recipe.sampler, MemberDynamics) else []


def iterations(
    loop: Loop,
    start: Callable[[], Dataset],
    folder: Path,
    count: int,
    run: Runner,
    measured: Callable[[Generation], Record],
    simulated: Callable[[Recipe], Sequence[MemberDynamics]] = simulations,
) -> Iterator[Record]:
    """Yield the record of each iteration; those that were finished before are read.

    Args:
        loop: to be run.
        start: returns the labelled structures to start from; called if an iteration is missing.
        folder: of the run directory, and of what :func:`keep` writes.
        count: number of iterations.
        run: whose minutes end the loop.
        measured: returns the record, to which force calls and seconds are added.
        simulated: returns the simulations of a recipe's sampler.
    """
    records = [folder / f"iteration-{k}.json" for k in range(count)]
    if all(file.exists() for file in records):
        yield from (json.loads(file.read_text()) for file in records)
        return
    clock = Clock(folder / "seconds.json", run)
    made = loop.generations(start(), folder / "run", clock)
    for generation, file in zip(until(made, count=count), records, strict=True):
        if not file.exists():
            recipe = loop.recipe_of(generation.index)
            keep(generation, recipe, folder)
            seconds = dict(clock.seconds.get(str(generation.index), {}))
            evaluated = seconds.pop("evaluations", 0)
            calls = force_calls(generation, recipe, evaluated, simulated(recipe))
            record = {**measured(generation), "force calls": calls, "cpu seconds": seconds}
            save(file, record)
        yield json.loads(file.read_text())


def keep(generation: Generation, recipe: Recipe, folder: Path) -> None:
    """Keep the committee of an iteration where simulations find it, and the labels so far."""
    place, committee = folder / f"committee-{generation.index}", generation.committee
    recipe.trainer.save(committee.members, place)
    assert committee.calibration is not None
    save(place / "calibration.json", committee.calibration.to_json())
    save(folder / f"labels-{generation.index}.extxyz", generation.grown)


@dataclass(frozen=True)
class Export:
    """A study's command that copies a finished loop beside the result file.

    The folder ``results/STUDY/loop-PRESET`` gets the first and the last committee, with their
    calibration, numbered from 1 as iterations are, and all labels in the order in which they were
    made.

    Attributes:
        study: name of its module and folder.
        presets: name -> sizes, which have the number of `iterations`.
        folder_of: returns the folder of a loop, given the runner, its choices and its seed.
        choices: what names a loop beside its seed -> values, the default first.
    """

    study: str
    presets: Mapping[str, Any]
    folder_of: Callable[..., Path]
    choices: Mapping[str, Sequence[str]]

    def __call__(self, run: Runner, *chosen: str, seed: int = 0) -> Path:
        """Copy a loop, the default one if none is chosen; return its new folder.

        Raises:
            FileNotFoundError: a loop that has not been finished.
        """
        chosen = chosen or tuple(values[0] for values in self.choices.values())
        folder, count = self.folder_of(run, *chosen, seed), self.presets[run.preset].iterations
        done = [k + 1 for k in range(count) if (folder / f"iteration-{k}.json").exists()]
        if len(done) < count:
            wrong = f"{folder} has {len(done)} of {count} iterations"
            raise FileNotFoundError(f"{wrong}: finish the loop with python -m studies.{self.study}")
        place = run.results / self.study / f"loop-{run.preset}"
        for iteration in (1, count):
            source, target = folder / f"committee-{iteration - 1}", place / f"committee-{iteration}"
            target.mkdir(parents=True, exist_ok=True)
            for file in filter(Path.is_file, source.iterdir()):  # simulations may have folders
                with atomic_write(target / file.name) as part:
                    part.write_bytes(file.read_bytes())
        save(place / "labels.extxyz.gz", Dataset.read(folder / f"labels-{count - 1}.extxyz"))
        run.say(f"written to {place}")
        return place

    def main(self) -> None:
        """Run from the command line."""
        arguments = parser("Copy a loop beside its result file.", self.presets, self.study)
        for name, values in self.choices.items():
            arguments.add_argument(f"--{name}", choices=values, default=values[0])
        arguments.add_argument("--seed", type=int, default=0)
        given = arguments.parse_args()
        try:
            self(runner(given), *(getattr(given, name) for name in self.choices), seed=given.seed)
        except FileNotFoundError as error:
            arguments.error(str(error))


def committee_of(trainer: TorchTrainer, place: Path) -> Committee:
    """Return the calibrated committee that :func:`keep` wrote."""
    laws = json.loads((place / "calibration.json").read_text())
    return Committee(trainer.load(place), Calibration.from_json(laws))


def force_calls(
    generation: Generation, recipe: Recipe, evaluated: int, simulated: Sequence[MemberDynamics]
) -> dict[str, int]:
    """Return how often a member computed the forces of a box, by stage; planned, for simulations.

    Args:
        generation: that has ended.
        recipe: of it.
        evaluated: boxes that attacks evaluated.
        simulated: what its members simulated.
    """
    trainer = recipe.trainer
    assert isinstance(trainer, TorchTrainer)
    warm = trainer.warm if generation.index else None
    assert generation.weights is not None
    learned = int((generation.weights > 0).any(axis=0).sum())
    calls = {"members": (warm or trainer).epochs * learned * recipe.members}
    for sampler in simulated:
        conditions = sampler.conditions
        steps = round(1000 * conditions.picoseconds / conditions.timestep)
        calls["seeds"] = calls.get("seeds", 0) + steps * sampler.replicas * recipe.members
    if recipe.attack is not None:
        calls["adversaries"] = evaluated * (recipe.attack.members or recipe.members)
    return calls


def outcomes(candidates: Sequence[Candidate]) -> Record:
    """Return what became of candidates: their verdicts, how attacks ended, refused labels."""

    def kinds(texts: Iterable[str]) -> dict[str, int]:
        return dict(Counter(text.partition(" (")[0] for text in texts))

    attacks = [c.adversary for c in candidates if c.adversary is not None]
    return {
        "candidates": len(candidates),
        "verdicts": kinds(candidate.verdict for candidate in candidates),
        "reasons": kinds(attack.reason or "reached" for attack in attacks),
        "refused": [c.outcome for c in candidates if isinstance(c.outcome, str)],
    }


def errors(prediction: Prediction, tests: Dataset, parts: Sequence[int]) -> dict[str, float]:
    """Return errors on labelled frames: eV/angstrom, eV per part, eV/angstrom^3.

    They are root mean squares of the mean, over components of forces and stresses, and of the
    members for "members"; "spread" is the root of the force variance; energies "without shift" have
    their mean error subtracted.

    Args:
        prediction: (M, ...) of the frames.
        tests: n frames.
        parts: (n,) numbers of molecules or atoms by which energies are divided.
    """
    members = prediction.forces.numpy() - np.concatenate(tests.forces)
    energy = (prediction.energy.mean(0).numpy() - tests.energies) / np.asarray(parts)
    stress = prediction.stress.mean(0).numpy()
    spread = force_variance(prediction, Batch.of(list(tests))).mean().sqrt()
    return {
        "forces": float(np.sqrt(np.mean(members.mean(0) ** 2))),
        "members": float(np.sqrt(np.mean(members**2))),
        "spread": float(spread),
        "energy": float(np.sqrt(np.mean(energy**2))),
        "energy without shift": float(energy.std()),
        "stress": float(np.sqrt(np.mean((stress - [y.stress for y in tests.labels]) ** 2))),
    }


def survived(
    committee: Committee,
    member: int,
    start: Geometry,
    conditions: Mapping[str, Conditions],
    seeds: Sequence[int],
    scratch: Path,
    run: Runner,
) -> tuple[Record, Frames]:
    """Simulate with one member; return what became of it, and the frames of the last simulation.

    The record has the picoseconds that each simulation reached, and the reason why one broke, None
    if none did; none follows one that broke.

    Args:
        committee: of the member.
        member: its index.
        start: of every simulation.
        conditions: of the simulations by their names ("volume"), in order.
        seeds: of all random numbers; the number of a simulation is appended.
        scratch: folder of checkpoints.
        run: whose minutes end the simulation.
    """
    record: Record = {"member": member, "reason": None}
    frames = None
    for part, (name, which) in enumerate(conditions.items(), 1):
        rng = np.random.default_rng([*seeds, part])
        checkpoint = Checkpoint(scratch / f"{name}.npz", 120.0)
        (frames,) = which.run(committee, member, [start], rng, run.report, checkpoint)
        record[name] = float(frames.times[-1]) / 1000 if len(frames) else 0.0
        record["reason"] = frames.reason and f"constant {name}: {frames.reason}"
        if record["reason"]:
            break
    assert frames is not None  # there are conditions
    return record, frames


def finished(records: Mapping[str, Record], simulated: int) -> dict[str, Record]:
    """Return the records that claims may rest on: loops, and committees simulated as a whole.

    Members that break are finished first, so a share of those finished so far would be too small.

    Args:
        records: by the names of loops; others have names without a space, and are kept.
        simulated: number of simulations of a whole committee.
    """
    found: dict[str, Record] = {}
    for name, record in records.items():
        if " " not in name:
            found[name] = record
        elif "iterations" in record:
            survival = record.get("survival", {})
            whole = {k: some for k, some in survival.items() if len(some) == simulated}
            rest = {k: value for k, value in record.items() if k != "survival"}
            found[name] = rest | ({"survival": whole} if whole else {})
    return found


def seconds_of(record: Mapping[str, Any]) -> float:
    """Return the processor seconds of all stages of a loop."""
    stages = [iteration["cpu seconds"] for iteration in record.get("iterations", [])]
    return round(sum(sum(seconds.values()) for seconds in stages), 1)
