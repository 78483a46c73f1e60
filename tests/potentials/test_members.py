"""The member axis: stacked members are what each of them is alone."""

from __future__ import annotations

from functools import partial

import helpers
import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones

from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.potentials import (
    MLP,
    Baseline,
    CalculatorPotential,
    DensityNet,
    Differentiable,
    SchNet,
    Separate,
    Stacked,
)


def committees(rng):
    """Members of every kind with something they can evaluate."""
    well, some = (
        points(rng.uniform(-1, 1, (4, 2))),
        [helpers.molecule(rng, 4), helpers.molecule(rng, 2), helpers.molecule(rng, 3)],
    )
    return {
        "networks": (helpers.mlp_committee().members, well),
        "single precision": (helpers.mlp_committee(dtype=torch.float32).members, well),
        "molecular networks": (Stacked(helpers.Blob([1, 2, 3]), Baseline({6: -1000.5})), some),
        "pair potentials": (helpers.pair_committee().members, some),
        "calculators": (
            Separate([CalculatorPotential(LennardJones(epsilon=e)) for e in (0.1, 0.2, 0.3)]),
            some,
        ),
    }


@pytest.fixture(
    params=["networks", "single precision", "molecular networks", "pair potentials", "calculators"]
)
def members(request, rng):
    return committees(rng)[request.param]


def close(one, other):
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-5}
        if one.forces.dtype == torch.float32
        else {"rtol": 1e-12, "atol": 1e-12}
    )
    for name in ("energy", "forces"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **tolerance)


def test_all_members_say_what_each_says_alone(members):
    several, geometries = members
    batch = Batch.of(geometries)
    together = several(batch)
    assert together.energy.shape == (3, len(batch))
    assert together.forces.shape == (
        3,
        *batch.positions.shape,
    )
    assert together.stress.shape == (3, len(batch), batch.dimension, batch.dimension)
    for m in range(3):
        close(several[[m]](batch), together[[m]])
    assert not torch.equal(together.energy[0], together.energy[1])


def test_each_member_may_see_positions_of_its_own(members, rng):
    several, geometries = members
    batch = Batch.of(geometries)
    moved = batch.positions + torch.tensor(rng.normal(0, 0.1, (3, *batch.positions.shape)))
    together = several(batch.at(moved))
    for m in range(3):
        close(several(batch.at(moved[m]))[[m]], together[[m]])


def test_members_are_indexed_like_arrays(members):
    several, geometries = members
    batch = Batch.of(geometries)
    prediction = several(batch)
    for index in ([2, 0], slice(1, None), np.array([True, False, True]), 1, -1):
        chosen = np.atleast_1d(np.arange(3)[index])
        part = several[index]
        assert len(part) == len(chosen)
        close(part(batch), prediction[chosen])


def test_chosen_members_have_weights_of_their_own():
    several = helpers.mlp_committee().members
    part = several[[1]]
    with torch.no_grad():
        part.module.weights[0].zero_()
    assert several.module.weights[0][1].abs().max() > 0
    assert all(p.requires_grad for p in part.module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_answers_in_its_own_precision(dtype, rng):
    batch = Batch.of(points(rng.uniform(-1, 1, (4, 2))))
    prediction = helpers.mlp_committee(dtype=dtype)(batch)
    assert prediction.energy.dtype == prediction.forces.dtype == prediction.stress.dtype == dtype


def test_precisions_agree(rng):
    batch = Batch.of(points(rng.uniform(-1, 1, (4, 2))))
    single, double = (
        helpers.mlp_committee(dtype=dtype)(batch) for dtype in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(single.forces.double(), double.forces, rtol=1e-3, atol=1e-3)


def test_a_baseline_is_added_in_double_precision():
    module = helpers.Blob([1, 2]).float()
    batch = Batch.of([Geometry(positions=np.eye(3), numbers=[8, 8, 8])])
    batch32 = batch.at(batch.positions.float())
    plain, based = Stacked(module)(batch32), Stacked(module, Baseline({8: -1e6}))(batch32)
    assert plain.energy.dtype == torch.float32
    assert based.energy.dtype == torch.float64
    torch.testing.assert_close(based.energy + 3e6, plain.energy.double(), rtol=0, atol=1e-8)
    assert torch.equal(based.forces, plain.forces)
    assert "Baseline(O -1000000.0000 eV)" in repr(Stacked(module, Baseline({8: -1e6})))


def test_a_graph_reaches_each_members_parameters(rng):
    several = helpers.mlp_committee().members
    prediction = several(Batch.of(points(rng.uniform(-1, 1, (4, 2)))), graph=True)
    slopes = torch.autograd.grad(prediction.forces[1].square().sum(), list(several.module.weights))
    assert all(not g[0].any() and g[1].any() and not g[2].any() for g in slopes)


def test_periodic_members_share_cells_or_have_their_own(rng):
    several = helpers.pair_committee().members
    batch = Batch.of([helpers.crystal(rng, (4, 4, 4))])
    alone = several(batch)
    expanded = several(
        batch.at(batch.positions.expand(3, -1, -1), batch.cell.expand(3, -1, -1, -1))
    )
    torch.testing.assert_close(expanded.stress, alone.stress, rtol=1e-12, atol=1e-14)
    assert alone.stress.shape == (3, 1, 3, 3)
    assert not alone.stress.isnan().any()


def test_nobody_is_no_committee():
    with pytest.raises(ValueError, match="at least one potential"):
        Separate([])


def test_stacked_stress_is_each_members_stress(rng):
    class Pairs(torch.nn.Module):
        """Two pair potentials as one module with a member axis."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor([1.0, 1.7], dtype=torch.float64))

        def forward(self, batch):
            return torch.stack(
                [s * helpers.PairEnergy()(batch.member(m)) for m, s in enumerate(self.scale)]
            )

    batch = Batch.of([helpers.crystal(rng, (4, 4, 4)), helpers.molecule(rng, 3)])
    one, two = Differentiable(helpers.PairEnergy())(batch), Stacked(Pairs())(batch)
    torch.testing.assert_close(
        two.stress,
        torch.stack([one.stress, 1.7 * one.stress]),
        equal_nan=True,
        rtol=1e-10,
        atol=1e-12,
    )
    assert two.stress[:, 1].isnan().all()


@pytest.mark.parametrize(
    "network", [partial(SchNet, [1, 6]), partial(DensityNet, [1, 6]), partial(MLP, 2)]
)
def test_weights_depend_on_the_seed_and_not_on_torchs_default_dtype(network):
    weights = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            weights.append(list(network([1, 2]).parameters()))
        finally:
            torch.set_default_dtype(torch.float32)
    for one, other in zip(*weights, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
