"""A committee of ammonia beside the reference: its barrier, its surface and its simulations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from agal_toolkit.analysis.paths import NudgedElasticBand, ReactionPath
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.dynamics import Frames, Watch, nvt
from agal_toolkit.events import Report, ignore
from agal_toolkit.geometry import Geometry
from agal_toolkit.references import NoMinimum

from .inversion import CommitteePaths, inversion_path
from .plane import Ground, PlaneSurface
from .recipes import KCAL, Preset
from .stability import physical, stable_interval
from .truth import Truth

TEMPERATURES = (500, 600, 700, 800, 900, 1000)
CAPS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100)
Z_EDGES, R_EDGES = np.linspace(-2.5, 2.5, 76), np.linspace(0.5, 1.8, 53)


@dataclass(frozen=True)
class Barrier:
    """Metric: the inversion barrier on a committee's mean, kcal/mol; NaN if it has no minimum.

    Attributes:
        ground: where the search for the minimum starts.
        images, fmax: of the path.
    """

    ground: Geometry
    images: int = 11
    fmax: float = 0.01

    def __call__(self, committee: Committee, test: Dataset) -> float:
        band = NudgedElasticBand(images=self.images, fmax=self.fmax)
        try:
            path = inversion_path(
                committee.mean, ground=self.ground, band=band, device=committee.device
            )
        except NoMinimum:
            return float("nan")
        return path.barrier / KCAL


def paths(committee: Committee, truth: Truth, preset: Preset) -> dict[str, Any]:
    """Return the inversion on mean and members (Schwalbe-Koda 2021, Fig. 3d), kcal/mol.

    Energies are above the own minimum of each; None for members without one.
    """
    band = NudgedElasticBand(images=preset.truth.images, fmax=preset.truth.fmax)
    find = partial(inversion_path, ground=truth.ground, band=band, device=committee.device)
    try:
        result = CommitteePaths.of(committee, find)
    except NoMinimum as error:
        return {"failed": str(error)}
    barriers, curves = [], []
    for path in result.members:
        barriers.append(None if path is None else round(path.barrier / KCAL, 4))
        curves.append(None if path is None else profile(path)["energies"])
    return {
        "barrier": round(result.mean.barrier / KCAL, 4),
        "mean path": profile(result.mean),
        "converged": result.mean.converged,
        "members": barriers,
        "member paths": curves,
    }


def profile(path: ReactionPath) -> dict[str, list[float]]:
    """Return lengths along a path, angstrom, and energies above its first image, kcal/mol."""
    return {
        "lengths": np.round(path.lengths, 4).tolist(),
        "energies": np.round((path.energies - path.energies[0]) / KCAL, 4).tolist(),
    }


def surface(committee: Committee, truth: Truth) -> dict[str, Any]:
    """Return the (Z, R) plane (Fig. 3e) and its errors below caps (Fig. 3f), kcal/mol.

    Energies are above the reference's ground state, a row for each R, for Z >= 0 only.
    """
    grid = truth.surface.grid
    predicted = PlaneSurface.of(committee, grid, truth.zero)
    errors = {str(cap): truth.surface.rmse_below(predicted, cap * KCAL) / KCAL for cap in CAPS}
    return {
        "rmse below": {cap: round(error, 4) for cap, error in errors.items()},
        "energy": np.round(predicted.energy[:, grid.heights - 1 :] / KCAL, 2).tolist(),
    }


def stability(
    committee: Committee, truth: Truth, preset: Preset, seed: int, report: Report = ignore
) -> dict[str, Any]:
    """Simulate from the ground state at six temperatures as one batch; return what became of it.

    A replica ends where it stops being physical (A.2.2; Fig. 3f, inset, and Fig. 5). Counts of
    frames are on the (Z, R) plane, rows of R, of stable replicas and of the others.
    """
    temperatures = np.repeat(TEMPERATURES, preset.trajectories)
    replicas = nvt(
        committee.mean,
        [truth.ground] * len(temperatures),
        temperatures,
        timestep=0.5,
        steps=round(2000 * preset.picoseconds),
        damping=50.0,
        watch=Watch(every=10, stops=physical(truth.zero)),
        rng=np.random.default_rng([seed, 2021, 20]),
        device=committee.device,
        report=report,
    )
    stable = [replica for replica in replicas if replica.reason is None]
    unstable = [replica for replica in replicas if replica.reason is not None]
    ground = Ground.of(truth.ground)
    return {
        "stable": len(stable),
        "runs": len(replicas),
        "by temperature": {str(t): sum(r.temperature == t for r in stable) for t in TEMPERATURES},
        "interval": np.round(stable_interval(len(stable), len(replicas)), 4).tolist(),
        "reasons": dict(Counter(replica.reason for replica in unstable)),
        "frames": {"stable": _counts(stable, ground), "unstable": _counts(unstable, ground)},
    }


def _counts(replicas: list[Frames], ground: Ground) -> list[list[int]]:
    """Return numbers of frames on the (Z, R) plane, a row for each R."""
    counts = np.zeros((len(R_EDGES) - 1, len(Z_EDGES) - 1), dtype=int)
    for frames in replicas:
        z, r = ground.project_frames(frames.positions, frames.start.numbers).T
        counts += np.histogram2d(r, z, [R_EDGES, Z_EDGES])[0].astype(int)
    return counts.tolist()
