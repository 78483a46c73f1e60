"""Numbers and tables of calibrated attacks, made of the study's records.

``python -m studies.calibrated.gallery`` prints all tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..jobs import RESULTS, interval, markdown, read
from .claims import column, over_target
from .ratios import within
from .recipes import PRESETS, trials

MEV = 1000.0  # in one eV
Trial = Mapping[str, Any]
Trials = Mapping[str, Trial]


def available(trials: Trials, names: Sequence[str]) -> list[str]:
    """Return the names of trials that were run."""
    return [name for name in names if name in trials]


def series(
    trials: Trials, names: Sequence[str], key: str = "found"
) -> tuple[NDArray, NDArray, NDArray]:
    """Return targets (n,), means of a column (n,) and their intervals (n, 2); meV/angstrom.

    Trials are sorted by target.
    """
    chosen = [trials[name] for name in available(trials, names)]
    chosen.sort(key=lambda record: record["target"])
    targets = MEV * np.array([record["target"] for record in chosen])
    ratios = [over_target(record, key) for record in chosen]
    means = targets * [values.mean() for values in ratios]
    return targets, means, targets[:, None] * np.array([interval(values) for values in ratios])


def ratios_by_label(
    trials: Trials, names: Mapping[str, str], key: str = "found"
) -> dict[str, NDArray]:
    """Return label -> error over target of each structure (n,), given label -> trial."""
    return {
        label: over_target(trials[name], key) for label, name in names.items() if name in trials
    }


def reliability_rows(reliability: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return a table of statistics with their intervals, given label -> key of the records."""
    head = ("", "std of r", "\\|r\\| < 1", "\\|r\\| < 2", "log-log slope", "NLL")
    rows = []
    for label, key in names.items():
        stored = reliability[key]
        statistics = ("spread", "within_1", "within_2", "slope", "nll")
        area = f"{stored['area'][0]:.3f}"
        rows.append((label, *(_value(*stored[name]) for name in statistics), area))
    return markdown((*head, "miscalibration area"), rows)


def trial_rows(trials: Trials, names: Sequence[str], abouts: Mapping[str, str]) -> str:
    """Return a table of each trial's target, uncertainty and error, and of its structures."""
    head = (
        "trial",
        "n",
        "target (meV/Å)",
        "uncertainty (meV/Å)",
        "found (meV/Å), 95 %",
        "found / target",
        "found / uncertainty",
        "reached",
        "O-H (Å)",
        "largest force (eV/Å)",
    )

    def row(trial: Trial) -> Sequence[str]:
        errors, target = column(trial, "found"), trial["target"]
        labelled = [value is not None for value in trial["structures"]["found"]]
        sigma = np.array(trial["structures"]["sigma"], dtype=object)[labelled].astype(float)
        low, high = interval(errors)
        bonds, mean = column(trial, "bonds"), errors.mean()
        count = f"{len(errors)}"
        return (
            count if all(labelled) else f"{count} of {len(labelled)} labelled",
            f"{MEV * target:.0f}",
            f"{MEV * sigma.mean():.0f}",
            f"{MEV * mean:.0f} ({MEV * low:.0f}, {MEV * high:.0f})",
            f"{mean / target:.2f}",
            f"{mean / sigma.mean():.2f}",
            _reached(trial),
            f"{bonds[:, 0].min():.2f} to {bonds[:, 1].max():.2f}",
            f"{column(trial, 'largest force').max():.1f}",
        )

    return _rows(head, trials, names, abouts, row)


def adversary_rows(trials: Trials, names: Sequence[str], abouts: Mapping[str, str]) -> str:
    """Return a table that compares errors of attacked structures with their uncertainties."""

    def row(trial: Trial) -> Sequence[str]:
        spread, slope = (_value(*trial["reliability"][key]) for key in ("spread", "slope"))
        one, two = (f"{within(trial['ratios'], k):.1%}" for k in (1, 2))
        return spread, one, two, slope

    head = ("trial", "std of r", "\\|r\\| < 1", "\\|r\\| < 2", "log-log slope")
    return _rows(head, trials, names, abouts, row)


def size_rows(trials: Trials, sizes: Sequence[int], everyone: int) -> str:
    """Return a table of error over target when some members are attacked (Cezar 2025, Fig. 3b).

    Errors are those of the attacked members and of the others (Fig. 3c).
    """
    head = (
        "attacked",
        "calibrated by",
        "n",
        "exponent b",
        "reached",
        "error of the attacked / target, 95 %",
        "error of the others / target, 95 %",
    )
    rows = []
    for suffix, text in (("of all", f"all {everyone}"), ("alone", "themselves")):
        for size in sizes:
            trial = trials.get(f"{size} {suffix}")
            if trial is None:
                continue
            b = np.array(trial["structures"]["law"])[:, 1]
            exponent = f"{b.min():.2f} to {b.max():.2f}" if np.ptp(b) else f"{b[0]:.2f}"
            ratios = [over_target(trial, key) for key in ("found attacked", "found rest")]
            errors = [_mean(values) for values in ratios]
            rows.append((f"{size}", text, f"{len(b)}", exponent, _reached(trial), *errors))
    return markdown(head, rows)


def bias_rows(trials: Trials, names: Sequence[str], abouts: Mapping[str, str]) -> str:
    """Return a table of what biases did to forces and pressures (Cezar 2025, Eq. 7).

    There are pressures where cells moved.
    """
    head = (
        "trial",
        "n",
        "reached",
        "found / target, 95 %",
        "largest force (eV/Å), mean",
        "pressure before (GPa)",
        "as the members say",
        "in truth",
    )

    def row(trial: Trial) -> Sequence[str]:
        pressures = [
            f"{column(trial, key).mean():.2f} ± {column(trial, key).std():.2f}"
            if key in trial["structures"]
            else ""
            for key in ("pressure before", "pressure said", "pressure")
        ]
        count = f"{len(column(trial, 'found'))}"
        force = f"{column(trial, 'largest force').mean():.2f}"
        return count, _reached(trial), _mean(over_target(trial)), force, *pressures

    return _rows(head, trials, names, abouts, row)


def by_way(trials: Trials, names: Mapping[str, str]) -> dict[str, dict[str, NDArray]]:
    """Return quantity -> label -> values (n,) of a trial's structures, given label -> trial."""
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


def _rows(
    head: Sequence[str],
    trials: Trials,
    names: Sequence[str],
    abouts: Mapping[str, str],
    row: Callable[[Trial], Sequence[str]],
) -> str:
    """Return a table with a row for each trial that was run."""
    return markdown(head, [(abouts[n], *row(trials[n])) for n in available(trials, names)])


def _reached(trial: Trial) -> str:
    return f"{np.mean(trial['structures']['reached']):.0%}"


def _value(value: float, low: float, high: float) -> str:
    return f"{value:.2f} ({low:.2f}, {high:.2f})"


def _mean(values: NDArray) -> str:
    return _value(values.mean(), *interval(values))


def main() -> None:
    """Print every table of the stored study."""
    records = read(RESULTS / "calibrated_attacks-laptop.json")["records"]
    found, sizes = records["trials"], PRESETS["laptop"]
    abouts, stored = {name: t.about for name, t in trials(sizes).items()}, records["committee"]
    print(reliability_rows(stored["reliability"], {key: key for key in stored["reliability"]}))
    for table in (trial_rows, adversary_rows, bias_rows):
        print("\n" + table(found, list(found), abouts))
    print("\n" + size_rows(found, sizes.subsets, sizes.members))


if __name__ == "__main__":
    main()
