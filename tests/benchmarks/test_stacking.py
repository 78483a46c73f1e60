"""Stacked against one by one, timed; by hand: ``python -m pytest -m benchmark tests/benchmarks``."""

from __future__ import annotations

import pytest

from agal_toolkit.studies.benchmarks import timings


@pytest.mark.timeout(900)
@pytest.mark.parametrize("width", [128, 1024])
def test_stacking_is_never_slower(width):
    for timing in timings(width):
        assert timing.ratio > 1.0, timing
