"""How many force calls a gradient takes, and that it is right where the cell moves, too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones

from agal_toolkit.attack import Autograd, FiniteDifference, HessianVector, TargetError
from agal_toolkit.batch import Batch, Delta
from agal_toolkit.committee import Committee
from agal_toolkit.potentials import DensityNet, Stacked


class Counted:
    """Members that count the structures whose forces were predicted."""

    def __init__(self, members):
        self.members, self.calls, self.device = members, 0, members.device

    def __call__(self, batch, *, graph=False):
        self.calls += len(batch)
        return self.members(batch, graph=graph)

    def __len__(self):
        return len(self.members)


def gradient_of(members, gradient):
    """The gradient of the distance to a target (Cezar 2025, Eq. 8) for eight argon atoms."""
    crystal = bulk("Ar", a=5.3, cubic=True).repeat((2, 1, 1))
    crystal.rattle(0.15, seed=8)
    batch, counted = Batch.of([crystal]), Counted(members)
    delta = Delta(torch.zeros_like(batch.positions), torch.zeros(1, 3, 3, dtype=torch.float64))
    loss = TargetError(0.1, raw=True)(Committee(counted))
    return gradient(Committee(counted), loss, batch, delta)[1], counted.calls


def error(result, exact):
    """The larger relative error of atoms and cell."""
    pairs = (result.shift, exact.shift), (result.strain, exact.strain)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


@pytest.mark.parametrize(
    ("gradient", "calls"),
    [(Autograd(), 1), (HessianVector(), 3), (FiniteDifference(), 3 * 8 + 6 + 1)],
)
def test_calls_are_those_of_the_scheme(gradient, calls):
    """One evaluation and a backward pass; two more along one direction; one more for each
    coordinate and strain (Cezar 2025, Sec. IV A).
    """
    net = DensityNet((18,), range(2)).to(torch.float64).requires_grad_(False)
    result, counted = gradient_of(Stacked(net), gradient)
    assert counted == calls
    assert error(result, gradient_of(Stacked(net), Autograd())[0]) < 1e-4


def test_a_black_box_has_no_backward_pass_and_needs_none():
    changes = np.random.default_rng(0).normal(0, (0.1, 0.02), (2, 2))
    calculators = [
        LennardJones(epsilon=0.0104 * (1 + e), sigma=3.4 * (1 + s), rc=5.5, smooth=True)
        for e, s in changes
    ]
    members = Committee.from_calculators(calculators).members
    exact, _ = gradient_of(members, FiniteDifference(central=True))
    assert error(gradient_of(members, HessianVector())[0], exact) < 1e-5
