"""Run directories opened without their script: what is read, what is trained, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from itertools import islice

import helpers
import numpy as np
import pytest

import agal_toolkit as agal
from agal_toolkit.dataset import CALIBRATION, TRAIN
from agal_toolkit.events import Epoch
from agal_toolkit.loop.lock import locked
from agal_toolkit.loop.run_directory import SECONDS, START, RunDirectoryError
from agal_toolkit.potentials import MLP, Differentiable, Stacked
from agal_toolkit.uncertainty import Calibration

DATA = helpers.first_data(20).reserving(6, np.random.default_rng(0))
HERE = agal.points([[0.3, -0.4]])


def loop(recipe=None, **changes):
    return helpers.small_loop(recipe=recipe, **changes)


def run(one, folder, count=2, report=lambda event: None, data=DATA, **given):
    return list(islice(one.generations(data, folder, report, **given), count))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return folder, run(loop(), folder)


def test_a_run_is_read_without_its_script(made):
    folder, generations = made
    before = helpers.contents(folder)
    read = agal.Run.open(folder)
    assert read.data.digest() == generations[-1].grown.digest()
    assert [g.digest() for g in read.labelled] == [g.labelled.digest() for g in generations]
    assert read.curves["labels"].tolist() == [len(g.dataset) for g in generations]
    assert read.curves["rmse"].tolist() == [g.metrics["rmse"] for g in generations]
    assert [set(times) for times in read.seconds] == [set(g.seconds) for g in generations]
    assert read.recipe == replace(helpers.small_recipe(), trainer=read.recipe.trainer)
    for one, other in zip(read.generations, generations, strict=True):
        assert repr(one).rpartition(";")[0] == repr(other).rpartition(";")[0]
        assert one.committee.digest() == other.committee.digest()
        assert [a.losses.tolist() for a in one.adversaries] == [
            a.losses.tolist() for a in other.adversaries
        ]
    assert helpers.contents(folder) == before
    lines = repr(read).splitlines()
    assert lines[0].startswith(f"Run {folder}: {len(read.data)} structures after 2 generations, ")
    assert lines[1].split() == ["generation", "structures", "labelled", "failed", "seconds", "rmse"]
    assert lines[2].split()[:4] == ["1", "20", str(len(generations[0].labelled)), "0"]


def test_a_fresh_process_opens_it(made, tmp_path):
    code = "import sys, agal_toolkit as agal; r = agal.Run.open(sys.argv[1]); print(len(r.data),"
    code += " r.generations[-1].committee.digest())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(made[0])], capture_output=True, text=True, check=True
    )
    last = made[1][-1]
    assert done.stdout.split() == [str(len(last.grown)), last.committee.digest()]


def test_the_final_committee_is_that_of_the_next_generation(tmp_path):
    generations = run(loop(), tmp_path / "a", 3)
    run(loop(), tmp_path / "b", 2)
    final = agal.Run.open(tmp_path / "b").final()
    assert final.digest() == generations[2].committee.digest()
    aside = agal.Run.open(tmp_path / "b").data.of_role(CALIBRATION)
    laws = Calibration.fit_with_fallback(final.predict(list(aside)), aside)
    assert final.calibration == laws
    events = []
    again = agal.Run.open(tmp_path / "b").final(events.append)
    assert again.digest() == final.digest()
    assert not [event for event in events if isinstance(event, Epoch)]
    assert run(loop(), tmp_path / "b", 3)[2].metrics == generations[2].metrics
    assert helpers.contents(tmp_path / "a") == helpers.contents(tmp_path / "b")


def test_a_final_training_is_resumed_and_respects_the_lock(made, tmp_path):
    class Stop(Exception):
        pass

    def stops(event):
        events.append(event)
        if isinstance(event, Epoch) and event.epoch == 4:
            raise Stop

    events = []
    run(loop(), tmp_path / "run", 1)
    with pytest.raises(Stop):
        agal.Run.open(tmp_path / "run", recipe=helpers.small_recipe()).final(stops)
    events.clear()
    read = agal.Run.open(tmp_path / "run")
    wrong = pytest.raises(RunDirectoryError, match="in use by another run of this process")
    with wrong, locked(tmp_path / "run"):
        read.final(events.append)
    final = read.final(events.append)
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [4, 5, 6]
    assert final.digest() == made[1][1].committee.digest()


def test_a_generation_without_labels_needs_no_training(tmp_path):
    one = loop(helpers.small_recipe(selectors=(agal.MaxForce(1e-9),)))
    (first,) = run(one, tmp_path / "run", 1)
    assert not len(first.labelled)
    assert agal.Run.open(tmp_path / "run").final().digest() == first.committee.digest()


def test_without_calibration_structures_a_warning_says_so(tmp_path):
    run(loop(), tmp_path / "run", 1, data=helpers.first_data(20))
    with pytest.warns(UserWarning, match=r"no structure of .* is for calibration: uncertainties"):
        final = agal.Run.open(tmp_path / "run").final()
    assert final.calibration is None


def test_schedules_and_warm_starts_are_followed(tmp_path):
    warm = replace(helpers.small_recipe().trainer, warm=agal.WarmStart(epochs=2))
    recipe = helpers.small_recipe(trainer=warm)
    schedule = agal.Schedule({0: recipe, 2: replace(recipe, members=2, calibrate=0.3)})
    whole = run(loop(schedule), tmp_path / "a", 3)
    run(loop(schedule), tmp_path / "b", 2)
    read = agal.Run.open(tmp_path / "b")
    assert list(read.recipe.recipes) == [0, 2]
    assert read.final().digest() == whole[2].committee.digest()


def test_what_is_no_run_or_incomplete_is_said(tmp_path):
    with pytest.raises(RunDirectoryError, match=r"nothing is not a run directory"):
        agal.Run.open(tmp_path / "nothing")
    run(loop(), tmp_path / "run", 2)
    (tmp_path / "run" / "generation_001" / "metrics.json").unlink()
    read = agal.Run.open(tmp_path / "run")
    assert len(read.labelled) == len(read.generations) == 1
    with pytest.raises(RunDirectoryError, match=r"generation 2 of .* has labels, but is not compl"):
        read.final()
    file = tmp_path / "run" / "generation_000" / "labels.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(RunDirectoryError, match=r"labels.npz is damaged"):
        agal.Run.open(tmp_path / "run")


def test_runs_of_earlier_versions_need_their_data(tmp_path):
    generations = run(loop(), tmp_path / "run", 1)
    (tmp_path / "run" / START).unlink()
    (tmp_path / "run" / SECONDS).write_text("{")
    with pytest.raises(RunDirectoryError, match=r"does not hold its first data: give the data"):
        agal.Run.open(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"dataset: .* there, .* here"):
        agal.Run.open(tmp_path / "run", data=helpers.first_data(5))
    read = agal.Run.open(tmp_path / "run", data=DATA)
    assert read.data.digest() == generations[0].grown.digest()
    assert read.seconds == ({},)


@dataclass(frozen=True)
class Mine:
    """A sampler of somebody's own."""

    log: list = field(default_factory=list, compare=False)

    def __call__(self, committee, dataset, rng, report=None, scratch=None):
        return HERE * 3


def test_own_classes_are_given_again(tmp_path):
    recipe = helpers.small_recipe(sampler=Mine())
    (first,) = run(loop(recipe), tmp_path / "run", 1)
    read = agal.Run.open(tmp_path / "run")
    assert len(read.labelled[0]) == len(first.labelled)
    wrong = r"recipe.sampler is [\w.]+.Mine, which is no public name of agal_toolkit.*recipe="
    with pytest.raises(RunDirectoryError, match=wrong):
        read.final()
    with pytest.raises(RunDirectoryError, match=r"recipe.members: 2 there, 3 here"):
        agal.Run.open(tmp_path / "run", recipe=replace(recipe, members=3))
    final = agal.Run.open(tmp_path / "run", recipe=recipe).final()
    assert len(final) == 2


def test_runs_that_began_with_a_committee(tmp_path):
    given = agal.Committee(Stacked(MLP(2, [0, 1], width=8).requires_grad_(False)))
    recipe = helpers.small_recipe(attack=agal.Attack(agal.Variance(), agal.Adam(0.05, 2)))
    whole = run(loop(recipe), tmp_path / "own", 2, committee=given)
    read = agal.Run.open(tmp_path / "own")
    assert agal.Committee(read.generations[0].committee.members).digest() == given.digest()
    assert read.generations[1].metrics == whole[1].metrics
    wells = agal.Committee([helpers.well_potential(), Differentiable(helpers.Harmonic())])
    recipe = replace(recipe, attack=agal.Attack(agal.Variance(), agal.Adam(0.05, 2)))
    run(loop(recipe), tmp_path / "foreign", 1, committee=wells)
    with pytest.raises(RunDirectoryError, match=r"foreign cannot hold calculators: give"):
        _ = agal.Run.open(tmp_path / "foreign").generations
    read = agal.Run.open(tmp_path / "foreign", committee=wells)
    assert read.generations[0].committee is not None
    assert TRAIN in read.data.roles
    assert json.loads((tmp_path / "foreign" / "run.json").read_text())["settings"]["committee"]
