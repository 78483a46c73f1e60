"""SchNet learns energies, forces and stress."""

from __future__ import annotations

from functools import partial

import helpers
import numpy as np
import torch

from agal_toolkit.batch import Batch
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Epoch
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.potentials import Differentiable, SchNet
from agal_toolkit.training.trainer import TorchTrainer


class Heard(list):
    def __call__(self, event):
        if isinstance(event, Epoch):
            self.append(event)


def fitted(geometries, labels, **changes):
    data, events = Dataset(geometries, labels), Heard()
    settings = {"epochs": 25, "learning_rate": 5e-3, "batch_size": 5, **changes}
    trainer = TorchTrainer(
        network=partial(
            SchNet, [1, 6], features=12, filters=12, interactions=2, gaussians=8, cutoff=3.5
        ),
        **settings,
    )
    weights = np.ones((2, len(data)))
    members = trainer.fit(
        data, weights, np.zeros_like(weights, dtype=bool), np.random.default_rng(0), events
    )
    return trainer, members, [event.train.mean() for event in events], data


def pair_labels(geometry: Geometry) -> Labels:
    prediction = Differentiable(helpers.PairEnergy(cutoff=2.8))(Batch.of([geometry]))
    stress = prediction.stress[0].numpy() if geometry.pbc.all() else None
    return Labels(
        energy=float(prediction.energy) - 100.0 * len(geometry),
        forces=prediction.forces.numpy(),
        stress=stress,
    )


def test_a_fit_to_molecules_lowers_the_loss(rng, tmp_path):
    shape = helpers.molecule(rng, 4).positions * 1.3
    geometries = [
        Geometry(positions=shape + rng.normal(0, 0.1, shape.shape), numbers=[6, 1, 6, 1])
        for _ in range(15)
    ]
    trainer, members, losses, data = fitted(geometries, [pair_labels(g) for g in geometries])
    assert losses[-1] < 0.2 * losses[0]
    prediction = members(Batch.of(data))
    assert "Baseline(H -100" in repr(members)
    assert abs(float(prediction.energy.mean()) + 400) < 5
    trainer.save(members, tmp_path)
    again = trainer.load(tmp_path)
    assert torch.equal(again(Batch.of(data)).forces, prediction.forces)


def test_a_fit_with_stress_learns_it(rng):
    geometries = []
    for _ in range(6):
        solid, stretch = (
            helpers.crystal(rng, (3, 3, 3), 2.1),
            np.eye(3) + rng.normal(0, 0.03, (3, 3)),
        )
        geometries.append(
            Geometry(
                positions=solid.positions @ stretch,
                numbers=solid.numbers,
                cell=solid.cell @ stretch,
                pbc=True,
            )
        )
    geometries += [
        helpers.molecule(rng, 3).moved(np.eye(3) * 1.8 + rng.normal(0, 0.1, (3, 3)))
        for _ in range(3)
    ]
    labels = [pair_labels(g) for g in geometries]
    _, members, losses, data = fitted(
        geometries, labels, energy_weight=1e-3, stress_weight=1e4, epochs=25, batch_size=3
    )
    assert losses[-1] < 0.1 * losses[0]
    stress = np.stack([label.stress for label in labels[:6]])
    error = members(Batch.of(data)).stress[:, :6].numpy() - stress
    assert np.sqrt((error**2).mean()) < 0.2 * np.sqrt((stress**2).mean())


def test_energies_alone_can_be_fitted(rng):
    geometries = [helpers.molecule(rng, 4) for _ in range(10)]
    _, _, losses, _ = fitted(
        geometries,
        [
            Labels(energy=len(g) * 0.1 + float(g.positions[0, 0]), forces=np.zeros((4, 3)))
            for g in geometries
        ],
        forces_weight=0.0,
    )
    assert losses[-1] < losses[0]
