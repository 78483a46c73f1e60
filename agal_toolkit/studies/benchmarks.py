"""How much stacking saves: ``python -m agal_toolkit.studies.benchmarks`` prints and stores ratios of times.

Both ways run in one process, in turn, so that a machine whose speed drifts drifts for both; a ratio is the median over the
turns. A member loop is a committee of the same networks evaluated, trained or attacked one after the other.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ..attack import Adam, Attack, BoltzmannVariance
from ..committee import Committee
from ..dataset import Dataset
from ..geometry import points
from ..potentials import MLP, Separate
from ..references import DoubleWell
from ..training import Task, TorchTrainer
from .results import Claim, write

MEMBERS = 5


@dataclass(frozen=True)
class Timing:
    """Two ways to do the same.

    Attributes:
        name: what is done.
        slow: median seconds of the loop.
        fast: median seconds of the stacked way.
        ratio: median of their ratios, turn by turn.
        low: smallest ratio.
        high: largest ratio.
    """

    name: str
    slow: float
    fast: float
    ratio: float
    low: float
    high: float


def compare(name: str, slow: Callable[[], object], fast: Callable[[], object], turns: int = 5, device: str = "cpu") -> Timing:
    """Times `slow` and `fast` in turn, after one turn that is not counted."""

    def seconds(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    pairs = np.array([(seconds(slow), seconds(fast)) for _ in range(turns + 1)])[1:]
    ratios = pairs[:, 0] / pairs[:, 1]
    return Timing(name, *np.median(pairs, axis=0).round(4).tolist(), *(round(float(f(ratios)), 2) for f in (np.median, np.min, np.max)))


def data(count: int, seed: int = 0) -> Dataset:
    """Labelled points of the double well."""
    well, rng = DoubleWell(), np.random.default_rng(seed)
    geometries = points(rng.uniform(-1.2, 1.2, (count, 2)))
    return Dataset(geometries, [well(geometry) for geometry in geometries])


def timings(width: int, device: str = "cpu") -> list[Timing]:
    """Training, prediction and attack of five members, and training of eight experiments, at one width."""
    known = data(105)
    epochs, steps = (20, 20) if width <= 256 else (2, 4)
    trainer = TorchTrainer(network=partial(MLP, 2, width=width), epochs=epochs, forces_weight=10.0, patience=None, keep_best=False, device=device)

    def fit(members: int) -> Committee:
        return Committee(trainer.fit(known, np.ones((members, 105)), np.zeros((members, 105), dtype=bool), np.random.default_rng(0)))

    stacked = fit(MEMBERS)
    looped = Committee(Separate([stacked[[m]].mean for m in range(MEMBERS)], stacked.device))
    batch = stacked.batch(data(1000, 1).geometries)
    attack, seeds = Attack(BoltzmannVariance(kT=5.0), Adam(0.003, steps)), data(50, 2).geometries
    tasks = [(data(105, k), np.ones((MEMBERS, 105)), np.zeros((MEMBERS, 105), dtype=bool)) for k in range(8)]
    return [
        compare(f"training {MEMBERS} members", lambda: [fit(1) for _ in range(MEMBERS)], lambda: fit(MEMBERS), device=device),
        compare(f"forces of {MEMBERS} members for 1000 points", lambda: looped(batch), lambda: stacked(batch), device=device),
        compare(
            f"attacking {MEMBERS} members from 50 seeds", lambda: attack(looped, known, seeds, np.random.default_rng(0)),
            lambda: attack(stacked, known, seeds, np.random.default_rng(0)), device=device,
        ),
        compare(
            "training 8 experiments", lambda: [trainer.fit(*task, np.random.default_rng(0)) for task in tasks],
            lambda: trainer.fit_many([Task(*task, np.random.default_rng(0)) for task in tasks]), turns=3, device=device,
        ),
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", default="notebooks/results")
    arguments = parser.parse_args()
    began, records, claims = time.monotonic(), [], []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for width in arguments.widths:
            for timing in timings(width, arguments.device):
                records.append({"width": width, "threads": threads, **timing.__dict__})
                print(f"{threads} threads, width {width}: {timing}", flush=True)
                goal = 3.0 if timing.name.startswith("training 5") and width == 128 else None
                claims.append(Claim(
                    name=f"{timing.name}, width {width}, {threads} thread{'s' * (threads > 1)}: one by one over stacked", value=timing.ratio, goal=goal,
                    spread=(timing.low, timing.high), runs=5,
                ))
    print(write(
        arguments.results, "benchmarks", arguments.device, seed=0, device=arguments.device, seconds={"all": round(time.monotonic() - began, 1)},
        settings={"members": MEMBERS, "widths": arguments.widths, "threads": arguments.threads, "precision": "float32"}, records={"timings": records}, claims=claims,
    ))


if __name__ == "__main__":
    main()
