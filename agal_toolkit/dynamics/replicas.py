"""Replicas of any structures at any temperatures, moved as one batch.

NVE and NVT are torch-sim's integrators, evaluated for all replicas at once. NPT is ASE's: torch-sim 0.3 has no barostat
that could be trusted (``potentials/torchsim.py`` says why), and one box of a liquid fills a processor anyway. A replica
that meets a criterion of its :class:`Watch` stops: it costs no further forces, keeps its frames and names its reason,
while the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from ase import Atoms, units
from ase.data import atomic_masses
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..events import Progress, Report, ignore
from ..geometry import Batch, Geometry, Prediction, as_geometry, concatenate
from ..potentials.ase import PotentialCalculator
from ..potentials.protocol import Potential
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
        origin = {**self.start.origin, "by": "dynamics", "replica": self.replica, "temperature": self.temperature, "time": float(self.times[frame])}
        return replace(self.start, positions=self.positions[frame], cell=self.cells[frame], origin=origin)

    def __repr__(self) -> str:
        end = f", the last at {self.times[-1]:g} fs" if len(self) else ""
        return f"Frames(replica {self.replica}, {self.temperature:g} K: {len(self)} frames{end}, {self.reason or 'not stopped'})"


def nve(
    potential: Potential, starts: Sequence[Geometry | Atoms], temperatures: ArrayLike, *, timestep: float, steps: int, watch: Watch = Watch(),
    rng: Generator | None = None, velocities: Sequence[NDArray] | None = None, device: torch.device | str = "cpu", report: Report = ignore,
) -> list[Frames]:
    """Newton's equations by velocity Verlet (torch-sim); unmovable particles stay.

    Velocities are drawn from Maxwell and Boltzmann's distribution. Where several particles, all movable, make a structure,
    its centre of mass is at rest (what remains is their distribution under this condition); rotations are kept.

    Args:
        potential: what moves them; a committee's ``mean``, or one member.
        starts: R structures, one for each replica; repeat one as often as it shall run.
        temperatures: K, one for all or (R,), of the velocities.
        timestep: fs.
        steps: number of steps.
        watch: which frames are kept, and what stops a replica.
        rng: for the velocities.
        velocities: R times (n, d), angstrom/fs, instead of drawn ones: the last ones of earlier frames, for example.
        device: where the potential computes, a committee's ``device``.
        report: hears a Progress at each frame.

    Raises:
        ValueError: values out of range, shapes that do not belong together, neither `rng` nor `velocities`.
    """
    from ..potentials.torchsim import PotentialModel, verlet

    crowd = _Crowd.of(starts, temperatures, timestep, steps, velocities, rng)
    model = PotentialModel(potential, dimension=crowd.dimension, device=device)
    return _run(_Together(model, crowd, verlet(model, timestep * units.fs)), crowd, timestep, steps, watch, report)


def nvt(
    potential: Potential, starts: Sequence[Geometry | Atoms], temperatures: ArrayLike, *, timestep: float, steps: int, damping: float = 100.0,
    watch: Watch = Watch(), rng: Generator | None = None, velocities: Sequence[NDArray] | None = None, device: torch.device | str = "cpu", report: Report = ignore,
) -> list[Frames]:
    """Constant temperature: a chain of three Nose-Hoover thermostats for each replica (torch-sim); unmovable particles stay.

    Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992). The thermostat counts d degrees of freedom for each movable
    particle, less d where the centre of mass rests (see :func:`nve`; given velocities must then have no drift). A molecule
    without surroundings keeps the axis of its rotation: temperatures are right in the mean over replicas.

    Args:
        potential, starts, timestep, steps, watch, rng, velocities, device, report: as for :func:`nve`.
        temperatures: K, one for all or (R,), of velocities and thermostats.
        damping: relaxation time of the thermostats, fs (Cezar 2025: 500).

    Raises:
        ValueError: as for :func:`nve`; a structure without degrees of freedom.
    """
    from ..potentials.torchsim import PotentialModel, degrees_of_freedom, nose_hoover

    crowd = _Crowd.of(starts, temperatures, timestep, steps, velocities, rng)
    for place, start in enumerate(crowd.starts):
        if not (crowd.temperatures[place] > 0 and damping > 0 and degrees_of_freedom(start) > 0):
            has = f"{degrees_of_freedom(start)} degrees of freedom, {crowd.temperatures[place]:g} K and a damping of {damping:g} fs"
            raise ValueError(f"start {place} has {has}: all must be positive")
    model = PotentialModel(potential, dimension=crowd.dimension, device=device)
    return _run(_Together(model, crowd, nose_hoover(model, timestep * units.fs, damping * units.fs)), crowd, timestep, steps, watch, report)


def npt(
    potential: Potential, starts: Sequence[Geometry | Atoms], temperatures: ArrayLike, *, pressure: float, timestep: float, steps: int,
    damping: float = 500.0, pressure_damping: float = 1000.0, watch: Watch = Watch(),
    rng: Generator | None = None, velocities: Sequence[NDArray] | None = None, device: torch.device | str = "cpu", report: Report = ignore,
) -> list[Frames]:
    """Constant temperature and pressure: the cell keeps its shape, chains of three thermostats and three barostats (ASE's IsotropicMTKNPT).

    Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177 (1994). Replicas are evaluated one after the other. ASE counts 3n degrees of
    freedom, so drawn velocities keep the drift of the centre of mass: take it out of a diffusion coefficient.

    Args:
        potential, starts, timestep, steps, watch, rng, velocities, device, report: as for :func:`nve`.
        temperatures: K, one for all or (R,).
        pressure: eV/angstrom^3; 1 bar is ``ase.units.bar``.
        damping: relaxation time of the thermostats, fs (Cezar 2025: 500).
        pressure_damping: relaxation time of the barostats, fs (Cezar 2025: 1000).

    Raises:
        ValueError: as for :func:`nve`; a structure that is not periodic in three directions, or has unmovable atoms.
    """
    crowd = _Crowd.of(starts, temperatures, timestep, steps, velocities, rng, drift=True)
    for place, start in enumerate(crowd.starts):
        if start.dimension != 3 or not start.pbc.all() or not start.movable.all():
            raise ValueError(f"start {place}, {start!r}, cannot run at constant pressure: it must be periodic in three directions with all atoms movable")
    if not (crowd.temperatures > 0).all() or not (damping > 0 and pressure_damping > 0):
        raise ValueError("temperatures, damping and pressure_damping must be positive")
    return _run(_OneByOne(potential, crowd, timestep, pressure, damping, pressure_damping, device), crowd, timestep, steps, watch, report)


# -- who moves


@dataclass(frozen=True, eq=False)
class _Crowd:
    """The replicas before they move; momenta and masses of each in ASE's units."""

    starts: list[Geometry]
    temperatures: NDArray
    masses: list[NDArray]
    momenta: list[NDArray]

    @property
    def dimension(self) -> int:
        return self.starts[0].dimension

    @classmethod
    def of(
        cls, starts: Sequence[Geometry | Atoms], temperatures: ArrayLike, timestep: float, steps: int, velocities: Sequence[NDArray] | None,
        rng: Generator | None, drift: bool = False,
    ) -> _Crowd:
        geometries = [as_geometry(start) for start in starts]
        if not geometries or not timestep > 0 or steps < 1:
            raise ValueError(f"{len(geometries)} starts, a timestep of {timestep} fs and {steps} steps: all must be positive")
        kelvin = np.asarray(temperatures, dtype=float)
        if kelvin.shape not in ((), (len(geometries),)) or not (kelvin >= 0).all():
            raise ValueError(f"temperatures are {kelvin}: give one for all, or one for each of {len(geometries)} starts, none below zero")
        if velocities is None and rng is None:
            raise ValueError("velocities must come from somewhere: give rng, to draw them, or velocities")
        if velocities is not None and [np.shape(v) for v in velocities] != [g.positions.shape for g in geometries]:
            raise ValueError(f"velocities have shapes {[np.shape(v) for v in velocities]}, the positions {[g.positions.shape for g in geometries]}")
        kelvin = np.broadcast_to(kelvin, len(geometries))
        masses = [np.where(g.numbers > 0, atomic_masses[g.numbers], 1.0) for g in geometries]
        momenta = []
        for place, (geometry, m) in enumerate(zip(geometries, masses, strict=True)):
            if velocities is None:
                p = rng.standard_normal(geometry.positions.shape) * np.sqrt(m * units.kB * kelvin[place])[:, None]
                if geometry.movable.all() and len(geometry) > 1 and not drift:
                    p -= m[:, None] * p.sum(0) / m.sum()
            else:
                p = m[:, None] * np.asarray(velocities[place]) / units.fs
            momenta.append(p * geometry.movable[:, None])
        return cls(geometries, kelvin, masses, momenta)


class _Motion(Protocol):
    """Replicas on their way: those that still move."""

    def step(self) -> None:
        """One time step."""

    def look(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        """Where they are, what is predicted there, kinetic energies (B,) and velocities (N, d) in ASE's units."""

    def keep(self, places: list[int]) -> None:
        """Goes on with these of them, at least one."""


class _Together:
    """One batch, moved by torch-sim."""

    def __init__(self, model, crowd: _Crowd, integrator) -> None:
        from ..potentials.torchsim import Replicas

        self.model, self.integrator = model, integrator
        self.state = Replicas.of(model, crowd.starts, np.concatenate(crowd.masses), np.concatenate(crowd.momenta), units.kB * crowd.temperatures)

    def step(self) -> None:
        self.state = self.integrator(self.state)

    def look(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        return self.model.batch, self.model.prediction, self.state.kinetic, self.state.velocities[:, : self.model.dimension]

    def keep(self, places: list[int]) -> None:
        self.state = self.state[places]


class _Remembered:
    """A potential that knows what it was asked last and what it said."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential

    def __call__(self, batch: Batch, *, graph: bool = False) -> Prediction:
        self.batch, self.prediction = batch, self.potential(batch, graph=graph)
        return self.prediction


class _OneByOne:
    """Periodic boxes at constant pressure, each an ASE simulation of its own."""

    def __init__(
        self, potential: Potential, crowd: _Crowd, timestep: float, pressure: float, damping: float, pressure_damping: float, device: torch.device | str,
    ) -> None:
        from ase.md.nose_hoover_chain import IsotropicMTKNPT

        self.running = []
        for start, kelvin, masses, momenta in zip(crowd.starts, crowd.temperatures, crowd.masses, crowd.momenta, strict=True):
            atoms, asked = start.to_atoms(), _Remembered(potential)
            atoms.set_masses(masses)
            atoms.set_momenta(momenta)
            atoms.calc = PotentialCalculator(asked, device=device)
            atoms.get_potential_energy()
            motion = IsotropicMTKNPT(
                atoms, timestep * units.fs, temperature_K=kelvin, pressure_au=pressure, tdamp=damping * units.fs, pdamp=pressure_damping * units.fs, tchain=3, pchain=3,
            )
            self.running.append((motion, asked))

    def step(self) -> None:
        for motion, _ in self.running:
            motion.step()

    def look(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        batches = [asked.batch for _, asked in self.running]
        batch = Batch(
            positions=torch.cat([b.positions for b in batches]), numbers=torch.cat([b.numbers for b in batches]),
            owner=torch.cat([b.owner + i for i, b in enumerate(batches)]), cell=torch.cat([b.cell for b in batches]), pbc=torch.cat([b.pbc for b in batches]),
        )
        everyone = [motion.atoms for motion, _ in self.running]
        kinetic = torch.tensor([atoms.get_kinetic_energy() for atoms in everyone], dtype=torch.float64, device=batch.positions.device)
        return batch, concatenate([asked.prediction for _, asked in self.running]), kinetic, torch.tensor(np.concatenate([atoms.get_velocities() for atoms in everyone]))

    def keep(self, places: list[int]) -> None:
        self.running = [self.running[place] for place in places]


def _run(motion: _Motion, crowd: _Crowd, timestep: float, steps: int, watch: Watch, report: Report) -> list[Frames]:
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
        reasons = watch.reasons(batch, prediction, (energies - begun).abs().amax(0), last or step % watch.check == 0)
        if frame or reasons:
            flat = (batch.split(values) for values in (batch.positions, velocities))
            whole = (values.double().cpu().numpy() for values in (batch.cell, prediction.energy, kinetic))
            for place, values in enumerate(zip(*flat, *whole, strict=True)):
                if (frame or place in reasons) and reasons.get(place) != NOT_FINITE:
                    kept[moving[place]].append((step * timestep, *(value.copy() for value in values)))
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
    return [_frames(replica, crowd, frames, why.get(replica)) for replica, frames in enumerate(kept)]


def _frames(replica: int, crowd: _Crowd, kept: list[tuple], reason: str | None) -> Frames:
    """The record of one replica, from (time, positions, velocities, cell, energy, kinetic energy) of each frame."""
    start = crowd.starts[replica]
    n, d = start.positions.shape
    times, positions, velocities, cells, energies, kinetic = ([values[i] for values in kept] for i in range(6))
    return Frames(
        replica, start, float(crowd.temperatures[replica]), np.array(times), np.reshape(positions, (-1, n, d)), np.reshape(cells, (-1, d, d)),
        np.array(energies), np.array(kinetic), velocities[-1] * units.fs if kept else np.full((n, d), np.nan), reason,
    )
