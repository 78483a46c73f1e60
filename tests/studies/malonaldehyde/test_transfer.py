"""The proton transfer of malonaldehyde, and the study of five runs."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.optimize import BFGS

import agal_toolkit as agal
from agal_toolkit.geometry import Geometry
from studies.jobs import Runner, read
from studies.malonaldehyde import lesson, study, transfer, use
from studies.malonaldehyde.transfer import Coordinate, chain, mirrored

pytest.importorskip("rdkit", reason="RDKit is missing: pip install agal_toolkit[references]")


@pytest.fixture(scope="module")
def ground():
    return agal.conformer(transfer.SMILES)


def test_the_chain_runs_from_the_oxygen_without_the_hydrogen(ground):
    # RDKit keeps the order of the SMILES O=C/C=C\\O, then the hydrogens
    assert chain(ground) == (0, 1, 2, 3, 4)
    turned = ground.moved(ground.positions[:, [2, 0, 1]])
    assert chain(turned) == (0, 1, 2, 3, 4)
    with pytest.raises(ValueError, match="is no malonaldehyde"):
        chain(agal.conformer("CCO"))


def test_the_mirror_image_has_the_hydrogen_on_the_other_oxygen(ground):
    other, coordinate = mirrored(ground), Coordinate.of(ground)
    assert coordinate(ground) > 0.5
    assert coordinate(other) == pytest.approx(-coordinate(ground), abs=1e-9)
    before, after = (g.to_ase().get_all_distances() for g in (ground, other))
    np.testing.assert_allclose(np.sort(before.ravel()), np.sort(after.ravel()), atol=1e-9)
    assert after[0, 8] == pytest.approx(before[4, 8])
    # the way there is short: the molecule is not turned
    assert np.linalg.norm(other.positions - ground.positions) < 2.0
    assert mirrored(other).to_ase().get_distance(0, 8) == pytest.approx(before[0, 8])


def test_a_coordinate_is_the_difference_of_two_distances():
    line = Geometry(positions=[[0, 0, 0], [1, 0, 0], [2.5, 0, 0]], numbers=[8, 1, 8])
    assert Coordinate(0, 1, 2)(line) == pytest.approx(1.0 - 1.5)


def test_transfers_count_from_one_side_to_the_other():
    assert use.transfers(np.array([0.7, 0.2, -0.2, 0.2, 0.7, -0.4, -0.1, 0.1, -0.8])) == 1
    assert use.transfers(np.array([0.7, -0.7, 0.7])) == 2
    assert use.transfers(np.array([0.1, -0.1])) == 0


def test_frequencies_are_those_of_the_hessian():
    atoms = molecule("H2O", calculator=EMT())
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    second = agal.references.hessian(agal.Reference(EMT()), atoms)
    weights = np.repeat(atoms.get_masses(), 3) ** -0.5
    squares = np.linalg.eigvalsh(weights[:, None] * second * weights)[6:]  # eV/(A^2 amu)
    per_second = np.sqrt(squares * units._e * 1e20 / units._amu) / (2 * np.pi)
    waves = per_second / (100 * units._c)
    np.testing.assert_allclose(use.frequencies(atoms), waves, rtol=1e-3)


def test_a_clock_goes_on_where_it_stopped(tmp_path):
    place = tmp_path / "clock.json"
    for total in (1, 2):
        with study.clock(place):
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
        cpu, wall = json.loads(place.read_text())
        assert 0.03 * total <= cpu < 2
        assert wall >= 0.04 * total


def run(first: float, final: float, converged: bool = True) -> dict:
    """A record with barriers of both committees, kcal/mol; GFN2's is 3.8."""

    def judged(height: float) -> dict:
        heights = [[0.0, height - 0.1, 0.0], [0.0, height + 0.1, 0.0]]
        return {
            "forces": 50.0,
            "barrier": height + 0.05 if converged else np.nan,
            "converged": converged,
            "heights": heights,
        }

    vibrations = {"vibrations": [1000.0, 3010.0], "true_vibrations": [1010.0, 3000.0]}
    uses = {**vibrations, "drift": -0.02, "forces": 80.0, "transfers": 3}
    points = {"coordinate": [0.7, 0.1], "energy": [1.0, 5.0]}
    return {
        "cpu_seconds": 200.0,
        "true": [0.0, 3.8, 0.0],
        "start": points,
        "labels": [points],
        "heights": [first],
        "committees": {"first": judged(first), "final": judged(final)},
        "use": uses,
    }


def test_claims_are_medians_over_the_runs():
    records = {str(k): run(5.8 + k, 3.9 + 0.1 * k, converged=k < 2) for k in range(3)}
    found = {claim.name: claim for claim in study.claims(records)}
    top = found["error of the barrier, first committee, on GFN2's band, median"]
    assert top.value == pytest.approx(3.0)
    assert top.met
    final = found["error of the barrier, final committee, on GFN2's band, median"]
    assert final.value == pytest.approx(0.2)
    assert final.met
    own = found["error of the barrier, final committee, on its own band, median"]
    assert (own.value, own.runs) == (pytest.approx(0.2), 2)
    assert found["runs whose band converged, first committee"].value == 2
    assert found["error of the vibrations, median"].value == pytest.approx(10.0)
    assert found["time of the ten lines, longest"].value == 200


def test_the_record_is_drawn_from_the_stored_study(monkeypatch, capsys):
    records = {"0": run(6.0, 3.9), "1": run(8.0, 3.7)}
    claims = [vars(claim) | {"met": claim.met} for claim in study.claims(records)]
    stored = {"records": records, "claims": claims}
    monkeypatch.setattr(lesson, "record", lambda: stored)
    lesson.show_study()
    left, right = lesson.plt.gcf().axes
    counts, errors = left.lines[0].get_data()
    np.testing.assert_allclose(counts, [2, 4])
    np.testing.assert_allclose(errors, [2.2, 0.1])
    assert right.get_ylabel() == "force error on the test data (meV/Å)"
    lesson.plt.close("all")
    assert "time of the ten lines, longest" in lesson.beside_the_goal().data
    monkeypatch.setattr(lesson, "record", lambda: None)
    lesson.show_study()
    assert "Not computed yet" in capsys.readouterr().out


def test_a_small_recipe_is_one_in_smoke_only(ground):
    data = agal.Dataset(
        [ground, ground.moved(1.01 * ground.positions)],
        [agal.Labels(energy=float(k), forces=np.ones((9, 3))) for k in range(2)],
    )
    recipe = agal.Recipe.for_atoms(data)
    assert study.sized(recipe, study.PRESETS["laptop"]) is recipe
    small = study.sized(recipe, study.PRESETS["smoke"])
    assert small.members == 2
    assert small.trainer.network((0,)).channels == 4


@pytest.mark.parametrize("kind", [ValueError, agal.references.NoMinimum])
def test_a_potential_without_a_band_has_no_barrier(ground, kind, monkeypatch):
    def fail(*_, **__):
        raise kind("no")

    monkeypatch.setattr(transfer, "band", fail)
    barrier, converged = transfer.barrier(EMT(), ground)
    assert np.isnan(barrier)
    assert not converged


def test_a_finished_run_is_stored_and_not_repeated(tmp_path):
    pytest.importorskip("tblite", reason="tblite is missing: pip install agal_toolkit[references]")
    lines: list[str] = []
    runner = Runner("smoke", tmp_path / "runs", tmp_path / "results", say=lines.append)
    content = read(study.study(runner))
    record = content["records"]["0"]
    assert max(record["true"]) == pytest.approx(3.758, abs=0.01)
    np.testing.assert_allclose(record["true"], record["true"][::-1], atol=0.01)
    assert len(record["start"]["energy"]) == 9
    assert len(record["committees"]["final"]["heights"]) == 2
    assert record["use"]["true_vibrations"][-1] == pytest.approx(3100, abs=300)
    assert "time of the ten lines, longest" in {claim["name"] for claim in content["claims"]}
    lines.clear()
    study.study(runner)
    assert not [line for line in lines if "finished in" in line]
