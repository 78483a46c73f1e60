"""What is timed is what is meant."""

from __future__ import annotations

import sys

import pytest
from benchmarks.model_surfaces import schnet_cases
from benchmarks.schnet import SchNetPack, one_by_one, prediction, training


def test_steps_learn_and_forces_are_of_every_member():
    step = training(3, 8, 2, molecules=4)
    losses = [step() for _ in range(30)]
    assert losses[0].shape == (3,)
    assert (losses[-1] < losses[0]).all()
    assert prediction(3, 8, 2, molecules=4)().forces.shape == (3, 16, 3)
    assert len(one_by_one(lambda m: prediction(m, 8, 2, molecules=4), 3)()) == 3


def test_schnetpack_takes_part_only_where_there_is_one():
    asked = []
    assert [case.goal for case in schnet_cases(8, 1)] == [None] * 4
    cases = schnet_cases(8, 1, asked.append)
    for case in cases:
        case.slow()
    assert [case.goal for case in cases] == [None, None, 1.5, None, None, 2.2]
    assert asked == [
        "step",
        "forces",
    ]


def test_an_interpreter_without_schnetpack_is_named():
    other = SchNetPack(sys.executable, 1, 8, 1)
    other._process.wait()
    with pytest.raises(RuntimeError, match=r"try schnetpack_step.py"):
        other("step")
    other.close()
