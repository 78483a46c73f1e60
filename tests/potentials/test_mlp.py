"""The network of coordinates against plain numpy."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.batch import Batch
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.potentials import MLP, Stacked, derive, mlp


def by_hand(module: MLP, m: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies (B,) and forces (B, d) of member m, with the chain rule written out."""
    weights = [w[m].detach().numpy() for w in module.weights]
    biases = [b[m].detach().numpy() for b in module.biases]
    h, inputs = x, []
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        inputs.append(h @ w + b)
        h = np.logaddexp(0, inputs[-1]) - np.log(2)
    energy = (h @ weights[-1] + biases[-1])[:, 0]
    slope = np.broadcast_to(weights[-1][:, 0], h.shape)
    for w, z in zip(weights[-2::-1], inputs[::-1], strict=True):
        slope = (slope / (1 + np.exp(-z))) @ w.T
    return energy, -slope


@pytest.mark.parametrize("layers", [2, 4])
def test_members_are_the_published_network(layers, rng):
    module = MLP(3, [1, 2, 3], width=7, layers=layers, dtype=torch.float64)
    with torch.no_grad():
        for bias in module.biases:
            bias.copy_(torch.tensor(rng.normal(size=bias.shape)))
    batch = Batch.of(points(rng.normal(size=(5, 3))))
    prediction = Stacked(module)(batch)
    for m in range(3):
        energy, forces = by_hand(module, m, batch.positions.numpy())
        np.testing.assert_allclose(prediction.energy[m].numpy(), energy, rtol=1e-12)
        np.testing.assert_allclose(prediction.forces[m].numpy(), forces, rtol=1e-12)


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_slopes_in_weights_and_positions_are_those_of_autograd(layers, rng):
    """The reverse pass that is written down, against torch's through a reverse pass of the plain
    energy.
    """
    module = MLP(3, [1, 2], width=6, layers=layers, dtype=torch.float64)
    x = torch.tensor(rng.normal(size=(2, 5, 3)), requires_grad=True)
    batch = Batch.of(points(np.zeros((5, 3)))).at(x)
    d_energy, d_slope = (
        torch.tensor(rng.normal(size=(2, 5))),
        torch.tensor(rng.normal(size=(2, 5, 3))),
    )
    inputs = [x, *module.parameters()]

    def gradients(energy, slope):
        return torch.autograd.grad((energy * d_energy).sum() + (slope * d_slope).sum(), inputs)

    energy = module(batch)
    (slope,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
    for one, other in zip(
        gradients(*module.slopes(batch)[:2]), gradients(energy, slope), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_rows_evaluated_in_parts_say_the_same(rng, monkeypatch):
    module, batch = (
        MLP(2, [1, 2], width=8, dtype=torch.float64),
        Batch.of(points(rng.normal(size=(11, 2)))),
    )
    whole = derive(module, batch, graph=True, members=2)
    monkeypatch.setattr(mlp, "CACHED", 3)
    parts = derive(module, batch, graph=False, members=2)
    torch.testing.assert_close(
        (parts.energy, parts.forces),
        (whole.energy.detach(), whole.forces.detach()),
        rtol=1e-13,
        atol=1e-13,
    )


def test_weights_are_xavier_and_biases_zero():
    module = MLP(2, [0], width=128)
    assert [tuple(w.shape) for w in module.weights] == [
        (1, 2, 128),
        (1, 128, 128),
        (1, 128, 128),
        (1, 128, 1),
    ]
    for w in module.weights:
        limit = np.sqrt(6 / (w.shape[1] + w.shape[2]))
        assert 0.95 * limit < w.abs().max() <= limit
        assert abs(float(w.detach().mean())) < 0.2 * limit
    assert all(not b.any() for b in module.biases)
    assert not torch.equal(module.weights[1], module.weights[2])


def test_a_members_weights_depend_on_its_seed_only():
    alone, among = MLP(2, [7], width=5), MLP(2, [3, 7, 1], width=5)
    for a, b in zip(alone.weights, among.weights, strict=True):
        assert torch.equal(a[0], b[1])
    assert not torch.equal(among.weights[0][0], among.weights[0][2])


def test_precisions_start_alike():
    single, double = (MLP(2, [4], width=5, dtype=dtype) for dtype in (torch.float32, torch.float64))
    for a, b in zip(single.weights, double.weights, strict=True):
        assert a.dtype == torch.float32
        assert b.dtype == torch.float64
        assert torch.equal(a.double(), b)


def test_what_the_network_refuses(rng):
    with pytest.raises(ValueError, match="layers=1 and width=8: a network has at least two layers"):
        MLP(2, [0], width=8, layers=1)
    with pytest.raises(ValueError, match="single particles in 2 dimensions, the batch has 5"):
        Stacked(MLP(2, [0], width=4))(Batch.of([helpers.molecule(rng)]))
    with pytest.raises(ValueError, match="single particles in 2 dimensions"):
        Stacked(MLP(2, [0], width=4))(
            Batch.of([Geometry(positions=[[0.0, 0.0, 0.0]], numbers=[0])])
        )


def test_the_repr_shows_the_layers():
    assert repr(MLP(2, [0, 1], width=16)) == "MLP(2 - 16 - 16 - 16 - 1)"
    assert (
        repr(Stacked(MLP(2, [0, 1], width=16)))
        == "Stacked(2 x MLP(2 - 16 - 16 - 16 - 1), 609 weights each)"
    )
