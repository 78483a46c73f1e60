"""Langevin dynamics samples the distribution it should; replicas move as ASE's do, and stop by
themselves.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import helpers
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.data import atomic_masses
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.dynamics import (
    EXPLODED,
    NOT_FINITE,
    Closer,
    EnergyBelow,
    Farther,
    Frames,
    Watch,
    npt,
    nve,
    nvt,
)
from agal_toolkit.geometry import Geometry, points
from agal_toolkit.potentials import CalculatorPotential, Differentiable, PotentialCalculator
from agal_toolkit.references import DoubleWell
from studies.double_well import langevin as ensemble
from studies.double_well.langevin import langevin


def test_each_quadratic_coordinate_holds_half_a_kT(rng):
    stiffness, kT = np.array([1.0, 4.0]), 0.3
    potential = Differentiable(helpers.Harmonic(tuple(stiffness)))
    ran = langevin(
        potential,
        points([[0.5, 0.0]])[0],
        kT=kT,
        timestep=0.1,
        steps=1000,
        friction=0.5,
        replicas=300,
        rng=rng,
    )
    late = ran.positions[ran.times > 20][:, :, 0]
    held = 0.5 * stiffness * (late**2).mean((0, 1))
    np.testing.assert_allclose(held, kT / 2, rtol=0.05)
    assert ran.energies[ran.times > 20].mean() == pytest.approx(kT, rel=0.05)


def test_a_double_well_is_visited_as_boltzmann_says(rng):
    well, kT = DoubleWell(), 3.0
    ran = langevin(
        helpers.well_potential(well),
        points([[-0.7, 0.0]])[0],
        kT=kT,
        timestep=0.03,
        steps=1600,
        friction=1.0,
        replicas=400,
        every=20,
        rng=rng,
    )
    late = ran.positions[ran.times > 12].reshape(-1, 2)
    edges = np.linspace(-1.25, 1.15, 9)
    grid = np.linspace(-2.5, 2.5, 5001)
    density = np.exp(-well.energy(np.column_stack([grid, 0 * grid])) / kT)
    density /= density.sum()
    expected = np.array(
        [density[(grid >= a) & (grid < b)].sum() for a, b in itertools.pairwise(edges)]
    )
    found = np.histogram(late[:, 0], edges)[0] / len(late)
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert expected.min() > 0.03
    assert late[:, 1].var() == pytest.approx(kT / 8, rel=0.05)


def test_frames_times_and_energies(rng):
    heard = []
    ran = langevin(
        helpers.well_potential(),
        points([[-0.7, 0.1]])[0],
        kT=0.5,
        timestep=0.02,
        steps=50,
        friction=1.0,
        replicas=3,
        every=10,
        rng=rng,
        report=heard.append,
    )
    np.testing.assert_allclose(ran.times, np.arange(0, 51, 10) * 0.02)
    assert ran.positions.shape == (6, 3, 1, 2)
    assert ran.energies.shape == (6, 3)
    np.testing.assert_allclose(
        ran.energies, DoubleWell().energy(ran.positions[:, :, 0]), rtol=1e-12
    )
    assert (ran.positions[0] == [-0.7, 0.1]).all()
    assert not np.allclose(ran.positions[-1, 0], ran.positions[-1, 1])
    assert [(e.done, e.total) for e in heard] == [(k, 50) for k in range(0, 51, 10)]


def test_the_same_generator_gives_the_same_trajectory():
    def run():
        return langevin(
            helpers.well_potential(),
            points([[0.0, 0.0]])[0],
            kT=0.5,
            timestep=0.02,
            steps=30,
            friction=1.0,
            replicas=2,
            rng=np.random.default_rng(4),
        )

    assert run().positions.tobytes() == run().positions.tobytes()


def test_without_friction_an_oscillator_swings():
    ran = langevin(
        Differentiable(helpers.Harmonic()),
        points([[1.0, 0.0]])[0],
        kT=1e-12,
        timestep=0.05,
        steps=400,
        friction=1e-9,
        every=1,
        rng=np.random.default_rng(0),
    )
    np.testing.assert_allclose(ran.positions[:, 0, 0, 0], np.cos(ran.times), atol=0.01)


def test_heavy_particles_are_slow(rng):
    light, heavy = (
        langevin(
            Differentiable(helpers.Harmonic()),
            points([[1.0, 1.0]])[0],
            kT=1e-9,
            timestep=0.05,
            steps=20,
            friction=0.0,
            masses=np.array([m]),
            rng=rng,
        ).positions[-1, 0, 0]
        for m in (1.0, 100.0)
    )
    np.testing.assert_allclose(light, np.cos(1.0), atol=1e-3)
    np.testing.assert_allclose(heavy, np.cos(0.1), atol=1e-3)


def test_an_unmovable_particle_stays_and_the_others_do_not(rng):
    molecule = helpers.molecule(rng, 4)
    geometry = Geometry(
        positions=molecule.positions, numbers=molecule.numbers, movable=[True, False, True, False]
    )
    ran = langevin(
        Differentiable(helpers.PairEnergy()),
        geometry,
        kT=0.1,
        timestep=0.5,
        steps=20,
        friction=0.05,
        replicas=3,
        every=5,
        rng=rng,
    )
    moved = np.abs(ran.positions - geometry.positions).max((0, 1, 3))
    assert (moved > 0).tolist() == [True, False, True, False]


def test_the_padding_of_a_model_surface_stays_zero(rng):
    seen = []

    def energy(batch):
        assert batch.dimension == 2
        return helpers.Harmonic()(batch)

    class Watched(ensemble.Langevin):
        """ASE's integrator, whose atoms we look at."""

        def step(self, *args, **kwargs):
            result = super().step(*args, **kwargs)
            seen.append(
                np.abs(self.atoms.positions[:, 2]).max()
                + np.abs(self.atoms.get_momenta()[:, 2]).max()
            )
            return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "Langevin", Watched)
        langevin(
            Differentiable(energy),
            points([[0.1, 0.2]])[0],
            kT=0.5,
            timestep=0.05,
            steps=10,
            friction=1.0,
            replicas=4,
            rng=rng,
        )
    assert len(seen) == 10
    assert max(seen) == 0.0


def test_an_ion_stays_an_ion(rng):
    seen = set()

    def energy(batch):
        seen.update(zip(batch.charge.tolist(), batch.multiplicity.tolist(), strict=True))
        return helpers.Harmonic()(batch)

    start = Geometry(positions=[[0.1, 0.0, 0.0]], numbers=[18], charge=1, multiplicity=2)
    langevin(
        Differentiable(energy),
        start,
        kT=0.1,
        timestep=0.1,
        steps=2,
        friction=0.5,
        replicas=3,
        rng=rng,
    )
    nve(Differentiable(energy), [start], 300.0, timestep=0.5, steps=2, rng=rng)
    assert seen == {(1, 2)}


# -- many replicas

SPRINGS = Differentiable(helpers.Springs())
TETRAHEDRON = helpers.tetrahedron()


def linear_momentum(frames: Frames) -> np.ndarray:
    return (atomic_masses[frames.start.numbers][:, None] * frames.velocities).sum(0)


def test_nve_is_ases_velocity_verlet(rng):
    ours = nve(
        SPRINGS,
        [TETRAHEDRON] * 2,
        [300.0, 900.0],
        timestep=0.5,
        steps=100,
        watch=Watch(every=1),
        rng=rng,
    )
    first = nve(
        SPRINGS,
        [TETRAHEDRON] * 2,
        [300.0, 900.0],
        timestep=0.5,
        steps=1,
        rng=np.random.default_rng(20211),
    )
    for mine, begun in zip(ours, first, strict=True):
        # Velocities half a step in, back to the start: what was drawn.
        atoms = TETRAHEDRON.to_ase()
        atoms.calc = PotentialCalculator(SPRINGS)
        drawn = (begun.positions[1] - begun.positions[0]) / (
            0.5 * units.fs
        ) - 0.25 * units.fs * atoms.get_forces() / atoms.get_masses()[:, None]
        atoms.set_velocities(drawn)
        theirs = VelocityVerlet(atoms, 0.5 * units.fs)
        potential, kinetic = [atoms.get_potential_energy()], [atoms.get_kinetic_energy()]
        for _ in range(100):
            theirs.run(1)
            potential.append(atoms.get_potential_energy())
            kinetic.append(atoms.get_kinetic_energy())
        np.testing.assert_allclose(mine.positions[-1], atoms.positions, atol=1e-8)
        np.testing.assert_allclose(mine.velocities, atoms.get_velocities() * units.fs, atol=1e-9)
        np.testing.assert_allclose(mine.energies, potential, atol=1e-8)
        np.testing.assert_allclose(mine.kinetic, kinetic, atol=1e-8)
        total = mine.energies + mine.kinetic
        assert np.ptp(total) < 0.02 * mine.kinetic.max()
        assert np.ptp(total) == pytest.approx(np.ptp(np.add(potential, kinetic)), rel=1e-4)
        np.testing.assert_allclose(mine.times, np.arange(101) * 0.5)
        assert mine.reason is None
        assert np.abs(linear_momentum(mine)).max() < 1e-12


def test_velocities_are_maxwells_and_a_run_can_be_continued(rng):
    kelvin = np.repeat([300.0, 900.0], 200)
    once = nve(SPRINGS, [TETRAHEDRON] * 400, kelvin, timestep=0.5, steps=2, rng=rng)
    for temperature in (300.0, 900.0):
        kinetic = np.array(
            [frames.kinetic[0] for frames in once if frames.temperature == temperature]
        )
        assert kinetic.mean() == pytest.approx(
            4.5 * units.kB * temperature, rel=4 / np.sqrt(4.5 * len(kinetic))
        )
        assert kinetic.var() == pytest.approx(4.5 * (units.kB * temperature) ** 2, rel=0.4)
    there = [
        nve(
            SPRINGS,
            [frames.geometry(-1)],
            0.0,
            timestep=0.5,
            steps=3,
            velocities=[frames.velocities],
        )[0]
        for frames in once[:2]
    ]
    whole = nve(
        SPRINGS,
        [TETRAHEDRON] * 400,
        kelvin,
        timestep=0.5,
        steps=5,
        rng=np.random.default_rng(20211),
    )
    for frames, full in zip(there, whole, strict=False):
        np.testing.assert_allclose(frames.positions[-1], full.positions[-1], atol=1e-9)
    assert dict(once[1].geometry(1).origin) == {
        "by": "dynamics",
        "replica": 1,
        "temperature": 300.0,
        "time": 1.0,
    }


def thermal(start: Geometry, kT: float, rng: np.random.Generator, count: int) -> list[Geometry]:
    """Structures of equilibrium (of small oscillations), so that nothing has to be waited for."""
    x = torch.tensor(start.positions)
    stiffness = (
        torch.autograd.functional.hessian(
            lambda y: SPRINGS.energy(Batch.of([start]).at(y)).sum(), x
        )
        .reshape(x.numel(), -1)
        .numpy()
    )
    free = np.repeat(start.movable, 3)
    values, modes = np.linalg.eigh(stiffness[np.ix_(free, free)])
    shift = np.zeros((count, len(free)))
    shift[:, free] = rng.normal(0, 1, (count, 6)) * np.sqrt(kT / values[-6:]) @ modes[:, -6:].T
    return [replace(start, positions=start.positions + s.reshape(-1, 3)) for s in shift]


def test_nvt_holds_each_temperature_and_samples_as_ases(rng):
    """The kinetic energy of the nine degrees of freedom that move, and the potential energy that
    ASE's chain finds, near 3 kT.
    """
    kelvin, count = np.repeat([300.0, 600.0], 200), 200
    starts = [
        start
        for temperature in (300.0, 600.0)
        for start in thermal(TETRAHEDRON, units.kB * temperature, rng, count)
    ]
    ran = nvt(
        SPRINGS,
        starts,
        kelvin,
        timestep=1.0,
        steps=400,
        damping=30.0,
        watch=Watch(every=5),
        rng=rng,
    )
    for temperature in (300.0, 600.0):
        late = np.array(
            [frames.kinetic.mean() for frames in ran if frames.temperature == temperature]
        )
        error = late.std() / np.sqrt(count)
        assert abs(late.mean() - 4.5 * units.kB * temperature) < 4 * error < 0.05 * late.mean()
    ours = np.array([frames.energies.mean() for frames in ran[count:]])
    atoms = Atoms([6] * 4 * count, np.concatenate([start.positions for start in starts[count:]]))
    atoms.calc = PotentialCalculator(SPRINGS, replicas=count)
    atoms.set_momenta(
        rng.normal(0, 1, atoms.positions.shape)
        * np.sqrt(units.kB * 600 * atoms.get_masses())[:, None]
    )
    motion, seen = NoseHooverChainNVT(atoms, units.fs, temperature_K=600, tdamp=30 * units.fs), []
    motion.attach(lambda: seen.append(atoms.calc.results["replica_energies"].copy()), interval=5)
    motion.run(400)
    theirs = np.mean(seen, 0)
    assert (
        abs(ours.mean() - theirs.mean())
        < 4 * np.hypot(ours.std(), theirs.std()) / np.sqrt(count)
        < 0.3 * ours.mean()
    )
    assert ours.mean() == pytest.approx(3 * units.kB * 600, rel=0.15)


def test_equal_seeds_give_equal_replicas_and_touch_no_other_random_numbers():
    torch.manual_seed(1)
    before = torch.get_rng_state()

    def run(seed):
        return nvt(
            SPRINGS,
            [TETRAHEDRON] * 3,
            500.0,
            timestep=0.5,
            steps=20,
            rng=np.random.default_rng(seed),
        )

    first, again, other = run(5), run(5), run(6)
    assert [f.positions.tobytes() for f in first] == [f.positions.tobytes() for f in again]
    assert not np.allclose(first[0].positions[-1], other[0].positions[-1])
    assert not np.allclose(first[0].positions[-1], first[1].positions[-1])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_replica_that_breaks_stops_and_the_others_go_on():
    counted, heard, far = helpers.Counted(SPRINGS), [], Farther(1.8, (6, 6))
    kelvin, settings = [300.0, 9000.0, 300.0], {"timestep": 0.5, "steps": 60, "velocities": None}
    ran = nvt(
        counted,
        [TETRAHEDRON] * 3,
        kelvin,
        watch=Watch(every=10, stops=(EnergyBelow(-1.0), far)),
        rng=np.random.default_rng(0),
        report=heard.append,
        **settings,
    )
    free = nvt(
        SPRINGS,
        [TETRAHEDRON] * 3,
        kelvin,
        watch=Watch(every=1),
        rng=np.random.default_rng(0),
        **settings,
    )
    assert [frames.reason for frames in ran] == [None, "C-C above 1.8 A", None]
    widest = np.array([max(np.linalg.norm(a - b) for a in x for b in x) for x in free[1].positions])
    stopped = int(np.argmax(widest > 1.8))
    assert 0 < stopped < 60
    assert ran[1].times[-1] == 0.5 * stopped
    assert counted.calls == 2 * 61 + stopped + 1
    kept = sorted({*range(0, stopped + 1, 10), stopped})
    np.testing.assert_allclose(ran[1].positions, free[1].positions[kept], atol=1e-9)
    np.testing.assert_allclose(ran[1].times, 0.5 * np.array(kept))
    for calm in (0, 2):
        np.testing.assert_allclose(ran[calm].positions, free[calm].positions[::10], atol=1e-9)
    assert [(event.done, event.total) for event in heard] == [(k, 60) for k in range(0, 61, 10)]
    assert "C-C above" in repr(ran[1])
    assert "not stopped" in repr(ran[0])


def test_nan_and_explosions_always_stop(rng):
    """A well with an abyss beside it: beyond 0.5 A it falls without end, beyond 5 A there is no
    number at all.
    """

    def energy(batch):
        s = batch.sum(batch.positions.square().sum(-1))
        return torch.where(s > 25, torch.nan, torch.where(s > 0.25, 2.0 - 4.0 * s, 4.0 * s))

    starts = [Geometry(positions=[[x, 0.0, 0.0]], numbers=[6]) for x in (0.1, 0.6, 6.0)]
    for explosion, second in ((10.0, EXPLODED), (1000.0, NOT_FINITE)):
        ran = nve(
            Differentiable(energy),
            starts,
            1.0,
            timestep=0.5,
            steps=120,
            watch=Watch(every=5, check=1000, explosion=explosion),
            rng=rng,
        )
        assert [frames.reason for frames in ran] == [None, second, NOT_FINITE]
        assert len(ran[0]) == 25
        assert 1 < len(ran[1]) < 25
        assert len(ran[2]) == 0
        assert np.isfinite(ran[1].positions).all()
        assert np.isfinite(ran[1].velocities).all()
    pushed = nve(
        Swollen(), starts[:1], 1.0, timestep=1.0, steps=400, watch=Watch(every=100), rng=rng
    )[0]
    assert pushed.reason == EXPLODED
    assert 10.0 < max(pushed.energies[-1], pushed.kinetic[-1]) < 15.0
    assert pushed.times[-1] < 400


class Swollen:
    """Forces that heat: not the slope of the energy."""

    def __call__(self, batch, *, graph=False):
        said = Differentiable(helpers.Harmonic())(batch)
        return Prediction(said.energy, -6 * said.forces, said.stress)


def test_a_start_that_breaks_a_criterion_never_moves(rng):
    counted = helpers.Counted(SPRINGS)
    ran = nve(
        counted,
        [TETRAHEDRON],
        300.0,
        timestep=0.5,
        steps=50,
        watch=Watch(stops=(Closer(1.6),)),
        rng=rng,
    )[0]
    assert ran.reason == "a distance below 1.6 A"
    assert ran.times.tolist() == [0.0]
    assert counted.calls == 1


def test_distances_are_those_of_the_named_elements_and_nearest_images():
    ammonia = Geometry(
        positions=[[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 0.6]], numbers=[7, 1, 1, 1]
    )
    box = Geometry(
        positions=[[0.1, 0, 0], [3.9, 0.0, 0.0]], numbers=[1, 1], cell=4 * np.eye(3), pbc=True
    )
    batch = Batch.of([ammonia, box, replace(box, pbc=[False, True, True])])
    said = Differentiable(helpers.Harmonic())(batch)
    assert Closer(0.8)(batch, said).tolist() == [True, True, False]
    assert Closer(0.8, (1, 1))(batch, said).tolist() == [False, True, False]
    assert (
        Closer(0.8, (1, 7))(batch, said).tolist()
        == Closer(0.8, (7, 1))(batch, said).tolist()
        == [True, False, False]
    )
    assert Farther(1.3, (1, 1))(batch, said).tolist() == [True, False, True]
    assert not Closer(9.0, (8, 8))(batch, said).any()
    assert EnergyBelow(1.2)(batch, said).tolist() == [True, False, False]


def test_no_nearest_image_is_infinitely_far():
    """Images are not listed up to the limit: at 1000 angstrom there would be millions."""
    box = Geometry(
        positions=[[0.1, 0, 0], [2.6, 2.5, 2.5]], numbers=[1, 1], cell=5 * np.eye(3), pbc=True
    )
    batch = Batch.of([box])
    said = Differentiable(helpers.Harmonic())(batch)
    assert [Farther(limit)(batch, said).item() for limit in (4.3, 4.34, 1000.0, np.inf)] == [
        True,
        False,
        False,
        False,
    ]


def test_nearest_images_are_those_of_ase_in_any_cell(rng):
    """Also if the nearest image is not that of rounded fractions, or is an atom's own."""
    geometries, nearest, own, none = [], [], [], Differentiable(helpers.Harmonic())
    for _ in range(60):
        cell = np.diag(rng.uniform(2.0, 4.0, 3)) + np.tril(rng.uniform(-4, 4, (3, 3)), -1)
        geometries.append(
            Geometry(
                positions=rng.uniform(-3, 6, (3, 3)),
                numbers=[1, 1, 8],
                cell=cell,
                pbc=rng.random(3) < 0.7,
            )
        )
        i, j, d = neighbor_list("ijd", geometries[-1].to_ase(), 12.0)
        nearest.append(
            np.array(
                [[d[(i == a) & (j == b)].min(initial=99.0) for b in range(3)] for a in range(3)]
            )
        )
        own.append(min(nearest[-1].diagonal()))
    batch = Batch.of(geometries)
    said, apart = none(batch), np.array(nearest)
    assert (np.array(own) < 2.5).any()
    for limit in (1.0, 2.5, 4.0):
        assert Closer(limit)(batch, said).tolist() == (apart < limit).any((1, 2)).tolist()
        assert (
            Closer(limit, (1, 8))(batch, said).tolist() == (apart[:, :2, 2] < limit).any(1).tolist()
        )
        assert (
            Closer(limit, (1, 1))(batch, said).tolist()
            == (apart[:, :2, :2] < limit).any((1, 2)).tolist()
        )
        assert (
            Farther(limit)(batch, said).tolist()
            == (apart[:, [0, 0, 1], [1, 2, 2]] > limit).any(1).tolist()
        )
        assert (
            Farther(limit, (8, 1))(batch, said).tolist()
            == (apart[:, :2, 2] > limit).any(1).tolist()
        )
        assert Farther(limit, (1, 1))(batch, said).tolist() == (apart[:, 0, 1] > limit).tolist()
        assert not Farther(limit, (8, 8))(batch, said).any()


def test_what_is_no_number_is_neither_near_nor_far():
    batch = Batch.of([TETRAHEDRON, TETRAHEDRON])
    positions = batch.positions.clone()
    positions[:3] = torch.nan
    lost, said = batch.at(positions), None
    assert Closer(1.6)(lost, said).tolist() == [False, True]
    assert Farther(1.6)(lost, said).tolist() == [False, False]
    assert Farther(1.4)(lost, said).tolist() == [False, True]


def test_unmovable_atoms_stay_and_leave_the_rest_its_temperature(rng):
    held = replace(TETRAHEDRON, movable=[True, False, True, True])
    ran = nvt(
        SPRINGS,
        thermal(held, units.kB * 400, rng, 100),
        400.0,
        timestep=1.0,
        steps=300,
        damping=30.0,
        watch=Watch(every=5),
        rng=rng,
    )
    assert all((frames.positions[:, 1] == TETRAHEDRON.positions[1]).all() for frames in ran)
    late = np.array([frames.kinetic.mean() for frames in ran])
    assert abs(late.mean() - 4.5 * units.kB * 400) < 4 * late.std() / 10 < 0.1 * late.mean()


def test_a_point_of_the_double_well_keeps_its_energy(rng):
    ran = nve(
        helpers.well_potential(),
        points([[-0.7, 0.0], [0.3, 0.2]]),
        3000.0,
        timestep=0.2,
        steps=50,
        rng=rng,
    )
    for frames in ran:
        total = frames.energies + frames.kinetic
        assert frames.positions.shape == (6, 1, 2)
        assert frames.velocities.shape == (1, 2)
        assert np.ptp(total) < 0.01 * np.ptp(frames.energies)


def test_a_periodic_box_drifts_through_its_boundary_unwrapped(rng):
    box, speed = helpers.crystal(rng, (4, 4, 4)), np.array([0.4, 0.0, -0.3])
    ran = nve(
        Differentiable(helpers.PairEnergy()),
        [box],
        0.0,
        timestep=1.0,
        steps=10,
        velocities=[np.tile(speed, (64, 1))],
        rng=rng,
    )[0]
    assert ran.positions[-1, :, 0].max() > 7.6 + 2.0
    np.testing.assert_allclose(
        (ran.positions[-1] - ran.positions[0]).mean(0), 10 * speed, atol=1e-9
    )
    assert abs(np.diff(ran.energies + ran.kinetic)[0]) < 0.01 * abs(np.diff(ran.energies)[0])
    held = nvt(
        Differentiable(helpers.PairEnergy()),
        [box],
        1.0,
        timestep=1.0,
        steps=2,
        velocities=[np.tile(speed, (64, 1))],
    )[0]
    assert np.abs(linear_momentum(held)).max() < 1e-10


def test_npt_is_ases_and_stops_as_the_others_do(rng):
    potential, box = Differentiable(helpers.PairEnergy()), helpers.crystal(rng, (4, 4, 4))
    speeds = [rng.normal(0, 0.002, box.positions.shape) for _ in range(2)]
    settings = {
        "pressure": 0.02,
        "timestep": 1.0,
        "damping": 50.0,
        "pressure_damping": 100.0,
        "velocities": speeds,
    }
    ran = npt(potential, [box] * 2, [100.0, 200.0], steps=8, watch=Watch(every=4), **settings)
    atoms = box.to_ase()
    atoms.set_velocities(speeds[1] / units.fs)
    atoms.calc = PotentialCalculator(potential)
    IsotropicMTKNPT(
        atoms,
        units.fs,
        temperature_K=200,
        pressure_au=0.02,
        tdamp=50 * units.fs,
        pdamp=100 * units.fs,
    ).run(8)
    np.testing.assert_allclose(ran[1].positions[-1], atoms.positions, atol=1e-9)
    np.testing.assert_allclose(ran[1].cells[-1], atoms.cell.array, atol=1e-9)
    np.testing.assert_allclose(
        [ran[1].energies[-1], ran[1].kinetic[-1]],
        [atoms.get_potential_energy(), atoms.get_kinetic_energy()],
        atol=1e-9,
    )
    np.testing.assert_allclose(ran[1].geometry(-1).cell, atoms.cell.array, atol=1e-9)
    assert len(ran[0]) == 3
    assert not np.allclose(ran[0].cells[-1], box.cell)
    stopped = npt(
        potential,
        [box] * 2,
        [100.0, 200.0],
        steps=3,
        watch=Watch(every=2, stops=(Denser(0.9999 * np.linalg.det(box.cell)),)),
        **settings,
    )
    assert {frames.reason for frames in stopped} <= {"denser", None}
    assert "denser" in {frames.reason for frames in stopped}


class Denser:
    """A criterion of a user: a volume below `volume`."""

    name = "denser"

    def __init__(self, volume: float) -> None:
        self.volume = volume

    def __call__(self, batch, prediction):
        return torch.linalg.det(batch.cell) < self.volume


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda rng: nve(SPRINGS, [], 300.0, timestep=0.5, steps=5, rng=rng), "0 starts"),
        (
            lambda rng: nve(SPRINGS, [TETRAHEDRON], [300.0, 400.0], timestep=0.5, steps=5, rng=rng),
            "one for each of 1 starts",
        ),
        (lambda rng: nve(SPRINGS, [TETRAHEDRON], 300.0, timestep=0.5, steps=5), "give rng"),
        (
            lambda rng: nve(
                SPRINGS, [TETRAHEDRON], 300.0, timestep=0.5, steps=5, velocities=[np.zeros((3, 3))]
            ),
            "velocities have shapes",
        ),
        (
            lambda rng: nvt(SPRINGS, [TETRAHEDRON], 0.0, timestep=0.5, steps=5, rng=rng),
            "all must be positive",
        ),
        (
            lambda rng: nvt(
                SPRINGS,
                [replace(TETRAHEDRON, movable=[False] * 4)],
                300.0,
                timestep=0.5,
                steps=5,
                rng=rng,
            ),
            "0 degrees of freedom",
        ),
        (
            lambda rng: npt(
                SPRINGS, [TETRAHEDRON], 300.0, pressure=0.0, timestep=0.5, steps=5, rng=rng
            ),
            "periodic in three directions",
        ),
        (
            lambda rng: nve(
                SPRINGS,
                [TETRAHEDRON],
                300.0,
                timestep=0.5,
                steps=5,
                rng=rng,
                watch=Watch(stops=(Whole(),)),
            ),
            "expected one bool for each of 1",
        ),
        (lambda rng: Watch(every=0), "must be positive"),
    ],
)
def test_what_cannot_run_is_refused_with_the_remedy(run, message, rng):
    with pytest.raises(ValueError, match=message):
        run(rng)


class Whole:
    """A criterion that forgets the replicas."""

    name = "whole"

    def __call__(self, batch, prediction):
        return (prediction.energy < 0).any()


def test_isotopes_swing_slower():
    """One spring constant: the period goes with the root of the reduced mass, for each engine."""
    spring = Differentiable(HarmonicPair(k=20.0, length=0.74))
    start = Geometry(positions=[[0, 0, 0], [0, 0, 0.80]], numbers=[1, 1])
    heavy = replace(start, isotopes=[2.014, 2.014])
    for potential in (spring, CalculatorPotential(PotentialCalculator(spring))):
        frames = nve(
            potential,
            [start, heavy],
            0.0,
            timestep=0.1,
            steps=300,
            watch=Watch(every=1),
            velocities=[np.zeros((2, 3))] * 2,
        )
        for run, mass in zip(frames, (atomic_masses[1], 2.014), strict=True):
            stretch = np.linalg.norm(run.positions[:, 0] - run.positions[:, 1], axis=1) - 0.74
            omega = np.sqrt(2 * 20.0 / mass) * units.fs  # 1/fs
            np.testing.assert_allclose(stretch, 0.06 * np.cos(omega * run.times), atol=2e-4)


@dataclass(frozen=True)
class HarmonicPair:
    """k / 2 (r - length)^2 of pairs of atoms, one after the other."""

    k: float
    length: float

    def __call__(self, batch):
        x = batch.positions.reshape(*batch.positions.shape[:-2], -1, 2, 3)
        r = (x[..., 1, :] - x[..., 0, :]).norm(dim=-1)
        return 0.5 * self.k * (r - self.length).square()
