"""Jobs run once, in processes or here; their errors and the end of time leave the others alone."""

from __future__ import annotations

import json
from operator import attrgetter, methodcaller

import numpy as np
import pytest

from studies import jobs
from studies.jobs import Job, Runner


def listed(folder, **makers):
    """Return jobs by name."""
    return {name: Job(folder / f"{name}.json", {"width": 8}, make) for name, make in makers.items()}


@pytest.mark.parametrize("processes", [1, 2])
def test_each_job_becomes_a_file_and_is_not_run_again(tmp_path, processes):
    lines = []
    runner = Runner("smoke", tmp_path, processes=processes, say=lines.append)
    pieces = listed(runner.out, one=attrgetter("preset"), two=attrgetter("device"))
    assert runner.run(pieces) == []
    assert [piece.record() for piece in pieces.values()] == ["smoke", "cpu"]
    assert [line.split(":")[0] for line in lines] == ["one", "two"]
    assert "job 2 of 2, about 0 s left" in lines[1]
    content = json.loads(pieces["one"].file.read_text())
    assert (content["settings"], content["device"]) == ({"width": 8}, "cpu")
    assert {"machine", "versions"} <= set(content)
    again = listed(runner.out, one=lambda runner: pytest.fail("it was finished"))
    assert runner.run(again) == []


def test_a_failed_job_leaves_the_others_alone(tmp_path):
    def fails(runner):
        raise ValueError("no number")

    runner = Runner("smoke", tmp_path)
    pieces = listed(runner.out, bad=fails, good=attrgetter("preset"))
    errors = runner.run(pieces)
    assert pieces["good"].record() == "smoke"
    assert not pieces["bad"].file.exists()
    with pytest.raises(ExceptionGroup, match="jobs failed") as raised:
        jobs.raise_errors(errors)
    assert raised.value.exceptions[0].__notes__ == ["in job bad"]


def test_a_job_ends_with_its_time_and_no_other_begins(tmp_path):
    def slow(runner):
        runner.deadline = 0.0
        return methodcaller("report", None)(runner)

    lines = []
    runner = Runner("smoke", tmp_path, say=lines.append)
    pieces = listed(runner.out, slow=slow, later=lambda runner: pytest.fail("it was too late"))
    assert runner.run(pieces) == []
    assert len(lines) == 1
    assert lines[0].startswith("slow: out of time, the next call goes on")
    assert not list(runner.out.glob("*.json"))


def test_a_job_of_other_settings_is_refused(tmp_path):
    runner = Runner("smoke", tmp_path)
    runner.run(listed(runner.out, one=attrgetter("preset")))
    other = Job(runner.out / "one.json", {"width": 9}, attrgetter("preset"))
    with pytest.raises(ValueError, match="width: 8 there, 9 here"):
        runner.run({"one": other})


def test_intervals_are_percentiles_of_two_thousand_draws(rng):
    values, others = rng.normal(size=(2, 20))
    drawn = np.random.default_rng(0).integers(20, size=(2000, 20))
    means = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    np.testing.assert_allclose(jobs.interval(values), means, rtol=1e-12)

    def ratio(one, other, axis):
        return np.median(one, axis=axis) / np.median(other, axis=axis)

    ratios = np.median(values[drawn], axis=1) / np.median(others[drawn], axis=1)
    np.testing.assert_allclose(
        jobs.interval(values, others, statistic=ratio), np.percentile(ratios, [2.5, 97.5])
    )


def test_commands_find_runs_and_results_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = jobs.parser("A study.", ("smoke", "laptop"), "toy").parse_args(["--processes", "3"])
    runner = jobs.runner(given)
    assert (runner.preset, runner.processes) == ("laptop", 3)
    assert runner.results == jobs.NOTEBOOKS / "results"
    assert runner.out == jobs.NOTEBOOKS.parent / "runs" / "toy" / "laptop"


@pytest.mark.parametrize("content", [b"", b'{"format": 2', b"[1]", b"\xff\xfe{}"])
def test_a_damaged_file_is_named(content, tmp_path):
    file = tmp_path / "study-smoke.json"
    file.write_bytes(content)
    for parse in (jobs.read, lambda path: jobs.finished(path, {})):
        with pytest.raises(ValueError, match=r"study-smoke\.json is damaged .*: restore it, or"):
            parse(file)
    with pytest.raises(FileNotFoundError):
        jobs.read(tmp_path / "nothing.json")


def test_records_that_are_there_keep_the_machine_that_computed_them(tmp_path):
    kept = {"seed": 0, "device": "cpu", "seconds": {}, "settings": {}, "claims": []}
    path = jobs.write(tmp_path, "study", "tiny", records={"a": (1, 2)}, **kept)
    content = jobs.read(path)
    path.write_text(json.dumps({**content, "machine": "another", "python": "3.11.0"}))
    claim = jobs.Claim(name="one", value=1.0)
    jobs.write(tmp_path, "study", "tiny", records={"a": (1, 2)}, **{**kept, "claims": [claim]})
    again = jobs.read(path)
    assert (again["machine"], again["python"]) == ("another", "3.11.0")
    assert [each["name"] for each in again["claims"]] == ["one"]
    jobs.write(tmp_path, "study", "tiny", records={"a": (1, 3)}, **kept)
    assert jobs.read(path)["machine"] == content["machine"]
