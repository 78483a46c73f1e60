"""Twelve members over one density on 64 waters: a training step, and forces.

They are compared with each member alone, which computes the density again, and with as many stacked
SchNets of width 32 and the same cutoff.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from benchmarks.steps import forces, one_by_one, training

from agal_toolkit.batch import Batch
from agal_toolkit.potentials import DensityNet, SchNet
from studies.water.dynamics import packed

MEMBERS, WATERS = 12, 64


density = partial(DensityNet, (1, 8))  # the network of the study of calibrated attacks
schnet = partial(SchNet, (1, 8), features=32, filters=32, interactions=3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("task", [training, forces])
def test_time(compare, threads, task):
    batch = Batch.of([packed(WATERS, np.random.default_rng(0))])
    build = partial(task, density, batch=batch)
    others = {
        "each member's density": one_by_one(build, MEMBERS),
        "stacked SchNets": task(schnet, MEMBERS, batch),
    }
    compare(build(MEMBERS), others)
