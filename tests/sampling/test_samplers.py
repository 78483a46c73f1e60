"""Where attacks start."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass

import helpers
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import atomic_masses
from ase.vibrations import VibrationsData
from scipy.linalg import eigh

from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels, points
from agal_toolkit.potentials import Differentiable
from agal_toolkit.references import DoubleWell
from agal_toolkit.sampling.molecular_dynamics import MolecularDynamics
from agal_toolkit.sampling.normal_modes import NormalModes
from agal_toolkit.sampling.samplers import Copies, FromDataset, Mixture, Rattle
from agal_toolkit.settings import to_settings


def test_the_data_themselves(rng):
    data = helpers.well_data(rng, 12)
    assert FromDataset().draw(data, rng) == list(data)
    assert FromDataset(99).draw(data, rng) == list(data)
    some = FromDataset(5).draw(data, rng)
    where = [list(data).index(g) for g in some]
    assert len(set(where)) == 5
    assert where == sorted(where)


@pytest.mark.parametrize("normal", [False, True], ids=["uniform", "normal"])
def test_a_rattle_has_its_distribution(normal, rng):
    data = helpers.well_data(rng, 50)
    rattled = Rattle(0.2, normal=normal, copies=40).draw(data, rng)
    assert len(rattled) == 2000
    shift = np.concatenate([g.positions - data[g.origin["seed"]].positions for g in rattled])
    assert shift.std() == pytest.approx(0.2 if normal else 0.2 / np.sqrt(3), rel=0.05)
    assert abs(shift.mean()) < 0.01
    assert (np.abs(shift).max() > 0.2) == normal
    assert {g.origin["by"] for g in rattled} == {"rattle"}


def test_a_rattle_leaves_fixed_atoms_alone(rng):
    geometry = Geometry(
        positions=rng.normal(size=(4, 3)), numbers=[6] * 4, movable=[True, False, True, False]
    )
    data = Dataset([geometry], [Labels(energy=0.0, forces=np.zeros((4, 3)))])
    for moved in Rattle(0.3, copies=5).draw(data, rng):
        still = moved.positions == geometry.positions
        np.testing.assert_array_equal(still.all(1), [False, True, False, True])
        np.testing.assert_array_equal(moved.movable, geometry.movable)


def test_the_same_generator_gives_the_same_seeds(rng):
    data = helpers.well_data(rng, 10)
    for sampler in (FromDataset(4), Rattle(0.1)):
        one, other = (sampler.draw(data, np.random.default_rng(3)) for _ in range(2))
        assert [g.digest() for g in one] == [g.digest() for g in other]
        called = sampler(None, data, np.random.default_rng(3))
        assert [g.digest() for g in one] == [g.digest() for g in called]


def test_what_a_rattle_refuses():
    for wrong in ({"amplitude": 0.0}, {"amplitude": 0.1, "copies": 0}):
        with pytest.raises(ValueError, match=r"Rattle\(amplitude=.*: both must be positive"):
            Rattle(**wrong)


# -- normal modes

PYRAMID = Geometry(
    positions=[[0.0, 0.0, 0.3], [0.95, 0.0, 0.0], [-0.45, 0.85, 0.0], [-0.5, -0.8, 0.05]],
    numbers=[7, 1, 1, 1],
)


def springs(positions: np.ndarray, stiffness: float = 30.0) -> np.ndarray:
    """The Hessian of springs at rest between all pairs of particles."""
    n, d = positions.shape
    hessian = np.zeros((n, d, n, d))
    for i in range(n):
        for j in range(i):
            along = (positions[i] - positions[j]) / np.linalg.norm(positions[i] - positions[j])
            block = stiffness / (1 + i + j) * np.outer(along, along)
            hessian[i, :, i] += block
            hessian[j, :, j] += block
            hessian[i, :, j] -= block
            hessian[j, :, i] -= block
    return hessian.reshape(n * d, n * d)


def masses(geometry: Geometry) -> np.ndarray:
    return atomic_masses[geometry.numbers].repeat(geometry.dimension)


def drawn(sampler: NormalModes, seed: int = 0) -> np.ndarray:
    """(count, n d) displacements."""
    return np.stack(
        [
            (g.positions - sampler.geometry.positions).ravel()
            for g in sampler.draw(np.random.default_rng(seed))
        ]
    )


def test_a_diatomic_has_one_mode_of_a_known_wavenumber():
    """HCl: 516 N/m and the reduced mass, in SI units."""
    newton_per_metre = 516.0
    k = newton_per_metre / units._e * 1e-20
    turned = np.array([0.6, 0.0, 0.8])
    geometry = Geometry(positions=[np.zeros(3), 1.27 * turned], numbers=[1, 17])
    hessian = np.kron([[1.0, -1.0], [-1.0, 1.0]], k * np.outer(turned, turned))
    reduced = np.prod(atomic_masses[[1, 17]]) / atomic_masses[[1, 17]].sum() * units._amu
    right = np.sqrt(newton_per_metre / reduced) / (2 * np.pi * units._c) / 100
    np.testing.assert_allclose(NormalModes(geometry, hessian).wavenumbers, [right], rtol=1e-6)
    assert 2900 < right < 3050


@pytest.mark.parametrize("fixed", [[], [1, 2, 3]], ids=["free", "three fixed"])
def test_wavenumbers_are_those_of_ase(fixed):
    movable = np.isin(np.arange(4), fixed, invert=True)
    geometry = Geometry(positions=PYRAMID.positions, numbers=PYRAMID.numbers, movable=movable)
    hessian = springs(PYRAMID.positions)
    moving = movable.repeat(3)
    ase = VibrationsData.from_2d(
        geometry.to_ase(), hessian[np.ix_(moving, moving)], indices=np.flatnonzero(movable)
    )
    right = np.sort(ase.get_frequencies().real)
    np.testing.assert_allclose(
        NormalModes(geometry, hessian).wavenumbers, right[right > 1.0], rtol=1e-6
    )


def test_every_mode_holds_half_a_kT():
    """Against modes of scipy's generalised eigenproblem H v = w^2 M v."""
    hessian, mass = springs(PYRAMID.positions), np.diag(masses(PYRAMID))
    shifts = drawn(NormalModes(PYRAMID, hessian, temperature=(500.0, 500.0), count=6000))
    squares, vectors = eigh(hessian, mass)
    held = 0.5 * squares * (shifts @ mass @ vectors) ** 2
    kT = units.kB * 500.0
    np.testing.assert_allclose(held.mean(0)[6:], kT / 2, rtol=0.06)
    np.testing.assert_allclose(held[:, :6], 0.0, atol=1e-12)
    np.testing.assert_allclose(
        held.sum(1), 0.5 * np.einsum("si,ij,sj->s", shifts, hessian, shifts), atol=1e-12
    )
    assert held.sum(1).mean() == pytest.approx(6 * kT / 2, rel=0.03)
    assert held.sum(1).var() == pytest.approx(6 * kT**2 / 2, rel=0.1)


def test_the_molecule_as_a_whole_stays():
    """Eckart's conditions: no momentum, no angular momentum."""
    shifts = drawn(NormalModes(PYRAMID, springs(PYRAMID.positions), count=20)).reshape(20, 4, 3)
    weighted = shifts * atomic_masses[PYRAMID.numbers][:, None]
    assert np.abs(shifts).max() > 0.05
    np.testing.assert_allclose(weighted.sum(1), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.cross(PYRAMID.positions, weighted).sum(1), 0.0, atol=1e-12)


def test_each_sample_has_a_temperature_of_its_own():
    sampler = NormalModes(
        PYRAMID, springs(PYRAMID.positions), temperature=(250.0, 750.0), count=3000
    )
    samples = sampler.draw(np.random.default_rng(1))
    assert {g.origin["by"] for g in samples} == {"normal modes"}
    temperatures = np.array([g.origin["temperature"] for g in samples])
    assert 250 <= temperatures.min() < 255
    assert 745 < temperatures.max() <= 750
    assert temperatures.mean() == pytest.approx(500.0, rel=0.02)
    shifts = np.stack([(g.positions - PYRAMID.positions).ravel() for g in samples])
    held = (
        0.5 * np.einsum("si,ij,sj->s", shifts, sampler.hessian, shifts) / (units.kB * temperatures)
    )
    for hot in (temperatures < 350, temperatures > 650):
        assert held[hot].mean() == pytest.approx(3.0, rel=0.08)


def test_a_crystal_of_emt_is_harmonic_when_cold():
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    lowest, start = atoms.get_potential_energy(), atoms.positions.copy()

    def forces(positions: np.ndarray) -> np.ndarray:
        atoms.positions = positions
        return atoms.get_forces().ravel()

    def column(index: int) -> np.ndarray:
        shift = np.zeros(start.size)
        shift[index] = 1e-3
        return -(forces(start + shift.reshape(-1, 3)) - forces(start - shift.reshape(-1, 3))) / 2e-3

    hessian = np.stack([column(index) for index in range(start.size)])
    atoms.positions = start
    sampler = NormalModes(Geometry.from_ase(atoms), hessian, temperature=(2.0, 2.0), count=400)
    assert sampler.wavenumbers.shape == (9,)  # 12 less the translations: a crystal does not turn

    def energy(geometry: Geometry) -> float:
        atoms.positions = geometry.positions
        return atoms.get_potential_energy() - lowest

    energies = [energy(geometry) for geometry in sampler.draw(np.random.default_rng(0))]
    assert np.mean(energies) == pytest.approx(9 * units.kB * 2.0 / 2, rel=0.08)


@pytest.mark.parametrize(("fixed", "modes"), [([], 6), ([0], 6), ([0, 2], 5), ([0, 2, 3], 3)])
def test_fixed_atoms_stay_and_take_their_moves_with_them(fixed, modes):
    """One fixed atom leaves the rotations about it, two the one about their axis."""
    movable = np.isin(np.arange(4), fixed, invert=True)
    geometry = Geometry(positions=PYRAMID.positions, numbers=PYRAMID.numbers, movable=movable)
    sampler = NormalModes(geometry, springs(PYRAMID.positions), count=10)
    assert len(sampler.wavenumbers) == modes
    for moved in sampler.draw(np.random.default_rng(0)):
        np.testing.assert_array_equal((moved.positions == geometry.positions).all(1), ~movable)
        np.testing.assert_array_equal(moved.movable, movable)


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_a_linear_molecule_has_one_rotation_less(noise, rng):
    """CO2 from bonds and bends, as straight as an optimiser leaves it: two equal bends and two
    stretches.
    """
    x = np.array([-1.16, 0.0, 1.16])
    stretch, bend = np.zeros((2, 3, 3)), np.zeros((2, 3, 3))
    for row, (i, j) in enumerate([(0, 1), (1, 2)]):
        stretch[row, [i, j], 0] = 1.0, -1.0
    for row, axis in enumerate([1, 2]):
        bend[row, :, axis] = 1.0, -2.0, 1.0
    hessian = sum(
        k * np.outer(move, move)
        for k, moves in ((90.0, stretch), (3.0, bend))
        for move in moves.reshape(2, 9)
    )
    positions = np.column_stack([x, np.zeros(3), np.zeros(3)]) + rng.normal(0, noise, (3, 3))
    wavenumbers = NormalModes(Geometry(positions=positions, numbers=[8, 6, 8]), hessian).wavenumbers
    assert len(wavenumbers) == 4
    assert wavenumbers[0] == pytest.approx(wavenumbers[1], rel=1e-3)
    assert wavenumbers[1] < wavenumbers[2] < wavenumbers[3]


def minimum(x: float) -> tuple[Geometry, np.ndarray]:
    """The stationary point of the double well near x, and its Hessian."""
    for _ in range(50):
        x -= (40 * x**3 - 20 * x + 2) / (120 * x**2 - 20)
    return points([[x, 0.0]])[0], np.diag([120 * x**2 - 20, 8.0])


def test_a_point_of_a_model_surface_has_its_boltzmann_distribution():
    geometry, hessian = minimum(-0.7)
    assert np.abs(DoubleWell()(geometry).forces).max() < 1e-9
    kT = 0.05
    shifts = drawn(
        NormalModes(
            geometry, hessian, temperature=(kT / units.kB, kT / units.kB), count=8000, free=False
        )
    )
    np.testing.assert_allclose(np.cov(shifts.T), kT * np.linalg.inv(hessian), atol=0.03 * kT / 8)


def test_what_has_no_restoring_force_is_refused():
    geometry, hessian = minimum(0.1)
    with pytest.raises(
        ValueError,
        match=(
            r"modes without a restoring force, -\d+ cm\^-1 \(imaginary ones as negative numbers\):"
            r" this is no minimum; optimise"
        ),
    ):
        NormalModes(geometry, hessian, free=False)
    with pytest.raises(ValueError, match=r"no mode is left: .* free=False"):
        NormalModes(geometry, hessian)
    with pytest.raises(ValueError, match="modes without a restoring force"):
        NormalModes(PYRAMID, springs(PYRAMID.positions), free=False)
    with pytest.raises(ValueError, match="modes without a restoring force, -"):
        NormalModes(PYRAMID, -springs(PYRAMID.positions))


def test_what_normal_modes_refuse(rng):
    hessian = springs(PYRAMID.positions)
    with pytest.raises(
        ValueError, match=r"the hessian has shape \(4, 3, 4, 3\), expected \(12, 12\) finite"
    ):
        NormalModes(PYRAMID, hessian.reshape(4, 3, 4, 3))
    with pytest.raises(ValueError, match="the hessian is not symmetric: elements differ by"):
        NormalModes(PYRAMID, hessian + rng.normal(0, 3.0, hessian.shape))
    for wrong in ({"temperature": (0.0, 300.0)}, {"temperature": (500.0, 300.0)}, {"count": 0}):
        with pytest.raises(
            ValueError, match=r"temperature=.* and count=.*: give \(lowest, highest\) in K above 0"
        ):
            NormalModes(PYRAMID, hessian, **wrong)


def test_normal_modes_have_a_name_and_repeat_themselves():
    hessian = springs(PYRAMID.positions)
    sampler = NormalModes(PYRAMID, hessian, count=3)
    hessian[0, 0] = 99.0
    assert sampler.hessian[0, 0] != 99.0
    assert json.loads(json.dumps(to_settings(sampler)))["temperature"] == [250.0, 750.0]
    np.testing.assert_array_equal(drawn(sampler, 4), drawn(pickle.loads(pickle.dumps(sampler)), 4))
    assert np.abs(drawn(sampler, 4) - drawn(sampler, 5)).max() > 0.01


def test_copies_are_one_structure(rng):
    geometry = Geometry(positions=np.zeros((1, 3)), numbers=[1])
    found = Copies(geometry, 3).draw()
    assert len(found) == 3
    assert all(copy is geometry for copy in found)
    with pytest.raises(ValueError, match="positive number"):
        Copies(geometry, 0)


def test_a_mixture_asks_one_after_the_other(rng, tmp_path):
    data, folders = helpers.well_data(rng, 6), []

    def last(committee, dataset, rng, report, scratch):
        folders.append(scratch)
        return [points([[9.0, 9.0]])[0]]

    both = Mixture([FromDataset(2), Rattle(0.1), last])
    found = both(None, data, np.random.default_rng(3), scratch=tmp_path)
    again = np.random.default_rng(3)
    assert found[:2] == FromDataset(2).draw(data, again)
    assert len(found) == 9
    assert all(
        np.array_equal(a.positions, b.positions)
        for a, b in zip(found[2:8], Rattle(0.1).draw(data, again), strict=True)
    )
    assert folders == [tmp_path / "2"]
    with pytest.raises(ValueError, match="at least one"):
        Mixture([])


def test_frames_of_simulations_with_the_mean(rng):
    """In a harmonic well every coordinate is spread as its replica's temperature says."""
    committee = Committee([Differentiable(helpers.Harmonic((1.0, 4.0)))] * 2)
    start = points([[0.0, 0.0]])[0]
    hot = MolecularDynamics(
        temperature=(2000.0, 2000.0),
        picoseconds=0.4,
        count=400,
        start=start,
        timestep=2.0,
        damping=40.0,
    )
    found = hot(committee, None, rng)
    assert len(found) == 400
    assert {g.origin["by"] for g in found} == {"dynamics"}
    held = 0.5 * np.array([1.0, 4.0]) * np.var([g.positions[0] for g in found], axis=0)
    assert 0.5 < held.sum() / (units.kB * 2000) < 1.5
    again = (
        hot(committee, None, np.random.default_rng(5)),
        hot(committee, None, np.random.default_rng(5)),
    )
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(*again, strict=True))


def test_a_replica_that_stops_gives_the_frame_before(rng):
    @dataclass(frozen=True)
    class Beyond:
        name = "beyond"

        def __call__(self, batch, prediction):
            return batch.positions.norm(dim=-1) > 0.5

    committee = Committee([Differentiable(helpers.Harmonic((1.0, 4.0)))] * 2)
    starts = Dataset(
        points([[0.1, 0.0], [0.0, 0.1]]), [Labels(energy=0.0, forces=np.zeros((1, 2)))] * 2
    )
    sampler = MolecularDynamics(
        temperature=(20000.0, 30000.0), picoseconds=0.4, count=12, stops=(Beyond(),)
    )
    found = sampler(committee, starts, rng)
    assert max(np.linalg.norm(g.positions) for g in found) <= 0.5
    assert {float(g.origin["temperature"]) for g in found} != {20000.0}
    with pytest.raises(ValueError, match="lowest, highest"):
        MolecularDynamics(temperature=(500.0, 300.0), picoseconds=1.0, count=1)


def test_a_replica_ends_where_members_disagree(rng):
    """Two wells of different stiffness disagree the more the farther out: by |k - k'| r / 2, as a
    root mean square over two components.
    """
    committee = Committee(
        [Differentiable(helpers.Harmonic((1.0, 1.0))), Differentiable(helpers.Harmonic((1.2, 1.2)))]
    )
    start = points([[0.1, 0.0]])[0]
    sampler = MolecularDynamics(
        temperature=(20000.0, 20000.0), picoseconds=1.0, count=20, start=start, uncertain=0.05
    )
    radii = np.array([np.linalg.norm(g.positions) for g in sampler(committee, None, rng)])
    limit = 0.05 * np.sqrt(2) / (0.2 / np.sqrt(2))
    assert (radii > limit).sum() > 15
    assert radii.max() < 1.5 * limit
    free = MolecularDynamics(temperature=(20000.0, 20000.0), picoseconds=1.0, count=20, start=start)
    assert np.max([np.linalg.norm(g.positions) for g in free(committee, None, rng)]) > 1.5 * limit


def test_heavy_hydrogen_vibrates_slower():
    """A diatomic of one spring constant: wavenumbers go with the root of the reduced mass."""
    pair = {"positions": [[0, 0, 0], [0, 0, 0.74]], "numbers": [1, 1]}
    k = 35.0
    hessian = np.zeros((6, 6))
    hessian[np.ix_([2, 5], [2, 5])] = [[k, -k], [-k, k]]
    light, heavy = (
        NormalModes(Geometry(**pair, isotopes=masses), hessian).wavenumbers
        for masses in (None, [2.014, 2.014])
    )
    assert light[-1] / heavy[-1] == pytest.approx(np.sqrt(2.014 / atomic_masses[1]))
