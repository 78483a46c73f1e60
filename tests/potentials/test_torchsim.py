"""A potential through torch-sim predicts the same; each replica's thermostat equals ASE's."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest
import torch
import torch_sim as ts
from ase import units
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from helpers import Springs, tetrahedron
from torch_sim.models.interface import validate_model_outputs

from agal_toolkit.batch import Batch
from agal_toolkit.dynamics.engines import InitialState
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import Differentiable, PotentialCalculator
from agal_toolkit.potentials.torchsim import PotentialModel, Replicas, nose_hoover, verlet

SPRINGS = Differentiable(Springs())


def at_start(model, starts, kT, rng) -> Replicas:
    """Replicas with velocities at kT (R,), without drift if several particles are all movable."""
    initial = InitialState.of(starts, np.array(kT) / units.kB, 1.0, 1, None, rng, rest=True)
    return Replicas.of(
        model,
        starts,
        np.concatenate(initial.masses),
        np.concatenate(initial.momenta),
        np.array(kT),
        initial.freedom,
    )


def test_torch_sim_finds_the_model_as_it_wants_models():
    validate_model_outputs(
        PotentialModel(Differentiable(helpers.PairEnergy())), torch.device("cpu"), torch.float64
    )


@pytest.mark.parametrize("periodic", [True, False])
def test_energies_forces_and_stress_are_the_potentials(rng, periodic):
    potential = Differentiable(helpers.PairEnergy())
    geometries = [
        helpers.crystal(rng, (4, 4, 4)) if periodic else helpers.molecule(rng, n) for n in (4, 6)
    ]
    prediction = PotentialModel(potential)(
        ts.io.atoms_to_state([g.to_ase() for g in geometries], torch.device("cpu"), torch.float64)
    )
    expected = potential(Batch.of(geometries))
    for name in ("energy", "forces", "stress"):
        torch.testing.assert_close(
            prediction[name], getattr(expected, name), rtol=1e-12, atol=1e-12, equal_nan=True
        )
    assert prediction["stress"].isfinite().all() == periodic


def test_open_and_periodic_replicas_mix_and_some_of_them_can_be_picked(rng):
    potential = Differentiable(helpers.PairEnergy())
    starts = [helpers.molecule(rng, 4), helpers.crystal(rng, (4, 4, 4)), helpers.molecule(rng, 5)]
    model = PotentialModel(potential)
    state = at_start(model, starts, [0.1, 0.2, 0.3], rng)
    torch.testing.assert_close(
        state.forces, potential(Batch.of(starts)).forces, rtol=1e-12, atol=1e-12
    )
    assert torch.equal(model.batch.cell, Batch.of(starts).cell)
    assert torch.equal(model.batch.pbc, Batch.of(starts).pbc)
    some = state[[0, 2]]
    assert some.kT.tolist() == [0.1, 0.3]
    assert some.freedom.tolist() == [9.0, 12.0]
    assert some.chain_momenta.shape == (2, 3)
    torch.testing.assert_close(model(some)["energy"], state.energy[[0, 2]])


def test_a_surface_is_padded_and_unmovable_particles_feel_nothing(rng):
    well = PotentialModel(helpers.well_potential(), dimension=2)
    state = at_start(well, helpers.points([[0.3, 0.4], [-0.7, 0.1]]), [0.1, 0.1], rng)
    assert state.positions.shape == (2, 3)
    assert not state.forces[:, 2].any()
    assert state.freedom.tolist() == [2.0, 2.0]
    held = replace(tetrahedron(1.4), movable=[True, False, True, True])
    state = at_start(PotentialModel(SPRINGS), [held], [0.1], rng)
    assert state.forces.abs().sum(1).ne(0).tolist() == [
        True,
        False,
        True,
        True,
    ]
    assert state.freedom.tolist() == [9.0]


def conserved(state: Replicas, damping: float) -> np.ndarray:
    """(R,) H' of Martyna 1992, Eq. 2.13, in plain numpy."""
    state = {
        name: getattr(state, name).numpy()
        for name in ("energy", "kinetic", "freedom", "kT", "chain_positions", "chain_momenta")
    }
    weights = np.ones_like(state["chain_positions"])
    weights[:, 0] = state["freedom"]
    heat = (weights * state["chain_positions"]).sum(1) * state["kT"]
    return (
        state["energy"]
        + state["kinetic"]
        + heat
        + (state["chain_momenta"] ** 2 / (2 * weights * state["kT"][:, None] * damping**2)).sum(1)
    )


def test_each_replica_conserves_its_extended_energy_to_second_order(rng):
    kT, damping, drift = [0.02, 0.05, 0.1], 50 * units.fs, []
    for timestep in (1.0, 0.5):
        model = PotentialModel(SPRINGS)
        state, move = (
            at_start(model, [tetrahedron()] * 3, kT, np.random.default_rng(2)),
            nose_hoover(model, timestep * units.fs, damping),
        )
        start, worst = conserved(state, damping), 0.0
        for _ in range(int(300 / timestep)):
            state = move(state)
            worst = np.maximum(worst, np.abs(conserved(state, damping) - start))
        assert (state.chain_positions[:, 0].abs() > 1e-3).all()
        drift.append(worst)
    assert (drift[1] < 0.02 * np.array(kT)).all()
    np.testing.assert_allclose(drift[0] / drift[1], 4.0, rtol=0.3)


def test_a_thermostat_follows_ases(rng):
    """One particle in a well that is not harmonic, where both count three degrees of freedom."""
    potential = Differentiable(
        lambda batch: batch.sum((0.5 * batch.positions.square() + 0.2 * batch.positions**4).sum(-1))
    )
    start, kT, timestep, damping = (
        Geometry(positions=[[0.3, -0.2, 0.1]], numbers=[6]),
        0.05,
        0.2 * units.fs,
        20 * units.fs,
    )
    model = PotentialModel(potential)
    state = at_start(model, [start], [kT], rng)
    atoms = start.to_ase()
    atoms.set_momenta(state.momenta.numpy())
    atoms.calc = PotentialCalculator(potential)
    theirs, move = (
        NoseHooverChainNVT(atoms, timestep, temperature_K=kT / units.kB, tdamp=damping),
        nose_hoover(model, timestep, damping),
    )
    for _ in range(400):
        theirs.step()
        state = move(state)
    np.testing.assert_allclose(state.positions.numpy(), atoms.positions, atol=2e-4)
    np.testing.assert_allclose(state.momenta.numpy(), atoms.get_momenta(), atol=2e-3)
    newton, move = (
        at_start(model, [start], [kT], np.random.default_rng(20211)),
        verlet(model, timestep),
    )
    for _ in range(400):
        newton = move(newton)
    assert np.abs(newton.positions.numpy() - atoms.positions).max() > 0.01


@pytest.mark.parametrize(
    "integrator", [verlet, lambda model, timestep: nose_hoover(model, timestep, 2.0)]
)
def test_replicas_do_not_feel_each_other(integrator):
    starts, kT = [tetrahedron(1.5), tetrahedron(1.6), tetrahedron(1.45)], [0.02, 0.05, 0.1]
    model = PotentialModel(SPRINGS)
    move = integrator(model, 0.05)
    together = at_start(model, starts, kT, np.random.default_rng(3))
    alone = [together[[i]] for i in range(3)]
    for _ in range(20):
        together, alone = move(together), [move(state) for state in alone]
    torch.testing.assert_close(
        together.positions, torch.cat([state.positions for state in alone]), rtol=1e-12, atol=1e-12
    )
