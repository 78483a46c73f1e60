"""Every member simulates by itself; seeds come from what did not break."""

from __future__ import annotations

from dataclasses import dataclass, replace

import helpers
import numpy as np
import pytest
import torch

from agal_toolkit.batch import Batch, Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.dynamics import DensityOutside, nvt
from agal_toolkit.geometry import Geometry, Labels
from agal_toolkit.potentials import Differentiable
from agal_toolkit.sampling import Conditions, MemberDynamics, simulate_members, stable


@dataclass(frozen=True)
class Springs:
    """Particles on springs around their sites, E = k/2 sum |x - site|^2; k < 0 throws them out."""

    sites: torch.Tensor
    stiffness: float

    def __call__(self, batch):
        apart = batch.positions - self.sites.repeat(len(batch), 1)
        return batch.sum(0.5 * self.stiffness * (apart**2).sum(-1))


BOX = helpers.crystal(np.random.default_rng(0), (2, 2, 2))
SITES = torch.tensor(BOX.positions)
# the last member is unstable
COMMITTEE = Committee([Differentiable(Springs(SITES, k)) for k in (5.0, 20.0, -20.0)])
CONDITIONS = Conditions(
    picoseconds=0.2, temperature=100.0, timestep=1.0, damping=20.0, every=10.0, check=1, closest=1.0
)


class Killed(Exception):
    pass


def test_every_member_moves_by_its_own_forces():
    runs = simulate_members(COMMITTEE, [BOX] * 4, CONDITIONS, rng(1))
    assert [len(replicas) for replicas in runs] == [4, 4, 4]
    assert stable(runs) == [True, True, False]
    assert {frames.reason for frames in runs[2]} <= {"a distance below 1 A", "exploded"}
    settings = {"timestep": 1.0, "steps": 200, "damping": 20.0, "rng": rng(1).spawn(3)[1]}
    alone = nvt(COMMITTEE[[1]].mean, [BOX] * 4, 100.0, **settings)
    for one, other in zip(runs[1], alone, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


def test_a_member_is_stable_only_if_all_its_replicas_are():
    calm, broken = (
        replace(helpers_frames, reason=reason)
        for helpers_frames in [simulate_members(COMMITTEE[[0]], [BOX], CONDITIONS, rng(0))[0][0]]
        for reason in (None, "exploded")
    )
    assert stable([[calm, calm], [calm, broken], [broken]]) == [True, False, False]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_seeds_are_frames_of_all_members_but_never_of_a_broken_end():
    data = Dataset([BOX], [Labels(energy=0.0, forces=np.zeros_like(BOX.positions))])
    sampler = MemberDynamics(conditions=CONDITIONS, count=30, replicas=2, skipped=0.02, margin=30.0)
    seeds = sampler(COMMITTEE, data, rng(2))
    assert len(seeds) == 30
    again = sampler(COMMITTEE, data, rng(2))
    for one, other in zip(seeds, again, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
    members = [seed.origin["member"] for seed in seeds]
    assert {0, 1} <= set(members)
    runs = simulate_members(COMMITTEE, [BOX] * 2, CONDITIONS, _same_draws(data))
    for seed in seeds:
        assert seed.origin["stable"] == (seed.origin["member"] != 2)
        assert seed.origin["time"] >= 20.0
        frames = runs[seed.origin["member"]][seed.origin["replica"]]
        if frames.reason is not None:
            assert seed.origin["time"] <= frames.times[-1] - 30.0


def _same_draws(data):
    """The generator as the sampler leaves it to the simulations."""
    generator = rng(2)
    generator.integers(len(data), size=2)
    return generator


def test_nothing_but_broken_ends_is_an_error_with_the_remedy():
    sampler = MemberDynamics(conditions=CONDITIONS, start=BOX, margin=1e6)
    with pytest.raises(RuntimeError, match="attack training structures instead"):
        sampler(COMMITTEE[[2]], None, rng(0))


@pytest.mark.parametrize("pressure", [None, 1e-4])
def test_a_killed_sampler_gives_the_same_seeds(pressure, tmp_path):
    conditions = replace(CONDITIONS, picoseconds=0.04, pressure=pressure)
    sampler = MemberDynamics(conditions=conditions, count=5, start=BOX, margin=10.0)
    committee = COMMITTEE[[0, 1]]
    whole = sampler(committee, None, rng(3))

    def kill(event):
        if event.what == "members simulated":
            raise Killed

    with pytest.raises(Killed):
        sampler(committee, None, rng(3), kill, tmp_path)
    assert [file.name for file in tmp_path.glob("member-*")] == ["member-0.npz"]
    parts = sampler(committee, None, rng(3), scratch=tmp_path)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.cell, other.cell)


def test_density_of_water_is_seen_and_bounded():
    edge = 12.417
    water = Geometry(
        positions=np.random.default_rng(0).uniform(0, edge, (192, 3)),
        numbers=[8, 1, 1] * 64,
        cell=edge * np.eye(3),
        pbc=True,
    )
    batch = Batch.of(
        [water, replace(water, cell=2 * water.cell), replace(water, cell=water.cell / 1.3)]
    )
    nothing = Prediction(torch.zeros(3), torch.zeros(576, 3), torch.zeros(3, 3, 3))
    density = 64 * 18.015 / 6.02214076e23 / (edge * 1e-8) ** 3
    stop = DensityOutside(0.25 * density, 2 * density)
    assert stop(batch, nothing).tolist() == [False, True, True]
    assert DensityOutside(0.999 * density, 1.001 * density)(batch, nothing).tolist()[0] is False
    assert stop.name == "density outside 0.25 to 2 g/cm3"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"picoseconds": 0.0}, "must be positive"),
        ({"timestep": -1.0}, "must be positive"),
        ({"density": (1.1, 2.0)}, "must lie between"),
    ],
)
def test_what_conditions_refuse(wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(CONDITIONS, **wrong)
