"""Who moves: replicas before they start, and on their way.

Two ways: :class:`Together` is one batch under a torch-sim integrator, :class:`OneByOne` is one ASE
simulation for each replica. Whoever drives them sees the same: a step, a look, and which of them go
on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from ase import Atoms, units
from ase.data import atomic_masses
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
class Crowd:
    """R replicas before they move, in ASE's units.

    Attributes:
        starts: R structures.
        temperatures: (R,) K.
        masses: R times (n,).
        momenta: R times (n, d), zero where unmovable.
        freedom: (R,) degrees of freedom: d for each movable particle, less d where the centre of
            mass is at rest.
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
    ) -> Crowd:
        """Velocities (angstrom/fs) as given or drawn; `rest` takes out the drift of several
        particles that are all movable.

        Raises:
            ValueError: values out of range, shapes that do not belong together, neither `rng` nor
                `velocities`.
        """
        geometries = [as_geometry(start) for start in starts]
        if not geometries or not timestep > 0 or steps < 1:
            raise ValueError(
                f"{len(geometries)} starts, a timestep of {timestep} fs and {steps} steps: all must"
                " be positive"
            )
        kelvin = np.asarray(temperatures, dtype=float)
        if kelvin.shape not in ((), (len(geometries),)) or not (kelvin >= 0).all():
            raise ValueError(
                f"temperatures are {kelvin}: give one for all, or one for each of {len(geometries)}"
                " starts, none below zero"
            )
        if velocities is None and rng is None:
            raise ValueError(
                "velocities must come from somewhere: give rng, to draw them, or velocities"
            )
        if velocities is not None and [np.shape(v) for v in velocities] != [
            g.positions.shape for g in geometries
        ]:
            raise ValueError(
                f"velocities have shapes {[np.shape(v) for v in velocities]}, the positions"
                f" {[g.positions.shape for g in geometries]}"
            )
        kelvin = np.broadcast_to(kelvin, len(geometries))
        masses = [np.where(g.numbers > 0, atomic_masses[g.numbers], 1.0) for g in geometries]
        momenta, freedom = [], []
        for place, (geometry, m) in enumerate(zip(geometries, masses, strict=True)):
            if velocities is None:
                p = (
                    rng.standard_normal(geometry.positions.shape)
                    * np.sqrt(m * units.kB * kelvin[place])[:, None]
                )
            else:
                p = m[:, None] * np.asarray(velocities[place]) / units.fs
            at_rest = rest and len(geometry) > 1 and bool(geometry.movable.all())
            momenta.append(
                p - m[:, None] * p.sum(0) / m.sum() if at_rest else p * geometry.movable[:, None]
            )
            freedom.append(geometry.dimension * (int(geometry.movable.sum()) - at_rest))
        return cls(geometries, kelvin, masses, momenta, np.array(freedom, dtype=float))


class Motion(Protocol):
    """Replicas on their way: the B of them that still move."""

    def step(self) -> None:
        """One time step."""

    def look(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        """Where they are, what is predicted there, kinetic energies (B,) and velocities (N, d) in
        ASE's units.
        """

    def keep(self, places: list[int]) -> None:
        """Goes on with these of them, at least one."""


class Together:
    """One batch, moved by torch-sim."""

    def __init__(self, model: PotentialModel, crowd: Crowd, integrator: Integrator) -> None:
        from ..potentials.torchsim import Replicas

        self.model, self.integrator = model, integrator
        self.state = Replicas.of(
            model,
            crowd.starts,
            np.concatenate(crowd.masses),
            np.concatenate(crowd.momenta),
            units.kB * crowd.temperatures,
            crowd.freedom,
        )

    def step(self) -> None:
        """One time step."""
        self.state = self.integrator(self.state)

    def look(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        """Where they are, what is predicted there, kinetic energies (B,) and velocities (N, d) in
        ASE's units.
        """
        return (
            self.model.batch,
            self.model.prediction,
            self.state.kinetic,
            self.state.velocities[:, : self.model.dimension],
        )

    def keep(self, places: list[int]) -> None:
        """Goes on with these of them, at least one."""
        self.state = self.state[places]


class OneByOne:
    """Periodic boxes at constant pressure, each an ASE simulation of its own."""

    def __init__(
        self,
        potential: Potential,
        crowd: Crowd,
        timestep: float,
        pressure: float,
        damping: float,
        pressure_damping: float,
        device: torch.device | str,
    ) -> None:
        from ase.md.nose_hoover_chain import IsotropicMTKNPT

        self.running = []
        for start, kelvin, masses, momenta in zip(
            crowd.starts, crowd.temperatures, crowd.masses, crowd.momenta, strict=True
        ):
            atoms, recorded = start.to_ase(), Recorded(potential)
            atoms.set_masses(masses)
            atoms.set_momenta(momenta)
            atoms.calc = PotentialCalculator(recorded, device=device)
            atoms.get_potential_energy()
            chains = {
                "tdamp": damping * units.fs,
                "pdamp": pressure_damping * units.fs,
                "tchain": 3,
                "pchain": 3,
            }
            self.running.append(
                (
                    IsotropicMTKNPT(
                        atoms,
                        timestep * units.fs,
                        temperature_K=kelvin,
                        pressure_au=pressure,
                        **chains,
                    ),
                    recorded,
                )
            )

    def step(self) -> None:
        """One time step."""
        for motion, _ in self.running:
            motion.step()

    def look(self) -> tuple[Batch, Prediction, Tensor, Tensor]:
        """Where they are, what is predicted there, kinetic energies (B,) and velocities (N, d) in
        ASE's units.
        """
        batches = [recorded.batch for _, recorded in self.running]
        batch = Batch(
            positions=torch.cat([b.positions for b in batches]),
            numbers=torch.cat([b.numbers for b in batches]),
            owner=torch.cat([b.owner + i for i, b in enumerate(batches)]),
            cell=torch.cat([b.cell for b in batches]),
            pbc=torch.cat([b.pbc for b in batches]),
            charge=torch.cat([b.charge for b in batches]),
            multiplicity=torch.cat([b.multiplicity for b in batches]),
        )
        everyone = [motion.atoms for motion, _ in self.running]
        kinetic = torch.tensor(
            [atoms.get_kinetic_energy() for atoms in everyone],
            dtype=torch.float64,
            device=batch.positions.device,
        )
        velocities = torch.tensor(np.concatenate([atoms.get_velocities() for atoms in everyone]))
        return (
            batch,
            concatenate([recorded.prediction for _, recorded in self.running]),
            kinetic,
            velocities,
        )

    def keep(self, places: list[int]) -> None:
        """Goes on with these of them, at least one."""
        self.running = [self.running[place] for place in places]
