"""Engines that advance replicas: torch-sim for a batch, ASE for one simulation each.

Both start from an :class:`InitialState` and offer `step`, `observe` and `select`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from ase import Atoms, units
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..batch import Batch, Prediction, concatenate
from ..geometry import Geometry, as_geometry
from ..potentials.ase import PotentialCalculator
from ..potentials.protocol import Potential, Recorded

if TYPE_CHECKING:
    from ..potentials.torchsim import Integrator, PotentialModel


@dataclass(frozen=True, eq=False)
class InitialState:
    """R replicas before they move, in ASE's units.

    Attributes:
        starts: R structures.
        temperatures: (R,) K.
        masses: R times (n,).
        momenta: R times (n, d), zero for unmovable particles.
        freedom: (R,) degrees of freedom: d for each movable particle, less d if the centre of mass
            is at rest.
    """

    starts: list[Geometry]
    temperatures: NDArray
    masses: list[NDArray]
    momenta: list[NDArray]
    freedom: NDArray

    @property
    def dimension(self) -> int:
        """Number of coordinates of one particle."""
        return self.starts[0].dimension

    @classmethod
    def of(
        cls,
        starts: Sequence[Geometry | Atoms],
        temperatures: ArrayLike,
        timestep: float,
        steps: int,
        velocities: Sequence[NDArray] | None,
        rng: Generator | None,
        *,
        rest: bool,
    ) -> InitialState:
        """Return the state with given or drawn velocities (angstrom/fs).

        `rest` removes the drift of structures of several particles that are all movable.

        Raises:
            ValueError: values out of range, shapes that do not match, neither `rng` nor
                `velocities`.
        """
        geometries = [as_geometry(start) for start in starts]
        count = len(geometries)
        if not count or not timestep > 0 or steps < 1:
            given = f"{count} starts, a timestep of {timestep} fs and {steps} steps"
            raise ValueError(f"{given}: all must be positive")
        kelvin = np.asarray(temperatures, dtype=float)
        if kelvin.shape not in ((), (count,)) or not (kelvin >= 0).all():
            expected = f"give one for all, or one for each of {count} starts, none below zero"
            raise ValueError(f"temperatures are {kelvin}: {expected}")
        kelvin = np.broadcast_to(kelvin, count)
        masses = [geometry.masses for geometry in geometries]
        if velocities is not None:
            shapes = [np.shape(v) for v in velocities]
            expected = [g.positions.shape for g in geometries]
            if shapes != expected:
                raise ValueError(f"velocities have shapes {shapes}, the positions {expected}")
            drawn = [
                m[:, None] * np.asarray(v) / units.fs
                for v, m in zip(velocities, masses, strict=True)
            ]
        elif rng is not None:
            drawn = [
                rng.standard_normal(g.positions.shape) * np.sqrt(m * units.kB * t)[:, None]
                for g, m, t in zip(geometries, masses, kelvin, strict=True)
            ]
        else:
            raise ValueError("no velocities: give rng, to draw them, or velocities")
        momenta, freedom = [], []
        for geometry, m, p in zip(geometries, masses, drawn, strict=True):
            movable = geometry.movable
            at_rest = rest and len(geometry) > 1 and bool(movable.all())
            drift = m[:, None] * p.sum(0) / m.sum()
            momenta.append(p - drift if at_rest else p * movable[:, None])
            freedom.append(geometry.dimension * (int(movable.sum()) - at_rest))
        return cls(geometries, kelvin, masses, momenta, np.array(freedom, dtype=float))


class Engine(Protocol):
    """B replicas that still move."""

    def step(self) -> None:
        """Advance all replicas by one time step."""

    def observe(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        """Return the replicas, their prediction, kinetic energies (B,) and velocities (N, d)."""
        ...

    def select(self, indices: list[int]) -> None:
        """Continue with these replicas only, at least one."""

    def state(self) -> dict[str, NDArray]:
        """Return everything that changes as the replicas move, as arrays by name."""
        ...

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        """Go on from a state of the same replicas."""


class TorchSimEngine:
    """Replicas as one batch, moved by torch-sim."""

    CHANGING = ("positions", "momenta", "energy", "forces", "chain_positions", "chain_momenta")

    def __init__(
        self, model: PotentialModel, initial: InitialState, integrator: Integrator
    ) -> None:
        from ..potentials.torchsim import Replicas

        self.model, self.integrator = model, integrator
        self.replicas = Replicas.of(
            model,
            initial.starts,
            np.concatenate(initial.masses),
            np.concatenate(initial.momenta),
            units.kB * initial.temperatures,
            initial.freedom,
        )

    def step(self) -> None:
        """Advance all replicas by one time step."""
        self.replicas = self.integrator(self.replicas)

    def observe(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        """Return the replicas, their prediction, kinetic energies (B,) and velocities (N, d)."""
        velocities = self.replicas.velocities[:, : self.model.dimension]
        return self.model.batch, self.model.prediction, self.replicas.kinetic, velocities

    def select(self, indices: list[int]) -> None:
        """Continue with these replicas only, at least one."""
        self.replicas = self.replicas[indices]

    def state(self) -> dict[str, NDArray]:
        """Return positions, momenta, forces and chains of thermostats as arrays by name."""
        return {name: getattr(self.replicas, name).cpu().numpy() for name in self.CHANGING}

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        """Go on from a state of the same replicas."""
        for name in self.CHANGING:
            value = torch.as_tensor(np.array(arrays[name]), device=self.model.device)
            setattr(self.replicas, name, value)


class AseEngine:
    """Periodic boxes at constant pressure, each an ASE simulation (IsotropicMTKNPT)."""

    # ASE has no public name for them; a test compares a simulation that was continued
    CHANGING = ("_q", "_p", "_eps", "_p_eps", "_eta", "_p_eta", "_xi", "_p_xi")

    def __init__(
        self,
        potential: Potential,
        initial: InitialState,
        timestep: float,
        pressure: float,
        damping: float,
        pressure_damping: float,
        device: torch.device | str | None,
    ) -> None:
        from ase.md.nose_hoover_chain import IsotropicMTKNPT

        self.simulations, self.potentials = [], []
        states = zip(
            initial.starts, initial.temperatures, initial.masses, initial.momenta, strict=True
        )
        for start, kelvin, masses, momenta in states:
            atoms, recorded = start.to_ase(), Recorded(potential)
            atoms.set_array("masses", masses, float, ())
            atoms.set_momenta(momenta)
            atoms.calc = PotentialCalculator(recorded, device=device)
            atoms.get_potential_energy()
            known = recorded.prediction
            if known.forces.isfinite().all() and not known.stress.isfinite().all():
                remedy = "use nvt, or a potential with one"
                raise ValueError(f"the potential predicts no stress for {start!r}: {remedy}")
            simulation = IsotropicMTKNPT(
                atoms,
                timestep * units.fs,
                temperature_K=kelvin,
                pressure_au=pressure,
                tdamp=damping * units.fs,
                pdamp=pressure_damping * units.fs,
                tchain=3,
                pchain=3,
            )
            self.simulations.append(simulation)
            self.potentials.append(recorded)

    def step(self) -> None:
        """Advance all replicas by one time step."""
        for simulation in self.simulations:
            simulation.step()

    def observe(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        """Return the replicas, their prediction, kinetic energies (B,) and velocities (N, d)."""
        batches = [recorded.batch for recorded in self.potentials]
        names = ("positions", "numbers", "cell", "pbc", "charge", "multiplicity")
        joined: dict[str, Any] = {
            name: torch.cat([getattr(batch, name) for batch in batches]) for name in names
        }
        batch = Batch(owner=torch.cat([b.owner + i for i, b in enumerate(batches)]), **joined)
        prediction = concatenate([recorded.prediction for recorded in self.potentials])
        all_atoms = [simulation.atoms for simulation in self.simulations]
        energies = np.array([atoms.get_kinetic_energy() for atoms in all_atoms])
        velocities = np.concatenate([atoms.get_velocities() for atoms in all_atoms])
        kinetic, moving = (batch.positions.new_tensor(x) for x in (energies, velocities))
        return batch, prediction, kinetic, moving

    def select(self, indices: list[int]) -> None:
        """Continue with these replicas only, at least one."""
        self.simulations = [self.simulations[index] for index in indices]
        self.potentials = [self.potentials[index] for index in indices]

    def state(self) -> dict[str, NDArray]:
        """Return positions, momenta, volumes and chains as arrays by name."""
        arrays = {}
        for i, simulation in enumerate(self.simulations):
            chains = vars(simulation._thermostat) | vars(simulation._barostat)
            for name in self.CHANGING:
                value = vars(simulation).get(name, chains.get(name))
                arrays[f"{name} of {i}"] = np.array(value)
        return arrays

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        """Go on from a state of the same replicas."""
        for i, simulation in enumerate(self.simulations):
            for owner in (simulation, simulation._thermostat, simulation._barostat):
                for name in set(self.CHANGING) & set(vars(owner)):
                    value = np.array(arrays[f"{name} of {i}"])
                    setattr(owner, name, value if value.ndim else float(value))
            simulation._update_atoms()
