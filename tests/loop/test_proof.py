"""Files of a run that were changed by a bit, cut, or put elsewhere: nothing is believed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import helpers
import numpy as np
import pytest

from agal_toolkit.events import Epoch, Finished, Stage, Step
from agal_toolkit.files import DamagedFile
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.loop.run_directory import RunDirectoryError
from agal_toolkit.references import Cache, DoubleWell, Reference


def run(folder, count=2, loop=None, **listener):
    loop = helpers.small_loop() if loop is None else loop
    return list(islice(loop.generations(helpers.first_data(), folder, **listener), count))


def outcome(generations):
    """All numbers of a run."""
    return [
        (
            turn.grown.digest(),
            turn.verdicts,
            tuple(turn.metrics.items()),
            [c.geometry.digest() for c in turn.candidates],
            [a.losses.tobytes() + a.path.tobytes() for a in turn.adversaries],
            [p.detach().numpy().tobytes() for p in turn.committee.members.module.parameters()],
            turn.committee.members.baseline,
        )
        for turn in generations
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored") / "run"
    return folder, outcome(run(folder))


@pytest.mark.parametrize("seed", range(2))
def test_nothing_that_was_changed_is_believed(stored, seed, tmp_path):
    source, right = stored
    folder, rng = tmp_path / "run", np.random.default_rng(seed)
    shutil.copytree(source, folder)
    files = [path for path in sorted(folder.glob("generation_*/**/*")) if path.is_file()]
    refused = 0
    for _ in range(30):
        file = files[rng.integers(len(files))]
        before = file.read_bytes()
        content, change = bytearray(before), rng.integers(4)
        place = int(rng.integers(len(content)))
        if change <= 1:
            content[place] ^= 1 << int(rng.integers(8))
        elif change == 2:
            content = content[:place]
        else:  # a file of the same kind from elsewhere
            alike = [f for f in files if f.suffix == file.suffix and f.read_bytes() != before]
            content = alike[rng.integers(len(alike))].read_bytes()
        file.write_bytes(content)
        try:
            assert outcome(run(folder)) == right  # bits that hold no data: dates in zip archives
        except (RunDirectoryError, DamagedFile):
            refused += 1
        file.write_bytes(before)
    assert refused >= 24
    assert outcome(run(folder)) == right


@pytest.mark.parametrize("stage", ["members", "seeds.npz", "verdicts.json", "labels.npz"])
@pytest.mark.parametrize("origin", ["generation", "run"])
def test_a_stage_of_another_generation_or_run_is_refused(stored, origin, stage, tmp_path):
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(stored[0], folder)
    run(other, 2, helpers.small_loop(seed=7))
    source = folder / "generation_000" if origin == "generation" else other / "generation_001"
    target = folder / "generation_001" / stage
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    copy = shutil.copytree if (source / stage).is_dir() else shutil.copy
    copy(source / stage, target)
    place = "generation 0, not 1" if origin == "generation" else "run '.*', not '.*'"
    with pytest.raises(RunDirectoryError, match=rf"made from something else .*{place}.*delete it"):
        run(folder)


def test_a_stage_is_refused_when_the_one_before_it_changed(stored, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stored[0], folder)
    run(tmp_path / "other", 2, helpers.small_loop(seed=7))
    for name in ("run.json", "generation_000"):  # consistent in itself, but not what came after
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    shutil.copy(tmp_path / "other" / "run.json", folder)
    shutil.copytree(tmp_path / "other" / "generation_000", folder / "generation_000")
    with pytest.raises(RunDirectoryError, match=r"generation_001.*made from something else"):
        run(folder, 2, helpers.small_loop(seed=7))


def test_settings_changed_by_hand_are_damage(stored, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stored[0], folder)
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"seed": 3', '"seed": 4'))
    with pytest.raises(RunDirectoryError, match=r"run\.json is damaged .*its digest"):
        run(folder, 2, helpers.small_loop(seed=4))


def test_a_kept_label_is_that_of_its_own_geometry(tmp_path):
    cache, reference = Cache(tmp_path), Reference(DoubleWell())
    first, second = points([[0.1, 0.2], [0.3, 0.4]])
    list(reference([first, second], cache))
    paths = [tmp_path / reference.settings_digest / f"{g.digest()}.npz" for g in (first, second)]
    shutil.copy(paths[0], paths[1])
    with pytest.raises(DamagedFile, match=r"geometry '.*', not '.*'\): delete it to label"):
        list(reference([second], cache))
    other = tmp_path / "other settings"
    other.mkdir()
    shutil.copy(paths[0], other)
    with pytest.raises(DamagedFile, match=r"settings '.*', not 'other settings'"):
        cache.read("other settings", first)


# -- directories that change under a run


@dataclass(frozen=True)
class Wanders:
    """The double well, and a step to another directory at each label."""

    to: Path = field(compare=False)

    def __call__(self, geometry: Geometry) -> Labels:
        os.chdir(self.to)
        return DoubleWell()(geometry)


def test_a_label_that_changes_directory_does_not_split_a_run(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run("run", 2, helpers.small_loop(Wanders(tmp_path / "there")))
    assert Path.cwd() == tmp_path / "there"
    assert not list((tmp_path / "there").iterdir())
    assert (tmp_path / "here" / "run" / "generation_001" / "metrics.json").exists()


@pytest.mark.parametrize("moment", [Epoch, Step, Stage, Finished])
def test_a_removed_directory_is_an_error_and_not_made_anew(moment, tmp_path):
    def report(event):
        if isinstance(event, moment):
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    error = OSError if moment is Epoch else RunDirectoryError
    with pytest.raises(error, match=r"was removed,? or moved|was it removed, or moved"):
        run(tmp_path / "run", 2, report=report)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("left", ["", "{", '{"format": 3, "sett', "[" * 5000])
def test_a_start_that_was_cut_short_counts_as_empty(left, tmp_path):
    (tmp_path / "run.json").write_text(left)
    (tmp_path / "run.json.part").write_text(left)
    (tmp_path / "part-abc").mkdir()
    (tmp_path / "part-abc" / "run.json").write_text(left)
    assert len(run(tmp_path, 1)) == 1
    assert not (tmp_path / "part-abc").exists()
