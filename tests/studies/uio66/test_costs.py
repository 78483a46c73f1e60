"""Costs of a committee on the framework's cells: the cells, and that everything is timed."""

from __future__ import annotations

import numpy as np
import pytest

from studies.uio66 import costs
from studies.uio66.structures import LIQUID, packed


@pytest.fixture(scope="module")
def cells():
    return costs.cells()


def test_cells_have_one_framework_and_two_loadings(cells):
    assert [len(cell) for cell in cells] == [114, 156, 240, 456, 960]
    volumes = [np.linalg.det(cell.cell) for cell in cells]
    np.testing.assert_allclose(np.divide(volumes, volumes[0]), [1, 1, 1, 4, 4])


@pytest.mark.parametrize("title", costs.TASKS)
def test_a_task_is_timed_and_its_memory_is_known(title):
    liquid = packed(LIQUID)
    seconds = costs.timed(costs.TASKS[title], [liquid], turns=1)
    assert seconds.shape == (1, 1)
    assert seconds[0, 0] > 0
    before, after = costs.memory(title, liquid)
    assert 50 < before <= after


def test_the_committee_has_four_members_and_elements(cells):
    model = costs.committee()
    assert len(model) == costs.MEMBERS == 4
    assert model.predict(cells[0]).forces.shape == (4, 114, 3)
