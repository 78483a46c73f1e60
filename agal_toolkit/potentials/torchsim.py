"""A potential as a torch-sim model, and replicas that torch-sim's integrators move as one batch.

The integrators are torch-sim 0.3's own: velocity Verlet, and the half step of its Nose-Hoover
chain. What it builds of them holds one chain for a whole batch, so that ``nvt_nose_hoover`` fails
for two systems or more (its issue 262), and
counts 3n degrees of freedom though the centre of mass rests, which heats ammonia by a third: here
every replica has a chain of its own and the degrees of freedom it really has.

Its barostats are not used. ``npt_nose_hoover``, beyond the single chain, moves positions by momenta
of before the half kick and halves the kinetic pressure (its pull request 520), and its own
invariant drifts however short the step; ``npt_langevin`` drives the volume by one component of the
stress and draws from the global random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_sim.integrators.md import (
    MDState,
    NoseHooverChain,
    construct_nose_hoover_chain,
    velocity_verlet,
)
from torch_sim.models.interface import ModelInterface
from torch_sim.quantities import calc_kinetic_energy
from torch_sim.state import SimState

from ..batch import Batch, Prediction
from ..geometry import Geometry
from .protocol import Potential

CHAIN = 3
"""Thermostats in a Nose-Hoover chain (Cezar 2025)."""


class PotentialModel(ModelInterface):
    """A torch-sim model from a potential: float64, with forces and, for periodic systems, stress.

    Args:
        potential: what predicts; a committee's ``mean``, for example.
        dimension: 3, or fewer for a model surface, whose remaining coordinates feel no force.
        device: where the potential computes.

    Attributes:
        batch, prediction: what the potential was asked last, and what it said.
    """

    batch: Batch
    prediction: Prediction

    def __init__(
        self, potential: Potential, *, dimension: int = 3, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self.potential, self.dimension = potential, dimension
        self._device, self._dtype = torch.device(device), torch.float64
        self._compute_stress = self._compute_forces = True

    def forward(self, state: SimState) -> dict[str, Tensor]:
        """``energy`` (B,) eV, ``forces`` (N, 3) eV/angstrom, zero where a particle is unmovable,
        and ``stress`` (B, 3, 3) eV/angstrom^3, positive under tension as torch-sim has it, NaN
        where not periodic in all directions."""
        d, mine = self.dimension, isinstance(state, Replicas)
        periodic = (
            state.periodic
            if mine
            else torch.full((len(state.cell), 3), bool(state.pbc), device=state.device)
        )
        self.batch = Batch(
            positions=state.positions[:, :d],
            numbers=state.atomic_numbers.to(torch.int64),
            owner=state.system_idx,
            cell=state.cell.mT[:, :d, :d],
            pbc=periodic[:, :d],  # torch-sim's cell vectors are columns
            charge=state.total_charge
            if mine
            else torch.zeros_like(state.system_idx[: len(state.cell)]),
            multiplicity=state.multiplicity
            if mine
            else torch.ones_like(state.system_idx[: len(state.cell)]),
        )
        self.prediction = self.potential(self.batch).detach()
        forces = torch.nn.functional.pad(self.prediction.forces.double(), (0, 3 - d))
        stress = (
            self.prediction.stress.double() if d == 3 else torch.full_like(state.cell, torch.nan)
        )
        if mine:
            forces = forces * state.movable[:, None]
        return {"energy": self.prediction.energy.double(), "forces": forces, "stress": stress}


@dataclass
class Replicas(MDState):
    """B systems on their way, each with a thermostat of its own; torch-sim's indexing picks some of
    them.

    torch-sim's own ``pbc`` is false: it would wrap the positions, and a wrapped frame cannot tell
    how far a particle went.

    Attributes:
        periodic: (B, 3) bool, periodic along each cell vector.
        movable: (N,) bool; the others feel no force.
        total_charge, multiplicity: (B,) of each system.
        kT: (B,) eV, of the thermostat.
        freedom: (B,) degrees of freedom.
        chain_positions: (B, CHAIN) of the thermostats, without dimension.
        chain_momenta: (B, CHAIN), eV times torch-sim's unit of time.
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
        "periodic",
        "total_charge",
        "multiplicity",
        "kT",
        "freedom",
        "chain_positions",
        "chain_momenta",
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
        """Replicas at the start, with the model's first prediction.

        Args:
            model: what will move them; its dimension is that of the starts.
            starts: B geometries.
            masses: (N,) atomic mass units.
            momenta: (N, d), torch-sim's metal units, which are ASE's.
            kT: (B,) eV.
            freedom: (B,) degrees of freedom.
        """
        flat, d = Batch.of(starts, model.device), model.dimension

        def placed(values: NDArray, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.tensor(np.asarray(values), dtype=dtype, device=model.device)

        cell = torch.zeros(len(starts), 3, 3, dtype=torch.float64, device=model.device)
        cell[:, :d, :d] = flat.cell.mT
        periodic = torch.zeros(len(starts), 3, dtype=torch.bool, device=model.device)
        periodic[:, :d] = flat.pbc
        chain = torch.zeros(len(starts), CHAIN, dtype=torch.float64, device=model.device)
        state = cls(
            positions=torch.nn.functional.pad(flat.positions, (0, 3 - d)),
            masses=placed(masses),
            cell=cell,
            pbc=False,
            atomic_numbers=flat.numbers,
            system_idx=flat.owner,
            momenta=torch.nn.functional.pad(placed(momenta), (0, 3 - d)),
            energy=chain[:, 0],
            forces=torch.zeros(len(flat.owner), 3).to(chain),
            periodic=periodic,
            movable=placed(np.concatenate([g.movable for g in starts]), torch.bool),
            kT=placed(kT),
            total_charge=flat.charge,
            multiplicity=flat.multiplicity,
            freedom=placed(freedom),
            chain_positions=chain.clone(),
            chain_momenta=chain.clone(),
        )
        said = model(state)
        state.energy, state.forces = said["energy"], said["forces"]
        return state

    @property
    def kinetic(self) -> Tensor:
        """(B,) kinetic energies, eV."""
        return calc_kinetic_energy(
            masses=self.masses, momenta=self.momenta, system_idx=self.system_idx
        )

    @property
    def thermostat_masses(self) -> Tensor:
        """(B, CHAIN) masses Q of the thermostats for a damping time of one (Martyna 1992, Eq.
        2.11): g kT of the first, kT of the others.
        """
        return (
            torch.cat([self.freedom[:, None], torch.ones_like(self.chain_positions[:, 1:])], 1)
            * self.kT[:, None]
        )


Integrator = Callable[[Replicas], Replicas]


def verlet(model: PotentialModel, timestep: float) -> Integrator:
    """One step of velocity Verlet (torch-sim's ``velocity_verlet``), `timestep` in its metal units
    of time.
    """
    return lambda state: velocity_verlet(state, timestep, model)


def nose_hoover(model: PotentialModel, timestep: float, damping: float) -> Integrator:
    """One step of velocity Verlet between two half steps of each replica's Nose-Hoover chain.

    Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992), as torch-sim integrates it.

    Args:
        model: what moves the replicas.
        timestep: torch-sim's metal units of time.
        damping: the thermostat's relaxation time, same units.
    """
    chain = construct_nose_hoover_chain(timestep, CHAIN, 1, 1, damping)

    def thermostat(state: Replicas) -> Replicas:
        # torch-sim's chain runs along the first axis. It rescales whatever momenta it is given by a
        # factor for each replica: given ones, it answers with these factors.
        before = NoseHooverChain(
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

    return lambda state: thermostat(velocity_verlet(thermostat(state), timestep, model))
