"""The study of acetylacetone at preset smoke, on frames that are made up in its format."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from agal_toolkit.batch import Prediction
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Labels
from studies import acetylacetone
from studies.acetylacetone import KCAL, LEARNED, MOLECULES, PRESETS, SCAN, TRANSFER, errors, study
from studies.jobs import Runner, read


class Wrong:
    """A committee of two whose energies and forces are off by known numbers."""

    def predict(self, geometries):
        atoms = sum(len(geometry) for geometry in geometries)
        energy = torch.tensor([[0.01], [0.03]], dtype=torch.float64).expand(2, len(geometries))
        forces = torch.tensor([0.1, -0.3], dtype=torch.float64)[:, None, None].expand(2, atoms, 3)
        return Prediction(energy, forces, torch.zeros(2, len(geometries), 3, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of acetaldehyde; two of them have energies only, as the public ones."""
    place, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    for name in (LEARNED, *MOLECULES.values(), SCAN, TRANSFER):
        images = []
        for _ in range(10):
            atoms = molecule("CH3CHO")
            atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
            results = {"energy": -4000.0 + rng.normal()}
            if name not in (SCAN, TRANSFER):
                results["forces"] = rng.normal(0, 1, atoms.positions.shape)
            atoms.calc = SinglePointCalculator(atoms, **results)
            images.append(atoms)
        write(place / f"acac_{name}.xyz.gz", images, format="extxyz")
    return place


def test_missing_data_are_named_with_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--preset", "smoke", "--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        acetylacetone.main()
    assert "has no train_300K.xyz: download the files of https://" in capsys.readouterr().err


def test_errors_are_those_of_known_mistakes(folder):
    data = acetylacetone.frames(folder, LEARNED)
    labels = [Labels(energy=0.0, forces=np.zeros((len(frame), 3))) for frame in data]
    zero = Dataset(data.geometries, labels)
    found = errors(Wrong(), zero)
    assert found == {"forces": 100.0, "members": [100.0, 300.0], "energies": 20.0}


def test_fits_are_stored_and_not_repeated(folder, tmp_path):
    run = Runner("smoke", tmp_path / "runs", tmp_path / "results")
    content = read(study(run, folder))
    assert list(content["records"]) == list(PRESETS["smoke"][1])
    record = content["records"]["DensityNet"]
    assert record["steps"] == 4
    path = acetylacetone.frames(folder, TRANSFER)
    true = (path.energies - path.energies.min()) / KCAL
    np.testing.assert_allclose(record["transfer"]["true"], true, atol=6e-4)
    assert min(record["turn"]["predicted"]) == 0
    names = {claim["name"]: claim for claim in content["claims"]}
    claim = names["force error at 600 K, DensityNet, mean"]
    assert claim["value"] == record["600 K"]["forces"]
    assert claim["goal"] == 50
    found = names["error of the highest energy along the turn, SchNet"]["value"]
    other = content["records"]["SchNet"]["turn"]
    assert found == pytest.approx(abs(max(other["predicted"]) - max(other["true"])), abs=1e-3)
    lines = []
    run.say = lines.append
    study(run, folder)
    assert not [line for line in lines if "finished" in line]
