"""The run directory: written atomically, read back, and clear about what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agal_toolkit.loop.run_directory import RunDirectoryError, Store, differences

SETTINGS = {"recipe": {"epochs": 6, "selectors": [{"name": "A", "count": 3}]}, "seed": 0}


def value_of(store, value=3.0):
    return store.arrays(
        0, "stage", lambda: value, lambda v: {"v": np.array(v)}, lambda a: float(a["v"])
    )


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
    store = Store(tmp_path / "deep" / "run")
    store.open(SETTINGS, {"python": "3"})
    store.open(SETTINGS, {"python": "4"})
    assert json.loads((store.folder / "run.json").read_text()) == {
        "format": 2,
        "settings": SETTINGS,
        "about": {"python": "3"},
    }


def test_other_settings_show_their_difference(tmp_path):
    store = Store(tmp_path)
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
        match=r"has format 1, this version reads format 2: give another directory",
    ):
        Store(tmp_path).open(SETTINGS, {})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"settings'])
def test_a_damaged_run_json(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"run\.json is damaged .*: give another directory"):
        Store(tmp_path).open(SETTINGS, {})


def test_a_foreign_directory_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(
        RunDirectoryError,
        match=r"is not a run directory \(it has no run.json\): give another or an empty one",
    ):
        Store(tmp_path).open(SETTINGS, {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        Store(tmp_path / "thesis.tex").open(SETTINGS, {})


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunDirectoryError,
        match=r"cannot write .*run\.json .*: give a directory that can be written to",
    ):
        Store(tmp_path / "file" / "run").open(SETTINGS, {})


def test_a_stage_is_computed_once(tmp_path):
    store = Store(tmp_path)
    assert value_of(store, 3.0) == 3.0
    assert value_of(store, 4.0) == 3.0
    assert store.has(0, "stage.npz")
    assert not store.has(1, "stage.npz")
    assert (
        store.json(0, "said", lambda: {"a": 1 / 3}) == store.json(0, "said", never) == {"a": 1 / 3}
    )
    assert (
        store.files(0, "folder", lambda: "text", _save, _load)
        == store.files(0, "folder", never, _save, _load)
        == "text"
    )
    assert not list(tmp_path.rglob("*.part"))
    store.forget(0, "folder")
    store.forget(0, "stage.npz")
    assert not store.has(0, "folder")
    assert value_of(store, 5.0) == 5.0
    store.forget(0)
    assert not (tmp_path / "generation_000").exists()


def _save(text, folder):
    folder.mkdir(parents=True)
    (folder / "text").write_text(text)


def _load(folder):
    return (folder / "text").read_text()


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(None)
    store.open(SETTINGS, {})
    assert value_of(store, 1.0) == 1.0
    assert value_of(store, 2.0) == 2.0
    assert store.json(0, "said", lambda: {"a": 1}) == {"a": 1}
    assert store.files(0, "folder", lambda: 7, _save, _load) == 7
    assert store.scratch(0, "members") is None
    assert store.cache.folder is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 1, 30, 0.5, 0.95, -1])
def test_a_truncated_stage_is_named_with_the_remedy(keep, tmp_path):
    store = Store(tmp_path)
    store.arrays(0, "stage", lambda: np.arange(500.0), lambda v: {"v": v}, lambda a: a["v"])
    file = store.place(0, "stage.npz")
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(
        RunDirectoryError,
        match=r"stage\.npz is damaged .*: delete it, and it will be computed again",
    ):
        store.arrays(0, "stage", never, lambda v: {"v": v}, lambda a: a["v"])


def test_a_flipped_bit_is_noticed(tmp_path):
    store = Store(tmp_path)
    store.arrays(0, "stage", lambda: np.arange(500.0), lambda v: {"v": v}, lambda a: a["v"])
    file = store.place(0, "stage.npz")
    content = bytearray(file.read_bytes())
    content[2000] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunDirectoryError, match="is damaged"):
        store.arrays(0, "stage", never, lambda v: {"v": v}, lambda a: a["v"])


def test_a_pickle_is_never_read(tmp_path):
    store = Store(tmp_path)
    place = store.place(0, "stage.npz")
    place.parent.mkdir()
    for name in ("npz", "npy"):
        with place.open("wb") as stream:
            (np.savez if name == "npz" else np.save)(stream, np.array([{"a": 1}], dtype=object))
        with pytest.raises(RunDirectoryError, match="is damaged"):
            store.arrays(0, "stage", never, dict, lambda a: dict(a)["arr_0"])


def test_damaged_json_and_folders(tmp_path):
    store = Store(tmp_path)
    store.json(0, "said", lambda: {"a": 1})
    store.place(0, "said.json").write_text('{"a": ')
    with pytest.raises(RunDirectoryError, match=r"said\.json is damaged .*delete it"):
        store.json(0, "said", never)
    store.files(0, "folder", lambda: "text", _save, _load)
    (store.place(0, "folder") / "text").unlink()
    with pytest.raises(RunDirectoryError, match=r"folder is damaged .*delete it"):
        store.files(0, "folder", never, _save, _load)


def test_what_is_half_written_does_not_count(tmp_path):
    store = Store(tmp_path)

    def pack(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.arrays(0, "stage", lambda: 1.0, pack, float)
    assert not store.has(0, "stage.npz")
    assert value_of(store, 2.0) == 2.0

    def half(text, folder):
        _save(text, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.files(0, "folder", lambda: "first", half, _load)
    assert not store.has(0, "folder")
    assert store.files(0, "folder", lambda: "second", _save, _load) == "second"


def test_the_scratch_goes_with_its_stage(tmp_path):
    store = Store(tmp_path)
    scratch = store.scratch(0, "folder")

    def compute():
        scratch.mkdir(parents=True)
        (scratch / "checkpoint").write_text("")
        return "text"

    store.files(0, "folder", compute, _save, _load)
    assert not scratch.exists()
    assert isinstance(scratch, Path)
