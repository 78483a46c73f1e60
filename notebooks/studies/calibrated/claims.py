"""Claims on calibrated attacks beside the paper (Cezar 2025, Secs. II A and II E)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jobs import Claim, interval, rounded

NEAR = ("x1.0", "x1.2", "x1.4", "x1.6")  # targets that one round is to reach
# statistic, its ideal value, name of its deviation, goal
STATISTICS = (
    ("spread", 1.0, "standard deviation of r off 1", 0.1),
    ("within_1", 0.6827, "share of errors within one sigma off 0.683", 0.0673),
    ("within_2", 0.9545, "share of errors within two sigma off 0.955", 0.0255),
    ("slope", 1.0, "log-log slope off 1", 0.15),
)
# name of a group of structures, its key in the reliability records, whether goals hold
GROUPS = (
    ("simulated structures", "simulated, forces, power", True),
    ("rattled structures", "rattled, forces, power", False),
    *(
        (f"simulated structures, {element}{text}", f"simulated, {element}, {law}", law == "power")
        for element in ("O", "H")
        for law, text in (
            ("power", ""),
            ("its own", ", a law of its own"),
            ("its own, simulations", ", a law of its own and of simulations alone"),
        )
    ),
)
# trial, text, goal of its deviation
DEVIATIONS = (
    ("x2.0", "2 held-out errors", 0.25),
    ("second x2.0", "2 held-out errors, second round", 0.1),
)
# trial, text, the paper's ratio
RATIOS = (
    ("x3.0", "3 held-out errors", None),
    ("second x3.0", "3 held-out errors, second round", None),
    ("raw", "uncalibrated", "about 2"),
    ("100 meV", "100 meV/A", "about 1"),
    ("400 meV", "400 meV/A", "above 1"),
)


def column(record: Mapping[str, Any], key: str) -> NDArray:
    """Return (n,) values of a trial's structures; structures without a value are left out."""
    values = [value for value in record["structures"][key] if value is not None]
    return np.array(values, dtype=float)


def over_target(record: Mapping[str, Any], key: str = "found") -> NDArray:
    """Return (n,) values of a trial's structures over the target, as :func:`column`."""
    return column(record, key) / record["target"]


def _deviation(
    name: str, value: float, bounds: Sequence[float], ideal: float, goal: float | None, runs: int
) -> Claim:
    """Return a claim on how far a value is from its ideal; `bounds` is its interval."""
    low, high = bounds
    near, far = sorted((abs(low - ideal), abs(high - ideal)))
    return Claim(
        name=name,
        value=round(float(abs(value - ideal)), 4),
        goal=goal,
        at_least=False,
        spread=(0.0 if low < ideal < high else round(near, 4), round(far, 4)),
        runs=runs,
    )


def _off_target(name: str, records: Sequence[Mapping[str, Any]], goal: float) -> Claim:
    """Return a claim on the largest deviation of a trial's mean error from its target."""
    ratios = [over_target(record) for record in records]
    worst = max(ratios, key=lambda values: abs(values.mean() - 1))
    return _deviation(name, worst.mean(), rounded(interval(worst)), 1.0, goal, len(worst))


def claims(records: Mapping[str, Any]) -> list[Claim]:
    """Return the claims on the committee, and on the trials that were run."""
    result = []
    for group, key, promised in GROUPS:
        stored = records["committee"]["reliability"][key]
        for statistic, ideal, text, goal in STATISTICS:
            value, *bounds = stored[statistic]
            goal = goal if promised else None
            name = f"{text}, {group}"
            result.append(_deviation(name, value, bounds, ideal, goal, stored["structures"]))
    trials = {name: trial for name, trial in records["trials"].items() if len(over_target(trial))}
    near = [trials[name] for name in NEAR if name in trials]
    if near:
        name = "error found off the target, 1.0 to 1.6 held-out errors"
        result.append(_off_target(name, near, 0.1))
        reached = np.concatenate([trial["structures"]["reached"] for trial in near])
        result.append(
            Claim(
                name="share of attacks that reach the target, 1.0 to 1.6 held-out errors",
                value=round(float(reached.mean()), 4),
                goal=0.9,
                runs=len(reached),
            )
        )
    for trial, text, goal in DEVIATIONS:
        if trial in trials:
            name = f"error found off the target, {text}"
            result.append(_off_target(name, [trials[trial]], goal))
    for trial, text, paper in RATIOS:
        if trial in trials:
            ratios = over_target(trials[trial])
            result.append(
                Claim(
                    name=f"error found over target, {text}",
                    value=round(float(ratios.mean()), 4),
                    paper=paper,
                    spread=rounded(interval(ratios)),
                    runs=len(ratios),
                )
            )
    return result
