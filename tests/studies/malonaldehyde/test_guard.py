"""Hot simulations under a guard: what counts as unphysical, and what is recorded."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from agal_toolkit import Geometry
from studies.jobs import Runner, read

pytest.importorskip("tblite")
from studies.malonaldehyde import guard


def test_torn_bonds_and_close_atoms_are_unphysical():
    water = Geometry.from_ase(molecule("H2O"))  # O H H; covalent radii of 0.66 and 0.31 angstrom
    shape = guard.Shape(water)
    along = water.positions[1] - water.positions[0]
    along /= np.linalg.norm(along)
    for length, unphysical in ((0.47, True), (0.50, False), (1.73, False), (1.76, True)):
        moved = water.positions.copy()
        moved[1] = moved[0] + length * along
        assert shape.unphysical(moved) is unphysical, length
    assert shape.unphysical(np.full((3, 3), np.nan))


def test_claims_count_what_came_first():
    hot = [
        {"seed": 0, "stopped": 10.0, "unphysical": 12.0},
        {"seed": 1, "stopped": 10.0, "unphysical": None},
        {"seed": 2, "stopped": None, "unphysical": 5.0},
    ]
    truth = [{"temperature": 300.0, "frames": 50, "alarms": 4, "false": 3, "missed": 1}]
    found = {c.name: c for c in guard.claims({"0": {"hot": hot, "truth": truth}})}
    late = found["simulations that were unphysical before the guard acted"]
    assert (late.value, late.met, late.runs) == (1, False, 3)
    assert found["simulations that the guard stopped"].value == 2
    assert found["stopped simulations that are unphysical when they go on"].value == 1
    false = found["false alarms, frames of the reference at 300 K"]
    assert (false.value, false.runs) == (3, 50)


def test_a_guard_stops_hot_simulations(tmp_path):
    runner = Runner("smoke", tmp_path / "runs", tmp_path)
    content = read(guard.study(runner))
    (piece,) = content["records"].values()
    assert [each["seed"] for each in piece["hot"]] == [0, 1]
    for each in piece["hot"]:
        # a committee of six structures is unsure of everything
        assert each["stopped"] is not None
        assert each["unphysical"] is None or each["unphysical"] >= each["stopped"]
    for each in piece["truth"]:
        assert each["frames"] == 5
        assert each["false"] <= each["alarms"]
        assert each["missed"] <= each["frames"] - each["alarms"]
    place = guard.study(Runner("smoke", tmp_path / "other", tmp_path))  # nothing is left to run
    assert read(place)["records"] == content["records"]
