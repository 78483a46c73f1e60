from __future__ import annotations

import json

import numpy as np
import pytest
from label_functions import GOOD, RAISES, Counted

from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.references import Cache, LabelFailed, Reference

CRYSTAL = Geometry(positions=[[0.1, 0.2, 0.3]], numbers=[8], cell=np.eye(3), pbc=True)


@pytest.fixture
def counted(tmp_path):
    """A label function that counts how often it is asked."""
    (tmp_path / "calls").mkdir()
    return Counted(tmp_path / "calls")


def files(folder, pattern):
    return sorted(path.name for path in folder.rglob(pattern))


def test_labels_come_back_to_the_last_bit(tmp_path):
    cache = Cache(tmp_path)
    rng = np.random.default_rng(0)
    stress = rng.normal(size=(3, 3))
    labels = Labels(
        energy=-7548.123456789012, forces=rng.normal(size=(1, 3)), stress=stress + stress.T
    )
    assert cache.read("settings", CRYSTAL) is None
    cache.write("settings", CRYSTAL, labels)
    read = cache.read("settings", CRYSTAL)
    assert read.energy == labels.energy
    np.testing.assert_array_equal(read.forces, labels.forces)
    np.testing.assert_array_equal(read.stress, labels.stress)
    assert cache.read("other settings", CRYSTAL) is None
    cache.write("settings", CRYSTAL, Labels(energy=1.0, forces=np.zeros((1, 3))))
    assert cache.read("settings", CRYSTAL).stress is None


def test_what_is_kept_is_not_asked_again(tmp_path, counted):
    cache, events = Cache(tmp_path / "labels"), []
    geometries = points([[0.25, 0.0], [0.5, 1.0]])
    first = dict(Reference(counted)(geometries, cache))
    second = dict(Reference(counted)(geometries[::-1], cache, events.append))
    assert counted.calls() == [0.25, 0.5]
    assert [first[i].energy for i in (0, 1)] == [second[i].energy for i in (1, 0)]
    assert [(event.done, event.total, event.error, event.cached) for event in events] == [
        (1, 2, None, True),
        (2, 2, None, True),
    ]
    assert not files(tmp_path, "*.part")


def test_other_settings_are_other_labels(tmp_path, counted):
    cache, geometries = Cache(tmp_path / "labels"), points([0.25, 0.0])
    for scale in (1.0, 2.0, 1.0):
        list(Reference(Counted(counted.folder, scale=scale))(geometries, cache))
    assert counted.calls() == [0.25, 0.25]
    kept = [
        json.loads(path.read_text())["settings"]["scale"]
        for path in (tmp_path / "labels").glob("*/settings.json")
    ]
    assert sorted(kept) == [1.0, 2.0]


def test_settings_are_written_for_people(tmp_path, counted):
    reference = Reference(counted, settings={"version": "1.2"})
    list(reference(points([0.25, 0.0]), Cache(tmp_path / "labels")))
    (folder,) = (tmp_path / "labels").iterdir()
    assert folder.name == reference.settings_digest
    assert json.loads((folder / "settings.json").read_text()) == {
        "label": "label_functions.Counted",
        "settings": {"failures": 0, "scale": 1.0, "version": "1.2"},
    }


def test_a_label_is_on_disk_before_it_is_yielded(tmp_path, counted):
    folder = tmp_path / "labels"
    geometries = points([[0.25, 0.0], [0.5, 0.0], [0.75, 0.0]])
    for count, (index, _) in enumerate(Reference(counted)(geometries, Cache(folder)), start=1):
        assert len(files(folder, "*.npz")) == count
        assert f"{geometries[index].digest()}.npz" in files(folder, "*.npz")


def test_a_listener_that_raises_finds_the_label_on_disk(tmp_path, counted):
    def cancel(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(
            Reference(counted)(
                points([[0.25, 0.0], [0.5, 0.0]]), Cache(tmp_path / "labels"), cancel
            )
        )
    assert len(files(tmp_path / "labels", "*.npz")) == 1
    assert counted.calls() == [0.25]


def test_failures_are_kept_and_asked_again_on_request(tmp_path, counted):
    cache, geometries = Cache(tmp_path / "labels"), points([[GOOD, 0.0], [RAISES, 0.0]])
    for _ in range(2):
        failure = dict(Reference(counted)(geometries, cache))[1]
        assert isinstance(failure, LabelFailed)
        assert "did not converge" in str(failure)
        assert "label_functions.py" in failure.traceback
    assert counted.calls() == [GOOD, RAISES]
    assert cache.retry() == 1
    assert cache.retry() == 0
    list(Reference(counted)(geometries, cache))
    assert counted.calls() == [GOOD, RAISES, RAISES]


def test_labels_replace_a_failure(tmp_path):
    cache = Cache(tmp_path)
    cache.write("settings", CRYSTAL, LabelFailed("no answer within 5 s"))
    assert cache.read("settings", CRYSTAL).reason == "no answer within 5 s"
    cache.write("settings", CRYSTAL, Labels(energy=0.0, forces=np.zeros((1, 3))))
    assert cache.read("settings", CRYSTAL).energy == 0
    assert not files(tmp_path, "*.failed.json")


def test_accept_judges_kept_labels_too(tmp_path, counted):
    cache, geometries = Cache(tmp_path / "labels"), points([0.25, 0.0])
    dict(Reference(counted)(geometries, cache))
    refused = dict(
        Reference(counted, accept=lambda geometry, labels: "not today")(geometries, cache)
    )[0]
    assert str(refused) == "refused: not today"
    assert dict(Reference(counted)(geometries, cache))[0].energy == 0.25**2 / 2
    assert counted.calls() == [0.25]


@pytest.mark.parametrize("kept", [0, 10, 300])
def test_a_truncated_label_names_its_file_and_the_remedy(tmp_path, counted, kept):
    cache, geometries = Cache(tmp_path / "labels"), points([0.25, 0.0])
    list(Reference(counted)(geometries, cache))
    (path,) = (tmp_path / "labels").glob("*/*.npz")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match=rf"{path.name} is damaged .* delete it to label its geometry again"
    ):
        list(Reference(counted)(geometries, cache))
    path.unlink()
    assert dict(Reference(counted)(geometries, cache))[0].energy == 0.25**2 / 2


@pytest.mark.parametrize("content", ["flipped", "pickle", "npy", "of another geometry"])
def test_a_strange_label_file_is_damaged(tmp_path, content):
    cache = Cache(tmp_path)
    cache.write("settings", CRYSTAL, Labels(energy=1.0, forces=np.ones((1, 3))))
    path = tmp_path / "settings" / f"{CRYSTAL.digest()}.npz"
    if content == "flipped":
        path.write_bytes(path.read_bytes().replace(np.ones(3).tobytes(), np.zeros(3).tobytes()))
    elif content == "pickle":
        np.savez(path, energy=np.array([{}]), forces=np.ones((1, 3)))
    elif content == "npy":
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
    else:
        np.savez(path, energy=1.0, forces=np.ones((2, 3)))
    with pytest.raises(ValueError, match="is damaged"):
        cache.read("settings", CRYSTAL)


def test_a_truncated_failure_is_damaged(tmp_path):
    cache = Cache(tmp_path)
    cache.write("settings", CRYSTAL, LabelFailed("why"))
    path = tmp_path / "settings" / f"{CRYSTAL.digest()}.failed.json"
    path.write_text(path.read_text()[:8])
    with pytest.raises(ValueError, match=r"failed.json is damaged"):
        cache.read("settings", CRYSTAL)


def test_a_folder_that_cannot_be_written_costs_no_label(tmp_path, counted):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="give the cache a folder that can be written to"):
        list(Reference(counted)(points([0.25, 0.0]), Cache(tmp_path / "file" / "labels")))
    assert counted.calls() == []


def test_without_a_folder_nothing_is_kept(counted):
    cache, geometries = Cache(None), points([0.25, 0.0])
    for _ in range(2):
        list(Reference(counted)(geometries, cache))
    assert counted.calls() == [0.25, 0.25]
    assert cache.retry() == 0
