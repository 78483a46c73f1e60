from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from label_functions import (
    DIES,
    FORKS,
    GOOD,
    HANGS,
    INTERRUPTS,
    NO_LIBRARY,
    NOT_A_NUMBER,
    RAISES,
    SLOW,
    WRITES,
    WRONG_SHAPE,
    WRONG_TYPE,
    WithProgram,
    environment,
    moody,
)

from agal_toolkit.geometry import Labels, points
from agal_toolkit.references import Cache, DoubleWell, LabelFailed, Reference, processes

SETTINGS = {"code": "moody"}


@pytest.fixture(scope="session")  # processes import torch: once for each worker of pytest
def pool():
    with processes(2) as pool:
        yield pool


def moods(*xs):
    return points([[x, 0.5] for x in xs])


def until(condition, seconds=5.0):
    """Wait for `condition` to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def runs(pid):
    """Whether the process `pid` runs; a zombie does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_mixture_of_moods_costs_only_those_that_misbehave(pool):
    geometries = moods(
        0.25, HANGS, RAISES, DIES, NOT_A_NUMBER, WRONG_SHAPE, WRONG_TYPE, SLOW, 0.5, GOOD
    )
    results = dict(Reference(moody, SETTINGS, pool, timeout=1.0)(geometries))
    assert sorted(results) == list(range(10))
    for index in (0, 7, 8, 9):
        assert results[index].energy == (geometries[index].positions ** 2).sum() / 2
    expected = {
        1: "no answer within 1 s",
        2: "RuntimeError: the SCF did not converge",
        3: "the process died (exit code 3)",
        4: "energy is nan",
        5: "shape (4, 2), its positions (1, 2)",
        6: "returned float, expected Labels",
    }
    for index, text in expected.items():
        assert isinstance(results[index], LabelFailed)
        assert text in str(results[index])
    assert "label_functions.py" in results[2].traceback


def test_labels_are_those_of_this_process_and_workers_stay(pool):
    geometries = points(np.random.default_rng(0).normal(size=(10, 2)))
    in_processes = dict(Reference(DoubleWell(), executor=pool)(geometries))
    in_thread = dict(Reference(DoubleWell())(geometries))
    for index in range(10):
        assert in_processes[index].energy == in_thread[index].energy
        np.testing.assert_array_equal(in_processes[index].forces, in_thread[index].forces)
    before = {labels.energy for _, labels in Reference(environment, SETTINGS, pool)(geometries)}
    after = {labels.energy for _, labels in Reference(environment, SETTINGS, pool)(geometries)}
    assert after <= before
    assert os.getpid() not in before


def test_workers_have_the_threads_that_were_asked_for(pool):
    before = dict(os.environ)
    ((_, labels),) = Reference(environment, SETTINGS, pool)(moods(0))
    np.testing.assert_array_equal(labels.forces, [[1, 1]])
    assert dict(os.environ) == before


class Cancelled(Exception):
    """A listener wants no more."""


def test_what_was_running_is_killed_when_a_listener_raises(pool, tmp_path):
    file = tmp_path / "pid"

    def cancel(event):
        until(file.exists)
        raise Cancelled

    with pytest.raises(Cancelled):
        list(Reference(WithProgram(file), executor=pool)(moods(HANGS, GOOD), report=cancel))
    until(lambda: not runs(file.read_text()))


def test_what_was_running_is_killed_when_the_iterator_is_abandoned(pool, tmp_path):
    file, cache = tmp_path / "pid", Cache(tmp_path / "labels")
    labels = Reference(WithProgram(file), executor=pool)(moods(HANGS, GOOD), cache)
    assert next(labels)[0] == 1
    until(file.exists)
    assert runs(file.read_text())
    labels.close()
    until(lambda: not runs(file.read_text()))
    assert len(list((tmp_path / "labels").glob("*/*.npz"))) == 1
    assert not list((tmp_path / "labels").glob("*/*.failed.json"))


def test_a_child_that_a_label_forks_never_answers(pool):
    geometries = moods(0.25, FORKS, 0.5, 0.75, FORKS, 0.125)
    for _ in range(2):  # the second run meets what the first may have left in the pipes
        results = dict(Reference(moody, SETTINGS, pool)(geometries))
        for index, geometry in enumerate(geometries):
            assert results[index].energy == (geometry.positions**2).sum() / 2


def test_an_answer_to_no_question_costs_its_geometry_and_worker_only(pool):
    geometries = moods(0.25, WRITES, 0.5)
    results = dict(Reference(moody, SETTINGS, pool)(geometries))
    assert "sent an answer to another question" in str(results[1])
    for index in (0, 2):
        assert results[index].energy == (geometries[index].positions ** 2).sum() / 2


def test_a_missing_library_stops_the_run(pool, tmp_path):
    with pytest.raises(ImportError, match="label function cannot work: No module named 'no_such"):
        list(Reference(moody, SETTINGS, pool)(moods(NO_LIBRARY, GOOD), Cache(tmp_path)))
    assert not list(tmp_path.glob("*/*.failed.json"))


def test_a_label_that_ran_out_of_time_is_asked_again_under_a_longer_one(pool, tmp_path):
    def ask(timeout):
        reference = Reference(moody, SETTINGS, pool, timeout)
        ((_, outcome),) = reference(moods(SLOW), Cache(tmp_path), events.append)
        return str(outcome) if isinstance(outcome, LabelFailed) else outcome.energy

    events = []
    assert [ask(0.1), ask(0.1), ask(0.05)] == ["no answer within 0.1 s"] * 3
    assert [event.cached for event in events] == [False, True, True]
    assert ask(60.0) == ask(0.05) == (SLOW**2 + 0.25) / 2
    assert [event.cached for event in events[3:]] == [False, True]


def test_interrupts_are_raised(pool):
    with pytest.raises(KeyboardInterrupt):
        list(Reference(moody, SETTINGS, pool)(moods(INTERRUPTS)))


def test_one_run_at_a_time(pool):
    labels = pool.run(moody, moods(GOOD, SLOW))
    next(labels)
    with pytest.raises(RuntimeError, match="already running"):
        next(pool.run(moody, moods(GOOD)))
    labels.close()
    assert isinstance(dict(pool.run(moody, moods(GOOD)))[0], Labels)


def test_a_timeout_alone_is_one_process_of_our_own(tmp_path):
    file = tmp_path / "pid"
    results = dict(Reference(WithProgram(file), timeout=0.8)(moods(GOOD, HANGS)))
    assert isinstance(results[0], Labels)
    assert str(results[1]) == "no answer within 0.8 s"
    until(lambda: not runs(file.read_text()))


@pytest.mark.parametrize(
    "label", [lambda geometry: None, partial(moody, lock=threading.Lock())], ids=["lambda", "lock"]
)
def test_a_label_that_cannot_travel_says_so(label):
    with (
        processes(1) as pool,
        pytest.raises(
            TypeError, match=r"cannot be sent to another process .* module that can be imported"
        ),
    ):
        list(Reference(label, SETTINGS, pool)(moods(GOOD)))


def test_a_local_function_cannot_travel():
    def label(geometry):
        return moody(geometry)

    with processes(1) as pool, pytest.raises(TypeError, match="cannot be sent"):
        list(Reference(label, SETTINGS, pool)(moods(GOOD)))


def test_a_label_that_a_worker_cannot_import_says_so(pool, monkeypatch):
    lost = type(sys)("module_of_this_process")
    exec("def label(geometry): pass", lost.__dict__)
    monkeypatch.setitem(sys.modules, lost.__name__, lost)
    with pytest.raises(
        RuntimeError,
        match=(
            r"cannot import the label function .*module_of_this_process.* module that can be"
            r" imported"
        ),
    ):
        list(Reference(lost.label, SETTINGS, pool)(moods(GOOD)))


def test_a_label_of_a_notebook_says_what_to_do(pool, monkeypatch):
    def label(geometry):
        return moody(geometry)

    main = sys.modules["__main__"]
    label.__module__, label.__qualname__ = "__main__", "label"
    monkeypatch.setattr(main, "label", label, raising=False)
    monkeypatch.delattr(main, "__file__", raising=False)  # a worker of xdist has none
    with pytest.raises(
        TypeError,
        match="is defined in a notebook, which another process cannot import: put it into a module",
    ):
        list(Reference(label, SETTINGS, pool)(moods(GOOD)))


class DiesOnArrival:
    """A label function whose import ends the process, as a script without a guard does."""

    def __call__(self, geometry):
        raise AssertionError("it never gets there")

    def __reduce__(self):
        return os._exit, (4,)


def test_a_worker_that_cannot_begin_says_what_to_do(pool):
    with pytest.raises(
        RuntimeError,
        match=r"died \(exit code 4\) before it could begin: .* below `if __name__ == '__main__':`",
    ):
        list(Reference(DiesOnArrival(), SETTINGS, pool)(moods(GOOD)))


@pytest.mark.parametrize(
    ("n", "threads", "message"), [(0, 1, "n is 0"), (1.5, 1, "n is 1.5"), (1, 0, "threads is 0")]
)
def test_a_pool_has_whole_workers(n, threads, message):
    with pytest.raises(ValueError, match=message):
        processes(n, threads)


GUARDED = """
from agal_toolkit.geometry import Labels, points
from agal_toolkit.references import Reference, processes
def label(geometry):
    return Labels(energy=1.5, forces=0 * geometry.positions)
if __name__ == "__main__":
    pool = processes(1)
    print(dict(Reference(label, {"code": "label"}, pool)(points([0.0, 0.0])))[0].energy)
"""


def test_a_script_ends_with_its_pool_open(tmp_path):
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.5\n", "")
