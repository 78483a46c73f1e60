"""What the notebook shows of calibrated attacks, made of the study's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.analysis.reliability import within

from .claims import delivered, interval

MEV = 1000.0  # in one eV
Trials = Mapping[str, Mapping[str, Any]]


def there(trials: Trials, names: Sequence[str]) -> list[str]:
    """Those of the trials that were run."""
    return [name for name in names if name in trials]


def column(record: Mapping[str, Any], key: str) -> NDArray:
    """(n,) of a trial's structures; those without a value are left out."""
    return np.array(
        [value for value in record["structures"][key] if value is not None], dtype=float
    )


def series(
    trials: Trials, names: Sequence[str], key: str = "found"
) -> tuple[NDArray, NDArray, NDArray]:
    """Targets (n,), means of a column (n,) and their intervals (n, 2) of trials, by target;
    meV/angstrom.
    """
    chosen = sorted(
        (trials[name] for name in there(trials, names)), key=lambda record: record["target"]
    )
    targets = np.array([record["target"] for record in chosen])
    ratios = [delivered(record, key) for record in chosen]
    ends = np.array([interval(values) for values in ratios])
    return (
        MEV * targets,
        MEV * targets * [values.mean() for values in ratios],
        MEV * targets[:, None] * ends,
    )


def over_target(trials: Trials, names: Mapping[str, str], key: str = "found") -> dict[str, NDArray]:
    """Label -> error over target of each structure (n,), for those of label -> trial that were run."""
    return {label: delivered(trials[name], key) for label, name in names.items() if name in trials}


def reliability_rows(reliability: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """A table in Markdown: statistics with their intervals, of label -> key of the records."""
    lines = [
        "| | std of r | \\|r\\| < 1 | \\|r\\| < 2 | log-log slope | NLL | miscalibration area |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, key in names.items():
        own = reliability[key]
        cells = [
            f"{own[k][0]:.2f} ({own[k][1]:.2f}, {own[k][2]:.2f})"
            for k in ("spread", "within_1", "within_2", "slope", "nll")
        ]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {own['area'][0]:.3f} |")
    return "\n".join(lines)


def trial_rows(trials: Trials, names: Sequence[str], abouts: Mapping[str, str]) -> str:
    """A table in Markdown: of each trial target, promise and delivery, and the structures."""
    lines = [
        (
            "| trial | n | target (meV/Å) | uncertainty (meV/Å) | found (meV/Å), 95 % | found /"
            " target | found / uncertainty | reached | O-H (Å) | largest force (eV/Å) |"
        ),
        "|---" * 10 + "|",
    ]
    for name in there(trials, names):
        record, found = trials[name], column(trials[name], "found")
        labelled = [value is not None for value in record["structures"]["found"]]
        low, high = interval(found)
        bonds, sigma = (
            column(record, "bonds"),
            np.array(record["structures"]["sigma"], dtype=object)[labelled].astype(float),
        )
        count = f"{len(found)}" if all(labelled) else f"{len(found)} of {len(labelled)} labelled"
        lines.append(
            f"| {abouts[name]} | {count} | {MEV * record['target']:.0f} | {MEV * sigma.mean():.0f}"
            f" | {MEV * found.mean():.0f} ({MEV * low:.0f}, {MEV * high:.0f}) |"
            f" {found.mean() / record['target']:.2f} | {found.mean() / sigma.mean():.2f} |"
            f" {np.mean(record['structures']['reached']):.0%} | {bonds[:, 0].min():.2f} to"
            f" {bonds[:, 1].max():.2f} | {column(record, 'largest force').max():.1f} |"
        )
    return "\n".join(lines)


def adversary_rows(trials: Trials, names: Sequence[str], abouts: Mapping[str, str]) -> str:
    """A table in Markdown: whether errors of what attacks found are as their uncertainties say,
    component by component.
    """
    lines = [
        "| trial | std of r | \\|r\\| < 1 | \\|r\\| < 2 | log-log slope |",
        "|---|---|---|---|---|",
    ]
    for name in there(trials, names):
        record = trials[name]
        spread, slope = (
            f"{value:.2f} ({low:.2f}, {high:.2f})"
            for value, low, high in (record["reliability"][key] for key in ("spread", "slope"))
        )
        lines.append(
            f"| {abouts[name]} | {spread} | {within(record['ratios'], 1):.1%} |"
            f" {within(record['ratios'], 2):.1%} | {slope} |"
        )
    return "\n".join(lines)


def size_rows(trials: Trials, sizes: Sequence[int], everyone: int) -> str:
    """A table in Markdown: found over target when some members are attacked, for those and for the
    others (Cezar 2025, Figs. 3b and 3c).
    """
    lines = [
        (
            "| attacked | calibrated by | n | exponent b | reached | error of the attacked /"
            " target, 95 % | error of the others / target, 95 % |"
        ),
        "|---" * 7 + "|",
    ]
    for how, text in (("of all", f"all {everyone}"), ("alone", "themselves")):
        for size in sizes:
            if f"{size} {how}" in trials:
                record = trials[f"{size} {how}"]
                exponents = np.array(record["structures"]["law"])[:, 1]
                fitted = (
                    f"{exponents.min():.2f} to {exponents.max():.2f}"
                    if np.ptp(exponents)
                    else f"{exponents[0]:.2f}"
                )
                errors = [
                    _with_interval(delivered(record, f"found {which}"))
                    for which in ("attacked", "rest")
                ]
                reached = np.mean(record["structures"]["reached"])
                lines.append(
                    f"| {size} | {text} | {len(exponents)} | {fitted} | {reached:.0%} | "
                    + " | ".join(errors)
                    + " |"
                )
    return "\n".join(lines)


def wish_rows(trials: Trials, names: Sequence[str], abouts: Mapping[str, str]) -> str:
    """A table in Markdown: what wishes beside a target did to forces and pressures (Cezar 2025, Eq.
    7); pressures where cells moved.
    """
    lines = [
        (
            "| trial | n | reached | found / target, 95 % | largest force (eV/Å), mean | pressure"
            " before (GPa) | as the members say | in truth |"
        ),
        "|---" * 8 + "|",
    ]
    for name in there(trials, names):
        record = trials[name]
        pressures = [
            (
                f"{column(record, key).mean():.2f} ± {column(record, key).std():.2f}"
                if key in record["structures"]
                else ""
            )
            for key in ("pressure before", "pressure said", "pressure")
        ]
        lines.append(
            f"| {abouts[name]} | {len(column(record, 'found'))} |"
            f" {np.mean(record['structures']['reached']):.0%} | {_with_interval(delivered(record))}"
            f" | {column(record, 'largest force').mean():.2f} | " + " | ".join(pressures) + " |"
        )
    return "\n".join(lines)


def _with_interval(values: NDArray) -> str:
    low, high = interval(values)
    return f"{values.mean():.2f} ({low:.2f}, {high:.2f})"


def ways(trials: Trials, names: Mapping[str, str]) -> dict[str, dict[str, NDArray]]:
    """Quantity -> label -> values (n,), of ways to one uncertainty: where it sits, and what the
    structures are like.
    """
    quantities = {
        "participation": "atoms that share the uncertainty (participation ratio)",
        "internal": "share of the disagreement on forces inside molecules",
        "moved internally": "share of the displacement inside molecules",
        "largest force": "largest force in truth (eV/Å)",
        "rise": "energy above the start (eV per molecule)",
    }
    return {
        text: {label: column(trials[name], key) for label, name in names.items() if name in trials}
        for key, text in quantities.items()
    }
