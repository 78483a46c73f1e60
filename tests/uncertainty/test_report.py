"""Coverage of calibrated uncertainties against plain numpy."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest

from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Labels
from agal_toolkit.uncertainty import Calibration, PowerLaw

LAWS = Calibration(
    PowerLaw(2.0, 0.9), PowerLaw(0.5, 1.1), elements={"O": PowerLaw(3.0, 1.2)}, notes=("a note",)
)


def data(rng):
    molecules = [replace(helpers.molecule(rng), numbers=[1, 1, 7, 8, 8]) for _ in range(4)]
    labels = [Labels(energy=rng.normal(), forces=0.1 * rng.normal(size=(5, 3))) for _ in range(4)]
    return Dataset(molecules, labels, ["calibration"] * 4)


@pytest.mark.parametrize("of", ["members", "mean"])
def test_coverage_by_quantity_and_element(of, rng):
    known = data(rng)
    committee = Committee(helpers.pair_committee(4).members, LAWS)
    found, said = committee.coverage(known, of), committee.predict(list(known))
    forces, energy = said.forces.numpy(), said.energy.numpy() / 5
    sigma = 2 * forces.std(0, ddof=1) ** 0.9
    numbers = np.array([1, 1, 7, 8, 8] * 4)
    sigma[numbers == 8] = 3 * forces.std(0, ddof=1)[numbers == 8] ** 1.2
    errors = [forces - np.concatenate(known.forces), energy - known.energies / 5]
    if of == "mean":
        errors = [error.mean(0, keepdims=True) for error in errors]
    r = errors[0] / sigma
    rows = {
        "forces": r,
        "forces on H": r[:, numbers == 1],
        "forces on N": r[:, numbers == 7],
        "forces on O": r[:, numbers == 8],
        "energy": errors[1] / (0.5 * energy.std(0, ddof=1) ** 1.1),
    }
    assert list(found) == list(rows)
    for name, ratio in rows.items():
        assert found[name].spread == pytest.approx(np.sqrt(np.mean(ratio**2)))
        assert found[name].within_1 == pytest.approx(np.mean(np.abs(ratio) < 1))
        assert found[name].within_2 == pytest.approx(np.mean(np.abs(ratio) < 2))
        assert found[name].values == ratio[0].size
        assert found[name].structures == 4
    assert found["forces on O"].law == "3 sigma^1.2"
    assert found["forces on N"].law == "2 sigma^0.9"
    lines = repr(found).splitlines()
    assert lines[0].split("  ")[-1] == "law"
    assert lines[-1] == "a note"
    assert "own of O" in lines[2]


def test_coverage_of_the_laws_that_there_are(rng):
    members = helpers.pair_committee(4).members
    energy = Committee(members, Calibration(energy=PowerLaw())).coverage(data(rng))
    assert list(energy) == ["energy"]
    with pytest.raises(ValueError, match="coverage needs a calibrated committee"):
        Committee(members).coverage(data(rng))
