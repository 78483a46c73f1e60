"""The study of public frames at preset smoke, on frames that are made up in its formats."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")

from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Labels
from studies.jobs import Runner, read
from studies.water import public, public_frames
from studies.water.dynamics import packed
from studies.water.public import FITS, PRESETS, SEED, claims, errors
from studies.water.public_frames import displacements, frames, held_out

NEAR = (0.0, 0.1, 0.2)  # angstrom along each axis, of neighbours of the first frame


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Ten frames of eight waters: four move against the four others."""
    start = packed(8, np.random.default_rng(0))
    rng, edge = np.random.default_rng(1), start.cell[0, 0]
    places = np.repeat(NEAR, 3).reshape(3, 3)
    far = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)][1:])
    geometries = []
    for place in np.concatenate([places, far * edge / 3]):
        shift = np.zeros((24, 3))
        shift[:12] = place
        shift[0] += edge * (len(geometries) % 2)  # an image of the atom
        geometries.append(replace(start, positions=start.positions + shift))
    labels = [
        Labels(energy=-3600.0 + rng.normal(), forces=rng.normal(0, 0.5, (24, 3)))
        for _ in geometries
    ]
    return Dataset(geometries, labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("public")
    data.write(place / public_frames.CONVERTED)
    return place


@pytest.fixture(scope="module")
def result(folder):
    run = Runner("smoke", folder / "runs", folder / "results")
    return read(public.study(run, folder))


def test_missing_data_are_named_with_the_remedy(tmp_path, monkeypatch, capsys):
    with pytest.raises(FileNotFoundError, match=r"neither input\.data nor water_.*: download"):
        frames(tmp_path)
    monkeypatch.setattr(sys, "argv", ["public", "--preset", "smoke", "--data", str(tmp_path)])
    with pytest.raises(SystemExit):
        public.main()
    assert "https://github.com/MarsalekGroup/paper-c-nnp" in capsys.readouterr().err


def test_the_original_format_has_atomic_units(tmp_path):
    """A hydrogen molecule of an oxygen by hand: 1 bohr = 0.529177 A, 1 hartree = 27.211386 eV."""
    atoms = "atom 1.0 0.0 0.0 O 0.0 0.0 0.5 0.0 0.0\natom 0.0 2.0 0.0 H 0.0 0.0 0.0 -0.5 0.0\n"
    cell = "lattice 20.0 0.0 0.0\nlattice 0.0 20.0 0.0\nlattice 0.0 0.0 20.0\n"
    frame = f"begin\ncomment Step: 7\n{cell}{atoms}energy -10.0\ncharge 0.0\nend\n"
    (tmp_path / "input.data").write_text(2 * frame)
    data, digest = frames(tmp_path)
    assert len(data) == 2
    assert len(digest) == 64
    np.testing.assert_array_equal(data[1].numbers, [8, 1])
    np.testing.assert_allclose(np.diag(data[1].cell), 10.583544, atol=1e-5)
    np.testing.assert_allclose(data[1].positions, [[0.529177, 0, 0], [0, 1.058354, 0]], atol=1e-5)
    np.testing.assert_allclose(data.energies, -272.11386, atol=1e-4)
    np.testing.assert_allclose(data.forces[0][0, 0], 0.5 * 51.422067, atol=1e-4)


def test_displacements_are_those_of_the_atoms_to_their_nearest_images(data):
    """Half of the atoms moved by s along each axis against the others: s sqrt(3) / 2."""
    distances = displacements(data)
    expected = np.array(NEAR) * np.sqrt(3) / 2
    np.testing.assert_allclose(distances[0, :3], expected, atol=1e-7)
    assert distances[3:, 3:][~np.eye(7, dtype=bool)].min() == pytest.approx(data[0].cell[0, 0] / 6)
    whole = replace(data[0], positions=data[0].positions + 3.0 * data[0].cell[0])
    everything = Dataset([data[0], whole], data.labels[:2])
    assert displacements(everything)[0, 1] == pytest.approx(0, abs=1e-7)
    other = replace(data[0], cell=1.1 * data[0].cell)
    with pytest.raises(ValueError, match="frame 1 has other atoms or another cell"):
        displacements(Dataset([data[0], other], data.labels[:2]))


def test_neighbours_are_on_one_side_of_the_split():
    """Thirty frames on a line in families of three, 0.5 apart, families 5 apart."""
    line = np.add.outer(5.0 * np.arange(10), [0.0, 0.5, 1.0]).ravel()
    distances = np.abs(np.subtract.outer(line, line))
    test = held_out(distances, "apart")
    assert test.sum() == 6
    assert distances[test][:, ~test].min() == 4.0
    drawn = held_out(distances, "random")
    assert drawn.sum() == 6
    assert distances[drawn][:, ~drawn].min() <= 1.0
    np.testing.assert_array_equal(test, held_out(distances, "apart"))
    with pytest.raises(ValueError, match="more than 20% of the 30 frames"):
        held_out(0.1 * distances / distances.max(), "apart")


def test_every_fit_is_recorded_with_its_cost(result, data):
    assert list(result["records"]) == list(FITS)
    for fit, record in result["records"].items():
        length, split = FITS[fit]
        assert record["frames"] == np.flatnonzero(held_out(displacements(data), split)).tolist()
        assert record["steps"] == 8 * getattr(PRESETS["smoke"], length)
        assert record["seconds"] > 0
        assert record["cpu_seconds"] > 0
        assert np.shape(record["members"]["forces"]) == (2, 2)
        if split == "apart":
            assert min(record["nearest"]) > public.NEIGHBOURS
    assert len(result["settings"]["data"]) == 64


def test_errors_are_those_of_the_members_and_of_their_mean(folder, result, data):
    """From the stored members, each by itself, in plain numpy."""
    fit = "long fit"
    trainer = PRESETS["smoke"].trainer("long")
    members = Committee(trainer.load(folder / "runs" / "smoke" / fit.replace(" ", "-")))
    test = data[np.array(result["records"][fit]["frames"])]
    each = [[members[[m]].predict(frame) for frame in test] for m in range(2)]
    forces = np.array([[p.forces[0].numpy() for p in row] for row in each])
    wrong = 1000 * (forces - np.array(test.forces))
    record = result["records"][fit]
    np.testing.assert_allclose(
        record["members"]["forces"], np.sqrt((wrong**2).mean((2, 3))), rtol=1e-3
    )
    np.testing.assert_allclose(record["forces"], np.sqrt((wrong.mean(0) ** 2).mean((1, 2))), 1e-3)
    energies = np.array([[float(p.energy[0, 0]) for p in row] for row in each])
    expected = 1000 * (energies.mean(0) - test.energies) / 24
    np.testing.assert_allclose(record["energies"], expected, atol=1e-2)
    oxygen = wrong.mean(0)[:, ::3]
    assert record["elements"]["O"] == pytest.approx(np.sqrt(np.mean(oxygen**2)), rel=1e-3)


def test_a_constant_shift_changes_one_error_of_energies():
    record = {
        "steps": 10,
        "cpu_seconds": 1.0,
        "forces": [30.0, 40.0],
        "energies": [3.0, 5.0],
        "members": {"forces": [[30.0, 40.0], [60.0, 80.0]]},
    }
    found = {claim.name: claim for claim in claims({"long fit": record})}
    shifted = "energy error per atom, constant shift removed, long fit"
    assert found["energy error per atom, long fit"].value == pytest.approx(np.sqrt(17), abs=1e-4)
    assert found[shifted].value == 1.0
    mean = found["force error per component, mean of the members, long fit"]
    assert mean.value == pytest.approx(np.sqrt(1250), abs=1e-4)
    assert mean.runs == 2
    single = found["force error per component, single members, long fit"]
    assert single.value == pytest.approx(1.5 * np.sqrt(1250), abs=1e-4)
    assert single.spread == pytest.approx((np.sqrt(1250), 2 * np.sqrt(1250)), abs=1e-4)


def test_a_stopped_fit_goes_on_and_ends_the_same(tmp_path, folder, result, monkeypatch):
    """Time is over after the second of four epochs; the clock goes on, too."""
    monkeypatch.setattr(public, "FITS", {"long fit": ("long", "apart")})
    trainer = public.Sizes.trainer
    monkeypatch.setattr(
        public.Sizes, "trainer", lambda sizes, fit: replace(trainer(sizes, fit), checkpoint=0.0)
    )
    run = Runner("smoke", tmp_path / "runs", tmp_path / "results")
    calls = []

    def over(event):
        calls.append(event)
        if len(calls) == 3:
            run.deadline = 0.0
        Runner.report(run, event)

    monkeypatch.setattr(run, "report", over)
    assert public.study(run, folder) is None
    clock = tmp_path / "runs" / "smoke" / "long-fit" / "clock.json"
    before = json.loads(clock.read_text())
    run.deadline = np.inf
    record = read(public.study(run, folder))["records"]["long fit"]
    whole = result["records"]["long fit"]
    for key in ("forces", "energies", "members", "frames"):
        assert record[key] == whole[key]
    assert len(calls) < 2 * PRESETS["smoke"].long
    assert record["seconds"] > before["wall"] > 0


def test_finished_fits_are_not_run_again(folder, result, monkeypatch, data):
    monkeypatch.setattr(public, "make", lambda *args: pytest.fail("a fit was run again"))
    run = Runner("smoke", folder / "elsewhere", folder / "results")
    assert read(public.study(run, folder))["records"] == result["records"]
    assert result["seed"] == SEED
    with pytest.raises(ValueError, match="other settings"):
        run.stored(public.NAME, public.settings(PRESETS["smoke"], "another file"))


def test_the_laptop_takes_the_steps_that_it_names():
    """89 frames, one a step."""
    assert [89 * getattr(PRESETS["laptop"], length) for length in ("short", "long")] == [
        5340,
        13350,
    ]
    assert PRESETS["laptop"].trainer("long").stress_weight == 0


def test_errors_vanish_where_predictions_are_right(data, result, folder):
    trainer = PRESETS["smoke"].trainer("long")
    members = Committee(trainer.load(folder / "runs" / "smoke" / "long-fit"))
    predicted = members.predict(list(data))
    forces = np.split(predicted.forces.mean(0).numpy(), len(data))
    labels = [
        Labels(energy=float(energy), forces=part)
        for energy, part in zip(predicted.energy.mean(0), forces, strict=True)
    ]
    right = errors(members, Dataset(data.geometries, labels))
    np.testing.assert_allclose(right["forces"], 0, atol=1e-2)
    np.testing.assert_allclose(right["energies"], 0, atol=1e-3)
