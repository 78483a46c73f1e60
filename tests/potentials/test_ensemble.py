"""Networks from plain torch modules: they train, attack, and are kept, as ours do."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch
from torch import nn

import agal_toolkit as agal
from agal_toolkit.potentials import Differentiable, Ensemble, Stacked
from agal_toolkit.potentials.protocol import derive


class Mine(nn.Module):
    """Energies of molecules from the distances of their atoms to the centre, with a buffer."""

    def __init__(self, width=6):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
        self.register_buffer("scale", torch.tensor(0.5))
        self.weights = nn.Parameter(torch.randn(1))  # a name that the ensemble uses, too

    def forward(self, batch):
        counts = batch.sum(torch.ones_like(batch.positions[:, 0]))
        centre = torch.stack([batch.sum(x) for x in batch.positions.T], 1) / counts[:, None]
        squares = (batch.positions - centre[batch.owner]).square().sum(-1) * self.scale
        features = torch.stack([squares, batch.numbers.to(squares.dtype)], 1)
        return batch.sum(self.net(features)[:, 0] * self.weights)


def molecules(rng, count):
    geometries = [helpers.molecule(rng, 3 + i % 3) for i in range(count)]
    true = Differentiable(Mine(3).double())
    labels = []
    for geometry in geometries:
        p = true(agal.batch.Batch.of([geometry]))
        labels.append(agal.Labels(energy=float(p.energy[0]), forces=p.forces.numpy()))
    return agal.Dataset(geometries, labels)


def test_members_are_the_modules_with_their_own_weights(rng):
    network = Ensemble(Mine)([3, 4])
    batch = agal.batch.Batch.of([helpers.molecule(rng, 3), helpers.molecule(rng, 4)])
    stacked = Stacked(network)
    prediction = stacked(batch)
    assert len(stacked) == 2
    for m, seed in enumerate((3, 4)):
        torch.manual_seed(seed)
        one = derive(Mine().double(), batch, graph=False)
        torch.testing.assert_close(prediction.energy[m], one.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(prediction.forces[m], one.forces, rtol=1e-12, atol=1e-12)
    second = stacked[[1]](batch)
    torch.testing.assert_close(second.forces[0], prediction.forces[1], rtol=0, atol=0)
    state = torch.random.get_rng_state()
    Ensemble(Mine)([1])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_layers_that_share_a_weight_still_do(rng):
    class Tied(Mine):
        def __init__(self):
            super().__init__(2)
            self.net[0].weight = nn.Parameter(torch.eye(2))
            self.again = nn.Linear(2, 2)
            self.again.weight = self.net[0].weight

        def forward(self, batch):
            return super().forward(batch) + batch.sum(self.again(batch.positions[:, :2])[:, 0])

    network = Ensemble(Tied)([3, 4])
    batch = agal.batch.Batch.of([helpers.molecule(rng, 3)])
    first, second = (
        next(p for n, p in network.named_parameters() if n.endswith(e))
        for e in ("net.0.weight", "weights")
    )
    assert not [n for n, _ in network.named_parameters() if n.endswith("again.weight")]
    assert (first.shape, second.shape) == ((2, 2, 2), (2, 1))
    torch.manual_seed(4)
    one = derive(Tied().double(), batch, graph=False)
    torch.testing.assert_close(Stacked(network)(batch).energy[1], one.energy)


def test_they_train_attack_and_come_back(rng, tmp_path):
    torch.manual_seed(0)
    data, network = molecules(rng, 12), Ensemble(Mine)
    trainer = agal.TorchTrainer(network=network, epochs=150, learning_rate=0.03, batch_size=4)
    weights, valid = agal.Folds(1.0, 0.0)(data, 2, rng)
    committee = agal.Committee(trainer.fit(data, weights, valid, rng))
    spread = np.concatenate(data.forces).std()
    assert committee.errors(data)["forces"].rmse < 0.6 * spread
    paths = []
    for gradient in (agal.Autograd(), agal.HessianVector()):
        attack = agal.Attack(agal.Variance(), agal.Adam(0.01, 4), gradient)
        (adversary,) = attack(committee, data, [data[0]], np.random.default_rng(1))
        paths.append(adversary.geometry.positions)
    np.testing.assert_allclose(*paths, atol=1e-5)
    committee.save(tmp_path / "mine.agal", data)
    with pytest.raises(ValueError, match=r"give load\(path, network="):
        agal.Committee.load(tmp_path / "mine.agal")
    back = agal.Committee.load(tmp_path / "mine.agal", network)
    assert back.digest() == committee.digest()
    assert torch.equal(back.predict(data[0]).forces, committee.predict(data[0]).forces)
    with pytest.raises(ValueError, match="belong to another network"):
        agal.Committee.load(tmp_path / "mine.agal", Ensemble(nn.Identity))


def test_errors_speak_of_the_module(rng):
    class Wrong(Mine):
        def forward(self, batch):
            return super().forward(batch).sum()

    batch = agal.batch.Batch.of([helpers.molecule(rng, 3), helpers.molecule(rng, 4)])
    wrong = r"Wrong returned energies of shape \(\), expected \(2,\): give one for each structure"
    with pytest.raises(ValueError, match=wrong):
        Stacked(Ensemble(Wrong)([0, 1]))(batch)
    with pytest.raises(TypeError, match=r"Ensemble made a function, expected a torch module: give"):
        Ensemble(lambda: molecules)([0])
