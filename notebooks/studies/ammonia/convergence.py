"""How long to train: the first committee of ammonia against steps, width and batch, the third
against steps, and all once more at the end.

A fit whose learning rate falls to zero has no curve of its own: each number of steps is a fit from
scratch. First committees start from data of a seed that is not reported elsewhere; the others have
the data of the study's first jobs, once these are finished. Committees that differ in nothing but
folds and weights before training do not have the same barrier either: the last doubling of the
steps is made for several, each of which has the same weights and folds at both ends. Every fit is
kept as it ends, and none is made twice.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agal_toolkit.analysis.errors import rmse
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.references import DFT, Cache, Reference
from agal_toolkit.settings import to_settings

from ..results import Claim, agree, read, write
from .committees import Barrier, surface
from .labels import labelled
from .recipes import KCAL, PRESETS, initial, recipe
from .study import later
from .truth import truth

SEED = 100
STEPS = (500, 1000, 2000, 4000, 8000)
REPEATS = 3
FIRST, THIRD, RANDOM, BOTH = "first", "third", "random", "random and start"
ENDS = (
    (FIRST, "thermal"),
    (THIRD, "thermal"),
    (RANDOM, "thermal"),
    (BOTH, "thermal"),
    (FIRST, "cold"),
    (THIRD, "cold"),
)


@dataclass(frozen=True)
class Fit:
    """One point of a learning curve.

    Attributes:
        features: width of networks and filters.
        batch: structures in a step.
        steps: of Adam.
        committee: "first", "third", "random" (of random geometries) or "random and start" (of the
            start and as many random ones as the third's attacks).
        start: of it; says nothing of random ones.
        repeat: counts fits with other folds and other weights before training.
    """

    features: int
    batch: int
    steps: int
    committee: str = FIRST
    repeat: int = 0
    start: str = "thermal"


def plan(features: int) -> list[Fit]:
    """Curves of both committees for the recipe's width and batch, and of the first for others about
    them; then the last doublings of all.
    """
    curves = [
        (features, 10),
        (features // 2, 10),
        (features, 5),
        (features, 30),
        (2 * features, 10),
    ]
    first = [
        Fit(width, batch, steps)
        for width, batch in curves
        for steps in STEPS[: 5 if (width, batch) == curves[0] else 4]
    ]
    curved = [*first[:5], *(Fit(features, 10, steps, THIRD) for steps in STEPS[1:]), *first[5:]]
    ends = [
        Fit(features, 10, steps, which, repeat, start)
        for repeat in range(REPEATS)
        for which, start in ENDS
        for steps in (*STEPS[-2:], *([2 * STEPS[-1]] if repeat == 0 else []))
    ]
    return [*curved, *(point for point in ends if point not in curved)]


def fit(point: Fit, preset: str, data: Path, out: Path, label: DFT, device: str) -> dict[str, Any]:
    """Trains a committee as far as `point` says; its record."""
    sizes = PRESETS[preset]
    known = truth(data / "reference", label, sizes.truth)
    if point.committee == FIRST:
        learned = labelled(
            data / f"{point.start}-{SEED}.extxyz",
            initial(point.start, sizes, known, SEED),
            Reference(label),
            Cache(out / "labels"),
        )
    else:
        start, attacks, chance = (
            Dataset.read(data / file)
            for file in (f"{point.start}-0.extxyz", _attacks(point, preset), "random-0.extxyz")
        )
        learned = {
            THIRD: start + attacks,
            RANDOM: chance,
            BOTH: start + later(chance[: len(attacks)]),
        }[point.committee]
    chosen = recipe("ours", replace(sizes, features=point.features), known, device).recipes[0]
    weights, valid = chosen.folds(
        learned, chosen.members, np.random.default_rng([SEED + point.repeat, 1])
    )
    passes = int(np.ceil((weights.any(0)).sum() / point.batch))
    began = time.monotonic()
    trainer = replace(
        chosen.trainer, batch_size=point.batch, epochs=max(1, round(point.steps / passes))
    )
    committee = Committee(
        trainer.fit(learned, weights, valid, np.random.default_rng([SEED + point.repeat, 2]))
    )
    return {
        **asdict(point),
        "taken": trainer.epochs * passes,
        "seconds": round(time.monotonic() - began, 1),
        "barrier": round(
            Barrier(known.ground, sizes.truth.images, sizes.truth.fmax)(committee, learned), 4
        ),
        "training": round(rmse(committee, learned) / KCAL, 5),
        "rmse below": surface(committee, known)["rmse below"],
    }


def _attacks(point: Fit, preset: str) -> str:
    """What the first job of the start labelled."""
    return f"{preset}/attacks-ours-{point.start}-0.extxyz"


def study(
    preset: str = "laptop",
    *,
    out: str | Path = "runs/ammonia",
    results: str | Path = "notebooks/results",
    minutes: float = np.inf,
    label: DFT = DFT(),
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    points: Sequence[Fit] | None = None,
) -> Path:
    """Makes the fits that the result file ``ammonia_convergence-<preset>.json`` lacks.

    Args:
        preset: of the sizes.
        out: of labels.
        results: folder of the result file and of the reference's files.
        minutes: no fit starts later than this.
        label: the reference.
        device: where networks are trained.
        say: hears each fit.
        points: instead of :func:`plan`.

    Raises:
        ValueError: fits in the result file that were made with other settings.
    """
    results, deadline = Path(results), time.monotonic() + 60 * minutes
    place = results / f"ammonia_convergence-{preset}.json"
    known = truth(results / "ammonia" / "reference", label, PRESETS[preset].truth)
    settings = {
        "reference": Reference(label).description,
        "trainer": to_settings(recipe("ours", PRESETS[preset], known).recipes[0].trainer),
    }
    found = []
    if place.exists():
        stored = read(place)
        agree(stored["settings"], settings, place)
        found = stored["records"]["fits"]
    for point in plan(PRESETS[preset].features) if points is None else points:
        if any({key: each[key] for key in asdict(point)} == asdict(point) for each in found):
            continue
        if (
            point.committee != FIRST
            and not (results / "ammonia" / _attacks(point, preset)).exists()
        ):
            say(f"{point} has no data before the first job of its start is finished")
            continue
        if time.monotonic() > deadline:
            break
        found.append(fit(point, preset, results / "ammonia", Path(out), label, device))
        say(f"{point}: barrier {found[-1]['barrier']:.3f} kcal/mol, {found[-1]['seconds']:.0f} s")
        write(
            results,
            "ammonia_convergence",
            preset,
            seed=SEED,
            device=device,
            seconds={"in all": round(sum(each["seconds"] for each in found), 1)},
            settings=settings,
            records={"truth": round(known.path.barrier / KCAL, 4), "fits": found},
            claims=claims(found, PRESETS[preset].features),
        )
    return place


def claims(fits: Sequence[dict[str, Any]], features: int) -> list[Claim]:
    """How much the barrier still moves when steps are doubled, about the recipe's and at most, and
    how much it does with other folds and weights.
    """
    found = []
    for committee, start in ENDS:
        curves: dict[int, dict[int, float]] = {}
        for each in fits:
            if (each["features"], each["batch"], each["committee"], each["start"]) == (
                features,
                10,
                committee,
                start,
            ):
                curves.setdefault(each["repeat"], {})[each["steps"]] = each["barrier"]
        about = f"barrier of the {committee} committee" + (
            f", {start} start" if committee != RANDOM else ""
        )
        for steps in [steps for steps in sorted(curves.get(0, ())) if 2 * steps in curves[0]][-2:]:
            moved = np.array(
                [
                    abs(curve[2 * steps] - curve[steps])
                    for curve in curves.values()
                    if {steps, 2 * steps} <= set(curve)
                ]
            )
            spread = (float(moved.min()), float(moved.max())) if len(moved) > 1 else None
            found.append(
                Claim(
                    name=f"{about}: {2 * steps} steps against {steps}",
                    unit="kcal/mol",
                    value=round(float(np.median(moved)), 4),
                    goal=0.05,
                    at_least=False,
                    spread=spread and (round(spread[0], 4), round(spread[1], 4)),
                    runs=len(moved),
                )
            )
        last = [curve[STEPS[-1]] for curve in curves.values() if STEPS[-1] in curve]
        if len(last) > 1:
            scatter = round(float(np.ptp(last)), 4)
            found.append(
                Claim(
                    name=f"{about}: range over folds and weights at {STEPS[-1]} steps",
                    unit="kcal/mol",
                    value=scatter,
                    runs=len(last),
                )
            )
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="laptop")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="runs/ammonia", help="labels are kept here")
    parser.add_argument(
        "--results",
        default="notebooks/results",
        help="where the JSON goes; fits that it holds are not made again",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=np.inf,
        help="start no fit later than this; the next call goes on",
    )
    torch.set_num_threads(1)
    study(**vars(parser.parse_args()), say=lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
