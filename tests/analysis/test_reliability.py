"""Statistics of calibrated uncertainties on errors whose law is known."""

from __future__ import annotations

import numpy as np
import pytest

from agal_toolkit.analysis.reliability import binned, coverage, reliability
from agal_toolkit.uncertainty.calibration import Samples
from agal_toolkit.uncertainty.power_law import PowerLaw


def power_law_samples(rng, a=1.5, b=0.8, structures=40, count=60, members=5):
    """Errors of size a sigma^b."""
    sigma = np.exp(rng.uniform(-2, 2, structures * count))
    return Samples(
        sigma,
        rng.normal(size=(members, len(sigma))) * a * sigma**b,
        np.repeat(np.arange(structures), count),
    )


def test_the_right_law_is_told_from_raw_values(rng):
    data = power_law_samples(rng)
    right, raw = reliability(data, PowerLaw(1.5, 0.8)), reliability(data, PowerLaw())
    assert right.spread.value == pytest.approx(1.0, abs=0.02)
    assert right.slope.value == pytest.approx(1.0, abs=0.03)
    assert right.within_1.value == pytest.approx(0.683, abs=0.01)
    assert right.within_2.value == pytest.approx(0.954, abs=0.006)
    assert right.area.value < 0.01 < raw.area.value
    assert right.nll.value < raw.nll.value
    assert raw.slope.value == pytest.approx(0.8, abs=0.03)
    assert raw.spread.value > 1.4
    assert right.spread.low < 1.0 < right.spread.high < right.spread.low + 0.05
    assert right.structures == 40


def test_structures_that_err_together_widen_intervals(rng):
    one = power_law_samples(rng, b=1.0, count=30)
    shared = rng.normal(size=(5, 40)).repeat(30, axis=1)
    together = Samples(one.sigma, shared * 1.5 * one.sigma, one.owner)
    width = [
        value.high - value.low
        for value in (
            reliability(one, PowerLaw(1.5)).spread,
            reliability(together, PowerLaw(1.5)).spread,
        )
    ]
    assert width[1] > 3 * width[0]


def test_bins_hold_equal_numbers_and_root_mean_squares():
    sigma, errors = (
        np.array([4.0, 1.0, 2.0, 3.0]),
        np.array([[4.0, 1.0, 0.0, 3.0], [0.0, 1.0, 2.0, 3.0]]),
    )
    np.testing.assert_allclose(
        binned(sigma, errors, 2), [[np.sqrt(2.5), np.sqrt(6 / 4)], [np.sqrt(12.5), np.sqrt(34 / 4)]]
    )


def test_coverage_of_errors_as_large_as_sigma():
    shares = coverage(np.ones(5), np.ones((1, 5)))
    assert set(shares) == {0.0, 1.0}
    assert shares[67] == 0.0
    assert shares[68] == 1.0


@pytest.mark.parametrize("sigma", [[1.0, 2.0], [1.0, np.nan, 1.0], [1.0, 0.0, 1.0]])
def test_what_cannot_be_judged(sigma):
    data = Samples(np.array(sigma), np.ones((2, len(sigma))), np.arange(len(sigma)))
    with pytest.raises(ValueError, match="give more structures, or drop broken ones"):
        reliability(data, PowerLaw(), bins=3)
