"""Steps of members: Adam's and Muon's, beside those of torch's own optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from agal_toolkit.training.member_adam import MemberAdam, orthogonal


class Layers(nn.Module):
    """Parameters of two members: a matrix of each of three elements, a bias, a last layer."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in (("first", (3, 6, 4)), ("bias", (3, 1, 4)), ("last", (3, 4, 1))):
            values = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
            setattr(self, name, nn.Parameter(values))

    def loss(self):
        return sum(((p - k) ** 2).sum() + (p**4).sum() / 7 for k, p in enumerate(self.parameters()))


def taken(steps, rates, muon):
    """Parameters after steps with a rate for each member."""
    layers = Layers()
    optimizer = MemberAdam(layers, 2, 1.0, None, 0.5, False, muon=muon)
    optimizer.rates = np.array(rates)
    for _ in range(steps):
        optimizer.step(layers.loss())
    optimizer.finish()
    return layers


def torch_taken(steps, rate):
    """The same with torch's optimizers; Muon takes a matrix at a time."""
    layers = Layers()
    matrices = [nn.Parameter(x.clone()) for x in layers.first.detach().flatten(0, 1)]
    adam = torch.optim.Adam([layers.bias, layers.last], lr=rate)
    match = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw", "eps": 1e-30}
    muon = torch.optim.Muon(matrices, lr=rate, momentum=0.95, nesterov=True, **match)
    for _ in range(steps):
        layers.first.data = torch.stack([p.detach() for p in matrices]).view(layers.first.shape)
        layers.zero_grad()
        layers.loss().backward()
        for p, gradient in zip(matrices, layers.first.grad.flatten(0, 1), strict=True):
            p.grad = gradient
        adam.step()
        muon.step()
    layers.first.data = torch.stack([p.detach() for p in matrices]).view(layers.first.shape)
    return layers


@pytest.mark.parametrize("shape", [(5, 8, 8), (2, 3, 4, 9), (7, 3)])
def test_orthogonal_matrices_keep_the_singular_vectors(shape):
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    U, _, V = torch.linalg.svd(matrices, full_matrices=False)
    middle = U.mT @ orthogonal(matrices) @ V.mT
    values = middle.diagonal(dim1=-2, dim2=-1)
    assert (middle - torch.diag_embed(values)).abs().max() < 1e-10
    assert values.min() > 0.6
    assert values.max() < 1.25
    assert orthogonal(torch.zeros(3, 4, 4)).abs().max() == 0


def test_muon_steps_are_torchs():
    """Torch orthogonalises in bfloat16, whose numbers have three digits."""
    ours, theirs, start = taken(30, (0.01, 0.01), True), torch_taken(30, 0.01), Layers()
    assert torch.allclose(ours.bias, theirs.bias, rtol=0, atol=1e-12)
    assert torch.allclose(ours.last, theirs.last, rtol=0, atol=1e-12)
    moved = (ours.first - start.first).square().mean().sqrt()
    assert moved > 0.05
    assert (ours.first - theirs.first).square().mean().sqrt() < 0.02 * moved


def test_muon_steps_follow_the_rate_of_each_member():
    slow, fast, both = (taken(5, rates, True) for rates in ((0.01,) * 2, (0.03,) * 2, (0.01, 0.03)))
    for name, parameter in both.named_parameters():
        assert torch.equal(parameter[0], slow.get_parameter(name)[0])
        assert torch.equal(parameter[1], fast.get_parameter(name)[1])


def test_adam_leaves_no_matrix_to_muon():
    ours, layers = taken(20, (0.01, 0.01), False), Layers()
    adam = torch.optim.Adam(layers.parameters(), lr=0.01)
    for _ in range(20):
        adam.zero_grad()
        layers.loss().backward()
        adam.step()
    for mine, theirs in zip(ours.parameters(), layers.parameters(), strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)
