"""Fits that go on from members: what they keep of them, and what is begun anew."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.batch import Batch
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Epoch, Note
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.potentials import MLP, Baseline, DensityNet, Separate, Stacked
from agal_toolkit.training import StartRefused, TorchTrainer, WarmStart
from agal_toolkit.training.learning import training_errors

COLD = TorchTrainer(
    network=partial(MLP, 2, width=8, dtype=torch.float64),
    epochs=40,
    learning_rate=2e-2,
    batch_size=8,
)
WARM = replace(COLD, warm=WarmStart(epochs=5, learning_rate=3e-3))


class Stop(Exception):
    """A listener's way to cancel."""


def fit(trainer, data, seed=1, members=3, valid=4, **more):
    weights, checked = np.ones((members, len(data))), np.zeros((members, len(data)), dtype=bool)
    if valid:
        weights[:, -valid:], checked[:, -valid:] = 0.0, True
    return trainer.fit(data, weights, checked, np.random.default_rng(seed), **more)


def same(one, other):
    pairs = zip(one.module.parameters(), other.module.parameters(), strict=True)
    return all(a.detach().numpy().tobytes() == b.detach().numpy().tobytes() for a, b in pairs)


def epochs_of(events):
    return [event for event in events if isinstance(event, Epoch)]


@pytest.fixture(scope="module")
def data():
    return helpers.first_data(24)


@pytest.fixture(scope="module")
def start(data):
    return fit(COLD, data[:20], seed=7)


def test_one_epoch_is_one_first_step_of_adam_from_the_start(data, start):
    """The first step with fresh moments moves every weight by the rate, against its slope."""
    trainer = replace(
        COLD, batch_size=99, keep_best=False, warm=WarmStart(epochs=1, learning_rate=1e-3)
    )
    members = fit(trainer, data, valid=0, start=start)
    module = start[np.arange(3)].module.requires_grad_(True)
    prediction = Stacked(module)(Batch.of(data), graph=True)
    energy = (prediction.energy - torch.tensor(data.energies)).square()
    forces = (prediction.forces - torch.tensor(np.concatenate(data.forces))).square().mean(-1)
    slopes = torch.autograd.grad((energy + forces).mean(1).sum(), list(module.parameters()))
    for before, after, slope in zip(
        start.module.parameters(), members.module.parameters(), slopes, strict=True
    ):
        moved = torch.where(slope.abs() > 1e-4, -1e-3 * slope.sign(), after - before)
        torch.testing.assert_close(after - before, moved, rtol=2e-4, atol=0)


def test_the_rate_falls_from_that_of_the_warm_start_to_zero(data, start):
    for rate, expected in ((3e-3, 3e-3), (None, 2e-2)):
        events, warm = [], WarmStart(epochs=5, learning_rate=rate)
        fit(replace(COLD, patience=None, warm=warm), data, start=start, report=events.append)
        rates = [event.learning_rate.tolist() for event in epochs_of(events)]
        cosine = expected * (1 + np.cos(np.pi * np.arange(5) / 5)) / 2
        np.testing.assert_allclose(rates, np.repeat(cosine[:, None], 3, axis=1))
        (note,) = [event.text for event in events if isinstance(event, Note)]
        assert note == "members go on from their last weights: 5 epochs instead of 40"


def test_without_a_start_or_without_warm_a_fit_begins_afresh(data, start):
    cold = fit(COLD, data)
    assert same(cold, fit(WARM, data))
    assert same(cold, fit(COLD, data, start=start))
    assert not same(cold, fit(WARM, data, start=start))


def test_what_was_learned_is_kept(data, start):
    """Five epochs from the start beat five from nothing, and the start stays as it is."""
    before = [p.detach().clone() for p in start.module.parameters()]
    weights = np.ones((3, 24))
    warm, short = fit(WARM, data, start=start), fit(replace(COLD, epochs=5), data)
    errors = [training_errors(members, data, weights)[0] for members in (warm, short)]
    assert (errors[0] < 0.7 * errors[1]).all()
    pairs = zip(before, start.module.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not any(p.requires_grad for p in warm.module.parameters())


def test_no_epochs_take_the_members_as_they_are(data, start):
    events = []
    members = fit(replace(COLD, warm=WarmStart(epochs=0)), data, start=start, report=events.append)
    assert same(members, start)
    assert [event.text for event in events] == [
        "members go on from their last weights: 0 epochs instead of 40"
    ]
    assert not any(p.requires_grad for p in members.module.parameters())
    with torch.no_grad():
        members.module.weights[0].fill_(9.0)
    assert not same(members, start)


def test_a_start_that_does_not_fit_is_refused(data, start):
    given = replace(WARM, baseline=Baseline({1: -1.0}))
    single = replace(WARM, network=partial(MLP, 2, width=8, dtype=torch.float32))
    wide = replace(WARM, network=partial(MLP, 2, width=9, dtype=torch.float64))
    for trainer, members, first in (
        (WARM, 2, start),
        (given, 3, start),
        (single, 3, start),
        (wide, 3, start),
        (WARM, 3, Separate([helpers.well_potential()] * 3)),
    ):
        rng = np.random.default_rng(1)
        weights = np.ones((members, 24))
        with pytest.raises(StartRefused, match=r"the start is S.*, expected Stacked\(.*: give"):
            trainer.fit(data, weights, weights == 0, rng, start=first)
        untouched = np.random.default_rng(1).bit_generator.state
        assert rng.bit_generator.state == untouched, "a fit afresh would have other numbers"
    elements = [Stacked(DensityNet(numbers, [1, 2])) for numbers in ([1, 7], [7, 1])]
    trainer = TorchTrainer(network=partial(DensityNet, [1, 7]), epochs=1, warm=WarmStart(epochs=0))
    assert same(fit(trainer, data, members=2, start=elements[0]), elements[0])
    with pytest.raises(StartRefused):
        fit(trainer, data, members=2, start=elements[1])


def test_the_baseline_of_the_start_is_kept(rng):
    geometries = [
        Geometry(positions=g.positions, numbers=[8, 1, 1])
        for g in map(lambda _: helpers.molecule(rng, 3), range(6))
    ]
    labels = [Labels(energy=-400.0 - i, forces=np.zeros((3, 3))) for i in range(6)]
    baseline, dataset = Baseline({1: -10.0, 8: -380.0}), Dataset(geometries, labels)
    first = Stacked(helpers.Blob([1, 2]), baseline)
    for epochs in (0, 2):
        trainer = TorchTrainer(
            network=helpers.Blob, epochs=9, must_learn=False, warm=WarmStart(epochs=epochs)
        )
        assert fit(trainer, dataset, members=2, valid=0, start=first).baseline == baseline


def test_members_that_learned_nothing_are_trained_again_from_scratch(data):
    class Dead(torch.nn.Module):
        """Networks of which those without gain predict nothing."""

        def __init__(self, seeds, gains):
            super().__init__()
            self.inner = MLP(2, seeds, width=8, dtype=torch.float64)
            self.register_buffer("gains", torch.tensor(gains, dtype=torch.float64))

        def forward(self, batch):
            return self.inner(batch) * self.gains[:, None]

    def network(seeds):
        return Dead(seeds, [1.0] * len(seeds))

    events, start = [], Stacked(Dead([1, 2, 3], [1.0, 0.0, 1.0]))
    trainer = replace(WARM, network=network, warm=WarmStart(epochs=30, learning_rate=2e-2))
    members = fit(trainer, data, start=start, report=events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes[1] == "member 1 learned nothing, trained again from another seed"
    numbers = [(event.epoch, event.epochs) for event in epochs_of(events)]
    assert numbers == [(k, 30) for k in range(1, 31)] + [(30 + k, 70) for k in range(1, 41)]
    errors, spread = training_errors(Stacked(members.module.inner), data, np.ones((3, 24)))
    assert errors[1] < 0.8 * spread[1]


def test_members_that_lose_what_they_knew_are_trained_again_from_scratch(data, start):
    warm, events = WarmStart(epochs=2, learning_rate=0.9), []
    members = fit(
        replace(COLD, keep_best=False, warm=warm), data, start=start, report=events.append
    )
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes[1].endswith("learned nothing, trained again from another seed")
    errors, spread = training_errors(members, data, np.ones((3, 24)))
    assert (errors < 0.8 * spread).all()


def test_members_that_only_need_more_epochs_go_on(data):
    """A short fit that moved is no reason to begin afresh, as without a start."""
    short, events = fit(replace(COLD, epochs=1, learning_rate=1e-4), data), []
    warm = replace(COLD, warm=WarmStart(epochs=2, learning_rate=1e-4))
    fit(warm, data, start=short, report=events.append)
    assert [event.epochs for event in epochs_of(events)] == [2, 2]


def test_the_best_epoch_may_be_the_first(data, start):
    """Members that have learned may be best there: with validation labels that they predicted."""
    predicted = start(Batch.of(data))
    labels = [
        label
        if i < 20
        else Labels(energy=float(predicted.energy[0, i]), forces=predicted.forces[0, [i]].numpy())
        for i, label in enumerate(data.labels)
    ]
    events, other = [], Dataset(data.geometries, labels)
    warm = replace(WARM, patience=None, warm=WarmStart(epochs=8, learning_rate=1e-3))
    members = fit(warm, other, members=1, start=start[[0]], report=events.append)
    losses = np.array([event.valid[0] for event in epochs_of(events)])
    assert losses.argmin() == 0
    assert len(events) == 9, "no note but that of the start"
    predicted = members(Batch.of(other[20:]))
    forces = np.concatenate(other[20:].forces)
    loss = (predicted.energy[0].numpy() - other[20:].energies) ** 2
    loss += ((predicted.forces[0].numpy() - forces) ** 2).mean(-1)
    np.testing.assert_allclose(loss.mean(), losses[0], rtol=1e-9)


def test_an_interrupted_warm_fit_ends_like_an_uninterrupted_one(data, start, tmp_path):
    trainer, right = replace(WARM, checkpoint=0.0), fit(WARM, data, start=start)

    def stop(event):
        if isinstance(event, Epoch) and event.epoch == 3:
            raise Stop

    with pytest.raises(Stop):
        fit(trainer, data, start=start, report=stop, scratch=tmp_path)
    # read from disk, as in a run that goes on
    trainer.save(start, tmp_path / "start")
    again, events = trainer.load(tmp_path / "start"), []
    members = fit(trainer, data, start=again, report=events.append, scratch=tmp_path)
    assert [event.epoch for event in epochs_of(events)] == [3, 4, 5]
    assert same(members, right)
    others = start[[1, 0, 2]], Stacked(start.module, Baseline({1: 1.0})), None
    for other in others:
        with pytest.raises(ValueError, match="was made from something else"):
            fit(trainer, data, start=other, scratch=tmp_path)


def test_a_checkpoint_without_a_start_knows_nothing_of_warm_starts(data, tmp_path):
    """So that fits of before there were warm starts go on."""

    def stop(event):
        if isinstance(event, Epoch) and event.epoch == 3:
            raise Stop

    with pytest.raises(Stop):
        fit(replace(COLD, checkpoint=0.0), data, report=stop, scratch=tmp_path)
    assert same(fit(WARM, data, scratch=tmp_path), fit(COLD, data))


RATES = [{"epochs": 2, "learning_rate": rate} for rate in (0.0, np.inf, np.nan)]


@pytest.mark.parametrize("wrong", [{"epochs": -1}, {"epochs": 1.5}, *RATES])
def test_what_a_warm_start_refuses(wrong):
    with pytest.raises(ValueError, match=r"WarmStart\(epochs=.*: give a whole number of epochs"):
        WarmStart(**wrong)
