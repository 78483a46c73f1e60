"""Structures and batches: what they refuse, what they keep exactly, and their algebra against plain
numpy.
"""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import fields, replace

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength
from ase.data import atomic_masses
from hypothesis import given
from hypothesis import strategies as st

from agal_toolkit.batch import Batch, Delta, Prediction, concatenate
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels, as_geometry, points
from agal_toolkit.loop.packing import pack_geometries, unpack_geometries

FIELDS = [field.name for field in fields(Batch) if field.name != "nearby"]
TWO = {"positions": [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], "numbers": [1, 8]}


def mixed(rng):
    """Sizes 3, 1, 2 in three dimensions, the second periodic; the first is an ion, the third a
    triplet.
    """
    return [
        Geometry(positions=rng.normal(size=(3, 3)), numbers=[8, 1, 1], charge=-1, multiplicity=2),
        Geometry(
            positions=rng.normal(size=(1, 3)), numbers=[6], cell=np.diag([3.0, 4.0, 5.0]), pbc=True
        ),
        Geometry(positions=rng.normal(size=(2, 3)), numbers=[7, 7], multiplicity=3),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"positions": [0.0, 1.0]},
            r"positions has shape \(2,\), expected \(particles, dimensions\)",
        ),
        (
            {"positions": np.zeros((0, 3)), "numbers": []},
            r"positions has shape \(0, 3\).*neither of them zero",
        ),
        (
            {"positions": [[0.0, 0.0, np.nan], [1.0, 0.0, 0.0]]},
            r"positions holds nan at index \[0, 2\]: remove or repair",
        ),
        (
            {"positions": [[0.0, 0.0, 0.0], [np.inf, 0.0, 0.0]]},
            r"positions holds inf at index \[1, 0\]: remove or repair",
        ),
        ({"numbers": [1, 8, 8]}, r"numbers has shape \(3,\), expected \(2,\)"),
        ({"numbers": [1, -8]}, r"numbers holds -8: atomic numbers are 0 .* to 118"),
        ({"numbers": [1, 119]}, r"numbers holds 119: atomic numbers are 0 .* to 118"),
        ({"numbers": [1, 7.5]}, r"numbers holds 7\.5: atomic numbers are 0 .* to 118"),
        ({"cell": np.eye(2)}, r"cell has shape \(2, 2\), expected \(3, 3\)"),
        ({"cell": np.full((3, 3), np.inf)}, r"cell holds inf at index \[0, 0\]: remove or repair"),
        ({"pbc": True}, r"pbc is true along a zero cell vector: give the cell, or pbc=False"),
        ({"pbc": [True, False], "cell": np.eye(3)}, r"pbc has shape \(2,\), expected \(3,\)"),
        ({"movable": [True]}, r"movable has shape \(1,\), expected \(2,\)"),
        ({"multiplicity": 0}, r"multiplicity is 0: 2S \+ 1 is at least 1"),
    ],
)
def test_what_a_geometry_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        Geometry(**{**TWO, **changes})


def test_an_origin_of_numpy_scalars_is_plain_numbers():
    geometry = Geometry(
        positions=[[0.0, 0.0]],
        numbers=[0],
        origin={"seed": np.int64(3), "distance": np.float32(0.5), "by": "hand"},
    )
    assert json.dumps(dict(geometry.origin)) == '{"seed": 3, "distance": 0.5, "by": "hand"}'


def test_defaults_and_read_only_copies():
    positions = np.zeros((2, 2))
    geometry = Geometry(positions=positions, numbers=[0, 0])
    positions[0, 0] = 9.0
    assert geometry.positions[0, 0] == 0.0
    assert not geometry.cell.any()
    assert not geometry.pbc.any()
    assert geometry.movable.all()
    assert len(geometry) == 2
    assert geometry.dimension == 2
    with pytest.raises(ValueError, match="read-only"):
        geometry.positions[0, 0] = 1.0
    with pytest.raises(TypeError):
        geometry.origin["by"] = "hand"


def test_moved_keeps_the_particles_and_adds_to_the_origin():
    geometry = Geometry(**TWO, movable=[True, False], charge=-1, origin={"by": "hand", "seed": 3})
    moved = geometry.moved(geometry.positions + 1, by="attack")
    assert dict(moved.origin) == {"by": "attack", "seed": 3}
    assert moved.charge == -1
    assert moved.movable.tolist() == [True, False]
    np.testing.assert_array_equal(moved.positions, geometry.positions + 1)


def test_the_digest_sees_every_bit_that_changes_a_label():
    base = Geometry(**TWO)
    nudged = np.array(TWO["positions"])
    nudged[1, 0] = np.nextafter(1.0, 2.0)
    others = [
        base.moved(nudged),
        Geometry(positions=TWO["positions"], numbers=[8, 1]),
        Geometry(positions=TWO["positions"][::-1], numbers=[8, 1]),
        Geometry(**TWO, charge=1),
        Geometry(**TWO, multiplicity=2),
        Geometry(**TWO, cell=np.eye(3), pbc=True),
        Geometry(**TWO, cell=np.eye(3), pbc=[True, False, False]),
    ]
    assert len({g.digest() for g in [base, *others]}) == 1 + len(others)
    assert Geometry(**TWO, cell=np.eye(3)).digest() == base.digest()  # an open box is no label


def test_the_digest_leaves_out_what_does_not_change_a_label():
    base = Geometry(**TWO)
    negative = -np.zeros((2, 3))
    negative[1, 0] = 1.0
    assert np.signbit(negative[0, 0])
    for same in (
        base.moved(negative),
        Geometry(**TWO, movable=[False, True]),
        Geometry(**TWO, origin={"by": "hand"}),
        Geometry(**TWO, cell=-np.zeros((3, 3))),
    ):
        assert same.digest() == base.digest()


def test_shapes_cannot_be_confused_in_the_digest():
    flat = np.arange(6.0)
    wide, tall = (
        Geometry(positions=flat.reshape(shape), numbers=[1] * shape[0])
        for shape in ((2, 3), (3, 2))
    )
    assert wide.digest() != tall.digest()


@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6))
def test_ase_and_back_is_exact(values):
    geometry = Geometry(
        positions=np.reshape(values, (2, 3)),
        numbers=[1, 8],
        cell=np.diag([7.0, 8.0, 9.0]),
        pbc=[True, False, True],
        movable=[False, True],
        charge=1,
        multiplicity=3,
    )
    again = Geometry.from_ase(geometry.to_ase())
    assert again.digest() == geometry.digest()
    assert again.movable.tolist() == [False, True]


def test_from_ase_reads_charge_constraints_and_origin():
    atoms = molecule("H2O")
    atoms.info.update(charge=-1, multiplicity=2, agal_origin={"by": "file"})
    atoms.set_constraint([FixAtoms([0]), FixAtoms(mask=[False, False, True])])
    geometry = Geometry.from_ase(atoms, generation=2)
    assert (geometry.charge, geometry.multiplicity) == (-1, 2)
    assert geometry.movable.tolist() == [False, True, False]
    assert dict(geometry.origin) == {"by": "file", "generation": 2}
    assert as_geometry(geometry) is geometry


@pytest.mark.parametrize(
    ("info", "charges", "moments", "state"),
    [
        ({}, None, [1.0, 1.0], (0, 3)),
        ({"charge": 0, "spin": 3}, None, [0, 0], (0, 3)),
        ({"total_charge": 1, "total_spin": 2}, None, [0, 0], (1, 2)),
        ({"charge": -1.0 + 1e-9, "multiplicity": 2.0}, None, [0, 0], (-1, 2)),
        ({}, [0.5, 0.5], [0.5, 0.5], (1, 2)),
        ({"charge": 1, "multiplicity": 2}, [0.5, 0.5], [1.0, 0.0], (1, 2)),
        ({"spin": 0}, None, [0, 0], (0, 1)),
        ({}, [-0.8, 0.8], [1.0, -1.0], (0, 1)),
    ],
)
def test_charge_and_spin_are_read_from_the_usual_places(info, charges, moments, state):
    atoms = molecule("O2")
    atoms.set_initial_magnetic_moments(moments)
    atoms.set_initial_charges(charges)
    atoms.info.update(info)
    geometry = Geometry.from_ase(atoms)
    assert (geometry.charge, geometry.multiplicity) == state


@pytest.mark.parametrize(
    ("info", "charges", "moments", "message"),
    [
        ({"charge": -0.9}, None, [0, 0], r"info\['charge'\] is -0.9: give a whole number"),
        ({"spin": 2.9}, None, [0, 0], r"info\['spin'\] is 2.9: give a whole number"),
        ({}, [0.3, 0.3], [0, 0], r"initial_charges is 0\.6: give a whole number"),
        ({}, None, [1.15, 1.15], r"initial_magmoms is 3\.3: give a whole number"),
        ({"charge": 1, "total_charge": 0}, None, [0, 0], "contradict each other"),
        ({"multiplicity": 1}, None, [1, 1], "contradict each other: remove the wrong ones"),
    ],
)
def test_states_that_cannot_be_told_are_refused(info, charges, moments, message):
    atoms = molecule("O2")
    atoms.set_initial_magnetic_moments(moments)
    atoms.set_initial_charges(charges)
    atoms.info.update(info)
    with pytest.raises(ValueError, match=message):
        Geometry.from_ase(atoms)


@pytest.mark.parametrize("wrong", [{"charge": 0.5}, {"charge": np.nan}, {"multiplicity": 1.9999}])
def test_charges_are_not_truncated(wrong):
    with pytest.raises(ValueError, match="give a whole number"):
        Geometry(**TWO, **wrong)
    assert Geometry(**TWO, charge=-0.9999999999).charge == -1


def test_masses_of_isotopes_are_kept(tmp_path):
    atoms = molecule("HCl")
    atoms.set_masses([35.45, 1.008])  # standard masses of another table
    light = Geometry.from_ase(atoms)
    assert light.isotopes is None
    assert "isotopes" not in light.to_dict()
    assert light.masses.tolist() == atomic_masses[light.numbers].tolist()
    assert not light.to_ase().has("masses")
    atoms.set_masses([36.966, 2.014])
    heavy = Geometry.from_ase(atoms)
    assert heavy.masses.tolist() == [36.966, 2.014]
    assert heavy.digest() == light.digest()  # they change no label
    labels = [Labels(energy=0.0, forces=np.zeros((2, 3)))]
    data = Dataset([heavy], labels)
    assert data.digest() != Dataset([light], labels).digest()
    data.write(tmp_path / "heavy.xyz")
    (read,) = Dataset.read(tmp_path / "heavy.xyz")
    (unpacked,) = unpack_geometries(pack_geometries([heavy]))
    copies = (heavy.moved(heavy.positions), Geometry(**heavy.to_dict()), read, unpacked)
    for same in (*copies, pickle.loads(pickle.dumps(heavy))):
        assert same.masses.tolist() == [36.966, 2.014]
    assert replace(light, numbers=[1, 35]).masses[1] == atomic_masses[35]
    with pytest.raises(ValueError, match=r"isotopes goes down to 0\.0: give positive masses"):
        replace(light, isotopes=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"isotopes has shape \(1,\), expected \(2,\)"):
        replace(light, isotopes=[2.0])


@pytest.mark.parametrize(
    ("info", "arrays", "right"),
    [
        ({"charge": "1", "spin": "2"}, {}, (1, 2)),
        ({"charge": np.array([-1]), "spin": np.array(2)}, {}, (-1, 2)),
        ({"charge": None}, {}, (0, 1)),
        ({}, {"initial_charges": [-0.8, 0.4, 0.4]}, (0, 1)),
        ({"charge": "neutral"}, {}, r"info\['charge'\] is 'neutral': give a number, or remove it"),
        ({"charge": [1, 0, 0]}, {}, r"info\['charge'\] is \[1, 0, 0\]: give a number"),
        (
            {},
            {"initial_charges": [-0.83, 0.41, 0.41]},
            r"initial_charges is -0\.01: give a whole number",
        ),
        (
            {},
            {"initial_magmoms": [2.2, 0, 0]},
            r"initial_magmoms is 3\.2: give a whole number: the",
        ),
        (
            {},
            {"initial_magmoms": np.ones((3, 3))},
            "initial_magmoms are vectors, without a multiplicity",
        ),
    ],
)
def test_charges_and_spins_of_others(info, arrays, right):
    atoms = molecule("H2O")
    atoms.info.update(info)
    for name, values in arrays.items():
        atoms.set_array(name, np.array(values))
    if isinstance(right, tuple):
        geometry = Geometry.from_ase(atoms)
        assert (geometry.charge, geometry.multiplicity) == right
    else:
        with pytest.raises(ValueError, match=right):
            Geometry.from_ase(atoms)


def test_charge_and_spin_are_where_calculators_look():
    ion = Geometry(positions=np.eye(3), numbers=[8, 1, 1], charge=1, multiplicity=2)
    atoms = ion.to_ase()
    assert (atoms.info["charge"], atoms.info["spin"], atoms.info["multiplicity"]) == (1, 2, 2)
    assert atoms.get_initial_charges().sum() == pytest.approx(1)
    assert atoms.get_initial_magnetic_moments().sum() == pytest.approx(1)
    back = Geometry.from_ase(atoms)
    assert (back.charge, back.multiplicity) == (1, 2)
    neutral = replace(ion, charge=0, multiplicity=1).to_ase()
    assert not neutral.has("initial_charges")
    assert "spin" not in neutral.info


def test_ions_of_many_atoms_survive_the_decimals_of_files(tmp_path):
    """A share of the charge has eight decimals in a file: 700 of them are off by 3e-6."""
    grid = np.stack(np.meshgrid(*[np.arange(9.0)] * 3), -1).reshape(-1, 3)[:700]
    ion = Geometry(positions=grid, numbers=[1] * 700, charge=1, multiplicity=2)
    Dataset([ion], [Labels(energy=0.0, forces=0 * grid)]).write(tmp_path / "ion.xyz")
    (back,) = Dataset.read(tmp_path / "ion.xyz")
    assert (back.charge, back.multiplicity) == (1, 2)


def test_texts_and_weights_of_other_files_are_kept():
    atoms = molecule("H2O")
    foreign = {"config_type": "water", "config_weight": 0.5, "role": "test", "origin": "MD"}
    atoms.info.update(foreign, dimension="2D", REF_energy=-3.0)
    geometry = Geometry.from_ase(atoms)
    assert geometry.dimension == 3
    assert geometry.origin["info"] == {**foreign, "dimension": "2D"}


def test_a_stress_is_symmetric_and_has_a_cell():
    forces = np.zeros((2, 3))
    with pytest.raises(ValueError, match="stress is not symmetric"):
        Labels(energy=0.0, forces=forces, stress=[[0, 1, 0], [0, 0, 0], [0, 0, 0]])
    labels = Labels(energy=0.0, forces=forces, stress=np.eye(3))
    with pytest.raises(ValueError, match="is open and its labels have a stress"):
        labels.check(Geometry(**TWO))
    assert labels.check(Geometry(**TWO, cell=np.eye(3), pbc=True)) is labels


def test_other_constraints_and_other_things_are_refused():
    atoms = molecule("H2O")
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(
        ValueError, match=r"FixBondLength.* is not supported: use FixAtoms, or remove it"
    ):
        Geometry.from_ase(atoms)
    with pytest.raises(TypeError, match=r"expected a Geometry or an ase\.Atoms, got str"):
        as_geometry("H2O")


def test_fewer_dimensions_are_lifted_with_zeros():
    geometry = Geometry(
        positions=[[1.0, 2.0]], numbers=[0], cell=[[3.0, 0.0], [1.0, 4.0]], pbc=True
    )
    atoms = geometry.to_ase()
    assert atoms.positions.tolist() == [[1.0, 2.0, 0.0]]
    assert atoms.cell.array.tolist() == [[3.0, 0.0, 0.0], [1.0, 4.0, 0.0], [0.0, 0.0, 0.0]]
    assert atoms.pbc.tolist() == [True, True, False]


def test_copies_and_pickles_are_equal_and_read_only():
    geometry = Geometry(
        **TWO, cell=np.eye(3), pbc=True, movable=[True, False], charge=2, origin={"by": "hand"}
    )
    for again in (
        pickle.loads(pickle.dumps(geometry)),
        copy.copy(geometry),
        copy.deepcopy(geometry),
    ):
        assert again.digest() == geometry.digest()
        assert again.movable.tolist() == [True, False]
        assert dict(again.origin) == {"by": "hand"}
        assert not again.positions.flags.writeable


def test_points_are_single_nameless_particles():
    some = points([[0.0, 1.0], [2.0, 3.0]], by="grid")
    assert [g.positions.tolist() for g in some] == [[[0.0, 1.0]], [[2.0, 3.0]]]
    assert all(g.numbers.tolist() == [0] and g.origin["by"] == "grid" for g in some)
    assert len(points([0.0, 1.0])) == 1


def test_the_repr_names_the_formula_and_the_origin():
    assert (
        repr(Geometry(**TWO, cell=np.eye(3), pbc=True, origin={"by": "hand"}))
        == "Geometry(HO, 3d, periodic, from {'by': 'hand'})"
    )
    assert repr(points([[0.0, 1.0]])[0]) == "Geometry(1 x, 2d)"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"energy": np.nan, "forces": np.zeros((1, 2))},
            "energy is nan: remove or repair this label",
        ),
        (
            {"energy": [1.0, 2.0], "forces": np.zeros((1, 2))},
            r"energy has shape \(2,\), expected one number",
        ),
        (
            {"energy": 0.0, "forces": np.zeros(3)},
            r"forces have shape \(3,\), expected \(particles, dimensions\)",
        ),
        (
            {"energy": 0.0, "forces": [[0.0, -np.inf]]},
            r"forces holds -inf at index \[0, 1\]: remove or repair",
        ),
        (
            {"energy": 0.0, "forces": np.zeros((1, 3)), "stress": np.zeros(6)},
            r"stress has shape \(6,\), expected \(3, 3\)",
        ),
    ],
)
def test_what_labels_refuse(values, message):
    with pytest.raises(ValueError, match=message):
        Labels(**values)


def test_labels_of_another_geometry_are_refused():
    labels = Labels(energy=np.array([1.5]), forces=np.zeros((4, 2)))
    assert labels.energy == 1.5
    with pytest.raises(
        ValueError,
        match=(
            r"forces of geometry 7 have shape \(4, 2\), its positions \(2, 3\): give one force per"
            r" coordinate"
        ),
    ):
        labels.check(Geometry(**TWO), "geometry 7")


# -- batches


def test_a_batch_concatenates_and_remembers_owners(rng):
    geometries = mixed(rng)
    batch = Batch.of(geometries)
    assert len(batch) == 3
    assert batch.dimension == 3
    assert batch.owner.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.counts.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(
        batch.positions.numpy(), np.concatenate([g.positions for g in geometries])
    )
    assert batch.positions.dtype == torch.float64
    assert batch.pbc.tolist() == [
        [False] * 3,
        [True] * 3,
        [False] * 3,
    ]
    assert [part.tolist() for part in batch.split(batch.numbers)] == [[8, 1, 1], [6], [7, 7]]
    assert batch.charge.tolist() == [-1, 0, 0]
    assert batch.multiplicity.tolist() == [2, 1, 3]
    assert batch.charge.dtype == batch.multiplicity.dtype == torch.int64
    moved = Delta(torch.ones_like(batch.positions), torch.zeros_like(batch.cell)).apply(batch)
    assert moved.charge is batch.charge
    assert moved.multiplicity is batch.multiplicity


def test_what_a_batch_refuses():
    with pytest.raises(ValueError, match="at least one geometry"):
        Batch.of([])
    with pytest.raises(
        ValueError,
        match=r"geometries of \[2, 3\] dimensions cannot share a batch: batch them apart",
    ):
        Batch.of([*points([[0.0, 1.0]]), Geometry(**TWO)])


def test_a_batch_of_atoms():
    assert Batch.of([molecule("H2O"), bulk("Cu")]).counts.tolist() == [3, 1]


@pytest.mark.parametrize("single", [True, False], ids=["points", "mixed sizes"])
def test_reductions_over_geometries(single, rng):
    batch = Batch.of(points(rng.normal(size=(4, 2))) if single else mixed(rng))
    values = rng.normal(size=(5, len(batch.owner)))
    parts = [values[:, batch.owner.numpy() == i] for i in range(len(batch))]
    for name, numpy in {"sum": np.sum, "mean": np.mean, "largest": np.max}.items():
        right = np.stack([numpy(part, axis=1) for part in parts], axis=1)
        np.testing.assert_allclose(
            getattr(batch, name)(torch.tensor(values)).numpy(), right, rtol=1e-14, err_msg=name
        )
        np.testing.assert_allclose(
            getattr(batch, name)(torch.tensor(values[0])).numpy(),
            right[0],
            rtol=1e-14,
            err_msg=name,
        )


@pytest.mark.parametrize("single", [True, False], ids=["points", "mixed sizes"])
def test_take_is_the_batch_of_the_chosen(single, rng):
    geometries = points(rng.normal(size=(3, 2))) if single else mixed(rng)
    batch = Batch.of(geometries)
    taken, particles = batch.take(torch.tensor([2, 0, 2]))
    right = Batch.of([geometries[i] for i in (2, 0, 2)])
    for name in FIELDS:
        assert torch.equal(getattr(taken, name), getattr(right, name)), name
    assert torch.equal(batch.positions[particles], taken.positions)


def test_take_keeps_the_member_axis(rng):
    batch = Batch.of(mixed(rng))
    spread = batch.at(
        torch.stack([batch.positions, batch.positions + 1]),
        torch.stack([batch.cell, batch.cell * 2]),
    )
    taken, _ = spread.take(torch.tensor([1, 2]))
    assert taken.positions.shape == (2, 3, 3)
    assert taken.cell.shape == (2, 2, 3, 3)
    assert torch.equal(taken.member(1).positions, batch.positions[3:] + 1)
    assert torch.equal(taken.member(1).cell, batch.cell[1:] * 2)
    assert taken.member(1).multiplicity.tolist() == [1, 3]
    assert batch.member(1) is batch


def test_repeat_is_the_batch_of_the_repeated_list(rng):
    geometries = mixed(rng)
    repeated, right = Batch.of(geometries).repeat(3), Batch.of(geometries * 3)
    for name in FIELDS:
        assert torch.equal(getattr(repeated, name), getattr(right, name)), name


# -- displacements and predictions


def test_a_displacement_with_strain_by_hand(rng):
    geometries = mixed(rng)
    batch = Batch.of(geometries)
    shift, strain = rng.normal(size=(6, 3)), rng.normal(0, 0.1, (3, 3, 3))
    strain = (strain + strain.transpose(0, 2, 1)) / 2
    moved = Delta(torch.tensor(shift), torch.tensor(strain)).apply(batch)
    at = 0
    for i, geometry in enumerate(geometries):
        for k in range(len(geometry)):
            right = (geometry.positions[k] + shift[at]) @ (np.eye(3) + strain[i])
            np.testing.assert_allclose(moved.positions[at].numpy(), right, rtol=1e-13)
            at += 1
        np.testing.assert_allclose(
            moved.cell[i].numpy(), geometry.cell @ (np.eye(3) + strain[i]), rtol=1e-13, atol=1e-15
        )
    plain = Delta(torch.tensor(shift)).apply(batch)
    np.testing.assert_array_equal(plain.positions.numpy(), batch.positions.numpy() + shift)
    assert plain.cell is batch.cell


def test_a_uniform_strain_keeps_fractional_coordinates(rng):
    crystal = helpers.crystal(rng, (2, 2, 3))
    batch = Batch.of([crystal])
    strain = torch.tensor(
        [[[0.1, 0.02, 0.0], [0.02, -0.05, 0.01], [0.0, 0.01, 0.03]]], dtype=torch.float64
    )
    moved = Delta(torch.zeros_like(batch.positions), strain).apply(batch)
    fractional = crystal.positions @ np.linalg.inv(crystal.cell)
    np.testing.assert_allclose(
        moved.positions.numpy() @ np.linalg.inv(moved.cell[0].numpy()), fractional, atol=1e-13
    )


def test_predictions_are_averaged_indexed_and_concatenated(rng):
    def prediction(b, n):
        return Prediction(
            *(torch.tensor(rng.normal(size=(4, *shape))) for shape in ((b,), (n, 3), (b, 3, 3)))
        )

    one, two = prediction(2, 5), prediction(3, 4)
    both = concatenate([one, two])
    assert both.energy.shape == (4, 5)
    assert both.forces.shape == (4, 9, 3)
    assert both.stress.shape == (4, 5, 3, 3)
    assert torch.equal(both.forces[:, 5:], two.forces)
    torch.testing.assert_close(both.mean().energy, both.energy.sum(0) / 4)
    assert torch.equal(both[[1, 3]].stress, both.stress[[1, 3]])
    graph = Prediction(one.energy.requires_grad_(), one.forces, one.stress)
    assert not graph.detach().energy.requires_grad
