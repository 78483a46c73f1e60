"""A potential as a torch-sim model, and replicas that torch-sim's integrators move as one batch.

Velocity Verlet and the half step of the Nose-Hoover chain are torch-sim 0.3's. Its
``nvt_nose_hoover`` has one chain for a whole batch, fails for two or more systems (its issue 262)
and counts the resting centre of mass, which heats ammonia by a third: here every replica has its
own chain and degrees of freedom. Its barostats are not used: ``npt_nose_hoover`` halves the kinetic
pressure (its pull request 520), ``npt_langevin`` draws from the global random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from torch_sim.integrators import md
from torch_sim.integrators.md import MDState
from torch_sim.models.interface import ModelInterface
from torch_sim.quantities import calc_kinetic_energy
from torch_sim.state import SimState

from ..batch import Batch, Prediction
from ..geometry import Geometry
from .protocol import Potential, device_of

CHAIN = 3  # thermostats in a Nose-Hoover chain (Cezar 2025)


class PotentialModel(ModelInterface):
    """A torch-sim model from a potential: float64, with forces and, for periodic systems, stress.

    Args:
        potential: for example a committee's ``mean``.
        dimension: 3, or fewer for a model surface, whose remaining coordinates feel no force.
        device: where the potential computes; None asks it.

    Attributes:
        batch, prediction: the latest ones, without a graph.
    """

    batch: Batch
    prediction: Prediction

    def __init__(
        self, potential: Potential, *, dimension: int = 3, device: torch.device | str | None = None
    ) -> None:
        super().__init__()
        self.potential, self.dimension = potential, dimension
        self._device = device_of(potential) if device is None else torch.device(device)
        self._dtype = torch.float64
        self._compute_stress = self._compute_forces = True

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] -- state is never a dict
        self, state: SimState, **_: Any
    ) -> dict[str, Tensor]:
        """Return ``energy`` (B,), ``forces`` (N, 3) and ``stress`` (B, 3, 3) in eV and angstrom.

        Forces are zero on unmovable particles. Stress is positive under tension, as in torch-sim,
        and NaN for systems that are not periodic in all directions.
        """
        d, systems = self.dimension, len(state.cell)
        if isinstance(state, Replicas):
            periodic, charge, multiplicity = state.periodic, state.total_charge, state.multiplicity
        else:
            periodic = torch.full((systems, 3), bool(state.pbc), device=state.device)
            charge = torch.zeros_like(state.system_idx[:systems])
            multiplicity = torch.ones_like(charge)
        self.batch = Batch(
            positions=state.positions[:, :d],
            numbers=state.atomic_numbers.to(torch.int64),
            owner=state.system_idx,
            cell=state.cell.mT[:, :d, :d],  # torch-sim's cell vectors are columns
            pbc=periodic[:, :d],
            charge=charge,
            multiplicity=multiplicity,
        )
        self.prediction = prediction = self.potential(self.batch).detach()
        forces = pad(prediction.forces.double(), (0, 3 - d))
        if isinstance(state, Replicas):
            forces = forces * state.movable[:, None]
        no_stress = torch.full_like(state.cell, torch.nan)
        stress = prediction.stress.double() if d == 3 else no_stress
        return {"energy": prediction.energy.double(), "forces": forces, "stress": stress}


@dataclass
class Replicas(MDState):
    """B moving systems, each with its own thermostat; torch-sim's indexing selects some of them.

    torch-sim's ``pbc`` is false: else it would wrap the positions, and a wrapped frame does not
    show how far a particle went.

    Attributes:
        periodic: (B, 3) bool, periodic along each cell vector.
        movable: (N,) bool; the others feel no force.
        total_charge, multiplicity: (B,) of the systems.
        kT: (B,) eV, of the thermostat.
        freedom: (B,) degrees of freedom.
        chain_positions, chain_momenta: (B, CHAIN), a number, and eV times torch-sim's unit of time.
    """

    periodic: Tensor
    movable: Tensor
    total_charge: Tensor
    multiplicity: Tensor
    kT: Tensor
    freedom: Tensor
    chain_positions: Tensor
    chain_momenta: Tensor

    _atom_attributes = MDState._atom_attributes | {"movable"}
    _system_attributes = MDState._system_attributes | {
        *("periodic", "total_charge", "multiplicity"),
        *("kT", "freedom", "chain_positions", "chain_momenta"),
    }

    @classmethod
    def of(
        cls,
        model: PotentialModel,
        starts: Sequence[Geometry],
        masses: NDArray,
        momenta: NDArray,
        kT: NDArray,
        freedom: NDArray,
    ) -> Replicas:
        """Return replicas at the start, with the model's first prediction.

        Args:
            model: moves them; its dimension is that of the starts.
            starts: B geometries.
            masses: (N,) atomic mass units.
            momenta: (N, d), torch-sim's metal units, which are ASE's.
            kT: (B,) eV.
            freedom: (B,) degrees of freedom.
        """
        batch, d = Batch.of(starts, model.device), model.dimension
        systems, particles = len(starts), len(batch.owner)

        def tensor(values: NDArray) -> Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.float64, device=model.device)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=model.device)

        movable = np.concatenate([geometry.movable for geometry in starts])
        state = cls(
            positions=pad(batch.positions, (0, 3 - d)),
            masses=tensor(masses),
            cell=pad(batch.cell.mT, (0, 3 - d, 0, 3 - d)),
            pbc=False,
            atomic_numbers=batch.numbers,
            system_idx=batch.owner,
            momenta=pad(tensor(momenta), (0, 3 - d)),
            energy=zeros(systems),
            forces=zeros(particles, 3),
            periodic=pad(batch.pbc, (0, 3 - d)),
            movable=torch.tensor(movable, device=model.device),
            kT=tensor(kT),
            total_charge=batch.charge,
            multiplicity=batch.multiplicity,
            freedom=tensor(freedom),
            chain_positions=zeros(systems, CHAIN),
            chain_momenta=zeros(systems, CHAIN),
        )
        prediction = model(state)
        state.energy, state.forces = prediction["energy"], prediction["forces"]
        return state

    @property
    def kinetic(self) -> Tensor:
        """Kinetic energies (B,), eV."""
        return calc_kinetic_energy(
            masses=self.masses, momenta=self.momenta, system_idx=self.system_idx
        )

    @property
    def thermostat_masses(self) -> Tensor:
        """Masses Q (B, CHAIN) for a damping time of one: g kT, then kT (Martyna 1992, Eq. 2.11)."""
        ones = torch.ones_like(self.chain_positions[:, 1:])
        return torch.cat([self.freedom[:, None], ones], 1) * self.kT[:, None]


Integrator = Callable[[Replicas], Replicas]


def verlet(model: PotentialModel, timestep: float) -> Integrator:
    """Return torch-sim's ``velocity_verlet`` as an integrator, `timestep` in its unit of time."""
    # annotated for tensors and torch-sim's state, it takes numbers and keeps the state's class
    step: Any = md.velocity_verlet
    return lambda state: step(state, timestep, model)


def nose_hoover(model: PotentialModel, timestep: float, damping: float) -> Integrator:
    """Return an integrator: velocity Verlet between half steps of each replica's Nose-Hoover chain.

    Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992), as torch-sim integrates it.

    Args:
        model: moves the replicas.
        timestep: torch-sim's unit of time.
        damping: relaxation time of the thermostat, same unit.
    """
    new_chain: Any = md.construct_nose_hoover_chain  # takes numbers, is annotated for tensors
    chain_state: Any = md.NoseHooverChain
    chain, step = new_chain(timestep, CHAIN, 1, 1, damping), verlet(model, timestep)

    def thermostat(state: Replicas) -> Replicas:
        # torch-sim's chain runs along the first axis, and scales the momenta it is given by a
        # factor for each replica: given ones, it returns these factors.
        before = chain_state(
            positions=state.chain_positions.mT,
            momenta=state.chain_momenta.mT.clone(),
            masses=(state.thermostat_masses * damping**2).mT,
            tau=damping,
            kinetic_energy=state.kinetic,
            degrees_of_freedom=state.freedom,
        )
        factors, after = chain.half_step(torch.ones_like(state.kT), before, state.kT)
        state.momenta = state.momenta * factors[state.system_idx, None]
        state.chain_positions, state.chain_momenta = after.positions.mT, after.momenta.mT
        return state

    return lambda state: thermostat(step(thermostat(state)))
