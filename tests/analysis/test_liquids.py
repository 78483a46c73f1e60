"""Properties of liquids against known values, and against ASE's neighbours."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from agal_toolkit.analysis.estimates import Band, Estimate, blocks_of, inefficiency, reweight
from agal_toolkit.analysis.liquids import density, diffusion, radial_distribution
from agal_toolkit.dynamics.run import Frames
from agal_toolkit.geometry import Geometry


def simulated(positions, cells, numbers, every=10.0, temperature=300.0) -> Frames:
    """Frames of given positions (T, n, 3), in one cell or (T, 3, 3)."""
    positions = np.asarray(positions, float)
    count = len(positions)
    cells = np.broadcast_to(cells, (count, 3, 3)).copy()
    start = Geometry(positions=positions[0], numbers=numbers, cell=cells[0], pbc=cells[0].any())
    nothing = np.zeros(count)
    return Frames(
        replica=0,
        start=start,
        temperature=temperature,
        times=np.arange(count) * every,
        positions=positions,
        cells=cells,
        energies=nothing,
        kinetic=nothing,
        velocities=np.zeros(positions.shape[1:]),
    )


BOX = np.diag([9.0, 10.0, 11.0])


def gas(count=200, atoms=30, seed=0, cell=BOX):
    x = np.random.default_rng(seed).uniform(-1, 2, (count, atoms, 3)) @ cell
    return simulated(x, cell, [8] * 10 + [1] * (atoms - 10))


# -- averages and errors


def test_the_error_of_blocks_is_that_of_independent_numbers():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    estimate = Estimate.of(values)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.error == pytest.approx(2.0 / 20, rel=0.1)
    with pytest.raises(ValueError, match="at least 2"):
        Estimate.of([1.0])


def test_blocks_are_equal_and_leave_out_the_beginning():
    frames = gas(103)
    slices = blocks_of(frames, 5, start=95.0)  # frames 10 to 102, 18 each
    assert [s.stop - s.start for s in slices] == [18] * 5
    assert slices[0].start == 103 - 90
    assert slices[-1].stop == 103
    with pytest.raises(ValueError, match="simulate longer"):
        blocks_of(frames, 5, start=960.0)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_inefficiency_of_an_autoregressive_series(phi):
    rng = np.random.default_rng(1)
    x = np.zeros(40_000)
    for t in range(1, len(x)):
        x[t] = phi * x[t - 1] + rng.normal()
    assert inefficiency(x) == pytest.approx((1 + phi) / (1 - phi), rel=0.08)


def test_inefficiency_refuses_constants():
    with pytest.raises(ValueError, match="not defined"):
        inefficiency(np.ones(10))


# -- density


def test_density_of_a_known_box():
    edge = 12.417  # 64 waters, 18.015 g/mol
    frames = simulated(np.zeros((10, 192, 3)), edge * np.eye(3), [8, 1, 1] * 64)
    expected = 64 * 18.015 / 6.02214076e23 / (edge * 1e-8) ** 3
    assert density(frames).value == pytest.approx(expected, rel=1e-4)
    assert density(frames).error < 1e-12


def test_density_needs_a_volume():
    frames = gas(20)
    with pytest.raises(ValueError, match="no volume"):
        density(simulated(frames.positions, np.zeros((3, 3)), frames.start.numbers))


# -- radial distribution


@pytest.mark.parametrize("pair", [(8, 8), (8, 1), (1, 8)])
def test_an_ideal_gas_has_no_structure(pair):
    g = radial_distribution(gas(), pair, width=0.5).g
    beyond = slice(2, None)  # few pairs in the first bins
    assert np.abs(g.value[beyond] - 1).max() < 0.2
    assert np.mean(np.abs(g.value[beyond] - 1) < 2.5 * g.error[beyond]) > 0.7


@pytest.mark.parametrize("cell", [BOX, np.array([[9.0, 0, 0], [4, 8.5, 0], [-3, 4, 8]])])
@pytest.mark.parametrize("pair", [(8, 8), (8, 1)])
def test_neighbours_are_those_of_ase(cell, pair):
    frames = gas(20, cell=cell)
    result = radial_distribution(frames, pair, width=0.1, blocks=2)
    symbol = {8: "O", 1: "H"}
    cutoff = result.r[-1] + 0.05
    counts = [
        len(
            neighbor_list("d", frames.geometry(t).to_ase(), {(symbol[pair[0]], symbol[pair[1]]): r})
        )
        for t in range(20)
        for r in [cutoff]
    ]
    once = 1 if pair[0] == pair[1] else 2  # ASE lists a pair of two elements from both sides
    assert result.coordination(cutoff).value == pytest.approx(np.mean(counts) / 10 / once)


def test_a_lattice_has_its_shells():
    rng = np.random.default_rng(3)
    lattice = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), -1).reshape(-1, 3) * 3
    frames = simulated(lattice + rng.normal(0, 0.05, (40, 64, 3)), 12 * np.eye(3), [8] * 64)
    result = radial_distribution(frames, (8, 8))
    place, height = result.first_peak((2.0, 3.5))
    assert place.value == pytest.approx(3.0, abs=0.02)
    assert height.value > 5
    assert result.coordination(3.6).value == pytest.approx(6)
    assert result.coordination(4.6).value == pytest.approx(18)


def test_frames_as_blocks_have_the_same_average():
    frames = gas(60)
    whole = radial_distribution(frames, (8, 1), start=200.0, width=0.5)
    each = radial_distribution(frames, (8, 1), start=200.0, width=0.5, blocks=None)
    assert len(each.blocks) == 40
    np.testing.assert_allclose(each.blocks.mean(0), whole.g.value)


def test_a_gas_is_reweighted_to_attraction():
    """Two atoms in a box V, simulated without forces; members attract by e within 3 angstrom.

    g(r) = exp(-u / kT) / (1 + v / V (exp(e / kT) - 1)) with the sphere v, exactly.
    """
    frames = simulated(
        np.random.default_rng(7).uniform(0, 1, (4000, 2, 3)) @ BOX, BOX, [8, 1], temperature=300.0
    )
    g = radial_distribution(frames, (8, 1), r_max=4.0, width=1.0, blocks=None)
    near = g.counts[:, 2] > 0
    depths = np.array([0.2, 0.5, 1.0])[:, None]  # kT
    kt = 8.617333e-5 * 300
    band = Band.reweighted(g.blocks, -kt * depths * near, np.zeros(4000), 300, blocks=20)
    filled = 1 + 4 / 3 * np.pi * 27 / 990 * (np.exp(depths) - 1)
    exact = np.where(g.r < 3, np.exp(depths), 1) / filled
    assert np.all(np.abs(band.values - exact) < 4 * band.errors)
    assert band.errors[:, 2:].max() < 0.12
    np.testing.assert_allclose(
        band.values[:, 2] / band.values[:, 3], np.exp(depths)[:, 0], rtol=0.2
    )


def test_what_radial_distributions_refuse():
    frames = gas(20)
    with pytest.raises(ValueError, match="no pairs"):
        radial_distribution(frames, (8, 7))
    with pytest.raises(ValueError, match="larger box"):
        radial_distribution(frames, (8, 8), r_max=5.0)
    with pytest.raises(ValueError, match="outside"):
        radial_distribution(frames, (8, 8)).coordination(6.0)
    with pytest.raises(ValueError, match="0 blocks"):
        radial_distribution(frames, (8, 8), blocks=0)


# -- diffusion


def walk(coefficient=0.002, count=4000, atoms=60, every=10.0):
    """Random walkers of a diffusion coefficient in angstrom^2/fs, and heavy atoms at rest."""
    steps = np.random.default_rng(4).normal(0, np.sqrt(2 * coefficient * every), (count, atoms, 3))
    x = np.concatenate([np.cumsum(steps, 0), np.zeros((count, 1, 3))], 1)
    drift = np.linspace(0, 500, count)[:, None, None]  # a box that moves does not diffuse
    return simulated(x + drift, 12.4 * np.eye(3), [1] * atoms + [118], every)


def test_random_walkers_have_their_coefficient():
    result = diffusion(walk(), 1, window=(200.0, 1000.0))
    # the centre of mass moves with the walkers, which lowers the coefficient by 1 in 60
    assert result.coefficient.value == pytest.approx(0.002 * 0.1, rel=0.05)
    assert 0 < result.coefficient.error < 0.05 * result.coefficient.value
    assert result.corrected is None
    assert result.displacements[0] == 0
    assert len(result.times) == len(result.displacements) == 101


def test_the_correction_of_a_small_box():
    result = diffusion(walk(count=400), 1, window=(50.0, 200.0), viscosity=0.9)
    # 2.837297 x 1.380649e-23 x 300 / (6 pi 0.9e-3 x 12.4e-10) m^2/s
    shift = 2.837297 * 1.380649e-23 * 300 / (6 * np.pi * 0.9e-3 * 12.4e-10) * 1e4
    assert shift == pytest.approx(5.59e-6, rel=1e-2)
    gained = result.corrected.value - result.coefficient.value
    assert gained == pytest.approx(shift, rel=1e-6)


def test_what_diffusion_refuses():
    frames = walk(count=100)
    with pytest.raises(ValueError, match="no atoms of element 8"):
        diffusion(frames, 8, window=(10, 50))
    with pytest.raises(ValueError, match="below a block"):
        diffusion(frames, 1, window=(10, 500))
    frames.times[3] += 5
    with pytest.raises(ValueError, match="not equally spaced"):
        diffusion(frames, 1, window=(10, 50))


# -- reweighting


def test_reweighting_finds_the_other_average():
    """Harmonic wells at 300 K: centre 0 simulated, centre 0.1 wanted."""
    kt = 8.617333e-5 * 300
    x = np.random.default_rng(5).normal(0, np.sqrt(kt), 20_000)
    simulated_energy, energy = x**2 / 2, (x - 0.1) ** 2 / 2 + 7.0  # a shift changes nothing
    result = reweight(energy, simulated_energy, 300)
    assert result.mean(x) == pytest.approx(0.1, abs=0.01)
    # 1 / <w^2> of a Gaussian shifted by d: exp(-d^2 / kT)
    assert result.effective / len(x) == pytest.approx(np.exp(-(0.1**2) / kt), rel=0.05)
    assert result.mean(np.stack([x, x], 1)).shape == (2,)


def test_reweighting_refuses_what_a_few_frames_decide():
    x = np.random.default_rng(6).normal(0, 1, 100)
    with pytest.raises(ValueError, match="run this potential by itself"):
        reweight(x, 0 * x, 300)
