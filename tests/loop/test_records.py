"""What records tell of members, and which data samplers, attacks and selectors see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.attack import Attack
from agal_toolkit.dataset import CALIBRATION
from agal_toolkit.potentials import MLP
from agal_toolkit.training import Folds, TorchTrainer, TrainingFailed


class OneIsDead(torch.nn.Module):
    """Networks of which the second predicts zero."""

    def __init__(self, seeds):
        super().__init__()
        self.inner = MLP(2, seeds, width=8, dtype=torch.float64)

    def forward(self, batch):
        energy = self.inner(batch)
        gain = torch.ones(len(energy), 1, dtype=energy.dtype)
        gain[-1] = 0.0  # of those that are trained again, too
        return gain * energy


TRAINER = TorchTrainer(network=OneIsDead, epochs=60, learning_rate=2e-2, batch_size=8)


def test_records_tell_which_member_never_learned(tmp_path):
    recipe = helpers.small_recipe(trainer=replace(TRAINER, must_learn=False))
    loop = helpers.small_loop(recipe=recipe)
    generation = next(loop.generations(helpers.first_data(), tmp_path))
    dead = generation.weights.shape[0] - 1
    assert dead in generation.unlearned
    errors, spread = generation.training_errors
    forces = np.concatenate(generation.dataset[generation.weights[dead] > 0].forces)
    np.testing.assert_allclose(spread[dead], np.sqrt(forces.var(axis=0).mean()))
    np.testing.assert_allclose(errors[dead], np.sqrt((forces**2).mean()))  # it predicts zero
    again = next(loop.generations(helpers.first_data(), tmp_path))  # read from disk
    np.testing.assert_array_equal(again.training_errors, generation.training_errors)


def test_a_loop_with_a_member_that_never_learns_fails_by_name_and_loses_nothing():
    loop = helpers.small_loop(recipe=helpers.small_recipe(trainer=TRAINER))
    with pytest.raises(TrainingFailed, match=r"did not learn, trained twice") as error:
        next(loop.generations(helpers.first_data()))
    assert "nothing labelled is lost: the 20 structures" in error.value.__notes__[0]


@dataclass(frozen=True)
class Spying:
    """A sampler and selector that notes the data it is given."""

    inner: object
    seen: list = field(default_factory=list, compare=False)

    def __call__(self, committee, dataset, *rest):
        self.seen.append(dataset)
        return self.inner(committee, dataset, *rest)


@dataclass(frozen=True)
class SpyingAttack(Attack):
    seen: list = field(default_factory=list, compare=False)

    def __call__(self, committee, dataset, *rest):
        self.seen.append(dataset)
        return super().__call__(committee, dataset, *rest)


def drop_first(committee, dataset, candidates, rng):
    return np.arange(len(candidates)) > 0


@dataclass(frozen=True)
class Largest:
    """Keep the candidate of largest energy."""

    def __call__(self, committee, dataset, candidates, rng):
        energies = [abs(candidate.geometry.positions).sum() for candidate in candidates]
        return np.arange(len(candidates)) == int(np.argmax(energies))


@dataclass(frozen=True)
class NotLargest(Largest):
    def __call__(self, *given):
        return ~super().__call__(*given)


def test_samplers_attacks_and_selectors_see_what_members_train_on():
    """Neither calibration structures nor what no member has a weight on, as validation."""
    usual = helpers.small_recipe(folds=Folds(train=0.5, valid=0.25, shared=True))
    attack = SpyingAttack(**vars(usual.attack))
    sampler, selector = Spying(usual.sampler), Spying(drop_first)
    recipe = replace(usual, sampler=sampler, attack=attack, selectors=[selector])
    start = helpers.first_data(30).reserving(6, np.random.default_rng(0))
    generation = next(helpers.small_loop(recipe=recipe).generations(start))
    trained = generation.dataset[(generation.weights > 0).any(axis=0)]
    assert len(trained) == 12  # half of the 24 that are not for calibration
    assert CALIBRATION not in trained.roles
    for spy in (sampler, attack, selector):
        (seen,) = spy.seen
        assert [g.digest() for g in seen] == [g.digest() for g in trained]


def test_selectors_are_applied_in_order_to_what_is_left():
    """The largest is dropped first, then the largest of the others is kept; or nothing is left."""

    def verdicts(*selectors):
        recipe = helpers.small_recipe(selectors=selectors)
        generation = next(helpers.small_loop(recipe=recipe).generations(helpers.first_data()))
        sizes = [abs(c.geometry.positions).sum() for c in generation.candidates]
        order = np.argsort(sizes)[::-1]
        return [generation.verdicts[i] for i in order]

    one = verdicts(NotLargest(), Largest())
    assert one[:2] == ["NotLargest", "kept"]
    assert set(one[2:]) == {"Largest"}
    other = verdicts(Largest(), NotLargest())
    assert other[0] == "NotLargest"
    assert set(other[1:]) == {"Largest"}
