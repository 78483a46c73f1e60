"""Adversarial against random sampling on the double well: Schwalbe-Koda 2021, Fig. 2b, with
intervals.

A job is a pair of loops, an adversarial and a random one that start alike; ablations run the
adversarial one only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.settings import to_settings

from .. import jobs
from ..jobs import Claim, Job, Record, Runner, finished, interval, rounded
from .recipes import PRESETS, STRATEGIES, VARIANTS, Preset, generations, recipe, record

Pair = Mapping[str, Any]


def settings(preset: Preset, variant: str) -> dict[str, Any]:
    """Return everything that changes the numbers of a pair but its seed, as JSON."""
    chosen = VARIANTS[variant]
    other = ("pairs", "dynamics")
    sizes = {name: value for name, value in asdict(preset).items() if name not in other}
    return {
        **sizes,
        "limit": chosen.limit,
        "well": to_settings(chosen.well),
        "recipes": {s: to_settings(recipe(s, preset, variant)) for s in chosen.strategies},
    }


def run(runner: Runner, variant: str, seed: int) -> Record:
    """Run the loops of a pair, one after the other; return its record."""
    preset, directory, began = PRESETS[runner.preset], runner.out / variant, time.monotonic()
    pair: Record = {"seed": seed}
    for strategy in VARIANTS[variant].strategies:
        pair[strategy] = []
        for generation in generations(
            strategy, preset, seed, directory, runner.report, variant, runner.device
        ):
            pair[strategy].append(record(generation))
            runner.say(
                f"{variant}, seed {seed}, {strategy}, generation {generation.index + 1} of"
                f" {preset.generations}: RMSE {generation.metrics['rmse']:.2f},"
                f" {time.monotonic() - began:.0f} s"
            )
    return pair


def final(pairs: Sequence[Pair], strategy: str) -> NDArray:
    """Return (pairs,) RMSE of each loop's last generation."""
    return np.array([pair[strategy][-1]["metrics"]["rmse"] for pair in pairs])


def at_equal_labels(pair: Pair) -> float:
    """Return the random loop's RMSE in its first generation with enough structures.

    Enough are at least as many as the adversarial loop has in its last generation; if no generation
    has them, the last counts.
    """
    structures = pair["adversarial"][-1]["structures"]
    enough = [record for record in pair["random"] if record["structures"] >= structures]
    return (enough or pair["random"][-1:])[0]["metrics"]["rmse"]


def _ratio_of_medians(numerator: NDArray, denominator: NDArray, axis: int = -1) -> NDArray:
    return np.median(numerator, axis=axis) / np.median(denominator, axis=axis)


def claims(pairs: Sequence[Pair]) -> list[Claim]:
    """Return what Schwalbe-Koda 2021 states of Fig. 2b: ratios of medians, random to adversarial.

    Intervals are over the pairs; pairs without both numbers are left out.
    """

    def median_energy(pair: Pair, strategy: str) -> float:
        return np.median([e for r in pair[strategy] for e in r["energies"]] or [np.nan])

    def both(read: Callable[[Pair, str], float]) -> list[NDArray]:
        """Return (pairs,) a number of the random loops, and of the adversarial ones."""
        return [np.array([read(p, s) for p in pairs], float) for s in ("random", "adversarial")]

    errors = both(lambda pair, strategy: pair[strategy][-1]["metrics"]["rmse"])
    low = both(lambda pair, strategy: pair[strategy][-1]["metrics"]["rmse below 5"])
    equal = np.array([at_equal_labels(pair) for pair in pairs])
    sizes = both(lambda pair, strategy: pair[strategy][-1]["structures"])
    energies = both(median_energy)
    # name, numbers of random and adversarial loops, the paper's ratio, goal
    ratios = (
        ("random's final RMSE over adversarial's", *errors, "2 to 3", 2.5),
        ("the same at equal labels", equal, errors[1], None, 1.5),
        ("the same where E < 5", *low, None, None),
        ("random's final data set over adversarial's", *sizes, "> 1", 1.0),
        ("random's median sampled energy over adversarial's", *energies, "about 10", 5.0),
    )
    result = []
    for name, numerator, denominator, paper, goal in ratios:
        finite = np.isfinite(numerator) & np.isfinite(denominator)
        if finite.any():
            samples = numerator[finite], denominator[finite]
            bounds = interval(*samples, statistic=_ratio_of_medians)
            result.append(
                Claim(
                    name=name,
                    value=round(float(_ratio_of_medians(*samples)), 4),
                    paper=paper,
                    goal=goal,
                    spread=rounded(bounds) if finite.sum() > 1 else None,
                    runs=int(finite.sum()),
                )
            )
    return result


def study(runner: Runner, variant: str, *, pairs: int | None = None, seed: int = 0) -> Path | None:
    """Run the pairs of a variant that are missing; write and return its result file, if any.

    Args:
        runner: where and how.
        variant: name of the recipe.
        pairs: number of pairs; None takes the preset's.
        seed: of the first pair; the others count on.

    Raises:
        ValueError: stored pairs have other settings.
        ExceptionGroup: pairs failed; the others are written.
    """
    sizes, chosen, began = PRESETS[runner.preset], VARIANTS[variant], time.monotonic()
    name, folder, made_with = (
        f"double_well_{variant}",
        runner.out / variant,
        settings(sizes, variant),
    )
    stored = runner.stored(name, made_with)

    def collect() -> dict[int, Pair]:
        files = sorted(folder.glob("pair-*.json"))
        records = [
            *stored["records"].get("pairs", []),
            *(finished(file, made_with) for file in files),
        ]
        return dict(sorted((record["seed"], record) for record in records))

    done = collect()
    missing = {
        f"{variant}, seed {k}": Job(
            folder / f"pair-{k}.json", made_with, partial(run, variant=variant, seed=k)
        )
        for k in range(seed, seed + (pairs or sizes.pairs))
        if k not in done
    }
    errors = runner.run(missing)
    done = collect()
    if not done:
        runner.say("no pair is finished yet; the next call goes on")
        jobs.raise_errors(errors)
        return None
    earlier = stored["seconds"].get("in all", 0.0)
    seconds = time.monotonic() - began if missing else 0.0
    generations = [r for pair in done.values() for s in chosen.strategies for r in pair[s]]
    path = runner.write(
        name,
        seed=min(done),
        seconds={
            "in all": round(earlier + round(seconds, 1), 1),
            "stages of all loops": round(sum(r["seconds"] for r in generations), 1),
        },
        settings={
            **made_with,
            "about": chosen.about,
            "pairs": len(done),
            "processes": runner.processes,
        },
        records={"pairs": list(done.values())},
        claims=claims(list(done.values())) if chosen.strategies == STRATEGIES else [],
    )
    jobs.raise_errors(errors)
    return path


def main() -> None:
    """Run the command line."""
    arguments = jobs.parser(__doc__, PRESETS, "double_well")
    add = arguments.add_argument
    add("--variant", choices=VARIANTS, nargs="+", default=["printed"], help="recipes, in order")
    add("--pairs", type=int, help="independent pairs of loops; default: the preset's")
    add("--seed", type=int, default=0, help="of the first pair; the others count on")
    given = arguments.parse_args()
    runner = jobs.runner(given)
    for variant in given.variant:
        study(runner, variant, pairs=given.pairs, seed=given.seed)
