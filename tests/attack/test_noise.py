"""Differences of members whose forces are noisier than their dtype, and of all with one list."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from agal_toolkit.attack import (
    Autograd,
    FiniteDifference,
    HessianVector,
    NotConservative,
    Variance,
    gradients,
)
from agal_toolkit.batch import Batch, Delta, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import DensityNet, SchNet, Stacked, neighbours


class Single(Calculator):
    """A network that computes in float32 from positions in float32 and returns float64."""

    implemented_properties = ("energy", "forces")

    def __init__(self, members, scale=1.0):
        super().__init__()
        self.members, self.scale = members, scale

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        batch = Batch.of([atoms])
        said = self.members(batch.at(batch.positions.float().double()))
        forces = said.forces[0].double().numpy() * self.scale
        self.results = {"energy": float(said.energy[0, 0]) * self.scale, "forces": forces}


@pytest.fixture
def copper(rng):
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.15, rng=rng)
    batch = Batch.of([atoms])
    return batch, Delta(torch.zeros_like(batch.positions))


def networks():
    sizes = {"features": 16, "filters": 16, "interactions": 2, "dtype": torch.float64}
    return [Stacked(SchNet([29], [m], **sizes).requires_grad_(False)) for m in range(3)]


def singles(scale=1.0):
    members = [Stacked(copy.deepcopy(m.module).float()) for m in networks()]
    return Committee([Single(m, scale) for m in members])


@pytest.mark.parametrize("scale", [1.0, 1.0 + 1e-9])  # float32 numbers, and numbers near them
@pytest.mark.parametrize(
    ("gradient", "tolerance"),
    [
        (HessianVector(), 2e-3),
        (FiniteDifference(), 8e-3),
        (FiniteDifference(central=True), 2e-3),
    ],
)
def test_steps_follow_the_noise_of_calculators(copper, gradient, tolerance, scale):
    exact = Committee([Committee(members).mean for members in networks()])
    loss = Variance()(exact, None)
    right = Autograd()(exact, loss, *copper)[1].shift
    gradient.check(singles(scale), copper[0])
    result = gradient(singles(scale), loss, *copper)[1].shift
    assert float((result - right).norm() / right.norm()) < tolerance


def test_wrapped_members_of_mixed_precision_have_steps_of_their_own(copper):
    double, single = networks()[0], Stacked(networks()[1].module.float())

    def wrapped(batch, *, graph=False):
        said = single(batch)[0]
        return Prediction(said.energy.double(), said.forces.double(), said.stress.double())

    committee = Committee([Committee(double).mean, wrapped])
    noise = committee.noise(copper[0], committee(copper[0]))
    assert not noise[0].any()
    steps = HessianVector()._step(torch.float64, noise[:, 1]).flatten()
    assert float(steps[0]) == 5e-5
    assert 1e-4 < float(steps[1]) < 2e-3
    HessianVector().check(committee, copper[0])


def test_exact_calculators_keep_their_steps(copper):
    committee = Committee.from_calculators([EMT(), EMT()])
    noise = committee.noise(copper[0], committee(copper[0]))
    assert not noise.any()
    HessianVector().check(committee, copper[0])
    # at a minimum forces are nothing but rounding
    HessianVector().check(committee, Batch.of([bulk("Cu", a=3.59, cubic=True)]))


def test_noise_is_measured_once():
    class Shaky(EMT):
        """Forces with errors of an iteration that was ended early."""

        calls, rng = 0, np.random.default_rng(0)

        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            Shaky.calls += 1
            self.results["forces"] += self.rng.normal(0, 1e-4, self.results["forces"].shape)

    committee = Committee.from_calculators([Shaky()])
    batch = Batch.of([bulk("Cu", cubic=True)])
    noise = committee.noise(batch, committee(batch))
    assert 1e-4 < float(noise[0, 1]) < 1e-3
    calls = Shaky.calls
    assert torch.equal(committee.noise(batch, committee(batch)), noise)
    assert Shaky.calls == calls + 1


@dataclass(frozen=True)
class Scaled:
    """A potential with energies in another unit than its forces."""

    potential: object
    factor: float

    def __call__(self, batch, *, graph=False):
        said = self.potential(batch, graph=graph)
        return replace(said, energy=said.energy * self.factor)


@pytest.mark.parametrize("factor", [23.06, 1.05, 0.9])
def test_energies_that_do_not_belong_to_the_forces_are_refused(rng, factor):
    right = helpers.pair_committee(2)
    wrong = Committee([right.members.potentials[0], Scaled(right.members.potentials[1], factor)])
    batch = Batch.of([helpers.molecule(rng) for _ in range(3)])
    HessianVector().check(right, batch)
    with pytest.raises(NotConservative, match=rf"energy of member 1 changes {factor:.3g} times"):
        HessianVector().check(wrong, batch)


@pytest.mark.parametrize(
    ("network", "sizes"), [(SchNet, {"features": 8, "filters": 8}), (DensityNet, {})]
)
def test_one_list_serves_all_members_and_both_sides(rng, network, sizes, monkeypatch):
    crystal, ammonia = Geometry.from_ase(bulk("N", "fcc", a=4.0, cubic=True)), helpers.ammonia()
    crystal = crystal.moved(crystal.positions + rng.normal(0, 0.1, (4, 3)))
    net = network([1, 7], range(4), dtype=torch.float64, **sizes)
    members = Stacked(net.requires_grad_(False))
    committee, batch = Committee(members), Batch.of([crystal, ammonia, crystal])
    frame = gradients.Frame(
        batch,
        torch.zeros_like(batch.positions),
        torch.eye(3, dtype=torch.float64).repeat(3, 1, 1) * 1.02,
    )
    v_shift = torch.tensor(rng.normal(size=(4, *batch.positions.shape)))
    v_stretch = torch.tensor(rng.normal(size=(4, 3, 3, 3)))
    lists = []
    monkeypatch.setattr(
        neighbours, "_listed", lambda *a, made=neighbours._listed: lists.append(1) or made(*a)
    )
    shared = gradients.hessian_vector_product(committee, frame, v_shift, v_stretch, 1e-3)
    assert len(lists) == 2  # one for each crystal
    monkeypatch.setattr(gradients, "_nearby", lambda *a: None)
    apart = gradients.hessian_vector_product(committee, frame, v_shift, v_stretch, 1e-3)
    for one, other in zip(shared, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_the_shared_list_holds_every_pair_of_every_side(rng):
    crystal = helpers.crystal(rng, (3, 3, 3))
    batch = Batch.of([crystal])
    stretch = torch.eye(3, dtype=torch.float64)[None] * 0.97
    frame = gradients.Frame(batch, torch.zeros_like(batch.positions), stretch)
    seen = []

    class Seen:
        device = torch.device("cpu")

        def __call__(self, batch, *, graph=False):
            seen.append(batch)
            return helpers.pair_committee(1)(batch.member(0))

        def __len__(self):
            return 1

    v = torch.tensor(rng.normal(size=(1, 27, 3))), torch.tensor(rng.normal(size=(1, 1, 3, 3)))
    gradients.hessian_vector_product(Committee(Seen()), frame, *v, 0.02)
    shared = neighbours.neighbours(seen[0], 4.0)
    alone = neighbours.neighbours(replace(seen[0], nearby=None), 4.0)
    assert len(shared) < 1.2 * len(alone)

    def near(pairs):
        lengths = pairs.vectors(seen[0])[0].norm(dim=-1)
        return np.sort(lengths[lengths < 4.0].numpy())

    np.testing.assert_allclose(near(shared), near(alone), rtol=0, atol=1e-12)
