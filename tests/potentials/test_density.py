"""Members over one atomic density: the equations by hand, and the physics that they owe."""

from __future__ import annotations

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111, make_supercell, molecule
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from agal_toolkit.attack import Autograd, HessianVector, Variance
from agal_toolkit.batch import Batch, Delta
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.potentials import DensityNet, Differentiable, Stacked, density
from agal_toolkit.potentials.neighbours import neighbours
from agal_toolkit.training.trainer import TorchTrainer

CUTOFF = 3.0


def network(seeds=(1, 2), dtype=torch.float64, **changes) -> DensityNet:
    """Small, with biases, so that nothing is zero by construction."""
    module = DensityNet(
        [1, 7, 13],
        seeds,
        **{
            "radial": 4,
            "channels": 5,
            "hidden": 7,
            "layers": 2,
            "cutoff": CUTOFF,
            "dtype": dtype,
            **changes,
        },
    )
    with torch.no_grad():
        for m, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for name, p in module.named_parameters():
                if "bias" in name:
                    p[m] += 0.2 * torch.randn(
                        p[m].shape, generator=generator, dtype=torch.float64
                    ).to(dtype)
    return module


def rattled(atoms, rng, amount=0.1) -> Geometry:
    atoms.rattle(amount, rng=rng)
    return Geometry.from_ase(atoms)


GEOMETRIES = {
    "ammonia": lambda rng: rattled(molecule("NH3"), rng),
    "crystal": lambda rng: rattled(bulk("Al", a=3.2, cubic=True), rng),
    "cell of one atom": lambda rng: rattled(bulk("Al", a=3.4), rng),
    "slab": lambda rng: rattled(fcc111("Al", (1, 2, 2), a=3.4), rng),
}
GEOMETRY = pytest.mark.parametrize("name", GEOMETRIES)


def prediction_of(geometry, module=None):
    return Stacked(network() if module is None else module)(Batch.of([geometry]))


def harmonics(v):
    x, y, z = v / np.linalg.norm(v)
    return np.array(
        [
            1,
            3**0.5 * x,
            3**0.5 * y,
            3**0.5 * z,
            15**0.5 * x * y,
            15**0.5 * y * z,
            5**0.5 / 2 * (3 * z * z - 1),
            15**0.5 * x * z,
            15**0.5 / 2 * (x * x - y * y),
        ]
    )


def by_hand(module, m, geometry) -> float:
    """Energy of member m, neighbour by neighbour."""
    w = {name: p.detach().numpy()[m] for name, p in module.named_parameters()}
    rows = {z: k for k, z in enumerate(module.elements.numbers)}
    first, second, vectors = neighbor_list("ijD", geometry.to_ase(), CUTOFF)
    energy = 0.0
    for i, z in enumerate(geometry.numbers):
        density = np.zeros((len(rows), 4, 9))
        for j, v in zip(second[first == i], vectors[first == i], strict=True):
            r = np.linalg.norm(v)
            s = r / CUTOFF
            radial = (
                np.sqrt(2 / CUTOFF)
                * np.sin(np.arange(1, 5) * np.pi * s)
                / r
                * (1 - 10 * s**3 + 15 * s**4 - 6 * s**5)
            )
            density[rows[geometry.numbers[j]]] += np.outer(radial, harmonics(v))
        flat, features = density.reshape(-1, 9), []
        for degree, at in enumerate((slice(0, 1), slice(1, 4), slice(4, 9))):
            mixed = np.einsum("sk,sc->ck", flat[:, at], w["mix"][rows[z], degree])
            features += [mixed[:, 0]] if degree == 0 else []
            features.append((mixed**2).sum(1))

        def silu(x):
            return x / (1 + np.exp(-x))

        x = silu(np.concatenate(features) @ w["first"][rows[z]] + w["first_bias"][rows[z], 0])
        for layer in range(2):
            x = x + silu(x @ w[f"inner.{layer}"][rows[z]] + w[f"inner_bias.{layer}"][rows[z], 0])
        energy += float(x @ w["last"][rows[z]][:, 0])
    return energy


@GEOMETRY
def test_energies_are_those_of_the_equations(name, rng):
    geometry, module = GEOMETRIES[name](rng), network()
    np.testing.assert_allclose(
        prediction_of(geometry, module).energy[:, 0].numpy(),
        [by_hand(module, m, geometry) for m in range(2)],
        rtol=1e-10,
    )


def test_harmonics_are_orthonormal(rng):
    u = rng.normal(size=(200000, 3))
    y = np.array([harmonics(v) for v in u[:4000]])
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(9), atol=0.12)


@GEOMETRY
def test_forces_are_slopes(name, rng):
    geometry = GEOMETRIES[name](rng)
    module = network()
    slope = helpers.slope(
        lambda x: float(prediction_of(geometry.moved(x), module).energy[1, 0]), geometry.positions
    )
    np.testing.assert_allclose(prediction_of(geometry, module).forces[1].numpy(), -slope, atol=1e-8)


@pytest.mark.parametrize("name", ["crystal", "cell of one atom"])
def test_stress_is_the_slope_in_strain_over_volume(name, rng):
    geometry, module = GEOMETRIES[name](rng), network()
    batch = Batch.of([geometry])

    def energy(strain):
        symmetric = torch.tensor((strain + strain.T) / 2)[None]
        return float(
            Stacked(module)(
                Delta(torch.zeros_like(batch.positions), symmetric).apply(batch)
            ).energy[0, 0]
        )

    stress = prediction_of(geometry, module).stress[0, 0].numpy()
    np.testing.assert_allclose(
        stress,
        helpers.slope(energy, np.zeros((3, 3))) / abs(np.linalg.det(geometry.cell)),
        atol=1e-8,
    )


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-5), (torch.float32, 1e-3)])
@pytest.mark.parametrize("cell", [False, True])
def test_hessian_vector_is_autograd(cell, dtype, limit, rng):
    exact = Committee(Stacked(network((1, 2, 3))))
    committee = Committee(Stacked(network((1, 2, 3), dtype)))
    batch = committee.batch([rattled(bulk("Al", a=3.2, cubic=True), rng) for _ in range(2)])
    delta = Delta(
        torch.tensor(rng.normal(0, 0.03, batch.positions.shape)),
        torch.zeros_like(batch.cell) if cell else None,
    )
    loss = Variance()(exact, None)
    _, right = Autograd()(exact, loss, batch, delta)
    _, computed = HessianVector()(committee, loss, batch, delta)
    for key in ("shift", "strain")[: 1 + cell]:
        assert (
            float(
                (getattr(computed, key) - getattr(right, key)).norm() / getattr(right, key).norm()
            )
            < limit
        )


def test_members_see_positions_of_their_own(rng):
    module = network((1, 2, 3))
    batch = Batch.of([GEOMETRIES["crystal"](rng), GEOMETRIES["ammonia"](rng)])
    moved = torch.stack([batch.positions + 0.02 * m for m in range(3)]) + torch.tensor(
        rng.normal(0, 0.02, (3, *batch.positions.shape))
    )
    together = Stacked(module)(batch.at(moved))
    for m in range(3):
        alone = Stacked(module)(batch.at(moved[m]))
        torch.testing.assert_close(together.energy[m], alone.energy[m])
        torch.testing.assert_close(together.forces[m], alone.forces[m])
        torch.testing.assert_close(together.stress[m], alone.stress[m], equal_nan=True)


def several(rng) -> Batch:
    """Return a batch of a crystal of two elements, a slab, a molecule, and an atom by itself."""
    crystal = bulk("AlN", "rocksalt", a=3.9, cubic=True)
    parts = [rattled(crystal, rng), *(GEOMETRIES[name](rng) for name in ("slab", "ammonia"))]
    return Batch.of([*parts, Geometry(positions=[[0.0, 0.0, 0.0]], numbers=[7])])


@pytest.mark.parametrize("own", [False, True], ids=["one place", "own places"])
def test_written_slopes_are_those_of_autograd(own, rng):
    """In positions and strain, in mixed batches; and so are their slopes in turn."""
    module, batch = network((1, 2, 3)), several(rng)
    moves = torch.tensor(rng.normal(0, 0.05, (3, *batch.positions.shape)))
    seen = (batch.positions + moves).requires_grad_() if own else batch.positions.requires_grad_()
    computed = Stacked(module)(batch.at(seen), graph=True)
    for m in range(3):
        place = seen[m] if own else seen
        single = Differentiable(lambda batch, m=m: module(batch)[m])
        right = single(batch.at(place), graph=True)
        pairs = [(getattr(computed, k)[m], getattr(right, k)) for k in ("forces", "stress")]
        for mine, exact in pairs:
            torch.testing.assert_close(mine, exact, atol=1e-8, rtol=1e-8, equal_nan=True)
        slopes = []
        for prediction in (computed[m], right):
            loss = prediction.forces.square().sum() + prediction.stress[0].square().sum()
            slopes.append(torch.autograd.grad(loss, seen, retain_graph=True)[0])
        torch.testing.assert_close(*slopes, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_a_member_of_many_is_that_member_alone(dtype, limit, rng):
    module, batch = network(range(12), dtype), several(rng)
    many = Stacked(module)(batch)
    for m in (0, 7):
        one = Stacked(module)[[m]](batch)
        for mine, exact in ((one.forces[0], many.forces[m]), (one.stress[0], many.stress[m])):
            torch.testing.assert_close(mine, exact, atol=limit, rtol=limit, equal_nan=True)


def test_a_member_alone_says_the_same(rng):
    geometry = GEOMETRIES["crystal"](rng)
    both = prediction_of(geometry)
    for m in range(2):
        one = Stacked(network())[[m]](Batch.of([geometry]))
        torch.testing.assert_close(one.forces[0], both.forces[m])
    torch.testing.assert_close(
        prediction_of(geometry, DensityNet([13], [7], dtype=torch.float64)).energy,
        prediction_of(geometry, DensityNet([13], [3, 7], dtype=torch.float64)).energy[1:],
    )


@GEOMETRY
def test_places_turns_and_order_do_not_matter(name, rng):
    geometry, module = GEOMETRIES[name](rng), network()
    prediction, turn, order = (
        prediction_of(geometry, module),
        Rotation.random(random_state=1).as_matrix(),
        rng.permutation(len(geometry)),
    )
    moved = Geometry(
        positions=(geometry.positions @ turn + 3.1)[order],
        numbers=geometry.numbers[order],
        cell=geometry.cell @ turn,
        pbc=geometry.pbc,
    )
    other = prediction_of(moved, module)
    np.testing.assert_allclose(other.energy.numpy(), prediction.energy.numpy(), rtol=1e-9)
    np.testing.assert_allclose(
        other.forces.numpy(), (prediction.forces.numpy() @ turn)[:, order], atol=1e-8
    )


def test_a_supercell_is_so_many_cells(rng):
    atoms = bulk("Al", a=3.4)
    atoms.rattle(0.1, rng=rng)
    large = make_supercell(atoms, [[2, 1, 0], [0, 1, 0], [0, 0, 3]])
    one, many = prediction_of(Geometry.from_ase(atoms)), prediction_of(Geometry.from_ase(large))
    torch.testing.assert_close(many.energy, 6 * one.energy)
    torch.testing.assert_close(many.stress, one.stress)


def test_nothing_jumps_at_the_cutoff():
    module, r = network(), np.linspace(CUTOFF - 2e-3, CUTOFF + 2e-3, 41)
    prediction = Stacked(module)(
        Batch.of([Geometry(positions=[[0, 0, 0], [x, 0, 0]], numbers=[7, 1]) for x in r])
    )
    beyond = prediction.energy[:, r > CUTOFF]
    assert (prediction.energy - beyond[:, :1]).abs().max() < 1e-6
    assert prediction.forces.abs().max() < 1e-4
    assert prediction.forces.view(2, -1, 2, 3)[:, r > CUTOFF].abs().max() == 0


def test_single_precision_is_near_and_formed_in_double(rng):
    geometry = GEOMETRIES["crystal"](rng)
    far = geometry.moved(geometry.positions + 1e5)
    exact, single = prediction_of(geometry), prediction_of(geometry, network(dtype=torch.float32))
    assert (single.forces - exact.forces).abs().max() < 1e-4 * exact.forces.abs().max()
    assert (
        prediction_of(far, network(dtype=torch.float32)).forces - exact.forces
    ).abs().max() < 1e-4 * exact.forces.abs().max()


def test_it_learns(rng):
    geometries = [rattled(molecule("NH3"), rng) for _ in range(24)]
    prediction = Committee([Differentiable(helpers.Springs(4.0, 1.4))]).predict(geometries)
    data = Dataset(
        geometries,
        [
            Labels(energy=float(e), forces=f)
            for e, f in zip(
                prediction.energy[0], prediction.forces[0].numpy().reshape(24, 4, 3), strict=True
            )
        ],
    )
    trainer = TorchTrainer(
        network=lambda seeds: DensityNet([1, 7], seeds, channels=8, hidden=16),
        epochs=60,
        learning_rate=5e-3,
        batch_size=8,
        patience=None,
        keep_best=False,
        anneal=True,
    )
    losses = []
    members = trainer.fit(
        data,
        np.ones((3, 24)),
        np.zeros((3, 24), dtype=bool),
        np.random.default_rng(0),
        lambda event: losses.append(event.train),
    )
    assert (losses[-1] < 0.02 * losses[0]).all()
    errors = Committee(members).predict(geometries).forces.numpy() - np.concatenate(data.forces)
    assert np.sqrt(np.mean(errors**2)) < 0.15 * np.concatenate(data.forces).std()


def test_what_the_network_refuses(rng):
    for wrong, reason in (
        ({"elements": []}, "each atomic number"),
        ({"elements": [1, 1]}, "each atomic number"),
        ({"radial": 0}, "at least 1"),
        ({"cutoff": 0.0}, "positive"),
    ):
        with pytest.raises(ValueError, match=reason):
            DensityNet(**{"elements": [1], "seeds": [0], **wrong})
    with pytest.raises(
        ValueError,
        match=(
            r"never seen C; it knows H, N, Al: build and train DensityNet\(\[1, 6, 7, 13\], ...\)"
        ),
    ):
        prediction_of(rattled(molecule("CH4"), rng))


def test_what_is_no_number_stays_in_its_geometry(rng):
    good, bad = GEOMETRIES["crystal"](rng), GEOMETRIES["ammonia"](rng)
    positions = torch.tensor(np.concatenate([good.positions, bad.positions]))
    positions[-1, 0] = torch.nan
    prediction = Stacked(network())(Batch.of([good, bad]).at(positions))
    torch.testing.assert_close(prediction.energy[:, 0], prediction_of(good).energy[:, 0])
    assert prediction.energy[:, 1].isnan().all()
    assert prediction.forces[:, : len(good)].isfinite().all()


def test_neither_stress_nor_gradients_spread_what_is_no_number(rng):
    """Even where the first pair of the batch is the broken one."""
    good, bad = GEOMETRIES["crystal"](rng), GEOMETRIES["ammonia"](rng)
    batch = Batch.of([bad, good])
    positions = batch.positions.clone()
    positions[0] = torch.nan
    positions.requires_grad_()
    prediction = Stacked(network())(batch.at(positions), graph=True)
    torch.testing.assert_close(prediction.stress[:, 1], prediction_of(good).stress[:, 0])
    squares = (
        prediction.forces[:, len(bad) :].square().sum() + prediction.stress[:, 1].square().sum()
    )
    (slope,) = torch.autograd.grad(squares, positions)
    assert slope[len(bad) :].isfinite().all()
    assert slope[len(bad) :].abs().max() > 0


def test_a_crystal_does_not_pad_the_neighbours_of_molecules(rng):
    """Its atoms are groups of their own, and the batch predicts what its parts do alone."""
    net = Stacked(DensityNet([1, 7], [0, 1], dtype=torch.float64).requires_grad_(False))
    crystal = bulk("N", "fcc", a=4.0, cubic=True)
    crystal.rattle(0.1, rng=rng)
    parts = [molecule("NH3")] * 40 + [crystal]
    batch = Batch.of(parts)
    together, alone = net(batch), [net(Batch.of([part])) for part in parts]
    right = torch.cat([each.forces for each in alone], 1)
    torch.testing.assert_close(together.forces, right, rtol=1e-10, atol=1e-10)
    right = torch.cat([each.energy for each in alone], 1)
    torch.testing.assert_close(together.energy, right, rtol=1e-10, atol=1e-10)
    plain = net.module(batch.at(batch.positions.expand(2, -1, -1)))
    torch.testing.assert_close(plain, together.energy, rtol=1e-12, atol=1e-12)
    pairs = neighbours(batch, 5.0)
    rows = list(density._padded(pairs, (batch.numbers == 7).long(), 2))
    padding = sum(int((entry == len(pairs)).sum()) for _, entry in rows)
    assert len(rows) > 1
    assert sum(entry.numel() for _, entry in rows) - padding == 2 * len(pairs)
    assert padding < 0.3 * 2 * len(pairs)
