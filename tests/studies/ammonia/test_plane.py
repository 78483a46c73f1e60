"""The (Z, R) plane of ammonia on molecules built by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from agal_toolkit.analysis.rmsd import AlignedRmsd
from agal_toolkit.committee import Committee
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.potentials import Differentiable
from agal_toolkit.references import Reference
from studies.ammonia.plane import (
    Ground,
    PlaneGrid,
    PlaneSurface,
    ammonia,
    coordinates,
    distortions,
    frame_coordinates,
    inverted,
)

GROUND = Ground(0.38, 0.94)
SMALL = PlaneGrid(GROUND, highest=1.5, narrowest=0.8, widest=1.2, heights=4, radii=3)


@dataclass(frozen=True)
class Springs:
    """Energy of a molecule: half of `stiffness` times the squared distances between all atoms."""

    stiffness: float = 1.0
    offset: float = -20.0

    def __call__(self, batch):
        x = batch.positions
        centre = batch.mean(x.mT).mT[batch.owner]
        return 2.0 * self.stiffness * batch.sum((x - centre).square().sum(-1)) + self.offset

    def by_hand(self, positions):
        pairs = [np.sum((positions[i] - positions[k]) ** 2) for i in range(4) for k in range(i)]
        return 0.5 * self.stiffness * sum(pairs) + self.offset


def springs(geometry):
    return Labels(energy=Springs().by_hand(geometry.positions), forces=np.zeros((4, 3)))


def cramped(geometry):
    """A label that fails where the hydrogens are close."""
    if coordinates(geometry)[1] < 0.8:
        raise RuntimeError("no convergence")
    return springs(geometry)


def placed(rng, geometry):
    turn = Rotation.random(rng=rng).as_matrix()
    return geometry.moved(geometry.positions @ turn + rng.normal(0, 5, 3))


def test_a_molecule_built_by_hand():
    """Hydrogens at the corners of a 3-4-5 triangle, whose circle has the radius 2.5; nitrogen 0.7
    above a corner.
    """
    corners = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0]])
    positions, numbers = np.vstack([corners[:2], [[0.1, 0.2, 0.7]], corners[2:]]), [1, 1, 7, 1]
    assert coordinates(Geometry(positions=positions, numbers=numbers)) == pytest.approx((0.7, 2.5))
    assert coordinates(
        Geometry(positions=positions[[2, 1, 0, 3]], numbers=[7, 1, 1, 1])
    ) == pytest.approx((-0.7, 2.5))  # two hydrogens exchanged
    assert coordinates(
        Geometry(positions=positions * [1, 1, -1], numbers=numbers)
    ) == pytest.approx((-0.7, 2.5))


@trials(max_examples=40)
@given(st.floats(-3, 3), st.floats(0.2, 3), st.integers(0, 10**6))
def test_there_and_back_wherever_the_molecule_lies(z, r, seed):
    rng = np.random.default_rng(seed)
    geometry = placed(rng, ammonia(z, r, GROUND))
    assert coordinates(geometry) == pytest.approx((z * 0.38, r * 0.94), abs=1e-9)
    order = np.insert([1, 2, 3], rng.integers(4), 0)  # nitrogen anywhere in the list
    listed = Geometry(positions=geometry.positions[order], numbers=geometry.numbers[order])
    np.testing.assert_allclose(GROUND.project([listed]), [[z, r]], atol=1e-9)


@trials(max_examples=25)
@given(st.floats(-2, 2), st.floats(0.5, 2), st.integers(0, 10**6))
def test_distortions_share_their_place_and_differ(z, r, seed):
    rng = np.random.default_rng(seed)
    made = distortions(z, r, GROUND, 4, rng)
    np.testing.assert_allclose(
        GROUND.project([placed(rng, g) for g in made]), np.tile([z, r], (4, 1)), atol=1e-9
    )
    assert (
        min(
            AlignedRmsd(reflections=True)(one, other)
            for i, one in enumerate(made)
            for other in made[:i]
        )
        > 1e-3
    )


def test_the_symmetric_geometry_is_symmetric():
    geometry = ammonia(1.0, 1.0, GROUND)
    distances = np.linalg.norm(geometry.positions[:, None] - geometry.positions, axis=-1)
    np.testing.assert_allclose(distances[0, 1:], np.hypot(0.38, 0.94))
    np.testing.assert_allclose(distances[1:, 1:][~np.eye(3, dtype=bool)], np.sqrt(3) * 0.94)
    assert geometry.origin["z"] == 1.0
    assert geometry.numbers.tolist() == [7, 1, 1, 1]


def test_the_ground_state_is_at_one_whatever_the_order_of_its_hydrogens(rng):
    for order in ([0, 1, 2, 3], [2, 1, 0, 3], [3, 2, 1, 0]):
        made = ammonia(1.0, 1.0, GROUND)
        ground = placed(rng, Geometry(positions=made.positions[order], numbers=made.numbers[order]))
        np.testing.assert_allclose(
            Ground.of(ground).project(
                [ground, inverted(ground), ammonia(0.3, 1.2, Ground.of(ground))]
            ),
            [[1, 1], [-1, 1], [0.3, 1.2]],
            atol=1e-12,
        )


def test_frames_are_projected_together(rng):
    frames = rng.normal(0, 1, (5, 2, 4, 3))
    found = GROUND.project_frames(frames, [1, 7, 1, 1])
    one_by_one = [
        [GROUND.project([Geometry(positions=x, numbers=[1, 7, 1, 1])])[0] for x in row]
        for row in frames
    ]
    np.testing.assert_allclose(found, one_by_one)


def test_hydrogens_on_a_line_have_no_plane():
    z, r = frame_coordinates([[0.0, 1, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]], [7, 1, 1, 1])
    assert np.isnan(z)
    assert np.isinf(r)
    with pytest.raises(ValueError, match="lie on a line"):
        inverted(
            Geometry(positions=[[0.0, 1, 0], [0, 0, 0], [1, 0, 0], [2, 0, 0]], numbers=[7, 1, 1, 1])
        )


@trials(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_inverted_molecule_is_the_mirror_image(seed):
    rng = np.random.default_rng(seed)
    geometry = Geometry(positions=rng.normal(0, 1, (4, 3)), numbers=[1, 7, 1, 1])
    image = inverted(geometry)
    z, r = coordinates(geometry)
    assert coordinates(image) == pytest.approx((-z, r))
    np.testing.assert_allclose(image.positions.mean(0), geometry.positions.mean(0), atol=1e-12)
    assert AlignedRmsd(reflections=True, permutations=False)(geometry, image) < 1e-9
    np.testing.assert_allclose(inverted(image).positions, geometry.positions, atol=1e-9)


def test_half_way_to_the_mirror_image_it_is_flat(rng):
    ground = placed(rng, ammonia(1.0, 1.0, GROUND))
    middle = ground.moved((ground.positions + inverted(ground).positions) / 2)
    assert coordinates(middle) == pytest.approx((0.0, 0.94), abs=1e-12)


# -- surfaces


def test_the_grid_is_half_a_plane_and_filled():
    assert SMALL.z.tolist() == [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]
    assert len(SMALL.geometries) == 12
    placed_at = np.array(GROUND.project(SMALL.geometries))
    z, r = np.meshgrid(SMALL.z, SMALL.r)
    np.testing.assert_allclose(SMALL.fill(placed_at[:, 0]), np.abs(z), atol=1e-12)
    np.testing.assert_allclose(SMALL.fill(placed_at[:, 1]), r, atol=1e-12)


def test_surfaces_of_a_reference_and_of_a_committee():
    reference = Reference(springs, settings={"code": "by hand"})
    truth = PlaneSurface.of_outcomes(
        reference(SMALL.geometries), SMALL, -20.0, reference.description
    )
    z, r = np.meshgrid(SMALL.z * 0.38, SMALL.r * 0.94)
    np.testing.assert_allclose(truth.energy, 0.5 * (3 * (z**2 + r**2) + 9 * r**2), atol=1e-12)
    committee = Committee([Differentiable(Springs(k)) for k in (0.9, 1.0, 1.4)])
    found = PlaneSurface.of(committee, SMALL, -20.0)
    np.testing.assert_allclose(found.energy, 1.1 * truth.energy, atol=1e-12)
    members = committee.predict([ammonia(-1.0, 1.2, GROUND)]).forces
    assert found.sigma[2, 1] == pytest.approx(float(members.var(0).mean().sqrt()))
    assert found.settings == {}
    assert truth.settings["settings"] == {"code": "by hand"}


def test_rmse_below_a_cap_of_the_truth():
    truth = PlaneSurface.of_outcomes(
        ((i, springs(g)) for i, g in enumerate(SMALL.geometries)), SMALL, -20.0, {}
    )
    found = PlaneSurface.of(Committee([Differentiable(Springs(1.1))]), SMALL, -20.0)
    for cap in (3.6, 6.0, 100.0):
        low = truth.energy[truth.energy <= cap]
        assert len(low) > 0
        assert truth.rmse_below(found, cap) == pytest.approx(0.1 * np.sqrt((low**2).mean()))
    assert found.rmse_below(truth, 3.6) != pytest.approx(
        truth.rmse_below(found, 3.6)
    )  # whose energy is capped matters
    assert np.isnan(truth.rmse_below(found, -1.0))
    with pytest.raises(ValueError, match="cannot be compared"):
        truth.rmse_below(PlaneSurface(SMALL, found.energy, -19.0), 5.0)


def test_points_without_a_label_count_nowhere(tmp_path):
    reference = Reference(cramped, settings={"code": "by hand"})
    truth = PlaneSurface.of_outcomes(
        reference(SMALL.geometries), SMALL, -20.0, reference.description
    )
    assert np.isnan(truth.energy[0]).all()
    assert np.isfinite(truth.energy[1:]).all()
    found = PlaneSurface.of(Committee([Differentiable(Springs(1.1))]), SMALL, -20.0)
    assert truth.rmse_below(found, 1e9) == pytest.approx(
        0.1 * np.sqrt((truth.energy[1:] ** 2).mean())
    )
    truth.write(tmp_path / "plane.json")
    np.testing.assert_array_equal(PlaneSurface.read(tmp_path / "plane.json").energy, truth.energy)


def test_a_surface_is_written_and_read(tmp_path):
    found = PlaneSurface.of(
        Committee([Differentiable(Springs(k)) for k in (1.0, 1.3)]), SMALL, -20.0
    )
    stored = PlaneSurface(SMALL, found.energy, -20.0, {"functional": "BP86"}, found.sigma)
    stored.write(tmp_path / "plane.json")
    again = PlaneSurface.read(tmp_path / "plane.json")
    assert (again.grid, again.zero, again.settings) == (SMALL, -20.0, {"functional": "BP86"})
    assert again.energy.tobytes() == found.energy.tobytes()
    assert again.sigma.tobytes() == found.sigma.tobytes()
    content = json.loads((tmp_path / "plane.json").read_text())
    assert content["unit"] == "eV"
    assert content["z"] == SMALL.z.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["plane.json"]


def test_what_is_no_ammonia_is_refused():
    with pytest.raises(ValueError, match="no ammonia"):
        coordinates(Geometry(positions=np.eye(4, 3), numbers=[8, 1, 1, 1]))
    with pytest.raises(ValueError, match="no ground state"):
        Ground.of(ammonia(0.0, 1.0, GROUND))
    with pytest.raises(ValueError, match="must not pass"):
        ammonia(1.0, 1.0, GROUND, turns=(0.0, 2.1, 0.0))
    with pytest.raises(ValueError, match="is no grid"):
        PlaneGrid(GROUND, narrowest=2.0)
