"""Attacks that go nowhere or miss their target say so; minimizers stop where nothing is gained."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit import (
    Adam,
    Attack,
    Ball,
    BoltzmannVariance,
    Dataset,
    Labels,
    TargetError,
    Variance,
)
from agal_toolkit.attack import LBFGS
from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.events import Note
from agal_toolkit.geometry import points
from agal_toolkit.loop.packing import pack_adversaries, unpack_adversaries
from agal_toolkit.loop.stages import candidates_of
from agal_toolkit.settings import to_settings
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.power_law import PowerLaw


def vanished(**settings):
    """An attack on structures whose probability, and with it the slope, is about exp(-300)."""
    rng, committee = np.random.default_rng(4), helpers.pair_committee()
    seeds = [helpers.molecule(rng, 4) for _ in range(2)]
    low = float(committee.predict(seeds).energy.mean(0).min()) - 300
    data = Dataset(seeds, [Labels(energy=low, forces=np.zeros((4, 3)))] * 2)
    attack = Attack(BoltzmannVariance(kT=1.0, log=False), Adam(0.01, 20, relative=None), **settings)
    heard = []
    return attack(committee, data, seeds, rng, heard.append), heard, seeds, data


def test_an_attack_whose_slope_has_vanished_says_so():
    found, heard, seeds, _ = vanished()
    for adversary in found:
        assert np.abs(adversary.path - adversary.path[0]).max() < 1e-6
        assert not adversary.reached
        assert adversary.reason.startswith("did not move (path of ")
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert len(notes) == 1
    assert notes[0].startswith("2 of 2 attacks: did not move; seed 0: did not move (path")
    verdicts = [candidate.verdict for candidate in candidates_of(seeds, found, 0)]
    assert verdicts == [adversary.reason for adversary in found]
    again = unpack_adversaries(pack_adversaries(found))
    assert [a.reason for a in again] == verdicts
    kept, _, _, _ = vanished(accept=("did not move",))
    assert all(adversary.reached for adversary in kept)
    with pytest.raises(ValueError, match="expected a tuple of 'did not move', 'target missed'"):
        Attack(Variance(), accept=("far",))


def test_scale_free_adam_and_the_logarithm_move_where_the_slope_is_tiny():
    _, _, seeds, data = vanished()
    committee = helpers.pair_committee()
    logarithm = Attack(BoltzmannVariance(kT=1.0), Adam(0.01, 20, relative=None))
    scale_free = Attack(BoltzmannVariance(kT=1.0, log=False), Adam(0.01, 20))
    for attack in (logarithm, scale_free):
        for adversary in attack(committee, data, seeds, np.random.default_rng(0)):
            assert np.abs(adversary.path - adversary.path[0]).max() > 0.005
            assert adversary.reached


def test_scale_free_adam_takes_the_same_steps_at_every_scale(rng):
    start, owner = torch.tensor(rng.normal(size=(3, 2))), torch.tensor([0, 0, 1])

    def ends(scale, **settings):
        def evaluate(rows):
            squares = scale * rows.square().sum(-1)
            return torch.zeros(2, dtype=rows.dtype).index_add(0, owner, squares), 2 * scale * rows

        return list(Adam(0.05, 20, **settings)(evaluate, start, lambda rows: rows, owner))[-1][0]

    torch.testing.assert_close(ends(1e-20), ends(1e-12))
    assert (ends(1e-20) - start).abs().max() > 0.5
    assert torch.equal(ends(1.0), ends(1.0, relative=None))
    assert torch.equal(ends(0.0), start)


def test_points_of_a_model_surface_keep_the_plain_loss(rng):
    committee, data = helpers.mlp_committee(), helpers.well_data(rng, 5)
    batch = committee.batch(points(rng.uniform(-1, 1, (4, 2))))
    default, plain = (
        BoltzmannVariance(2.0, log=log)(committee, data)(committee(batch), batch)
        for log in (None, False)
    )
    assert torch.equal(default, plain)


def test_settings_of_before_read_as_they_were():
    old = Attack(Variance(), Adam(0.01, 5, relative=None), accept=("did not move",))
    stored = to_settings(replace(old, bound=Ball(0.3, strain=None)))
    assert "accept" not in stored
    assert stored["bound"] == {"name": "agal_toolkit.Ball", "radius": 0.3, "p": 2}
    assert set(stored["minimizer"]) == {"name", "learning_rate", "steps", "betas", "epsilon"}
    assert to_settings(replace(old, accept=()))["accept"] == []


# -- targets


def test_a_missed_target_says_by_how_much_and_may_be_labelled(rng):
    committee = helpers.pair_committee()
    aim = TargetError(50.0, raw=True)
    attack = Attack(aim, LBFGS(1), start=0.0)
    (found,) = attack(committee, None, [helpers.molecule(rng)], rng)
    forces = committee.predict([found.geometry]).forces.numpy()
    sigma = np.sqrt(forces.var(0, ddof=1).sum(-1)).mean()
    assert found.reason == f"target missed ({sigma:.1f} of 50.0)"
    (found,) = replace(attack, accept=("target missed",))(committee, None, [found.geometry], rng)
    assert found.reached
    assert found.reason.startswith("target missed")


def test_a_mean_on_target_with_a_wide_spread_is_missed():
    """Atoms at 0.1 and 0.3 have the mean 0.2 and deviate from it by half of it."""
    sigma = np.array([0.1, 0.3])
    forces = torch.zeros(2, 2, 3, dtype=torch.float64)
    forces[1, :, 0] = torch.tensor(sigma * np.sqrt(2))
    prediction = Prediction(torch.zeros(2, 1), forces, torch.zeros(2, 1, 3, 3))
    batch = Batch.of([helpers.molecule(np.random.default_rng(0), 2)])
    for deviation, reached in ((0.49, False), (0.51, True)):
        loss = TargetError(0.2, raw=True, deviation=deviation)(helpers.pair_committee())
        assert loss.reached(prediction, batch).tolist() == [reached]
        assert loss.described(prediction, batch) == ["0.20 of 0.20, spread 0.10"]


def test_the_strain_of_a_ball_is_bounded(rng):
    seed = helpers.crystal(rng, (2, 2, 2))
    for strain, smaller in ((0.01, True), (None, False)):
        attack = Attack(
            TargetError(9.0, raw=True),
            Adam(0.05, 6),
            start=0.0,
            cell=True,
            bound=Ball(0.2, strain=strain),
        )
        (found,) = attack(helpers.pair_committee(), None, [seed], rng)
        strains = np.linalg.inv(seed.cell) @ found.cells - np.eye(3)
        assert (np.linalg.norm(strains, axis=(1, 2)).max() <= 0.01 + 1e-12) == smaller
    with pytest.raises(ValueError, match="give a positive norm, or None"):
        Ball(0.2, strain=0.0)


# -- L-BFGS


def rosenbrock(noise):
    """Two geometries: a valley of the loss, which never gets below 1, and one at its minimum."""
    generator, counts = torch.Generator().manual_seed(1), [0, 0]

    def evaluate(rows):
        x, y = rows[0]
        counts[0] += 1
        loss = 1 + (1 - x) ** 2 + 20 * (y - x**2) ** 2
        slope = torch.stack([2 * (x - 1) - 80 * x * (y - x**2), 40 * (y - x**2)])
        loss = loss * (1 + noise * torch.randn(1, generator=generator, dtype=loss.dtype)[0])
        zero = torch.zeros_like(loss)
        return torch.stack([loss, zero]), torch.stack([slope, torch.zeros_like(slope)])

    return evaluate, counts


def minimised(noise=0.0, **settings):
    evaluate, counts = rosenbrock(noise)
    start, owner = torch.tensor([[-0.2, 0.4], [0.0, 0.0]], dtype=torch.float64), torch.arange(2)
    minimizer = LBFGS(200, tolerance=0.0 if noise else 1e-9, largest=0.5, **settings)
    rows = [rows for rows, _ in minimizer(evaluate, start, lambda rows: rows, owner)]
    return rows, counts[0]


def test_lbfgs_stops_where_rounding_hides_the_gain():
    rows, evaluations = minimised(noise=3e-8)
    assert evaluations < 60
    torch.testing.assert_close(rows[-1][0], torch.ones(2, dtype=torch.float64), atol=1e-2, rtol=0)
    assert all(torch.equal(row[1], rows[0][1]) for row in rows)


def test_the_memory_of_lbfgs_saves_steps():
    long, short = minimised(memory=10)[1], minimised(memory=1)[1]
    assert long < short


def test_the_last_iterate_of_lbfgs_is_no_step_that_was_undone(rng):
    attack = Attack(Variance(), LBFGS(6, largest=2.0), start=0.05, last=True)
    for seed in range(6):
        molecule = helpers.molecule(np.random.default_rng(seed), 4)
        (found,) = attack(helpers.pair_committee(), None, [molecule], np.random.default_rng(seed))
        assert found.losses[found.kept] == found.losses.min()


def test_finished_geometries_cost_no_evaluation(rng):
    committee = helpers.pair_committee(counted=True)
    committee = type(committee)(committee.members, Calibration(PowerLaw()))
    seeds = [helpers.molecule(rng, 3), helpers.molecule(rng, 5)]
    guard = lambda batch: batch.counts > 3  # noqa: E731  the first seed never moves
    attack = Attack(TargetError(2.0), LBFGS(10), start=0.0, guard=guard)
    found = attack(committee, None, seeds, rng)
    asked = committee.members.potentials[0].calls
    assert found[0].reason == "no sound iterate"
    assert asked == 2 + (len(found[1].path) - 1) + 1  # the start, the steps, and the target
