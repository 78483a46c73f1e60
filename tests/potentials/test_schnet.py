"""SchNet against the published equations in plain numpy, and the physics that it owes."""

from __future__ import annotations

import copy

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111, make_supercell, molecule
from ase.neighborlist import neighbor_list

from agal_toolkit.attack import Autograd, HessianVector, Variance
from agal_toolkit.batch import Batch, Delta
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry
from agal_toolkit.potentials import Baseline, SchNet, Stacked, derive, schnet_filters
from agal_toolkit.potentials.neighbours import Envelope, neighbours
from agal_toolkit.potentials.schnet_filters import FilterTable, Weights, filters, softplus
from agal_toolkit.potentials.schnet_passes import EnergySlopes, Neighbourhood, unpack

CUTOFF = 3.0


def network(seeds=(1, 2), dtype=torch.float64, **changes) -> SchNet:
    """Small, with biases, and Gaussians moved apart, so that nothing is zero or equal by
    construction.
    """
    sizes = {
        "features": 7,
        "filters": 5,
        "interactions": 3,
        "gaussians": 6,
        "cutoff": CUTOFF,
        **changes,
    }
    module = SchNet([1, 6, 7, 13], seeds, dtype=dtype, **sizes)
    with torch.no_grad():
        for m, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(seed)
            for name, p in module.named_parameters():
                if "bias" in name or "centres" in name or "widths" in name:
                    p[m] += 0.1 * torch.randn(
                        p[m].shape, generator=generator, dtype=torch.float64
                    ).to(dtype)
    return module


def rattled(atoms, rng, amount=0.1) -> Geometry:
    atoms.rattle(amount, rng=rng)
    return Geometry.from_ase(atoms)


def ammonia(rng) -> Geometry:
    return rattled(molecule("NH3"), rng)


GEOMETRIES = {
    "ammonia": ammonia,
    "methane": lambda rng: rattled(molecule("CH4"), rng),
    "longer than the cutoff": lambda rng: rattled(molecule("C3H8"), rng),
    "crystal": lambda rng: rattled(bulk("Al", a=3.2, cubic=True), rng),
    "cell of one atom": lambda rng: rattled(bulk("Al", a=3.4), rng),
    "slab": lambda rng: rattled(fcc111("Al", (1, 2, 2), a=3.4), rng),
}
GEOMETRY = pytest.mark.parametrize("name", GEOMETRIES)


def everything(rng) -> list[Geometry]:
    return [make(rng) for make in GEOMETRIES.values()]


def by_hand(module: SchNet, m: int, geometry: Geometry) -> float:
    """Energy of member m, neighbour by neighbour (Schütt 2018, Sec. II)."""

    def ssp(z):
        return np.log(0.5 * np.exp(z) + 0.5)

    weights = {
        name: value[m].detach().double().numpy() for name, value in module.named_parameters()
    }
    x = weights["embedding"][[module.elements.numbers.index(z) for z in geometry.numbers]]
    receivers, senders, distances = neighbor_list("ijd", geometry.to_ase(), module.cutoff)
    for t in range(len(module.interactions)):
        w = {
            name.split(".")[2]: value
            for name, value in weights.items()
            if name.startswith(f"interactions.{t}.")
        }
        messages = np.zeros((len(x), w["send"].shape[1]))
        for i, j, r in zip(receivers, senders, distances, strict=True):
            gaussians = np.exp(-((r - w["centres"][0]) ** 2) / (2 * w["widths"][0] ** 2))
            layer = ssp(gaussians @ w["first"] + w["first_bias"][0])
            s = r / module.cutoff
            messages[i] += (
                (x[j] @ w["send"])
                * ssp(layer @ w["second"] + w["second_bias"][0])
                * (1 - 10 * s**3 + 15 * s**4 - 6 * s**5)
            )
        x = x + ssp(messages @ w["receive"] + w["receive_bias"]) @ w["update"] + w["update_bias"]
    atoms = (
        ssp(x @ weights["inner"] + weights["inner_bias"]) @ weights["outer"] + weights["outer_bias"]
    )
    return float(atoms.sum())


# -- what it computes


def test_energies_are_those_of_the_published_equations(rng):
    geometries, module = everything(rng), network((1, 2, 3))
    prediction = Stacked(module)(Batch.of(geometries))
    right = [[by_hand(module, m, geometry) for geometry in geometries] for m in range(3)]
    np.testing.assert_allclose(prediction.energy.numpy(), right, rtol=1e-11)
    assert np.ptp(right, axis=0).min() > 1e-3


def test_open_geometries_are_those_of_the_published_equations(rng):
    module = network()
    geometries = [
        ammonia(rng),
        GEOMETRIES["longer than the cutoff"](rng),
        Geometry(positions=np.zeros((1, 3)), numbers=[7]),
    ]
    prediction = Stacked(module)(Batch.of(geometries))
    np.testing.assert_allclose(
        prediction.energy.numpy(),
        [[by_hand(module, m, geometry) for geometry in geometries] for m in range(2)],
        rtol=1e-11,
    )


def test_members_may_share_positions_without_an_axis_for_them(rng):
    module, batch = network(), Batch.of(everything(rng))
    torch.testing.assert_close(module(batch), Stacked(module)(batch).energy, rtol=1e-12, atol=1e-12)


def test_an_atom_alone_has_an_energy_and_no_forces():
    module, atom = network(), Geometry(positions=np.zeros((1, 3)), numbers=[7])
    prediction = Stacked(module)(Batch.of([atom]))
    np.testing.assert_allclose(
        prediction.energy[:, 0].numpy(), [by_hand(module, m, atom) for m in range(2)], rtol=1e-12
    )
    assert not prediction.forces.any()


@pytest.mark.parametrize(
    "names",
    [["ammonia", "longer than the cutoff"], ["crystal", "ammonia"], ["atom", "atom"]],
    ids=["open", "periodic", "no pairs"],
)
@pytest.mark.parametrize("interactions", [1, 3])
def test_forces_stress_and_their_gradients_are_those_of_the_plain_energy(interactions, names, rng):
    """Training and attacks differentiate forces in weights, positions and cell: the written passes
    against torch's own through the energy.
    """
    net, alone = (
        network(interactions=interactions),
        Geometry(positions=np.zeros((1, 3)), numbers=[7]),
    )
    batch = Batch.of([alone if name == "atom" else GEOMETRIES[name](rng) for name in names])
    x = (
        batch.positions + torch.tensor(rng.normal(0, 0.05, (2, *batch.positions.shape)))
    ).requires_grad_()
    cell = batch.cell.clone().requires_grad_()
    energy, forces, stress = (
        torch.tensor(rng.normal(size=shape)) for shape in ((2, 2), x.shape, (2, 2, 3, 3))
    )

    def everything_of(potential):
        prediction = derive(potential, batch.at(x, cell), graph=True, members=2)
        loss = (
            (prediction.energy * energy).sum()
            + (prediction.forces * forces).sum()
            + (prediction.stress * stress).nansum()
        )
        return (
            prediction.energy,
            prediction.forces,
            prediction.stress,
            *torch.autograd.grad(
                loss, [x, cell, *net.parameters()], allow_unused=True, materialize_grads=True
            ),
        )

    right = everything_of(lambda geometries: net(geometries))
    for one, other in zip(everything_of(net), right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11, equal_nan=True)
    if "atom" not in names:
        assert all(other.abs().max() > 1e-6 for other in right[5:])


@pytest.mark.parametrize("learning", [False, True])
def test_the_written_passes_are_derivatives(learning, rng):
    net, batch = network(interactions=2), Batch.of([ammonia(rng)])
    pairs = neighbours(batch, CUTOFF)
    distances = pairs.distances(pairs.vectors(batch), batch).expand(2, -1).clone().requires_grad_()
    parameters = [p.requires_grad_(learning) for p in net._ordered()]
    near = Neighbourhood(pairs, CUTOFF, net.elements(batch.numbers), 2)
    assert torch.autograd.gradcheck(
        lambda r, *p: EnergySlopes.apply(r, near, *p), (distances, *parameters)
    )


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_frozen_network_reads_what_it_would_compute(name, rng):
    geometry = GEOMETRIES[name](rng)
    single, double = network(dtype=torch.float32), network()
    double.load_state_dict(
        {
            key: value.double() if value.is_floating_point() else value
            for key, value in single.state_dict().items()
        }
    )
    computed, read, exact = (
        Stacked(single)(Batch.of([geometry])),
        Stacked(single.requires_grad_(False))(Batch.of([geometry])),
        Stacked(double)(Batch.of([geometry])),
    )
    assert single._table is not None
    for key in ("energy", "forces", "stress"):
        a, b, c = (getattr(prediction, key).double() for prediction in (computed, read, exact))
        scale = c.abs().nan_to_num().max()
        assert torch.equal(a.isnan(), b.isnan())
        assert (
            (b - c).abs().nan_to_num()
            <= 2 * (a - c).abs().nan_to_num().max() + 1e-6 * scale + 1e-12
        ).all()


def test_tables_get_finer_for_narrow_gaussians():
    sharp = network(dtype=torch.float32).requires_grad_(False)
    wide = FilterTable(unpack(sharp._ordered())[1], CUTOFF).cells
    for block in sharp.interactions:
        block.widths *= 0.05
    blocks = unpack(sharp._ordered())[1]
    table = FilterTable(blocks, CUTOFF)
    assert table.cells > wide
    r = torch.linspace(0.5, CUTOFF, 997, dtype=torch.float64).expand(2, -1)
    for t, w in enumerate(blocks):
        exact = filters(Weights(*(p.double() for p in w)), r, Envelope.of(r, CUTOFF))[:2]
        for a, b in zip(exact, table.read(t, *table.place(r.float())), strict=True):
            assert (
                (a - b).abs().max() < 1e-4 * a.abs().max()
            )  # positions in float32 shift a slope this steep by as much


def test_no_table_is_read_that_does_not_agree(rng, monkeypatch):
    """Filters narrower than the closest knots are computed."""
    monkeypatch.setattr(schnet_filters, "FINEST", schnet_filters.CELLS)
    module, batch = network(dtype=torch.float32).requires_grad_(False), Batch.of([ammonia(rng)])
    assert Stacked(module)(batch).energy.isfinite().all()
    assert module._filter_table().agrees
    for block in module.interactions:
        block.widths *= 0.02
    read = Stacked(module)(batch)
    kept = module._table
    assert module._filter_table() is None
    assert module._table is kept, "made once"
    computed = Stacked(module.requires_grad_(True))(batch)
    assert torch.equal(read.energy, computed.energy)
    assert torch.equal(read.forces, computed.forces)


def test_a_network_made_in_inference_mode_predicts(rng):
    with torch.inference_mode():
        module = network(dtype=torch.float32).requires_grad_(False)
        prediction = Stacked(module)(Batch.of([ammonia(np.random.default_rng(0))])).energy
    right = Stacked(network(dtype=torch.float32))(
        Batch.of([ammonia(np.random.default_rng(0))])
    ).energy
    torch.testing.assert_close(prediction.clone(), right)


def test_a_table_is_made_anew_when_weights_change(rng):
    batch = Batch.of([ammonia(rng)])
    module = network(dtype=torch.float32).requires_grad_(False)
    before = Stacked(module)(batch)
    kept = module._table
    Stacked(module)(batch)
    assert module._table is kept
    module.interactions[1].second *= 1.1
    after, fresh = Stacked(module)(batch), copy.deepcopy(module)
    assert module._table is not kept
    assert not torch.allclose(before.energy, after.energy)
    assert fresh._table is None
    assert torch.equal(Stacked(fresh)(batch).forces, after.forces)
    assert Stacked(module.requires_grad_(True))(batch).forces.allclose(after.forces, atol=1e-5)


def test_tables_keep_what_is_no_number_and_end_at_the_cutoff():
    module = network(dtype=torch.float32).requires_grad_(False)
    table = FilterTable(unpack(module._ordered())[1], CUTOFF)
    value, slope = table.read(
        0,
        *table.place(torch.tensor([[torch.nan, torch.inf, CUTOFF, 2 * CUTOFF, 1.0]]).repeat(2, 1)),
    )
    assert value[:, :2].isnan().all()
    assert slope[:, :2].isnan().all()
    assert (value[:, 2:4].abs() < 1e-9).all()
    assert (slope[:, 2:4].abs() < 1e-8).all()
    assert (value[:, 4].abs() > 1e-4).all()


def test_activations_neither_overflow_nor_cancel():
    z = torch.tensor([-1e4, -90.0, -20.0, -1e-6, 0.0, 1e-6, 20.0, 90.0, 1e4], dtype=torch.float32)
    value, rise = softplus(z.clone())
    right = np.logaddexp(0, z.double().numpy()) - np.log(2)
    np.testing.assert_allclose(value.numpy(), right, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        rise.numpy(), np.exp(-np.logaddexp(0, -z.double().numpy())), rtol=1e-6, atol=1e-37
    )


@GEOMETRY
def test_forces_are_slopes(name, rng):
    potential, batch = Stacked(network()), Batch.of([GEOMETRIES[name](rng)])
    for m, forces in enumerate(potential(batch).forces.numpy()):
        right = -helpers.slope(
            lambda x, m=m: float(potential(batch.at(torch.tensor(x))).energy[m]),
            batch.positions.numpy(),
        )
        np.testing.assert_allclose(forces, right, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["crystal", "cell of one atom"])
def test_stress_is_the_slope_in_strain_over_volume(name, rng):
    potential, batch = Stacked(network()), Batch.of([GEOMETRIES[name](rng), ammonia(rng)])
    stress = potential(batch).stress.numpy()

    def energy(strain, m):
        symmetric = torch.tensor(np.stack([(strain + strain.T) / 2, np.zeros((3, 3))]))
        return float(
            potential(Delta(torch.zeros_like(batch.positions), symmetric).apply(batch)).energy[m, 0]
        )

    for m in range(2):
        right = helpers.slope(lambda strain, m=m: energy(strain, m), np.zeros((3, 3))) / abs(
            np.linalg.det(batch.cell[0].numpy())
        )
        assert np.abs(right).max() > 1e-5
        np.testing.assert_allclose(stress[m, 0], right, rtol=1e-5, atol=1e-6 * np.abs(right).max())
    assert np.isnan(stress[:, 1]).all()


def test_an_energy_is_twice_differentiable_in_positions_and_cell(rng):
    batch, module = (
        Batch.of(
            [
                GEOMETRIES["cell of one atom"](rng),
                Geometry(positions=rng.normal(0, 1, (2, 3)), numbers=[1, 7]),
            ]
        ),
        network(interactions=2),
    )

    def energy(x, cell):
        return module(batch.at(x.expand(2, -1, -1), cell))

    inputs = batch.positions.clone().requires_grad_(), batch.cell.clone().requires_grad_()
    assert torch.autograd.gradcheck(energy, inputs)
    assert torch.autograd.gradgradcheck(energy, inputs)


@pytest.mark.parametrize(
    "names",
    [["ammonia", "longer than the cutoff"], ["crystal", "slab", "ammonia"]],
    ids=["open", "periodic"],
)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_hessian_vector_is_autograd(names, dtype, limit, rng):
    exact, committee = (
        Committee(Stacked(network((1, 2, 3), kind))) for kind in (torch.float64, dtype)
    )
    batch = exact.batch([GEOMETRIES[name](rng) for name in names])
    loss, still = Variance()(exact, None), Delta(torch.zeros_like(batch.positions))
    _, right = Autograd()(exact, loss, batch, still)
    _, computed = HessianVector()(committee, loss, batch, still)
    assert (computed.shift - right.shift).norm() < limit * right.shift.norm()
    if dtype == torch.float64:
        HessianVector().check(committee, batch)


# -- what it must not care about


def predictions(geometries):
    return Stacked(network())(Batch.of(geometries))


def test_a_batch_says_of_each_geometry_what_it_says_alone(rng):
    geometries = everything(rng)
    together, start = predictions(geometries), 0
    for b, geometry in enumerate(geometries):
        alone = predictions([geometry])
        torch.testing.assert_close(
            together.energy[:, b], alone.energy[:, 0], rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(
            together.forces[:, start : start + len(geometry)], alone.forces, rtol=1e-9, atol=1e-12
        )
        torch.testing.assert_close(
            together.stress[:, b], alone.stress[:, 0], rtol=1e-9, atol=1e-12, equal_nan=True
        )
        start += len(geometry)


@pytest.mark.parametrize("name", ["ammonia", "crystal"])
def test_what_is_no_number_stays_in_its_geometry(name, rng):
    geometries = [GEOMETRIES[name](rng), GEOMETRIES["methane"](rng), GEOMETRIES["slab"](rng)]
    batch = Batch.of(geometries)
    positions = batch.positions.clone()
    positions[0, 1] = torch.nan
    prediction, right = Stacked(network())(batch.at(positions)), predictions(geometries)
    assert prediction.energy[:, 0].isnan().all()
    torch.testing.assert_close(prediction.energy[:, 1:], right.energy[:, 1:])
    torch.testing.assert_close(
        prediction.forces[:, len(geometries[0]) :], right.forces[:, len(geometries[0]) :]
    )


def turned(rng) -> np.ndarray:
    """A rotation, and a reflection with it."""
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q


@GEOMETRY
def test_places_and_turns_do_not_matter(name, rng):
    geometry, q = GEOMETRIES[name](rng), turned(rng)
    moved = Geometry(
        positions=geometry.positions @ q + [30.0, -7.0, 2.0],
        numbers=geometry.numbers,
        cell=geometry.cell @ q,
        pbc=geometry.pbc,
    )
    before, after = predictions([geometry]), predictions([moved])
    torch.testing.assert_close(before.energy, after.energy, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(before.forces @ torch.tensor(q), after.forces, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(
        torch.tensor(q.T) @ before.stress @ torch.tensor(q),
        after.stress,
        rtol=1e-8,
        atol=1e-10,
        equal_nan=True,
    )


@GEOMETRY
def test_the_order_of_atoms_does_not_matter(name, rng):
    geometry = GEOMETRIES[name](rng)
    order = rng.permutation(len(geometry))
    shuffled = Geometry(
        positions=geometry.positions[order],
        numbers=geometry.numbers[order],
        cell=geometry.cell,
        pbc=geometry.pbc,
    )
    before, after = predictions([geometry]), predictions([shuffled])
    torch.testing.assert_close(before.energy, after.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        before.forces[:, torch.tensor(order)], after.forces, rtol=1e-9, atol=1e-12
    )


def test_images_do_not_matter(rng):
    geometry = GEOMETRIES["crystal"](rng)
    elsewhere = geometry.moved(
        geometry.positions + rng.integers(-3, 4, (len(geometry), 3)) @ geometry.cell
    )
    torch.testing.assert_close(
        predictions([geometry]).forces, predictions([elsewhere]).forces, rtol=1e-8, atol=1e-11
    )


def test_distant_molecules_add_up(rng):
    one, two = ammonia(rng), GEOMETRIES["methane"](rng)
    both = Geometry(
        positions=np.concatenate([one.positions, two.positions + np.array([50.0, 0, 0])]),
        numbers=np.concatenate([one.numbers, two.numbers]),
    )
    apart = predictions([one, two])
    torch.testing.assert_close(
        predictions([both]).energy[:, 0], apart.energy.sum(1), rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(predictions([both]).forces, apart.forces, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["crystal", "cell of one atom", "slab"])
def test_a_supercell_is_so_many_cells(name, rng):
    geometry = GEOMETRIES[name](rng)
    matrix = np.diag([2, 3, 1]) + (np.eye(3, k=1) if geometry.pbc.all() else 0)
    large = Geometry.from_ase(make_supercell(geometry.to_ase(), matrix))
    one, many = predictions([geometry]), predictions([large])
    torch.testing.assert_close(many.energy, 6 * one.energy, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(many.stress, one.stress, rtol=1e-8, atol=1e-11, equal_nan=True)


# -- the cutoff


def test_energies_are_twice_differentiable_at_the_cutoff():
    """Energy, force and curvature fade to zero like the third, second and first power of the
    distance to the cutoff.
    """
    module = network()

    def derivatives(r):
        x = torch.zeros(len(r), 2, 3, dtype=torch.float64)
        x[:, 1, 0] = torch.tensor(r)
        batch = Batch.of([Geometry(positions=pair, numbers=[1, 7]) for pair in x.numpy()])
        r = batch.positions.clone().requires_grad_()
        prediction = Stacked(module)(batch.at(r), graph=True)
        (second,) = torch.autograd.grad(prediction.forces[0, 1::2, 0].sum(), r)
        far = Stacked(module)(batch.at(9 * batch.positions)).energy
        return np.stack(
            [
                (prediction.energy - far)[0].detach().numpy(),
                prediction.forces[0, 1::2, 0].detach().numpy(),
                second[1::2, 0].numpy(),
            ]
        )

    outside = derivatives([CUTOFF, CUTOFF + 1e-9, CUTOFF + 0.5])
    assert not outside.any()
    near, nearer = derivatives([CUTOFF - 0.02, CUTOFF - 0.01]).T
    np.testing.assert_allclose(near / nearer, [8.0, 4.0, 2.0], rtol=0.1)
    assert (np.abs(nearer) > 0).all()


def test_no_pair_is_lost_at_the_cutoff(rng):
    """Two members whose lists differ: pairs beyond a member's own cutoff add exactly nothing."""
    potential, batch = (
        Stacked(network()),
        Batch.of([GEOMETRIES["crystal"](rng), GEOMETRIES["longer than the cutoff"](rng)]),
    )
    moved = batch.positions + torch.tensor(rng.normal(0, 0.2, (2, *batch.positions.shape)))
    together = potential(batch.at(moved))
    for m in range(2):
        alone = potential[[m]](batch.at(moved[m]))
        torch.testing.assert_close(together.energy[[m]], alone.energy, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(together.forces[[m]], alone.forces, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(
            together.stress[[m]], alone.stress, rtol=1e-11, atol=1e-13, equal_nan=True
        )


# -- members


@pytest.mark.parametrize("periodic", [False, True])
def test_stacked_members_say_what_each_says_alone(periodic, rng):
    several = Stacked(network((4, 5, 6)), Baseline({1: -3.0, 6: -40.0, 7: -50.0, 13: -60.0}))
    batch = Batch.of(everything(rng) if periodic else [ammonia(rng), GEOMETRIES["methane"](rng)])
    together = several(batch)
    assert together.energy.shape == (3, len(batch))
    assert together.forces.shape == (
        3,
        *batch.positions.shape,
    )
    for m in range(3):
        alone = several[[m]](batch)
        torch.testing.assert_close(alone.energy[0], together.energy[m], rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(alone.forces[0], together.forces[m], rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(
            alone.stress[0], together.stress[m], rtol=1e-11, atol=1e-13, equal_nan=True
        )


def test_a_members_weights_depend_on_its_seed_only():
    alone, among = (
        SchNet([1, 7], [7], features=6, filters=4),
        SchNet([1, 7], [3, 7, 1], features=6, filters=4),
    )
    for a, b in zip(alone.parameters(), among.parameters(), strict=True):
        assert torch.equal(a[0], b[1])
    assert not torch.equal(among.embedding[0], among.embedding[2])
    for name, p in among.named_parameters():
        assert len(p) == 3, name
        assert p.any() != ("bias" in name), name


def test_weights_start_as_described():
    module = SchNet([1, 7], [0], features=64, filters=96, gaussians=11, cutoff=5.0)
    for name, p in module.named_parameters():
        if name.split(".")[-1] in (
            "first",
            "second",
            "send",
            "receive",
            "update",
            "inner",
            "outer",
        ):
            limit = np.sqrt(6 / (p.shape[1] + p.shape[2]))
            assert 0.9 * limit < p.abs().max() <= limit
    np.testing.assert_allclose(
        module.interactions[1].centres[0, 0].detach(), np.linspace(0, 5, 11), rtol=1e-6
    )
    assert (module.interactions[0].widths == 0.5).all()
    assert not torch.equal(module.interactions[0].send, module.interactions[1].send)


def test_the_defaults_are_the_papers():
    module = SchNet([1, 7], [0])
    assert (
        repr(module) == "SchNet(H, N; 4 interactions, 256 features, 256 filters, 32 Gaussians, 5 A)"
    )
    assert module.embedding.dtype == torch.float32
    assert all(p.requires_grad for p in module.parameters())
    assert (
        repr(Stacked(network(), Baseline({7: -3.0})))
        == "Stacked(2 x SchNet(H, C, N, Al; 3 interactions, 7 features, 5 filters, 6 Gaussians, 3"
        " A), 686 weights each, Baseline(N -3.0000 eV))"
    )


def test_precisions_start_alike_and_agree(rng):
    single, double = (
        SchNet([1, 7], [4], features=16, filters=16, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.allclose(a.double(), b, rtol=1e-7)
    batch = Batch.of([ammonia(rng)])
    one, other = Stacked(single)(batch), Stacked(double)(batch)
    assert one.energy.dtype == one.forces.dtype == torch.float32
    torch.testing.assert_close(one.forces.double(), other.forces, rtol=1e-4, atol=1e-5)


def test_distances_are_formed_in_double_precision(rng):
    """A molecule far from the origin says the same in single precision."""
    geometry, potential = ammonia(rng), Stacked(network(dtype=torch.float32))
    away = geometry.moved(geometry.positions + 1e4)
    torch.testing.assert_close(
        *(potential(Batch.of([g])).forces for g in (geometry, away)), rtol=1e-5, atol=1e-6
    )


# -- errors


def test_what_the_network_refuses(rng):
    with pytest.raises(ValueError, match=r"elements are \[1, 1\]: give each atomic number"):
        SchNet([1, 1], [0])
    with pytest.raises(ValueError, match=r"elements are \[\]"):
        SchNet([], [0])
    with pytest.raises(ValueError, match="features=1 and gaussians=32 must be at least 2"):
        SchNet([1], [0], features=1)
    with pytest.raises(ValueError, match=r"cutoff=0.0 positive"):
        SchNet([1], [0], cutoff=0.0)


@pytest.mark.parametrize("name", ["open", "periodic"])
def test_an_unknown_element_is_named_with_the_remedy(name, rng):
    more = [] if name == "open" else [GEOMETRIES["crystal"](rng)]
    batch = Batch.of([rattled(molecule("H2O"), rng), rattled(molecule("SO2"), rng), *more])
    with pytest.raises(
        ValueError,
        match=(
            r"has never seen O, S; it knows H, C, N, Al: build and train SchNet\(\[1, 6, 7, 8, 13,"
            r" 16\]"
        ),
    ):
        derive(network(), batch.at(batch.positions), graph=False, members=2)


def test_atoms_at_the_same_place_are_refused():
    with pytest.raises(
        ValueError, match="particles 0 and 2 of geometry 0 of the batch are at the same place"
    ):
        predictions([Geometry(positions=[[0.0, 0, 0], [1, 0, 0], [0, 0, 0]], numbers=[1, 1, 7])])
