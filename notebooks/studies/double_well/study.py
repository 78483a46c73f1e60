"""Adversarial against random sampling on the double well, many pairs of loops: Schwalbe-Koda 2021,
Fig. 2b, with intervals.

Pairs run beside each other in processes. Each finished pair is a file, and pairs that a result file
already holds are not run again, so a study can be run in pieces, stopped at any time and finished
elsewhere.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agal_toolkit.settings import machine, to_settings

from ..results import Claim, agree, keep, ratio, read, write
from .recipes import PRESETS, STRATEGIES, VARIANTS, Preset, generations, recipe, record

Pair = Mapping[str, Any]


def settings(preset: Preset, variant: str) -> dict[str, Any]:
    """Everything that changes the numbers of a pair but its seed, as JSON."""
    chosen = VARIANTS[variant]
    sizes = {name: value for name, value in asdict(preset).items() if name != "pairs"}
    return {
        **sizes,
        "limit": chosen.limit,
        "well": to_settings(chosen.well),
        "recipes": {s: to_settings(recipe(s, preset, variant)) for s in chosen.strategies},
    }


def run(
    preset: Preset,
    variant: str,
    seed: int,
    directory: Path,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    deadline: float = np.inf,
) -> None:
    """Run the loops of one pair, one after the other, and write ``pair-<seed>.json``.

    An interrupted pair goes on at its generations.

    Args:
        preset: the sizes.
        variant: the recipe.
        seed: of the pair.
        directory: of the run directories and the pairs.
        device: where networks are trained.
        say: receives a line of progress after each generation.
        deadline: in seconds of :func:`time.time`; no generation starts after it.
    """
    strategies = VARIANTS[variant].strategies
    records: dict[str, list[dict[str, Any]]] = {strategy: [] for strategy in strategies}
    # data grow with each generation, and training with them
    effort = np.cumsum(np.tile(1 + np.arange(preset.generations) / 2, len(strategies)))
    began, known, done = time.monotonic(), 0.0, 0
    for strategy in strategies:
        for generation in generations(
            strategy, preset, seed, directory, variant=variant, device=device
        ):
            records[strategy].append(record(generation))
            done += 1
            if not generation.seconds:  # read, not run: tells nothing about the time left
                began, known = time.monotonic(), effort[done - 1]
                continue
            passed = time.monotonic() - began
            left = passed * (effort[-1] - effort[done - 1]) / (effort[done - 1] - known)
            say(
                f"{variant}, seed {seed}, {strategy}, generation {generation.index + 1} of"
                f" {preset.generations}: RMSE {generation.metrics['rmse']:.2f};"
                f" {passed:.0f} s, about {left:.0f} s left"
            )
            if time.time() > deadline and done < len(effort):
                return
    about = {"seed": seed, "settings": settings(preset, variant), **machine(), "device": device}
    keep(directory / f"pair-{seed}.json", {**about, **records})


def collect(directory: Path, result: Path, preset: Preset, variant: str) -> dict[int, Pair]:
    """The finished pairs by seed, from their files and from a result file.

    Raises:
        ValueError: a pair of other settings (the differences are shown).
    """
    wanted, found = settings(preset, variant), {}
    if result.exists():
        stored = read(result)
        agree(stored["settings"], wanted, result)
        found |= {pair["seed"]: pair for pair in stored["records"]["pairs"]}
    for file in sorted(directory.glob("pair-*.json")):
        pair = json.loads(file.read_text())
        agree(pair.pop("settings"), wanted, file)
        found[pair["seed"]] = {name: pair[name] for name in ("seed", *VARIANTS[variant].strategies)}
    return dict(sorted(found.items()))


def final(pairs: Sequence[Pair], strategy: str, metric: str = "rmse") -> np.ndarray:
    """(pairs,) a metric of each loop's last generation."""
    return np.array([pair[strategy][-1]["metrics"][metric] for pair in pairs])


def at_equal_labels(pair: Pair) -> float:
    """The random loop's RMSE in its first generation with at least as many structures as the
    adversarial loop ends with; else its last.
    """
    enough = [r for r in pair["random"] if r["structures"] >= pair["adversarial"][-1]["structures"]]
    return (enough or pair["random"][-1:])[0]["metrics"]["rmse"]


def claims(pairs: Sequence[Pair]) -> list[Claim]:
    """What Schwalbe-Koda 2021 states of Fig. 2b, from the records of pairs: ratios of medians,
    random to adversarial.
    """
    size = {
        s: np.array([pair[s][-1]["structures"] for pair in pairs], dtype=float) for s in STRATEGIES
    }
    energy = {
        s: np.array(
            [np.median([e for r in pair[s] for e in r["energies"]] or [np.nan]) for pair in pairs]
        )
        for s in STRATEGIES
    }
    error = {s: final(pairs, s) for s in STRATEGIES}
    found = [
        ratio(
            "random's final RMSE over adversarial's",
            error["random"],
            error["adversarial"],
            "2 to 3",
            2.5,
        ),
        ratio(
            "the same at equal labels",
            np.array([at_equal_labels(pair) for pair in pairs]),
            error["adversarial"],
            None,
            1.5,
        ),
        ratio(
            "the same where E < 5",
            final(pairs, "random", "rmse below 5"),
            final(pairs, "adversarial", "rmse below 5"),
            None,
            None,
        ),
        ratio(
            "random's final data set over adversarial's",
            size["random"],
            size["adversarial"],
            "> 1",
            1.0,
        ),
        ratio(
            "random's median sampled energy over adversarial's",
            energy["random"],
            energy["adversarial"],
            "about 10",
            5.0,
        ),
    ]
    return [claim for claim in found if claim is not None]


def study(
    preset: str,
    variant: str,
    *,
    pairs: int | None = None,
    seed: int = 0,
    processes: int = 1,
    device: str = "cpu",
    out: str | Path = "runs/double_well",
    results: str | Path = "notebooks/results",
    minutes: float = np.inf,
    say: Callable[[str], None] = lambda text: None,
) -> Path | None:
    """Runs the pairs of a variant that are not there yet, and writes its result file (which it
    gives) from all that are, if any.

    Args:
        preset: name of the sizes.
        variant: name of the recipe.
        pairs: how many; the preset's otherwise.
        seed: of the first pair; the others count on.
        processes: pairs that run at a time, each in a process with one thread.
        device: where networks are trained.
        out: of run directories and finished pairs.
        results: folder of the result file ``double_well_<variant>-<preset>.json``.
        minutes: no generation starts later than this; the next call goes on.
        say: hears lines of progress; of other processes only what they finish.
    """
    sizes, directory, began, deadline = (
        PRESETS[preset],
        Path(out) / preset / variant,
        time.monotonic(),
        time.time() + 60 * minutes,
    )
    name = f"double_well_{variant}"
    place = Path(results) / f"{name}-{preset}.json"
    done = collect(
        directory, place, sizes, variant
    )  # nothing is run beside pairs of other settings
    earlier = read(place)["seconds"]["in all"] if place.exists() else 0.0
    missing = [k for k in range(seed, seed + (pairs or sizes.pairs)) if k not in done]
    if processes == 1 or len(missing) == 1:
        for number in missing:
            if time.time() < deadline:
                run(sizes, variant, number, directory, device, say, deadline)
    elif missing:
        with get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
            waiting = [
                pool.apply_async(_work, (preset, variant, number, directory, device, deadline))
                for number in missing
            ]
            for count, result in enumerate(waiting, 1):
                result.get()
                passed = time.monotonic() - began
                say(
                    f"{variant}: {count} of {len(missing)} pairs, {passed:.0f} s, about"
                    f" {passed * (len(missing) / count - 1):.0f} s left"
                )
    done = collect(directory, place, sizes, variant)
    if not done:
        say("no pair is finished yet; the next call goes on")
        return None
    passed = round(time.monotonic() - began, 1) if missing else 0.0
    found = claims(list(done.values())) if VARIANTS[variant].strategies == STRATEGIES else []
    write(
        results,
        name,
        preset,
        seed=min(done),
        device=device,
        seconds={
            "in all": round(earlier + passed, 1),
            "stages of all loops": round(
                sum(
                    r["seconds"]
                    for p in done.values()
                    for s in VARIANTS[variant].strategies
                    for r in p[s]
                ),
                1,
            ),
        },
        settings={
            **settings(sizes, variant),
            "about": VARIANTS[variant].about,
            "pairs": len(done),
            "processes": processes,
        },
        records={"pairs": list(done.values())},
        claims=found,
    )
    for claim in found:
        say(str(claim))
    say(f"{len(done)} pairs, written to {place}")
    return place


def _work(
    preset: str, variant: str, seed: int, directory: Path, device: str, deadline: float
) -> None:
    """What one process does."""
    if time.time() < deadline:
        torch.set_num_threads(1)
        run(PRESETS[preset], variant, seed, directory, device, _say, deadline)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="laptop")
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        nargs="+",
        default=["printed"],
        help="recipes, one after the other",
    )
    parser.add_argument(
        "--pairs", type=int, default=None, help="independent pairs of loops; the preset's otherwise"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first pair; the others count on"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="pairs at a time, each in a process with one thread",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out",
        default="runs/double_well",
        help="run directories and finished pairs; what is there is not run again",
    )
    parser.add_argument(
        "--results",
        default="notebooks/results",
        help="where the JSON goes; pairs that it holds are not run again",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=np.inf,
        help="start no generation later than this; the next call goes on",
    )
    arguments = vars(parser.parse_args())
    for variant in arguments.pop("variant"):
        study(variant=variant, say=_say, **arguments)


if __name__ == "__main__":
    main()
