"""The study of costs at preset smoke: tiny boxes, whose numbers mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from ase import io, units

pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")

from studies.jobs import Runner, read
from studies.water import costs
from studies.water.cost_tasks import box, committee, measure, peak, tasks
from studies.water.costs import PRESETS, claims, slope
from studies.water.costs_figure import costs as draw

SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A result whose jobs were run in this process, which saves the start of ten others."""
    place = tmp_path_factory.mktemp("costs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            costs,
            "make",
            lambda name, molecules, sizes, run: measure(
                name, sizes, box(molecules, sizes, run.out)
            ),
        )
        costs.study(Runner("smoke", place / "runs", place / "results"))
    return place


@pytest.fixture(scope="module")
def result(folder):
    return read(folder / "results" / "water_costs-smoke.json")


def test_every_task_is_timed_at_every_size(result):
    assert list(result["records"]) == list(tasks(SMOKE.members))
    for rows in result["records"].values():
        assert [row["atoms"] for row in rows] == [24, 81]
        for row in rows:
            assert len(row["seconds"]) == SMOKE.turns
            assert min(row["seconds"]) > 0
            assert row["memory"] >= row["idle"] > 50


def test_boxes_have_one_density_and_whole_molecules(folder):
    densities = []
    for molecules in SMOKE.molecules:
        atoms = io.read(box(molecules, SMOKE, folder / "runs" / "smoke"))
        assert len(atoms) == 3 * molecules
        densities.append(atoms.get_masses().sum() * units._amu * 1e27 / atoms.get_volume())
        bonds = [atoms.get_distance(3 * i, 3 * i + j, mic=True) for i in range(8) for j in (1, 2)]
        assert 0.8 < min(bonds) < max(bonds) < 1.2
    np.testing.assert_allclose(densities, 0.997, rtol=1e-3)


def test_the_laptop_has_the_sizes_of_the_claim():
    assert PRESETS["laptop"].molecules == (64, 216, 512, 1000)
    assert len(committee(8)) == PRESETS["laptop"].members


def test_memory_that_was_freed_is_remembered():
    before = peak()
    held = np.ones(round((before + 100) * 2**17))
    size = held.nbytes / 2**20
    del held
    assert size <= peak() <= before + size + 50


def test_a_job_is_measured_in_a_process_of_its_own(folder, monkeypatch):
    """What this process changes does not reach the other, nor does the memory that it has held."""
    held = np.ones(1000 * 2**17)
    monkeypatch.setattr(costs, "tasks", None)
    run = Runner("smoke", folder / "runs", folder / "results")
    record = costs.make("prediction, 1 member", 8, SMOKE, run)
    assert len(record["seconds"]) == SMOKE.turns
    assert record["memory"] < held.nbytes / 2**20 < peak()


def test_an_attack_that_ends_early_is_no_measurement(folder, monkeypatch):
    monkeypatch.setattr("studies.water.cost_tasks.attack", lambda *args: args[-1]())
    file = box(8, SMOKE, folder / "runs" / "smoke")
    with pytest.raises(RuntimeError, match="ended after 0 of 3 turns"):
        measure("attack step, 2 members", SMOKE, file)


def test_exponents_follow_from_medians():
    """A task that costs n^1.5 with one slow turn in three, and one that is linear."""
    atoms = np.array([192, 648, 1536, 3000])
    rows = {
        name: [
            {"atoms": int(n), "seconds": [s, s, 9 * s], "memory": 300.0 + n, "idle": 300.0}
            for n, s in zip(atoms, 1e-5 * atoms**power, strict=True)
        ]
        for name, power in (("cubic root", 1.5), ("linear", 1.0))
    }
    found = {claim.name: claim for claim in claims(rows)}
    exponent = "slope of log(seconds) against log(atoms), "
    assert found[exponent + "cubic root"].value == pytest.approx(1.5, abs=1e-4)
    assert found[exponent + "cubic root"].met is False
    assert found[exponent + "linear"].value == pytest.approx(1.0, abs=1e-4)
    assert found[exponent + "linear"].met is True
    assert found["linear, 1000 waters"].value == pytest.approx(0.03)
    assert found["peak memory, linear, 1000 waters"].value == 3300
    assert slope([1, 10, 100], [2, 20, 200]) == pytest.approx(1)


def test_a_finished_study_is_read(folder, result, monkeypatch):
    monkeypatch.setattr(costs, "make", lambda *args: pytest.fail("a job was run again"))
    place = costs.study(Runner("smoke", folder / "runs", folder / "results"))
    assert read(place)["records"] == result["records"]


@pytest.mark.parametrize(("key", "label"), [("seconds", "seconds"), ("memory", "peak memory (MB)")])
def test_a_picture_of_costs(axes, drawn, result, key, label):
    draw(axes, result["records"], key)
    drawn(axes, "atoms", label)
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    for task, rows in result["records"].items():
        expected = [[row["atoms"], np.median(row[key])] for row in rows]
        np.testing.assert_allclose(lines[task], expected)
    assert len(axes.lines) == len(result["records"]) + (key == "seconds")
