"""Stacked against one by one; by hand: ``python -m pytest -m benchmark --benchmark-enable
tests/benchmarks``.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.model_surfaces import MEMBERS, cases, compare

from agal_toolkit.attack import Adversary
from agal_toolkit.batch import Prediction
from agal_toolkit.potentials import Stacked

WIDTHS = (128, 1024)
CASES = {
    (width, case.name): case
    for width in WIDTHS
    for case in cases(width)
    if case.ratio == "one by one over stacked"
}


def finite(found: object) -> bool:
    """Whether what was timed is what was meant: numbers of every member, point or seed."""
    if isinstance(found, Prediction):
        return found.energy.shape == (MEMBERS, 1000) and bool(found.forces.isfinite().all())
    if isinstance(found, list) and isinstance(found[0], Adversary):
        return len(found) == 50 and all(np.isfinite(adversary.losses).all() for adversary in found)
    members = [found] if isinstance(found, Stacked) else found
    modules = [m.module if isinstance(m, Stacked) else m for m in members]
    return all(bool(p.isfinite().all()) for module in modules for p in module.parameters())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("way", ["one by one", "stacked"])
@pytest.mark.parametrize(("width", "name"), CASES)
def test_time(benchmark, width, name, way, threads):
    case = CASES[width, name]
    benchmark.group = f"{name}, width {width}, {threads} threads"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = benchmark.pedantic(
            case.fast if way == "stacked" else case.slow, rounds=3, warmup_rounds=1
        )
    finally:
        torch.set_num_threads(before)
    assert finite(found)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("width", "name"), CASES)
def test_stacking_is_not_much_slower(width, name):
    """At width 1024 the weights of five members leave the processor's cache together, which costs
    up to a sixth.
    """
    timing = compare(CASES[width, name])
    assert timing.ratio > 0.8, timing
