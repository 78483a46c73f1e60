"""Ablations are compared seed by seed, from result files alone."""

from __future__ import annotations

import numpy as np
import pytest

from studies.double_well import ablations
from studies.jobs import interval, write


def stored(folder, variant, errors, seeds):
    def loop(error):
        return [
            {"metrics": {"rmse": 9.0}, "labelled": 7, "duplicates": 3},
            {"metrics": {"rmse": error}, "labelled": 5, "duplicates": 1},
        ]

    pairs = [
        {"seed": seed, "adversarial": loop(error)}
        for seed, error in zip(seeds, errors, strict=True)
    ]
    write(
        folder,
        f"double_well_{variant}",
        "laptop",
        seed=0,
        device="cpu",
        seconds={},
        settings={},
        records={"pairs": pairs},
        claims=[],
    )


def test_rows_are_paired_by_seed(tmp_path):
    stored(tmp_path, "ours", [0.1, 0.2, 0.4], [0, 1, 2])
    stored(tmp_path, "kT-5", [0.8, 0.2, 5.0], [2, 0, 7])
    ours, other = ablations.rows(tmp_path)
    assert (ours.about, other.about) == ("our recipe", "kT = 5, as printed")
    np.testing.assert_allclose(ours.over_ours, 1.0)
    np.testing.assert_allclose(other.over_ours, [2.0, 2.0])  # seed 7 has no partner
    assert other.bought.tolist() == [12, 12]
    assert other.duplicates.tolist() == [4, 4]
    lines = ablations.table([ours, other]).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[3].count("|")
    assert lines[3].startswith("| kT = 5, as printed | 0.50 |")
    assert lines[3].endswith("| 12 | 4 | 2 |")


def test_without_our_recipe_there_is_nothing_to_compare_with(tmp_path):
    with pytest.raises(FileNotFoundError, match="double_well_ours-laptop"):
        ablations.rows(tmp_path)


def test_the_interval_of_a_median_covers_it():
    values = np.random.default_rng(1).normal(3.0, 1.0, 40)
    low, high = interval(values, statistic=np.median)
    assert low < np.median(values) < high
    assert high - low < 1.5
    assert interval(np.array([2.0]), statistic=np.median) == (2.0, 2.0)
