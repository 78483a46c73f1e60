"""What the figures of ammonia are drawn from: structures by kind, and numbers of all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.dataset import Dataset

from ..jobs import interval
from .claims import barrier_errors, below, stable
from .committees import CAPS, TEMPERATURES
from .recipes import SHOWN, Preset

NAMES = {
    "first": "committee 1",
    "second": "committee 2",
    "third": "committee 3",
    "random": "random",
    "random and start": "start + random",
}
Run = Mapping[str, Any]
Curve = tuple[NDArray, NDArray]


def structures(
    data: Path, name: str, start: str, seed: int, preset: str, sizes: Preset
) -> dict[str, Dataset]:
    """Return labelled geometries of a job by kind, in the order of Fig. 3.

    The labels of the third committee's attacks are its own.

    Args:
        data: the study's folder of labelled geometries.
        name: of the recipe.
        start, seed, preset: of the job.
        sizes: of the preset.
    """
    job = f"{name}-{start}-{seed}"
    acquired = Dataset.read(data / preset / f"attacks-{job}.extxyz")
    sets = {
        "Hessian-displaced": Dataset.read(data / f"{start}-{seed}.extxyz"),
        "attacks 1": acquired[acquired.generations == 1],
        "attacks 2": acquired[acquired.generations == 2],
        "attacks 3": Dataset.read(data / preset / f"third-{job}.extxyz"),
    }
    for amplitude, count in SHOWN.items():
        file = data / f"shown-{amplitude}-{min(count, sizes.last)}.extxyz"
        sets[f"random {amplitude} Å"] = Dataset.read(file)
    return sets


def failures(sets: Mapping[str, Dataset], sizes: Preset) -> dict[str, int]:
    """Return how many random geometries got no label, by kind."""
    counts = {f"random {a} Å": min(count, sizes.last) for a, count in SHOWN.items()}
    return {kind: count - len(sets[kind]) for kind, count in counts.items() if kind in sets}


def path_curves(run: Run, truth: Curve) -> tuple[dict[str, Curve], dict[str, list[Curve]]]:
    """Return the paths of Fig. 3d: of the reference and each committee's mean, and of the members.

    A curve is fractions of the path and energies, kcal/mol.
    """
    curves, members = {"DFT": truth}, {}
    for key, name in NAMES.items():
        path = run["committees"][key]["paths"]
        if "failed" in path:
            continue
        lengths = np.array(path["mean path"]["lengths"])
        fractions = lengths / lengths[-1]
        curves[name] = fractions, np.array(path["mean path"]["energies"])
        energies = [values for values in path["member paths"] if values is not None]
        members[name] = [(fractions, np.array(values)) for values in energies]
    return curves, members


def errors_of_barriers(
    runs: Sequence[Run], truth: float
) -> dict[str, tuple[NDArray, tuple[float, float] | None]]:
    """Return each committee's errors of all runs, kcal/mol, and an interval of their median."""
    result = {}
    for key, name in NAMES.items():
        errors = barrier_errors(runs, key, truth)
        enough = len(errors) > 2 and np.isfinite(errors).all()
        result[name] = errors, interval(errors, statistic=np.median) if enough else None
    return result


def errors_below_caps(
    runs: Sequence[Run],
) -> tuple[NDArray, dict[str, NDArray], dict[str, tuple[NDArray, NDArray]]]:
    """Return caps, medians over the runs and their range (Fig. 3f), kcal/mol."""
    values = {
        name: np.array([below(runs, key, cap) for cap in CAPS]) for key, name in NAMES.items()
    }
    return (
        np.array(CAPS),
        {name: np.median(v, 1) for name, v in values.items()},
        {name: (v.min(1), v.max(1)) for name, v in values.items()},
    )


def _simulated(runs: Sequence[Run]) -> dict[str, str]:
    """Return keys and names of the committees that simulations were run with."""
    return {k: name for k, name in NAMES.items() if "stability" in runs[0]["committees"][k]}


def stable_fractions(runs: Sequence[Run]) -> dict[str, tuple[float, float, float]]:
    """Return mean over runs of each committee's stable share, and its interval (Fig. 3f, inset)."""
    shares = {name: stable(runs, key) for key, name in _simulated(runs).items()}
    return {name: (float(share.mean()), *interval(share)) for name, share in shares.items()}


def stable_fractions_by_temperature(runs: Sequence[Run]) -> dict[str, NDArray]:
    """Return each committee's fraction of stable simulations at each temperature."""
    fractions = {}
    for key, name in _simulated(runs).items():
        records = [run["committees"][key]["stability"] for run in runs]
        counts = [sum(r["by temperature"][str(t)] for r in records) for t in TEMPERATURES]
        simulations = sum(record["runs"] for record in records)
        fractions[name] = np.array(counts) / (simulations / len(TEMPERATURES))
    return fractions


def nearest(vectors: NDArray, groups: Sequence[str], start: str) -> dict[str, float]:
    """Return each group's median distance to the nearest structure of `start`.

    Args:
        vectors: (n, k) descriptors.
        groups: (n,) names.
        start: name of one group.
    """
    kinds = np.array(groups)
    distances = np.linalg.norm(vectors[:, None] - vectors[kinds == start], axis=-1).min(1)
    others = [kind for kind in dict.fromkeys(groups) if kind != start]
    return {kind: float(np.median(distances[kinds == kind])) for kind in others}


def seldom_visited(
    points: NDArray, counts: NDArray, z_edges: NDArray, r_edges: NDArray, share: float = 1e-3
) -> float:
    """Return the share of points (n, 2) of the plane, Z and R, in bins with few frames or none.

    Args:
        points: (n, 2).
        counts: (R, Z) frames in each bin.
        z_edges, r_edges: of the bins.
        share: of all frames, below which a bin has few.
    """
    column = np.searchsorted(z_edges, points[:, 0]) - 1
    row = np.searchsorted(r_edges, points[:, 1]) - 1
    inside = (column >= 0) & (column < counts.shape[1]) & (row >= 0) & (row < counts.shape[0])
    often = np.zeros(len(points), dtype=bool)
    often[inside] = counts[row[inside], column[inside]] >= share * counts.sum()
    return float(1 - often.mean())


def whole(half: Sequence[Sequence[float]]) -> NDArray:
    """Return (R, Z) of a surface of which only the half Z >= 0 is stored."""
    rows = np.array(half, dtype=float)
    return np.concatenate([rows[:, :0:-1], rows], axis=1)
