"""Langevin dynamics of many replicas of one small system, a model surface for example.

Non-interacting replicas of one ASE simulation, evaluated as one batch each step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from numpy.random import Generator
from numpy.typing import NDArray

from agal_toolkit.events import Progress, Report, ignore
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials.ase import PotentialCalculator
from agal_toolkit.potentials.protocol import Potential


class _Noise:
    """Normal noise for movable coordinates; none for fixed ones and a model surface's padding."""

    def __init__(self, rng: Generator, free: NDArray) -> None:
        self.rng, self.free = rng, free

    def standard_normal(self, size: tuple[int, ...]) -> NDArray:
        """Return noise of this shape; the one method that ASE calls."""
        return self.rng.standard_normal(size) * self.free


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Frames of R replicas.

    Attributes:
        times: (T,) in the units of the time step.
        positions: (T, R, n, d).
        energies: (T, R) potential energies.
    """

    times: NDArray
    positions: NDArray
    energies: NDArray


def langevin(
    potential: Potential,
    geometry: Geometry,
    *,
    kT: float,
    timestep: float,
    steps: int,
    friction: float,
    replicas: int = 1,
    every: int = 10,
    rng: Generator,
    masses: NDArray | None = None,
    device: torch.device | str = "cpu",
    report: Report = ignore,
) -> Trajectory:
    """Run Langevin dynamics (ASE's integrator) of replicas with equal positions at the start.

    Args:
        potential: of one replica.
        geometry: the start; its unmovable particles stay. Velocities are drawn at kT.
        kT: eV, or the units of a model surface.
        timestep: ASE time units (``ase.units.fs``), or those of a model surface.
        steps: number of steps.
        friction: inverse time.
        replicas: R.
        every: steps between frames.
        rng: of velocities and noise.
        masses: (n,) atomic mass units; None takes ASE's, 1 for nameless particles.
        device: of the potential.
        report: called with a Progress at each frame.
    """
    n, d = geometry.positions.shape
    one = geometry.to_ase()
    if masses is None:
        masses = np.where(geometry.numbers > 0, one.get_masses(), 1.0)
    one.set_masses(masses)
    atoms = Atoms(
        np.tile(one.numbers, replicas),
        positions=np.tile(one.positions, (replicas, 1)),
        cell=one.cell,
        pbc=one.pbc,
        masses=np.tile(one.get_masses(), replicas),
        info=one.info,
    )
    atoms.set_constraint(FixAtoms(np.flatnonzero(~np.tile(geometry.movable, replicas))))
    atoms.calc = PotentialCalculator(potential, dimension=d, replicas=replicas, device=device)
    free = np.zeros((n, 3), dtype=bool)
    free[:, :d] = geometry.movable[:, None]
    free = np.tile(free, (replicas, 1))
    deviations = np.sqrt(kT * atoms.get_masses())[:, None]
    atoms.set_momenta(rng.normal(0.0, 1.0, free.shape) * deviations * free)
    motion = Langevin(
        atoms,
        timestep,
        temperature_K=kT / units.kB,
        friction=friction,
        fixcm=False,
        rng=_Noise(rng, free),
    )
    frames, energies, times = [], [], []

    def keep() -> None:
        frames.append(atoms.positions.reshape(replicas, n, 3)[..., :d].copy())
        energies.append(atoms.calc.results["replica_energies"].copy())
        times.append(motion.nsteps * timestep)
        report(Progress("dynamics", motion.nsteps, steps))

    motion.attach(keep, interval=every)
    motion.run(steps)
    return Trajectory(np.array(times), np.stack(frames), np.stack(energies))
