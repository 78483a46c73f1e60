"""Loops side by side are the loops one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import helpers
import numpy as np
import pytest

from agal_toolkit.loop.lockstep import lockstep


def test_loops_in_lockstep_are_the_loops_one_by_one(tmp_path):
    """Different data, seeds and strategies, some of it already on disk."""
    loops = [replace(helpers.small_loop(), seed=seed) for seed in (1, 2, 3)]
    data = [helpers.well_data(np.random.default_rng(seed), 14 + seed) for seed in (1, 2, 3)]
    folders = [tmp_path / str(seed) for seed in (1, 2, 3)]
    alone = [list(islice(loop.generations(d), 2)) for loop, d in zip(loops, data, strict=True)]
    next(loops[1].generations(data[1], folders[1]))
    together = list(islice(lockstep(loops, data, folders, stack=2), 2))
    for k, generations in enumerate(alone):
        for one, other in zip(generations, (row[k] for row in together), strict=True):
            assert one.verdicts == other.verdicts
            np.testing.assert_allclose(one.labelled.energies, other.labelled.energies, rtol=1e-6)
            assert one.metrics == pytest.approx(other.metrics, rel=1e-6)
    again = list(islice(lockstep(loops, data, folders, stack=2), 2))
    assert [g.metrics for g in again[1]] == [g.metrics for g in together[1]]


def test_lockstep_refuses_trainers_that_differ():
    loops = [helpers.small_loop(), helpers.small_loop()]
    recipe = loops[1].recipe
    loops[1] = replace(
        loops[1], recipe=replace(recipe, trainer=replace(recipe.trainer, learning_rate=0.5))
    )
    with pytest.raises(ValueError, match="equal trainers"):
        next(lockstep(loops, [helpers.well_data(np.random.default_rng(0), 12)] * 2))
