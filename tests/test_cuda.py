"""Everything that computes runs on a CUDA device and agrees with the processor within rounding.

Run by hand on a machine with a GPU: ``python -m pytest tests/test_cuda.py``.
"""

from __future__ import annotations

import copy
from functools import partial
from itertools import islice

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import agal_toolkit as agal
from agal_toolkit.dynamics import Watch, nve, nvt
from agal_toolkit.dynamics.stops import Closer, Farther
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import MLP, DensityNet, SchNet, Stacked
from agal_toolkit.selection import AtMost, Deduplicate, MaxForce, MinDistance, UncertaintyPercentile

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("default"),  # libraries on GPU machines warn in their own ways
]


def molecules(rng, count=6):
    atoms = molecule("NH3")
    shifts = rng.normal(0, 0.1, (count, len(atoms), 3))
    return [Geometry(positions=atoms.positions + s, numbers=atoms.numbers) for s in shifts]


def crystals(rng, count=3):
    frames = [bulk("Al", a=4.0, cubic=True) for _ in range(count)]
    for atoms in frames:
        atoms.rattle(0.1, rng=rng)
    return [Geometry.from_ase(atoms) for atoms in frames]


def labelled(geometries, rng, stress=False):
    def labels(geometry):
        tensor = rng.normal(size=(3, 3)) * 0.01
        values = {"stress": tensor + tensor.T} if stress else {}
        forces = rng.normal(size=geometry.positions.shape)
        return Labels(energy=rng.normal(), forces=forces, **values)

    return agal.Dataset(geometries, [labels(geometry) for geometry in geometries])


SYSTEMS = {
    "MLP": (partial(MLP, 2, width=32), lambda rng: points(rng.normal(size=(8, 2)))),
    "SchNet": (partial(SchNet, (1, 7), features=16, filters=16, interactions=2), molecules),
    "SchNet, crystal": (partial(SchNet, (13,), features=16, filters=16), crystals),
    "DensityNet": (partial(DensityNet, (1, 7), channels=4, hidden=8), molecules),
    "DensityNet, crystal": (partial(DensityNet, (13,), channels=4, hidden=8), crystals),
}


@pytest.fixture(params=SYSTEMS)
def system(request, rng):
    """Members on the device, the same members on the processor, and structures."""
    network, make = SYSTEMS[request.param]
    module = network([1, 2, 3])
    members = [Stacked(copy.deepcopy(module).to(d).requires_grad_(False)) for d in ("cuda", "cpu")]
    return agal.Committee(members[0]), agal.Committee(members[1]), make(rng)


def close(one, other, tolerance=2e-4):
    one, other = (np.asarray(torch.as_tensor(x).detach().cpu().double()) for x in (one, other))
    scale = max(np.abs(np.nan_to_num(other)).max(), 1e-6)
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)


def test_predictions(system):
    gpu, cpu, structures = system
    one, other = gpu.predict(structures), cpu.predict(structures)
    close(one.energy, other.energy)
    close(one.forces, other.forces)
    close(one.stress, other.stress)


@pytest.mark.parametrize("name", SYSTEMS)
def test_training(name, rng):
    network, make = SYSTEMS[name]
    data = labelled(make(rng), rng, stress="crystal" in name)
    weights, valid = np.ones((3, len(data))), np.zeros((3, len(data)), dtype=bool)
    losses = {}
    for device in ("cuda", "cpu"):
        trainer = agal.TorchTrainer(
            network=network,
            epochs=3,
            batch_size=4,
            patience=None,
            keep_best=False,
            stress_weight=1.0 if "crystal" in name else 0.0,
            device=device,
        )
        epochs = []
        members = trainer.fit(data, weights, valid, np.random.default_rng(0), epochs.append)
        assert members.device.type == device
        losses[device] = np.array([event.train for event in epochs])
    close(losses["cuda"], losses["cpu"], 1e-2)


@pytest.mark.parametrize("gradient", [agal.Autograd(), agal.HessianVector()])
@pytest.mark.parametrize("minimizer", [agal.Adam(0.01, 3), agal.LBFGS(3)])
def test_attacks(system, rng, gradient, minimizer):
    gpu, cpu, structures = system
    data = labelled(structures, rng)
    objective = agal.BoltzmannVariance(kT=100.0, log=True)
    attack = agal.Attack(objective, minimizer, gradient, bound=agal.Ball(0.5), members=2)
    one, other = (attack(c, data, structures, np.random.default_rng(0)) for c in (gpu, cpu))
    for a, b in zip(one, other, strict=True):
        close(a.losses[0], b.losses[0], 1e-3)
        close(a.path[1], b.path[1], 1e-2)


@pytest.mark.parametrize("gradient", [agal.Autograd(), agal.HessianVector()])
def test_attacks_on_cells_to_a_target(rng, gradient):
    network, make = SYSTEMS["DensityNet, crystal"]
    module, structures = network([1, 2, 3]), make(rng)
    committee = agal.Committee(Stacked(module.to("cuda").requires_grad_(False)))
    data = labelled(structures, rng, stress=True)
    committee = committee.calibrated(helpers.aside(data), "linear")
    objective = agal.TargetError(0.5, bias=[agal.Bias(1.0, "pressure"), agal.Bias(0.1, "forces")])
    guard = agal.attack.Apart(1.0)
    attack = agal.Attack(objective, agal.LBFGS(3), gradient, cell=True, guard=guard)
    adversaries = attack(committee, data, structures, rng)
    assert all(np.isfinite(adversary.losses).any() for adversary in adversaries)


def test_finite_differences(rng):
    network, make = SYSTEMS["SchNet"]
    committee = agal.Committee(Stacked(network([1, 2]).to("cuda").requires_grad_(False)))
    attack = agal.Attack(agal.Variance(), agal.Adam(0.01, 1), agal.FiniteDifference())
    structures = make(rng, 2)
    adversaries = attack(committee, labelled(structures, rng), structures, rng)
    assert np.isfinite(adversaries[0].losses).all()


def test_dynamics_and_selectors(rng):
    network, make = SYSTEMS["SchNet"]
    committee = agal.Committee(Stacked(network([1, 2]).to("cuda").requires_grad_(False)))
    starts = make(rng, 3)
    watch = Watch(every=2, stops=(Closer(0.2), Farther(9.0)))
    for run in (nve, nvt):
        options = {"timestep": 0.5, "steps": 6, "watch": watch, "rng": rng}
        frames = run(committee.mean, starts, 300.0, device=committee.device, **options)
        assert [len(f) for f in frames] == [4, 4, 4]
    sampler = agal.MolecularDynamics(
        temperature=(100.0, 300.0), picoseconds=0.003, count=2, uncertain=5.0
    )
    data = labelled(starts, rng)
    assert len(sampler(committee, data, rng)) == 2


def test_a_whole_loop(rng):
    well = agal.DoubleWell()
    start = agal.basin(well, rng=rng)
    data = agal.Dataset(start, [well(geometry) for geometry in start])
    recipe = agal.Recipe(
        trainer=agal.TorchTrainer(network=partial(MLP, 2, width=16), epochs=20, device="cuda"),
        sampler=agal.FromDataset(),
        attack=agal.Attack(agal.BoltzmannVariance(kT=5.0), agal.Adam(0.01, 20)),
        selectors=[
            MaxForce(1e4),
            MinDistance(0.1),
            UncertaintyPercentile(10),
            Deduplicate(0.02),
            AtMost(5),
        ],
        members=3,
        calibrate=0.3,
    )
    turns = list(islice(agal.Loop(recipe, agal.Reference(well)).generations(data), 2))
    assert turns[-1].committee.device.type == "cuda"
    assert len(turns[-1].candidates)
