"""Nitrogen inversion of ammonia with density functional theory: Schwalbe-Koda 2021, Sec. 3.2, Figs.
3 to 5.

A job is one seed of one start and one recipe: three committees with two labelled rounds of attacks
between them, 100 more attacks on the third, and two random committees at equal labels, each
committee examined. Everything is a file as soon as it is there; jobs that a result file holds are
not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import islice, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agal_toolkit.analysis.errors import RmseBelow
from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Event, Report, ignore
from agal_toolkit.geometry import Labels
from agal_toolkit.loop.generation import Generation, Proposal
from agal_toolkit.loop.loop import Loop, Recipe
from agal_toolkit.references import DFT, Cache, Reference
from agal_toolkit.sampling.samplers import Copies
from agal_toolkit.settings import machine, to_settings

from ..results import agree, keep, read, write
from . import committees as examined
from .claims import claims
from .labels import judged, labelled, shown
from .plane import Ground
from .recipes import KCAL, PRESETS, RECIPES, REMEDIES, STARTS, Preset, initial, random, recipe
from .truth import Truth, truth

COMMITTEES = ("first", "second", "third", "random", "random and start")
MOVED = (
    "first",
    "third",
    "random",
    "random and start",
)  # committees that simulations are made with


def loop(
    name: str, preset: Preset, known: Truth, seed: int, reference: Reference, device: str = "cpu"
) -> Loop:
    """The loop of a job; its metrics are the barrier (kcal/mol) and errors on the (Z, R) plane
    below 5 and 40 kcal/mol (kcal/mol).
    """
    metrics = {
        "barrier": examined.Barrier(known.ground, preset.truth.images, preset.truth.fmax),
        **{
            f"RMSE below {cap} kcal/mol": RmseBelow(known.zero + cap * KCAL, unit=KCAL)
            for cap in (5, 40)
        },
    }
    return Loop(recipe(name, preset, known, device), reference, known.plane, metrics, seed)


def trained(
    name: str,
    preset: Preset,
    known: Truth,
    seed: int,
    reference: Reference,
    data: Dataset,
    place: Path,
    device: str,
    report: Report = ignore,
) -> Committee:
    """A committee of the recipe's training on other data, for comparison; kept in `place`."""
    first: Recipe = recipe(name, preset, known, device).recipes[0]
    alone = Loop(
        replace(first, attack=None, sampler=Copies(known.ground, 1), selectors=()),
        reference,
        seed=seed,
    )
    return alone.ask(data, place, report=report).committee


def job(
    name: str,
    start: str,
    seed: int,
    preset: str,
    out: Path,
    data: Path,
    *,
    label: DFT = DFT(),
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    report: Report = ignore,
) -> dict[str, Any]:
    """One job, each part of it read where it is finished; its record.

    Args:
        name: of the recipe.
        start: of the initial data.
        seed: of everything random.
        preset: of the sizes.
        out: of run directories; the job has a folder of its own.
        data: of the reference's files and of labelled geometries.
        label: the reference.
        device: where networks are trained.
        say: hears what is finished.
        report: hears every event.

    Raises:
        ValueError: parts that were made with other settings.
    """
    place, sizes, began = out / f"{name}-{start}-{seed}", PRESETS[preset], time.monotonic()
    reference, cache = Reference(label), Cache(out / "labels")
    known = truth(data / "reference", label, sizes.truth, say=say)
    made = settings(name, start, sizes, known, label)
    first = labelled(
        data / f"{start}-{seed}.extxyz",
        initial(start, sizes, known, seed),
        reference,
        cache,
        report,
    )
    chance = labelled(
        data / f"random-{seed}.extxyz",
        random(0.3, sizes.random, known, seed),
        reference,
        cache,
        report,
    )
    say(
        f"{place.name}: {len(first)} initial and {len(chance)} random geometries are labelled,"
        f" {time.monotonic() - began:.0f} s"
    )
    running = loop(name, sizes, known, seed, reference, device)
    rounds = list(islice(running.generations(first, place / "adversarial", report), 2))
    third = running.ask(first, place / "adversarial", report=report)
    acquired = rounds[-1].grown[len(first) :]
    say(f"{place.name}: {len(acquired)} attacks are labelled, {time.monotonic() - began:.0f} s")

    def beside(key: str, own: Dataset) -> tuple[Committee, int]:
        return trained(name, sizes, known, seed, reference, own, place / key, device, report), len(
            own
        )

    committees: dict[str, Callable[[], tuple[Committee, int]]] = {
        **{
            key: partial(lambda turn: (turn.committee, len(turn.dataset)), turn)
            for key, turn in zip(COMMITTEES, (*rounds, third), strict=False)
        },
        "random": partial(beside, "random", chance),
        "random and start": partial(
            beside, "random-and-start", first + later(chance[: len(acquired)])
        ),
    }
    found = {}
    for key, give in committees.items():
        file = place / f"{key.replace(' ', '-')}.json"
        if not file.exists():
            keep(
                file,
                {"settings": made, "found": _examined(key, *give(), known, sizes, seed, report)},
            )
        stored = json.loads(file.read_text())
        agree(stored.get("settings", {}), made, file)
        found[key] = stored["found"]
        said = found[key]["paths"]
        say(
            f"{place.name}: {key} committee, {found[key]['structures']} structures, barrier"
            f" {said.get('barrier', said.get('failed'))} kcal/mol, {time.monotonic() - began:.0f} s"
        )
    last = _unlabelled(third)
    keep(data / preset / f"attacks-{place.name}.extxyz", acquired)
    keep(data / preset / f"third-{place.name}.extxyz", last)
    sets = {
        "start": first,
        "random": chance,
        "attacks 1": rounds[0].labelled,
        "attacks 2": rounds[1].labelled,
        "attacks 3": last,
    }
    record = {
        "seed": seed,
        "rounds": [_round(turn) for turn in (*rounds, third)],
        "committees": found,
        "sets": {key: _set(each, known) for key, each in sets.items()},
        "judged": _judged(data / preset, place.name, last, known, reference, cache),
        "seconds": round(time.monotonic() - began, 1),
    }
    keep(place / "job.json", {"settings": made, **machine(), "device": device, "record": record})
    return record


def later(data: Dataset) -> Dataset:
    """The same as acquired structures, whose energies take no part in the baseline."""
    return Dataset(
        [replace(geometry, origin={**geometry.origin, "generation": 1}) for geometry in data],
        data.labels,
    )


def _examined(
    key: str,
    committee: Committee,
    structures: int,
    known: Truth,
    sizes: Preset,
    seed: int,
    report: Report,
) -> dict[str, Any]:
    """All that is recorded of a committee; where frames went only of the third, as in Fig. 5."""
    found = {
        "structures": structures,
        "paths": examined.paths(committee, known, sizes),
        "surface": examined.surface(committee, known),
    }
    if key in MOVED:
        found["stability"] = examined.stability(committee, known, sizes, seed, report)
        if key != "third":
            del found["stability"]["frames"]
    return found


def _round(turn: Proposal) -> dict[str, Any]:
    """Attacks, those that were distinct and sound, and labels are different numbers; and where the
    attacks went.
    """
    labels = (
        {
            "labels": len(turn.labelled),
            "failures": len(turn.failures),
            "metrics": dict(turn.metrics),
        }
        if isinstance(turn, Generation)
        else {}
    )
    return {
        "attacks": len(turn.candidates),
        "verdicts": dict(Counter(turn.verdicts)),
        **labels,
        "seconds": {key: round(value, 1) for key, value in turn.seconds.items()},
    }


def _unlabelled(turn: Proposal) -> Dataset:
    """The candidates of a committee with its own energies and forces, as nobody else knows them."""
    geometries = [candidate.geometry for candidate in turn.candidates]
    said = turn.committee.predict(geometries).mean()
    forces = np.split(
        said.forces.numpy(), np.cumsum([len(geometry) for geometry in geometries])[:-1]
    )
    return Dataset(
        [
            replace(g, origin={**g.origin, "generation": turn.index + 1, "energies": "committee"})
            for g in geometries
        ],
        [Labels(energy=float(e), forces=f) for e, f in zip(said.energy, forces, strict=True)],
    )


def _set(data: Dataset, known: Truth) -> dict[str, Any]:
    """Energies (kcal/mol above the ground state), deviations from it (angstrom), and normalised (Z,
    R) of structures.
    """
    deviation = AlignedRmsd(reflections=True)
    return {
        "energies": np.round((data.energies - known.zero) / KCAL, 3).tolist(),
        "rmsd": [round(deviation(known.ground, geometry), 4) for geometry in data],
        "plane": np.round(Ground.of(known.ground).project(list(data)), 4).tolist(),
    }


def _judged(
    data: Path, job: str, attacks: Dataset, known: Truth, reference: Reference, cache: Cache
) -> dict[str, list[float]]:
    """Energies of the third committee's distinct attacks, kcal/mol above the ground state: its own
    and the reference's.
    """
    found = judged(data / f"judged-{job}.extxyz", attacks, reference, cache)
    said = {
        "committee": np.array([geometry.origin["predicted"] for geometry in found]),
        "reference": found.energies,
    }
    return {
        key: np.round((energies - known.zero) / KCAL, 3).tolist() for key, energies in said.items()
    }


def settings(name: str, start: str, sizes: Preset, known: Truth, label: DFT) -> dict[str, Any]:
    """Everything that changes the numbers of a job but its seed, as JSON."""
    return {
        "recipe": to_settings(recipe(name, sizes, known)),
        "about": {**RECIPES, **REMEDIES}[name].about,
        "start": start,
        "temperatures of the start": list(STARTS[start]),
        "sizes": {key: value for key, value in asdict(sizes).items() if key != "truth"},
        "reference": Reference(label).description,
    }


def collect(
    place: Path, out: Path, name: str, start: str, wanted: Mapping[str, Any]
) -> dict[int, dict[str, Any]]:
    """The finished jobs of a recipe and a start by seed, from their files and from the result file
    `place`.

    Raises:
        ValueError: a job of other settings (the differences are shown).
    """
    found: dict[int, dict[str, Any]] = {}
    if place.exists():
        stored = read(place)
        agree(stored["settings"], wanted, place)
        found |= {run["seed"]: run for run in stored["records"]["runs"]}
    for file in sorted(out.glob(f"{name}-{start}-*/job.json")):
        stored = json.loads(file.read_text())
        agree(stored["settings"], wanted, file)
        found[stored["record"]["seed"]] = stored["record"]
    return dict(sorted(found.items()))


def _work(arguments: Mapping[str, Any], deadline: float) -> None:
    """What one process does."""
    if time.time() < deadline:
        torch.set_num_threads(1)
        job(**arguments, say=_say, report=partial(_until, deadline))


def _until(deadline: float, event: Event) -> None:
    """Ends a job whose time is over; what is finished is on disk."""
    if time.time() > deadline:
        raise TimeoutError("the time of this call is over; the next one goes on")


def study(
    preset: str = "laptop",
    *,
    recipes: Sequence[str] = ("ours",),
    starts: Sequence[str] = ("thermal",),
    seeds: Sequence[int] = (0,),
    processes: int = 1,
    device: str = "cpu",
    out: str | Path = "runs/ammonia",
    results: str | Path = "notebooks/results",
    minutes: float = np.inf,
    label: DFT = DFT(),
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Runs the jobs that are not there yet, and writes a result file for each recipe and start from
    all that are.

    Args:
        preset: of the sizes.
        recipes, starts, seeds: a job for each of their combinations, seeds outermost.
        processes: jobs at a time, each in a process with one thread.
        device: where networks are trained.
        out: of run directories.
        results: folder of the result files ``ammonia_<recipe>_<start>-<preset>.json`` and, in
            ``ammonia/``, of the data.
        minutes: jobs end after this; the next call goes on.
        label: the reference.
        say: hears lines of progress, of other processes none.

    Raises:
        ValueError: a negative seed, or stored jobs or geometries that were made with other
            settings.
    """
    if min(seeds, default=0) < 0:
        raise ValueError(f"seeds are {list(seeds)}: give numbers from 0 on")
    out, data, sizes = Path(out) / preset, Path(results) / "ammonia", PRESETS[preset]
    deadline = time.time() + 60 * minutes
    known = truth(data / "reference", label, sizes.truth, workers=processes, say=say)
    places = {
        (name, start): Path(results) / f"ammonia_{name}_{start}-{preset}.json"
        for name, start in product(recipes, starts)
    }

    def done(name: str, start: str) -> dict[int, dict[str, Any]]:
        return collect(
            places[name, start], out, name, start, settings(name, start, sizes, known, label)
        )

    there = {pair: done(*pair) for pair in places}
    jobs = [
        {
            "name": name,
            "start": start,
            "seed": seed,
            "preset": preset,
            "out": out,
            "data": data,
            "label": label,
            "device": device,
        }
        for seed, name, start in product(seeds, recipes, starts)
        if seed not in there[name, start]
    ]
    if processes == 1 or len(jobs) == 1:
        for arguments in jobs:
            if time.time() < deadline:
                with suppress(TimeoutError):
                    job(**arguments, say=say, report=partial(_until, deadline))
    elif jobs:
        with get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
            for waiting in [pool.apply_async(_work, (arguments, deadline)) for arguments in jobs]:
                with suppress(TimeoutError):
                    waiting.get()
    if time.time() < deadline:
        shown(sizes, known, data, Reference(label), Cache(out / "labels"))
    for (name, start), place in places.items():
        runs = list(done(name, start).values())
        if not runs:
            say(f"{name}, {start}: no job is finished yet; the next call goes on")
            continue
        found = claims(runs, known.path.barrier / KCAL)
        write(
            results,
            place.name.removesuffix(f"-{preset}.json"),
            preset,
            seed=runs[0]["seed"],
            device=device,
            seconds={"all jobs": round(sum(run["seconds"] for run in runs), 1)},
            settings=settings(name, start, sizes, known, label),
            records={"runs": runs},
            claims=found,
        )
        for claim in found:
            say(str(claim))
        say(f"{name}, {start}: {len(runs)} jobs, written to {place}")
    return list(places.values())


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="laptop")
    parser.add_argument("--recipes", choices=RECIPES, nargs="+", default=["ours"])
    parser.add_argument("--starts", choices=STARTS, nargs="+", default=["thermal"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--processes", type=int, default=1, help="jobs at a time, each in a process with one thread"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out", default="runs/ammonia", help="run directories; what is there is not run again"
    )
    parser.add_argument(
        "--results",
        default="notebooks/results",
        help="where JSON and labelled geometries go; jobs that they hold are not run again",
    )
    parser.add_argument(
        "--minutes", type=float, default=np.inf, help="end jobs after this; the next call goes on"
    )
    study(**vars(parser.parse_args()), say=_say)


if __name__ == "__main__":
    main()
