"""A real process, really killed: what it had finished is kept, and it ends like one that was left
alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import helpers
import killed_run
import pytest

SCRIPT = Path(killed_run.__file__)


def start(folder, *moment):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), str(SCRIPT.parents[1])]),
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *moment],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def killed(folder, moment):
    """Start a run and kill it where it waits."""
    marker = folder / "marker"
    with start(folder, moment) as process:
        try:
            until = time.monotonic() + 120
            while not marker.exists():
                assert process.poll() is None, process.stdout.read()
                assert time.monotonic() < until, process.stdout.read()
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    marker.unlink()


def files(folder, generation):
    return {path.name for path in (folder / "run" / f"generation_{generation:03d}").iterdir()}


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """The same run, uninterrupted; a script too, because names of settings are in the digests."""
    folder = tmp_path_factory.mktemp("left alone")
    with start(folder) as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return folder


def test_killed_in_training_attacking_and_labelling(left_alone, tmp_path):
    killed(tmp_path, "training")
    assert files(tmp_path, 1) == {"members.scratch"}
    killed(tmp_path, "attacking")
    assert files(tmp_path, 1) == {"members", "seeds.npz"}
    killed(tmp_path, "labelling")
    assert files(tmp_path, 1) == {"members", "seeds.npz", "adversaries.npz", "verdicts.json"}
    labelled = (tmp_path / "asked").read_text().splitlines()
    with start(tmp_path) as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output

    mine, whole = helpers.contents(tmp_path / "run"), helpers.contents(left_alone / "run")
    assert {name: value for name, value in mine.items() if name.startswith("generation")} == {
        name: value for name, value in whole.items() if name.startswith("generation")
    }
    assert sum(name.startswith("generation") for name in whole) == 8 * killed_run.GENERATIONS
    lines = (tmp_path / "asked").read_text().splitlines()
    assert lines[: len(labelled)] == labelled
    assert len(labelled) == 4 + 2
    assert len(lines) == len(set(lines))
    assert lines == (left_alone / "asked").read_text().splitlines()
