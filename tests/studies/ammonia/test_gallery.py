"""What the figures of ammonia are drawn from, on records made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from studies.ammonia import gallery
from studies.ammonia.claims import claims
from studies.ammonia.committees import CAPS, TEMPERATURES


def committee(barrier, error, stable=None, structures=100):
    found = {
        "structures": structures,
        "paths": {"failed": "no minimum"}
        if barrier is None
        else {
            "barrier": barrier,
            "mean path": {"lengths": [0.0, 1.0, 4.0], "energies": [0.0, barrier, 0.0]},
            "member paths": [[0.0, barrier + 0.1, 0.0]] * 5,
        },
        "surface": {"rmse below": {str(cap): error * cap for cap in CAPS}},
    }
    if stable is not None:
        found["stability"] = {
            "stable": 6 * stable,
            "runs": 12,
            "by temperature": {str(t): stable for t in TEMPERATURES},
            "reasons": {},
        }
    return found


def run(seed, barrier):
    return {
        "seed": seed,
        "judged": {"committee": [5.0, -7.0], "reference": [5.5, 93.0 + seed]},
        "committees": {
            "first": committee(barrier + 1.0, 0.2, 1),
            "second": committee(barrier + 0.3, 0.1),
            "third": committee(barrier, 0.05, 2, structures=130),
            "random": committee(None, 0.4, 0),
            "random and start": committee(barrier - 2.0, 0.1, 1),
        },
        "sets": {
            "attacks 2": {"energies": [10.0, 40.0], "rmsd": [0.2, 0.6]},
            "random": {"energies": [20.0, 160.0], "rmsd": [0.3]},
            "start": {"energies": [2.0], "rmsd": [0.15, 0.3]},
        },
    }


RUNS = [run(seed, barrier) for seed, barrier in enumerate((6.2, 6.4, 6.5, 6.1, 6.3))]


def test_claims_are_medians_over_the_runs():
    found = {claim.name: claim for claim in claims(RUNS, 6.3)}
    third = found["barrier error, third committee"]
    assert third.value == pytest.approx(0.1)
    assert third.met
    assert third.runs == 5
    assert third.spread[0] <= 0.1 <= third.spread[1]
    bias = found["mean signed barrier error, third committee"]
    assert (bias.value, bias.runs) == (pytest.approx(0.0, abs=1e-4), 5)
    assert found["mean signed barrier error, first committee"].value == pytest.approx(1.0)
    assert found["share of barriers that are too high, third committee"].value == 0.4
    random = found["barrier error, random"]
    assert random.value == np.inf
    assert random.spread is None
    assert found["labels of the third committee"].value == 130
    assert found["labels of the third committee"].met
    assert found[
        "RMSE below 40 kcal/mol, the best other committee's over the third's"
    ].value == pytest.approx(2.0)
    assert found["RMSE below 5 kcal/mol, the third's over the first's"].value == pytest.approx(0.25)
    stable = found["stable simulations, third committee"]
    assert (stable.value, stable.runs, stable.met, stable.spread) == (1.0, 5, True, (1.0, 1.0))
    assert found["stable simulations, start + random"].value == 0.5
    assert found["highest energy, second attacks' over random's"].value == pytest.approx(0.25)
    assert found["largest RMSD, second attacks' over the start's"].value == pytest.approx(2.0)
    assert found[
        "largest error of the third committee's energies among its own attacks"
    ].value == pytest.approx(102.0)


def test_simulations_on_one_committee_count_once():
    """Four committees on which all simulations are stable and one on which none is: nobody knows
    the share to a few percent.
    """
    runs = [
        {
            **each,
            "committees": {**each["committees"], "random": committee(6.0, 0.4, 2 if seed else 0)},
        }
        for seed, each in enumerate(RUNS)
    ]
    found = next(claim for claim in claims(runs, 6.3) if claim.name == "stable simulations, random")
    assert found.value == pytest.approx(0.8)
    assert found.runs == 5
    assert found.spread == pytest.approx((0.4, 1.0))


def test_paths_of_one_run():
    curves, members = gallery.path_curves(
        RUNS[0], (np.array([0.0, 0.5, 1.0]), np.array([0.0, 6.3, 0.0]))
    )
    assert list(curves) == [
        "DFT",
        "committee 1",
        "committee 2",
        "committee 3",
        "start + random",
    ]  # the random one has no path
    np.testing.assert_allclose(curves["committee 3"][0], [0.0, 0.25, 1.0])
    assert len(members["committee 3"]) == 5
    assert members["committee 3"][0][1][1] == pytest.approx(6.3)


def test_numbers_over_all_runs():
    errors = gallery.errors_of_barriers(RUNS, 6.3)
    np.testing.assert_allclose(errors["committee 1"][0], [0.9, 1.1, 1.2, 0.8, 1.0])
    assert np.isnan(errors["random"][0]).all()
    assert errors["random"][1] is None
    caps, middle, spread = gallery.errors_below_caps(RUNS)
    np.testing.assert_allclose(middle["committee 3"], 0.05 * caps)
    np.testing.assert_allclose(spread["committee 3"][1], middle["committee 3"])
    assert gallery.stable_fractions(RUNS)["committee 3"][0] == 1.0
    assert set(gallery.stable_fractions(RUNS)) == {
        "committee 1",
        "committee 3",
        "random",
        "start + random",
    }
    np.testing.assert_allclose(gallery.stable_fractions_by_temperature(RUNS)["committee 1"], 0.5)


def test_a_half_becomes_whole():
    np.testing.assert_array_equal(
        gallery.whole([[0, 1, 2], [3, 4, 5]]), [[2, 1, 0, 1, 2], [5, 4, 3, 4, 5]]
    )


def test_distances_to_the_start():
    vectors = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 3.0], [5.0, 0.0]])
    assert gallery.nearest(
        vectors, ["start", "start", "near", "near", "far"], "start"
    ) == pytest.approx({"near": 2.5, "far": 4.0})


def test_places_that_are_seldom_visited():
    counts = np.array([[0, 5000, 3], [0, 0, 2000]])  # (R, Z)
    points = np.array([[1.5, 0.5], [2.5, 0.5], [2.5, 1.5], [0.5, 0.5], [9.0, 0.5]])
    assert gallery.seldom_visited(points, counts, np.arange(4.0), np.arange(3.0)) == pytest.approx(
        3 / 5
    )
