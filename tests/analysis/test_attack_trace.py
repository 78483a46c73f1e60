"""What a committee says along an attack agrees with what it says of each step alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers import ammonia, crystal, pair_committee, schnet_committee

from agal_toolkit import Adam, Adversary, Attack, Ball, Geometry, Variance
from agal_toolkit.analysis.attack_trace import AttackTrace
from agal_toolkit.batch import Batch
from agal_toolkit.uncertainty.variance import force_variance


@pytest.fixture
def adversary(rng):
    return Attack(Variance(), Adam(0.03, 8), bound=Ball(0.8))(
        schnet_committee(), None, [ammonia()], rng
    )[0]


def test_every_step_is_what_the_committee_says_of_it(adversary):
    committee = schnet_committee()
    trace = AttackTrace.of(committee, adversary)
    assert len(trace) == 9
    assert trace.energies.shape == (3, 9)
    assert trace.atomic.shape == (9, 4)
    assert trace.kept == adversary.kept
    for step in (0, 4, 8):
        geometry = ammonia().moved(adversary.path[step])
        prediction = committee.predict([geometry])
        np.testing.assert_array_equal(trace.geometries[step].positions, geometry.positions)
        np.testing.assert_allclose(trace.energies[:, step], prediction.energy[:, 0], rtol=1e-5)
        forces = prediction.forces.numpy()
        np.testing.assert_allclose(trace.sigma[step] ** 2, forces.var(0, ddof=1).mean(), rtol=1e-4)
        np.testing.assert_allclose(
            trace.sigma[step] ** 2, force_variance(prediction, Batch.of([geometry]))[0], rtol=1e-4
        )
        np.testing.assert_allclose(
            trace.atomic[step] ** 2, forces.var(0, ddof=1).sum(-1), rtol=1e-4
        )
    np.testing.assert_allclose(trace.gain, -adversary.losses)
    assert trace.gain[trace.kept] == trace.gain.max()


def test_a_forbidden_step_has_no_loss_and_a_path_is_cut_where_it_leaves_the_numbers(adversary):
    path, losses = adversary.path.copy(), adversary.losses.copy()
    path[6:], losses[3], losses[6:] = np.nan, np.inf, np.nan
    trace = AttackTrace.of(
        schnet_committee(), Adversary(0, adversary.geometry, path, losses, 5, True)
    )
    assert len(trace) == 6
    assert trace.kept == 5
    assert np.isnan(trace.gain).tolist() == [False, False, False, True, False, False]


def test_every_step_of_a_moving_cell_is_in_its_own_cell(rng):
    committee = pair_committee()
    adversary = Attack(Variance(), Adam(0.02, 5), cell=True)(
        committee, None, [crystal(rng, (4, 4, 4))], rng
    )[0]
    trace = AttackTrace.of(committee, adversary)
    assert np.abs(adversary.cells[-1] - adversary.cells[0]).max() > 0.01
    for step in (0, 2, 5):
        geometry = Geometry(
            positions=adversary.path[step],
            numbers=adversary.geometry.numbers,
            cell=adversary.cells[step],
            pbc=True,
        )
        np.testing.assert_array_equal(trace.geometries[step].cell, adversary.cells[step])
        np.testing.assert_allclose(
            trace.energies[:, step], committee.predict([geometry]).energy[:, 0], rtol=1e-9
        )
    np.testing.assert_array_equal(trace.geometries[trace.kept].cell, adversary.geometry.cell)
    cells = adversary.cells.copy()
    cells[4:] = np.inf
    assert len(AttackTrace.of(committee, dataclasses.replace(adversary, cells=cells, kept=3))) == 4


def test_one_member_cannot_be_uncertain(adversary):
    with pytest.raises(ValueError, match="at least two"):
        AttackTrace.of(schnet_committee(1), adversary)
