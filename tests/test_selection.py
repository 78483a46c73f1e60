"""What each selector keeps, against what it promises."""

from __future__ import annotations

from dataclasses import dataclass

import helpers
import numpy as np
import pytest
from ase.build import bulk, molecule

from agal_toolkit import selection
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.loop.stages import select
from agal_toolkit.selection import (
    AtMost,
    Candidate,
    Deduplicate,
    MaxForce,
    MinDistance,
    MostUncertain,
    UncertaintyPercentile,
    VariancePercentile,
    euclidean,
)


def candidates(positions, losses=None):
    losses = np.full(len(positions), np.nan) if losses is None else losses
    return [
        Candidate(g, i, loss)
        for i, (g, loss) in enumerate(zip(points(positions), losses, strict=True))
    ]


def test_uncertainty_must_reach_the_percentile_in_every_component(rng):
    committee, data = helpers.mlp_committee(4), helpers.well_data(rng, 40)
    some = candidates(rng.uniform(-2.5, 2.5, (60, 2)))
    keep = UncertaintyPercentile(60)(committee, data, some, rng)
    variance = committee.predict([c.geometry for c in some]).forces.numpy().var(0, ddof=1)
    threshold = np.percentile(committee.predict(data.geometries).forces.numpy().var(0, ddof=1), 60)
    np.testing.assert_array_equal(keep, (variance >= threshold).all(1))
    assert 0 < keep.sum() < (variance >= threshold).any(1).sum()


def test_uncertainty_of_molecules_of_different_sizes(rng):
    committee = helpers.pair_committee()
    data_geometries = [helpers.molecule(rng, 4) for _ in range(5)]
    data = type(helpers.well_data(rng, 1))(data_geometries, [_zero(g) for g in data_geometries])
    some = [Candidate(helpers.molecule(rng, n), n, 0.0) for n in (2, 6, 3)] + [
        Candidate(Geometry(positions=np.diag([90.0, 90.0, 90.0]), numbers=[6] * 3), 9, 0.0)
    ]
    keep = UncertaintyPercentile(0)(committee, data, some, rng)
    lowest = component_minimum(committee, data)
    assert keep.tolist() == [component_minimum(committee, [c.geometry]) >= lowest for c in some]
    assert not UncertaintyPercentile(50)(committee, data, some, rng)[3]


def _zero(geometry):
    from agal_toolkit.geometry import Labels

    return Labels(energy=0.0, forces=np.zeros(geometry.positions.shape))


def component_minimum(committee, geometries):
    return committee.predict(list(geometries)).forces.numpy().var(0, ddof=1).min()


def test_a_fifth_of_ammonia_passes_the_percentile_of_a_geometry(rng):
    """Of structures like the training data, and those by numpy's mean of the variances."""
    start, committee = helpers.ammonia(), helpers.schnet_committee(4)

    def rattled(count):
        return [start.moved(start.positions + rng.normal(0, 0.05, (4, 3))) for _ in range(count)]

    known, some = rattled(80), [Candidate(g, i, 0.0) for i, g in enumerate(rattled(50))]
    training = Dataset(known, [_zero(g) for g in known], ["train"] * 40 + ["calibration"] * 40)

    def variances(geometries):
        forces = [committee.predict([g]).forces.numpy() for g in geometries]
        return np.array([f.var(0, ddof=1).mean() for f in forces])

    keep = VariancePercentile(80)(committee, training, some, rng)
    right = variances([c.geometry for c in some]) >= np.percentile(variances(known[:40]), 80)
    np.testing.assert_array_equal(keep, right)
    assert 0.1 <= keep.mean() <= 0.35
    assert not UncertaintyPercentile(80)(committee, training, some, rng).any()


@pytest.mark.parametrize("rule", [UncertaintyPercentile, VariancePercentile])
def test_what_a_percentile_may_be(rule):
    for wrong in (-1, 101):
        with pytest.raises(ValueError, match=f"percentile is {wrong}, expected 0 to 100"):
            rule(wrong)


def test_each_cluster_keeps_its_lowest_loss(rng):
    chain = [[0.0, 0.0], [0.0, 0.09], [0.0, 0.18], [1.0, 0.0], [1.0, 0.05], [3.0, 0.0]]
    keep = Deduplicate(0.1)(None, None, candidates(chain, [-1.0, -3.0, -2.0, 0.5, 0.4, 7.0]), rng)
    assert keep.tolist() == [False, True, False, False, True, True]
    assert Deduplicate(0.01)(None, None, candidates(chain), rng).all()
    assert Deduplicate(10.0)(None, None, candidates(chain), rng).tolist() == [True] + [False] * 5


@pytest.mark.parametrize("count", [0, 1])
def test_few_candidates_are_not_clustered(count, rng):
    assert (
        Deduplicate(1.0)(None, None, candidates(np.zeros((count, 2))), rng).tolist()
        == [True] * count
    )


def test_different_compositions_never_share_a_cluster(rng):
    one, other = (Geometry(positions=np.zeros((1, 3)), numbers=[z]) for z in (1, 2))
    assert euclidean(one, other) == np.inf
    keep = Deduplicate(1e6)(
        None, None, [Candidate(one, 0, 0.0), Candidate(other, 1, 0.0), Candidate(one, 2, -1.0)], rng
    )
    assert keep.tolist() == [False, True, True]


def test_the_distance_is_exchangeable(rng):
    def along_x(one, other):
        return abs(one.positions[0, 0] - other.positions[0, 0])

    keep = Deduplicate(0.1, along_x)(
        None, None, candidates([[0.0, 0.0], [0.0, 5.0], [1.0, 0.0]]), rng
    )
    assert keep.tolist() == [True, False, True]


def test_a_loss_that_is_no_number_or_infinite_is_last_but_does_no_harm(rng):
    together = [[0.0, 0.0], [0.0, 0.01]]
    assert Deduplicate(0.1)(None, None, candidates(together, [np.inf, -1.0]), rng).tolist() == [
        False,
        True,
    ]
    assert Deduplicate(0.1)(None, None, candidates(together, [np.nan, -1.0]), rng).tolist() == [
        False,
        True,
    ]


def test_the_largest_mean_force(rng):
    committee = helpers.pair_committee()
    some = [Candidate(helpers.molecule(rng, n), n, 0.0) for n in (2, 5, 3, 4)]
    forces = [
        np.linalg.norm(committee.predict([c.geometry]).forces.numpy().mean(0), axis=1).max()
        for c in some
    ]
    limit = float(np.median(forces))
    np.testing.assert_array_equal(
        MaxForce(limit)(committee, None, some, rng), np.array(forces) <= limit
    )


def test_the_most_uncertain(rng, monkeypatch):
    committee = helpers.pair_committee()
    some = [Candidate(helpers.molecule(rng, n), n, 0.0) for n in (2, 5, 3, 4, 6)]
    predictions = [committee.predict([c.geometry]).forces.numpy() for c in some]
    variances = np.array([forces.var(axis=0, ddof=1).mean() for forces in predictions])
    kept = MostUncertain(2)(committee, None, some, rng)
    assert set(np.flatnonzero(kept)) == set(np.argsort(variances)[-2:])
    assert MostUncertain(9)(committee, None, some, rng).all()
    # a committee cannot judge a structure at which a member overflows
    with monkeypatch.context() as patch:
        patch.setattr(selection, "_variances", lambda *_: np.array([1.0, np.inf, np.nan, 3.0, 2.0]))
        kept = MostUncertain(2)(committee, None, some, rng)
        assert kept.tolist() == [False, False, False, True, True]
    with pytest.raises(ValueError, match=r"MostUncertain\(0\) would keep nothing"):
        MostUncertain(0)


def test_close_pairs_and_periodic_images(rng):
    pair = Geometry(
        positions=[[0.1, 0.0, 0.0], [4.8, 0.0, 0.0]], numbers=[1, 1], cell=np.eye(3) * 5, pbc=True
    )
    opened = Geometry(positions=pair.positions, numbers=[1, 1])
    alone = points([[0.0, 0.0]])[0]
    water = Geometry.from_ase(molecule("H2O"))
    some = [Candidate(g, 0, 0.0) for g in (pair, opened, alone, water)]
    assert MinDistance(0.5)(None, None, some, rng).tolist() == [False, True, True, True]
    assert MinDistance(1.2)(None, None, some, rng).tolist() == [False, True, True, False]


def test_at_most(rng):
    some = candidates(rng.normal(size=(10, 2)))
    kept = np.array([AtMost(3)(None, None, some, rng) for _ in range(60)])
    assert (kept.sum(1) == 3).all()
    assert kept.any(0).all()
    assert AtMost(99)(None, None, some, rng).all()
    with pytest.raises(ValueError, match=r"AtMost\(0\) would keep nothing: give a positive number"):
        AtMost(0)


def test_an_atom_near_its_own_image_is_too_close():
    from agal_toolkit.geometry import Geometry
    from agal_toolkit.selection import Candidate, MinDistance

    cube = Geometry(positions=[[0.0, 0.0, 0.0]], numbers=[6], cell=0.3 * np.eye(3), pbc=True)
    assert MinDistance(1.0)(None, None, [Candidate(cube, 0, 0.0)], None).tolist() == [False]
    assert MinDistance(0.2)(None, None, [Candidate(cube, 0, 0.0)], None).tolist() == [True]


def test_structures_that_differ_in_more_than_positions_are_no_duplicates():
    """Cells, charges and multiplicities count; whole cell vectors do not."""
    copper, water = bulk("Cu").cell.array, molecule("H2O")
    crystals = [
        Geometry(positions=[[0, 0, 0]], numbers=[29], cell=scale * copper, pbc=True)
        for scale in (0.92, 1.0, 1.08)
    ]
    fields = {"positions": water.positions, "numbers": water.numbers}
    ions = [Geometry(**fields, charge=q, multiplicity=1 + abs(q)) for q in (-1, 0, 1)]
    triplet = [Geometry(**fields), Geometry(**fields, multiplicity=3)]
    for group in (crystals, ions, triplet):
        candidates = [Candidate(geometry, i, 0.0) for i, geometry in enumerate(group)]
        assert Deduplicate(0.02)(None, None, candidates, None).all()
    moved = crystals[1].moved(crystals[1].positions + copper[0] - copper[2])
    assert euclidean(crystals[1], moved) < 1e-12
    assert euclidean(crystals[1], crystals[2]) == pytest.approx(0.08 * np.linalg.norm(copper))


def test_copies_of_labelled_structures_are_dropped_unless_that_is_named(rng):
    """Within the threshold of any labelled structure, at whatever image it is written."""
    crystal = helpers.crystal(rng, (2, 2, 2))
    moved = crystal.moved(crystal.positions + rng.integers(-2, 3, (8, 3)) @ crystal.cell)
    other = crystal.moved(crystal.positions + 0.1)
    known = Dataset([crystal], [_zero(crystal)])
    some = [Candidate(g, i, 0.0) for i, g in enumerate((other, moved, other))]
    assert Deduplicate(0.02)(None, known, some, rng).tolist() == [True, False, False]
    assert Deduplicate(0.02, known=False)(None, known, some, rng).tolist() == [True, True, False]
    assert Deduplicate(0.02)(None, None, some, rng).tolist() == [True, True, False]


def test_the_nearest_image_in_a_skewed_cell():
    """Rounding of fractional coordinates misses it: the right value by search of all images."""
    cell = np.array([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.0, 0.0, 5.0]])
    one, other = (
        Geometry(positions=[x], numbers=[6], cell=cell, pbc=True)
        for x in ([0.0, 0.0, 0.0], [0.45, 0.4, 0.1])
    )
    images = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), -1).reshape(-1, 3) @ cell
    right = np.linalg.norm(other.positions + images, axis=1).min()
    assert euclidean(one, other) == pytest.approx(right)
    assert right < 0.5


def test_a_distance_that_is_not_a_number_is_refused(rng):
    some = candidates([[0.0, 0.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="is NaN: return a number or infinity"):
        Deduplicate(0.1, lambda one, other: np.nan)(None, None, some, rng)


def test_a_molecule_with_and_without_a_box_is_one_structure(rng):
    free = helpers.molecule(rng, 4)
    boxed = Geometry(positions=free.positions, numbers=free.numbers, cell=9 * np.eye(3))
    assert free.digest() == boxed.digest()
    assert euclidean(free, boxed) == 0.0
    periodic = Geometry(positions=free.positions, numbers=free.numbers, cell=np.eye(3), pbc=True)
    assert periodic.digest() != free.digest()


def test_selectors_are_applied_in_their_order_and_see_what_the_loop_gives_them(rng):
    """The first that drops a candidate is its verdict; duplicates are told from all data."""
    seen = {}

    @dataclass(frozen=True)
    class Even:
        name: str

        def __call__(self, committee, dataset, candidates, rng):
            seen[self.name] = len(dataset), [c.seed for c in candidates]
            return np.array([c.seed % 2 == 0 for c in candidates])

    data = helpers.well_data(rng, 6)
    some = [Candidate(data[4], 0, 0.0), *candidates(rng.normal(4, 1, (5, 2)))[1:]]
    chosen = (Even("first"), Deduplicate(0.01), AtMost(1), Even("last"))
    verdicts = select(chosen, None, data[:4], some, np.random.default_rng(0), data)
    assert seen["first"] == (4, [0, 1, 2, 3, 4])
    assert [v == "Even" for v in verdicts] == [False, True, False, True, False]
    assert verdicts[0] == "Deduplicate"
    assert sorted(verdicts[2::2]) == ["AtMost", "kept"]
    assert seen["last"][1] in ([2], [4])
    verdicts = select(chosen[::-1], None, data[:4], some, np.random.default_rng(0), data)
    assert "Deduplicate" not in verdicts[1:]
