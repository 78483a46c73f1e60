"""Properties of simulations of the framework and its waters, beside values by hand and by ASE."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from agal_toolkit.analysis import liquids
from agal_toolkit.batch import Prediction
from agal_toolkit.committee import Committee
from agal_toolkit.dynamics import Frames
from agal_toolkit.geometry import Geometry
from studies.jobs import Runner
from studies.uio66 import iterations, properties, protons, sites, study
from studies.uio66.recipes import PRESETS, first
from studies.uio66.structures import DRY, LIQUID, name

WET = name(14)
WATER = np.array([[0, 0, 0], [0.8, 0.5, 0], [-0.8, 0.5, 0]])


def frames_of(start: Geometry, positions=None, count: int = 16, step: float = 1.0) -> Frames:
    """Frames of one structure, or of positions (T, n, 3)."""
    if positions is None:
        positions = np.repeat(start.positions[None], count, 0)
    count = len(positions)
    cells = np.repeat(start.cell[None], count, 0)
    times, zeros = np.arange(1.0, count + 1) * step, np.zeros(count)
    return Frames(0, start, 300.0, times, np.array(positions), cells, zeros, zeros, positions[-1])


def kinds_of(system: str) -> dict[str, int]:
    kinds = sites.kinds(first(system)[0])
    return {kind: int((kinds == k).sum()) for k, kind in enumerate(sites.KINDS) if k in kinds}


def test_kinds_of_atoms_follow_the_formula():
    """Zr6 O4 (OH)4 (C8H4O4)6, with a carboxylate at each end of a linker."""
    dry = {"Zr": 6, "µ3-O": 4, "µ3-OH: O": 4, "µ3-OH: H": 4}
    dry |= {"carboxylate O": 24, "C": 48, "H of linkers": 24}
    assert kinds_of(DRY) == dry
    assert kinds_of(WET) == dry | {"O of waters": 14, "H of waters": 28}
    assert kinds_of(LIQUID) == {"O of waters": 64, "H of waters": 128}
    assert (sites.kinds(first("copper")[0]) == -1).all()
    wet = first(WET)[0]
    assert (wet.numbers[sites.hydroxyls(wet)] == 8).all()
    np.testing.assert_array_equal(sites.oxygens(wet), np.arange(114, 156, 3))
    assert not len(sites.hydroxyls(first(LIQUID)[0]))


@pytest.mark.parametrize("system", [WET, LIQUID])
def test_waters_are_made_whole(system):
    geometry, rng = first(system)[0], np.random.default_rng(0)
    begin = sites.framework_size(geometry)
    torn = geometry.positions.copy()
    torn[begin:] += rng.integers(-2, 3, (len(geometry) - begin, 3)) @ geometry.cell
    made = sites.whole(geometry.moved(torn))
    np.testing.assert_array_equal(made.positions[:begin], geometry.positions[:begin])
    waters = made.positions[begin:].reshape(-1, 3, 3)
    inside = waters[:, 0] @ np.linalg.inv(geometry.cell)
    assert inside.min() >= -1e-9
    assert inside.max() < 1 + 1e-9
    assert np.linalg.norm(waters[:, 1:] - waters[:, :1], axis=-1).max() < 1.1
    back = (made.positions - geometry.positions) @ np.linalg.inv(geometry.cell)
    np.testing.assert_allclose(back, np.round(back), atol=1e-9)


def test_properties_are_those_of_waters_alone():
    """Two waters 3 angstrom apart beside 114 other atoms, a third one far away."""
    rng = np.random.default_rng(0)
    shifts = np.array([[0, 0, 0], [3.0, 0, 0], [0, 0, 9.0]])
    start = Geometry(
        positions=np.concatenate([rng.uniform(0, 18, (114, 3)), *(WATER + s for s in shifts)]),
        numbers=[40] * 6 + [8] * 108 + [8, 1, 1] * 3,
        cell=18 * np.eye(3),
        pbc=True,
    )
    found = properties.measured(frames_of(start))
    assert found["coordination"] == pytest.approx([2 / 3, 0])
    grams = (6 * 91.224 + 111 * 15.999 + 6 * 1.008) / 6.02214076e23
    assert found["density"] == pytest.approx([grams / (18e-8) ** 3, 0], rel=1e-4)
    peak = int(np.argmax(found["OO"]["g"]))
    assert found["OO"]["r"][peak] == pytest.approx(3.0, abs=0.05)
    assert found["diffusion"] == [0, 0]
    assert list(properties.measured(frames_of(first("copper")[0]))) == ["density"]
    liquid = properties.of_waters(frames_of(first(LIQUID)[0]))
    assert len(liquid.start) == 192


def test_diffusion_is_relative_to_the_framework():
    """A loop over waters, lags and origins, for waters in a framework that drifts."""
    rng, start, step = np.random.default_rng(1), first(WET)[0], 50.0
    walk = np.cumsum(rng.normal(0, 0.1, (41, 14, 3)), axis=0)
    drift = 0.3 * np.arange(41)[:, None, None] * np.array([1.0, 2.0, -1.0])
    positions = start.positions + drift + np.zeros((41, len(start), 3))
    positions[:, 114:] += np.repeat(walk, 3, axis=1)
    frames = frames_of(start, positions, step=step)
    found, window = properties.diffusion(frames, start=1050.0)
    assert window == [250.0, 500.0]
    used, slopes = walk[20:], []
    for water in range(14):
        curve = []
        for lag in range(5, 11):
            pairs = [used[t + lag, water] - used[t, water] for t in range(len(used) - lag)]
            curve.append(np.mean([pair @ pair for pair in pairs]))
        slopes.append(np.polyfit(np.arange(5, 11) * step, curve, 1)[0] / 6 * 0.1)  # A^2/fs
    assert found.value == pytest.approx(np.mean(slopes))
    assert found.error == pytest.approx(np.std(slopes, ddof=1) / np.sqrt(14))
    with pytest.raises(ValueError, match="4 frames from 38 fs on, expected at least 7"):
        properties.diffusion(frames_of(start, positions), start=38.0)


def test_diffusion_of_the_liquid_is_that_of_the_package():
    """Two halves of a walk, each fitted by itself, as the package's blocks do."""
    rng, start = np.random.default_rng(2), first(LIQUID)[0]
    walk = np.cumsum(rng.normal(0, 0.1, (40, 64, 3)), axis=0)
    frames = frames_of(start, start.positions + np.repeat(walk, 3, axis=1), step=100.0)
    halves = []
    for part in (slice(0, 20), slice(20, 40)):
        kept = frames_of(start, frames.positions[part], step=100.0)
        found, window = properties.diffusion(kept, start=0.0)
        halves.append(found.value)
    package = liquids.diffusion(frames, 8, window=tuple(window), blocks=2).coefficient
    assert package.value == pytest.approx(np.mean(halves))


def cluster(distance: float, angle: float, gives: bool) -> Geometry:
    """A mu3-OH group at the origin and a water: O-O distance and angle of the bond, degrees.

    The group gives the bond to the water, or takes it.
    """
    turn = np.radians(angle)
    along, across = np.array([0, 0, 1.0]), np.array([1.0, 0, 0])
    off = np.cos(turn) * along + np.sin(turn) * across
    oxygen = distance * along
    if gives:
        hydrogens = [0.97 * off, oxygen + 0.97 * along, oxygen + 0.97 * across]
    else:
        hydrogens = [-0.97 * across, oxygen - 0.97 * off, oxygen + 0.97 * across]
    ring = 2 * np.pi * np.arange(3) / 3
    metal = np.stack([1.8 * np.cos(ring), 1.8 * np.sin(ring), np.full(3, -1.0)], axis=1)
    rest = np.linspace([20, 20, 20], [25, 25, 25], 109)  # carbon, far from all
    positions = [*metal, [0, 0, 0], hydrogens[0], *rest, oxygen, *hydrogens[1:]]
    numbers = [40] * 3 + [8, 1] + [6] * 109 + [8, 1, 1]
    # across the face of the cell
    return Geometry(positions=positions, numbers=numbers, cell=40 * np.eye(3), pbc=True)


@pytest.mark.parametrize("gives", [True, False])
@pytest.mark.parametrize(
    ("distance", "angle", "bonds"), [(2.8, 0, 1), (2.8, 29, 1), (2.8, 31, 0), (3.6, 0, 0)]
)
def test_hydrogen_bonds_by_hand(distance, angle, bonds, gives):
    frames = frames_of(cluster(distance, angle, gives))
    given, taken = properties.hydrogen_bonds(frames)
    assert given.tolist() == [bonds * gives] * 16
    assert taken.tolist() == [bonds * (not gives)] * 16


def test_hydrogen_bonds_of_the_framework_by_ase():
    """ASE's distances and angles, for the stored structure and waters that are pushed around."""
    start, rng = first(WET)[0], np.random.default_rng(3)
    positions = np.repeat(start.positions[None], 16, 0)
    positions[:, 114:] += np.repeat(rng.normal(0, 0.3, (16, 14, 3)), 3, axis=1)
    frames = frames_of(start, positions)
    groups, waters = sites.hydroxyls(start), sites.oxygens(start)
    expected = np.zeros((16, 2))
    for t in range(8, 16):
        atoms = frames.geometry(t).to_ase()
        lengths = atoms.get_all_distances(mic=True)
        for hydrogen in np.flatnonzero(atoms.numbers == 1):
            donor = min(np.flatnonzero(atoms.numbers != 1), key=lambda k: lengths[k, hydrogen])
            for kind, (donors, acceptors) in enumerate(((groups, waters), (waters, groups))):
                for acceptor in acceptors[lengths[donor, acceptors] < 3.5]:
                    if donor in donors:
                        angle = atoms.get_angle(hydrogen, donor, acceptor, mic=True)
                        expected[t, kind] += angle < 30
    found = np.transpose(properties.hydrogen_bonds(frames))
    np.testing.assert_array_equal(found[8:], expected[8:])
    record = properties.measured(frames)  # four blocks of two frames
    for kind, key in enumerate(("given", "taken")):
        blocks = expected[8:, kind].reshape(4, 2).mean(1) / 4
        assert record[key] == pytest.approx([blocks.mean(), blocks.std(ddof=1) / 2])
    assert record["given"][0] > 0
    assert record["taken"][0] > 0


def shared(place: float) -> Geometry:
    """A proton between the oxygen atoms of two waters, 2.6 angstrom apart, across a face."""
    oxygen = np.array([[0, 0, 0.5], [0, 0, -2.1 + 12]])
    hydrogens = [[0.97, 0, 0.5], [0, 0, 0.5 - place], [0, 0.97, 9.9], [-0.97, 0, 9.9]]
    positions = [oxygen[0], *hydrogens[:2], oxygen[1], *hydrogens[2:]]
    return Geometry(positions=positions, numbers=[8, 1, 1] * 2, cell=12 * np.eye(3), pbc=True)


def along(*places: float) -> Frames:
    structures = [shared(place) for place in places]
    return frames_of(structures[0], [each.positions for each in structures], step=50.0)


def test_a_hop_is_found_with_its_frame_and_atoms():
    frames = along(1.0, 1.2, 1.4, 1.5, 1.6, 1.6)
    (hop,) = protons.hops(frames)  # at 1.5 it is 1.1 from the other oxygen atom
    assert hop == protons.Hop(frame=3, time=200.0, hydrogen=2, left=0, joined=3)
    assert protons.bound(frames, [0, 3]).tolist() == [[2, 2]] * 3 + [[1, 3]] * 3
    record = protons.record(frames)
    assert (record["count"], record["picoseconds"]) == (1, 0.3)
    assert json.loads(json.dumps(record)) == record
    before, after = protons.drawn(record["scene"])
    assert record["scene"]["atoms"] == [0, 1, 2, 3, 4, 5]
    for geometry, place in ((before, 1.4), (after, 1.5)):
        np.testing.assert_allclose(geometry.positions[2], 0, atol=1e-9)
        lengths = np.linalg.norm(geometry.positions[[0, 3]], axis=1)
        np.testing.assert_allclose(lengths, [place, 2.6 - place], atol=2e-3)


def test_a_proton_that_is_shared_or_returns_has_not_hopped():
    assert protons.hops(along(1.0, 1.3, 1.4, 1.2, 1.4, 1.0)) == []
    assert protons.record(along(1.0, 1.0)) == {"count": 0, "picoseconds": 0.1}
    both = protons.hops(along(1.0, 1.6, 1.6, 1.0))
    assert [(hop.frame, hop.left, hop.joined) for hop in both] == [(1, 0, 3), (3, 3, 0)]


def test_no_proton_hops_where_there_is_none():
    assert protons.record(frames_of(first("copper")[0]))["count"] == 0
    none = frames_of(first(WET)[0])
    none = replace(none, times=none.times[:0], positions=none.positions[:0], cells=none.cells[:0])
    assert protons.record(none) == {"count": 0, "picoseconds": 0.0}


class Nothing:
    """A potential without any forces."""

    def __call__(self, batch, *, graph=False):
        count = len(batch)
        zeros = torch.zeros(count, 3, 3)
        return Prediction(torch.zeros(count), torch.zeros(len(batch.positions), 3), zeros)


def test_a_simulation_of_the_framework_has_all_properties(tmp_path, monkeypatch):
    """Atoms of the framework and its waters fly freely for thirty steps."""
    small = replace(
        PRESETS["smoke"], systems=(WET,), one=WET, survive=(0.01, 0.02), timestep=1.0, members=2
    )
    monkeypatch.setitem(PRESETS, "smoke", small)
    monkeypatch.setattr(study, "committee_of", lambda *given: Committee([Nothing(), Nothing()]))
    run = Runner("smoke", tmp_path / "out", tmp_path / "results")
    place = iterations.folder_of(run, "attacks", "all", 0) / "committee-0"
    place.mkdir(parents=True)
    (place / "calibration.json").write_text("{}")
    record = study.run_member(("attacks", "all", 0), 0, WET, 1, run)
    assert record["reason"] is None
    assert record["hops"]["picoseconds"] == pytest.approx(0.02)
    found = record["properties"]
    assert set(found) == {
        *("density", "coordination", "OO", "diffusion", "window", "given", "taken"),
    }
    assert json.loads(json.dumps(record)) == record
    jobs = study.all_jobs(run, [("attacks", "all", 0)], [0])["members"]
    assert len(jobs) == 2
    for job in jobs.values():
        assert job.settings["analysis"] == properties.SETTINGS
