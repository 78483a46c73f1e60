"""Claims on ammonia beside the paper (Schwalbe-Koda 2021, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jobs import Claim, interval, rounded

Run = Mapping[str, Any]


def barrier_errors(runs: Sequence[Run], committee: str, truth: float) -> NDArray:
    """Return (runs,) barrier on the committee's mean less the reference's, kcal/mol.

    NaN where the committee has no minimum.
    """
    paths = [run["committees"][committee]["paths"] for run in runs]
    return np.array([path.get("barrier", np.nan) for path in paths], dtype=float) - truth


def below(runs: Sequence[Run], committee: str, cap: int) -> NDArray:
    """Return (runs,) error on the (Z, R) plane where the true energy is at most `cap`, kcal/mol."""
    surfaces = [run["committees"][committee]["surface"] for run in runs]
    return np.array([surface["rmse below"][str(cap)] for surface in surfaces])


def stable(runs: Sequence[Run], committee: str) -> NDArray:
    """Return (runs,) share of stable simulations on the committee of each run."""
    records = [run["committees"][committee]["stability"] for run in runs]
    return np.array([record["stable"] / record["runs"] for record in records])


def largest(runs: Sequence[Run], key: str, quantity: str) -> NDArray:
    """Return (runs,) largest value of a quantity in one set of structures; NaN for an empty set."""
    return np.array([max(run["sets"][key][quantity], default=np.nan) for run in runs])


def _over_runs(
    name: str,
    values: NDArray,
    paper: str | None,
    goal: float | None,
    *,
    statistic: Any = np.median,
    unit: str = "",
    at_least: bool = False,
) -> Claim:
    """Return a claim on a statistic over runs; runs without a number count as infinitely wrong."""
    finite = np.isfinite(values)
    values = np.where(finite, values, np.inf)
    sure = len(values) > 1 and finite.all()
    return Claim(
        name=name,
        value=round(float(statistic(values)), 4),
        unit=unit,
        paper=paper,
        goal=goal,
        at_least=at_least,
        spread=rounded(interval(values, statistic=statistic)) if sure else None,
        runs=len(values),
    )


def _signed(committee: str, errors: NDArray) -> list[Claim]:
    """Return claims on the bias of (runs,) barriers; runs without a barrier are left out."""
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        return []
    mean = partial(_over_runs, paper=None, goal=None, statistic=np.mean)
    return [
        mean(f"mean signed barrier error, {committee} committee", errors, unit="kcal/mol"),
        mean(f"share of barriers that are too high, {committee} committee", errors > 0),
    ]


def claims(runs: Sequence[Run], truth: float) -> list[Claim]:
    """Return the claims on one start and one recipe.

    Args:
        runs: records of its jobs.
        truth: the reference's barrier, kcal/mol.
    """
    energy = partial(_over_runs, unit="kcal/mol")
    at_least = partial(_over_runs, at_least=True)
    # the mean, because simulations on one committee are stable or unstable together
    share = partial(_over_runs, statistic=np.mean, at_least=True)
    signed = {
        key: barrier_errors(runs, key, truth)
        for key in ("first", "second", "third", "random", "random and start")
    }
    error = {key: np.abs(values) for key, values in signed.items()}
    labels = np.array([run["committees"]["third"]["structures"] for run in runs], dtype=float)
    third = {cap: below(runs, "third", cap) for cap in (5, 40)}
    both = below(runs, "random and start", 40)
    best = np.min([both, *(below(runs, key, 40) for key in ("first", "second", "random"))], axis=0)
    judged = [np.array([run["judged"][key] for key in ("committee", "reference")]) for run in runs]
    wrong = np.array([np.abs(pred - true).max(initial=0.0) for pred, true in judged])
    highest = largest(runs, "attacks 2", "energies") / largest(runs, "random", "energies")
    farthest = largest(runs, "attacks 2", "rmsd") / largest(runs, "start", "rmsd")
    cap_5, cap_40 = "RMSE below 5 kcal/mol, ", "RMSE below 40 kcal/mol, "
    return [
        energy("barrier error, third committee", error["third"], "< 0.25", 0.25),
        energy("barrier error, second committee", error["second"], "< 0.25", 0.25),
        energy("barrier error, first committee", error["first"], "about 1", None),
        energy("barrier error, random", error["random"], "much higher", None),
        energy("barrier error, start + random", error["random and start"], None, None),
        *(claim for key in ("first", "second", "third") for claim in _signed(key, signed[key])),
        _over_runs("labels of the third committee", labels, "< 150", 138.0),
        at_least(
            f"{cap_40}the best other committee's over the third's", best / third[40], "> 1", 1.0
        ),
        at_least(f"{cap_40}start + random's over the third's", both / third[40], None, 1.0),
        _over_runs(
            f"{cap_5}the third's over the first's", third[5] / below(runs, "first", 5), None, 1.0
        ),
        at_least(
            f"{cap_5}random's over the third's", below(runs, "random", 5) / third[5], "> 1", 1.0
        ),
        share("stable simulations, third committee", stable(runs, "third"), "0.83", 0.83),
        share("stable simulations, random", stable(runs, "random"), "0.63", None),
        share("stable simulations, start + random", stable(runs, "random and start"), None, None),
        share("stable simulations, first committee", stable(runs, "first"), None, None),
        _over_runs("highest energy, second attacks' over random's", highest, "< 1", 1.0),
        at_least("largest RMSD, second attacks' over the start's", farthest, "> 1", 1.0),
        energy(
            "largest error of the third committee's energies among its own attacks",
            wrong,
            None,
            None,
        ),
    ]
