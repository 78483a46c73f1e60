"""What the records of calibrated attacks say beside the paper (Cezar 2025, Secs. II A and II E)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import Claim

NEAR = ("x1.0", "x1.2", "x1.4", "x1.6")  # targets that one round is to hit
STATISTICS = (
    ("spread", 1.0, "standard deviation of r off 1", 0.1),
    ("within_1", 0.6827, "share of errors within one sigma off 0.683", 0.0673),
    ("within_2", 0.9545, "share of errors within two sigma off 0.955", 0.0255),
    ("slope", 1.0, "log-log slope off 1", 0.15),
)


def delivered(record: Mapping[str, Any], key: str = "found") -> NDArray:
    """(n,) a column of a trial's structures over the target; structures that could not be labelled
    are left out.
    """
    return (
        np.array([value for value in record["structures"][key] if value is not None], dtype=float)
        / record["target"]
    )


def interval(values: NDArray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of (n,) values, which are taken as independent."""
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _off(name: str, records: Sequence[Mapping[str, Any]], goal: float) -> Claim:
    """The largest deviation of a mean from its target, over trials, with the interval of that
    trial's mean.
    """
    ratios = [delivered(record) for record in records]
    worst = max(ratios, key=lambda values: abs(values.mean() - 1))
    low, high = interval(worst)
    ends = sorted((abs(low - 1), abs(high - 1)))
    spread = (0.0 if low < 1 < high else round(ends[0], 4), round(ends[1], 4))
    return Claim(
        name=name,
        value=round(float(abs(worst.mean() - 1)), 4),
        goal=goal,
        at_least=False,
        spread=spread,
        runs=len(worst),
    )


def _ratio(name: str, record: Mapping[str, Any], paper: str | None = None) -> Claim:
    values = delivered(record)
    return Claim(
        name=name,
        value=round(float(values.mean()), 4),
        paper=paper,
        spread=interval(values),
        runs=len(values),
    )


def _apart(name: str, value: Sequence[float], ideal: float, goal: float | None, runs: int) -> Claim:
    """How far a statistic is from its ideal, with the interval's ends."""
    middle, low, high = value
    ends = sorted((abs(low - ideal), abs(high - ideal)))
    spread = (0.0 if low < ideal < high else round(ends[0], 4), round(ends[1], 4))
    return Claim(
        name=name,
        value=round(abs(middle - ideal), 4),
        goal=goal,
        at_least=False,
        spread=spread,
        runs=runs,
    )


def claims(records: Mapping[str, Any]) -> list[Claim]:
    """Of the committee, and of those trials that are there."""
    about = records["committee"]["reliability"]
    trials = {name: record for name, record in records["trials"].items() if len(delivered(record))}
    found = []
    groups = {
        "simulated structures": ("simulated, forces, power", True),
        "rattled structures": ("rattled, forces, power", False),
    }
    for element in ("O", "H"):
        for law, text in (
            ("power", ""),
            ("its own", ", a law of its own"),
            ("its own, simulations", ", a law of its own and of simulations alone"),
        ):
            groups[f"simulated structures, {element}{text}"] = (
                f"simulated, {element}, {law}",
                law == "power",
            )
    for group, (key, promised) in groups.items():
        own = about[key]
        for statistic, ideal, name, goal in STATISTICS:
            found.append(
                _apart(
                    f"{name}, {group}",
                    own[statistic],
                    ideal,
                    goal if promised else None,
                    own["structures"],
                )
            )
    near = [trials[name] for name in NEAR if name in trials]
    if near:
        found.append(_off("error found off the target, 1.0 to 1.6 held-out errors", near, 0.1))
        reached = np.concatenate([each["structures"]["reached"] for each in near])
        found.append(
            Claim(
                name="share of attacks that reach the target, 1.0 to 1.6 held-out errors",
                value=round(float(reached.mean()), 4),
                goal=0.9,
                runs=len(reached),
            )
        )
    for name, text, goal in (
        ("x2.0", "2 held-out errors", 0.25),
        ("second x2.0", "2 held-out errors, second round", 0.1),
    ):
        if name in trials:
            found.append(_off(f"error found off the target, {text}", [trials[name]], goal))
    for name, text, paper in (
        ("x3.0", "3 held-out errors", None),
        ("second x3.0", "3 held-out errors, second round", None),
        ("raw", "uncalibrated", "about 2"),
        ("100 meV", "100 meV/A", "about 1"),
        ("400 meV", "400 meV/A", "above 1"),
    ):
        if name in trials:
            found.append(_ratio(f"error found over target, {text}", trials[name], paper))
    return found
