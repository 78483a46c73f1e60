"""Replicas of any structures at any temperatures, moved as one batch.

NVE and NVT are torch-sim's integrators, evaluated for all replicas at once. NPT is ASE's: torch-sim
0.3 has no barostat that could be trusted (``potentials/torchsim.py`` says why), and one box of a
liquid fills a processor anyway. A replica that meets a criterion of its :class:`Watch` stops: it
costs no further forces, keeps its frames and names its reason, while the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms, units
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from ..events import Progress, Report, ignore
from ..geometry import Geometry
from ..potentials.protocol import Potential
from .engines import Crowd, Motion, OneByOne, Together
from .stops import NOT_FINITE, Watch


@dataclass(frozen=True, eq=False)
class Frames:
    """T frames of one replica, the last of them where it stopped (unless that is not finite).

    Attributes:
        replica: its place among the starts.
        start: where it started.
        temperature: K, of its velocities or its thermostat.
        times: (T,) fs.
        positions: (T, n, d) angstrom, never wrapped into the cell.
        cells: (T, d, d) angstrom, rows are vectors.
        energies: (T,) potential energies, eV.
        kinetic: (T,) kinetic energies, eV.
        velocities: (n, d) of the last frame, angstrom/fs.
        reason: what stopped it, None where nothing did.
    """

    replica: int
    start: Geometry
    temperature: float
    times: NDArray
    positions: NDArray
    cells: NDArray
    energies: NDArray
    kinetic: NDArray
    velocities: NDArray
    reason: str | None = None

    def __len__(self) -> int:
        return len(self.times)

    def geometry(self, frame: int) -> Geometry:
        """One frame as a structure that knows where it comes from."""
        origin = {
            **self.start.origin,
            "by": "dynamics",
            "replica": self.replica,
            "temperature": self.temperature,
            "time": float(self.times[frame]),
        }
        return replace(
            self.start, positions=self.positions[frame], cell=self.cells[frame], origin=origin
        )

    def __repr__(self) -> str:
        end = f", the last at {self.times[-1]:g} fs" if len(self) else ""
        return (
            f"Frames(replica {self.replica}, {self.temperature:g} K: {len(self)} frames{end},"
            f" {self.reason or 'not stopped'})"
        )


def nve(
    potential: Potential,
    starts: Sequence[Geometry | Atoms],
    temperatures: ArrayLike,
    *,
    timestep: float,
    steps: int,
    watch: Watch = Watch(),
    rng: Generator | None = None,
    velocities: Sequence[NDArray] | None = None,
    device: torch.device | str = "cpu",
    report: Report = ignore,
) -> list[Frames]:
    """Newton's equations by velocity Verlet (torch-sim); unmovable particles stay.

    Velocities are drawn from Maxwell and Boltzmann's distribution. Where several particles, all
    movable, make a structure, its centre of mass is at rest (what remains is their distribution
    under this condition); rotations are kept.

    Args:
        potential: what moves them; a committee's ``mean``, or one member.
        starts: R structures, one for each replica; repeat one as often as it shall run.
        temperatures: K, one for all or (R,), of the velocities.
        timestep: fs.
        steps: number of steps.
        watch: which frames are kept, and what stops a replica.
        rng: for the velocities.
        velocities: R times (n, d), angstrom/fs, instead of drawn ones: the last ones of earlier
            frames, for example; thermostats begin anew.
        device: where the potential computes, a committee's ``device``.
        report: hears a Progress at each frame.

    Raises:
        ValueError: values out of range, shapes that do not belong together, neither `rng` nor
            `velocities`.
    """
    from ..potentials.torchsim import PotentialModel, verlet

    crowd = Crowd.of(
        starts, temperatures, timestep, steps, velocities, rng, rest=velocities is None
    )
    model = PotentialModel(potential, dimension=crowd.dimension, device=device)
    return _run(
        Together(model, crowd, verlet(model, timestep * units.fs)),
        crowd,
        timestep,
        steps,
        watch,
        report,
    )


def nvt(
    potential: Potential,
    starts: Sequence[Geometry | Atoms],
    temperatures: ArrayLike,
    *,
    timestep: float,
    steps: int,
    damping: float = 100.0,
    watch: Watch = Watch(),
    rng: Generator | None = None,
    velocities: Sequence[NDArray] | None = None,
    device: torch.device | str = "cpu",
    report: Report = ignore,
) -> list[Frames]:
    """Constant temperature: a chain of three Nose-Hoover thermostats for each replica (torch-sim);
    unmovable particles stay.

    Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992). The thermostat counts d degrees of
    freedom for each movable particle, less d where the centre of mass rests (see :func:`nve`; a
    drift of given velocities is then taken out). A molecule
    without surroundings keeps the axis of its rotation: temperatures are right in the mean over
    replicas.

    Args:
        potential, starts, timestep, steps, watch, rng, velocities, device, report: as for
            :func:`nve`.
        temperatures: K, one for all or (R,), of velocities and thermostats.
        damping: relaxation time of the thermostats, fs (Cezar 2025: 500).

    Raises:
        ValueError: as for :func:`nve`; a structure without degrees of freedom.
    """
    from ..potentials.torchsim import PotentialModel, nose_hoover

    crowd = Crowd.of(starts, temperatures, timestep, steps, velocities, rng, rest=True)
    for place, (kelvin, freedom) in enumerate(zip(crowd.temperatures, crowd.freedom, strict=True)):
        if not (kelvin > 0 and damping > 0 and freedom > 0):
            raise ValueError(
                f"start {place} has {freedom:g} degrees of freedom, {kelvin:g} K and a damping of"
                f" {damping:g} fs: all must be positive"
            )
    model = PotentialModel(potential, dimension=crowd.dimension, device=device)
    return _run(
        Together(model, crowd, nose_hoover(model, timestep * units.fs, damping * units.fs)),
        crowd,
        timestep,
        steps,
        watch,
        report,
    )


def npt(
    potential: Potential,
    starts: Sequence[Geometry | Atoms],
    temperatures: ArrayLike,
    *,
    pressure: float,
    timestep: float,
    steps: int,
    damping: float = 500.0,
    pressure_damping: float = 1000.0,
    watch: Watch = Watch(),
    rng: Generator | None = None,
    velocities: Sequence[NDArray] | None = None,
    device: torch.device | str = "cpu",
    report: Report = ignore,
) -> list[Frames]:
    """Constant temperature and pressure: the cell keeps its shape, chains of three thermostats and
    three barostats (ASE's IsotropicMTKNPT).

    Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177 (1994). Replicas are evaluated one after the
    other. ASE counts 3n degrees of
    freedom, so drawn velocities keep the drift of the centre of mass: take it out of a diffusion
    coefficient.

    Args:
        potential, starts, timestep, steps, watch, rng, velocities, device, report: as for
            :func:`nve`.
        temperatures: K, one for all or (R,).
        pressure: eV/angstrom^3; 1 bar is ``ase.units.bar``.
        damping: relaxation time of the thermostats, fs (Cezar 2025: 500).
        pressure_damping: relaxation time of the barostats, fs (Cezar 2025: 1000).

    Raises:
        ValueError: as for :func:`nve`; a structure that is not periodic in three directions, or has
            unmovable atoms.
    """
    crowd = Crowd.of(starts, temperatures, timestep, steps, velocities, rng, rest=False)
    for place, start in enumerate(crowd.starts):
        if start.dimension != 3 or not start.pbc.all() or not start.movable.all():
            raise ValueError(
                f"start {place}, {start!r}, cannot run at constant pressure: it must be periodic in"
                " three directions with all atoms movable"
            )
    if not (crowd.temperatures > 0).all() or not (damping > 0 and pressure_damping > 0):
        raise ValueError("temperatures, damping and pressure_damping must be positive")
    return _run(
        OneByOne(potential, crowd, timestep, pressure, damping, pressure_damping, device),
        crowd,
        timestep,
        steps,
        watch,
        report,
    )


def _run(
    motion: Motion, crowd: Crowd, timestep: float, steps: int, watch: Watch, report: Report
) -> list[Frames]:
    """Moves, watches and keeps, until the last step or until nothing moves."""
    kept: list[list[tuple]] = [[] for _ in crowd.starts]
    why: dict[int, str] = {}
    moving = list(range(len(kept)))
    begun = None
    for step in range(steps + 1):
        if step:
            motion.step()
        last = step == steps
        frame = last or step % watch.every == 0
        batch, prediction, kinetic, velocities = motion.look()
        energies = torch.stack([prediction.energy.double(), kinetic])
        begun = energies if begun is None else begun
        reasons = watch.reasons(
            batch, prediction, (energies - begun).abs().amax(0), last or step % watch.check == 0
        )
        if frame or reasons:
            flat = (batch.split(values) for values in (batch.positions, velocities))
            whole = (
                values.double().cpu().numpy() for values in (batch.cell, prediction.energy, kinetic)
            )
            for place, values in enumerate(zip(*flat, *whole, strict=True)):
                if (frame or place in reasons) and reasons.get(place) != NOT_FINITE:
                    kept[moving[place]].append(
                        (step * timestep, *(value.copy() for value in values))
                    )
        if frame:
            report(Progress("dynamics", step, steps))
        if reasons:
            why |= {moving[place]: reason for place, reason in reasons.items()}
            left = [place for place in range(len(moving)) if place not in reasons]
            moving = [moving[place] for place in left]
            if not moving:
                break
            motion.keep(left)
            begun = begun[:, left]
    return [
        _frames(replica, crowd, frames, why.get(replica)) for replica, frames in enumerate(kept)
    ]


def _frames(replica: int, crowd: Crowd, kept: list[tuple], reason: str | None) -> Frames:
    """The record of one replica, from (time, positions, velocities, cell, energy, kinetic energy)
    of each frame.
    """
    start = crowd.starts[replica]
    n, d = start.positions.shape
    times, positions, velocities, cells, energies, kinetic = (
        [values[i] for values in kept] for i in range(6)
    )
    return Frames(
        replica,
        start,
        float(crowd.temperatures[replica]),
        np.array(times),
        np.reshape(positions, (-1, n, d)),
        np.reshape(cells, (-1, d, d)),
        np.array(energies),
        np.array(kinetic),
        velocities[-1] * units.fs if kept else np.full((n, d), np.nan),
        reason,
    )
