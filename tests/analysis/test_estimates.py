"""Bands of committees against numbers by hand, how often they hold, and Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from scipy.stats import t

from agal_toolkit.analysis.estimates import Band, Estimate, Reweighted
from agal_toolkit.analysis.liquids import density
from agal_toolkit.dynamics.run import Frames
from agal_toolkit.geometry import Geometry

T2 = 4.302653  # 97.5 % of Student's t with 2 degrees of freedom (tables)


def three(error=0.1, shared=False) -> Band:
    """Members at 1, 2 and 3: mean 2, S = 1."""
    return Band.of([Estimate(value, error) for value in (1.0, 2.0, 3.0)], shared=shared)


# -- by hand


def test_a_band_is_the_prediction_interval_of_one_more_member():
    band = three()
    assert band.mean == pytest.approx(2)
    assert band.spread == pytest.approx(1)
    assert band.noise == pytest.approx(0.1)
    assert band.margin() == pytest.approx(T2 * np.sqrt(4 / 3), rel=1e-6)
    assert str(band) == "2 +- 5, 95 % band of 3 members"


@pytest.mark.parametrize(
    ("error", "shared", "truth", "variance"),
    [
        (0.1, False, 0.1, 4 / 3),  # the truth's run is one more run: S^2 contains its error
        (0.1, False, 0.5, 4 / 3 + 0.25 - 0.01),
        (2.0, False, 0.0, 4 * 4 / 3),  # members agree better than their errors: by chance
        (0.1, True, 0.0, 4 / 3 + 0.01),
        (0.1, True, 0.5, 4 / 3 + 0.01 + 0.25),
    ],
)
def test_statistical_errors_widen_a_band(error, shared, truth, variance):
    freedom = 2 * (variance / (4 / 3)) ** 2  # Satterthwaite: only 4/3 is known from 3 values
    expected = t.ppf(0.975, freedom) * np.sqrt(variance)
    assert three(error, shared).margin(truth) == pytest.approx(expected, rel=1e-6)


def test_equal_members_are_as_wide_as_their_errors():
    band = Band.of([Estimate(np.ones(2), np.array([0.0, 0.1]))] * 4)
    np.testing.assert_allclose(band.margin(), [0, 1.96 * 0.1 * np.sqrt(5 / 4)], rtol=1e-4)


def test_the_share_of_bins_with_the_truth():
    """Bins: nothing there, inside, outside, and inside by the truth's own error."""
    rows = np.array([[0.0, 1.0, 1.0, 1.0], [0.0, 3.0, 1.0, 1.0]])
    band = Band.of([Estimate(row, np.zeros(4)) for row in rows])
    truth = Estimate(np.array([0.0, 2.5, 1.1, 1.1]), np.array([0.0, 0.0, 0.0, 0.1]))
    assert band.inside(truth).tolist() == [True, True, False, True]
    assert band.covered(truth) == pytest.approx(2 / 3)
    assert band.covered(Estimate(rows[0], np.zeros(4))) == 1
    assert three().covered(Estimate(8.0, 0.1)) == 0
    assert str(band) == "95 % band of 2 members"


def test_members_without_a_value_are_counted():
    band = Band.of([Estimate(1.0, 0.1), "unstable", Estimate(2.0, 0.1)])
    assert band.left_out == {1: "unstable"}
    assert band.values.tolist() == [1, 2]
    assert str(band).endswith("2 members, 1 left out")


def test_what_a_band_refuses():
    curve = Estimate(np.ones(4), np.ones(4))
    with pytest.raises(ValueError, match=r"1 of 3 members .* \(member 1: no time; member 2: cold"):
        Band.of([curve, "no time", "cold"])
    with pytest.raises(ValueError, match="all the same bins"):
        Band.of([curve, Estimate(np.ones(5), np.ones(5))])
    with pytest.raises(ValueError, match="not finite"):
        Band.of([curve, Estimate(np.full(4, np.nan), np.ones(4))])
    with pytest.raises(ValueError, match=r"shape \(\), members \(4,\)"):
        Band.of([curve, curve]).covered(Estimate(1.0, 0.0))


# -- how often it holds: every bin is an experiment of its own


@pytest.mark.parametrize("members", [3, 8])
@pytest.mark.parametrize(
    ("spread", "error", "truth", "most"),
    [
        (1.0, 0.0, 0.0, 0.956),
        (1.0, 0.5, 0.5, 0.956),
        (0.0, 0.1, 1.0, 0.956),  # nothing but the truth's error
        (0.0, 1.0, 1.0, 0.99),  # nothing but noise
        (1.0, 0.1, 1.0, 0.956),  # a short run of the truth
        (1.0, 1.0, 0.0, 0.995),  # short runs of the members
    ],
)
def test_own_runs_hold_the_truth_in_95_of_100_cases(members, spread, error, truth, most, rng):
    models = spread * rng.normal(size=(members + 1, 20_000))
    values = models[1:] + error * rng.normal(size=(members, 20_000))
    band = Band.of([Estimate(row, np.full(20_000, error)) for row in values])
    found = models[0] + truth * rng.normal(size=20_000)
    assert 0.935 < band.covered(Estimate(found, np.full(20_000, truth))) < most


def test_one_run_for_all_holds_it_only_with_the_error_that_all_have(rng):
    models = rng.normal(size=(9, 20_000))
    values = models[1:] + 2 * rng.normal(size=20_000)
    members = [Estimate(row, np.full(20_000, 2.0)) for row in values]
    truth = Estimate(models[0], np.zeros(20_000))
    assert 0.944 < Band.of(members, shared=True).covered(truth) < 0.956
    alone = Band.of([Estimate(row, np.zeros(20_000)) for row in values])
    assert alone.covered(truth) < 0.75


# -- own runs


def run_of(edges, reason=None) -> Frames:
    """A simulation of one water whose box has these edges (T,)."""
    edges, count = np.asarray(edges, float), len(edges)
    start = Geometry(positions=np.zeros((3, 3)), numbers=[8, 1, 1], cell=edges[0] * np.eye(3))
    return Frames(
        replica=0,
        start=start,
        temperature=300.0,
        times=np.arange(count) * 10.0,
        positions=np.zeros((count, 3, 3)),
        cells=edges[:, None, None] * np.eye(3),
        energies=np.zeros(count),
        kinetic=np.zeros(count),
        velocities=np.zeros((3, 3)),
        reason=reason,
    )


def test_replicas_are_averaged_and_broken_members_left_out(rng):
    edges = rng.normal(3.1, 0.02, (3, 2, 40))
    runs = [[run_of(edge) for edge in member] for member in edges]
    runs.insert(1, [run_of(edges[0, 0]), run_of(edges[0, 1], "Closer")])
    band = Band.measured(runs, density)
    mass = 18.015 / 6.02214076e23
    blocks = (mass / (edges * 1e-8) ** 3).reshape(3, 2, 5, 8).mean(-1)
    np.testing.assert_allclose(band.values, blocks.mean((1, 2)), rtol=1e-4)
    errors = blocks.std(-1, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(band.errors, np.sqrt((errors**2).sum(1)) / 2, rtol=1e-4)
    assert list(band.left_out) == [1]
    assert "unstable" in band.left_out[1]
    assert "Closer" in band.left_out[1]
    with pytest.raises(ValueError, match="1 of 2 members"):
        Band.measured(runs[:2], density)


# -- one run for all


def test_leaving_out_equal_blocks_is_their_standard_error(rng):
    x = rng.normal(size=(60, 4))
    jackknife = Reweighted(np.full(60, 1 / 60), 60.0).estimate(x, 6)
    blocks = Estimate.of(x.reshape(6, 10, 4).mean(1))
    np.testing.assert_allclose(jackknife.value, blocks.value)
    np.testing.assert_allclose(jackknife.error, blocks.error)
    with pytest.raises(ValueError, match="blocks=1"):
        Reweighted(np.full(60, 1 / 60), 60.0).estimate(x, 1)


def test_gaussians_are_reweighted_to_each_member():
    """Harmonic wells with centres a, one simulated at 0: the mean of x is a, of x^2 kT + a^2."""
    kt = units.kB * 300
    centres = np.sqrt(kt) * np.array([-0.5, 0.0, 0.3, 9.0])
    x = np.random.default_rng(3).normal(0, np.sqrt(kt), 20_000)
    energies = (x - centres[:, None]) ** 2 / 2
    band = Band.reweighted(np.stack([x, x**2], 1), energies, x**2 / 2, 300, blocks=40)
    near = centres[:3]
    exact = np.stack([near, kt + near**2], 1)
    assert np.all(np.abs(band.values - exact) < 4 * band.errors)
    # the variance of a weighted mean: E[w^2 (x - a)^2] / T, a Gaussian integral
    errors = np.sqrt(np.exp(near**2 / kt) * (kt + near**2) / len(x))
    np.testing.assert_allclose(band.errors[:, 0], errors, rtol=0.35)
    assert band.shared
    assert list(band.left_out) == [3]
    assert "effective frames of 20000, expected at least 20" in band.left_out[3]


def test_a_run_is_not_reweighted_to_members_far_from_it(rng):
    x = rng.normal(size=(3, 100))
    with pytest.raises(ValueError, match=r"0 of 3 members .* effective frames of 100"):
        Band.reweighted(x[0], x, 0 * x[0], 300)
    with pytest.raises(ValueError, match=r"frames \(\(100,\), \(100,\), \(99,\)\)"):
        Band.reweighted(x[0, 1:], x, x[0], 300)
