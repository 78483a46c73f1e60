"""Data as input of chemiscope, and the command line."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from base64 import b64decode
from itertools import islice

import helpers
import numpy as np
import pytest

import agal_toolkit as agal
from agal_toolkit.__main__ import main
from agal_toolkit.dataset import CALIBRATION, Dataset


def crystal(rng, forces=True):
    geometry = helpers.crystal(rng)
    given = rng.normal(size=geometry.positions.shape) if forces else None
    return geometry, agal.Labels(energy=-3.0, forces=given)


@pytest.fixture
def data(rng):
    ammonia = helpers.ammonia()
    moved = ammonia.moved(ammonia.positions + 0.1, by="attack", generation=2)
    labels = [agal.Labels(energy=-2.0 * i, forces=np.eye(4, 3) * i) for i in (1, 2)]
    geometry, label = crystal(rng)
    return Dataset([ammonia, moved, geometry], [*labels, label], ["train", CALIBRATION, "train"])


def test_chemiscope_files_have_the_documented_keys(data, tmp_path):
    data.write(tmp_path / "mine.json.gz")
    data.write(tmp_path / "mine.json")
    content = json.loads(gzip.decompress((tmp_path / "mine.json.gz").read_bytes()))
    assert content == json.loads((tmp_path / "mine.json").read_text())
    assert set(content) == {"meta", "structures", "properties"}
    assert content["meta"] == {"name": "mine"}
    first, _, crystal = content["structures"]
    assert set(first) == {"size", "names", "x", "y", "z"}
    assert sorted(first["names"]) == ["H", "H", "H", "N"]
    np.testing.assert_array_equal(np.transpose([first[k] for k in "xyz"]), data[0].positions)
    np.testing.assert_array_equal(np.reshape(crystal["cell"], (3, 3)), data[2].cell)
    values = {name: p["values"] for name, p in content["properties"].items()}
    assert {p["target"] for p in content["properties"].values()} == {"structure"}
    assert values["energy per atom (eV)"] == [-0.5, -1.0, -3.0 / len(data[2])]
    assert values["generation"] == [0, 2, 0]
    assert values["origin"][:2] == ["given", "attack"]
    assert values["role"] == ["train", "calibration", "train"]
    largest = np.linalg.norm(data.labels[2].forces, axis=1).max()
    np.testing.assert_allclose(values["largest force (eV/Å)"], [1.0, 2.0, largest])


def test_a_page_holds_the_same_structures_and_asks_nobody(data, tmp_path):
    data.write(tmp_path / "mine.html")
    data.write(tmp_path / "mine.json")
    text = (tmp_path / "mine.html").read_text()
    assert "<title>mine</title>" in text
    assert "connect-src 'none'" in text
    packed = re.search(r'id="data">([^<]*)<', text)[1]
    content = json.loads(gzip.decompress(b64decode(packed)))
    stored = json.loads((tmp_path / "mine.json").read_text())
    assert content["structures"] == stored["structures"]
    assert content["properties"] == stored["properties"]
    assert content["settings"]["map"]["color"] == {"property": "generation"}
    again = tmp_path / "again" / "mine.html"
    again.parent.mkdir()
    data.write(again)
    assert again.read_text() == text


def test_without_chemiscope_the_error_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "chemiscope", None)
    with pytest.raises(ImportError, match=r"mine.json needs chemiscope.*agal_toolkit\[map\]"):
        data.write(tmp_path / "mine.json")
    assert not list(tmp_path.iterdir())


def test_no_structures_are_no_input(tmp_path):
    with pytest.raises(ValueError, match=r"a.json would hold no structures"):
        Dataset().write(tmp_path / "a.json")


def test_structures_without_forces_have_no_largest_force(rng, tmp_path):
    geometry, label = crystal(rng, forces=False)
    Dataset([geometry], [label]).write(tmp_path / "a.json")
    names = json.loads((tmp_path / "a.json").read_text())["properties"]
    assert set(names) == {"energy per atom (eV)", "generation", "origin", "role"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    start = helpers.first_data(20).reserving(6, np.random.default_rng(0))
    folder = tmp_path_factory.mktemp("runs") / "mine"
    list(islice(helpers.small_loop().generations(start, folder), 1))
    return folder


def test_the_command_line_shows_and_exports(folder, tmp_path, capsys):
    read = agal.Run.open(folder)
    main(["show", str(folder)])
    assert capsys.readouterr().out == f"{read}\n"
    main(["export", str(folder), "--to", str(tmp_path / "all.extxyz")])
    assert len(agal.Dataset.read(tmp_path / "all.extxyz")) == len(read.data)
    main(["export", str(folder), "--to", str(tmp_path / "mine.agal")])
    assert agal.Committee.load(tmp_path / "mine.agal").digest() == read.final().digest()
    for wrong, text in [(tmp_path, "is not a run directory"), (folder, "give a name that ends")]:
        with pytest.raises(SystemExit, match="1"):
            main(["export", str(wrong), "--to", str(tmp_path / "all.doc")])
        assert text in capsys.readouterr().err


def test_the_module_is_a_program(folder):
    command = [sys.executable, "-m", "agal_toolkit", "show", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{agal.Run.open(folder)}\n"
