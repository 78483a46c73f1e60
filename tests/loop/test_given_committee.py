"""Loops that begin with a committee: attacks first, training later."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice

import helpers
import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones

import agal_toolkit as agal
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.events import Note
from agal_toolkit.loop.run_directory import COMMITTEE, START, RunDirectoryError
from agal_toolkit.loop.stages import random_stream
from agal_toolkit.potentials import MLP, Stacked
from agal_toolkit.sampling.samplers import Copies, FromDataset, NoSeeds
from agal_toolkit.uncertainty import Calibration, PowerLaw

HERE = agal.points([[0.4, 0.1]])[0]
LAWS = Calibration(PowerLaw(2.0))
ATTACK = agal.Attack(agal.Variance(), agal.Adam(0.05, 4))
RECIPE = helpers.small_recipe(
    sampler=Copies(HERE, 6), attack=ATTACK, selectors=(), folds=agal.Folds(1.0, 0.0)
)


def committee(laws=LAWS, seeds=(0, 1)):
    module = MLP(2, seeds, width=8).requires_grad_(False)
    return agal.Committee(Stacked(module), laws)


def loop(recipe=RECIPE, **changes):
    return helpers.small_loop(recipe=recipe, **changes)


def run(one, data, folder, count=2, report=lambda event: None, given=None):
    return list(islice(one.generations(data, folder, report, given), count))


def test_attacks_come_first_and_training_later(tmp_path):
    given, events = committee(), []
    first, second = run(loop(), None, tmp_path / "run", 2, events.append, given)
    expected = ATTACK(given, Dataset(), [HERE] * 6, random_stream(3, 0, "adversaries"))
    assert first.committee.members is given.members
    assert [a.geometry.digest() for a in first.adversaries] == [
        a.geometry.digest() for a in expected
    ]
    assert (len(first.dataset), len(first.labelled), len(second.dataset)) == (0, 6, 6)
    assert first.unlearned == ()
    assert first.weights is None
    assert second.weights.shape == (2, 6)
    assert not torch.equal(*(g.committee.predict([HERE]).energy for g in (first, second)))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert second.committee.calibration == LAWS
    assert [text for text in notes if "the last calibration stays" in text]
    again = run(loop(), None, tmp_path / "run", 2, given=committee())
    assert again[1].metrics == second.metrics
    kept = agal.Committee.load(tmp_path / "run" / COMMITTEE)
    assert kept.digest() == given.digest() != committee(seeds=(0, 2)).digest()
    assert (tmp_path / "run" / START).exists()


def test_another_start_is_refused(tmp_path):
    run(loop(), None, tmp_path / "run", 1, given=committee())
    for data, given in [(None, committee(None)), (helpers.first_data(6), None)]:
        with pytest.raises(RunDirectoryError, match=r"committee: .* there, .* here"):
            run(loop(), data, tmp_path / "run", 1, given=given)
    run(loop(), helpers.first_data(6), tmp_path / "other", 1)
    with pytest.raises(RunDirectoryError, match=r'committee: "nothing" there, .* here'):
        run(loop(), helpers.first_data(6), tmp_path / "other", 1, given=committee())


def test_a_proposal_starts_from_a_committee_too(tmp_path):
    one, given = loop(), committee()
    proposal = one.ask(None, tmp_path / "run", committee=given)
    labels = [agal.DoubleWell()(geometry) for geometry in proposal.geometries]
    told = one.tell(proposal, labels, tmp_path / "run")
    assert one.ask(None, tmp_path / "run", committee=given).index == 1
    (first,) = run(one, None, tmp_path / "run", 1, given=given)
    assert first.grown.digest() == told.grown.digest()


def test_both_data_and_a_committee_which_is_calibrated_on_them(tmp_path):
    data = helpers.first_data(12).reserving(6, np.random.default_rng(1))
    (first,) = run(loop(), data, None, 1, given=committee())
    aside = data.of_role(CALIBRATION)
    assert first.committee.calibration == Calibration.fit_with_fallback(
        committee().predict(list(aside)), aside
    )


def test_a_warm_trainer_goes_on_from_members_that_fit():
    warm = replace(RECIPE.trainer, warm=agal.WarmStart(epochs=0))
    first, second = run(loop(replace(RECIPE, trainer=warm)), None, None, given=committee())
    assert torch.equal(*(g.committee.predict([HERE]).energy for g in (first, second)))


def test_a_target_needs_a_calibrated_committee_and_seeds_a_structure():
    target = replace(RECIPE, attack=agal.Attack(agal.TargetError(0.5), agal.Adam(0.05, 4)))
    with pytest.raises(ValueError, match=r"TargetError needs a calibrated committee"):
        run(loop(target), None, None, 1, given=committee(None))
    assert len(run(loop(target), None, None, 1, given=committee())) == 1
    with pytest.raises(ValueError, match=r"the data set is empty: .* or a committee to start from"):
        run(loop(), None, None, 1)
    moves = partial(agal.MolecularDynamics, temperature=(1, 2), picoseconds=0.01, count=2)
    for sampler in (FromDataset(8), agal.Rattle(0.1), moves()):
        with pytest.raises(NoSeeds, match=r"there are no labelled structures to draw from: give"):
            run(loop(replace(RECIPE, sampler=sampler)), None, None, 1, given=committee())


def test_calculators_begin_a_run_of_atoms(tmp_path):
    given = agal.Committee.from_calculators([LennardJones(sigma=s) for s in (1.0, 1.01, 1.02)])
    recipe = agal.Recipe(
        trainer=agal.TorchTrainer(
            network=partial(agal.SchNet, [1, 7], features=4, filters=4), epochs=2
        ),
        sampler=Copies(helpers.ammonia(), 3),
        attack=agal.Attack(agal.Variance(), agal.Adam(0.01, 2), agal.HessianVector()),
        folds=agal.Folds(1.0, 0.0),
        members=2,
    )
    one = agal.Loop(recipe, agal.Reference(agal.CalculatorLabels(LennardJones)))
    first, second = run(one, None, tmp_path / "run", 2, given=given)
    assert len(first.labelled) == len(second.dataset) == 3
    assert not (tmp_path / "run" / COMMITTEE).exists()
    run(one, None, tmp_path / "run", 2, given=given)
