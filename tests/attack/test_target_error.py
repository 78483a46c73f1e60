"""Structures of a chosen error: the loss as printed, and attacks that end where they should."""

from __future__ import annotations

import itertools

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.attack import (
    LBFGS,
    Adam,
    Attack,
    Autograd,
    Ball,
    Bias,
    FiniteDifference,
    HessianVector,
    TargetError,
    Variance,
)
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.loop.run_directory import pack_adversaries, unpack_adversaries
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.power_law import PowerLaw

LAWS = Calibration(
    PowerLaw(1.3, 0.8, 0.01, 0.5, 100),
    PowerLaw(0.9, 1.2, 0.001, 0.1, 100),
    PowerLaw(1.1, 0.8, 0.01, 0.2, 100),
)


def calibrated(members=4, **changes):
    return Committee(helpers.pair_committee(members, **changes).members, LAWS)


def periodic_said(rng, members=4):
    batch = Batch.of([helpers.crystal(rng, (1, 2, 2)), helpers.crystal(rng, (2, 2, 2))])
    draw = rng.normal(size=(members, 2, 3, 3))
    return batch, Prediction(
        torch.tensor(rng.normal(size=(members, 2))),
        torch.tensor(rng.normal(size=(members, 12, 3))),
        torch.tensor(draw + draw.swapaxes(2, 3)),
    )


def test_the_loss_is_equations_8_and_9(rng):
    batch, said = periodic_said(rng)
    components = 1.3 * said.forces.numpy().std(0, ddof=1) ** 0.8
    sigma = np.sqrt((components**2).sum(-1))
    mean = said.forces.numpy().mean(0)
    per_atom = (sigma - 0.4) ** 2 + 0.3 * (mean**2).sum(-1)
    losses = TargetError(0.4, bias=[Bias(0.3, "forces")])(
        Committee([helpers.Harmonic((1.0,))] * 2, LAWS), None
    )(said, batch)
    np.testing.assert_allclose(losses.numpy(), [per_atom[:4].sum(), per_atom[4:].sum()])


def test_energies_virials_and_other_wishes(rng):
    batch, said = periodic_said(rng)
    committee, counts = Committee([helpers.Harmonic((1.0,))] * 2, LAWS), np.array([4, 8])
    energy = 0.9 * (said.energy.numpy().std(0, ddof=1) / counts) ** 1.2
    np.testing.assert_allclose(
        TargetError(0.1, "energy")(committee)(said, batch).numpy(), (energy - 0.1) ** 2
    )
    volumes = np.abs(np.linalg.det(batch.cell.numpy()))
    virial = 1.1 * ((said.stress.numpy() * (volumes / counts)[:, None, None]).std(0, ddof=1)) ** 0.8
    norm = np.sqrt((virial**2).sum((1, 2)))
    np.testing.assert_allclose(
        TargetError(0.1, "virial")(committee)(said, batch).numpy(), (norm - 0.1) ** 2
    )
    pressure = -np.trace(said.stress.numpy().mean(0), axis1=1, axis2=2) / 3
    wished = TargetError(
        0.1,
        "energy",
        bias=[
            Bias(2.0, "pressure", 0.5),
            Bias(3.0, "energy", -1.0),
            Bias(4.0, lambda mean, batch: mean.energy**2, 2.0),
        ],
    )
    right = (
        (energy - 0.1) ** 2
        + 2 * (pressure - 0.5) ** 2
        + 3 * (said.energy.numpy().mean(0) / counts + 1) ** 2
        + 4 * (said.energy.numpy().mean(0) ** 2 - 2) ** 2
    )
    np.testing.assert_allclose(wished(committee)(said, batch).numpy(), right)


def test_a_relative_target_is_a_multiple_of_the_error_in_calibration(rng):
    structures = [helpers.molecule(rng) for _ in range(6)]
    labels = [Labels(energy=float(k), forces=rng.normal(size=(5, 3))) for k in range(6)]
    committee = helpers.pair_committee(4)
    said = committee.predict(structures)
    data = Dataset(structures, labels, ["calibration"] * 6)
    committee = committee.calibrated(data)
    missed = said.forces.numpy() - np.concatenate([label.forces for label in labels])
    error = np.sqrt((missed**2).sum(-1).mean())  # of members and atoms
    loss = TargetError(1.5, relative=True)(committee)
    assert loss.target.target == pytest.approx(1.5 * error)
    assert committee.calibration.forces.error == pytest.approx(error / np.sqrt(3))
    (adversary,) = Attack(TargetError(1.5, relative=True), LBFGS(3), start=0.0)(
        committee, None, structures[:1], rng
    )
    assert f"of {1.5 * error:.1f}" in str(adversary.reason)
    with pytest.raises(ValueError, match=r"follows the error in calibration, which is not known"):
        TargetError(1.5, relative=True)(calibrated())


def test_raw_uncertainties_need_no_calibration(rng):
    batch, said = periodic_said(rng)
    plain = Committee([helpers.Harmonic((1.0,))] * 2)
    sigma = np.sqrt(said.forces.numpy().var(0, ddof=1).sum(-1))
    np.testing.assert_allclose(
        TargetError(0.4, raw=True)(plain)(said, batch).numpy(),
        [((sigma[:4] - 0.4) ** 2).sum(), ((sigma[4:] - 0.4) ** 2).sum()],
    )
    with pytest.raises(ValueError, match=r"needs a calibrated.*committee.calibrated\(data\)"):
        TargetError(0.4)(plain)
    with pytest.raises(ValueError, match="no law for virial"):
        TargetError(0.4, "virial")(
            Committee([helpers.Harmonic((1.0,))] * 2, Calibration(PowerLaw())), None
        )


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"target": 0.0}, "an error to aim at is positive"),
        ({"target": 0.1, "quantity": "charge"}, "expected 'forces', 'energy' or 'virial'"),
        ({"target": 0.1, "tolerance": 0.0}, "must be positive"),
    ],
)
def test_targets_that_make_no_sense(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        TargetError(**wrong)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ((-1.0, "forces"), "not negative"),
        ((1.0, "dipole"), "of='dipole'"),
        ((1.0, "forces", 0.2), "toward zero"),
    ],
)
def test_biases_that_make_no_sense(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        Bias(*wrong)


@pytest.mark.parametrize("gradient", [Autograd(), HessianVector()], ids=repr)
def test_an_attack_reaches_its_target_and_says_so(gradient):
    rng, committee, aim = np.random.default_rng(0), calibrated(), TargetError(0.15)
    seeds = [helpers.crystal(rng, (2, 2, 2)) for _ in range(4)]
    found = Attack(aim, LBFGS(40), gradient, start=0.02)(
        committee, None, seeds, np.random.default_rng(1)
    )
    batch = committee.batch([adversary.geometry for adversary in found])
    average, deviation = aim(committee).mean_and_deviation(committee(batch), batch)
    for k, adversary in enumerate(found):
        assert adversary.reached == bool(abs(average[k] - 1) <= 0.03 and deviation[k] <= 0.15)
        assert adversary.losses[adversary.kept] < 0.5 * adversary.losses[0]
    assert sum(adversary.reached for adversary in found) >= 2


def test_gradients_take_the_same_way(rng):
    committee, seeds = calibrated(), [helpers.crystal(rng, (2, 2, 1))]
    ends = [
        Attack(TargetError(0.15), LBFGS(8), gradient, start=0.02, cell=True)(
            committee, None, seeds, np.random.default_rng(1)
        )[0]
        for gradient in (Autograd(), HessianVector(), FiniteDifference(central=True))
    ]
    for other in ends[1:]:
        np.testing.assert_allclose(other.losses, ends[0].losses, rtol=1e-3)
        np.testing.assert_allclose(other.cells, ends[0].cells, atol=1e-4)


@pytest.mark.parametrize("cell", [False, True])
def test_a_seed_beyond_its_target_is_pulled_back(cell, rng):
    committee = calibrated()
    seed = helpers.crystal(rng, (2, 2, 2))
    batch = committee.batch([seed])
    aim = TargetError(0.3)
    before = float(aim(committee).mean_and_deviation(committee(batch), batch)[0])
    small = TargetError(0.3 * before / 2)
    (found,) = Attack(small, LBFGS(60), start=0.0, cell=cell)(
        committee, None, [seed], np.random.default_rng(0)
    )
    batch = committee.batch([found.geometry])
    after = float(aim(committee).mean_and_deviation(committee(batch), batch)[0])
    assert after == pytest.approx(before / 2, rel=0.05)
    assert (found.cells is not None) == cell
    assert cell != np.array_equal(found.geometry.cell, seed.cell)


def test_cells_move_with_their_particles_and_are_kept(rng):
    committee, seeds = (
        calibrated(),
        [helpers.crystal(rng, (2, 2, 2)), helpers.crystal(rng, (2, 2, 1))],
    )
    found = Attack(TargetError(0.4), Adam(0.02, 5), start=0.01, cell=True)(
        committee, None, seeds, np.random.default_rng(0)
    )
    for adversary, seed in zip(found, seeds, strict=True):
        assert adversary.cells.shape == (6, 3, 3)
        assert np.array_equal(adversary.cells[0], seed.cell)
        assert np.array_equal(adversary.geometry.cell, adversary.cells[adversary.kept])
        assert adversary.kept > 0
        strain = np.linalg.inv(seed.cell) @ adversary.cells[-1] - np.eye(3)
        np.testing.assert_allclose(strain, strain.T, atol=1e-12)
        assert 1e-3 < np.abs(strain).max() < 0.2
    for one, other in zip(found, unpack_adversaries(pack_adversaries(found)), strict=True):
        assert np.array_equal(one.cells, other.cells)
        assert np.array_equal(one.path, other.path)


def test_open_structures_and_those_with_fixed_atoms_keep_their_cells(rng):
    seed = helpers.crystal(rng, (2, 2, 2))
    fixed = Geometry(
        positions=seed.positions,
        numbers=seed.numbers,
        cell=seed.cell,
        pbc=True,
        movable=[False] + [True] * 7,
    )
    open_one = Geometry(positions=seed.positions, numbers=seed.numbers)
    found = Attack(TargetError(0.4), Adam(0.02, 4), start=0.01, cell=True)(
        calibrated(), None, [fixed, open_one, seed], np.random.default_rng(0)
    )
    assert np.array_equal(found[0].cells[-1], seed.cell)
    assert np.array_equal(found[0].path[-1, 0], seed.positions[0])
    assert np.array_equal(found[1].cells[-1], np.zeros((3, 3)))
    assert not np.array_equal(found[2].cells[-1], seed.cell)


def test_a_ball_leaves_the_strain_alone(rng):
    seed = helpers.crystal(rng, (2, 2, 2))
    (found,) = Attack(
        TargetError(0.6), Adam(0.05, 8), start=0.0, cell=True, bound=Ball(0.02, np.inf)
    )(calibrated(), None, [seed], np.random.default_rng(0))
    assert not np.array_equal(found.cells[-1], seed.cell)
    shift = (
        found.path[-1] @ np.linalg.inv(np.linalg.inv(seed.cell) @ found.cells[-1]) - seed.positions
    )
    assert np.abs(shift).max() == pytest.approx(0.02)


def test_the_whole_committees_law_is_kept_by_a_subset(rng):
    committee = calibrated(6)
    attack = Attack(TargetError(0.25), LBFGS(5), members=2)
    loss = attack.objective(committee.subset(2, rng), None)
    assert loss.calibration is committee.calibration


def test_a_target_outside_the_calibrated_range_is_warned_of():
    committee = Committee([helpers.Harmonic((1.0,))] * 2, LAWS)
    inside, outside = TargetError(0.3)(committee), TargetError(3.0)(committee)
    assert inside.warning is None
    assert "outside the calibrated range" in outside.warning
    assert TargetError(3.0, raw=True)(committee).warning is None


# -- L-BFGS


def quadratic(scales, centres):
    def evaluate(rows):
        losses = (scales * (rows - centres) ** 2).sum(-1)
        return torch.stack([losses[:2].sum(), losses[2:].sum()]), 2 * scales * (rows - centres)

    return evaluate


def test_lbfgs_solves_each_geometry_by_itself(rng):
    scales, centres = (
        torch.tensor(rng.uniform(0.1, 10, (5, 3))),
        torch.tensor(rng.normal(0, 0.3, (5, 3))),
    )
    owner = torch.tensor([0, 0, 1, 1, 1])
    iterates = list(
        LBFGS(60, tolerance=1e-9)(
            quadratic(scales, centres),
            torch.zeros(5, 3, dtype=torch.float64),
            lambda rows: rows,
            owner,
        )
    )
    torch.testing.assert_close(iterates[-1][0], centres, atol=1e-7, rtol=0)
    assert len(iterates) < 60
    assert all(
        (after - before).norm(dim=-1).max() <= 0.1 + 1e-12
        for (before, _), (after, _) in itertools.pairwise(iterates)
    )
    alone = list(
        LBFGS(60, tolerance=1e-9)(
            lambda rows: (lambda losses, slopes: (losses[:1], slopes[:2]))(
                *quadratic(scales, centres)(torch.cat([rows, centres[2:]]))
            ),
            torch.zeros(2, 3, dtype=torch.float64),
            lambda rows: rows,
            owner[:2],
        )
    )
    for (one, _), (other, _) in zip(alone, iterates, strict=False):
        torch.testing.assert_close(one, other[:2])


def test_lbfgs_needs_far_fewer_steps_than_adam(rng):
    committee, seeds = calibrated(), [helpers.crystal(rng, (2, 2, 2))]
    ends = {}
    for minimizer in (LBFGS(30), Adam(0.01, 30)):
        (found,) = Attack(TargetError(0.5), minimizer, start=0.02)(
            committee, None, seeds, np.random.default_rng(0)
        )
        ends[type(minimizer)] = found.losses.min()
    assert ends[LBFGS] < 0.5 * ends[Adam]


def test_lbfgs_takes_back_steps_that_a_guard_forbids(rng):
    committee, seed = calibrated(), helpers.molecule(rng, 4)

    def near(batch):
        return batch.largest((batch.positions - torch.tensor(seed.positions)).norm(dim=-1)) < 0.05

    (found,) = Attack(TargetError(2.0), LBFGS(25), start=0.0, guard=near)(
        committee, None, [seed], np.random.default_rng(0)
    )
    far = np.linalg.norm(found.path[found.kept] - seed.positions, axis=1).max()
    assert 0.02 < far < 0.05
    assert np.isinf(found.losses).any()
    assert found.losses[found.kept] < found.losses[0]


def test_lbfgs_goes_downhill_on_losses_that_are_no_squares(rng):
    (found,) = Attack(Variance(), LBFGS(20), start=0.05, bound=Ball(0.4))(
        helpers.pair_committee(), None, [helpers.molecule(rng, 4)], np.random.default_rng(0)
    )
    assert found.losses[found.kept] < found.losses[0] < 0


def test_lbfgs_settings():
    for wrong in ({"steps": -1}, {"largest": 0.0}, {"memory": 0}, {"tolerance": -1.0}):
        with pytest.raises(ValueError, match="largest and memory positive"):
            LBFGS(**wrong)
