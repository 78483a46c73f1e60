"""Statistics of the laws of elements against plain numpy, and the table of the committed result."""

from __future__ import annotations

import numpy as np
import pytest

from studies.calibrated.elements import BINS, NAME, claims, statistics, table
from studies.jobs import RESULTS, read


def test_statistics_are_those_of_all_samples(rng):
    sigma, owner = np.exp(rng.normal(-2, 0.7, 600)), np.repeat(np.arange(6), 100)
    errors = 1.3 * sigma**0.8 * rng.normal(size=(4, 600)) + 0.02
    found = statistics(sigma, errors, owner, draws=40)
    r = errors / sigma
    parts = np.array_split(np.argsort(sigma), BINS)
    x = [0.5 * np.log(np.mean(sigma[part] ** 2)) for part in parts]
    y = [0.5 * np.log(np.mean(errors[:, part] ** 2)) for part in parts]
    right = {
        "width": r.std(),
        "slope": np.polyfit(x, y, 1)[0],
        "within_1": np.mean(np.abs(r) < 1),
        "within_2": np.mean(np.abs(r) < 2),
    }
    assert list(found) == list(right)
    for name, value in right.items():
        whole, low, high = found[name]
        assert whole == pytest.approx(value, abs=1e-5)
        assert low < whole < high
    one = statistics(sigma, errors, np.zeros(600), draws=0)
    assert all(low == whole == high for whole, low, high in one.values())


def test_the_committed_table_and_claims_agree():
    record = read(RESULTS / f"{NAME}-laptop.json")["records"]
    rows = table(record).splitlines()
    assert len(rows) == 2 + 8
    assert rows[2].split(" | ")[:4] == [
        "| simulated and rattled",
        "one law",
        "simulated",
        "0.98, 1.13, 0.90",
    ]
    widths = [claim.value for claim in claims(record) if claim.name.startswith("standard")]
    assert widths == pytest.approx([0.1312, 0.0271], abs=1e-4)
