"""One process at a time computes in a run directory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from itertools import islice

import helpers
import pytest

from agal_toolkit.events import Epoch
from agal_toolkit.loop.lock import LOCK, RunDirectoryError, locked
from agal_toolkit.widgets.background import DONE, Background

HOST = platform.node()


def hold(folder, process, host=HOST, started=""):
    """Leave the lock of another process."""
    (folder / LOCK).write_text("\n".join([str(process), host, started]).strip() + "\n")


def holder(folder):
    """Return process and host of the holder."""
    process, host = (folder / LOCK).read_text().splitlines()[:2]
    return int(process), host.partition("?")[0]


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lock_is_held_and_given_back(tmp_path):
    with locked(tmp_path):
        assert holder(tmp_path) == (os.getpid(), HOST)
        message = r"is in use by another run of this process .* since .*: wait until it ends"
        with pytest.raises(RunDirectoryError, match=message), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="mine"), locked(tmp_path):
        raise RuntimeError("mine")
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    hold(tmp_path, dead_process())
    with locked(tmp_path):
        assert holder(tmp_path)[0] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs start times of processes")
def test_a_number_that_was_given_to_another_process_holds_nothing(tmp_path):
    hold(tmp_path, os.getppid(), started="1")
    with locked(tmp_path):
        pass


def test_the_lock_of_another_host_is_for_a_person_to_remove(tmp_path):
    hold(tmp_path, 4, "node17")
    message = rf"in use by process 4 on node17 since 20.*: .* remove {tmp_path / LOCK}$"
    with pytest.raises(RunDirectoryError, match=message), locked(tmp_path):
        pass
    (tmp_path / LOCK).write_text("{")
    with pytest.raises(RunDirectoryError, match="on an unknown host"), locked(tmp_path):
        pass
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).mkdir()  # by an earlier version
    with pytest.raises(RunDirectoryError, match=rf"remove {tmp_path / LOCK}$"), locked(tmp_path):
        pass


def test_a_directory_that_is_gone_is_not_made_anew(tmp_path):
    message = "was it removed, or moved"
    with pytest.raises(RunDirectoryError, match=message), locked(tmp_path / "gone"):
        pass
    assert not list(tmp_path.iterdir())


def test_two_runs_of_one_kernel_do_not_mix(tmp_path):
    computing, go_on = threading.Event(), threading.Event()

    def first(report):
        def listen(event):
            report(event)
            if isinstance(event, Epoch):
                computing.set()
                go_on.wait(60)

        return islice(helpers.small_loop().generations(helpers.first_data(), tmp_path, listen), 1)

    def second(report):
        return islice(helpers.small_loop().generations(helpers.first_data(), tmp_path, report), 1)

    one, two = Background(first).start(), Background(second)
    assert computing.wait(60)
    with pytest.raises(RunDirectoryError, match="in use by another run of this process"):
        two.start().wait(60)
    go_on.set()
    assert one.wait(60).state == DONE
    assert two.start().wait(60).state == DONE


def test_a_suspended_run_holds_nothing(tmp_path):
    one = helpers.small_loop().generations(helpers.first_data(), tmp_path)
    two = helpers.small_loop().generations(helpers.first_data(), tmp_path)
    indices = [next(run).index for run in (one, two, two, one, one)]
    assert indices == [0, 0, 1, 1, 2]
