"""How long to train: ammonia's first and third committee against steps, all at the end once more.

A fit whose learning rate falls to zero has no curve of its own: each number of steps is a fit from
scratch. First committees start from data of a seed that is not reported elsewhere; the others have
the data of the study's first jobs, once these are finished. Committees that differ only in folds
and initial weights do not have the same barrier either: the last doubling of the steps is made for
several, each of which has the same weights and folds at both ends.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agal_toolkit.analysis.errors import rmse
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.references import DFT, Cache, Reference
from agal_toolkit.settings import to_settings

from .. import jobs
from ..jobs import Claim, Job, Record, Runner, rounded
from .committees import Barrier, surface
from .labels import labelled
from .recipes import KCAL, PRESETS, initial, recipe
from .study import as_acquired
from .truth import load_truth

NAME = "ammonia_convergence"
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
        repeat: counts fits with other folds and initial weights.
        start: of the data; without meaning for random ones.
    """

    features: int
    batch: int
    steps: int
    committee: str = FIRST
    repeat: int = 0
    start: str = "thermal"

    def __str__(self) -> str:
        return "-".join(str(value) for value in asdict(self).values()).replace(" ", "-")

    @classmethod
    def of(cls, record: Record) -> Fit:
        """Return the point that a record belongs to."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})


def plan(features: int) -> list[Fit]:
    """Return the fits of the study, in order.

    First the curves of both committees for the recipe's width and batch, and of the first committee
    for other widths and batches; then the last doublings of all.
    """
    chosen, *others = [
        (features, 10),
        (features // 2, 10),
        (features, 5),
        (features, 30),
        (2 * features, 10),
    ]
    curves = [
        *(Fit(*chosen, steps) for steps in STEPS),
        *(Fit(*chosen, steps, THIRD) for steps in STEPS[1:]),
        *(Fit(*other, steps) for other in others for steps in STEPS[:4]),
    ]
    ends = [
        Fit(*chosen, steps, committee, repeat, start)
        for repeat in range(REPEATS)
        for committee, start in ENDS
        for steps in (*STEPS[-2:], *([2 * STEPS[-1]] if repeat == 0 else []))
    ]
    return [*curves, *(point for point in ends if point not in curves)]


def fit(runner: Runner, point: Fit, label: DFT) -> Record:
    """Train a committee as `point` says; return its record."""
    sizes, data = PRESETS[runner.preset], runner.results / "ammonia"
    truth = load_truth(data / "reference", label, sizes.truth)
    if point.committee == FIRST:
        file = data / f"{point.start}-{SEED}.extxyz"
        geometries = initial(point.start, sizes, truth, SEED)
        learned = labelled(file, geometries, Reference(label), Cache(runner.out / "labels"))
    else:
        start = Dataset.read(data / f"{point.start}-0.extxyz")
        attacks = Dataset.read(_attacks(point, runner))
        chance = Dataset.read(data / "random-0.extxyz")
        learned = {
            THIRD: start + attacks,
            RANDOM: chance,
            BOTH: start + as_acquired(chance[: len(attacks)]),
        }[point.committee]
    sizes_of_fit = replace(sizes, features=point.features)
    chosen = recipe("ours", sizes_of_fit, truth, runner.device).recipes[0]
    rng = np.random.default_rng([SEED + point.repeat, 1])
    weights, valid = chosen.folds(learned, chosen.members, rng)
    steps_of_epoch = int(np.ceil(weights.any(0).sum() / point.batch))
    epochs = max(1, round(point.steps / steps_of_epoch))
    trainer = replace(chosen.trainer, batch_size=point.batch, epochs=epochs)
    began, rng = time.monotonic(), np.random.default_rng([SEED + point.repeat, 2])
    committee = Committee(trainer.fit(learned, weights, valid, rng, runner.report))
    barrier = Barrier(truth.ground, sizes.truth.images, sizes.truth.fmax)
    return {
        **asdict(point),
        "taken": epochs * steps_of_epoch,
        "seconds": round(time.monotonic() - began, 1),
        "barrier": round(barrier(committee, learned), 4),
        "training": round(rmse(committee, learned) / KCAL, 5),
        "rmse below": surface(committee, truth)["rmse below"],
    }


def _attacks(point: Fit, runner: Runner) -> Path:
    """Return the file of attacks that the first job of the start has labelled."""
    folder = runner.results / "ammonia" / runner.preset
    return folder / f"attacks-ours-{point.start}-0.extxyz"


def study(runner: Runner, *, points: Sequence[Fit] | None = None, label: DFT = DFT()) -> Path:
    """Make the fits that are missing; write the result file.

    Args:
        runner: where and how; data are in ``ammonia/`` of its results.
        points: the fits; None takes :func:`plan`.
        label: the reference.

    Raises:
        ValueError: fits of other settings.
        ExceptionGroup: fits failed; the others are written.
    """
    sizes, folder = PRESETS[runner.preset], runner.out / "convergence"
    truth = load_truth(runner.results / "ammonia" / "reference", label, sizes.truth)
    settings = {
        "reference": Reference(label).description,
        "trainer": to_settings(recipe("ours", sizes, truth).recipes[0].trainer),
    }

    records = list(runner.stored(NAME, settings)["records"].get("fits", []))
    made = {Fit.of(record) for record in records}
    lacking: dict[str, Job] = {}
    for point in plan(sizes.features) if points is None else points:
        if point in made:
            continue
        if point.committee != FIRST and not _attacks(point, runner).exists():
            runner.say(f"{point} has no data before the first job of its start is finished")
            continue
        make = partial(fit, point=point, label=label)
        lacking[str(point)] = Job(folder / f"{point}.json", settings, make)
    errors = runner.run(lacking)
    records += [job.record() for job in lacking.values() if job.file.exists()]
    if records:
        runner.write(
            NAME,
            seed=SEED,
            seconds={"in all": round(sum(record["seconds"] for record in records), 1)},
            settings=settings,
            records={"truth": round(truth.path.barrier / KCAL, 4), "fits": records},
            claims=claims(records, sizes.features),
        )
    jobs.raise_errors(errors)
    return runner.result_file(NAME)


def claims(fits: Sequence[dict[str, Any]], features: int) -> list[Claim]:
    """Return how far doubling the steps, and other folds and weights, move the barrier.

    Steps are doubled from the recipe's number, and from half of it.
    """
    result = []
    for committee, start in ENDS:
        curves: dict[int, dict[int, float]] = {}  # repeat -> steps -> barrier
        for record in fits:
            point = Fit.of(record)
            if point == Fit(features, 10, point.steps, committee, point.repeat, start):
                curves.setdefault(point.repeat, {})[point.steps] = record["barrier"]
        subject = f"barrier of the {committee} committee"
        subject += f", {start} start" if committee != RANDOM else ""
        doubled = [steps for steps in sorted(curves.get(0, ())) if 2 * steps in curves[0]]
        for steps in doubled[-2:]:
            moved = np.array(
                [
                    abs(curve[2 * steps] - curve[steps])
                    for curve in curves.values()
                    if {steps, 2 * steps} <= set(curve)
                ]
            )
            result.append(
                Claim(
                    name=f"{subject}: {2 * steps} steps against {steps}",
                    unit="kcal/mol",
                    value=round(float(np.median(moved)), 4),
                    goal=0.05,
                    at_least=False,
                    spread=rounded((moved.min(), moved.max())) if len(moved) > 1 else None,
                    runs=len(moved),
                )
            )
        last = [curve[STEPS[-1]] for curve in curves.values() if STEPS[-1] in curve]
        if len(last) > 1:
            result.append(
                Claim(
                    name=f"{subject}: range over folds and weights at {STEPS[-1]} steps",
                    unit="kcal/mol",
                    value=round(float(np.ptp(last)), 4),
                    runs=len(last),
                )
            )
    return result


if __name__ == "__main__":
    study(jobs.runner(jobs.parser(__doc__, PRESETS, "ammonia").parse_args()))
