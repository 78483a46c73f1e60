"""Five runs of the ten lines on malonaldehyde, each judged by the proton transfer of GFN2-xTB.

``python -m studies.malonaldehyde --preset laptop``

The first structures know the hydrogen on one oxygen only. Each run has seeds of its own for the
structures, their split and the loop. Its file is used in a fresh process: a relaxation, vibrations,
and a simulation at constant energy whose frames GFN2-xTB labels.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

import agal_toolkit as agal
from agal_toolkit.analysis.paths import ReactionPath
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.files import atomic_write
from agal_toolkit.loop.recipe import Recipe
from agal_toolkit.settings import to_settings

from ..jobs import Claim, Job, Record, Runner, interval, parser, raise_errors, rounded, runner
from . import transfer
from .transfer import KCAL, SMILES, Coordinate
from .use import used

NAME, SEED = "malonaldehyde", 2026
FILE = "mine.agal"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a preset.

    Attributes:
        runs: number of seeds.
        structures: of the start.
        aside: of these, for the test; as many calibrate.
        budget: labelled structures at which the loop ends.
        temperature: of the start, K.
        shrink: makes the recipe smaller than that for atoms, for tests.
        picoseconds: of the simulation with the file.
    """

    runs: int = 5
    structures: int = 60
    aside: int = 10
    budget: int = 120
    temperature: tuple[float, float] = (200.0, 600.0)
    shrink: bool = False
    picoseconds: float = 10.0

    @property
    def band(self) -> int:
        """Largest number of steps of a committee's own band."""
        return 10 if self.shrink else 300


_SMOKE = Sizes(runs=1, structures=12, aside=3, budget=10, shrink=True, picoseconds=0.05)
_CLASS = Sizes(runs=1)
PRESETS: Mapping[str, Sizes] = {"smoke": _SMOKE, "class": _CLASS, "laptop": Sizes()}


def sized(recipe: Recipe, sizes: Sizes) -> Recipe:
    """Return a recipe as it is, or, where the sizes say so, a small one for tests."""
    if not sizes.shrink:
        return recipe
    assert isinstance(recipe.trainer, agal.TorchTrainer)
    whole: Any = recipe.trainer.network
    network = partial(whole, channels=4, hidden=8)
    trainer = replace(recipe.trainer, network=network, epochs=20)
    attack = recipe.attack and replace(recipe.attack, minimizer=agal.Adam(0.01, 5))
    few = agal.FromDataset(5)
    return replace(recipe, trainer=trainer, attack=attack, members=2, sampler=few)


def settings(sizes: Sizes, seed: int) -> dict[str, Any]:
    """Return everything that changes the numbers of a run, as JSON."""
    return {"sizes": to_settings(sizes), "seed": SEED + seed, "smiles": SMILES}


@contextmanager
def clock(place: Path) -> Iterator[None]:
    """Add the processor seconds of a block, those of finished processes included, to a file."""
    before, began = json.loads(place.read_text()) if place.exists() else [0.0, 0.0], _spent()
    try:
        yield
    finally:
        with atomic_write(place) as part:
            both = zip(before, began, _spent(), strict=True)
            part.write_text(json.dumps([old + now - then for old, then, now in both]))


def _spent() -> list[float]:
    return [sum(os.times()[:4]), time.monotonic()]


def make(sizes: Sizes, seed: int, run: Runner) -> Record:
    """Run the ten lines, and return what they found and what the file is good for."""
    place = run.out / str(seed)
    place.mkdir(parents=True, exist_ok=True)
    spent = place / "clock.json"

    with clock(spent), agal.processes(2) as pool:  # the ten lines
        reference = transfer.reference(pool)
        ground = agal.optimised(reference, agal.conformer(SMILES, seed=seed))
        first = agal.start(ground, sizes.structures, sizes.temperature, seed=SEED + seed)
        data = reference.labelled(first, place / "labels", run.report)
        data, test = data.split(test=sizes.aside, calibration=sizes.aside, seed=SEED + seed)
        recipe = sized(Recipe.for_atoms(data), sizes)
        loop = agal.Loop(recipe, reference, test=test, seed=SEED + seed)
        generations = loop.generations(data, place / "mine", run.report)
        for _ in agal.until(generations, budget=sizes.budget):
            pass
        opened = agal.Run.open(place / "mine")
        final = opened.final(run.report)
        final.save(place / FILE, opened.data)

    cpu, wall = json.loads(spent.read_text())
    path = transfer.true_band(transfer.reference(), ground)
    coordinate, truth = Coordinate.of(ground), path.energies[0]
    first_committee = opened.generations[0].committee
    record: Record = {
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
        "true": [round(float(e), 4) for e in (path.energies - truth) / KCAL],
        "start": positions_of(data, coordinate, truth),
        "labels": [positions_of(g.labelled, coordinate, truth) for g in opened.generations],
        "found": [[round(float(x), 4) for x in g.found] for g in opened.generations],
        "committees": {},
    }
    for name, committee in {"first": first_committee, "final": final}.items():
        record["committees"][name] = judged(committee, test, path, sizes.band)
    record["heights"] = [
        round(float(transfer.heights(g.committee, path).mean(0).max()), 4)
        for g in opened.generations
    ]
    # nothing of this process is left in the one that uses the file
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        start = agal.conformer(SMILES, seed=seed)
        arguments = (place / FILE, start, sizes.picoseconds, SEED + seed)
        record["use"] = fresh.submit(used, *arguments).result()
    return record


def positions_of(data: Dataset, coordinate: Coordinate, zero: float) -> dict[str, list[float]]:
    """Return the coordinate (angstrom) and the energy (kcal/mol above `zero`) of structures."""
    return {
        "coordinate": [round(coordinate(geometry), 3) for geometry in data],
        "energy": [round(float(e - zero) / KCAL, 2) for e in data.energies],
    }


def judged(committee: Committee, test: Dataset, path: ReactionPath, steps: int = 300) -> Record:
    """Return a committee's errors on the test data and its view of the transfer, kcal/mol.

    Its own band has at most a number of `steps`.
    """
    found, promised, force = committee.force_errors(test)
    barrier, converged = transfer.barrier(committee.mean, path.images[0], steps)
    on_path = committee.force_errors(path.images)[0]
    return {
        "forces": round(1000 * found, 1),
        "promised": round(1000 * promised, 1),
        "true_forces": round(1000 * force, 1),
        "forces_on_path": round(1000 * on_path, 1),
        "barrier": round(barrier, 4),
        "converged": converged,
        "heights": transfer.heights(committee, path).round(3).tolist(),
    }


def claims(records: Mapping[str, Any]) -> list[Claim]:
    """Return barriers, errors, costs and the uses of the files."""
    runs = list(records.values())
    true = np.array([max(run["true"]) for run in runs])

    def middle(name: str, values: Any, unit: str, **options: Any) -> Claim:
        samples = np.array(list(values), dtype=float)
        spread = rounded(interval(samples, statistic=np.median))
        value = round(float(np.median(samples)), 4)
        given = {"spread": spread, "runs": len(samples), **options}
        return Claim(name=f"{name}, median", value=value, unit=unit, **given)

    result = [middle("barrier of GFN2-xTB", true, "kcal/mol")]
    for name, goal, at_least in (("first", 1.0, True), ("final", 0.3, False)):
        of = [run["committees"][name] for run in runs]
        options = {"goal": goal, "at_least": at_least}
        tops = np.array([np.mean(each["heights"], axis=0).max() for each in of])
        label = f"error of the barrier, {name} committee, on GFN2's band"
        result.append(middle(label, np.abs(tops - true), "kcal/mol", **options))
        bands = np.array([each["barrier"] if each["converged"] else np.nan for each in of])
        known = np.isfinite(bands)
        label = f"error of the barrier, {name} committee, on its own band"
        if known.any():
            result.append(middle(label, np.abs(bands - true)[known], "kcal/mol", **options))
        label = f"runs whose band converged, {name} committee"
        result.append(Claim(name=label, value=int(known.sum()), runs=len(runs)))
        result.append(middle(f"force error, {name} committee", [e["forces"] for e in of], "meV/A"))
    use = [run["use"] for run in runs]
    waves = [
        np.abs(np.subtract(each["vibrations"], each["true_vibrations"])).mean() for each in use
    ]
    result += [
        middle("time of the ten lines", [run["cpu_seconds"] for run in runs], "s of a processor"),
        middle("error of the vibrations", waves, "cm-1"),
        middle("drift of the energy", [abs(u["drift"]) for u in use], "meV per atom"),
        middle("force error in the simulation", [u["forces"] for u in use], "meV/A"),
        middle("transfers in the simulation", [u["transfers"] for u in use], ""),
    ]
    longest = max(run["cpu_seconds"] for run in runs)
    label = "time of the ten lines, longest"
    options: dict[str, Any] = {"goal": 600.0, "at_least": False, "runs": len(runs)}
    return [*result, Claim(name=label, value=longest, unit="s of a processor", **options)]


def study(run: Runner) -> Path | None:
    """Run the seeds that are missing; return the result file once at least one is finished.

    Raises:
        ValueError: results of other settings.
        ExceptionGroup: runs failed; the others are written.
    """
    sizes = PRESETS[run.preset]
    common = {"sizes": to_settings(sizes), "seed": SEED, "smiles": SMILES}
    records = run.stored(NAME, common)["records"]
    jobs = {
        str(seed): Job(run.out / f"{seed}.json", settings(sizes, seed), partial(make, sizes, seed))
        for seed in range(sizes.runs)
    }
    failed = run.run({name: job for name, job in jobs.items() if name not in records})
    records |= {name: job.record() for name, job in jobs.items() if job.file.exists()}
    records = {name: records[name] for name in sorted(records)}
    place = None
    if records:
        seconds = {name: record["cpu_seconds"] for name, record in records.items()}
        content = {"settings": common, "records": records, "claims": claims(records)}
        place = run.write(NAME, seed=SEED, seconds=seconds, **content)
    raise_errors(failed)
    return place


def main() -> None:
    """Run from the command line."""
    study(runner(parser(__doc__ or "", PRESETS, NAME).parse_args()))
