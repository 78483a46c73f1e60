"""Members that never learn, equal batches, and elements that only some structures have."""

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
from agal_toolkit.potentials import MLP, DensityNet, SchNet
from agal_toolkit.training.learning import training_errors
from agal_toolkit.training.loss import EpochOrder
from agal_toolkit.training.trainer import TorchTrainer, TrainingFailed

TRAINER = TorchTrainer(
    network=partial(MLP, 2, width=12, dtype=torch.float64),
    epochs=40,
    learning_rate=2e-2,
    batch_size=4,
)


class Dead(torch.nn.Module):
    """Networks of which those of the chosen turn, of the first call or of all, predict nothing."""

    def __init__(self, seeds, gains):
        super().__init__()
        self.inner = MLP(2, seeds, width=12, dtype=torch.float64)
        self.register_buffer("gains", torch.tensor(gains, dtype=torch.float64))

    def forward(self, batch):
        return self.inner(batch) * self.gains[:, None]


class Maker:
    """Makes networks; `gains` of the members for each call, the last for all later ones."""

    def __init__(self, *gains):
        self.gains, self.seeds = list(gains), []

    def __call__(self, seeds):
        self.seeds.append(list(seeds))
        gains = self.gains.pop(0) if len(self.gains) > 1 else self.gains[0]
        return Dead(seeds, gains)


def fit(trainer, data, weights=None, valid=None, seed=1, members=3, **more):
    weights = np.ones((members, len(data))) if weights is None else weights
    valid = np.zeros(weights.shape, dtype=bool) if valid is None else valid
    return trainer.fit(data, weights, valid, np.random.default_rng(seed), **more)


# -- equal batches


@pytest.mark.parametrize(("n", "size"), [(36, 35), (71, 35), (5, 2), (4, 35), (70, 35)])
def test_batches_are_equal_and_everything_is_visited_once(n, size):
    order = EpochOrder(np.ones((2, n)), size, np.ones(n))
    batches = order.shuffled(np.random.default_rng(0))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= size
    assert len(batches) == order.steps == -(-n // size)
    assert sorted(np.concatenate(batches)) == list(range(n))


def test_the_ragged_batches_of_before_are_reachable_by_name():
    order = EpochOrder(np.ones((2, 37)), 35, np.ones(37), equal=False)
    batches = order.shuffled(np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [35, 2]
    again = np.random.default_rng(0).permutation(37)
    np.testing.assert_array_equal(np.concatenate(batches), again)


# -- members that do not learn


def test_training_errors_are_root_mean_squares_of_what_a_member_trains_on(rng):
    data = helpers.well_data(rng, 12)
    members = fit(replace(TRAINER, epochs=3), data)
    weights = np.ones((3, 12))
    weights[1, 4:] = 0.0
    errors, spread = training_errors(members, data, weights)
    predicted = members(Batch.of(data)).forces.detach().numpy()
    right = np.concatenate(data.forces)
    for m, kept in enumerate([slice(12), slice(4), slice(12)]):
        expected = np.sqrt(np.mean((predicted[m, kept] - right[kept]) ** 2))
        np.testing.assert_allclose(errors[m], expected)
        np.testing.assert_allclose(spread[m], np.sqrt(right[kept].var(axis=0).mean()))
    errors, spread = training_errors(members, data, np.ones((3, 12)), forces=False)
    energies = members(Batch.of(data)).energy.detach().numpy()
    np.testing.assert_allclose(errors, np.sqrt(np.mean((energies - data.energies) ** 2, 1)))


def test_a_member_that_learned_nothing_is_told_and_trained_again(rng):
    data, events = helpers.well_data(rng, 12), []
    network = Maker([1.0, 0.0, 1.0], [1.0])
    members = fit(replace(TRAINER, network=network), data, report=events.append)
    (note,) = [e for e in events if isinstance(e, Note)]
    assert "member 1 learned nothing, trained again from another seed" in note.text
    assert [len(seeds) for seeds in network.seeds] == [3, 3, 1]  # once more to look at the start
    assert network.seeds[2][0] not in network.seeds[0]
    epochs = [e for e in events if isinstance(e, Epoch)]
    assert [(e.epoch, e.epochs) for e in epochs[39:41]] == [(40, 40), (41, 80)]
    assert np.isnan(epochs[-1].train).tolist() == [True, False, True]
    inner = members.module.inner  # the buffer of gains is the first network's
    errors, spread = training_errors(type(members)(inner), data, np.ones((3, 12)))
    assert (errors < 0.8 * spread).all()


def test_a_member_that_learns_nothing_twice_fails_the_fit_by_name(rng, tmp_path):
    data = helpers.well_data(rng, 12)
    network = Maker([1.0, 0.0, 1.0], [0.0])
    spread = np.sqrt(np.concatenate(data.forces).var(axis=0).mean())
    with pytest.raises(TrainingFailed, match=r"^member 1 did not learn, trained twice") as error:
        fit(replace(TRAINER, network=network), data, scratch=tmp_path)
    assert f"their spread [{spread:.3f}]" in str(error.value)
    assert "must_learn=False keeps them" in str(error.value)
    kept = fit(replace(TRAINER, network=Maker([1.0, 0.0, 1.0]), must_learn=False), data)
    assert (kept(Batch.of(data)).forces[1] == 0).all()


def test_all_members_may_be_trained_again(rng):
    data = helpers.well_data(rng, 12)
    members = fit(replace(TRAINER, network=Maker([0.0] * 3, [0.0] * 3, [1.0] * 3)), data)
    errors, spread = training_errors(type(members)(members.module.inner), data, np.ones((3, 12)))
    assert (errors < 0.8 * spread).all()


def test_an_interrupted_second_training_ends_like_an_uninterrupted_one(rng, tmp_path):
    data = helpers.well_data(rng, 12)

    def fitted(**more):
        network = Maker([1.0, 0.0, 1.0], [1.0])
        return fit(replace(TRAINER, network=network, checkpoint=0.0), data, **more)

    def stop(event):
        if isinstance(event, Epoch) and event.epoch == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(scratch=tmp_path, report=stop)
    assert (tmp_path / "again" / "fit.npz").exists()
    one, other = fitted(scratch=tmp_path), fitted()
    for a, b in zip(one.module.parameters(), other.module.parameters(), strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


@pytest.mark.parametrize("energies", [True, False], ids=["energies", "forces"])
def test_labels_without_a_spread_do_not_fail_a_fit(energies, rng):
    """Isolated atoms have neither forces nor, relative to themselves, energies."""
    hydrogen = Geometry(positions=np.zeros((1, 3)), numbers=[1])
    labels = Labels(energy=-13.0, forces=np.zeros((1, 3)))
    network = partial(SchNet, [1], features=4, interactions=1)
    trainer = TorchTrainer(network=network, epochs=12, forces_weight=0.0 if energies else 1.0)
    fit(trainer, Dataset([hydrogen] * 2, [labels] * 2))


def test_the_first_epoch_is_never_kept_as_if_it_were_trained(rng):
    """Validation labels that are the negative of the truth rise from the first epoch on."""
    data = helpers.well_data(rng, 30)
    labels = [
        label if i < 20 else Labels(energy=-20 * label.energy, forces=-20 * label.forces)
        for i, label in enumerate(data.labels)
    ]
    data, events = Dataset(data.geometries, labels), []
    weights, valid = np.ones((2, 30)), np.zeros((2, 30), dtype=bool)
    weights[:, 20:], valid[:, 20:] = 0.0, True
    trainer = replace(TRAINER, epochs=60, patience=None)
    kept = fit(trainer, data, weights, valid, report=events.append)
    losses = np.array([e.valid for e in events if isinstance(e, Epoch)])
    assert (losses.argmin(0) == 0).all()
    (note,) = [e for e in events if isinstance(e, Note)]
    assert "members 0, 1: the best validation epoch was the first" in note.text
    last = fit(replace(trainer, keep_best=False), data, weights, valid)
    before = fit(replace(trainer, must_learn=False), data, weights, valid)
    first = fit(replace(trainer, must_learn=False, epochs=1), data, weights, valid)
    for a, b in ((kept, last), (before, first)):
        for p, q in zip(a.module.parameters(), b.module.parameters(), strict=True):
            np.testing.assert_array_equal(p.detach(), q.detach())


# -- patience


def test_the_rate_falls_after_patience_epochs_without_progress(rng):
    """Constant validation losses: progress is made once, in the first epoch."""
    data = helpers.well_data(rng, 30)
    weights, valid = np.ones((2, 30)), np.zeros((2, 30), dtype=bool)
    weights[:, 20:], valid[:, 20:] = 0.0, True
    trainer = replace(TRAINER, network=Maker([0.0, 0.0]), epochs=12, patience=3, must_learn=False)
    events = []
    fit(trainer, data, weights, valid, report=events.append)
    rates = [e.learning_rate.tolist() for e in events]
    # after the first epoch four without progress are more than three
    falls = [2e-2] * 4 + [1e-2] * 4 + [5e-3] * 4
    assert rates == [[rate, rate] for rate in falls]


# -- elements


def molecules(extra):
    """Eight H2 and one molecule of hydrogen with `extra`, labelled with a spring."""
    geometries, labels = [], []
    for k, second in enumerate([1] * 8 + [extra]):
        length = 0.7 + 0.03 * k
        positions = np.array([[0.0, 0, 0], [length, 0, 0]])
        force = -10 * (length - 0.75)
        geometries.append(Geometry(positions=positions, numbers=[1, second]))
        forces = np.array([[-force, 0, 0], [force, 0, 0]])
        labels.append(Labels(energy=5 * (length - 0.75) ** 2 - 30.0, forces=forces))
    return Dataset(geometries, labels)


@pytest.mark.parametrize("role", ["left out", "validation"])
def test_a_rare_element_that_nobody_trains_on_does_not_stop_a_fit(role):
    data, events = molecules(extra=15), []
    weights, valid = np.ones((2, 9)), np.zeros((2, 9), dtype=bool)
    weights[:, 6:], valid[:, 6:8] = 0.0, True
    valid[:, 8] = role == "validation"
    network = partial(SchNet, [1, 15], features=4, interactions=1)
    trainer = TorchTrainer(network=network, epochs=4)
    members = fit(trainer, data, weights, valid, report=events.append)
    without = fit(trainer, data[:8], weights[:, :8], valid[:, :8])
    for p, q in zip(members.module.parameters(), without.module.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach(), q.detach())
    notes = [e.text for e in events if isinstance(e, Note)]
    assert len(notes) == (role == "validation")
    if notes:
        assert "HP" in notes[0]
        assert "is no validation structure of members 0, 1" in notes[0]


@pytest.mark.parametrize(
    "network",
    [
        partial(SchNet, [1], features=6, interactions=1),
        partial(DensityNet, [1], radial=4, channels=4, hidden=8),
    ],
    ids=["SchNet", "DensityNet"],
)
def test_every_network_learns_energies_alone(network):
    data = molecules(extra=1)
    trainer = TorchTrainer(network=network, epochs=150, learning_rate=1e-2, forces_weight=0.0)
    members = fit(trainer, data, members=2)
    errors, spread = training_errors(members, data, np.ones((2, 9)), forces=False)
    assert (errors < 0.8 * spread).all()
