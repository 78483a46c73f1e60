"""What the comparison of gradients counts and finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks import gradient_costs as costs

from agal_toolkit.attack import Autograd, FiniteDifference, HessianVector


@pytest.mark.parametrize(
    ("gradient", "calls"),
    [(Autograd(), 1), (HessianVector(), 3), (FiniteDifference(), 3 * 8 + 6 + 1)],
)
def test_calls_are_those_of_the_scheme(gradient, calls):
    """One evaluation and a backward pass; two more along one direction; one more for each
    coordinate and strain (Cezar 2025, Sec. IV A).
    """
    found, counted, seconds = costs.slope(
        costs.densities((18,), 2, torch.float64), gradient, costs.argon(8)
    )
    exact, *_ = costs.slope(costs.densities((18,), 2, torch.float64), Autograd(), costs.argon(8))
    assert counted == calls
    assert seconds > 0
    assert costs.error(found, exact) < 1e-4


def test_a_black_box_has_no_backward_pass_and_needs_none():
    committee, geometry = costs.calculators(2), costs.argon(8)
    exact, *_ = costs.slope(committee, FiniteDifference(central=True), geometry)
    assert costs.error(costs.slope(committee, HessianVector(), geometry)[0], exact) < 1e-5


def test_claims_compare_the_rows():
    rows = []
    for m in (1, 4):
        for dtype in ("float32", "float64"):
            for name, calls, seconds, error in (
                ("Autograd", 1, 0.1, 0.0),
                ("HessianVector", 3, 0.5, 1e-4),
                ("FiniteDifference", 583, 40.0, 1e-2),
            ):
                rows.append(
                    {
                        "model": "torch",
                        "structure": "64 waters",
                        "atoms": 192,
                        "members": m,
                        "gradient": name,
                        "dtype": dtype,
                        "calls": calls,
                        "seconds": seconds,
                        "error": error,
                    }
                )
    rows += [
        {
            "model": "black box",
            "structure": "argon",
            "atoms": 512,
            "members": 2,
            "gradient": n,
            "dtype": "float64",
            "calls": c,
            "seconds": s,
            "error": None,
        }
        for n, c, s in (("HessianVector", 3, 1.0), ("FiniteDifference", 1543, 300.0))
    ]
    found = {claim.name: claim for claim in costs.claims(rows)}
    assert (
        found["force calls of forward differences over HessianVector, 64 waters and cell"].value
        == 194.3
    )
    assert found[
        "seconds of forward differences over HessianVector, 64 waters and cell, 4 members"
    ].met
    assert found["relative error of HessianVector, 64 waters and cell, float64"].met is False
    assert np.isclose(
        found[
            "seconds of forward differences over HessianVector, black box, 512 argon atoms and cell"
        ].value,
        300,
    )
