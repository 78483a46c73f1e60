"""A short loop to draw."""

from __future__ import annotations

from itertools import islice

import helpers
import pytest


@pytest.fixture(scope="session")
def generations():
    return list(islice(helpers.small_loop().generations(helpers.first_data()), 2))
