"""Boxes of AMOEBA water, and their dynamics at constant temperature, and constant pressure.

The integrator is r-RESPA (OpenMM): bonds and angles move with a short step, dipoles and dispersion,
which cost nearly everything, with a long one; a Langevin thermostat keeps the temperature, and a
Monte Carlo barostat, if there is one, the pressure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from ase import units
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from agal_toolkit.geometry import Geometry
from agal_toolkit.references.amoeba import AMOEBA, reciprocal_grid, standard, waters, whole

# a molecule of the gas phase, angstrom
WATER = np.array([[0.0, 0.0, 0.0], [0.9572, 0.0, 0.0], [-0.2400, 0.9266, 0.0]])
MODEL = AMOEBA(dipoles=1e-5)
DENSITY = 0.997  # g/cm^3, at 298 K
FAST = ("HarmonicBondForce", "CustomBondForce", "CustomAngleForce")


def packed(molecules: int, rng: Generator, density: float = DENSITY) -> Geometry:
    """Return waters turned at random on a cubic lattice, to be relaxed before anything else.

    Args:
        molecules: number of waters.
        rng: of orientations.
        density: of the cubic cell, g/cm^3.

    Raises:
        ValueError: no molecules, no density.
    """
    if molecules < 1 or not density > 0:
        raise ValueError(f"{molecules} molecules at {density} g/cm^3: both must be positive")
    edge = (molecules * 18.01528 * units._amu / density * 1e3 * 1e24) ** (1 / 3)
    along = int(np.ceil(molecules ** (1 / 3) - 1e-9))
    lattice = np.stack(np.meshgrid(*[np.arange(along)] * 3, indexing="ij"), -1)
    oxygens = lattice.reshape(-1, 1, 3)[:molecules] * edge / along
    turns = Rotation.random(molecules, random_state=int(rng.integers(2**31))).as_matrix()
    x = (oxygens + np.einsum("wij,aj->wai", turns, WATER)).reshape(-1, 3)
    x = x + rng.normal(0, 0.02, (3 * molecules, 3))
    return Geometry(
        positions=x,
        numbers=[8, 1, 1] * molecules,
        cell=edge * np.eye(3),
        pbc=True,
        origin={"by": "packed"},
    )


@dataclass(frozen=True, eq=False)
class Frame:
    """A moment of a simulation.

    Attributes:
        geometry: the box.
        velocities: (n, 3) angstrom/fs.
        potential, kinetic: energies, eV.
        time: fs since the start of this simulation.
    """

    geometry: Geometry
    velocities: NDArray
    potential: float
    kinetic: float
    time: float

    @property
    def temperature(self) -> float:
        """Temperature in K, with three degrees of freedom for each atom."""
        return 2 * self.kinetic / (3 * len(self.geometry) * units.kB)


@dataclass(frozen=True, kw_only=True)
class Barostat:
    """Monte Carlo moves of the volume; molecules move as rigid bodies.

    Chow and Ferguson, Comput. Phys. Commun. 91, 283 (1995), as in OpenMM, whose own barostat stops
    the simulation where a cell gets too small for the cutoff: here such a move is refused. For 64
    waters the cell is 3 standard deviations larger than that.

    Attributes:
        pressure: eV/angstrom^3.
        every: long steps between moves.
        change: largest change of the volume in a move, angstrom^3.
    """

    pressure: float = units.bar
    every: int = 25
    change: float = 50.0

    def __post_init__(self) -> None:
        if self.every < 1 or not self.change > 0:
            raise ValueError(f"{self}: every and change must be positive")

    def ratio(self, rise: float, old: float, new: float, molecules: int, kT: float) -> float:
        """Return the probability of a move between two volumes, angstrom^3; `rise` in eV."""
        work = rise + self.pressure * (new - old) - molecules * kT * np.log(new / old)
        return float(np.exp(min(0.0, -work / kT)))


@dataclass(frozen=True, kw_only=True)
class WaterDynamics:
    """Langevin dynamics of AMOEBA water at constant volume or pressure.

    Attributes:
        temperature: K.
        timestep: of dipoles and dispersion, fs.
        inner: number of steps of bonds and angles in one `timestep`.
        friction: 1/ps; 0 keeps the energy instead of the temperature.
        model: of the forces; induced dipoles converged to 1e-5 debye cause an error far below that
            of the time step.

    Raises:
        ValueError: settings out of range.
    """

    temperature: float = 300.0
    timestep: float = 2.0
    inner: int = 8
    friction: float = 1.0
    model: AMOEBA = MODEL

    def __post_init__(self) -> None:
        if not (
            self.temperature > 0 and self.timestep > 0 and self.inner >= 1 and self.friction >= 0
        ):
            raise ValueError(
                f"{self}: temperature, timestep and inner must be positive, friction not negative"
            )

    def __call__(
        self,
        start: Geometry,
        frames: int,
        every: float,
        seed: int,
        *,
        velocities: NDArray | None = None,
        relax: int = 0,
        barostat: Barostat | None = None,
    ) -> Iterator[Frame]:
        """Yield frames of one simulation.

        Args:
            start: waters in the order O H H, in a cell that takes the model's cutoff.
            frames: their number, without the start.
            every: fs between them, rounded to whole steps.
            seed: of velocities and noise.
            velocities: (n, 3) angstrom/fs at the start; None draws them.
            relax: iterations of a minimisation before anything moves, for a packed box.
            barostat: keeps the pressure; None keeps the volume.

        Raises:
            ValueError: no water, or a cell too small.
            RuntimeError: the simulation exploded before the next frame.
        """
        if frames < 0 or not every > 0:
            raise ValueError(
                f"frames={frames} and every={every} fs: expected frames that are not negative, a"
                " positive time apart"
            )
        if velocities is not None and np.shape(velocities) != start.positions.shape:
            raise ValueError(
                f"velocities have shape {np.shape(velocities)}, expected {start.positions.shape}"
            )
        positions = whole(start)
        cell, turn = standard(start.cell)
        if np.diag(cell).min() < 2 * self.model.cutoff:
            raise ValueError(
                f"the cell is {np.diag(cell).min():.2f} angstrom wide, the model needs"
                f" {2 * self.model.cutoff}: simulate a larger box"
            )
        context = self._context(cell, len(start) // 3, seed)
        import openmm
        from openmm import unit

        context.setPositions((positions @ turn) / 10)
        if relax:
            openmm.LocalEnergyMinimizer.minimize(context, 10.0, relax)
        if velocities is None:
            context.setVelocitiesToTemperature(self.temperature, seed)
        else:
            context.setVelocities(np.asarray(velocities) @ turn * 100)  # nm/ps
        steps = max(1, round(every / self.timestep))
        rng = np.random.default_rng([seed, 1])
        for index in range(1, frames + 1):
            if barostat is None:
                context.getIntegrator().step(steps)
            else:
                self._at_constant_pressure(context, steps, (index - 1) * steps, barostat, rng)
            state = context.getState(getPositions=True, getVelocities=True, getEnergy=True)
            time = index * steps * self.timestep
            x = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)) @ turn.T
            if not np.isfinite(x).all():
                raise RuntimeError(
                    f"the simulation exploded before {time:g} fs: relax the start (relax=200), or"
                    " take a shorter timestep"
                )
            potential, kinetic = (
                e.value_in_unit(unit.kilojoule_per_mole) * units.kJ / units.mol
                for e in (state.getPotentialEnergy(), state.getKineticEnergy())
            )
            v = state.getVelocities(asNumpy=True).value_in_unit(unit.angstrom / unit.femtosecond)
            origin = {"by": "AMOEBA", "fs": time, "seed": seed}
            geometry = replace(start, positions=x, origin=origin)
            if barostat is not None:
                vectors = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
                geometry = replace(geometry, cell=np.asarray(vectors) @ turn.T)
            yield Frame(geometry, np.asarray(v) @ turn.T, potential, kinetic, time)

    def _at_constant_pressure(
        self, context, steps: int, done: int, barostat: Barostat, rng: Generator
    ) -> None:
        """Take `steps` steps after `done` ones, with a move of the volume after every few."""
        from openmm import unit

        def energy() -> float:
            value = context.getState(getEnergy=True).getPotentialEnergy()
            return value.value_in_unit(unit.kilojoule_per_mole) * units.kJ / units.mol

        end = done + steps
        while done < end:
            stride = min(end, (done // barostat.every + 1) * barostat.every) - done
            context.getIntegrator().step(stride)
            done += stride
            if done % barostat.every:
                continue
            state = context.getState(getPositions=True)
            x = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
            cell = np.asarray(
                state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
            )
            before, volume = energy(), np.linalg.det(cell) * 1e3
            stretch = np.cbrt(1 + rng.uniform(-1, 1) * barostat.change / volume)
            lowest = np.diag(cell).min() * 10 * stretch
            if lowest >= 2 * self.model.cutoff:
                centres = x.reshape(-1, 3, 3).mean(1, keepdims=True)
                moved = (x.reshape(-1, 3, 3) + (stretch - 1) * centres).reshape(-1, 3)
                context.setPeriodicBoxVectors(*(cell * stretch))
                context.setPositions(moved)
                rise = energy() - before
                molecules, kT = len(x) // 3, units.kB * self.temperature
                ratio = barostat.ratio(rise, volume, volume * stretch**3, molecules, kT)
                if rng.random() < ratio:
                    continue
                context.setPeriodicBoxVectors(*cell)
                context.setPositions(x)

    def _context(self, cell: NDArray, molecules: int, seed: int):
        system = waters(
            self.model, molecules, tuple(reciprocal_grid(np.diag(cell), self.model.spacing))
        )
        import openmm

        for force in system.getForces():
            force.setForceGroup(1 if type(force).__name__ in FAST else 0)
        groups = [(0, 1), (1, self.inner)]
        step = self.timestep / 1000  # ps
        if self.friction:
            integrator = openmm.MTSLangevinIntegrator(self.temperature, self.friction, step, groups)
            integrator.setRandomNumberSeed(seed)
        else:
            integrator = openmm.MTSIntegrator(step, groups)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPeriodicBoxVectors(*(cell / 10))
        return context
