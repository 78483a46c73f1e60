"""What the figures of ammonia are drawn from: the structures of each kind and the numbers of all
runs, from the files of the study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.dataset import Dataset

from ..results import interval_of_mean, interval_of_median
from .claims import barrier_errors, stable
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


def structures(
    data: Path, name: str, start: str, seed: int, preset: str, sizes: Preset
) -> dict[str, Dataset]:
    """Labelled geometries by their kind, in the order of Fig. 3; of the third committee's attacks
    the labels are its own.

    Args:
        data: the study's folder of labelled geometries.
        name: of the recipe.
        start: of the job.
        seed: of the job.
        preset: of the job.
        sizes: of the preset.
    """
    acquired = Dataset.read(data / preset / f"attacks-{name}-{start}-{seed}.extxyz")
    found = {"Hessian-displaced": Dataset.read(data / f"{start}-{seed}.extxyz")}
    for number in (1, 2):
        found[f"attacks {number}"] = acquired[acquired.generations == number]
    found["attacks 3"] = Dataset.read(data / preset / f"third-{name}-{start}-{seed}.extxyz")
    for amplitude, count in SHOWN.items():
        found[f"random {amplitude} Å"] = Dataset.read(
            data / f"shown-{amplitude}-{min(count, sizes.last)}.extxyz"
        )
    return found


def failures(found: Mapping[str, Dataset], sizes: Preset) -> dict[str, int]:
    """How many random geometries got no label, by their kind."""
    return {
        kind: count - len(found[kind])
        for amplitude, count in SHOWN.items()
        if (kind := f"random {amplitude} Å") in found
        for count in [min(count, sizes.last)]
    }


def path_curves(
    run: Run, truth: tuple[NDArray, NDArray]
) -> tuple[dict[str, tuple[NDArray, NDArray]], dict[str, list[tuple[NDArray, NDArray]]]]:
    """Fig. 3d of one run: the paths of the reference and of each committee's mean, and of the
    members; fractions and kcal/mol.
    """
    curves, members = {"DFT": truth}, {}
    for key, name in NAMES.items():
        path = run["committees"][key]["paths"]
        if "failed" not in path:
            lengths = np.array(path["mean path"]["lengths"])
            curves[name] = lengths / lengths[-1], np.array(path["mean path"]["energies"])
            members[name] = [
                (curves[name][0], np.array(energies))
                for energies in path["member paths"]
                if energies is not None
            ]
    return curves, members


def errors_of_barriers(
    runs: Sequence[Run], truth: float
) -> dict[str, tuple[NDArray, tuple[float, float] | None]]:
    """Of each committee the errors of all runs, kcal/mol, and an interval of their median."""
    found = {name: barrier_errors(runs, key, truth) for key, name in NAMES.items()}
    return {
        name: (
            errors,
            interval_of_median(errors) if len(errors) > 2 and np.isfinite(errors).all() else None,
        )
        for name, errors in found.items()
    }


def errors_below_caps(
    runs: Sequence[Run],
) -> tuple[NDArray, dict[str, NDArray], dict[str, tuple[NDArray, NDArray]]]:
    """Fig. 3f: caps, medians over the runs and their range, kcal/mol."""
    values = {
        name: np.array(
            [
                [run["committees"][key]["surface"]["rmse below"][str(cap)] for cap in CAPS]
                for run in runs
            ]
        )
        for key, name in NAMES.items()
    }
    return (
        np.array(CAPS),
        {name: np.median(v, 0) for name, v in values.items()},
        {name: (v.min(0), v.max(0)) for name, v in values.items()},
    )


def stable_fractions(runs: Sequence[Run]) -> dict[str, tuple[float, float, float]]:
    """Fig. 3f, inset: mean over runs of the stable share and its interval, of each committee that
    simulations were made with.
    """
    made = [key for key in NAMES if "stability" in runs[0]["committees"][key]]
    found = {NAMES[key]: stable(runs, key) for key in made}
    return {name: (float(each.mean()), *interval_of_mean(each)) for name, each in found.items()}


def stable_fractions_by_temperature(runs: Sequence[Run]) -> dict[str, NDArray]:
    """(temperatures,) fraction of stable simulations of each committee that they were made with."""
    made = [key for key in NAMES if "stability" in runs[0]["committees"][key]]
    each = {key: [run["committees"][key]["stability"] for run in runs] for key in made}
    return {
        NAMES[key]: np.array(
            [sum(s["by temperature"][str(t)] for s in found) for t in TEMPERATURES]
        )
        / (sum(s["runs"] for s in found) / len(TEMPERATURES))
        for key, found in each.items()
    }


def nearest(vectors: NDArray, groups: Sequence[str], start: str) -> dict[str, float]:
    """Group -> median over its structures of the distance to the nearest one of `start`, of
    descriptors (n, k).
    """
    kinds, known = np.array(groups), vectors[np.array(groups) == start]
    distances = np.linalg.norm(vectors[:, None] - known, axis=-1).min(1)
    return {
        kind: float(np.median(distances[kinds == kind]))
        for kind in dict.fromkeys(groups)
        if kind != start
    }


def seldom_visited(
    points: NDArray, counts: NDArray, z_edges: NDArray, r_edges: NDArray, share: float = 1e-3
) -> float:
    """Share of points (n, 2) of the plane, Z and R, in bins that hold less than `share` of the
    frames counted in (R, Z) bins, or that lie outside.
    """
    column, row = (
        np.searchsorted(z_edges, points[:, 0]) - 1,
        np.searchsorted(r_edges, points[:, 1]) - 1,
    )
    inside = (column >= 0) & (column < counts.shape[1]) & (row >= 0) & (row < counts.shape[0])
    often = np.zeros(len(points), dtype=bool)
    often[inside] = counts[row[inside], column[inside]] >= share * counts.sum()
    return float(1 - often.mean())


def whole(half: Sequence[Sequence[float]]) -> NDArray:
    """(R, Z) of a surface whose half Z >= 0 is kept."""
    rows = np.array(half, dtype=float)
    return np.concatenate([rows[:, :0:-1], rows], axis=1)
