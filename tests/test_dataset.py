"""Labelled data: roles, growth, files, and how members share them."""

from __future__ import annotations

import ase.io
import helpers
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.loop.packing import pack_labels, unpack_labels
from agal_toolkit.references import Cache, LabelFailed, Reference, optimised
from agal_toolkit.training.folds import Folds


def some(rng, count, generation=0, roles=None):
    """Labelled points of one generation."""
    data = helpers.well_data(rng, count)
    return Dataset([g.moved(g.positions, generation=generation) for g in data], data.labels, roles)


def periodic(rng):
    """A molecule and a crystal with all that labels may have."""
    water = Geometry(
        positions=rng.normal(size=(3, 3)),
        numbers=[8, 1, 1],
        charge=-1,
        multiplicity=2,
        movable=[False, True, True],
        origin={"by": "hand", "seed": 4},
    )
    copper = Geometry.from_ase(bulk("Cu", cubic=True))
    stress = rng.normal(size=(3, 3))
    labels = [
        Labels(energy=-76.123456789, forces=rng.normal(size=(3, 3))),
        Labels(energy=1.25, forces=rng.normal(size=(4, 3)), stress=stress + stress.T),
    ]
    return Dataset([water, copper], labels, [TRAIN, CALIBRATION])


def test_roles_growth_and_slices(rng):
    old, new = (
        some(rng, 5, roles=[TRAIN, CALIBRATION, TRAIN, TRAIN, CALIBRATION]),
        some(rng, 3, generation=2),
    )
    both = old + new
    assert len(both) == 8
    assert len(old) == 5
    assert both.generations.tolist() == [0] * 5 + [2] * 3
    assert len(both.of_role(CALIBRATION)) == 2
    assert len(both.of_role(TRAIN)) == 6
    assert both[6] is new[1]
    assert both[-1] is new[2]
    assert isinstance(both[1:3], Dataset)
    assert both[1:3].roles == (CALIBRATION, TRAIN)
    np.testing.assert_array_equal(both[[7, 0]].energies, [both.energies[7], both.energies[0]])
    np.testing.assert_array_equal(
        both[both.energies < 0].energies, both.energies[both.energies < 0]
    )
    assert len(both[[]]) == 0
    assert list(both)[3] is both[3]
    assert [f.shape for f in both.forces] == [(1, 2)] * 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda g, y: Dataset(g, y[:2]),
            "3 geometries, 2 labels and 3 roles: give one of each for every structure",
        ),
        (
            lambda g, y: Dataset(g, y, ["train", "test", "train"]),
            r"roles are \['test', 'train'\], expected 'train' or 'calibration'",
        ),
        (
            lambda g, y: Dataset(g, [y[0], y[1], Labels(energy=0.0, forces=np.zeros((2, 2)))]),
            r"forces of geometry 2 have shape \(2, 2\), its positions \(1, 2\): give one force",
        ),
    ],
)
def test_what_a_dataset_refuses(make, message, rng):
    data = some(rng, 3)
    with pytest.raises(ValueError, match=message):
        make(data.geometries, data.labels)
    with pytest.raises(TypeError, match=r"expected a Geometry or an ase\.Atoms"):
        Dataset([[0.0, 1.0]], data.labels[:1])


def test_the_repr_is_a_table(rng):
    data = some(rng, 4, roles=[TRAIN, TRAIN, TRAIN, CALIBRATION]) + some(rng, 2, generation=3)
    lines = repr(data).splitlines()
    assert lines[0] == "Dataset: 6 structures, 1 of them for calibration"
    assert lines[1].split() == ["generation", "0", "given", "4"]
    assert lines[2].split() == [
        "generation",
        "3",
        "given",
        "2",
    ]
    assert f"{data.energies.min():.4g}" in lines[3]
    assert repr(Dataset()) == "Dataset(empty)"


# -- files


def test_an_extxyz_file_and_back(tmp_path, rng):
    data = periodic(rng)
    data.write(tmp_path / "data.extxyz")
    again = Dataset.read(tmp_path / "data.extxyz")
    assert again.roles == data.roles
    np.testing.assert_allclose(again.energies, data.energies, rtol=1e-12)
    for a, b, x, y in zip(again, data, again.labels, data.labels, strict=True):
        assert a.numbers.tolist() == b.numbers.tolist()
        assert (a.charge, a.multiplicity) == (
            b.charge,
            b.multiplicity,
        )
        assert dict(a.origin) == dict(b.origin)
        assert a.movable.tolist() == b.movable.tolist()
        assert a.pbc.tolist() == b.pbc.tolist()
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-7)
        np.testing.assert_allclose(a.cell, b.cell, atol=1e-7)
        np.testing.assert_allclose(x.forces, y.forces, atol=1e-7)
        assert (x.stress is None) == (y.stress is None)
    np.testing.assert_allclose(again.labels[1].stress, data.labels[1].stress, rtol=1e-7)


STRINGS = [
    "",
    "a b",
    "it's",
    'a"b',
    '"',
    "a\\b",
    "\\",
    '\\"',
    "ü",
    "日本",
    "🙂",
    "\ud800",
    "a\nb",
    "\t",
    "\x00\x7f",
    "{x}",
    "[1, 2]",
    "NaN",
    "T",
    "1",
    "=",
    "%22",
    "100 %",
    "%ZZ",
    "percent-encoded:",
    "percent-encoded:%22",
    "_JSON [1]",
    "Error: \"SCF\" of C:\\tmp,\r\nno 'convergence' in 50 %",
]


@pytest.mark.parametrize("name", ["data.extxyz", "data.extxyz.gz"])
def test_any_string_of_an_origin_survives_a_file(name, tmp_path):
    origins = [
        {
            "by": text,
            "why": [text, {"inner": text}],
            f"key {text}": 3,
            "generation": 2,
            "no": None,
            "half": 0.5,
        }
        for text in STRINGS
    ]
    data = Dataset(
        [helpers.ammonia().moved(np.eye(4, 3), **origin) for origin in origins],
        [Labels(energy=0.0, forces=np.zeros((4, 3)))] * len(origins),
    )
    data.write(tmp_path / name)
    assert [dict(g.origin) for g in Dataset.read(tmp_path / name)] == origins


def test_origins_of_plain_strings_are_written_as_ase_does(tmp_path):
    plain = [
        text
        for text in STRINGS
        if text.isascii()
        and text.isprintable()
        and not set(text) & {'"', "\\"}
        and not text.startswith("percent-encoded:")
    ]
    assert "100 %" in plain
    assert "it's" in plain
    data = Dataset(
        [helpers.ammonia().moved(np.eye(4, 3), by=text, seed=3, all=[text]) for text in plain],
        [Labels(energy=0.0, forces=np.zeros((4, 3)))] * len(plain),
    )
    data.write(tmp_path / "ours.extxyz")
    ase.io.write(tmp_path / "ase.extxyz", data.to_ase(), format="extxyz")
    assert (tmp_path / "ours.extxyz").read_bytes() == (tmp_path / "ase.extxyz").read_bytes()


@pytest.mark.parametrize("name", ["data.extxyz", "data.extxyz.gz"])
def test_an_empty_file_is_an_empty_data_set(name, tmp_path):
    Dataset().write(tmp_path / name)
    assert len(Dataset.read(tmp_path / name)) == 0
    with pytest.raises(FileNotFoundError):
        Dataset.read(tmp_path / "other.extxyz")


SYMMETRIC = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])


FRAME = """2
Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"
H 0 0 0 0 0 0
H 0 0 0.74 0 0 0
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            FRAME + FRAME.replace("2\n", "99999999999\n", 1),
            "structure 1 announces 99999999999 atoms",
        ),
        (FRAME + "2\nenergy=1\nH 0 0 0\n", "structure 1 announces 2 atoms, and the file ends"),
        (FRAME + FRAME.replace("0.74", "O.74"), r"structure \d cannot be read \(\w+: "),
        (FRAME + FRAME.replace("species:S:1", "species:S"), r"structure \d cannot be read \(\w+: "),
        (FRAME.replace("energy=-1.0", "energy=nan"), "structure 0"),
        ("seven\n" + FRAME, "structure 0 cannot be read"),
        ("9" * 5000 + "\n\n", "ValueError|digits"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_structure(text, message, tmp_path):
    file = tmp_path / "data.extxyz"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        Dataset.read(file)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("name", ["data.npz", "data.extxyz.gz", "data.traj", "data.unknown"])
def test_bytes_that_are_no_data_are_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"\x1f\x8b no such format")
    with pytest.raises(ValueError, match=name):
        Dataset.read(tmp_path / name)


def test_other_peoples_keys_are_mapped(tmp_path, rng):
    frames = []
    for energy in (-1.5, -2.5):
        atoms = molecule("H2O", cell=[9.0, 9.0, 9.0], pbc=True)
        atoms.info.update(REF_energy=energy, REF_stress=SYMMETRIC / 100)
        atoms.arrays["REF_forces"] = rng.normal(size=(3, 3))
        frames.append(atoms)
    ase.io.write(tmp_path / "ref.extxyz", frames, format="extxyz")
    data = Dataset.read(
        tmp_path / "ref.extxyz", energy="REF_energy", forces="REF_forces", stress="REF_stress"
    )
    assert data.energies.tolist() == [-1.5, -2.5]
    np.testing.assert_allclose(data.forces[1], frames[1].arrays["REF_forces"], atol=1e-7)
    np.testing.assert_allclose(data.labels[0].stress, SYMMETRIC / 100)


def test_a_stress_of_six_numbers_is_voigt(rng):
    atoms = molecule("H2O", cell=[9.0, 9.0, 9.0], pbc=True)
    atoms.info.update(e=0.0, s=np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    atoms.arrays["f"] = np.zeros((3, 3))
    assert Dataset.from_ase([atoms], "e", "f", "s").labels[0].stress.tolist() == [
        [1.0, 6.0, 5.0],
        [6.0, 2.0, 4.0],
        [5.0, 4.0, 3.0],
    ]


def test_missing_keys_are_named_with_those_that_are_there():
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = 1.0
    with pytest.raises(
        ValueError,
        match=(
            r"structure 0 has no 'energy': its info \['REF_energy'\], its arrays"
            r" \['numbers', 'positions'\], its calculator \[\]; name the right keys"
        ),
    ):
        Dataset.from_ase([atoms])
    with pytest.raises(ValueError, match=r"structure 0 has no 'REF_forces'"):
        Dataset.from_ase([atoms], "REF_energy", "REF_forces")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="structure 0 has no 'dft_stress'"):
        Dataset.from_ase([atoms], stress="dft_stress")
    with pytest.raises(ValueError, match=r"structure 1: energy is nan: remove or repair"):
        Dataset.from_ase([atoms, _with(np.nan)])


XYZ = """1
Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 {} pbc="T T T"
Cu 0 0 0 0.1 0 0
"""


def read(tmp_path, text, **keys):
    (tmp_path / "file.xyz").write_text(text)
    return Dataset.read(tmp_path / "file.xyz", **keys)


def test_keys_that_ase_moves_to_the_calculator_are_found(tmp_path):
    data = read(tmp_path, XYZ.format(""), energy="energy", forces="forces")
    assert data.energies.tolist() == [-1.5]
    assert data.forces[0].tolist() == [[0.1, 0.0, 0.0]]
    assert data.labels[0].stress is None


def test_labels_of_two_theories_do_not_mix():
    atoms = bulk("Cu", cubic=True)
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -2.0, np.ones((4, 3))
    calculator = {"energy": -1.0, "forces": np.zeros((4, 3)), "stress": np.ones(6)}
    atoms.calc = SinglePointCalculator(atoms, **calculator)
    assert Dataset.from_ase([atoms]).labels[0].stress is not None
    (labels,) = Dataset.from_ase([atoms], "REF_energy", "REF_forces").labels
    assert (labels.energy, labels.stress) == (-2.0, None)
    with pytest.raises(ValueError, match="energy= is named and forces= is not: name both"):
        Dataset.from_ase([atoms], energy="REF_energy")
    with pytest.raises(ValueError, match="forces= is named and energy= is not"):
        Dataset.from_ase([atoms], forces="REF_forces")


def test_a_virial_is_minus_stress_times_volume(tmp_path):
    text = XYZ.format('virial="-0.64 0 0 0 -0.64 0 0 0 -0.64"')
    stress = read(tmp_path, text, virial="virial").labels[0].stress
    np.testing.assert_allclose(stress, 0.01 * np.eye(3), atol=1e-12)
    with pytest.raises(ValueError, match="names a virial, -stress times volume: give virial="):
        read(tmp_path, text, stress="virial")
    with pytest.warns(UserWarning, match=r"\['virial'\] is not read: name it with virial="):
        assert read(tmp_path, text).labels[0].stress is None


def test_a_structure_of_a_mixed_file_may_lack_a_stress():
    crystal, water = bulk("Cu"), molecule("H2O")
    for atoms in (crystal, water):
        atoms.info["e"], atoms.arrays["f"] = 0.0, np.zeros((len(atoms), 3))
    crystal.info["s"] = np.eye(3)
    labels = Dataset.from_ase([water, crystal], "e", "f", "s").labels
    assert labels[0].stress is None
    assert labels[1].stress.tolist() == np.eye(3).tolist()


def test_forces_belong_to_the_free_energy():
    atoms = molecule("H2O")
    results = {"energy": -1.0, "free_energy": -1.2, "forces": np.zeros((3, 3))}
    atoms.calc = SinglePointCalculator(atoms, **results)
    assert Dataset.from_ase([atoms]).energies.tolist() == [-1.2]
    assert Dataset.from_ase([atoms], "energy", "forces").energies.tolist() == [-1.0]


@pytest.mark.parametrize(
    ("given", "energy", "force", "length"),
    [
        ("Hartree", 27.211386, 27.211386, 1.0),
        ("kcal/mol", 0.0433641, 0.0433641, 1.0),
        ({"energy": "Hartree", "forces": "Hartree/Bohr"}, 27.211386, 51.422067, 1.0),
        ({"energy": "kJ/mol", "length": "nm"}, 0.0103643, 0.00103643, 10.0),
        ({"forces": "meV/angstrom"}, 1.0, 1e-3, 1.0),
    ],
)
def test_units_of_labels_and_lengths(given, energy, force, length, tmp_path):
    data = read(tmp_path, XYZ.format(""), units=given)
    np.testing.assert_allclose(data.energies, [-1.5 * energy], rtol=1e-5)
    np.testing.assert_allclose(data.forces[0][0, 0], 0.1 * force, rtol=1e-5)
    np.testing.assert_allclose(data[0].cell, 4 * length * np.eye(3))


def test_a_virial_follows_its_units(tmp_path):
    text = XYZ.format('virial="-0.64 0 0 0 -0.64 0 0 0 -0.64"')
    data = read(tmp_path, text, virial="virial", units={"energy": "Hartree", "length": "Bohr"})
    np.testing.assert_allclose(data.labels[0].stress, 0.01 * 183.6315 * np.eye(3), rtol=1e-5)


def test_a_stress_has_a_unit_where_energies_have_another(tmp_path):
    text = XYZ.format('stress="0.01 0 0 0 0.01 0 0 0 0.01"')
    units = {"energy": "Hartree", "length": "Bohr"}
    with pytest.raises(ValueError, match=r"structure 0: a stress without a unit .* name it"):
        read(tmp_path, text, stress="stress", units=units)
    data = read(tmp_path, text, stress="stress", units=units | {"stress": "GPa"})
    np.testing.assert_allclose(data.labels[0].stress, 0.01 * 0.0062415091 * np.eye(3), rtol=1e-6)
    data = read(tmp_path, text, stress="stress", units={"energy": "eV"})
    np.testing.assert_allclose(data.labels[0].stress, 0.01 * np.eye(3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hartrees", "unit 'hartrees' is not known: use one of eV"),
        ({"energies": "eV"}, r"units has \['energies'\]: give energy, length, forces or stress"),
    ],
)
def test_unknown_units_are_refused(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, XYZ.format(""), units=given)


@pytest.mark.parametrize("kind", ["rMD17", "sGDML"])
def test_npz_files_of_public_data(kind, tmp_path, rng):
    x, e, f = rng.normal(size=(2, 3, 3)), np.array([-10.0, -11.0]), rng.normal(size=(2, 3, 3))
    if kind == "rMD17":
        arrays = {"nuclear_charges": [8, 1, 1], "coords": x, "energies": e, "forces": f}
    else:
        arrays = {"z": [8, 1, 1], "R": x, "E": e[:, None], "F": f}
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=r"does not say its units: give units="):
        Dataset.read(tmp_path / "data.npz")
    data = Dataset.read(tmp_path / "data.npz", units="kcal/mol")
    np.testing.assert_allclose(data.energies, e * 0.0433641, rtol=1e-5)
    np.testing.assert_allclose(data.forces[1], f[1] * 0.0433641, rtol=1e-5)
    assert data[0].numbers.tolist() == [8, 1, 1]
    if kind == "sGDML":
        np.savez(tmp_path / "own.npz", **arrays, e_unit="eV", r_unit="Ang")
        assert Dataset.read(tmp_path / "own.npz").energies.tolist() == e.tolist()
    np.savez(tmp_path / "other.npz", x=x)
    with pytest.raises(ValueError, match=r"holds the arrays \['x'\], expected"):
        Dataset.read(tmp_path / "other.npz", units="eV")


def test_other_peoples_info_is_not_ours_and_comes_back(tmp_path):
    atoms = molecule("H2O")
    atoms.info.update(role="test", dimension=2, config_type="gas", config_weight=0.5)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((3, 3)))
    data = Dataset.from_ase([atoms])
    assert data.roles == ("train",)
    assert data[0].dimension == 3
    assert data.weights.tolist() == [0.5]
    data.write(tmp_path / "data.extxyz")
    (frame,) = ase.io.read(tmp_path / "data.extxyz", index=":")
    assert (frame.info["config_type"], frame.info["role"]) == ("gas", "test")
    assert Dataset.read(tmp_path / "data.extxyz").weights.tolist() == [0.5]


def test_trajectories_are_written_and_other_endings_refused(tmp_path, rng):
    data = periodic(rng)
    data.write(tmp_path / "data.traj")
    again = Dataset.read(tmp_path / "data.traj")
    assert again.roles == data.roles
    assert [dict(g.origin) for g in again] == [dict(g.origin) for g in data]
    np.testing.assert_allclose(again.labels[1].stress, data.labels[1].stress)
    for name in ("data.db", "data"):  # ASE's database has no place for charges
        with pytest.raises(
            ValueError, match=r"give a name that ends with \.extxyz, \.xyz, \.traj, \.json"
        ):
            data.write(tmp_path / name)


def test_what_are_no_labels_is_named():
    with pytest.raises(TypeError, match="label 0 is a NoneType: give Labels"):
        Dataset([molecule("H2O")], [None])
    with pytest.raises(TypeError, match=r"label 0 is a tuple: give Labels.*reference\.labelled"):
        Dataset([molecule("H2O")], [(0, None)])
    failed = LabelFailed("the field did not converge")
    with pytest.raises(TypeError, match=r"a LabelFailed: the field did not converge: leave out"):
        Dataset([molecule("H2O")], [failed])
    one = Labels(energy=0.0, forces=np.zeros((3, 3)))
    for structures, labels in ((molecule("H2O"), [one]), ([molecule("H2O")], one)):
        with pytest.raises(TypeError, match=r"is no sequence: give \[structure\], \[label\]"):
            Dataset(structures, labels)


def test_labels_are_refused_before_the_next_is_computed():
    computed = []

    def labels():
        for index in range(3):
            computed.append(index)
            yield index, None

    with pytest.raises(TypeError, match="label 0 is a tuple"):
        Dataset([molecule("H2O")] * 3, labels())
    assert computed == [0]


ENERGIES = """3
Properties=species:S:1:pos:R:3 energy=-1.5 pbc="F F F"
O 0 0 0
H 0 0 1
H 0 1 0
1
Properties=species:S:1:pos:R:3:forces:R:3 energy=-0.5 pbc="F F F"
H 0 0 0 0.1 0 0
1
Properties=species:S:1:pos:R:3:forces:R:3 energy=-0.7 pbc="F F F"
H 0 0 1 nan nan nan
"""


@pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
def test_structures_with_energies_only_are_data(suffix, tmp_path):
    data = read(tmp_path, ENERGIES)
    assert data.energies.tolist() == [-1.5, -0.5, -0.7]
    assert [label.forces is None for label in data.labels] == [True, False, True]
    assert np.isnan(data.forces[0]).all()
    assert data.forces[0].shape == (3, 3)
    assert "2 structures have energies only" in repr(data)
    data.write(tmp_path / f"again{suffix}")
    again = Dataset.read(tmp_path / f"again{suffix}")
    assert again.digest() == data.digest()
    arrays = pack_labels((data, {}))
    assert unpack_labels(arrays)[0].digest() == data.digest()
    assert "nan" in repr(data[:1])


def test_forces_under_another_key_are_not_overlooked(tmp_path):
    with pytest.raises(ValueError, match=r"structure 1 has no 'forces'.*'REF_forces'"):
        read(tmp_path, ENERGIES.replace(":forces", ":REF_forces"))
    named = ENERGIES.replace("energy", "REF_energy")
    with pytest.raises(ValueError, match=r"forces= is not: name both.*structure 1 has"):
        read(tmp_path, named, energy="REF_energy")
    with pytest.raises(ValueError, match="structure 0 has no 'F', nor has any other"):
        read(tmp_path, named, energy="REF_energy", forces="F")
    assert read(tmp_path, named, energy="REF_energy", forces="forces").labels[0].forces is None
    alone = "\n".join(named.splitlines()[:5])
    assert read(tmp_path, alone, energy="REF_energy").labels[0].forces is None


def test_a_reference_may_know_energies_only(tmp_path):
    geometry, cache = Geometry.from_ase(molecule("H2O")), Cache(tmp_path)
    reference = Reference(energies_only, settings={"v": 1})
    for _ in range(2):
        ((_, labels),) = reference([geometry], cache)
        assert labels.energy == 1.5
        assert labels.forces is None
    with pytest.raises(NotImplementedError, match="energies only, no forces"):
        optimised(energies_only, geometry)


def energies_only(geometry):
    return Labels(energy=1.5, forces=None)


def test_weights_of_files_are_those_of_the_initial_data():
    atoms = molecule("H2O")
    atoms.info["config_weight"] = 0.25
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((3, 3)))
    data = Dataset.from_ase([atoms])
    assert data.weights.tolist() == [0.25]
    assert "weights in the loss 0.25 ... 0.25" in repr(data)
    grown = data + Dataset([data[0].moved(data[0].positions, generation=1)], data.labels)
    assert grown.weights.tolist() == [0.25, 1.0]
    atoms.info["config_weight"] = 1.0
    assert Dataset.from_ase([atoms]).digest() != data.digest()
    atoms.info["config_weight"] = -1.0
    with pytest.raises(ValueError, match=r"config_weight of structure 0 is -1\.0: give a number"):
        _ = Dataset.from_ase([atoms]).weights
    atoms.info["config_weight"] = "heavy"
    with pytest.raises(ValueError, match="config_weight is 'heavy': give a number"):
        _ = Dataset.from_ase([atoms]).weights


def test_one_object_for_all_frames_of_a_simulation_is_told():
    frames = [_with(1.0)] * 3
    with pytest.warns(UserWarning, match="some frames are one object.*append copies"):
        assert len(Dataset.from_ase(frames)) == 3


def test_a_stress_belongs_to_the_dimensions_of_a_cell():
    chain = Geometry(positions=[[0.0, 0.0]], numbers=[0], cell=np.eye(2), pbc=True)
    with pytest.raises(ValueError, match=r"stress of geometry 0 has shape \(3, 3\), its cell"):
        Dataset([chain], [Labels(energy=0.0, forces=None, stress=np.eye(3))])


def _with(energy):
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((3, 3)))
    return atoms


def test_labels_on_fixed_atoms_are_not_masked(rng):
    data = periodic(rng)[:1]
    assert not data[0].movable.all()
    assert np.abs(data.forces[0][0]).min() > 0
    np.testing.assert_array_equal(Dataset.from_ase(data.to_ase()).forces[0], data.forces[0])


# -- folds


def test_fractions_of_a_split(rng):
    weights, valid = Folds(train=0.6, valid=0.2)(some(rng, 50), 4, rng)
    assert weights.shape == valid.shape == (4, 50)
    assert weights.sum(1).tolist() == [30] * 4
    assert valid.sum(1).tolist() == [10] * 4
    assert set(np.unique(weights)) == {0.0, 1.0}
    assert not (weights.astype(bool) & valid).any()
    assert len({row.tobytes() for row in weights}) == 4


def test_a_shared_split_is_one_split(rng):
    weights, valid = Folds(shared=True)(some(rng, 20), 3, rng)
    assert (weights == weights[0]).all()
    assert (valid == valid[0]).all()


def test_bootstrap_draws_with_replacement_from_the_training_part(rng):
    data = some(rng, 100)
    plain, valid = Folds(shared=True)(data, 3, np.random.default_rng(1))
    weights, same = Folds(shared=True, bootstrap=True)(data, 3, np.random.default_rng(1))
    assert (valid == same).all()
    assert weights.sum(1).tolist() == [60] * 3
    assert weights.max() > 1
    assert len({row.tobytes() for row in weights}) == 3
    assert not weights[:, plain[0] == 0].any()


def test_acquired_structures_have_their_weight_for_all_members(rng):
    data = some(rng, 20) + some(rng, 5, generation=1)
    weights, valid = Folds(acquired=4.0)(data, 3, rng)
    assert (weights[:, 20:] == 4.0).all()
    assert not valid[:, 20:].any()
    assert weights[:, :20].sum(1).tolist() == [12] * 3


def test_calibration_data_are_never_learned_from(rng):
    data = some(rng, 20, roles=[TRAIN, CALIBRATION] * 10) + some(
        rng, 4, generation=1, roles=[TRAIN, CALIBRATION] * 2
    )
    for folds in (Folds(), Folds(acquired=1.0), Folds(bootstrap=True)):
        weights, valid = folds(data, 3, rng)
        assert not weights[:, 1::2].any()
        assert not valid[:, 1::2].any()
        assert weights[:, ::2].any()


@pytest.mark.parametrize(
    "folds",
    [
        Folds(),
        Folds(shared=True),
        Folds(bootstrap=True),
        Folds(acquired=4.0),
        Folds(bootstrap=True, acquired=2.0, shared=True),
    ],
    ids=repr,
)
def test_a_structure_keeps_its_place_when_generations_are_appended(folds, rng):
    data = some(rng, 20)
    weights, valid = folds(data, 3, np.random.default_rng(7))
    for generation, count in enumerate((1, 2, 7), 1):
        data = data + some(rng, count, generation)
        more, checked = folds(data, 3, np.random.default_rng(7))
        np.testing.assert_array_equal(more[:, : weights.shape[1]], weights)
        np.testing.assert_array_equal(checked[:, : valid.shape[1]], valid)
        weights, valid = more, checked
    if folds.acquired is None:
        assert weights.sum(1).tolist() == [18] * 3
        assert valid.sum(1).tolist() == [6] * 3


def test_the_whole_data_set_without_validation(rng):
    weights, valid = Folds(train=1, valid=0)(some(rng, 3), 2, rng)
    assert (weights == 1).all()
    assert not valid.any()


def test_too_small_or_empty_to_split(rng):
    for data in (Dataset(), some(rng, 2), some(rng, 9, roles=[CALIBRATION] * 9)):
        with pytest.raises(
            ValueError,
            match=(
                r"a data set of \d structures to split is too small for train=0.6 and valid=0.2:"
                r" give more structures, or Folds\(train=1, valid=0\)"
            ),
        ):
            Folds()(data, 2, rng)
    for wrong in (
        {"train": 0.9, "valid": 0.2},
        {"train": 0.0},
        {"train": 1.1, "valid": 0.0},
        {"valid": -0.1},
    ):
        with pytest.raises(
            ValueError, match=r"train=.* and valid=.* must be fractions whose sum is at most 1"
        ):
            Folds(**wrong)


def test_points_without_a_generation_belong_to_the_initial_data():
    data = Dataset(points([[0.0, 0.0]]), [Labels(energy=0.0, forces=np.zeros((1, 2)))])
    assert data.generations.tolist() == [0]


def test_a_model_surface_survives_a_file(rng, tmp_path):
    data = helpers.well_data(rng, 5)
    data.write(tmp_path / "well.extxyz")
    back = Dataset.read(tmp_path / "well.extxyz")
    assert [g.positions.shape for g in back] == [(1, 2)] * 5
    np.testing.assert_allclose(back.energies, data.energies, atol=1e-7)
    np.testing.assert_allclose(np.concatenate(back.forces), np.concatenate(data.forces), atol=1e-7)


def test_a_broken_structure_is_named_by_its_place():
    atoms = [Atoms("H", positions=[[0.0, 0.0, x]]) for x in (0.0, np.nan)]
    with pytest.raises(ValueError, match=r"structure 1: positions holds nan"):
        Dataset.from_ase(atoms)


def test_labels_of_another_structure_are_not_taken(rng):
    """A calculator that several structures share remembers the last of them."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    calculator, frames = EMT(), [bulk("Cu", cubic=True) for _ in range(2)]
    for atoms in frames:
        atoms.rattle(0.05, rng=rng)
        atoms.calc = calculator
        atoms.get_forces()
    with pytest.raises(
        ValueError,
        match=(
            r"structure 0 shares its calculator with others, or moved since.*SinglePointCalculator"
        ),
    ):
        Dataset.from_ase(frames)
    assert Dataset.from_ase(frames[1:]).energies[0] == frames[1].get_potential_energy()
    for atoms in frames:
        atoms.info.update(e=1.0, s=np.eye(3))
        atoms.arrays["f"] = np.ones((4, 3))
    assert "stress" in calculator.results
    assert Dataset.from_ase(frames, "e", "f", "s").energies.tolist() == [1.0, 1.0]
    del calculator.results["stress"]
    assert Dataset.from_ase(frames, "e", "f").labels[0].stress is None


# -- splitting


def test_a_split_gives_each_structure_one_place(rng):
    data = helpers.well_data(rng, 40)
    learned, test = data.split(test=10, calibration=0.1)
    assert (len(learned), len(test), learned.roles.count(CALIBRATION)) == (30, 10, 4)
    assert {g.digest() for g in (*learned, *test)} == {g.digest() for g in data}
    assert data.split(10, 0.1)[1].digest() == test.digest() != data.split(10, seed=1)[1].digest()
    assert data.split()[0].digest() == data.digest()


def test_copies_are_never_on_both_sides_of_a_split(rng):
    """Pairs 0.01 angstrom apart: both or none; a chain of copies stays together."""
    x = np.arange(10.0)
    pairs = np.concatenate([x, x + 0.01])
    start = points(np.stack([pairs, np.zeros(20)], 1))
    data = Dataset(start, [Labels(energy=0.0, forces=np.zeros((1, 2)))] * 20)
    learned, test = data.split(test=3, calibration=3, seed=rng)
    places = [{int(g.positions[0, 0]) for g in part} for part in (learned, test)]
    assert not places[0] & places[1]
    assert len(test) == 2 * len(places[1])
    reserved, taught = (
        [int(g.positions[0, 0]) for g in learned.of_role(r)] for r in (CALIBRATION, TRAIN)
    )
    assert not set(reserved) & set(taught)
    chain = points([[0.015 * i, 0.0] for i in range(5)] + [[3.0, 0.0]])
    data = Dataset(chain, [Labels(energy=0.0, forces=np.zeros((1, 2)))] * 6)
    for seed in range(4):
        assert len(data.split(test=1, seed=seed)[1]) in (1, 5)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"test": -1}, "test is -1: give a count, or a share between 0 and 1"),
        ({"calibration": 1.5}, r"calibration is 1\.5: give a count"),
        ({"test": float("nan")}, "test is nan: give a count"),
        ({"test": float("inf")}, "test is inf: give a count"),
        ({"test": True}, "test is True: give a count"),
        (
            {"test": 5, "calibration": 5},
            r"5 test and 5 calib.* of 10 training.* leave none",
        ),
    ],
)
def test_a_split_that_cannot_be(parts, message, rng):
    with pytest.raises(ValueError, match=message):
        helpers.well_data(rng, 10).split(**parts)
