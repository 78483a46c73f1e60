"""Aligned distances against scipy's superposition and against brute force over permutations."""

from __future__ import annotations

import itertools

import helpers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from agal_toolkit.analysis.rmsd import AlignedRmsd, rotation
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.selection import Candidate, Deduplicate
from agal_toolkit.settings import to_settings

MIRROR = np.diag([1.0, 1.0, -1.0])
SEEDS = st.integers(0, 10**6)


def scipys(fixed, moving):
    """RMSD by scipy, which superposes with proper rotations only."""
    fixed, moving = fixed - fixed.mean(0), moving - moving.mean(0)
    return Rotation.align_vectors(fixed, moving)[1] / np.sqrt(len(fixed))


def brute(one, other, mirrored=False):
    """The smallest over every permutation that keeps the elements."""
    smallest = np.inf
    for order in map(list, itertools.permutations(range(len(one)))):
        if np.array_equal(other.numbers[order], one.numbers):
            for image in (np.eye(3), MIRROR) if mirrored else (np.eye(3),):
                smallest = min(smallest, scipys(one.positions, other.positions[order] @ image))
    return smallest


def drawn(rng, numbers):
    return Geometry(positions=rng.normal(0, 1.0, (len(numbers), 3)), numbers=numbers)


def placed(rng, geometry, noise=0.0):
    """The same structure elsewhere, turned, its atoms shuffled; every coordinate displaced by N(0,
    noise).
    """
    order = rng.permutation(len(geometry))
    positions = geometry.positions + rng.normal(0, 1, geometry.positions.shape) * noise
    return Geometry(
        positions=positions[order] @ Rotation.random(rng=rng).as_matrix() + rng.normal(0, 5, 3),
        numbers=geometry.numbers[order],
    )


@trials(max_examples=25)
@given(SEEDS, st.integers(3, 7))
def test_without_permutations_it_is_kabschs_distance(seed, n):
    rng = np.random.default_rng(seed)
    one, other = (drawn(rng, [6] * n) for _ in range(2))
    assert AlignedRmsd(permutations=False)(one, other) == pytest.approx(
        scipys(one.positions, other.positions), abs=1e-9
    )
    both = min(
        scipys(one.positions, other.positions), scipys(one.positions, other.positions @ MIRROR)
    )
    assert AlignedRmsd(permutations=False, reflections=True)(one, other) == pytest.approx(
        both, abs=1e-9
    )


@trials(max_examples=8)
@given(SEEDS, st.booleans(), st.sampled_from([[7, 1, 1, 1], [6, 1, 6, 1]]))
def test_over_permutations_it_is_the_smallest(seed, reflections, numbers):
    rng = np.random.default_rng(seed)
    one, other = drawn(rng, numbers), drawn(rng, rng.permutation(numbers))
    assert AlignedRmsd(reflections=reflections)(one, other) == pytest.approx(
        brute(one, other, reflections), abs=1e-9
    )


@trials(max_examples=15)
@given(SEEDS)
def test_a_copy_elsewhere_is_at_no_distance_and_order_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    one, other = drawn(rng, [7, 1, 1, 1]), drawn(rng, [1, 1, 7, 1])
    distance = AlignedRmsd()
    assert distance(one, placed(rng, one)) < 1e-12
    assert distance(one, other) == pytest.approx(distance(other, one), abs=1e-12)
    assert distance(placed(rng, one), placed(rng, other)) == pytest.approx(
        distance(one, other), abs=1e-12
    )


def test_mirror_images_only_where_they_are_wanted(rng):
    one = drawn(rng, [6, 1, 9, 17, 35])
    image = one.moved(one.positions @ MIRROR)
    assert AlignedRmsd()(one, image) > 0.1
    assert AlignedRmsd(reflections=True)(one, image) < 1e-12


def test_too_many_permutations_are_refused_with_a_remedy(rng):
    one = drawn(rng, [6] * 6 + [1] * 8)
    with pytest.raises(
        ValueError, match=r"29030400 permutations, expected at most 5040: use .*Soap"
    ):
        AlignedRmsd()(one, placed(rng, one))
    with pytest.raises(ValueError, match="24 permutations, expected at most 6"):
        AlignedRmsd(exact=6).superpose(*(drawn(rng, [6, 1, 1, 1, 1]) for _ in range(2)))


def test_superposed_atoms_lie_where_they_match(rng):
    one = drawn(rng, [7, 1, 1, 1])
    other = placed(rng, one, noise=0.05)
    onto = AlignedRmsd().superpose(one, other)
    assert np.array_equal(onto.numbers, one.numbers)
    assert np.sqrt(((onto.positions - one.positions) ** 2).sum(1).mean()) == pytest.approx(
        AlignedRmsd()(one, other)
    )
    distances = [
        np.sort(np.linalg.norm(g.positions[:, None] - g.positions, axis=-1).ravel())
        for g in (onto, other)
    ]
    np.testing.assert_allclose(*distances, atol=1e-12)


def test_a_flat_molecule_and_its_turned_self(rng):
    flat = Geometry(
        positions=np.column_stack([rng.normal(size=(4, 2)), np.zeros(4)]), numbers=[7, 1, 1, 1]
    )
    turned = flat.moved(flat.positions @ np.diag([1.0, -1.0, -1.0]))
    assert AlignedRmsd()(flat, turned) < 1e-12


def test_in_two_dimensions_against_every_angle(rng):
    one, other = rng.normal(size=(2, 5, 2))
    one, other = one - one.mean(0), other - other.mean(0)
    angles = np.linspace(0, 2 * np.pi, 4001)
    turned = np.stack(
        [
            np.stack([np.cos(angles), np.sin(angles)], -1),
            np.stack([-np.sin(angles), np.cos(angles)], -1),
        ],
        -2,
    )
    smallest = np.sqrt(((other @ turned - one) ** 2).sum((1, 2)).min() / 5)
    distance = AlignedRmsd(permutations=False)(
        *(Geometry(positions=x, numbers=[6] * 5) for x in (one, other))
    )
    assert distance == pytest.approx(smallest, rel=1e-5)
    assert np.linalg.det(rotation(other, one)) == pytest.approx(1.0)


def test_what_cannot_be_compared(rng):
    one, crystal = drawn(rng, [7, 1, 1, 1]), helpers.crystal(rng, (2, 2, 2))
    assert AlignedRmsd()(one, drawn(rng, [7, 7, 1, 1])) == np.inf
    assert AlignedRmsd()(one, drawn(rng, [7, 1, 1])) == np.inf
    assert AlignedRmsd(permutations=False)(one, one.moved(one.positions)) < 1e-12
    assert (
        AlignedRmsd(permutations=False)(
            one, Geometry(positions=one.positions, numbers=[1, 7, 1, 1])
        )
        == np.inf
    )
    assert AlignedRmsd()(*points([[0.0, 1.0], [3.0, 2.0]])) == 0.0
    with pytest.raises(ValueError, match="periodic structures cannot be superposed"):
        AlignedRmsd()(crystal, crystal)
    with pytest.raises(ValueError, match="the same atoms"):
        AlignedRmsd().superpose(one, drawn(rng, [7, 1, 1]))


def test_deduplication_by_shape(rng):
    one, other = drawn(rng, [7, 1, 1, 1]), drawn(rng, [7, 1, 1, 1])
    candidates = [
        Candidate(g, 0, loss)
        for g, loss in ((one, 2.0), (placed(rng, one, 0.001), 1.0), (other, 0.0))
    ]
    selector = Deduplicate(0.02, distance=AlignedRmsd())
    assert selector(None, None, candidates, rng).tolist() == [False, True, True]
    assert to_settings(selector)["distance"]["reflections"] is False
