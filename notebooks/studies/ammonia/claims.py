"""What the records of ammonia's jobs say beside the paper (Schwalbe-Koda 2021, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import Claim, interval_of_mean, interval_of_median

Run = Mapping[str, Any]
KCAL_UNIT = "kcal/mol"


def barrier_errors(runs: Sequence[Run], committee: str, truth: float) -> NDArray:
    """(runs,) barrier on the committee's mean less that of the reference, kcal/mol; NaN where there
    was no minimum.
    """
    return (
        np.array(
            [run["committees"][committee]["paths"].get("barrier", np.nan) for run in runs],
            dtype=float,
        )
        - truth
    )


def below(runs: Sequence[Run], committee: str, cap: int) -> NDArray:
    """(runs,) error on the (Z, R) plane where the true energy is at most `cap`, kcal/mol."""
    return np.array(
        [run["committees"][committee]["surface"]["rmse below"][str(cap)] for run in runs]
    )


def stable(runs: Sequence[Run], committee: str) -> NDArray:
    """(runs,) share of stable simulations on the committee of each run."""
    found = [run["committees"][committee]["stability"] for run in runs]
    return np.array([each["stable"] / each["runs"] for each in found])


def labels(runs: Sequence[Run]) -> NDArray:
    """(runs,) labelled structures that the third committee learned from."""
    return np.array([run["committees"]["third"]["structures"] for run in runs])


def _median(
    name: str,
    values: NDArray,
    unit: str,
    paper: str | None,
    goal: float | None,
    *,
    at_least: bool = False,
) -> Claim:
    """A claim on the median over runs; runs without a number count as infinitely wrong."""
    values = np.where(np.isfinite(values), values, np.inf)
    spread = (
        tuple(np.round(interval_of_median(values), 4).tolist())
        if len(values) > 1 and np.isfinite(values).all()
        else None
    )
    return Claim(
        name=name,
        value=round(float(np.median(values)), 4),
        unit=unit,
        paper=paper,
        goal=goal,
        at_least=at_least,
        spread=spread,
        runs=len(values),
    )


def _stable(
    name: str, runs: Sequence[Run], committee: str, paper: str | None, goal: float | None
) -> Claim:
    """The mean over runs: simulations on one committee stand or fall together."""
    shares = stable(runs, committee)
    spread = tuple(np.round(interval_of_mean(shares), 4).tolist()) if len(runs) > 1 else None
    return Claim(
        name=name,
        value=round(float(shares.mean()), 4),
        paper=paper,
        goal=goal,
        spread=spread,
        runs=len(runs),
    )


def claims(runs: Sequence[Run], truth: float) -> list[Claim]:
    """Medians over the seeds of one start and one recipe; `truth` is the reference's barrier,
    kcal/mol.
    """
    error = {
        key: np.abs(barrier_errors(runs, key, truth))
        for key in ("first", "second", "third", "random", "random and start")
    }
    others = np.min(
        [below(runs, key, 40) for key in ("first", "second", "random", "random and start")], axis=0
    )
    highest = {
        key: np.array([max(run["sets"][key]["energies"], default=np.nan) for run in runs])
        for key in ("attacks 2", "random")
    }
    farthest = {
        key: np.array([max(run["sets"][key]["rmsd"], default=np.nan) for run in runs])
        for key in ("start", "attacks 2")
    }
    judged = [np.array([run["judged"][key] for key in ("committee", "reference")]) for run in runs]
    wrong = np.array([np.abs(said - true).max(initial=0.0) for said, true in judged])
    return [
        _median("barrier error, third committee", error["third"], KCAL_UNIT, "< 0.25", 0.25),
        _median("barrier error, second committee", error["second"], KCAL_UNIT, "< 0.25", 0.25),
        _median("barrier error, first committee", error["first"], KCAL_UNIT, "about 1", None),
        _median("barrier error, random", error["random"], KCAL_UNIT, "much higher", None),
        _median("barrier error, start + random", error["random and start"], KCAL_UNIT, None, None),
        _median("labels of the third committee", labels(runs).astype(float), "", "< 150", 138.0),
        _median(
            "RMSE below 40 kcal/mol, the best other committee's over the third's",
            others / below(runs, "third", 40),
            "",
            "> 1",
            1.0,
            at_least=True,
        ),
        _median(
            "RMSE below 40 kcal/mol, start + random's over the third's",
            below(runs, "random and start", 40) / below(runs, "third", 40),
            "",
            None,
            1.0,
            at_least=True,
        ),
        _median(
            "RMSE below 5 kcal/mol, the third's over the first's",
            below(runs, "third", 5) / below(runs, "first", 5),
            "",
            None,
            1.0,
        ),
        _median(
            "RMSE below 5 kcal/mol, random's over the third's",
            below(runs, "random", 5) / below(runs, "third", 5),
            "",
            "> 1",
            1.0,
            at_least=True,
        ),
        _stable("stable simulations, third committee", runs, "third", "0.83", 0.83),
        _stable("stable simulations, random", runs, "random", "0.63", None),
        _stable("stable simulations, start + random", runs, "random and start", None, None),
        _stable("stable simulations, first committee", runs, "first", None, None),
        _median(
            "highest energy, second attacks' over random's",
            highest["attacks 2"] / highest["random"],
            "",
            "< 1",
            1.0,
        ),
        _median(
            "largest RMSD, second attacks' over the start's",
            farthest["attacks 2"] / farthest["start"],
            "",
            "> 1",
            1.0,
            at_least=True,
        ),
        _median(
            "largest error of the third committee's energies among its own attacks",
            wrong,
            KCAL_UNIT,
            None,
            None,
        ),
    ]
