"""What a committee says of ammonia, beside the reference: barrier, surface and whether molecules
survive on it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from agal_toolkit.analysis.paths import CommitteePaths, NoMinimum, NudgedElasticBand, ReactionPath
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.dynamics import Frames, Watch, nvt
from agal_toolkit.events import Report, ignore
from agal_toolkit.geometry import Geometry

from .inversion import inversion_path
from .plane import Ground, PlaneSurface
from .recipes import KCAL, Preset
from .stability import StableFraction, physical
from .truth import Truth

TEMPERATURES = (500, 600, 700, 800, 900, 1000)
CAPS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100)
Z_EDGES, R_EDGES = np.linspace(-2.5, 2.5, 76), np.linspace(0.5, 1.8, 53)


@dataclass(frozen=True)
class Barrier:
    """A metric: nitrogen's inversion barrier on the committee's mean, kcal/mol; NaN where it has no
    minimum to start from.

    Attributes:
        ground: where the search for the minimum starts.
        images, fmax: of the path.
    """

    ground: Geometry
    images: int = 11
    fmax: float = 0.01

    def __call__(self, committee: Committee, test: Dataset) -> float:
        try:
            return (
                inversion_path(
                    committee.mean,
                    ground=self.ground,
                    band=NudgedElasticBand(images=self.images, fmax=self.fmax),
                    device=committee.device,
                ).barrier
                / KCAL
            )
        except NoMinimum:
            return float("nan")


def paths(committee: Committee, truth: Truth, preset: Preset) -> dict[str, Any]:
    """Inversion on mean and members (Schwalbe-Koda 2021, Fig. 3d), kcal/mol above each one's own
    minimum; of a member without one, None.
    """
    band = NudgedElasticBand(images=preset.truth.images, fmax=preset.truth.fmax)
    try:
        found = CommitteePaths.of(
            committee,
            partial(inversion_path, ground=truth.ground, band=band, device=committee.device),
        )
    except NoMinimum as error:
        return {"failed": str(error)}
    return {
        "barrier": round(found.mean.barrier / KCAL, 4),
        "mean path": profile(found.mean),
        "converged": found.mean.converged,
        "members": [
            None if path is None else round(path.barrier / KCAL, 4) for path in found.members
        ],
        "member paths": [
            None if path is None else profile(path)["energies"] for path in found.members
        ],
    }


def profile(path: ReactionPath) -> dict[str, list[float]]:
    """Energies above the first image, kcal/mol, and lengths along a path, angstrom."""
    return {
        "lengths": np.round(path.lengths, 4).tolist(),
        "energies": np.round((path.energies - path.energies[0]) / KCAL, 4).tolist(),
    }


def surface(committee: Committee, truth: Truth) -> dict[str, Any]:
    """The (Z, R) plane (Fig. 3e) and its error under caps of the true energy (Fig. 3f), kcal/mol.

    Energies are above the reference's ground state, a row for each R; of the mirror images only the
    half Z >= 0 is kept.
    """
    grid = truth.surface.grid
    said = PlaneSurface.of(committee, grid, truth.zero)
    return {
        "rmse below": {
            str(cap): round(truth.surface.rmse_below(said, cap * KCAL) / KCAL, 4) for cap in CAPS
        },
        "energy": np.round(said.energy[:, grid.heights - 1 :] / KCAL, 2).tolist(),
    }


def stability(
    committee: Committee, truth: Truth, preset: Preset, seed: int, report: Report = ignore
) -> dict[str, Any]:
    """Simulations from the ground state at six temperatures, all replicas of all temperatures one
    batch (A.2.2; Fig. 3f, inset, and Fig. 5).

    A replica ends where it stops being physical. Counts of frames are on the (Z, R) plane, rows of
    R, of replicas that were stable and of those that were not.
    """
    temperatures = np.repeat(TEMPERATURES, preset.trajectories)
    ran = nvt(
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
    stable = {
        str(t): sum(r.reason is None for r in ran if r.temperature == t) for t in TEMPERATURES
    }
    ground = Ground.of(truth.ground)
    return {
        "stable": sum(stable.values()),
        "runs": len(ran),
        "by temperature": stable,
        "interval": np.round(StableFraction.of(ran).interval, 4).tolist(),
        "reasons": dict(Counter(r.reason for r in ran if r.reason is not None)),
        "frames": {
            name: _counted([r for r in ran if (r.reason is None) == good], ground)
            for name, good in (("stable", True), ("unstable", False))
        },
    }


def _counted(replicas: list[Frames], ground: Ground) -> list[list[int]]:
    """Frames on the (Z, R) plane, a row for each R."""
    counts = np.zeros((len(R_EDGES) - 1, len(Z_EDGES) - 1), dtype=int)
    for frames in replicas:
        z, r = ground.project_frames(frames.positions, frames.start.numbers).T
        counts += np.histogram2d(r, z, [R_EDGES, Z_EDGES])[0].astype(int)
    return counts.tolist()
