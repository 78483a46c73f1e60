"""Structures of a chosen error in liquid water: Cezar 2025, Figs. 2 and 3, with AMOEBA as truth.

One committee is trained once; a trial sends forty structures to an error, each way that the paper
compares and some more (:mod:`.trials`). Every trial is a job. A second round calibrates anew, with
the first round's labelled structures of the same target added to the calibration structures, and
attacks seeds that the first did not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from agal_toolkit.dataset import Dataset
from agal_toolkit.settings import to_settings

from .. import jobs
from ..jobs import Job, OutOfTime, Record, Runner, agree, finished, save
from ..water.truth import SEED, Sizes
from .claims import claims
from .committee import committee, evaluate, trainer
from .recipes import PRESETS, Preset, trials, truth
from .trials import HOT, LONGEST, STEP, Scene, Trial, run

NAME = "calibrated_attacks"


@lru_cache(maxsize=1)
def scene(water: Path, preset: str, device: str = "cpu") -> Scene:
    """Return what all trials share, from the folder of the truth's data and of the committee."""
    sizes = PRESETS[preset]
    data = truth(water, sizes)
    members = committee(water / f"committee-{preset}", sizes, data, device)
    return Scene.of(members, data, sizes.steps)


def scene_of(runner: Runner) -> Scene:
    """Return :func:`scene` in the runner's results."""
    return scene(runner.results / "water", runner.preset, runner.device)


def job(runner: Runner, name: str) -> Record:
    """Run one trial and write its structures; return its record.

    Raises:
        RuntimeError: a second round without the structures of the first.
    """
    trial, folder, earlier = trials(PRESETS[runner.preset])[name], runner.out / "trials", None
    if trial.law == "second":
        first = folder / f"x{trial.target}.extxyz.gz"
        if not first.exists():
            raise RuntimeError(
                f"the structures of x{trial.target} are missing, {first}: run that trial into the"
                " same folder"
            )
        earlier = Dataset.read(first)
    record, labelled = run(trial, scene_of(runner), earlier)
    if len(labelled):
        save(folder / f"{name}.extxyz.gz", labelled)
    errors = [value for value in record["structures"]["found"] if value is not None]
    runner.say(f"{name}: target {record['target']:.4f}, error {np.mean(errors):.4f} eV/A")
    return record


def settings(preset: Preset) -> dict[str, Any]:
    """Return everything that changes the numbers but a trial's own, as JSON."""
    return {
        "sizes": to_settings(preset),
        "truth": to_settings(Sizes()),
        "trainer": to_settings(trainer(preset)),
        "heat": {"temperature": HOT, "timestep": STEP, "longest": LONGEST},
    }


def settings_of_trial(trial: Trial) -> dict[str, Any]:
    """Return everything that changes the numbers of a trial, as JSON; its description does not."""
    return {key: value for key, value in to_settings(trial).items() if key != "about"}


def study(runner: Runner, *, only: Sequence[str] = ()) -> Path:
    """Run the trials that are missing; write the result file.

    Args:
        runner: where and how; the truth's data and the committee are in ``water/`` of its results.
        only: names of trials; all if none is given.

    Raises:
        ValueError: a trial that does not exist, or results of other settings.
        OutOfTime: the committee is not trained yet.
        ExceptionGroup: trials failed; the others are written.
    """
    sizes, water = PRESETS[runner.preset], runner.results / "water"
    all_trials = trials(sizes)
    unknown = set(only) - set(all_trials)
    if unknown:
        raise ValueError(
            f"no trials are named {sorted(unknown)}; there are {', '.join(all_trials)}"
        )
    done = collect(runner, all_trials)
    folder = water / f"committee-{runner.preset}"
    data = truth(water, sizes, runner.say)
    committee(folder, sizes, data, runner.device, runner.say, runner.report)
    missing = {
        name: Job(
            runner.out / "trials" / f"{name}.json",
            {**settings(sizes), "trial": settings_of_trial(trial)},
            partial(job, name=name),
        )
        for name, trial in all_trials.items()
        if name not in done and (not only or name in only)
    }
    second = {name for name in missing if all_trials[name].law == "second"}
    errors = runner.run({name: job for name, job in missing.items() if name not in second})
    errors += runner.run({name: job for name, job in missing.items() if name in second})
    done = collect(runner, all_trials)
    records = {
        "heldout": scene_of(runner).heldout,
        "committee": _evaluation(runner),
        "trials": {name: done[name] for name in all_trials if name in done},
    }
    seconds = [record["seconds"] for record in records["trials"].values()]
    of_trials = {name: settings_of_trial(all_trials[name]) for name in records["trials"]}
    path = runner.write(
        NAME,
        seed=SEED,
        seconds={
            "training": json.loads((folder / "fitted.json").read_text())["seconds"],
            "trials": round(sum(seconds), 1),
        },
        settings=settings(sizes) | {"trials": of_trials},
        records=records,
        claims=claims(records),
    )
    jobs.raise_errors(errors)
    return path


def _evaluation(runner: Runner) -> Record:
    """Return the committee's calibration statistics, from their file or computed."""
    file, made_with = runner.out / "judged.json", settings(PRESETS[runner.preset])
    if not file.exists():
        save(file, {"settings": made_with, "record": evaluate(scene_of(runner))})
    return finished(file, made_with)


def collect(runner: Runner, all_trials: Mapping[str, Trial]) -> dict[str, Record]:
    """Return records of the finished trials by name, from the result file and their own files.

    Raises:
        ValueError: results of other settings (the differences are shown).
    """
    made_with = settings(PRESETS[runner.preset])
    stored = runner.stored(NAME, made_with)
    records = {}
    for name, record in stored["records"].get("trials", {}).items():
        if name in all_trials:
            wanted = settings_of_trial(all_trials[name])
            agree(stored["settings"]["trials"][name], wanted, runner.result_file(NAME))
            records[name] = record
    for file in sorted((runner.out / "trials").glob("*.json")):
        if file.stem in all_trials:
            wanted = {**made_with, "trial": settings_of_trial(all_trials[file.stem])}
            records[file.stem] = finished(file, wanted)
    return records


def main() -> None:
    """Run the command line."""
    arguments = jobs.parser(__doc__, PRESETS, NAME)
    arguments.add_argument("--only", nargs="+", default=[], help="names of trials")
    given = arguments.parse_args()
    try:
        study(jobs.runner(given), only=given.only)
    except OutOfTime:
        print("the committee is not trained yet; the next call goes on")
