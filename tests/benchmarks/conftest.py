"""Ways that are compared take turns: a machine whose speed drifts drifts for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture(params=[1, 2])
def threads(request) -> Iterator[int]:
    """Number of threads that torch uses during the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def compare(benchmark):
    """A function that times one way and, before each of its rounds, all others.

    The times of the others over ours, median, lowest and highest of the rounds, go to
    ``extra_info``. The function returns what our way returned.
    """

    def run(
        ours: Callable[[], Any], others: Mapping[str, Callable[[], Any]], rounds: int = 5
    ) -> Any:
        seconds: dict[str, list[float]] = {name: [] for name in others}

        def others_first() -> None:
            for name, other in others.items():
                began = time.perf_counter()
                other()
                seconds[name].append(time.perf_counter() - began)

        result = benchmark.pedantic(ours, setup=others_first, rounds=rounds, warmup_rounds=1)
        if benchmark.enabled:
            for name, values in seconds.items():
                ratios = np.array(values[-rounds:]) / benchmark.stats.stats.data
                low, median, high = np.percentile(ratios, (0, 50, 100)).round(2).tolist()
                record = {"median": median, "lowest": low, "highest": high}
                benchmark.extra_info[f"{name} over ours"] = record
        return result

    return run
