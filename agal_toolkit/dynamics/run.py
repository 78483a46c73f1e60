"""Molecular dynamics of replicas of any structures at any temperatures.

NVE and NVT use torch-sim's integrators for all replicas in one batch. NPT uses ASE, because the
barostat of torch-sim 0.3 is not reliable (``potentials/torchsim.py`` says why), and one box of a
liquid keeps a processor busy anyway. A replica that meets a criterion of the :class:`Watch` stops:
it costs no further forces and keeps its frames and the reason, while the others go on.
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
from .checkpoint import Checkpoint, Recording, Saver, digest_of
from .engines import AseEngine, Engine, InitialState, TorchSimEngine
from .stops import NOT_FINITE, Watch


@dataclass(frozen=True, eq=False)
class Frames:
    """T frames of one replica; the last is where it stopped, left out if it is not finite.

    Attributes:
        replica: index among the starts.
        start: structure that the replica started from.
        temperature: K, of the velocities or the thermostat.
        times: (T,) fs.
        positions: (T, n, d) angstrom, never wrapped into the cell.
        cells: (T, d, d) angstrom, rows are vectors.
        energies: (T,) potential energies, eV.
        kinetic: (T,) kinetic energies, eV.
        velocities: (n, d) of the last frame, angstrom/fs; NaN without frames.
        reason: name of the criterion that stopped the replica, or None.
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
        """Return one frame as a structure; its `origin` holds the replica, temperature and time."""
        moved = self.start.moved(
            self.positions[frame],
            by="dynamics",
            replica=self.replica,
            temperature=self.temperature,
            time=float(self.times[frame]),
        )
        return replace(moved, cell=self.cells[frame])

    def __repr__(self) -> str:
        end = f", the last at {self.times[-1]:g} fs" if len(self) else ""
        frames, reason = f"{len(self)} frames{end}", self.reason or "not stopped"
        return f"Frames(replica {self.replica}, {self.temperature:g} K: {frames}, {reason})"


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
    device: torch.device | str | None = None,
    report: Report = ignore,
    checkpoint: Checkpoint | None = None,
) -> list[Frames]:
    """Integrate Newton's equations by velocity Verlet (torch-sim); unmovable particles stay fixed.

    Velocities are drawn from the Maxwell-Boltzmann distribution. In structures of several
    particles, all movable, the centre of mass is at rest; rotations are kept.

    Args:
        potential: a committee's ``mean``, for example, or one member.
        starts: R structures, one for each replica; repeat a structure to run it several times.
        temperatures: K, one for all or (R,), of the velocities.
        timestep: fs.
        steps: number of steps.
        watch: which frames are kept, and what stops a replica.
        rng: draws the velocities; not needed if they are given.
        velocities: R times (n, d), angstrom/fs, used instead of drawn ones, for example those of
            earlier frames; thermostats begin anew.
        device: where the potential computes; None asks it.
        report: receives a Progress at each frame.
        checkpoint: keeps the simulation on its way; with it, a call goes on where an earlier one
            of the same arguments was killed, to the same end.

    Raises:
        ValueError: values out of range, shapes that do not match, neither `rng` nor `velocities`.
    """
    from ..potentials.torchsim import PotentialModel, verlet

    rest = velocities is None  # given velocities keep the drift of their centre of mass
    initial = InitialState.of(starts, temperatures, timestep, steps, velocities, rng, rest=rest)
    model = PotentialModel(potential, dimension=initial.dimension, device=device)
    engine = TorchSimEngine(model, initial, verlet(model, timestep * units.fs))
    digest = digest_of(initial, watch, {"timestep": timestep, "steps": steps})
    return _run(engine, initial, timestep, steps, watch, report, Saver(checkpoint, digest))


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
    device: torch.device | str | None = None,
    report: Report = ignore,
    checkpoint: Checkpoint | None = None,
) -> list[Frames]:
    """Run at constant temperature: three chained Nose-Hoover thermostats per replica (torch-sim).

    Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992). Unmovable particles stay fixed. The
    thermostat counts d degrees of freedom for each movable particle, less d if the centre of mass
    rests (see :func:`nve`; a drift of given velocities is then removed). An isolated molecule keeps
    the axis of its rotation, so only the mean temperature of many replicas is right.

    Args:
        potential, starts, timestep, steps, watch, rng, velocities, device, report, checkpoint:
            as for :func:`nve`.
        temperatures: K, one for all or (R,), of velocities and thermostats.
        damping: relaxation time of the thermostats, fs (Cezar 2025: 500).

    Raises:
        ValueError: as for :func:`nve`; a structure without degrees of freedom.
    """
    from ..potentials.torchsim import PotentialModel, nose_hoover

    initial = InitialState.of(starts, temperatures, timestep, steps, velocities, rng, rest=True)
    for i, (kelvin, freedom) in enumerate(zip(initial.temperatures, initial.freedom, strict=True)):
        if not (kelvin > 0 and damping > 0 and freedom > 0):
            given = f"{freedom:g} degrees of freedom, {kelvin:g} K and a damping of {damping:g} fs"
            raise ValueError(f"start {i} has {given}: all must be positive")
    model = PotentialModel(potential, dimension=initial.dimension, device=device)
    integrator = nose_hoover(model, timestep * units.fs, damping * units.fs)
    engine = TorchSimEngine(model, initial, integrator)
    settings = {"timestep": timestep, "steps": steps, "damping": damping}
    saver = Saver(checkpoint, digest_of(initial, watch, settings))
    return _run(engine, initial, timestep, steps, watch, report, saver)


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
    device: torch.device | str | None = None,
    report: Report = ignore,
    checkpoint: Checkpoint | None = None,
) -> list[Frames]:
    """Run at constant temperature and pressure; cells keep their shape (ASE's IsotropicMTKNPT).

    Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177 (1994); chains of three thermostats and three
    barostats. Replicas are evaluated one after the other. ASE counts 3n degrees of freedom, so
    drawn velocities keep the drift of the centre of mass: subtract it before measuring diffusion.

    Args:
        potential, starts, timestep, steps, watch, rng, velocities, device, report, checkpoint:
            as for :func:`nve`.
        temperatures: K, one for all or (R,).
        pressure: eV/angstrom^3; 1 bar is ``ase.units.bar``.
        damping: relaxation time of the thermostats, fs (Cezar 2025: 500).
        pressure_damping: relaxation time of the barostats, fs (Cezar 2025: 1000).

    Raises:
        ValueError: as for :func:`nve`; a structure that is not periodic in three directions, or has
            unmovable atoms.
    """
    initial = InitialState.of(starts, temperatures, timestep, steps, velocities, rng, rest=False)
    for i, start in enumerate(initial.starts):
        if start.dimension != 3 or not start.pbc.all() or not start.movable.all():
            raise ValueError(
                f"start {i}, {start!r}, cannot run at constant pressure: it must be periodic in"
                " three directions with all atoms movable"
            )
    if not (initial.temperatures > 0).all() or not (damping > 0 and pressure_damping > 0):
        raise ValueError("temperatures, damping and pressure_damping must be positive")
    engine = AseEngine(potential, initial, timestep, pressure, damping, pressure_damping, device)
    settings = {
        **{"timestep": timestep, "steps": steps, "damping": damping},
        **{"pressure": pressure, "pressure_damping": pressure_damping},
    }
    saver = Saver(checkpoint, digest_of(initial, watch, settings))
    return _run(engine, initial, timestep, steps, watch, report, saver)


def _run(
    engine: Engine,
    initial: InitialState,
    timestep: float,
    steps: int,
    watch: Watch,
    report: Report,
    saver: Saver,
) -> list[Frames]:
    """Advance, record and stop replicas until the last step or until none moves."""
    recording = saver.load(engine, len(initial.starts))
    for step in range(recording.step, steps + 1):
        if step:
            engine.step()
        last = step == steps
        keep = last or step % watch.every == 0
        batch, prediction, kinetic, velocities = engine.observe()
        energies = torch.stack([prediction.energy.double(), kinetic])
        if recording.at_start is None:
            recording.at_start = energies
        departure = (energies - recording.at_start.to(energies.device)).abs().amax(0)
        check = last or step % watch.check == 0
        reasons = watch.reasons(batch, prediction, departure, check)
        moving = recording.moving
        if keep or reasons:
            # one entry of each list for each replica of the batch
            per_particle = (batch.split(values) for values in (velocities, batch.positions))
            per_replica = (batch.cell, prediction.energy, kinetic)
            values = (*per_particle, *(value.double().cpu().numpy() for value in per_replica))
            for place, (v, *frame) in enumerate(zip(*values, strict=True)):
                if (keep or place in reasons) and reasons.get(place) != NOT_FINITE:
                    copies = (value.copy() for value in frame)
                    recording.frames[moving[place]].append((step * timestep, *copies))
                    recording.velocities[moving[place]] = v.copy()
        if keep:
            report(Progress("dynamics", step, steps))
        if reasons:
            recording.stopped |= {moving[place]: reason for place, reason in reasons.items()}
            left = [place for place in range(len(moving)) if place not in reasons]
            recording.moving = [moving[place] for place in left]
            if not left:
                break
            engine.select(left)
            recording.at_start = recording.at_start[:, left]
        recording.step = step + 1
        saver(engine, recording)
    recording.step = steps + 1
    saver(engine, recording, finished=True)
    return [_frames(replica, initial, recording) for replica in range(len(initial.starts))]


def _frames(replica: int, initial: InitialState, recording: Recording) -> Frames:
    """Return the frames of a replica."""
    n, d = initial.starts[replica].positions.shape
    record, velocities = recording.frames[replica], recording.velocities[replica]
    times, positions, cells, energies, kinetic = ([frame[i] for frame in record] for i in range(5))
    return Frames(
        replica=replica,
        start=initial.starts[replica],
        temperature=float(initial.temperatures[replica]),
        times=np.array(times),
        positions=np.reshape(positions, (-1, n, d)),
        cells=np.reshape(cells, (-1, d, d)),
        energies=np.array(energies),
        kinetic=np.array(kinetic),
        velocities=np.full((n, d), np.nan) if velocities is None else velocities * units.fs,
        reason=recording.stopped.get(replica),
    )
