"""Liquid water from a single structure: Cezar 2025, Sec. IV E 2 and Fig. 4.

``python -m studies.water --preset laptop --minutes 60 --processes 2``

Jobs are loops, of a strategy, a training and a seed, and simulations with each member of their
committees. A loop goes on from its last finished stage, a simulation from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from agal_toolkit.settings import settings_digest, to_settings

from .. import jobs
from ..jobs import Job, OutOfTime, Record, Runner, raise_errors, runner
from ..loops import finished, seconds_of
from .claims import claims
from .iterations import box_of, folder_of, iterations
from .recipes import PRESETS, STRATEGIES, TRAININGS, Preset, reference, schedule, trainer
from .survival import survived
from .truth import SEED

Loop = tuple[str, str, int]  # strategy, training, seed


def sizes(preset: Preset) -> dict[str, Any]:
    """Return the sizes that change a result, as JSON: not those of the lesson."""
    return {k: v for k, v in to_settings(asdict(preset)).items() if not k.startswith("lesson_")}


def settings(run: Runner, loop: Loop) -> dict[str, Any]:
    """Return everything that changes a loop, as JSON; recipes as a digest."""
    (strategy, training, seed), preset = loop, PRESETS[run.preset]
    recipes = schedule(strategy, preset, training, box_of(run))
    return {
        **sizes(preset),
        "strategy": strategy,
        "training": training,
        "seed": seed,
        "recipes": settings_digest(to_settings(recipes)),
        "trainer": to_settings(trainer(preset, training, 0)),
        "reference": reference().identity,
    }


def run_loop(loop: Loop, run: Runner) -> Record:
    """Run a loop to its last iteration; return the records of its iterations."""
    records = []
    for record in iterations(run, *loop):
        records.append(record)
        run.say(
            f"{' '.join(map(str, loop))}, iteration {record['iteration']}: {record['labels']}"
            f" labels, forces {1000 * record['errors']['forces']:.1f} meV/A"
        )
    return {"iterations": records}


def run_member(loop: Loop, iteration: int, member: int, run: Runner) -> Record:
    """Simulate with a member of the committee of an iteration, which must be there."""
    place = folder_of(run, *loop) / f"committee-{iteration}"
    if not (place / "calibration.json").exists():
        raise OutOfTime  # the loop has not come so far
    return survived(place, loop[2], iteration, member, run)


def all_jobs(run: Runner, loops: Iterable[Loop], simulated: Iterable[int]) -> dict[str, Job]:
    """Return the jobs of loops, and of simulations with committees of some iterations, from 0."""
    result, members = {}, PRESETS[run.preset].members
    for loop in loops:
        name, made_with = " ".join(map(str, loop)), settings(run, loop)
        file = folder_of(run, *loop) / "loop.json"
        result[name] = Job(file, made_with, partial(run_loop, loop))
        for iteration in simulated:
            for member in range(members):
                result[f"{name}, iteration {iteration + 1}, member {member}"] = Job(
                    file.with_name(f"committee-{iteration}-{member}.json"),
                    {**made_with, "iteration": iteration, "member": member},
                    partial(run_member, loop, iteration, member),
                )
    return result


def study(
    run: Runner,
    strategies: Iterable[str] = STRATEGIES,
    trainings: Iterable[str] = ("afresh",),
    seeds: Iterable[int] = (0,),
    simulated: Iterable[int] = (3, 4),
) -> Path | None:
    """Run the jobs that are missing; write all that is finished to the study's result file.

    Args:
        run: where and how.
        strategies, trainings, seeds: of the loops.
        simulated: iterations, from 0, whose members are simulated; 3 has 40 labels, 4 has 60.

    Raises:
        ValueError: finished jobs have other settings.
        ExceptionGroup: jobs failed; the others are written.
    """
    loops = [(s, t, k) for k in seeds for t in trainings for s in strategies]
    simulated = list(simulated)
    jobs_of_loops = all_jobs(run, loops, ())
    errors = run.run(jobs_of_loops)
    errors += run.run(all_jobs(run, loops, simulated))
    made_with = {**sizes(PRESETS[run.preset]), "reference": reference().identity}
    stored = run.stored("water", made_with)
    records: Record = dict(stored["records"])
    truth = run.results / f"water_truth-{run.preset}.json"
    if truth.exists():
        records["truth"] = jobs.read(truth)["records"]
    for loop in loops:
        name, mine = " ".join(map(str, loop)), all_jobs(run, [loop], simulated)
        for key, job in mine.items():
            if not job.file.exists():
                continue
            if key == name:
                records.setdefault(name, {}).update(job.record())
            else:
                iteration, member = (word.split()[1] for word in key.split(", ")[1:])
                members = records.setdefault(name, {}).setdefault("survival", {})
                members.setdefault(iteration, {})[member] = job.record()
    path = None
    if records:
        path = run.write(
            "water",
            seed=SEED,
            seconds={name: seconds_of(r) for name, r in records.items() if name != "truth"},
            settings=made_with,
            records=records,
            claims=claims(finished(records, PRESETS[run.preset].members)),
        )
    raise_errors(errors)
    return path


def main() -> None:
    """Run from the command line."""
    arguments = jobs.parser(__doc__ or "", PRESETS, "water")
    add = arguments.add_argument
    add("--strategies", choices=STRATEGIES, nargs="+", default=["attacks"])
    add("--trainings", choices=TRAININGS, nargs="+", default=["afresh"])
    add("--seeds", type=int, nargs="+", default=[0])
    simulated = "iterations, from 1, whose members are simulated"
    add("--simulated", type=int, nargs="*", default=[4, 5], help=simulated)
    given = arguments.parse_args()
    simulated = [k - 1 for k in given.simulated]
    study(runner(given), given.strategies, given.trainings, given.seeds, simulated)
