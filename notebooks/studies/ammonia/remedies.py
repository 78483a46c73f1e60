"""What was tried on ammonia: our recipe with one thing changed, on seeds that no result rests on.

Beside it are our recipe without its attack and the printed one with our training. Each run is a
loop of two labelled rounds, and the barriers and surfaces of its three committees.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from agal_toolkit.references import DFT, Cache, Reference

from .. import jobs
from ..jobs import Job, Record, Runner, agree
from . import study as ammonia
from .committees import paths, surface
from .labels import labelled
from .recipes import KCAL, PRESETS, RECIPES, REMEDIES, STARTS, initial
from .truth import Truth, load_truth

NAME = "ammonia_remedies"
SEEDS = (100, 101)
TRIED = ("ours", "frames", "converged", *REMEDIES)
HEAD = (
    "recipe",
    "start",
    "barrier error of the third",
    "of its members",
    "RMSE below 5",
    "below 40",
    "labels",
    "runs",
)


def run(runner: Runner, name: str, start: str, seed: int, label: DFT) -> Record:
    """Run one loop; return its record."""
    sizes, data, began = PRESETS[runner.preset], runner.results / "ammonia", time.monotonic()
    truth, reference = load_truth(data / "reference", label, sizes.truth), Reference(label)
    file, geometries = data / f"{start}-{seed}.extxyz", initial(start, sizes, truth, seed)
    first = labelled(file, geometries, reference, Cache(runner.out / "labels"), runner.report)
    loop = ammonia.loop(name, sizes, truth, seed, reference, runner.device)
    folder = runner.out / "remedies" / f"{name}-{start}-{seed}"
    rounds = list(islice(loop.generations(first, folder, runner.report), 2))
    third = loop.ask(first, folder, report=runner.report)
    committees = []
    for turn in (*rounds, third):
        path = paths(turn.committee, truth, sizes)
        below = surface(turn.committee, truth)["rmse below"]
        committees.append(
            {
                "structures": len(turn.dataset),
                "barrier": path.get("barrier"),
                "members": path.get("members"),
                "rmse below": {cap: below[cap] for cap in ("5", "40")},
            }
        )
    energies = [(turn.labelled.energies - truth.zero) / KCAL for turn in rounds]
    return {
        "start": start,
        "seed": seed,
        "committees": committees,
        "energies": [np.round(values, 2).tolist() for values in energies],
        "seconds": round(time.monotonic() - began, 1),
    }


def settings(name: str, runner: Runner, truth: Truth, label: DFT) -> dict[str, Any]:
    """Return everything that changes the numbers of a recipe's runs but start and seed."""
    of_job = ammonia.settings(name, "thermal", PRESETS[runner.preset], truth, label)
    return {key: value for key, value in of_job.items() if "start" not in key}


def study(
    runner: Runner,
    *,
    recipes: Sequence[str] = TRIED,
    starts: Sequence[str] = ("thermal", "cold"),
    seeds: Sequence[int] = SEEDS,
    label: DFT = DFT(),
) -> Path:
    """Make the runs that are missing; write the result file.

    Args:
        runner: where and how; data are in ``ammonia/`` of its results.
        recipes, starts, seeds: a run for each of their combinations, recipes innermost.
        label: the reference.

    Raises:
        ValueError: runs of other settings.
        ExceptionGroup: runs failed; the others are written.
    """
    sizes, folder = PRESETS[runner.preset], runner.results / "ammonia"
    truth = load_truth(folder / "reference", label, sizes.truth)
    wanted = {name: settings(name, runner, truth, label) for name in recipes}
    stored = runner.stored(NAME, {})
    made_with, runs = stored["settings"], stored["records"].get("runs", {})
    for name in wanted.keys() & made_with.keys():
        agree(made_with[name], wanted[name], runner.result_file(NAME))
    have = {(name, r["start"], r["seed"]) for name, some in runs.items() for r in some}
    lacking = {
        (name, start, seed): Job(
            runner.out / "remedies" / f"{name}-{start}-{seed}.json",
            wanted[name],
            partial(run, name=name, start=start, seed=seed, label=label),
        )
        for start, seed, name in product(starts, seeds, recipes)
        if (name, start, seed) not in have
    }
    errors = runner.run({job.file.stem: job for job in lacking.values()})
    for (name, _, _), job in lacking.items():
        if job.file.exists():
            runs.setdefault(name, []).append(job.record())
    all_runs = [record for some in runs.values() for record in some]
    if all_runs:
        runner.write(
            NAME,
            seed=min(record["seed"] for record in all_runs),
            seconds={"in all": round(sum(record["seconds"] for record in all_runs), 1)},
            settings={name: made_with.get(name) or wanted[name] for name in runs},
            records={"truth": round(truth.path.barrier / KCAL, 4), "runs": runs},
            claims=[],
        )
    jobs.raise_errors(errors)
    return runner.result_file(NAME)


def table(result: Mapping[str, Any]) -> str:
    """Return medians over the runs of each recipe and start as Markdown, kcal/mol.

    A committee without a minimum counts as infinitely wrong.
    """
    barrier, rows = result["records"]["truth"], []
    for (name, runs), start in product(result["records"]["runs"].items(), STARTS):
        thirds = [run["committees"][2] for run in runs if run["start"] == start]
        if not thirds:
            continue
        errors = [
            np.inf if third["barrier"] is None else abs(third["barrier"] - barrier)
            for third in thirds
        ]
        members = [
            np.sqrt(np.nanmean(np.square(np.array(third["members"], dtype=float) - barrier)))
            for third in thirds
            if third["members"] is not None
        ]
        below = {cap: np.median([t["rmse below"][cap] for t in thirds]) for cap in ("5", "40")}
        rows.append(
            (
                (RECIPES | REMEDIES)[name].about,
                start,
                f"{np.median(errors):.2f}",
                f"{np.median(members):.2f}" if members else "",
                f"{below['5']:.3f}",
                f"{below['40']:.2f}",
                f"{np.median([third['structures'] for third in thirds]):.0f}",
                str(len(thirds)),
            )
        )
    return jobs.markdown(HEAD, rows)


def main() -> None:
    """Run the command line."""
    arguments = jobs.parser(__doc__, PRESETS, "ammonia")
    arguments.add_argument("--recipes", choices=(*RECIPES, *REMEDIES), nargs="*", default=TRIED)
    arguments.add_argument("--starts", choices=STARTS, nargs="+", default=["thermal", "cold"])
    arguments.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    given = arguments.parse_args()
    study(jobs.runner(given), recipes=given.recipes, starts=given.starts, seeds=given.seeds)
    file = jobs.runner(given).result_file(NAME)
    if file.exists():
        print(table(jobs.read(file)))


if __name__ == "__main__":
    main()
