"""The truth's properties: pieces that go on, and numbers from frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

pytest.importorskip("openmm", reason="OpenMM is in the extra `references`")

from agal_toolkit.settings import to_settings
from studies.jobs import Runner
from studies.water import properties
from studies.water.properties import GRID, PRESETS, Piece, Simulation, joined, simulated, start_box


def pieces_of(sizes: Simulation, folder, replica: int = 0) -> list[Piece]:
    run = Runner("smoke", folder)
    return simulated(sizes, start_box(sizes, run.results), replica, folder, run)


def test_a_simulation_goes_on_from_its_last_piece(tmp_path):
    """Two pieces in one call, and in two: the same; and a piece begins where the last one ended."""
    sizes = replace(PRESETS["smoke"], pieces=2, picoseconds=0.012)
    whole = pieces_of(sizes, tmp_path / "whole")
    pieces_of(replace(sizes, pieces=1), tmp_path / "parts")
    parts = pieces_of(sizes, tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.velocities, other.velocities)
    step = np.abs(parts[1].positions[0] - parts[0].last).max()
    assert 1e-3 < step < 0.3  # 4 fs of hydrogen


def test_a_piece_is_read_as_it_was_written(tmp_path):
    rng = np.random.default_rng(0)
    piece = Piece(
        positions=np.cumsum(rng.normal(0, 0.3, (5, 6, 3)), 0) - 20,
        cells=rng.random((5, 3, 3)),
        potential=rng.random(5),
        kinetic=rng.random(5),
        last=rng.random((6, 3)),
        velocities=rng.random((6, 3)),
    )
    piece.write(tmp_path / "piece.npz", {"seed": 1})
    back = Piece.read(tmp_path / "piece.npz", {"seed": 1})
    assert np.abs(back.positions - piece.positions).max() <= GRID / 2 * (1 + 1e-9)
    for name in ("cells", "potential", "kinetic", "last", "velocities"):
        np.testing.assert_array_equal(getattr(back, name), getattr(piece, name))
    with pytest.raises(ValueError, match="other settings"):
        Piece.read(tmp_path / "piece.npz", {"seed": 2})


def test_settings_name_the_module_however_it_is_called():
    assert to_settings(PRESETS["laptop"])["name"] == "studies.water.properties.Simulation"


def test_properties_of_a_lattice_of_waters():
    """A box that neither moves nor changes: its own density, and no error."""
    sizes = replace(PRESETS["smoke"], skipped=0)
    start = start_box(sizes, Runner("smoke", "nowhere").results)
    count = 20
    piece = Piece(
        positions=np.repeat(start.positions[None], count, 0)
        + np.random.default_rng(0).normal(0, 0.01, (count, 192, 3)),
        cells=np.repeat(start.cell[None], count, 0) * np.linspace(1, 1.001, count)[:, None, None],
        potential=np.zeros(count),
        kinetic=np.full(count, 1.5 * 192 * 8.617333e-5 * 300),
        last=start.positions,
        velocities=np.zeros((192, 3)),
    )
    frames = [joined(sizes, start, k, [piece]) for k in range(2)]
    record = properties.measured(frames, 5, (4.0, 12.0))
    expected = 64 * 18.015 / 6.02214076e23 / (np.linalg.det(start.cell) * 1e-24)
    assert record["density"][0] == pytest.approx(expected, rel=4e-3)
    assert record["temperature"] == pytest.approx(300, rel=1e-5)
    assert 2.6 < record["peak"][0] < 3.0
    first = neighbor_list("d", start.to_ase(), {("O", "O"): properties.CUTOFF})
    assert record["coordination"][0] == pytest.approx(len(first) / 64, rel=0.05)
    assert record["picoseconds"] == pytest.approx(2 * count * sizes.every / 1000)
    density = properties.claims(record, 10)[0]
    assert density.spread[0] < density.value == record["density"][0] < density.spread[1]
