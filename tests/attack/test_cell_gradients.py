"""Slopes in positions and cell together: three gradients against each other, at strained
structures.
"""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.attack import Autograd, Bias, FiniteDifference, HessianVector, TargetError
from agal_toolkit.attack.frame import Frame
from agal_toolkit.batch import Delta
from agal_toolkit.committee import Committee
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.power_law import PowerLaw

CALIBRATION = Calibration(
    PowerLaw(1.3, 0.7), PowerLaw(0.9, 1.2), PowerLaw(1.1, 0.8)
)  # not linear, so no rotation leaves a loss alone
AIMS = [
    TargetError(0.3),
    TargetError(0.05, "energy"),
    TargetError(0.2, "virial"),
    TargetError(
        0.3, bias=[Bias(0.1, "forces"), Bias(20.0, "pressure", 0.01), Bias(0.5, "energy", -0.2)]
    ),
    TargetError(
        0.3, bias=[Bias(0.2, lambda mean, batch: batch.sum(mean.forces.double()[:, 0] ** 2))]
    ),
]
NAMES = ["forces", "energy", "virial", "three wishes", "a wish of one's own"]


def problem(rng, dtype=torch.float64):
    """Two skewed crystals of different sizes, displaced and strained."""
    committee = helpers.pair_committee(3, dtype=dtype)
    committee = Committee(committee.members, CALIBRATION)
    batch = committee.batch([helpers.crystal(rng, (2, 2, 3)), helpers.crystal(rng, (2, 3, 2))])
    strain = torch.tensor(rng.normal(0, 0.03, (2, 3, 3)))
    return (
        committee,
        batch,
        Delta(torch.tensor(rng.normal(0, 0.05, batch.positions.shape)), (strain + strain.mT) / 2),
    )


def differences(found: Delta, right: Delta) -> tuple[float, float]:
    return tuple(
        float((getattr(found, key) - getattr(right, key)).norm() / getattr(right, key).norm())
        for key in ("shift", "strain")
    )


@pytest.mark.parametrize("aim", AIMS, ids=NAMES)
def test_hessian_vector_is_autograd_and_finite_differences(aim, rng):
    committee, batch, delta = problem(rng)
    loss = aim(committee)
    right, slope = Autograd()(committee, loss, batch, delta)
    assert slope.strain.norm() > 0
    assert torch.equal(slope.strain, slope.strain.mT)
    for gradient, limit in (
        (HessianVector(), 1e-5),
        (FiniteDifference(central=True), 1e-4),
        (FiniteDifference(), 1e-3),
    ):
        losses, found = gradient(committee, loss, batch, delta)
        torch.testing.assert_close(losses, right)
        torch.testing.assert_close(found.strain, found.strain.mT)
        assert max(differences(found, slope)) < limit


def test_laws_of_elements_have_slopes(rng):
    """The loss by plain numpy, its slope by all three gradients."""
    committee, _, delta = problem(rng)
    elements = {"H": PowerLaw(0.8, 0.5), "O": PowerLaw(2.0, 1.4)}
    committee = Committee(committee.members, Calibration(PowerLaw(1.3, 0.7), elements=elements))
    crystals = [helpers.crystal(rng, (2, 2, 3)), helpers.crystal(rng, (2, 3, 2))]
    batch = committee.batch([replace(g, numbers=[1, 6, 8, 8] * 3) for g in crystals])
    loss = TargetError(0.3)(committee)
    right, slope = Autograd()(committee, loss, batch, delta)
    forces = committee(delta.apply(batch)).forces.detach().numpy()
    a, b = (np.tile(law, 6)[:, None] for law in ([0.8, 1.3, 2, 2], [0.5, 0.7, 1.4, 1.4]))
    sigma = np.sqrt(((a * forces.std(0, ddof=1) ** b) ** 2).sum(-1))
    np.testing.assert_allclose(right, [((s - 0.3) ** 2).sum() for s in np.split(sigma, 2)])
    for gradient, limit in ((HessianVector(), 1e-5), (FiniteDifference(central=True), 1e-4)):
        _, found = gradient(committee, loss, batch, delta)
        assert max(differences(found, slope)) < limit


@pytest.mark.parametrize(
    ("aim", "limit"),
    [*((aim, 1e-3) for aim in AIMS[:2]), (AIMS[2], 1e-2), (AIMS[3], 1e-3)],
    ids=NAMES[:4],
)
def test_hessian_vector_in_single_precision(aim, limit, rng):
    """A virial is what is left of large terms, which float32 has already rounded."""
    committee, batch, delta = problem(rng)
    _, slope = Autograd()(committee, aim(committee), batch, delta)
    single = Committee(helpers.pair_committee(3, dtype=torch.float32).members, CALIBRATION)
    assert max(differences(HessianVector()(single, aim(single), batch, delta)[1], slope)) < limit


def test_a_virial_has_a_slope_though_the_cell_stays(rng):
    committee, batch, delta = problem(rng)
    loss = TargetError(0.2, "virial")(committee)
    _, slope = Autograd()(committee, loss, batch, Delta(delta.shift))
    _, found = HessianVector()(committee, loss, batch, Delta(delta.shift))
    assert found.strain is None
    assert slope.shift.norm() > 0
    assert float((found.shift - slope.shift).norm() / slope.shift.norm()) < 1e-5


@pytest.mark.parametrize("cell", [False, True])
def test_two_force_calls_for_each_member_whatever_moves(cell, rng):
    counted = helpers.pair_committee(3, counted=True)
    committee = Committee(counted.members, CALIBRATION)
    batch = committee.batch([helpers.crystal(rng, (2, 2, 2))])
    delta = Delta(torch.zeros_like(batch.positions), torch.zeros_like(batch.cell) if cell else None)

    def calls(gradient):
        for member in counted.members.potentials:
            member.calls = 0
        gradient(committee, TargetError(0.3)(committee), batch, delta)
        return {member.calls for member in counted.members.potentials}

    assert calls(HessianVector()) == {1 + 2}
    assert calls(FiniteDifference()) == {1 + 3 * 8 + 6 * cell}  # Cezar 2025, Sec. IV A: 3N + 6


def test_generalised_forces_are_slopes_of_the_energy(rng):
    committee, batch, _ = problem(rng)
    stretch = torch.eye(3, dtype=torch.float64) + torch.tensor(
        rng.normal(0, 0.05, (2, 3, 3))
    )  # with a rotation in it
    shift = torch.tensor(rng.normal(0, 0.05, batch.positions.shape))
    pulls, stretching = Frame(batch, shift, stretch).generalised(
        committee(Frame(batch, shift, stretch).moved())
    )

    def energy(values, name):
        there = Frame(
            batch,
            *(
                torch.tensor(values) if name == key else value
                for key, value in (("shift", shift), ("stretch", stretch))
            ),
        )
        return float(committee(there.moved()).energy[1].sum())

    np.testing.assert_allclose(
        -stretching[1].numpy(),
        helpers.slope(lambda x: energy(x, "stretch"), stretch.numpy()),
        atol=1e-6,
    )
    some = helpers.slope(
        lambda x: energy(np.concatenate([x, shift.numpy()[2:]]), "shift"), shift.numpy()[:2]
    )
    np.testing.assert_allclose(-pulls[1, :2].numpy(), some, atol=1e-6)


def test_predictions_survive_the_way_to_generalised_forces_and_back(rng):
    committee, batch, delta = problem(rng)
    frame = Frame(batch, delta.shift, delta.stretch)
    said = committee(frame.moved())
    back = frame.predicted(said.energy, *frame.generalised(said), said)
    for key in ("energy", "forces", "stress"):
        torch.testing.assert_close(getattr(back, key), getattr(said, key))
