"""Fine-tuning of all members on the likelihood of forces and energies."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import helpers
import numpy as np
import pytest
import torch
from scipy.stats import norm

from agal_toolkit.batch import Batch
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Note
from agal_toolkit.files import DamagedFile
from agal_toolkit.geometry import Labels
from agal_toolkit.potentials import MLP, Baseline, Stacked
from agal_toolkit.settings import from_settings, to_settings
from agal_toolkit.training import Likelihood, TorchTrainer
from agal_toolkit.training.likelihood import normal_nll
from agal_toolkit.training.loss import TrainingData

PLAIN = TorchTrainer(
    network=partial(MLP, 2, width=12, dtype=torch.float64),
    epochs=60,
    learning_rate=2e-2,
    batch_size=8,
    must_learn=False,
)
TUNED = replace(PLAIN, likelihood=Likelihood(epochs=8, learning_rate=3e-3))


class Stop(Exception):
    """A listener's way to cancel."""


@pytest.fixture(scope="module")
def data():
    return helpers.first_data(24)


def fit(trainer, data, valid=0, members=4, **more):
    weights, checked = np.ones((members, len(data))), np.zeros((members, len(data)), dtype=bool)
    if valid:
        weights[:, -valid:], checked[:, -valid:] = 0.0, True
    return trainer.fit(data, weights, checked, np.random.default_rng(1), **more)


def nll(members, data, weight=0.1):
    """The mean loss in plain numpy and scipy."""
    said = members(Batch.of(data))
    forces, energy = said.forces.detach().numpy(), said.energy.detach().numpy()
    true = np.concatenate(data.forces)
    of_forces = -norm.logpdf(true, forces.mean(0), forces.std(0, ddof=1)).mean(-1)
    of_energy = -norm.logpdf(data.energies, energy.mean(0), energy.std(0, ddof=1))
    return (of_forces + weight * of_energy).mean()  # each structure is one particle


def parameters(members):
    return torch.cat([p.detach().flatten() for p in members.module.parameters()])


def test_the_loss_is_the_likelihood_of_normal_errors(data):
    members = fit(replace(PLAIN, epochs=3), data)
    tensors = TrainingData.of(data, Baseline(), (1.0, 1.0, 0.0), "cpu")
    losses = Likelihood(epochs=1).losses(members.module, tensors, np.arange(24), graph=False)
    right = nll(Stacked(members.module, Baseline()), data)
    assert float(losses.mean()) == pytest.approx(right, rel=1e-9)


def test_its_slope_is_finite_where_members_agree():
    values = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(normal_nll(values, torch.zeros(2)).sum(), values)
    assert slope.isfinite().all()


def test_members_become_likelier_and_stay_as_good(data):
    before, after = fit(PLAIN, data), fit(TUNED, data)
    assert nll(after, data) < nll(before, data) - 0.05
    true = np.concatenate(data.forces)
    rms = [
        float(np.sqrt(np.mean((m(Batch.of(data)).forces.mean(0).detach().numpy() - true) ** 2)))
        for m in (before, after)
    ]
    assert rms[1] < 1.2 * rms[0]
    assert not any(p.requires_grad for p in after.module.parameters())


def test_structures_that_nobody_learned_from_choose_the_epoch(data):
    """A rate at which every epoch is worse than the members as they were."""
    wild = replace(PLAIN, likelihood=Likelihood(epochs=3, learning_rate=3.0))
    before, after = fit(PLAIN, data, valid=6), fit(wild, data, valid=6)
    assert torch.equal(parameters(before), parameters(after))
    tame = fit(TUNED, data, valid=6)
    assert nll(tame, data[-6:]) <= nll(before, data[-6:])


@pytest.mark.parametrize(("stop", "valid"), [(1, 6), (2, 0), (3, 6)])
def test_an_interrupted_fit_ends_bit_for_bit_like_an_uninterrupted_one(stop, valid, data, tmp_path):
    trainer = replace(TUNED, epochs=5, likelihood=Likelihood(epochs=3, learning_rate=3e-3))
    notes = []

    def listener(event):
        if isinstance(event, Note) and event.text.startswith("likelihood"):
            notes.append(event.text)
            if event.text.startswith(f"likelihood, epoch {stop} of 3"):
                raise Stop

    with pytest.raises(Stop):
        fit(trainer, data, valid, report=listener, scratch=tmp_path)
    assert len(notes) == stop
    events = []
    again = fit(trainer, data, valid, report=events.append, scratch=tmp_path)
    texts = [e.text for e in events if isinstance(e, Note) and e.text.startswith("likelihood")]
    assert len(texts) == 3 - stop
    assert torch.equal(parameters(again), parameters(fit(trainer, data, valid)))


def test_a_checkpoint_of_another_likelihood_is_refused(data, tmp_path):
    one, other = (
        replace(TUNED, epochs=3, likelihood=Likelihood(epochs=1, learning_rate=rate))
        for rate in (1e-3, 2e-3)
    )
    fit(one, data, scratch=tmp_path)
    with pytest.raises(DamagedFile, match=r"likelihood.npz"):
        fit(other, data, scratch=tmp_path)


def test_weights_of_structures_count(data, rng):
    given, notes = rng.uniform(0.1, 3, 24), []
    geometries = [
        replace(g, origin={"info": {"config_weight": w}}) for g, w in zip(data, given, strict=True)
    ]
    still = replace(PLAIN, epochs=2, likelihood=Likelihood(epochs=1, learning_rate=1e-12))
    members = fit(still, Dataset(geometries, data.labels), report=notes.append)
    each = [nll(members, data[[k]]) for k in range(24)]
    assert float(notes[-1].text.split()[-1]) == pytest.approx(given @ each / given.sum(), rel=1e-3)


def test_what_cannot_be_tuned_is_refused(data):
    with pytest.raises(ValueError, match="needs two members"):
        fit(TUNED, data, members=1)
    energies = Dataset(
        list(data), [Labels(energy=label.energy, forces=None) for label in data.labels]
    )
    with pytest.raises(ValueError, match="labelled forces"):
        fit(replace(TUNED, forces_weight=0.0), energies)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"epochs": 2.5}, {"learning_rate": 0.0}, {"energy_weight": -1.0}]
)
def test_settings_that_are_refused(wrong):
    with pytest.raises(ValueError, match="give a whole number of epochs, a positive rate"):
        Likelihood(**{"epochs": 2, **wrong})


def test_it_is_a_setting_that_old_files_lack():
    assert "likelihood" not in to_settings(PLAIN)
    stored = to_settings(TUNED)
    assert from_settings(stored).likelihood == TUNED.likelihood
    old = {key: value for key, value in stored.items() if key != "likelihood"}
    assert from_settings(old).likelihood is None
