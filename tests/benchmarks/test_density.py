"""What the benchmark of one density times is what it says."""

from __future__ import annotations

import torch
from benchmarks import density as benchmark
from benchmarks.model_surfaces import compare


def test_members_one_by_one_are_the_same_members():
    together = benchmark.forces(benchmark.density, 1, 8)()
    (alone,) = benchmark.one_by_one(lambda m: benchmark.forces(benchmark.density, m, 8), 1)()
    torch.testing.assert_close(alone.forces, together.forces)


def test_every_case_runs_and_a_step_learns():
    for case in benchmark.cases(2, 8):
        timing = compare(case)
        assert timing.slow > 0
        assert timing.fast > 0
    for build in (benchmark.density, benchmark.schnet):
        step = benchmark.training(build, 2, 8)
        first = step()
        for _ in range(5):
            last = step()
        assert (last < first).all()
