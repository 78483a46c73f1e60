"""Seeds from simulations of every member by itself, and which members are stable.

A committee's mean can be stable where a member is not, so each member moves replicas of its own
(Cezar 2025, Sec. IV E). A replica that breaks stops; it keeps its frames and its reason, and its
end gives no seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase.data import atomic_masses
from numpy.random import Generator
from numpy.typing import NDArray

from ..committee import Committee
from ..dataset import Dataset
from ..dynamics import Checkpoint, Closer, DensityOutside, Frames, Stop, Watch, npt, nvt
from ..dynamics.stops import GRAMS_PER_CM3
from ..events import Progress, Report, ignore
from ..geometry import Geometry
from .samplers import NoSeeds, starts_of


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How a simulation runs, and when a replica counts as broken (Cezar 2025, Sec. IV E).

    Attributes:
        picoseconds: length.
        temperature: K.
        pressure: eV/angstrom^3 (``ase.units.bar``); None keeps the volume.
        timestep: fs.
        damping: relaxation time of the chain of three thermostats, fs.
        pressure_damping: relaxation time of the chain of three barostats, fs.
        every: fs between frames.
        check: steps between checks.
        closest: angstrom; a replica breaks where two atoms are closer.
        density: a replica breaks where its density is outside this range, relative to its start.
        stops: further criteria.
    """

    picoseconds: float
    temperature: float = 300.0
    pressure: float | None = None
    timestep: float = 0.25
    damping: float = 500.0
    pressure_damping: float = 1000.0
    every: float = 100.0
    check: int = 100
    closest: float = 0.4
    density: tuple[float, float] = (0.25, 2.0)
    stops: tuple[Stop, ...] = ()

    def __post_init__(self) -> None:
        times = self.picoseconds, self.timestep, self.damping, self.pressure_damping, self.every
        low, high = self.density
        if not min(*times, self.temperature) > 0 or not self.closest >= 0 or self.check < 1:
            raise ValueError(f"{self}: times, temperature and check must be positive")
        if not 0 <= low < 1 < high:
            raise ValueError(f"density={self.density}: the start, 1, must lie between the two")

    def run(
        self,
        committee: Committee,
        member: int,
        starts: Sequence[Geometry],
        rng: Generator,
        report: Report = ignore,
        checkpoint: Checkpoint | None = None,
    ) -> list[Frames]:
        """Simulate with one member, all replicas of one composition and cell.

        Raises:
            ValueError: as :func:`~agal_toolkit.dynamics.npt`.
        """
        stops = [Closer(self.closest), *self.stops] if self.closest else [*self.stops]
        if self.pressure is not None:
            masses = [atomic_masses[start.numbers].sum() for start in starts]
            volumes = [abs(np.linalg.det(start.cell)) for start in starts]
            density = np.divide(masses, volumes) * GRAMS_PER_CM3
            low, high = self.density
            stops.append(DensityOutside(low * density.min(), high * density.max()))
        settings = {
            "timestep": self.timestep,
            "steps": max(1, round(1000 * self.picoseconds / self.timestep)),
            "damping": self.damping,
            "watch": Watch(
                every=max(1, round(self.every / self.timestep)),
                stops=tuple(stops),
                check=self.check,
            ),
            "rng": rng,
            "device": committee.device,
            "report": report,
            "checkpoint": checkpoint,
        }
        potential = committee[[member]].mean
        if self.pressure is None:
            return nvt(potential, starts, self.temperature, **settings)
        barostat = {"pressure": self.pressure, "pressure_damping": self.pressure_damping}
        return npt(potential, starts, self.temperature, **barostat, **settings)


def simulate_members(
    committee: Committee,
    starts: Sequence[Geometry],
    conditions: Conditions,
    rng: Generator,
    report: Report = ignore,
    folder: Path | None = None,
) -> list[list[Frames]]:
    """Return the frames of M members times R replicas.

    Every member has random numbers of its own, and a file of its own in `folder`, so that a call
    goes on where an earlier one was killed, to the same end.

    Args:
        committee: of M members.
        starts: R structures.
        conditions: of all simulations.
        rng: draws velocities.
        report: receives a Progress at each frame and after each member.
        folder: keeps simulations that are finished or on their way; None keeps nothing.
    """
    runs = []
    for member, own in enumerate(rng.spawn(len(committee))):
        file = None if folder is None else Checkpoint(folder / f"member-{member}.npz")
        runs.append(conditions.run(committee, member, starts, own, report, file))
        report(Progress("members simulated", member + 1, len(committee)))
    return runs


def stable(runs: Sequence[Sequence[Frames]]) -> list[bool]:
    """Return whether no replica of a member broke, for each member (Cezar 2025, Sec. IV E 2)."""
    return [all(frames.reason is None for frames in replicas) for replicas in runs]


@dataclass(frozen=True, kw_only=True)
class MemberDynamics:
    """Frames of simulations that every member runs by itself, drawn evenly (Cezar 2025, IV E 2).

    Attributes:
        conditions: of the simulations.
        count: number of seeds.
        replicas: number of simulations of each member.
        start: structure that all replicas start from; None draws from the training structures.
        skipped: picoseconds at the beginning that give no seeds.
        margin: fs before the end of a broken replica that give no seeds.
    """

    conditions: Conditions
    count: int = 20
    replicas: int = 1
    start: Geometry | None = None
    skipped: float = 0.0
    margin: float = 100.0

    def __post_init__(self) -> None:
        if min(self.count, self.replicas) < 1 or min(self.skipped, self.margin) < 0:
            raise ValueError(
                f"{self}: count and replicas must be positive, skipped and margin not negative"
            )

    def __call__(
        self,
        committee: Committee,
        dataset: Dataset,
        rng: Generator,
        report: Report = ignore,
        scratch: Path | None = None,
    ) -> list[Geometry]:
        starts = starts_of(self.start, dataset, self.replicas, rng)
        runs = simulate_members(committee, starts, self.conditions, rng, report, scratch)
        frames = [
            (member, replica, frame)
            for member, replicas in enumerate(runs)
            for replica in replicas
            for frame in self._usable(replica).tolist()
        ]
        if not frames:
            raise NoSeeds(
                f"every replica of every member broke within {self.skipped:g} ps and"
                f" {self.margin:g} fs ({runs[0][0]!r}): attack training structures instead, or"
                " simulate at a lower temperature"
            )
        chosen = rng.choice(len(frames), self.count, replace=len(frames) < self.count)
        members, seeds = stable(runs), []
        for member, replica, frame in (frames[i] for i in np.sort(chosen)):
            geometry = replica.geometry(frame)
            origin = {**geometry.origin, "member": member, "stable": members[member]}
            seeds.append(replace(geometry, origin=origin))
        return seeds

    def _usable(self, frames: Frames) -> NDArray:
        """Return the indices of frames that may be seeds."""
        end = np.inf if frames.reason is None else frames.times[-1:].max(initial=0) - self.margin
        return np.flatnonzero((frames.times >= 1000 * self.skipped) & (frames.times <= end))
