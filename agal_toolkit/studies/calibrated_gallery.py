"""What the notebook shows of calibrated attacks, made of the study's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibrated_claims import delivered, interval

MEV = 1000.0                                        # in one eV
Trials = Mapping[str, Mapping[str, Any]]


def there(trials: Trials, names: Sequence[str]) -> list[str]:
    """Those of the trials that were run."""
    return [name for name in names if name in trials]


def column(record: Mapping[str, Any], key: str) -> NDArray:
    """(n,) of a trial's structures; those without a value are left out."""
    return np.array([value for value in record["structures"][key] if value is not None], dtype=float)


def series(trials: Trials, names: Sequence[str], key: str = "found") -> tuple[NDArray, NDArray, NDArray]:
    """Targets (n,), means of a column (n,) and their intervals (n, 2) of trials, by target; meV/angstrom."""
    chosen = sorted((trials[name] for name in there(trials, names)), key=lambda record: record["target"])
    targets = np.array([record["target"] for record in chosen])
    ratios = [delivered(record, key) for record in chosen]
    ends = np.array([interval(values) for values in ratios])
    return MEV * targets, MEV * targets * [values.mean() for values in ratios], MEV * targets[:, None] * ends


def over_target(trials: Trials, names: Mapping[str, str], key: str = "found") -> dict[str, NDArray]:
    """Label -> error over target of each structure (n,), for those of label -> trial that were run."""
    return {label: delivered(trials[name], key) for label, name in names.items() if name in trials}


def reliability_rows(reliability: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """A table in Markdown: statistics with their intervals, of label -> key of the records."""
    lines = ["| | std of r | \\|r\\| < 1 | \\|r\\| < 2 | log-log slope | NLL | miscalibration area |", "|---|---|---|---|---|---|---|"]
    for label, key in names.items():
        own = reliability[key]
        cells = [f"{own[k][0]:.2f} ({own[k][1]:.2f}, {own[k][2]:.2f})" for k in ("spread", "within_1", "within_2", "slope", "nll")]
        lines.append(f"| {label} | " + " | ".join(cells) + f" | {own['area'][0]:.3f} |")
    return "\n".join(lines)


def trial_rows(trials: Trials, names: Sequence[str], abouts: Mapping[str, str]) -> str:
    """A table in Markdown: of each trial target, promise and delivery, and the structures."""
    lines = ["| trial | n | target | uncertainty | found (95 %) | found / target | reached | O-H (A) | largest force (eV/A) |", "|---|---|---|---|---|---|---|---|---|"]
    for name in there(trials, names):
        record = trials[name]
        found = column(record, "found")
        low, high = interval(found)
        bonds = np.array(record["structures"]["bonds"], dtype=float)
        lines.append(
            f"| {abouts[name]} | {len(found)} | {MEV * record['target']:.0f} | {MEV * column(record, 'sigma').mean():.0f} | {MEV * found.mean():.0f} ({MEV * low:.0f}, {MEV * high:.0f}) | "
            f"{found.mean() / record['target']:.2f} | {np.mean(record['structures']['reached']):.0%} | {bonds[:, 0].min():.2f} to {bonds[:, 1].max():.2f} | "
            f"{column(record, 'largest force').max():.1f} |"
        )
    return "\n".join(lines)


def ways(trials: Trials, names: Mapping[str, str]) -> dict[str, dict[str, NDArray]]:
    """Quantity -> label -> values (n,), of ways to one uncertainty: where it sits, and what the structures are like."""
    quantities = {
        "participation": "atoms that share the uncertainty (participation ratio)", "internal": "share of the disagreement on forces inside molecules",
        "moved internally": "share of the displacement inside molecules", "largest force": "largest force in truth (eV/Å)", "rise": "energy above the start (eV per molecule)",
    }
    return {text: {label: column(trials[name], key) for label, name in names.items() if name in trials} for key, text in quantities.items()}
