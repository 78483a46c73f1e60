"""Nitrogen inversion of ammonia with density functional theory: Schwalbe-Koda 2021, Sec. 3.2, Figs.
3 to 5.

A job is one seed of one start and one recipe: three committees with two labelled rounds of attacks
between them, 100 more attacks on the third, and two random committees at equal labels. Each
committee is analysed. Every part of a job is a file as soon as it is finished.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from agal_toolkit.analysis.errors import RmseBelow
from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Labels
from agal_toolkit.loop.generation import Generation, Proposal
from agal_toolkit.loop.loop import Loop, Recipe
from agal_toolkit.references import DFT, Cache, Reference
from agal_toolkit.sampling.samplers import Copies
from agal_toolkit.settings import to_settings

from .. import jobs
from ..jobs import Job, Record, Runner, finished, save
from . import committees
from .claims import claims
from .labels import labelled, labelled_attacks, random_sets
from .plane import Ground
from .recipes import KCAL, PRESETS, RECIPES, REMEDIES, STARTS, Preset, initial, random, recipe
from .truth import Truth, load_truth

COMMITTEES = ("first", "second", "third", "random", "random and start")
SIMULATED = ("first", "third", "random", "random and start")  # committees with simulations


def loop(
    name: str, preset: Preset, truth: Truth, seed: int, reference: Reference, device: str = "cpu"
) -> Loop:
    """Return the loop of a job.

    Its metrics, all in kcal/mol, are the barrier and the errors on the (Z, R) plane below 5 and 40.
    """
    metrics = {
        "barrier": committees.Barrier(truth.ground, preset.truth.images, preset.truth.fmax),
        **{
            f"RMSE below {cap} kcal/mol": RmseBelow(truth.zero + cap * KCAL, unit=KCAL)
            for cap in (5, 40)
        },
    }
    return Loop(recipe(name, preset, truth, device), reference, truth.plane, metrics, seed)


def job(runner: Runner, name: str, start: str, seed: int, label: DFT = DFT()) -> Record:
    """Run one job, each part read where it is finished; return its record.

    Args:
        runner: where and how.
        name: of the recipe.
        start: of the initial data.
        seed: of everything random.
        label: the reference.

    Raises:
        ValueError: parts were made with other settings.
    """
    folder, data = runner.out / f"{name}-{start}-{seed}", runner.results / "ammonia"
    sizes, began = PRESETS[runner.preset], time.monotonic()
    reference, cache = Reference(label), Cache(runner.out / "labels")
    truth = load_truth(data / "reference", label, sizes.truth, say=runner.say)
    made_with = settings(name, start, sizes, truth, label)

    def say(text: str) -> None:
        runner.say(f"{folder.name}: {text}, {time.monotonic() - began:.0f} s")

    geometries = {start: initial(start, sizes, truth, seed)}
    geometries["random"] = random(0.3, sizes.random, truth, seed)
    first, chance = (
        labelled(data / f"{kind}-{seed}.extxyz", some, reference, cache, runner.report)
        for kind, some in geometries.items()
    )
    say(f"{len(first)} initial and {len(chance)} random geometries are labelled")
    adversarial = loop(name, sizes, truth, seed, reference, runner.device)
    directory = folder / "adversarial"
    rounds = list(islice(adversarial.generations(first, directory, runner.report), 2))
    third = adversarial.ask(first, directory, report=runner.report)
    acquired = rounds[-1].grown[len(first) :]
    say(f"{len(acquired)} attacks are labelled")

    def train(key: str, learned: Dataset) -> tuple[Committee, int]:
        """Train a committee of the recipe on other data, for comparison."""
        printed: Recipe = recipe(name, sizes, truth, runner.device).recipes[0]
        alone = replace(printed, attack=None, sampler=Copies(truth.ground, 1), selectors=())
        comparison = Loop(alone, reference, seed=seed)
        proposal = comparison.ask(learned, folder / key, report=runner.report)
        return proposal.committee, len(learned)

    makers: list[Callable[[], tuple[Committee, int]]] = [
        *(partial(lambda turn: (turn.committee, len(turn.dataset)), t) for t in (*rounds, third)),
        partial(train, "random", chance),
        partial(train, "random-and-start", first + as_acquired(chance[: len(acquired)])),
    ]
    analyses = {}
    for key, make in zip(COMMITTEES, makers, strict=True):
        file = folder / f"{key.replace(' ', '-')}.json"
        if not file.exists():
            record = _analysis(key, *make(), truth, sizes, seed, runner)
            save(file, {"settings": made_with, "record": record})
        analyses[key] = finished(file, made_with)
        paths = analyses[key]["paths"]
        barrier = paths.get("barrier", paths.get("failed"))
        say(
            f"{key} committee, {analyses[key]['structures']} structures, barrier {barrier} kcal/mol"
        )
    last = _unlabelled(third)
    save(data / runner.preset / f"attacks-{folder.name}.extxyz", acquired)
    save(data / runner.preset / f"third-{folder.name}.extxyz", last)
    sets = {
        "start": first,
        "random": chance,
        "attacks 1": rounds[0].labelled,
        "attacks 2": rounds[1].labelled,
        "attacks 3": last,
    }
    file = data / runner.preset / f"judged-{folder.name}.extxyz"
    return {
        "seed": seed,
        "rounds": [_round(turn) for turn in (*rounds, third)],
        "committees": analyses,
        "sets": {key: _set(some, truth) for key, some in sets.items()},
        "judged": _energies(labelled_attacks(file, last, reference, cache), truth),
        "seconds": round(time.monotonic() - began, 1),
    }


def as_acquired(data: Dataset) -> Dataset:
    """Return the same structures as acquired ones, whose energies do not enter the baseline."""
    return Dataset(
        [replace(geometry, origin={**geometry.origin, "generation": 1}) for geometry in data],
        data.labels,
    )


def _analysis(
    key: str,
    committee: Committee,
    structures: int,
    truth: Truth,
    sizes: Preset,
    seed: int,
    runner: Runner,
) -> Record:
    """Return the record of a committee; frames are kept of the third only, as in Fig. 5."""
    record = {
        "structures": structures,
        "paths": committees.paths(committee, truth, sizes),
        "surface": committees.surface(committee, truth),
    }
    if key in SIMULATED:
        record["stability"] = committees.stability(committee, truth, sizes, seed, runner.report)
        if key != "third":
            del record["stability"]["frames"]
    return record


def _round(turn: Proposal) -> Record:
    """Return the numbers of attacks, verdicts and labels of a round."""
    record = {"attacks": len(turn.candidates), "verdicts": dict(Counter(turn.verdicts))}
    if isinstance(turn, Generation):
        record |= {
            "labels": len(turn.labelled),
            "failures": len(turn.failures),
            "metrics": dict(turn.metrics),
        }
    return record | {"seconds": {key: round(value, 1) for key, value in turn.seconds.items()}}


def _unlabelled(turn: Proposal) -> Dataset:
    """Return a committee's candidates, labelled by that committee."""
    geometries = [candidate.geometry for candidate in turn.candidates]
    prediction = turn.committee.predict(geometries).mean()
    ends = np.cumsum([len(geometry) for geometry in geometries])[:-1]
    forces = np.split(prediction.forces.numpy(), ends)
    origin = {"generation": turn.index + 1, "energies": "committee"}
    return Dataset(
        [replace(g, origin={**g.origin, **origin}) for g in geometries],
        [Labels(energy=float(e), forces=f) for e, f in zip(prediction.energy, forces, strict=True)],
    )


def _set(data: Dataset, truth: Truth) -> Record:
    """Return energies above the ground state (kcal/mol), RMSD from it (angstrom) and (Z, R)."""
    deviation = AlignedRmsd(reflections=True)
    return {
        "energies": _kcal(data.energies, truth),
        "rmsd": [round(deviation(truth.ground, geometry), 4) for geometry in data],
        "plane": np.round(Ground.of(truth.ground).project(list(data)), 4).tolist(),
    }


def _energies(attacks: Dataset, truth: Truth) -> Record:
    """Return energies of labelled attacks, the committee's and the reference's (kcal/mol)."""
    predicted = np.array([geometry.origin["predicted"] for geometry in attacks])
    return {"committee": _kcal(predicted, truth), "reference": _kcal(attacks.energies, truth)}


def _kcal(energies: np.ndarray, truth: Truth) -> list[float]:
    """Return energies (n,) in eV as kcal/mol above the ground state."""
    return np.round((energies - truth.zero) / KCAL, 3).tolist()


def settings(name: str, start: str, sizes: Preset, truth: Truth, label: DFT) -> dict[str, Any]:
    """Return everything that changes the numbers of a job but its seed, as JSON."""
    return {
        "recipe": to_settings(recipe(name, sizes, truth)),
        "about": {**RECIPES, **REMEDIES}[name].about,
        "start": start,
        "temperatures of the start": list(STARTS[start]),
        "sizes": {key: value for key, value in asdict(sizes).items() if key != "truth"},
        "reference": Reference(label).description,
    }


def _collect(
    runner: Runner, name: str, start: str, made_with: Mapping[str, Any]
) -> dict[int, Record]:
    """Return records of finished jobs by seed, from the result file and from the jobs' files."""
    stored = runner.stored(f"ammonia_{name}_{start}", made_with)
    records = stored["records"].get("runs", [])
    files = sorted(runner.out.glob(f"{name}-{start}-*/job.json"))
    records = [*records, *(finished(file, made_with) for file in files)]
    return dict(sorted((record["seed"], record) for record in records))


def study(
    runner: Runner,
    *,
    recipes: Sequence[str] = ("ours",),
    starts: Sequence[str] = ("thermal",),
    seeds: Sequence[int] = (0,),
    label: DFT = DFT(),
) -> list[Path]:
    """Run the jobs that are missing; write a result file for each recipe and start.

    Args:
        runner: where and how; data are in ``ammonia/`` of its results.
        recipes, starts, seeds: a job for each of their combinations, seeds outermost.
        label: the reference.

    Raises:
        ValueError: a negative seed, or stored jobs or geometries of other settings.
        ExceptionGroup: jobs failed; the others are written.
    """
    if min(seeds, default=0) < 0:
        raise ValueError(f"seeds are {list(seeds)}: give numbers from 0 on")
    data, sizes = runner.results / "ammonia", PRESETS[runner.preset]
    truth = load_truth(
        data / "reference", label, sizes.truth, workers=runner.processes, say=runner.say
    )
    made_with = {pair: settings(*pair, sizes, truth, label) for pair in product(recipes, starts)}
    records = {pair: _collect(runner, *pair, some) for pair, some in made_with.items()}
    missing = {
        f"{name}-{start}-{seed}": Job(
            runner.out / f"{name}-{start}-{seed}" / "job.json",
            made_with[name, start],
            partial(job, name=name, start=start, seed=seed, label=label),
        )
        for seed, name, start in product(seeds, recipes, starts)
        if seed not in records[name, start]
    }
    errors = runner.run(missing)
    if runner.has_time():
        random_sets(sizes, truth, data, Reference(label), Cache(runner.out / "labels"))
    for (name, start), some in made_with.items():
        runs = list(_collect(runner, name, start, some).values())
        if not runs:
            runner.say(f"{name}, {start}: no job is finished yet; the next call goes on")
            continue
        runner.write(
            f"ammonia_{name}_{start}",
            seed=runs[0]["seed"],
            seconds={"all jobs": round(sum(run["seconds"] for run in runs), 1)},
            settings=some,
            records={"runs": runs},
            claims=claims(runs, truth.path.barrier / KCAL),
        )
    jobs.raise_errors(errors)
    return [runner.result_file(f"ammonia_{name}_{start}") for name, start in made_with]


def main() -> None:
    """Run the command line."""
    arguments = jobs.parser(__doc__, PRESETS, "ammonia")
    arguments.add_argument("--recipes", choices=RECIPES, nargs="+", default=["ours"])
    arguments.add_argument("--starts", choices=STARTS, nargs="+", default=["thermal"])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = arguments.parse_args()
    study(jobs.runner(given), recipes=given.recipes, starts=given.starts, seeds=given.seeds)
