"""Fitting: what it learns, what it never sees, and that an interruption leaves no trace."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from functools import partial

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.batch import Batch
from agal_toolkit.dataset import Dataset, chunks
from agal_toolkit.events import Epoch, Note
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import MLP, Baseline, DensityNet, SchNet, Stacked
from agal_toolkit.training import trainer as training
from agal_toolkit.training.trainer import TorchTrainer, TrainingFailed

TRAINER = TorchTrainer(
    network=partial(MLP, 2, width=12, dtype=torch.float64),
    epochs=30,
    learning_rate=5e-3,
    batch_size=8,
)


class Stop(Exception):
    """A listener's way to cancel."""


def split(n, members=3, valid=5):
    """All members train on all but the last `valid` structures."""
    weights, checked = np.ones((members, n)), np.zeros((members, n), dtype=bool)
    if valid:
        weights[:, -valid:], checked[:, -valid:] = 0.0, True
    return weights, checked


def fit(trainer, data, weights, valid, seed=1, **more):
    return trainer.fit(data, weights, valid, np.random.default_rng(seed), **more)


def parameters(members):
    return {name: value.detach().numpy() for name, value in members.module.state_dict().items()}


def same(one, other):
    one, other = parameters(one), parameters(other)
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )


def error(members, data, m=slice(None)):
    """Mean squared error of energies and forces of some members."""
    prediction = members(Batch.of(data))
    energy = (prediction.energy[m].detach().numpy() - data.energies) ** 2
    forces = (prediction.forces[m].detach().numpy() - np.concatenate(data.forces)) ** 2
    return energy.mean() + forces.mean()


def altered(data, index, by=50.0):
    """The data with another label at `index`."""
    labels = list(data.labels)
    labels[index] = Labels(energy=labels[index].energy + by, forces=labels[index].forces - by)
    return Dataset(data.geometries, labels, data.roles)


def test_a_fit_learns(rng):
    data, test = helpers.well_data(rng, 60), helpers.well_data(rng, 40)
    short, long = (fit(replace(TRAINER, epochs=epochs), data, *split(60)) for epochs in (1, 80))
    assert error(long, test) < 0.2 * error(short, test)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fit_is_its_generator(dtype, rng):
    data = helpers.well_data(rng, 25)
    trainer = replace(TRAINER, network=partial(MLP, 2, width=8, dtype=dtype), epochs=4)
    assert same(fit(trainer, data, *split(25)), fit(trainer, data, *split(25)))
    assert not same(fit(trainer, data, *split(25)), fit(trainer, data, *split(25), seed=2))


def test_members_differ(rng):
    data = helpers.well_data(rng, 25)
    prediction = fit(replace(TRAINER, epochs=2), data, *split(25))(Batch.of(data))
    assert (prediction.energy[0] - prediction.energy[1]).abs().max() > 1e-3


def test_epochs_are_reported(rng):
    data, events = helpers.well_data(rng, 25), []
    fit(replace(TRAINER, epochs=6), data, *split(25), report=events.append)
    assert [(e.epoch, e.epochs) for e in events] == [(k, 6) for k in range(1, 7)]
    assert all(isinstance(e, Epoch) for e in events)
    for event in events:
        assert event.train.shape == event.valid.shape == event.learning_rate.shape == (3,)
        assert np.isfinite(event.train).all()
        assert np.isfinite(event.valid).all()
        assert (event.learning_rate == 5e-3).all()
    events.clear()
    fit(replace(TRAINER, epochs=2), data, *split(25, valid=0), report=events.append)
    assert np.isnan(events[-1].valid).all()


def test_the_reported_losses_are_equation_8(rng):
    """With a learning rate near zero an epoch's losses are those of the weights it ends with."""
    data, events = helpers.well_data(rng, 25), []
    trainer = replace(
        TRAINER,
        epochs=1,
        learning_rate=1e-12,
        energy_weight=0.3,
        forces_weight=2.0,
        keep_best=False,
    )
    weights, valid = split(25)
    members = fit(trainer, data, weights, valid, report=events.append)
    prediction = members(Batch.of(data))
    energy = (prediction.energy.detach().numpy() - data.energies) ** 2
    forces = ((prediction.forces.detach().numpy() - np.concatenate(data.forces)) ** 2).mean(-1)
    losses = 0.3 * energy + 2.0 * forces
    np.testing.assert_allclose(events[0].train, losses[:, :20].mean(1), rtol=1e-6)
    np.testing.assert_allclose(events[0].valid, losses[:, 20:].mean(1), rtol=1e-6)


# -- structures that lack labels, and weights of structures


def lacking(data, without):
    """The data without forces at some indices."""
    labels = [
        Labels(energy=y.energy, forces=None if i in without else y.forces)
        for i, y in enumerate(data.labels)
    ]
    return Dataset(data.geometries, labels, data.roles)


def test_structures_without_forces_enter_the_loss_of_energies_only(rng):
    data, events = lacking(helpers.well_data(rng, 25), {1, 2, 21}), []
    trainer = replace(TRAINER, epochs=1, learning_rate=1e-12, forces_weight=2.0, keep_best=False)
    members = fit(trainer, data, *split(25), report=events.append)
    prediction = members(Batch.of(data))
    energy = (prediction.energy.detach().numpy() - data.energies) ** 2
    forces = ((prediction.forces.detach().numpy() - np.concatenate(data.forces)) ** 2).mean(-1)
    assert np.isnan(forces).all(0).nonzero()[0].tolist() == [1, 2, 21]
    losses = energy + 2.0 * np.nan_to_num(forces)
    np.testing.assert_allclose(events[0].train, losses[:, :20].mean(1), rtol=1e-6)
    np.testing.assert_allclose(events[0].valid, losses[:, 20:].mean(1), rtol=1e-6)


def test_structures_of_energies_only_are_learned(rng):
    """Forces of a few structures, energies of many: better than the few alone."""
    whole = helpers.well_data(rng, 40)
    data = lacking(whole, set(range(8, 40)))
    few = split(40, valid=0)[0]
    few[:, 8:] = 0
    trainer = replace(TRAINER, epochs=150, large_force=1e3, learning_rate=1e-2)
    many = fit(trainer, data, *split(40, valid=0))
    only = fit(trainer, data, few, np.zeros_like(few, dtype=bool))
    batch = Batch.of(whole)
    errors = [np.abs(m(batch).energy.numpy() - whole.energies).mean() for m in (many, only)]
    assert errors[0] < 0.5 * errors[1]
    with pytest.warns(UserWarning, match="forces_weight=1, but no structure has forces"):
        fit(replace(trainer, epochs=1), lacking(whole, set(range(40))), *split(40))


def test_weights_of_a_file_multiply_the_loss(rng):
    data, events, given = helpers.well_data(rng, 25), [], rng.uniform(0, 3, 25)
    geometries = [
        replace(g, origin={"info": {"config_weight": w}}) for g, w in zip(data, given, strict=True)
    ]
    weighted = Dataset(geometries, data.labels)
    trainer = replace(TRAINER, epochs=1, learning_rate=1e-12, keep_best=False)
    members = fit(trainer, weighted, *split(25), report=events.append)
    prediction = members(Batch.of(data))
    energy = (prediction.energy.detach().numpy() - data.energies) ** 2
    forces = ((prediction.forces.detach().numpy() - np.concatenate(data.forces)) ** 2).mean(-1)
    losses = given * (energy + forces)
    np.testing.assert_allclose(events[0].train, losses[:, :20].mean(1), rtol=1e-6)
    np.testing.assert_allclose(events[0].valid, losses[:, 20:].mean(1), rtol=1e-6)


def told(trainer, data, words):
    """Fit one epoch and return how often the words came as a warning and as a note."""
    events = []
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        fit(replace(trainer, epochs=1), data, *split(len(data)), report=events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    return (
        sum(words in str(warning.message) for warning in heard),
        sum(words in note for note in notes),
    )


def test_a_stress_weight_without_a_stress_is_told(rng):
    data = helpers.well_data(rng, 12)
    assert told(replace(TRAINER, stress_weight=1.0), data, "the same as with stress_weight=0") == (
        1,
        1,
    )
    assert told(TRAINER, data, "stress") == (0, 0)


def test_charges_that_no_network_sees_are_told(rng):
    data = helpers.well_data(rng, 12)
    ions = [replace(g, charge=i % 2, multiplicity=1 + i % 2) for i, g in enumerate(data)]
    words = "(charge, multiplicity) [(0, 1), (1, 2)], which MLP, SchNet and DensityNet cannot tell"
    assert told(TRAINER, Dataset(ions, data.labels), words) == (1, 1)


def test_copies_of_calibration_structures_are_told(rng):
    data = helpers.well_data(rng, 12)
    roles = ["train"] * 11 + ["calibration"]
    twice = Dataset([*data.geometries[:11], data.geometries[4]], data.labels, roles)
    words = "1 structures, the first of them 4, are learned from and put aside"
    events = []
    weights, valid = split(12, valid=2)
    weights[:, 11], valid[:, 11] = 0, False
    with pytest.warns(UserWarning, match=words):
        fit(replace(TRAINER, epochs=1), twice, weights, valid, report=events.append)


# -- weights


def test_what_has_no_weight_is_never_seen(rng):
    data = helpers.well_data(rng, 30)
    weights, valid = split(30)
    weights[:, 3] = 0.0
    weights[0, 7] = 0.0
    base = fit(TRAINER, data, weights, valid)
    assert same(base, fit(TRAINER, altered(data, 3), weights, valid))
    one = fit(TRAINER, altered(data, 7), weights, valid)
    assert same(base[[0]], one[[0]])
    assert not same(base[[1]], one[[1]])


def test_validation_data_choose_but_do_not_teach(rng):
    data = helpers.well_data(rng, 30)
    trainer = replace(TRAINER, patience=None, keep_best=False)
    assert same(fit(trainer, data, *split(30)), fit(trainer, altered(data, 28), *split(30)))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_members_do_not_teach_each_other(optimizer, rng):
    trainer = replace(TRAINER, optimizer=optimizer)
    data = helpers.well_data(rng, 30)
    weights, valid = split(30)
    other = altered(data, 4)
    weights[1, 4] = 0.0
    one, two = fit(trainer, data, weights, valid), fit(trainer, other, weights, valid)
    assert same(one[[1]], two[[1]])
    assert not same(one[[0]], two[[0]])


def test_a_weight_of_four_is_four_visits(rng):
    """One batch holds the epoch, so the order of visits does not matter."""
    data = helpers.well_data(rng, 12)
    trainer = replace(TRAINER, batch_size=100, epochs=20, keep_best=False, patience=None)
    weights, valid = split(12, valid=0)
    weights[:, 5] = 4.0
    repeated = data + data[[5, 5, 5]]
    one = fit(trainer, data, weights, valid)
    two = fit(trainer, repeated, *split(15, valid=0))
    for a, b in zip(parameters(one).values(), parameters(two).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_a_members_own_weights_scale_its_losses(rng):
    """Weights that differ between members cannot be visits; an epoch in one batch is then the
    weighted mean of the losses.
    """
    data, events = helpers.well_data(rng, 10), []
    trainer = replace(TRAINER, batch_size=100, epochs=1, learning_rate=1e-12, keep_best=False)
    weights, valid = split(10, members=2, valid=0)
    weights[0, :3], weights[1, 2:5] = [0.0, 2.0, 3.0], [3.0, 0.0, 1.0]
    members = fit(trainer, data, weights, valid, report=events.append)
    prediction = members(Batch.of(data))
    losses = (prediction.energy.detach().numpy() - data.energies) ** 2 + (
        (prediction.forces.detach().numpy() - np.concatenate(data.forces)) ** 2
    ).mean(-1)
    np.testing.assert_allclose(
        events[0].train, (losses * weights).sum(1) / weights.sum(1), rtol=1e-6
    )


# -- what is kept


def noisy(rng):
    """Few data and many epochs: the validation loss has its minimum before the end."""
    return helpers.well_data(rng, 16), replace(
        TRAINER, epochs=60, learning_rate=0.03, batch_size=4, patience=None
    )


def checked(members, data, valid):
    return [error(members, data[valid[m]], slice(m, m + 1)) for m in range(len(members))]


def test_the_best_epoch_is_kept(rng):
    data, trainer = noisy(rng)
    weights, valid = split(16, valid=6)
    events = []
    kept = fit(trainer, data, weights, valid, report=events.append)
    losses = np.array([e.valid for e in events])
    best = losses.argmin(0)
    assert (best < 59).any()
    assert len(set(best)) > 1
    np.testing.assert_allclose(checked(kept, data, valid), losses.min(0), rtol=1e-9)
    last = fit(replace(trainer, keep_best=False), data, weights, valid)
    np.testing.assert_allclose(checked(last, data, valid), losses[-1], rtol=1e-9)


def test_the_learning_rate_falls_for_those_that_wait(rng):
    data, trainer = noisy(rng)
    weights, valid = split(16, valid=6)
    events = []
    fit(replace(trainer, patience=2), data, weights, valid, report=events.append)
    rates = np.array([e.learning_rate for e in events])
    assert (np.diff(rates, axis=0) <= 0).all()
    assert rates[-1].max() < 0.03
    assert np.isin(np.round(np.log2(rates / 0.03), 9) % 1, 0.0).all()
    assert not (rates == rates[:, :1]).all()


def test_without_validation_data_the_training_loss_decides(rng):
    data, trainer = noisy(rng)
    events = []
    fit(replace(trainer, patience=2), data, *split(16, valid=0), report=events.append)
    assert events[-1].learning_rate.max() < 0.03


@dataclass
class Faulty:
    """Networks that say `what` of any five points in the calls counted in `at`; otherwise they are
    in order.
    """

    at: range
    what: float
    calls: int = 0

    def __call__(self, seeds):
        faults = self

        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = MLP(2, seeds, width=8, dtype=torch.float64)

            def forward(self, batch):
                prediction = self.inner(batch)
                faults.calls += len(batch) == 5
                return (
                    prediction + faults.what
                    if len(batch) == 5 and faults.calls in faults.at
                    else prediction
                )

        return Network()


@pytest.mark.parametrize("what", [np.nan, np.inf])
@pytest.mark.parametrize("patience", [None, 3])
def test_a_validation_loss_that_is_no_number_is_no_progress(what, patience, rng):
    """It must not be replaced by the training loss, which may be far smaller than any validation
    loss.
    """
    data = helpers.well_data(rng, 30)
    data = data[
        np.argsort([np.abs(f).max() for f in data.forces])
    ]  # validation on the largest forces
    trainer = replace(TRAINER, epochs=40, batch_size=25, learning_rate=0.01, patience=patience)
    weights, valid = split(30, members=1)
    events = []
    members = fit(
        replace(trainer, network=Faulty(range(3, 4), what)),
        data,
        weights,
        valid,
        report=events.append,
    )
    losses = np.array([e.valid[0] for e in events])
    assert not np.isfinite(losses[2])
    assert np.isfinite(np.delete(losses, 2)).all()
    assert events[2].train[0] < np.nanmin(losses[np.isfinite(losses)])
    members.module.requires_grad_(False)
    np.testing.assert_allclose(
        error(members, data[25:]), losses[np.isfinite(losses)].min(), rtol=1e-9
    )


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_validation_that_never_is_a_number_keeps_no_untrained_weights(what, rng):
    data, trainer = (
        helpers.well_data(rng, 30),
        replace(TRAINER, epochs=4, batch_size=25, network=Faulty(range(10**6), what)),
    )
    with pytest.raises(
        TrainingFailed,
        match=(
            r"no epoch's validation loss of member 0 was finite.*look for wrong validation labels"
            r" or structures, or set keep_best=False"
        ),
    ):
        fit(trainer, data, *split(30))
    fit(replace(trainer, keep_best=False), data, *split(30))


def test_validation_in_chunks_is_the_same_fit(rng, monkeypatch):
    """So that its memory has a bound, however many structures validate."""
    data, seen = helpers.well_data(rng, 40), []

    class Network(MLP):
        def slopes(self, batch):
            seen.append(len(batch))
            return super().slopes(batch)

    trainer = replace(TRAINER, network=partial(Network, 2, width=12, dtype=torch.float64), epochs=5)

    def fitted():
        epochs = []
        members = fit(trainer, data, *split(40, valid=30), report=epochs.append)
        return members, np.array([e.valid for e in epochs])

    whole, losses = fitted()
    assert max(seen) == 30
    seen.clear()
    monkeypatch.setattr(training, "chunks", lambda sizes: chunks(sizes, 13))
    parts, again = fitted()
    assert max(seen) == 13
    np.testing.assert_allclose(again, losses, rtol=1e-12)
    assert same(whole, parts)


# -- interruptions and files


@pytest.mark.parametrize(
    ("at", "dtype", "optimizer"),
    [
        (1, torch.float64, "adam"),
        (6, torch.float64, "adam"),
        (6, torch.float32, "adam"),
        (11, torch.float64, "adam"),
        (6, torch.float32, "muon"),
    ],
)
def test_an_interrupted_fit_ends_bit_for_bit_like_an_uninterrupted_one(
    at, dtype, optimizer, rng, tmp_path
):
    data = helpers.well_data(rng, 30)
    trainer = replace(
        TRAINER,
        network=partial(MLP, 2, width=8, dtype=dtype),
        optimizer=optimizer,
        patience=2,
        epochs=12,
        learning_rate=0.02,
        checkpoint=0.0,
    )
    weights, valid = split(30)
    weights[0, :5], weights[1, 5:9] = 0.0, 2.0
    right = fit(replace(trainer, checkpoint=60.0), data, weights, valid)
    epochs = []

    def listener(event):
        epochs.append(event.epoch)
        if event.epoch == at and epochs.count(at) == 1:
            raise Stop

    with pytest.raises(Stop):
        fit(trainer, data, weights, valid, report=listener, scratch=tmp_path / "scratch")
    members = fit(trainer, data, weights, valid, report=listener, scratch=tmp_path / "scratch")
    assert same(members, right)
    assert epochs == [
        *range(1, at + 1),
        *range(at, 13),
    ]  # the epoch that was reported when it stopped is run again, no other
    assert same(
        fit(trainer, data, weights, valid, scratch=tmp_path / "scratch"), right
    )  # from what is left there


OTHERS = {
    "labels": lambda data, weights, valid: (TRAINER, altered(data, 3, 1e-9), weights, valid),
    "positions": lambda data, weights, valid: (
        TRAINER,
        Dataset([g.moved(g.positions + 1e-9) for g in data], data.labels),
        weights,
        valid,
    ),
    "weights": lambda data, weights, valid: (TRAINER, data, 2 * weights, valid),
    "validation": lambda data, weights, valid: (TRAINER, data, weights, ~valid),
    "learning rate": lambda data, weights, valid: (
        replace(TRAINER, learning_rate=1e-3),
        data,
        weights,
        valid,
    ),
    "optimizer": lambda data, weights, valid: (
        replace(TRAINER, optimizer="muon"),
        data,
        weights,
        valid,
    ),
    "width": lambda data, weights, valid: (
        replace(TRAINER, network=partial(MLP, 2, width=9)),
        data,
        weights,
        valid,
    ),
    "members": lambda data, weights, valid: (TRAINER, data, weights[:2], valid[:2]),
    "random numbers": lambda data, weights, valid: (TRAINER, data, weights, valid),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_checkpoint_of_another_fit_is_refused(name, rng, tmp_path):
    data = helpers.well_data(rng, 20)
    weights, valid = split(20)
    fit(replace(TRAINER, epochs=2, checkpoint=0.0), data, weights, valid, scratch=tmp_path)
    trainer, *other = OTHERS[name](data, weights, valid)
    with pytest.raises(
        ValueError,
        match=(
            rf"{tmp_path / 'fit.npz'} was made from something else .*: delete it, .* a fit of other"
            r" data, weights, settings or random numbers needs a folder of its own"
        ),
    ):
        fit(
            replace(trainer, epochs=2),
            *other,
            seed=2 if name == "random numbers" else 1,
            scratch=tmp_path,
        )
    assert same(
        fit(replace(TRAINER, epochs=2), data, weights, valid, scratch=tmp_path),
        fit(replace(TRAINER, epochs=2), data, weights, valid),
    )


def test_an_old_checkpoint_is_called_old(rng, tmp_path):
    data = helpers.well_data(rng, 20)
    fit(replace(TRAINER, epochs=2, checkpoint=0.0), data, *split(20), scratch=tmp_path)
    with np.load(tmp_path / "fit.npz") as stored:
        arrays = dict(stored)
    del arrays["proof"]
    np.savez(tmp_path / "fit.npz", **arrays)
    with pytest.raises(ValueError, match="of an earlier version"):
        fit(replace(TRAINER, epochs=2), data, *split(20), scratch=tmp_path)


def test_checkpoints_hold_no_pickles(rng, tmp_path):
    data = helpers.well_data(rng, 20)

    def listener(event):
        if event.epoch == 4:
            raise Stop

    with pytest.raises(Stop):
        fit(replace(TRAINER, checkpoint=0.0), data, *split(20), report=listener, scratch=tmp_path)
    files = [file for file in tmp_path.iterdir() if file.is_file()]
    assert files
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays.files)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_members_are_saved_and_loaded_exactly(dtype, rng, tmp_path):
    data = helpers.well_data(rng, 20)
    trainer = replace(TRAINER, network=partial(MLP, 2, width=8, dtype=dtype), epochs=2)
    members = fit(trainer, data, *split(20))
    trainer.save(members, tmp_path / "members")
    again = trainer.load(tmp_path / "members")
    assert same(members, again)
    assert len(again) == 3
    batch = Batch.of(data)
    assert torch.equal(again(batch).forces, members(batch).forces)
    assert again(batch).energy.dtype == dtype


def test_a_baseline_is_saved_with_the_members(tmp_path, rng):
    data = molecules(rng, 10)
    trainer = TorchTrainer(network=helpers.Blob, epochs=2, batch_size=4)
    members = fit(trainer, data, *split(10, members=2, valid=2))
    assert members.baseline.energies
    trainer.save(members, tmp_path)
    assert trainer.load(tmp_path).baseline.energies == members.baseline.energies


def test_parameters_of_another_network_are_refused(rng, tmp_path):
    data = helpers.well_data(rng, 20)
    TRAINER.save(fit(replace(TRAINER, epochs=1), data, *split(20)), tmp_path)
    with pytest.raises(
        ValueError,
        match=rf"the parameters in {tmp_path} belong to another network than MLP\(2 - 99",
    ):
        replace(TRAINER, network=partial(MLP, 2, width=99)).load(tmp_path)


@pytest.mark.parametrize("network", [SchNet, DensityNet])
def test_parameters_for_other_elements_or_cutoffs_are_refused(network, tmp_path):
    """Where shapes are equal, nothing but the description tells."""

    def trainer(elements, **changes):
        return TorchTrainer(network=partial(network, elements, **changes), epochs=1)

    members = Stacked(network([1, 7], [3, 4]))
    trainer([1, 7]).save(members, tmp_path)
    assert same(trainer([1, 7]).load(tmp_path), members)
    for other in (trainer([7, 1]), trainer([1, 8]), trainer([1, 7], cutoff=4.0)):
        with pytest.raises(
            ValueError,
            match=(
                rf"the parameters in {tmp_path} belong to another network than"
                rf" {network.__name__}\(.*: they are those of {network.__name__}\(H, N;.* 5 A\)"
            ),
        ):
            other.load(tmp_path)
    record = json.loads((tmp_path / "members.json").read_text())
    with np.load(tmp_path / "parameters.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if name != "proof"}
    np.savez(tmp_path / "parameters.npz", **arrays)
    old = {name: record[name] for name in ("members", "baseline")}
    (tmp_path / "members.json").write_text(json.dumps(old))
    message = "files of before there was a description and a digest"
    assert same(trainer([1, 7]).load(tmp_path), members), message


def test_trained_members_share_no_memory(rng):
    data = helpers.well_data(rng, 20)
    members = fit(replace(TRAINER, epochs=1), data, *split(20))
    before = parameters(members)["biases.0"].copy()
    with torch.no_grad():
        members.module.weights[0].fill_(9.0)
    np.testing.assert_array_equal(parameters(members)["biases.0"], before)
    assert not any(p.requires_grad for p in members.module.parameters()), (
        "attacks would pay for slopes in the weights"
    )


def test_an_annealed_rate_falls_to_zero_along_half_a_cosine(rng):
    epochs = []
    fit(
        replace(TRAINER, anneal=True, patience=None),
        helpers.well_data(rng, 12),
        *split(12),
        report=epochs.append,
    )
    rates = np.array([epoch.learning_rate for epoch in epochs])
    expected = 5e-3 * (1 + np.cos(np.pi * np.arange(30) / 30)) / 2
    np.testing.assert_allclose(rates, np.repeat(expected[:, None], 3, axis=1))


def test_large_forces_count_relatively(rng):
    """One structure of huge labels no longer decides what the others are worth."""
    data = helpers.well_data(rng, 14)
    wild = data + Dataset(points([[3.0, 0.0]]), [Labels(energy=500.0, forces=[[-900.0, 0.0]])])
    weights, valid = split(15, valid=0)
    trainer = replace(TRAINER, epochs=60, patience=None, keep_best=False)
    plain, relative = (
        fit(replace(trainer, large_force=scale), wild, weights, valid) for scale in (None, 10.0)
    )
    assert error(relative, data) < 0.5 * error(plain, data)
    assert same(
        fit(replace(trainer, large_force=1e12), data, *split(14, valid=0)),
        fit(trainer, data, *split(14, valid=0)),
    )
    with pytest.raises(ValueError, match="large_force is -1"):
        replace(TRAINER, large_force=-1.0)


# -- molecules


def molecules(rng, count):
    """Molecules of 2 to 5 atoms whose labels a small network knows."""
    truth = helpers.Blob([99])
    geometries = [
        Geometry(positions=g.positions, numbers=[8, 1, 1, 1, 1][: len(g)])
        for g in (helpers.molecule(rng, 2 + i % 4) for i in range(count))
    ]
    batch = Batch.of(geometries)
    prediction = Stacked(truth)(batch)
    shift = [-400.0 - 13.6 * (len(g) - 1) for g in geometries]
    return Dataset(
        geometries,
        [
            Labels(energy=float(e) + s, forces=f)
            for e, s, f in zip(
                prediction.energy[0], shift, batch.split(prediction.forces[0]), strict=True
            )
        ],
    )


def test_molecules_of_different_sizes_are_learned(rng):
    data = molecules(rng, 40)
    short, long = (
        fit(
            TorchTrainer(network=helpers.Blob, epochs=epochs, learning_rate=0.02, batch_size=8),
            data,
            *split(40, members=2),
        )
        for epochs in (1, 60)
    )
    batch = Batch.of(data)

    def wrong(members):
        return float(
            (members(batch).forces - torch.tensor(np.concatenate(data.forces))).square().mean()
        )

    assert wrong(long) < 0.3 * wrong(short)
    assert long(batch).energy.dtype == torch.float64
    assert np.abs(long(batch).energy.detach().numpy() - data.energies).max() < 3.0


def test_the_baseline_is_that_of_the_initial_data(rng):
    data = molecules(rng, 12)
    later = Dataset([g.moved(g.positions, generation=1) for g in data], altered(data, 0).labels)
    trainer = TorchTrainer(network=helpers.Blob, epochs=1, batch_size=8)
    weights, valid = split(12, members=2)
    one = fit(trainer, data, weights, valid).baseline
    two = fit(
        trainer,
        data + later,
        np.hstack([weights, np.ones((2, 12))]),
        np.hstack([valid, np.zeros((2, 12), dtype=bool)]),
    ).baseline
    assert one.energies == two.energies
    assert set(one.energies) == {1, 8}
    unseen = fit(
        trainer, altered(data, 11), weights, valid
    ).baseline  # the last five are for validation
    assert unseen.energies == one.energies
    given = Baseline({1: -1.0, 8: -2.0})
    assert fit(replace(trainer, baseline=given), data, *split(12, members=2)).baseline == given


def test_energies_alone_can_be_learned(rng):
    data, events = helpers.well_data(rng, 40), []
    trainer = replace(TRAINER, forces_weight=0.0, epochs=200, learning_rate=0.01)
    members = fit(trainer, data, *split(40), report=events.append)
    assert events[-1].train.max() < 0.3 * events[0].train.min()
    forceless = Dataset(
        data.geometries,
        [Labels(energy=label.energy, forces=label.forces + 7.0) for label in data.labels],
    )
    assert same(members, fit(trainer, forceless, *split(40)))


def test_forces_alone_can_be_learned(rng):
    data, events = helpers.well_data(rng, 40), []
    fit(replace(TRAINER, energy_weight=0.0, epochs=60), data, *split(40), report=events.append)
    assert events[-1].train.max() < 0.5 * events[0].train.min()


# -- what goes wrong


def test_a_member_without_data_is_named(rng):
    weights, valid = split(20)
    weights[1] = 0.0
    with pytest.raises(
        ValueError, match="member 1 has no training data: give it structures of positive weight"
    ):
        fit(TRAINER, helpers.well_data(rng, 20), weights, valid)
    with pytest.raises(
        ValueError, match=r"weights \(3, 20\) and valid \(3, 20\) must both be \(members, 19\)"
    ):
        fit(TRAINER, helpers.well_data(rng, 19), *split(20))


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_no_number_is_named(rng):
    data = helpers.well_data(rng, 20)
    failed = pytest.raises(
        TrainingFailed,
        match=(
            r"the loss of member \d is (nan|inf) in epoch \d+: lower the learning rate \(1e\+200\)"
            r" or look for wrong labels"
        ),
    )
    with pytest.warns(UserWarning, match=r"learning_rate=1e\+200: Adam moves"), failed:
        fit(replace(TRAINER, learning_rate=1e200), data, *split(20))


@pytest.mark.parametrize("patience", [0, -1, 1.5, float("nan")])
def test_a_patience_that_is_no_number_of_epochs(patience):
    with pytest.raises(ValueError, match=r"patience is .*: give a whole number of epochs"):
        replace(TRAINER, patience=patience)


def test_a_patience_that_noise_exhausts_is_told(rng):
    with pytest.warns(UserWarning, match="patience=1: learning rates fall after two epochs"):
        fit(replace(TRAINER, patience=1), helpers.first_data(20), *split(20))


def test_a_learning_rate_that_saturates_the_network_is_told():
    """Its slopes vanish then: it predicts no forces at all."""
    data, events = helpers.first_data(20), []
    trainer = replace(TRAINER, learning_rate=1e3, epochs=10)
    with pytest.warns(UserWarning, match="learning_rate=1000: Adam moves each weight"):
        members = fit(trainer, data, *split(20), report=events.append)
    assert members(Batch.of(data)).forces.abs().max() < 1e-9
    assert [e.text[:18] for e in events if isinstance(e, Note)] == ["learning_rate=1000"]


BAD = [{"epochs": 0}, {"batch_size": 0}, {"batch_size": 1.5}, {"learning_rate": 0.0}]


@pytest.mark.parametrize("wrong", [*BAD, {"learning_rate": float("nan")}])
def test_what_a_trainer_refuses(wrong):
    with pytest.raises(
        ValueError, match=r"epochs=.*, batch_size=.* and learning_rate=.* must be positive"
    ):
        replace(TRAINER, **wrong)


def test_an_optimizer_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match='optimizer is \'Adam\', expected "adam" or "muon"'):
        replace(TRAINER, optimizer="Adam")


def test_a_listener_that_raises_ends_the_fit(rng):
    events = []

    def listener(event):
        events.append(event)
        raise Stop

    with pytest.raises(Stop):
        fit(TRAINER, helpers.well_data(rng, 20), *split(20), report=listener)
    assert len(events) == 1


def test_a_damaged_checkpoint_is_named_with_the_remedy(rng, tmp_path):
    (tmp_path / "fit.npz").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"fit\.npz is damaged .* delete it"):
        fit(replace(TRAINER, epochs=5), helpers.well_data(rng, 20), *split(20), scratch=tmp_path)


def test_labels_of_points_are_what_is_learned():
    """One structure, learned by heart."""
    data = Dataset(points([[0.3, -0.2]]), [Labels(energy=1.5, forces=[[0.5, -0.25]])])
    members = fit(
        replace(TRAINER, epochs=250, learning_rate=0.02), data, *split(1, members=2, valid=0)
    )
    prediction = members(Batch.of(data))
    np.testing.assert_allclose(prediction.energy.detach().numpy(), 1.5, atol=0.02)
    np.testing.assert_allclose(prediction.forces.detach().numpy(), [[[0.5, -0.25]]] * 2, atol=0.02)
