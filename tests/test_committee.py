"""Committees: the member axis, subsets, means, and members of any kind."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones

from agal_toolkit.attack import TargetError
from agal_toolkit.batch import Batch
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import points
from agal_toolkit.potentials import (
    Differentiable,
    PotentialCalculator,
    SchNet,
    Separate,
    Stacked,
)
from agal_toolkit.potentials.ase import Guard


def test_members_of_any_kind(rng):
    some = [helpers.molecule(rng)]
    potentials = [Differentiable(helpers.PairEnergy(a)) for a in (1.8, 2.0)]
    one, other = Committee(potentials), Committee(Separate(potentials))
    assert len(one) == len(other) == 2
    assert torch.equal(one(one.batch(some)).forces, other(other.batch(some)).forces)
    assert isinstance(one.members, Separate)
    assert isinstance(helpers.mlp_committee().members, Stacked)
    with pytest.raises(ValueError, match="at least one potential"):
        Committee([])


def test_committees_in_a_list_are_refused_and_joined_member_by_member(rng):
    one, other = helpers.mlp_committee(2).members, helpers.mlp_committee(3).members
    for several in (one, Separate([Differentiable(helpers.PairEnergy())] * 2), Committee(one)):
        with pytest.raises(
            ValueError,
            match=(
                rf"potential 1 is a {type(several).__name__} of 2 members, not one potential: give"
                r" its members one by one, \[Committee\(members"
            ),
        ):
            Committee([helpers.well_potential(), several])
    joined = Committee(
        [Committee(members[[m]]).mean for members in (one, other) for m in range(len(members))]
    )
    batch = joined.batch(points(rng.uniform(-1, 1, (4, 2))))
    said, right = joined(batch), [members(batch) for members in (one, other)]
    torch.testing.assert_close(said.energy, torch.cat([each.energy for each in right]))
    torch.testing.assert_close(said.forces, torch.cat([each.forces for each in right]))


def test_other_members_are_taken_as_they_are(rng):
    class Doubled:
        """Members of somebody else's making."""

        device = torch.device("cpu")

        def __call__(self, batch, *, graph=False):
            return Separate([Differentiable(helpers.PairEnergy())] * 2)(batch, graph=graph)

        def __len__(self):
            return 2

        def __getitem__(self, indices):
            return self

    committee = Committee(Doubled())
    assert len(committee) == 2
    assert committee(committee.batch([helpers.molecule(rng)])).energy.shape == (2, 1)


def test_a_committee_of_calculators():
    committee = Committee.from_calculators([LennardJones(sigma=3.4, epsilon=e) for e in (0.1, 0.2)])
    said = committee.predict([bulk("Ar", cubic=True)])
    torch.testing.assert_close(said.energy[1], 2 * said.energy[0])
    torch.testing.assert_close(said.stress[1], 2 * said.stress[0])
    assert str(committee.device) == "cpu"


def test_the_mean_is_a_potential(rng):
    committee = helpers.mlp_committee()
    batch = committee.batch(points(rng.uniform(-1, 1, (5, 2))))
    said, mean = committee(batch), committee.mean(batch)
    np.testing.assert_allclose(mean.energy.numpy(), said.energy.numpy().mean(0), rtol=1e-13)
    np.testing.assert_allclose(mean.forces.numpy(), said.forces.numpy().mean(0), rtol=1e-13)
    assert committee.mean(batch, graph=True).forces.requires_grad
    assert not mean.forces.requires_grad


def test_a_subset_has_different_members_in_order(rng):
    committee = helpers.mlp_committee(6)
    batch = committee.batch(points(rng.uniform(-1, 1, (3, 2))))
    said = committee(batch).energy
    drawn = set()
    for _ in range(20):
        part = committee.subset(3, rng)(batch).energy
        rows = [
            next(m for m in range(6) if torch.allclose(row, said[m], rtol=1e-12, atol=0))
            for row in part
        ]
        assert rows == sorted(set(rows))
        assert len(rows) == 3
        drawn |= set(rows)
    assert drawn == set(range(6))
    for size in (0, 7):
        with pytest.raises(ValueError, match=f"a subset of {size} members cannot be drawn from 6"):
            committee.subset(size, rng)


def test_chosen_members(rng):
    committee = helpers.mlp_committee(4)
    batch = committee.batch(points(rng.uniform(-1, 1, (3, 2))))
    assert len(committee[[0, 3]]) == 2
    assert len(committee[1]) == 1
    torch.testing.assert_close(
        committee[[3, 0]](batch).energy, committee(batch).energy[[3, 0]], rtol=1e-13, atol=0
    )


def test_a_calibration_stays_with_chosen_members(rng):
    committee, data = helpers.mlp_committee(members=5), helpers.well_data(rng, 30)
    data = helpers.aside(data)
    calibrated = committee.calibrated(data, "linear")
    sigma, errors = (
        committee.predict(list(data)).forces.numpy().std(0, ddof=1),
        committee.predict(list(data)).forces.numpy() - np.concatenate(data.forces),
    )
    assert committee.calibration is None
    assert calibrated.calibration.forces.scale == pytest.approx(
        np.sqrt(np.mean((errors / sigma) ** 2))
    )
    assert calibrated[[0, 3]].calibration is calibrated.calibration
    assert calibrated.subset(2, rng).calibration is calibrated.calibration
    assert "forces by PowerLaw(sigma_cal = " in repr(calibrated)
    with pytest.raises(
        ValueError, match="no structures to calibrate on: give some of them the role 'calibration'"
    ):
        committee.calibrated(data[:0])


def test_a_calibration_on_training_structures_is_told_of(rng):
    committee, data = helpers.mlp_committee(members=5), helpers.well_data(rng, 30)
    mixed = data[:20] + helpers.aside(data[20:])
    with pytest.warns(UserWarning, match="20 of 30 structures have the role 'train'"):
        committee.calibrated(mixed, "linear")


def test_forces_are_calibrated_where_energies_cannot_be(rng):
    """Members that agree on all energies; targets of forces need no law for energies."""
    committee, data = helpers.mlp_committee(members=5), helpers.aside(helpers.well_data(rng, 30))

    class SameEnergy:
        device = committee.device

        def __len__(self):
            return 5

        def __call__(self, batch, *, graph=False):
            prediction = committee(batch, graph=graph)
            return replace(prediction, energy=prediction.energy[:1].expand(5, -1))

    agreeing = Committee(SameEnergy())
    with pytest.raises(ValueError, match="energy: no law, 30 of 30 uncertainties are zero"):
        agreeing.calibrated(data, "linear", quantities=("energy",))
    with pytest.warns(UserWarning, match="energy: no law, 30 of 30 uncertainties are zero"):
        calibrated = agreeing.calibrated(data, "linear")
    only = agreeing.calibrated(data, "linear", quantities=("forces",))
    right = committee.calibrated(data, "linear").calibration.forces
    for one in (calibrated, only):
        assert one.calibration.forces == right
        assert one.calibration.energy is None
    TargetError(0.5)(calibrated)
    with pytest.raises(ValueError, match=r"no law for energy, only for forces: .*30 of 30"):
        TargetError(0.5, "energy")(calibrated)


def test_energies_are_calibrated_where_forces_cannot_be(rng):
    """Members that agree on all forces: targets of energies, raw uncertainties of forces."""
    committee, data = helpers.mlp_committee(members=5), helpers.aside(helpers.well_data(rng, 30))

    class SameForces:
        device = committee.device

        def __len__(self):
            return 5

        def __call__(self, batch, *, graph=False):
            prediction = committee(batch, graph=graph)
            return replace(prediction, forces=prediction.forces[:1].expand(5, -1, -1))

    with pytest.warns(UserWarning, match="forces: no law, 60 of 60 uncertainties are zero"):
        calibrated = Committee(SameForces()).calibrated(data, "linear")
    assert calibrated.force_laws is None
    assert calibrated.calibration.energy == committee.calibrated(data, "linear").calibration.energy
    TargetError(0.5, "energy")(calibrated)
    with pytest.raises(ValueError, match=r"no law for forces, only for energy: .*60 of 60"):
        TargetError(0.5)(calibrated)
    found, promise, _ = calibrated.force_errors(data)
    assert found > 0
    assert np.isnan(promise)
    assert "forces by" not in repr(calibrated)
    assert list(calibrated.coverage(data)) == ["energy"]
    with pytest.raises(ValueError, match="needs a calibrated committee"):
        calibrated.calculator(dimension=2, guard=Guard(0.3, "stop"))


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_predictions_in_chunks_are_one_prediction(chunk, rng):
    committee = helpers.pair_committee()
    some = [helpers.molecule(rng, n) for n in (3, 5, 2, 4, 1)]
    right = committee(Batch.of(some))
    said = committee.predict(some, chunk)
    torch.testing.assert_close(said.energy, right.energy)
    torch.testing.assert_close(said.forces, right.forces)
    assert said.stress.shape == (3, 5, 3, 3)


def test_a_call_holds_so_many_particles_or_one_structure(rng):
    some, held = [helpers.molecule(rng, n) for n in (3, 5, 2, 4, 9, 1, 1)], []

    def potential(batch, *, graph=False):
        held.append(batch.counts.tolist())
        return Differentiable(helpers.PairEnergy())(batch, graph=graph)

    Committee([potential]).predict(some, 8)
    assert held == [[3, 5], [2, 4], [9], [1, 1]]
    held.clear()
    Committee([potential]).predict([helpers.molecule(rng, 300)] * 20)
    assert [len(sizes) for sizes in held] == [13, 7]


def test_predictions_are_double_precision_whatever_the_members(rng):
    assert (
        helpers.mlp_committee(dtype=torch.float32).predict(points([[0.0, 0.0]])).forces.dtype
        == torch.float64
    )


def test_the_percentile_of_component_variances(rng):
    committee = helpers.mlp_committee(4)
    some = points(rng.uniform(-1, 1, (30, 2)))
    forces = committee.predict(some).forces.numpy()
    assert committee.component_percentile(some, 80) == pytest.approx(
        np.percentile(forces.var(0, ddof=1), 80), rel=1e-12
    )


def test_the_repr_counts_members():
    assert repr(helpers.mlp_committee(3)).startswith("Committee of 3: Stacked(3 x MLP(2 - 16")


def test_what_a_person_gives_first_works_or_names_the_remedy(rng):
    atoms = bulk("Ar", cubic=True)
    atoms.rattle(0.1, rng=rng)
    committee = Committee(LennardJones(sigma=3.4, epsilon=e) for e in (0.1, 0.2))
    said = committee.predict(atoms)
    assert said.energy.shape == (2, 1)
    atoms.calc = PotentialCalculator(committee)
    assert atoms.get_potential_energy() == pytest.approx(float(said.energy.mean()))
    np.testing.assert_allclose(atoms.get_forces(), said.forces.mean(0).numpy())
    with pytest.raises(TypeError, match=r"not with a Atoms: call committee\.predict"):
        committee(atoms)
    net = SchNet(["H", "C"], [0, 1], features=4, filters=4)
    assert torch.equal(net.embedding, SchNet([1, 6], [0, 1], features=4, filters=4).embedding)
    with pytest.raises(ValueError, match=r"elements \['Hx'\] do not exist"):
        SchNet(["Hx"], [0])
    with pytest.raises(TypeError, match=r"potential 0 is the module SchNet.*Stacked\(module\)"):
        Committee([net])
    with pytest.raises(TypeError, match=r"module SchNet, which gives energies only: give Stacked"):
        Committee(net)
    with pytest.raises(TypeError, match="potential 0 is a str, expected a callable"):
        Committee(["a"])
