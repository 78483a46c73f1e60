"""The double well of Schwalbe-Koda 2021 (Sec. 3.1, A.2.1): adversarial against random sampling.

A pair is one adversarial and one random loop that start alike: same data, same split, same seeds of the members, same
filters and cap. What the paper leaves open is settled here once: acquired points are repeated four times, as in the
authors' published code; of each cluster the candidate with the best loss is kept; the random baseline displaces each
training point once a generation. The learning rate stays at 0.001 for all 600 epochs, as the paper prints it. The
published code halves it after 50 epochs without a better validation loss, but the validation points all lie in the first
basin and say nothing of acquired ones: in some generations the rate then falls a hundredfold before the acquired
points are learned, and the error grows instead of falling.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..analysis.errors import RmseBelow, rmse
from ..analysis.surfaces import Grid
from ..attack import Adam, Attack, BoltzmannVariance
from ..dataset import Dataset, Folds
from ..events import Report, ignore
from ..generation import Generation
from ..identity import machine
from ..lockstep import lockstep
from ..loop import Loop, Recipe
from ..potentials.mlp import MLP
from ..references import DoubleWell, Reference, basin
from ..sampling import FromDataset, Rattle
from ..selection import AtMost, Deduplicate, UncertaintyPercentile
from ..stopping import until
from ..store import differences
from ..training import TorchTrainer
from .results import Claim, write

STRATEGIES = ("adversarial", "random")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of the study; nothing else differs between presets.

    Attributes:
        width: units of each hidden layer.
        epochs: of training; the paper's are 600.
        attack_steps: of Adam; the paper's are 600.
        generations: committees of each loop.
        pairs: independent pairs of loops.
        grid: points along a side of the test grid.
    """

    width: int = 128
    epochs: int = 600
    attack_steps: int = 600
    generations: int = 6
    pairs: int = 1
    grid: int = 100


PRESETS: Mapping[str, Preset] = {
    "fast": Preset(width=32, epochs=120, attack_steps=80, generations=3, grid=30),
    "laptop": Preset(pairs=20),
    "gpu": Preset(width=1024, pairs=100),
    "paper": Preset(width=1024, pairs=100),
}


def start(seed: int, well: DoubleWell = DoubleWell()) -> Dataset:
    """The initial data of one pair: uniform draws in the lower basin, labelled."""
    geometries = basin(well, rng=np.random.default_rng([seed, 2021]))
    return Dataset(geometries, [well(geometry) for geometry in geometries])


def recipe(strategy: str, preset: Preset, device: str = "cpu") -> Recipe:
    """The printed recipe of a strategy at a preset's sizes.

    Raises:
        ValueError: a strategy that is neither "adversarial" nor "random".
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}, expected one of {STRATEGIES}")
    adversarial = strategy == "adversarial"
    return Recipe(
        trainer=TorchTrainer(
            network=partial(MLP, 2, width=preset.width), epochs=preset.epochs, learning_rate=1e-3, batch_size=35, energy_weight=1.0, forces_weight=10.0,
            patience=None, keep_best=False, device=device,
        ),
        sampler=FromDataset() if adversarial else Rattle(1.0),
        attack=Attack(BoltzmannVariance(kT=5.0), Adam(0.003, preset.attack_steps), start=0.01) if adversarial else None,
        selectors=[UncertaintyPercentile(80), Deduplicate(0.02), AtMost(20)],
        members=5,
        folds=Folds(train=0.6, valid=0.2, shared=True, acquired=4),
    )


def loop(strategy: str, preset: Preset, seed: int, well: DoubleWell = DoubleWell(), device: str = "cpu") -> Loop:
    """One loop of a pair; the metrics are the RMSE on the whole grid and where the true energy is below 5."""
    test = Grid(points=preset.grid).labelled(well)
    return Loop(recipe(strategy, preset, device), Reference(well), test, {"rmse": rmse, "rmse below 5": RmseBelow(5.0)}, seed)


def generations(
    strategy: str, preset: Preset, seed: int, directory: str | Path | None = None, report: Report = ignore, well: DoubleWell = DoubleWell(), device: str = "cpu",
) -> Iterator[Generation]:
    """All generations of one loop of a pair, resumable where a directory is given."""
    place = None if directory is None else Path(directory) / f"{strategy}-{seed}"
    return until(loop(strategy, preset, seed, well, device).generations(start(seed, well), place, report), count=preset.generations)


def record(generation: Generation) -> dict[str, Any]:
    """The numbers of a generation that figures and claims need."""
    verdicts = list(generation.verdicts)
    return {
        "generation": generation.index + 1, "metrics": dict(generation.metrics), "structures": len(generation.dataset),
        "candidates": len(generation.candidates), "duplicates": verdicts.count("Deduplicate"), "labelled": len(generation.labelled),
        "energies": np.round(generation.labelled.energies, 4).tolist(), "seconds": round(sum(generation.seconds.values()), 2),
    }


Pairs = Sequence[Mapping[str, Sequence[Mapping[str, Any]]]]


def claims(pairs: Pairs) -> list[Claim]:
    """What Schwalbe-Koda 2021 states of Fig. 2b, from the records of pairs; medians with bootstrap intervals over pairs."""
    final = {s: np.array([pair[s][-1]["metrics"]["rmse"] for pair in pairs]) for s in STRATEGIES}
    size = {s: np.array([pair[s][-1]["structures"] for pair in pairs], dtype=float) for s in STRATEGIES}
    energy = {s: np.array([np.median([e for r in pair[s] for e in r["energies"]] or [np.nan]) for pair in pairs]) for s in STRATEGIES}
    ratios = [
        _ratio("random's final RMSE over adversarial's", final, "2 to 3", 2.5),
        _ratio("random's final data set over adversarial's", size, "> 1", 1.0),
        _ratio("random's median sampled energy over adversarial's", energy, "about 10", 5.0),
    ]
    return [claim for claim in ratios if claim is not None]


def _ratio(name: str, values: Mapping[str, np.ndarray], paper: str, goal: float) -> Claim | None:
    """Ratio of medians over pairs, random to adversarial, with a 95 % bootstrap interval over pairs; None where no pair has both."""
    both = np.isfinite(values["random"]) & np.isfinite(values["adversarial"])
    if not both.any():
        return None
    random, adversarial = values["random"][both], values["adversarial"][both]
    drawn = np.random.default_rng(0).integers(len(random), size=(2000, len(random)))
    ratios = np.median(random[drawn], axis=1) / np.median(adversarial[drawn], axis=1)
    spread = tuple(np.percentile(ratios, [2.5, 97.5]).round(4).tolist()) if len(random) > 1 else None
    return Claim(name=name, value=round(float(np.median(random) / np.median(adversarial)), 4), paper=paper, goal=goal, spread=spread, runs=len(random))


def run(preset: Preset, seeds: Sequence[int], directory: Path, device: str = "cpu", say: Callable[[str], None] = lambda text: None) -> None:
    """Pairs in lockstep; each finished pair is written to ``pair-<seed>.json`` in `directory`, an interrupted run goes on at its generations.

    Args:
        preset: the sizes.
        seeds: one for each pair.
        directory: of the run directories and the pairs.
        device: where networks are trained.
        say: hears a line of progress after each generation.
    """
    keys = [(seed, strategy) for seed in seeds for strategy in STRATEGIES]
    loops = [loop(strategy, preset, seed, device=device) for seed, strategy in keys]
    places = [directory / f"{strategy}-{seed}" for seed, strategy in keys]
    records: dict[int, dict[str, list[dict[str, Any]]]] = {seed: {strategy: [] for strategy in STRATEGIES} for seed in seeds}
    began = time.monotonic()
    for row in islice(lockstep(loops, [start(seed) for seed, _ in keys], places), preset.generations):
        for (seed, strategy), generation in zip(keys, row, strict=True):
            records[seed][strategy].append(record(generation))
        medians = {s: np.median([records[seed][s][-1]["metrics"]["rmse"] for seed in seeds]) for s in STRATEGIES}
        found = ", ".join(f"{s} {value:.2f}" for s, value in medians.items())
        say(f"seeds {seeds[0]} to {seeds[-1]}, generation {row[0].index + 1} of {preset.generations}, {time.monotonic() - began:.0f} s: median RMSE {found}")
    for seed in seeds:
        part = directory / f"pair-{seed}.part"
        part.write_text(json.dumps({"seed": seed, "settings": asdict(preset), **machine(), "device": device, **records[seed]}))
        part.replace(directory / f"pair-{seed}.json")


def collect(directory: Path, preset: Preset, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The finished pairs of these seeds, in order.

    Raises:
        ValueError: a pair of other sizes (the differences are shown).
    """
    files = [directory / f"pair-{seed}.json" for seed in seeds]
    pairs = [json.loads(file.read_text()) for file in files if file.exists()]
    for file, pair in zip([file for file in files if file.exists()], pairs, strict=True):
        found = differences(pair["settings"], asdict(preset))
        if found:
            raise ValueError(f"{file} was made with other settings; remove it or give another --out:\n  " + "\n  ".join(found))
    return pairs


def _work(preset: Preset, seeds: Sequence[int], directory: Path, device: str) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    run(preset, seeds, directory, device, say=_say)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="laptop")
    parser.add_argument("--pairs", type=int, default=None, help="independent pairs of loops; the preset's otherwise")
    parser.add_argument("--seed", type=int, default=0, help="of the first pair; the others count on")
    parser.add_argument("--stack", type=int, default=4, help="pairs that run in lockstep")
    parser.add_argument("--processes", type=int, default=1, help="stacks at a time, each in a process with one thread")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="runs/double_well", help="run directories and finished pairs; what is there is not run again")
    parser.add_argument("--results", default="notebooks/results", help="where the JSON goes")
    arguments = parser.parse_args()
    preset, directory, began = PRESETS[arguments.preset], Path(arguments.out) / arguments.preset, time.monotonic()
    seeds = list(range(arguments.seed, arguments.seed + (arguments.pairs or preset.pairs)))
    collect(directory, preset, seeds)                                          # nothing is run beside pairs of other sizes
    missing = [seed for seed in seeds if not (directory / f"pair-{seed}.json").exists()]
    stacks = [missing[k : k + arguments.stack] for k in range(0, len(missing), arguments.stack)]
    if arguments.processes == 1:
        for stack in stacks:
            _work(preset, stack, directory, arguments.device)
    else:
        with get_context("spawn").Pool(arguments.processes, maxtasksperchild=1) as pool:
            pool.starmap(_work, [(preset, stack, directory, arguments.device) for stack in stacks], chunksize=1)
    pairs = collect(directory, preset, seeds)
    found = claims(pairs)
    path = write(
        arguments.results, "double_well", arguments.preset, seed=arguments.seed, device=arguments.device,
        seconds={"this call": round(time.monotonic() - began, 1), "stages of all loops": round(sum(r["seconds"] for p in pairs for s in STRATEGIES for r in p[s]), 1)},
        settings={**asdict(preset), "pairs": len(pairs), "well": "as printed, 4 y^2"}, records={"pairs": pairs}, claims=found,
    )
    for claim in found:
        _say(str(claim))
    _say(f"{len(pairs)} pairs, written to {path}")


if __name__ == "__main__":
    main()
