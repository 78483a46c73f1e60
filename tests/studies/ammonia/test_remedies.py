"""Remedies tried on ammonia, at preset smoke, with springs for the electrons."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ammonia_springs import Springs

from agal_toolkit.settings import to_settings
from studies.ammonia import remedies as ammonia_remedies
from studies.ammonia.recipes import PRESETS, REMEDIES, recipe
from studies.ammonia.truth import load_truth
from studies.jobs import Runner, read

SMOKE = PRESETS["smoke"]
TRIED = ("ours", next(iter(REMEDIES)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two recipes from one start."""
    place = tmp_path_factory.mktemp("remedies")
    runner = Runner("smoke", place / "runs", place / "results")
    ammonia_remedies.study(runner, recipes=TRIED, starts=["thermal"], seeds=[100], label=Springs())
    return place


def test_three_committees_of_each_run_are_looked_at(folder):
    stored = read(folder / "results" / "ammonia_remedies-smoke.json")
    assert set(stored["records"]["runs"]) == set(TRIED) == set(stored["settings"])
    assert stored["seed"] == 100
    for runs in stored["records"]["runs"].values():
        (run,) = runs
        assert [len(energies) for energies in run["energies"]] == np.diff(
            [each["structures"] for each in run["committees"]]
        ).tolist()
        assert all(each["rmse below"]["5"] > 0 for each in run["committees"])


def test_nothing_is_run_twice_and_other_settings_are_refused(folder, monkeypatch):
    monkeypatch.setattr(ammonia_remedies, "run", lambda *a, **k: pytest.fail("it was there"))
    runner = Runner("smoke", folder / "elsewhere", folder / "results")
    again = {"recipes": TRIED, "starts": ["thermal"], "seeds": [100], "label": Springs()}
    place = ammonia_remedies.study(runner, **again)
    before = place.read_text()
    place.write_text(before.replace('"members": 5', '"members": 6'))
    with pytest.raises(ValueError, match="members: 6 there, 5 here"):
        ammonia_remedies.study(runner, **again)
    place.write_text(before)


def test_the_table_gives_medians(folder):
    stored = read(folder / "results" / "ammonia_remedies-smoke.json")
    truth_said = stored["records"]["truth"]
    for number, off in ((101, 1.0), (102, 3.0)):
        run = json.loads(json.dumps(stored["records"]["runs"]["ours"][0]))
        run["seed"], run["committees"][2]["barrier"] = number, truth_said - off
        stored["records"]["runs"]["ours"].append(run)
    stored["records"]["runs"]["ours"][0]["committees"][2]["barrier"] = (
        None  # as if it had no minimum
    )
    row = next(
        line for line in ammonia_remedies.table(stored).splitlines() if "our recipe |" in line
    )
    assert row.split(" | ")[2] == "3.00"
    assert row.endswith("| 3 |")


@pytest.mark.parametrize("name", REMEDIES)
def test_a_remedy_changes_our_recipe(name, folder):
    known = load_truth(folder / "results" / "ammonia" / "reference", Springs(), SMOKE.truth)
    assert to_settings(recipe(name, SMOKE, known)) != to_settings(recipe("ours", SMOKE, known))
