"""Every tensor is made on the batch's device.

Torch's default device is the meta device here, whose tensors cannot meet those of another one. So a
tensor that is made without a device fails where it meets the batch, as it would on a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk

import agal_toolkit as agal
from agal_toolkit.analysis.paths import NudgedElasticBand
from agal_toolkit.attack import Apart, Bias
from agal_toolkit.batch import Batch
from agal_toolkit.dynamics import Watch, npt, nve, nvt
from agal_toolkit.dynamics.stops import Closer, Farther
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.potentials import (
    CalculatorPotential,
    PotentialCalculator,
    Recorded,
    Separate,
    Stacked,
)
from agal_toolkit.potentials.torchsim import PotentialModel
from agal_toolkit.references.molecules import LabelCalculator
from agal_toolkit.selection import Candidate


@pytest.fixture
def elsewhere():
    """Tensors made without a device are on one where nothing else is."""
    with torch.device("meta"):
        yield


def structures(rng, count=4):
    crystal = bulk("N", "fcc", a=4.2, cubic=True)
    ammonia = helpers.ammonia()
    moved = [ammonia.moved(ammonia.positions + rng.normal(0, 0.1, (4, 3))) for _ in range(count)]
    crystals = [Geometry.from_ase(crystal) for _ in range(2)]
    return moved, [g.moved(g.positions + rng.normal(0, 0.1, (4, 3))) for g in crystals]


def labelled(geometries, rng, role="train"):
    def labels(geometry):
        half = rng.normal(size=(3, 3)) * 0.01
        stress = half + half.T if geometry.pbc.all() else None
        forces = rng.normal(size=geometry.positions.shape)
        return Labels(energy=rng.normal(), forces=forces, stress=stress)

    answers = [labels(geometry) for geometry in geometries]
    return agal.Dataset(geometries, answers, [role] * len(geometries))


NETWORKS = {
    "SchNet": partial(agal.SchNet, (1, 7), features=8, filters=8, interactions=2),
    "DensityNet": partial(agal.DensityNet, (1, 7), channels=4, hidden=8),
}


@pytest.fixture(params=NETWORKS)
def committee(request):
    return agal.Committee(Stacked(NETWORKS[request.param]([1, 2, 3]).requires_grad_(False)))


def test_the_fixture_finds_a_tensor_without_a_device(elsewhere):
    batch = Batch.of([helpers.ammonia()])
    with pytest.raises(RuntimeError, match="device"):
        batch.positions + torch.zeros(4, 3)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("forces_weight", "optimizer"), [(0.0, "adam"), (1.0, "muon")])
def test_training(name, forces_weight, optimizer, rng, elsewhere, tmp_path):
    molecules, crystals = structures(rng)
    data = labelled(molecules + crystals, rng)
    weights, valid = np.ones((3, 6)), np.zeros((3, 6), dtype=bool)
    weights[:, 0], valid[:, 0] = 0, True
    trainer = agal.TorchTrainer(
        network=NETWORKS[name],
        epochs=2,
        optimizer=optimizer,
        forces_weight=forces_weight,
        stress_weight=forces_weight,
        large_force=3.0,
        checkpoint=0.0,
    )
    members = trainer.fit(data, weights, valid, rng, scratch=tmp_path)
    trainer.save(members, tmp_path / "members")
    assert trainer.load(tmp_path / "members").device.type == "cpu"


@pytest.mark.parametrize("name", [*NETWORKS, "MLP"])
def test_without_a_weight_forces_change_nothing(name, rng):
    """Weights after a fit to energies alone, with labels whose forces are ten times larger."""
    geometries = structures(rng)[0] if name != "MLP" else agal.points(rng.normal(size=(6, 2)))
    data = labelled(geometries, rng)
    larger = [replace(label, forces=10 * label.forces) for label in data.labels]
    weights, valid = np.ones((2, len(data))), np.zeros((2, len(data)), dtype=bool)
    weights[:, 0], valid[:, 0] = 0, True

    def fitted(labels, forces_weight):
        network = (NETWORKS | {"MLP": partial(agal.MLP, 2, width=8)})[name]
        trainer = agal.TorchTrainer(network=network, epochs=3, forces_weight=forces_weight)
        data = agal.Dataset(geometries, labels)
        members = trainer.fit(data, weights, valid, np.random.default_rng(0))
        return torch.cat([p.flatten() for p in members.module.parameters()])

    alone = fitted(data.labels, 0.0)
    assert torch.equal(alone, fitted(larger, 0.0))
    both = fitted(data.labels, 1.0)
    assert not torch.allclose(both, alone, rtol=0, atol=1e-5)
    assert not torch.allclose(both, fitted(larger, 1.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "gradient", [agal.Autograd(), agal.HessianVector(), agal.FiniteDifference()]
)
@pytest.mark.parametrize("minimizer", [agal.Adam(0.01, 2), agal.LBFGS(2)])
def test_attacks(committee, gradient, minimizer, rng, elsewhere):
    molecules, crystals = structures(rng)
    data = labelled(molecules + crystals, rng)
    held_out = labelled(molecules + crystals, rng, "calibration")
    calibrated = committee.calibrated(held_out, "linear")
    target = agal.TargetError(0.5, bias=[Bias(0.1, "forces")])
    for objective in (agal.BoltzmannVariance(kT=100.0, log=True), agal.Variance(), target):
        attack = agal.Attack(
            objective,
            minimizer,
            gradient,
            bound=agal.Ball(0.5),
            guard=Apart(0.5),
            cell=objective is not target,
            members=2,
        )
        attack(calibrated, data, molecules + crystals, rng)


def test_dynamics(committee, rng, elsewhere):
    molecules, crystals = structures(rng)
    watch = Watch(every=1, stops=(Closer(0.2), Farther(9.0)))
    for run in (nve, nvt):
        run(committee.mean, molecules, 300.0, timestep=0.5, steps=2, watch=watch, rng=rng)
    npt(committee.mean, crystals, 300.0, pressure=0.0, timestep=0.5, steps=2, rng=rng)
    sampler = agal.MolecularDynamics(
        temperature=(100.0, 200.0), picoseconds=0.002, count=2, uncertain=5.0
    )
    sampler(committee, labelled(molecules, rng), rng)


def test_selection_and_paths(committee, rng, elsewhere):
    molecules, crystals = structures(rng)
    data = labelled(molecules + crystals, rng)
    candidates = [Candidate(g, i, 0.0) for i, g in enumerate(molecules + crystals)]
    for selector in (
        agal.UncertaintyPercentile(20),
        agal.Deduplicate(0.01),
        agal.MinDistance(0.5),
        agal.MaxForce(1e4),
        agal.AtMost(2),
    ):
        selector(committee, data, candidates, rng)
    NudgedElasticBand(images=5, steps=2)(committee.mean, molecules[0], molecules[1])


def test_a_whole_loop(rng, elsewhere):
    loop = helpers.small_loop(recipe=helpers.small_recipe(calibrate=0.3))
    turns = list(islice(loop.generations(helpers.first_data()), 2))
    assert len(turns[1].candidates)


def test_joined_committees_are_where_their_members_are(rng):
    class Elsewhere:
        """A potential on another device."""

        def __init__(self, device):
            self.device = device

        def __call__(self, batch, *, graph=False):
            raise AssertionError

    one = agal.Committee([Elsewhere("meta"), Elsewhere(torch.device("meta"))])
    assert one.device == one.mean.device == torch.device("meta")
    assert one.batch([helpers.ammonia()]).positions.device.type == "meta"
    joined = agal.Committee([agal.Committee(one.members[[m]]).mean for m in (0, 1)])
    assert joined.device == torch.device("meta")
    assert one.subset(1, rng).device == torch.device("meta")
    assert PotentialCalculator(joined).device == torch.device("meta")
    assert PotentialModel(joined.mean).device == torch.device("meta")
    assert Recorded(joined.mean).device == torch.device("meta")
    assert Separate([Elsewhere("meta")], "cpu").device == torch.device("cpu")
    assert agal.Committee([CalculatorPotential(LabelCalculator(agal.DoubleWell()))]).device.type
    with pytest.raises(ValueError, match="potentials are on cpu, meta: move them to one device"):
        agal.Committee([Elsewhere("meta"), Elsewhere("cpu")])
