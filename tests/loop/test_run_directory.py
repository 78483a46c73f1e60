"""The run directory: written atomically, read back, and clear about what is wrong with it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from agal_toolkit.attack import Adversary
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Note
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.loop.run_directory import (
    LABELS,
    METRICS,
    RunDirectory,
    RunDirectoryError,
    as_arrays,
    as_folder,
    differences,
    pack_adversaries,
    pack_geometries,
    pack_labels,
    unpack_adversaries,
    unpack_geometries,
    unpack_labels,
)

SETTINGS = {"recipe": {"epochs": 6, "selectors": [{"name": "A", "count": 3}]}, "seed": 0}


NUMBER = as_arrays(lambda v: {"v": np.array(v)}, lambda a: float(a["v"]))
ARRAY = as_arrays(lambda v: {"v": v}, lambda a: a["v"])


def opened(folder):
    store = RunDirectory(folder)
    store.open(SETTINGS, {})
    return store


def value_of(store, value=3.0):
    return store.stage(0, "stage", NUMBER, lambda: value)


def never():
    raise AssertionError("a finished stage was run again")


def test_differences_name_the_place():
    other = {
        "recipe": {"epochs": 7, "selectors": [{"name": "A", "count": 4}]},
        "seed": 0,
        "test": "abc",
    }
    assert differences(SETTINGS, other) == [
        "recipe.epochs: 6 there, 7 here",
        "recipe.selectors[0].count: 3 there, 4 here",
        'test: "nothing" there, "abc" here',
    ]
    assert differences([1, 2], [1, 2, 3], "list") == ["list: [1, 2] there, [1, 2, 3] here"]
    assert differences(SETTINGS, SETTINGS) == []


def test_a_directory_is_made_and_recognised(tmp_path):
    store = RunDirectory(tmp_path / "deep" / "run")
    store.open(SETTINGS, {"python": "3"})
    store.open(SETTINGS, {"python": "4"})
    stored = json.loads((store.folder / "run.json").read_text())
    assert len(stored.pop("digest")) == 32
    assert stored == {"format": 3, "settings": SETTINGS, "about": {"python": "3"}}


def test_other_versions_are_told_and_change_nothing(tmp_path):
    store, events = RunDirectory(tmp_path), []
    for torch in ("2.1", "2.1", "2.2"):
        store.open(SETTINGS, {"versions": {"torch": torch, "ase": "3"}}, events.append)
    (note,) = events
    assert isinstance(note, Note)
    assert 'begun with other versions (torch: "2.1" there, "2.2" here)' in note.text
    assert json.loads((tmp_path / "run.json").read_text())["about"]["versions"]["torch"] == "2.1"


def test_other_settings_show_their_difference(tmp_path):
    store = RunDirectory(tmp_path)
    store.open(SETTINGS, {})
    with pytest.raises(
        RunDirectoryError,
        match=(
            r"made with other settings; give another directory, or the old settings:\n  seed: 0"
            r" there, 1 here$"
        ),
    ):
        store.open({**SETTINGS, "seed": 1}, {})


def test_a_directory_of_another_format_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"settings": SETTINGS, "about": {}}))
    with pytest.raises(
        RunDirectoryError,
        match=r"has format 1, this version reads format 3: give another directory",
    ):
        RunDirectory(tmp_path).open(SETTINGS, {})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"settings'])
def test_a_damaged_run_json(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "generation_000").mkdir()
    message = r"run\.json is damaged.*: give another directory|has format 1"
    with pytest.raises(RunDirectoryError, match=message):
        RunDirectory(tmp_path).open(SETTINGS, {})


def test_a_foreign_directory_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(
        RunDirectoryError,
        match=r"is not a run directory \(it has no run.json\): give another or an empty one",
    ):
        RunDirectory(tmp_path).open(SETTINGS, {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        RunDirectory(tmp_path / "thesis.tex").open(SETTINGS, {})


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunDirectoryError,
        match=r"cannot write .*run\.json .*: give a directory that can be written to",
    ):
        RunDirectory(tmp_path / "file" / "run").open(SETTINGS, {})


def test_a_stage_is_computed_once(tmp_path):
    store = opened(tmp_path)
    assert value_of(store, 3.0) == 3.0
    assert value_of(store, 4.0) == 3.0
    assert store.has(0, "stage", NUMBER)
    assert not store.has(1, "stage", NUMBER)
    value = store.stage(0, "said", METRICS, lambda: {"a": 1 / 3})
    assert value == store.stage(0, "said", METRICS, never) == {"a": 1 / 3}
    assert store.stage(0, "folder", FOLDER, lambda: "text") == "text"
    assert store.stage(0, "folder", FOLDER, never) == "text"
    assert not list(tmp_path.rglob("part-*"))


def test_labels_are_forgotten_with_all_that_came_after_them(tmp_path):
    store = opened(tmp_path)
    for generation in (0, 1):
        value_of(store)
        store.stage(generation, "labels", LABELS, lambda: (Dataset(), {2: "no"}))
        store.stage(generation, "metrics", METRICS, lambda: {"rmse": 1.0})
    store.stage(2, "folder", FOLDER, lambda: "text")
    generation, labelled, failures = store.last_labels()
    assert (generation, len(labelled), failures) == (1, 0, {2: "no"})
    store.forget_labels(1)
    assert store.last_labels()[0] == 0
    assert not (tmp_path / "generation_002").exists()
    assert not list((tmp_path / "generation_001").iterdir())
    assert value_of(store, 5.0) == 3.0


def _save(text, folder):
    folder.mkdir(parents=True)
    (folder / "text").write_text(text)


def _load(folder):
    return (folder / "text").read_text()


FOLDER = as_folder(_save, _load)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = RunDirectory(None)
    store.open(SETTINGS, {})
    assert value_of(store, 1.0) == 1.0
    assert value_of(store, 2.0) == 2.0
    assert store.stage(0, "said", METRICS, lambda: {"a": 1}) == {"a": 1}
    assert store.stage(0, "folder", FOLDER, lambda: 7) == 7
    assert store.scratch(0, "members") is None
    assert store.cache.folder is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 1, 30, 0.5, 0.95, -1])
def test_a_truncated_stage_is_named_with_the_remedy(keep, tmp_path):
    store = opened(tmp_path)
    store.stage(0, "stage", ARRAY, lambda: np.arange(500.0))
    file = store.path(0, "stage.npz")
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(
        RunDirectoryError,
        match=r"stage\.npz is damaged .*: delete it, and it will be computed again",
    ):
        store.stage(0, "stage", ARRAY, never)


def test_a_flipped_bit_is_noticed(tmp_path):
    store = opened(tmp_path)
    store.stage(0, "stage", ARRAY, lambda: np.arange(500.0))
    file = store.path(0, "stage.npz")
    content = bytearray(file.read_bytes())
    content[2000] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunDirectoryError, match="is damaged"):
        store.stage(0, "stage", ARRAY, never)


def test_a_pickle_is_never_read(tmp_path):
    store = opened(tmp_path)
    place = store.path(0, "stage.npz")
    place.parent.mkdir()
    for name in ("npz", "npy"):
        with place.open("wb") as stream:
            (np.savez if name == "npz" else np.save)(stream, np.array([{"a": 1}], dtype=object))
        with pytest.raises(RunDirectoryError, match="is damaged"):
            store.stage(0, "stage", as_arrays(dict, lambda a: a["arr_0"]), never)


def test_damaged_json_and_folders(tmp_path):
    store = opened(tmp_path)
    store.stage(0, "said", METRICS, lambda: {"a": 1})
    store.path(0, "said.json").write_text('{"a": ')
    with pytest.raises(RunDirectoryError, match=r"said\.json is damaged .*delete it"):
        store.stage(0, "said", METRICS, never)
    store.stage(0, "folder", FOLDER, lambda: "text")
    (store.path(0, "folder") / "text").unlink()
    with pytest.raises(RunDirectoryError, match=r"folder is damaged \(text is not .*delete it"):
        store.stage(0, "folder", FOLDER, never)


def test_what_is_half_written_does_not_count(tmp_path):
    store = opened(tmp_path)

    def pack(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.stage(0, "stage", as_arrays(pack, float), lambda: 1.0)
    assert not store.has(0, "stage", NUMBER)
    assert value_of(store, 2.0) == 2.0

    def half(text, folder):
        _save(text, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.stage(0, "folder", as_folder(half, _load), lambda: "first")
    assert not store.has(0, "folder", FOLDER)
    assert store.stage(0, "folder", FOLDER, lambda: "second") == "second"


def test_the_scratch_goes_with_its_stage(tmp_path):
    store = opened(tmp_path)
    scratch = store.scratch(0, "folder")

    def compute():
        scratch.mkdir(parents=True)
        (scratch / "checkpoint").write_text("")
        return "text"

    store.stage(0, "folder", FOLDER, compute)
    assert not scratch.exists()
    assert isinstance(scratch, Path)


# -- packed and unpacked, float for float, through a file that holds no pickles


def through_a_file(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        return dict(read)


def geometries(rng):
    return [
        Geometry(
            positions=rng.normal(size=(3, 3)) / 3,
            numbers=[8, 1, 1],
            charge=-1,
            multiplicity=2,
            movable=[True, False, True],
            origin={"by": "hand", "list": [1, {"ä": None}]},
        ),
        Geometry(
            positions=[[5e-324, -0.0, 1e300]],
            numbers=[29],
            cell=rng.normal(size=(3, 3)),
            pbc=[True, False, True],
        ),
    ]


def same(one, other):
    assert one.digest() == other.digest()
    assert one.positions.tobytes() == other.positions.tobytes()
    assert dict(one.origin) == dict(other.origin)
    assert one.movable.tolist() == other.movable.tolist()


def test_geometries_are_packed_and_unpacked(rng):
    given = geometries(rng)
    again = unpack_geometries(through_a_file(pack_geometries(given)))
    assert len(again) == 2
    for one, other in zip(again, given, strict=True):
        same(one, other)


def test_a_dataset_is_packed_and_unpacked(rng):
    given = geometries(rng)
    stress = rng.normal(size=(3, 3))
    data = Dataset(
        given,
        [
            Labels(energy=1 / 3, forces=rng.normal(size=(3, 3))),
            Labels(energy=-7548.1, forces=np.ones((1, 3)), stress=stress + stress.T),
        ],
        ["train", "calibration"],
    )
    again, failures = unpack_labels(through_a_file(pack_labels((data, {3: "no", 1: "ä"}))))
    assert failures == {1: "ä", 3: "no"}
    assert again.roles == data.roles
    assert again.energies.tobytes() == data.energies.tobytes()
    for a, b, x, y in zip(again, data, again.labels, data.labels, strict=True):
        same(a, b)
        assert x.forces.tobytes() == y.forces.tobytes()
    assert again.labels[0].stress is None
    assert again.labels[1].stress.tobytes() == data.labels[1].stress.tobytes()


def test_adversaries_are_packed_and_unpacked(rng):
    given = [
        Adversary(
            4,
            points([[0.1, 0.2]], by="attack")[0],
            rng.normal(size=(6, 1, 2)),
            np.array([1.0, np.nan, np.inf, -np.inf, 0.1, 3.0]),
            4,
            True,
        ),
        Adversary(
            7,
            Geometry(positions=np.ones((2, 2)), numbers=[0, 0]),
            rng.normal(size=(6, 2, 2)),
            np.full(6, np.nan),
            0,
            False,
        ),
    ]
    again = unpack_adversaries(through_a_file(pack_adversaries(given)))
    for a, b in zip(again, given, strict=True):
        same(a.geometry, b.geometry)
        assert (a.seed, a.reached) == (b.seed, b.reached)
        assert type(a.reached) is bool
        assert a.path.tobytes() == b.path.tobytes()
        assert a.losses.tobytes() == b.losses.tobytes()


def test_nothing_at_all_is_packed_and_unpacked():
    assert unpack_geometries(through_a_file(pack_geometries([]))) == []
    labelled, failures = unpack_labels(through_a_file(pack_labels((Dataset(), {}))))
    assert (len(labelled), failures) == (0, {})
    assert unpack_adversaries(through_a_file(pack_adversaries([]))) == []


def test_dimensions_do_not_mix(rng):
    with pytest.raises(ValueError, match="different dimensions cannot be stored together"):
        pack_geometries([*geometries(rng), *points([[0.0, 1.0]])])
