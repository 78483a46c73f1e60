"""The criteria of stable trajectories on frames made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from agal_toolkit.analysis.stability import NOT_FINITE, TOO_CLOSE, TOO_FAR, TOO_LOW, Break, Criteria, StableFraction, intact
from agal_toolkit.dynamics import Trajectory

NUMBERS = [1, 7, 1, 1]
CRITERIA = Criteria(ground=-10.0)
KCAL = units.kcal / units.mol


def frames(*sides):
    """Ammonia whose hydrogens form equilateral triangles with these sides."""
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, np.sqrt(0.75), 0.0]])
    return np.array([[side * corners[0], [0.5, 0.3, 0.4], side * corners[1], side * corners[2]] for side in sides])


def found(positions, energies):
    return CRITERIA.first_break(positions, np.array(energies) - 10.0, NUMBERS)


def test_each_criterion_and_the_first_frame():
    fine = [0.0, 0.1, 0.2, 0.3]
    assert found(frames(1.6, 0.81, 2.54, 1.6), fine) is None
    assert found(frames(1.6, 1.6, 0.79, 0.5), fine) == Break(2, TOO_CLOSE, pytest.approx(0.79))
    assert found(frames(1.6, 2.56, 0.79, 1.6), fine) == Break(1, TOO_FAR, pytest.approx(2.56))
    assert found(frames(1.6, 1.6, 1.6, 0.5), [0.0, -1.0, 0.0, 0.0]) == Break(1, TOO_LOW, pytest.approx(-1.0))


def test_the_tolerance_is_a_tenth_of_a_kcal():
    assert found(frames(1.6), [-0.09 * KCAL]) is None
    assert found(frames(1.6), [-0.11 * KCAL]).reason == TOO_LOW
    assert Criteria(ground=0.0, tolerance=0.0).first_break(frames(1.6), [-1e-6], NUMBERS).reason == TOO_LOW


def test_nothing_that_is_no_number_is_stable():
    positions = frames(1.6, 1.6, 1.6)
    assert found(positions, [0.0, np.nan, 0.0]) == Break(1, NOT_FINITE, None)
    positions[1, 1, 0] = np.inf                      # nitrogen's place: no distance between hydrogens shows it
    assert found(positions, [0.0, 0.0, 0.0]).reason == NOT_FINITE
    positions[0, 0] = np.nan
    assert found(positions, [0.0, 0.0, 0.0]).frame == 0


def test_only_hydrogens_count_and_every_pair_of_them():
    positions = frames(1.6)
    positions[0, 1] = positions[0, 0] + 1e-3
    assert found(positions, [0.0]) is None
    for pair in ((0, 2), (0, 3), (2, 3)):
        positions = frames(1.6)
        positions[0, pair[0]] = positions[0, pair[1]] + [0, 0, 0.7]
        assert found(positions, [0.0]).reason == TOO_CLOSE


def test_replicas_are_judged_one_by_one():
    positions = np.stack([frames(1.6, 1.6, 1.6), frames(1.6, 0.7, 1.6), frames(1.6, 1.6, 1.6)], axis=1)
    energies = np.full((3, 3), -9.9)
    energies[2, 2] = -11.0
    breaks = CRITERIA.breaks(Trajectory(np.arange(3.0), positions, energies), NUMBERS)
    assert [b and (b.frame, b.reason) for b in breaks] == [None, (1, TOO_CLOSE), (2, TOO_LOW)]
    assert [len(intact(positions[:, r], b)) for r, b in enumerate(breaks)] == [3, 1, 2]
    assert StableFraction.of(breaks).fraction == pytest.approx(1 / 3)


@trials(max_examples=20)
@given(st.integers(1, 700), st.data())
def test_wilsons_interval(runs, data):
    stable = data.draw(st.integers(0, runs))
    counted = StableFraction.of([None] * stable + [Break(0, TOO_FAR, 3.0)] * (runs - stable))
    p, z = stable / runs, 1.959963984540054
    middle, half = (p + z**2 / (2 * runs)) / (1 + z**2 / runs), z / (1 + z**2 / runs) * np.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2))
    assert (counted.stable, counted.runs) == (stable, runs)
    np.testing.assert_allclose(counted.interval, [middle - half, middle + half], atol=1e-9)


def test_what_is_refused():
    with pytest.raises(ValueError, match="do not belong together"):
        CRITERIA.first_break(frames(1.6, 1.6), [0.0], NUMBERS)
    with pytest.raises(ValueError, match="distances need two"):
        CRITERIA.first_break(frames(1.6), [0.0], [7, 7, 7, 1])
    with pytest.raises(ValueError, match="at least one"):
        StableFraction.of([])
