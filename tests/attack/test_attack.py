"""Attacks on problems whose answers are known, and the promises of the driver."""

from __future__ import annotations

from dataclasses import dataclass, replace

import helpers
import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones

from agal_toolkit.attack import (
    Adam,
    Attack,
    Autograd,
    Ball,
    BoltzmannVariance,
    FiniteDifference,
    GradientDescent,
    HessianVector,
    NotConservative,
    Variance,
)
from agal_toolkit.batch import Batch, Delta
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Step
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import Differentiable, Separate

KNOWN = Dataset(points([[0.0, 0.0]]), [Labels(energy=0.0, forces=np.zeros((1, 2)))])


@dataclass(frozen=True)
class MeanEnergy:
    """The mean energy of the members: its minimum is where their wells are centred."""

    def __call__(self, committee, dataset):
        return lambda prediction, batch: prediction.energy.mean(0)


def valley(*stiffness):
    """Members whose energy is a valley around x = y = 0.4."""
    return Committee([Differentiable(helpers.Harmonic((k,), 0.4)) for k in stiffness])


def two_hills():
    """The force variance of these two is largest on a ring: E_m = +-exp(-r^2 / 2), var = 2 r^2
    exp(-r^2) / 2, its maximum at r = 1.
    """

    def hill(sign):
        return Differentiable(
            lambda batch: sign * torch.exp(-0.5 * batch.sum(batch.positions.square().sum(-1)))
        )

    return Committee([hill(1.0), hill(-1.0)])


def run(attack, committee, seeds, seed=0, report=None):
    listener = {} if report is None else {"report": report}
    return attack(committee, KNOWN, seeds, np.random.default_rng(seed), **listener)


@pytest.mark.parametrize(
    "gradient", [Autograd(), HessianVector(), FiniteDifference(central=True)], ids=repr
)
@pytest.mark.parametrize(
    "minimizer", [Adam(0.05, 150), GradientDescent(0.5, 300)], ids=["Adam", "GradientDescent"]
)
def test_the_known_maximum_is_found(minimizer, gradient):
    seeds = points([[0.3, 0.2], [-1.4, 0.5], [0.0, -0.6]])
    found = run(Attack(Variance(), minimizer, gradient, start=0.0), two_hills(), seeds)
    for adversary in found:
        assert np.linalg.norm(adversary.geometry.positions) == pytest.approx(1.0, abs=1e-2)
        assert adversary.losses.min() == pytest.approx(-np.exp(-1.0), rel=1e-3)
        assert adversary.losses[0] > adversary.losses.min()
        assert adversary.reached


def test_paths_losses_and_events():
    heard = []
    seeds = [helpers.molecule(np.random.default_rng(1), n) for n in (3, 2)]
    attack = Attack(Variance(), Adam(0.01, 4))
    found = attack(helpers.pair_committee(), KNOWN, seeds, np.random.default_rng(0), heard.append)
    assert [(a.seed, a.path.shape, a.losses.shape) for a in found] == [
        (0, (5, 3, 3), (5,)),
        (1, (5, 2, 3), (5,)),
    ]
    assert all(isinstance(e, Step) for e in heard)
    assert [(e.step, e.steps) for e in heard] == [(k, 4) for k in range(5)]
    for k, event in enumerate(heard):
        np.testing.assert_array_equal(event.positions, np.concatenate([a.path[k] for a in found]))
        np.testing.assert_array_equal(event.losses, [a.losses[k] for a in found])
    for adversary, seed in zip(found, seeds, strict=True):
        np.testing.assert_array_equal(adversary.geometry.positions, adversary.path[adversary.kept])
        assert adversary.losses[adversary.kept] == adversary.losses.min()
        assert adversary.geometry.origin["by"] == "attack"
        assert adversary.geometry.numbers.tolist() == seed.numbers.tolist()


def test_seeds_of_a_batch_do_not_feel_each_other():
    committee, rng = helpers.pair_committee(), np.random.default_rng(3)
    seeds = [helpers.molecule(rng, n) for n in (4, 2, 3)]
    attack = Attack(Variance(), Adam(0.02, 6), start=0.0)
    together = run(attack, committee, seeds)
    for adversary, seed in zip(together, seeds, strict=True):
        alone = run(attack, committee, [seed])[0]
        np.testing.assert_allclose(adversary.path, alone.path, atol=1e-9)


def test_the_start_is_a_normal_displacement():
    seeds = points(np.zeros((2000, 2)))
    found = run(Attack(Variance(), Adam(0.01, 1), start=0.3), two_hills(), seeds)
    start = np.array([a.path[0, 0] for a in found])
    assert start.std() == pytest.approx(0.3, rel=0.05)
    assert abs(start.mean()) < 0.02


# -- minimizers


def test_gradient_descent_takes_the_steps_one_would_by_hand():
    attack = Attack(MeanEnergy(), GradientDescent(0.1, 3), start=0.0)
    path = run(attack, valley(1.0, 3.0), points([[1.4, -0.6]]))[0].path[:, 0]
    x, right = np.array([1.4, -0.6]), []
    for _ in range(4):
        right.append(x)
        x = x - 0.1 * 2.0 * (x - 0.4)  # the mean stiffness is 2
    np.testing.assert_allclose(path, right, rtol=1e-12)


def test_adam_is_torchs_adam():
    start = torch.tensor([[1.3, -0.7], [0.2, 2.0]], dtype=torch.float64)

    def value(x):
        return (torch.sin(3 * x).sum(-1) + x.square().sum(-1)) ** 2

    def evaluate(rows):
        x = rows.clone().requires_grad_()
        losses = value(x)
        return losses.detach(), torch.autograd.grad(losses.sum(), x)[0]

    iterates = [
        rows
        for rows, _ in Adam(0.05, 40, betas=(0.8, 0.99), epsilon=1e-6)(
            evaluate, start, lambda rows: rows, torch.arange(2)
        )
    ]
    x = start.clone().requires_grad_()
    theirs, optimiser = (
        [x.detach().clone()],
        torch.optim.Adam([x], lr=0.05, betas=(0.8, 0.99), eps=1e-6),
    )
    for _ in range(40):
        optimiser.zero_grad()
        value(x).sum().backward()
        optimiser.step()
        theirs.append(x.detach().clone())
    torch.testing.assert_close(torch.stack(iterates), torch.stack(theirs), rtol=1e-10, atol=1e-12)


def test_a_minimizer_can_be_stepped_by_hand():
    attack = Attack(Variance(), Adam(0.05, 5), start=0.0)
    steps = attack.iterate(two_hills(), KNOWN, points([[0.3, 0.2]]), np.random.default_rng(0))
    assert next(steps)[0].tolist() == [[0.3, 0.2]]
    positions, losses = next(steps)
    assert positions.shape == (1, 2)
    assert losses.shape == (1,)
    assert len(list(steps)) == 4


# -- bounds, guards, fixed atoms, subsets


def norms(path, start, p):
    shift = (path - start).reshape(len(path), -1)
    return np.abs(shift).max(1) if p == np.inf else np.linalg.norm(shift, axis=1)


@pytest.mark.parametrize("p", [2, np.inf])
@pytest.mark.parametrize(
    "minimizer", [Adam(0.1, 12), GradientDescent(5.0, 12)], ids=["Adam", "GradientDescent"]
)
def test_every_iterate_is_inside_the_ball(minimizer, p):
    rng = np.random.default_rng(2)
    seeds = [helpers.molecule(rng, n) for n in (4, 1, 3)]
    attack = Attack(Variance(), minimizer, start=0.5, bound=Ball(0.3, p))
    touched = 0
    for adversary, seed in zip(run(attack, helpers.pair_committee(), seeds), seeds, strict=True):
        far = norms(adversary.path, seed.positions, p)
        assert (far <= 0.3 + 1e-9).all()
        touched += bool((far > 0.3 - 1e-9).any())
    assert touched >= 2


@pytest.mark.parametrize("p", [2, np.inf])
def test_the_projection_is_the_nearest_point_of_the_ball(p, rng):
    batch = Batch.of([helpers.molecule(rng, 3), helpers.molecule(rng, 2)])
    shift = torch.tensor(rng.normal(size=(5, 3)))
    shift[3:] *= 1e-3
    projected = Ball(0.5, p)(batch, Delta(shift)).shift
    assert torch.equal(projected[3:], shift[3:])
    right = shift[:3].clamp(-0.5, 0.5) if p == np.inf else shift[:3] * 0.5 / shift[:3].norm()
    torch.testing.assert_close(projected[:3], right)
    assert torch.equal(Ball(0.5, p)(batch, Delta(torch.zeros(5, 3))).shift, torch.zeros(5, 3))


def test_a_ball_has_a_radius_and_a_norm():
    for wrong in ({"radius": 0.0}, {"radius": 1.0, "p": 1}):
        with pytest.raises(ValueError, match="the radius is positive, p is 2 or infinity"):
            Ball(**wrong)


def test_an_iterate_that_breaks_the_guard_is_never_kept():
    def near(batch):
        return batch.largest(batch.positions.norm(dim=-1)) < 0.7

    seeds = points([[0.3, 0.2], [0.0, 0.9]])
    free, guarded = (
        run(Attack(Variance(), Adam(0.02, 60), start=0.0, guard=guard), two_hills(), seeds)
        for guard in (None, near)
    )
    assert np.linalg.norm(free[0].geometry.positions) > 0.9
    assert 0.5 < np.linalg.norm(guarded[0].geometry.positions) < 0.7
    assert guarded[0].reached
    inside = np.linalg.norm(guarded[0].path[:, 0], axis=1) < 0.7
    np.testing.assert_array_equal(np.isfinite(guarded[0].losses), inside)
    np.testing.assert_array_equal(guarded[0].path, free[0].path)
    assert not guarded[1].reached
    assert not np.isfinite(guarded[1].losses).any()
    np.testing.assert_array_equal(guarded[1].geometry.positions, guarded[1].path[0])


@pytest.mark.parametrize(
    "minimizer", [Adam(0.05, 5), GradientDescent(0.5, 5)], ids=["Adam", "GradientDescent"]
)
def test_unmovable_atoms_stay(minimizer):
    rng = np.random.default_rng(5)
    molecule = helpers.molecule(rng, 4)
    seed = Geometry(
        positions=molecule.positions, numbers=molecule.numbers, movable=[False, True, True, False]
    )
    for bound in (None, Ball(0.05)):
        path = run(
            Attack(Variance(), minimizer, start=0.2, bound=bound), helpers.pair_committee(), [seed]
        )[0].path
        moved = np.abs(path - seed.positions).max((0, 2))
        assert (moved > 0).tolist() == [False, True, True, False]


def test_the_best_iterate_is_kept_not_the_last():
    adversary = run(
        Attack(Variance(), GradientDescent(3.0, 10), start=0.0), two_hills(), points([[0.3, 0.2]])
    )[0]
    assert adversary.kept not in (0, 10)
    assert adversary.losses[-1] > adversary.losses.min()
    np.testing.assert_array_equal(
        adversary.geometry.positions, adversary.path[np.argmin(adversary.losses)]
    )


def test_the_last_sound_iterate_is_kept_where_that_is_wanted():
    attack = Attack(Variance(), GradientDescent(3.0, 10), start=0.0, last=True)
    adversary = run(attack, two_hills(), points([[0.3, 0.2]]))[0]
    assert adversary.kept == 10
    assert adversary.losses[10] > adversary.losses.min()
    np.testing.assert_array_equal(adversary.geometry.positions, adversary.path[10])
    guarded = run(
        replace(attack, guard=lambda batch: batch.positions.norm(dim=1) < 0.7),
        two_hills(),
        points([[0.3, 0.2]]),
    )[0]
    assert guarded.reached
    assert 0 <= guarded.kept < 10
    assert np.isinf(guarded.losses[guarded.kept + 1 :]).all()


def test_a_subset_of_members_is_drawn_for_each_attack():
    members = [Differentiable(helpers.Harmonic((k,))) for k in (1.0, 2.0, 4.0, 8.0)]
    attack = Attack(MeanEnergy(), GradientDescent(0.1, 1), start=0.0, members=1)
    drawn = {
        round(float(run(attack, Committee(members), points([[1.0, 0.0]]), seed)[0].losses[0]), 6)
        for seed in range(30)
    }
    assert drawn == {0.5, 1.0, 2.0, 4.0}
    with pytest.raises(ValueError, match="a subset of 5 members cannot be drawn from 4"):
        run(Attack(MeanEnergy(), members=5), Committee(members), points([[1.0, 0.0]]))


def test_no_seeds():
    with pytest.raises(ValueError, match="needs at least one seed"):
        run(Attack(Variance()), two_hills(), [])


# -- what goes wrong


@dataclass(frozen=True)
class Undefined:
    """A loss that is no number right of x = 0.5."""

    def __call__(self, committee, dataset):
        def loss(prediction, batch):
            x = batch.positions[:, 0]
            return prediction.energy.mean(0) * torch.where(x > 0.5, torch.nan, 1.0)

        return loss


@pytest.mark.parametrize("gradient", [Autograd(), HessianVector()], ids=repr)
def test_losses_that_are_no_numbers_survive(gradient):
    seeds = points([[0.9, 0.0], [0.0, 0.0]])
    found = run(Attack(Undefined(), Adam(0.05, 20), gradient, start=0.0), valley(1.0, 1.5), seeds)
    assert not found[0].reached
    assert np.isnan(found[0].losses).all()
    assert found[0].geometry.positions.tolist() == [[0.9, 0.0]]
    assert found[1].reached
    assert np.isfinite(found[1].geometry.positions).all()
    assert found[1].losses[found[1].kept] < found[1].losses[0]


def test_a_committee_of_calculators_is_attacked():
    committee = Committee.from_calculators(
        [LennardJones(epsilon=e, sigma=1.0) for e in (0.8, 1.0, 1.2)]
    )
    seeds = [
        Geometry(positions=[[0.0, 0.0, 0.0], [1.2, 0.0, 0.0], [0.6, 1.0, 0.0]], numbers=[18] * 3)
    ]
    data = Dataset(seeds, [Labels(energy=-2.0, forces=np.zeros((3, 3)))])
    found = Attack(BoltzmannVariance(kT=1.0, log=False), Adam(0.005, 15), HessianVector())(
        committee, data, seeds, np.random.default_rng(0)
    )
    assert found[0].losses[found[0].kept] < 1.05 * found[0].losses[0] < 0


def test_members_that_are_no_slopes_are_refused_before_the_first_step():
    committee = Committee(Separate([helpers.Swirl(0.3), helpers.Swirl(-0.3)]))
    seeds, heard = points([[0.5, 0.2], [1.0, 0.0]]), []
    with pytest.raises(NotConservative, match=r"member \d.*use FiniteDifference\(\)"):
        run(
            Attack(Variance(), Adam(0.01, 3), HessianVector()),
            committee,
            seeds,
            report=heard.append,
        )
    assert not heard
    assert run(Attack(Variance(), Adam(0.01, 3), FiniteDifference()), committee, seeds)[0].reached


def test_a_listener_that_raises_ends_the_attack():
    class Stop(Exception):
        """Enough."""

    heard = []

    def listener(event):
        heard.append(event.step)
        if event.step == 2:
            raise Stop

    with pytest.raises(Stop):
        run(Attack(Variance(), Adam(0.01, 50)), two_hills(), points([[0.3, 0.2]]), report=listener)
    assert heard == [0, 1, 2]


def test_the_same_generator_gives_the_same_adversaries():
    one, other = (
        run(
            Attack(Variance(), Adam(0.02, 5), members=2),
            helpers.mlp_committee(4),
            points([[0.1, 0.1], [0.5, 0.0]]),
            seed=9,
        )
        for _ in range(2)
    )
    assert all(
        a.path.tobytes() == b.path.tobytes() and a.losses.tobytes() == b.losses.tobytes()
        for a, b in zip(one, other, strict=True)
    )
