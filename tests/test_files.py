"""A file is there as a whole or not at all."""

from __future__ import annotations

import os

import pytest

from agal_toolkit.files import atomic_write


def test_a_file_is_replaced_as_a_whole(tmp_path):
    place = tmp_path / "deep" / "a.json"
    for text in ("one", "two"):
        with atomic_write(place) as part:
            part.write_text(text)
            assert not place.exists() or place.read_text() != text
            assert part.name == place.name
        assert place.read_text() == text
    assert [entry.name for entry in place.parent.iterdir()] == ["a.json"]


def test_a_folder_arrives_with_all_its_files(tmp_path):
    with atomic_write(tmp_path / "members") as part:
        (part / "inner").mkdir(parents=True)
        (part / "inner" / "a").write_text("1")
    assert (tmp_path / "members" / "inner" / "a").read_text() == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["members"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    place = tmp_path / "a"
    place.write_text("old")

    def fail() -> None:
        with atomic_write(place) as part:
            part.write_text("new")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fail()
    assert place.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_the_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    order = []
    replace, sync = os.replace, os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    with atomic_write(tmp_path / "a") as part:
        part.write_text("x")
    assert order == ["fsync", "rename", "fsync"]  # the last one is the folder's, with the name


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), atomic_write(tmp_path / "file" / "a"):
        pass
