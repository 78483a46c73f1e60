"""The map on which points are dropped, without a browser."""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest
from helpers import labels_of, mlp_committee, molecule, picture, well_data

from agal_toolkit import (
    Adam,
    Attack,
    Ball,
    BoltzmannVariance,
    Dataset,
    GradientDescent,
    Labels,
    Variance,
)
from studies.double_well.explorer import AttackExplorer


@pytest.fixture
def explorer(rng):
    return AttackExplorer(
        mlp_committee(),
        well_data(rng, 12),
        Attack(BoltzmannVariance(kT=5.0), Adam(0.02, 15)),
        truth=labels_of,
        points=15,
        seconds=0,
    )


def map_of(explorer):
    """The pixels of the live map."""
    explorer.wait()
    canvas = explorer._figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def test_a_dropped_point_is_pushed_from_exactly_there_to_a_lower_loss(explorer):
    before, shown = picture(explorer), map_of(explorer)
    explorer.drop(-0.75, 0.1).wait()
    assert explorer.path.shape == (16, 1, 2)
    assert explorer.losses.shape == (16, 1)
    np.testing.assert_allclose(explorer.path[0, 0], [-0.75, 0.1])
    assert np.linalg.norm(explorer.path[-1, 0] - explorer.path[0, 0]) > 0.05
    assert explorer.losses.min() < explorer.losses[0, 0]
    assert picture(explorer) != before
    assert (map_of(explorer) != shown).any()
    assert explorer._trouble.value == ""
    assert explorer._curves.error is None


def test_a_drop_returns_at_once_and_the_next_one_cancels_it(rng):
    slow = AttackExplorer(
        mlp_committee(),
        well_data(rng, 12),
        Attack(BoltzmannVariance(kT=5.0), Adam(0.001, 600)),
        points=10,
        seconds=30,
    )
    began = time.monotonic()
    first = slow.drop(-0.75, 0.0).background
    assert time.monotonic() - began < 0.1
    time.sleep(0.3)
    second = slow.drop(0.5, 0.5).background
    assert first.state in ("stopping", "stopped")
    first.wait(2)
    assert first.state == "stopped"
    assert second.state == "running"
    assert time.monotonic() - began < 1.5
    slow.stop().wait()
    assert second.state == "stopped"
    np.testing.assert_allclose(slow.path[0, 0], [0.5, 0.5])


def test_all_training_points_are_pushed_together(explorer):
    explorer.drop_all().wait()
    assert explorer.path.shape == (16, 12, 2)
    assert (
        np.abs(explorer.path[0] - np.concatenate([g.positions for g in explorer._dataset])).max()
        < 0.1
    )
    assert explorer._curves.error is None


def test_steps_by_hand(explorer):
    explorer.step().wait()
    assert explorer.background.state == "paused"
    assert len(explorer.path) == 1
    explorer.step().wait()
    explorer.step().wait()
    assert len(explorer.path) == 3
    assert not explorer._stop.disabled
    explorer.stop().wait()
    assert explorer.background.state == "stopped"
    assert explorer._stop.disabled


def test_kT_changes_the_map_and_pushes_the_last_drop_again(explorer):
    before = map_of(explorer)
    explorer._kT.value = 0.5
    assert (map_of(explorer) != before).any()
    assert explorer.background is None  # nothing was dropped yet
    explorer.drop(-0.75, 0.0).wait()
    first = explorer.background
    explorer._kT.value = 20.0
    explorer.wait()
    assert explorer.background is not first
    assert explorer.attack.objective.kT == 20.0
    np.testing.assert_allclose(explorer.path[0, 0], [-0.75, 0.0])


def test_sliders_are_the_attack(explorer):
    explorer._rate.value, explorer._steps.value, explorer._radius.value, explorer._bounded.value = (
        0.1,
        25,
        0.2,
        True,
    )
    attack = explorer.attack
    assert attack.minimizer == Adam(0.1, 25)
    assert attack.bound == Ball(0.2)
    explorer.drop(0.0, 0.0).wait()
    assert len(explorer.path) == 26
    assert np.linalg.norm(explorer.path[:, 0], axis=1).max() <= 0.2 + 1e-9


def test_walking_along_the_path_moves_the_marks(explorer):
    explorer.drop(-0.75, 0.0).wait()
    assert explorer._walk.max == explorer._walk.value == 15
    assert not explorer._walk.disabled
    last, curves = map_of(explorer), bytes(explorer._curves.value)
    explorer._walk.value = 5
    assert (map_of(explorer) != last).any()
    assert bytes(explorer._curves.value) != curves


def test_the_toggle_shows_energy_and_uncertainty(explorer):
    seen = []
    for surface in ("loss", "energy", "uncertainty"):
        explorer._surface.value = surface
        seen.append(map_of(explorer).tobytes())
    assert len(set(seen)) == 3


@pytest.mark.parametrize("objective", [Variance(), BoltzmannVariance(kT=5.0, log=True)])
def test_other_objectives_and_minimizers(rng, objective):
    explorer = AttackExplorer(
        mlp_committee(),
        well_data(rng, 12),
        Attack(objective, GradientDescent(1e-4, 5), bound=Ball(0.3)),
        points=10,
        seconds=0,
    )
    assert explorer._kT.disabled is isinstance(objective, Variance)
    assert explorer._bounded.value
    explorer.drop(0.1, 0.1).wait()
    assert len(explorer.path) == 6
    assert explorer._trouble.value == ""


def test_a_push_that_fails_says_so(explorer, monkeypatch):
    def fail(*_):
        raise RuntimeError("no gradient here")
        yield

    monkeypatch.setattr(Attack, "iterate", fail)
    explorer.drop(0.0, 0.0)
    with pytest.raises(RuntimeError, match="no gradient"):
        explorer.wait()
    assert "no gradient here" in explorer._trouble.value


def test_a_click_on_the_canvas_drops_a_point(explorer):
    pytest.importorskip("ipympl")
    from matplotlib.backend_bases import MouseEvent

    canvas, axes = explorer._figure.canvas, explorer._figure.axes[0]
    x, y = axes.transData.transform((0.4, -0.3))
    canvas.callbacks.process(
        "button_press_event", MouseEvent("button_press_event", canvas, x, y, 1)
    )
    explorer.wait()
    np.testing.assert_allclose(explorer.path[0, 0], [0.4, -0.3], atol=0.01)
    explorer.background = None
    canvas.callbacks.process(
        "button_press_event", MouseEvent("button_press_event", canvas, 1, 1, 1)
    )
    assert explorer.background is None  # outside of the axes


def test_without_ipympl_sliders_place_the_point(rng, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "ipympl" else find(name, *rest),
    )
    explorer = AttackExplorer(
        mlp_committee(),
        well_data(rng, 12),
        Attack(BoltzmannVariance(kT=5.0), Adam(0.02, 5)),
        points=10,
        seconds=0,
    )
    assert "ipympl is not installed" in explorer._hint.value
    assert explorer._placing in explorer.children
    before = bytes(explorer._map.value)
    explorer._x.value, explorer._y.value = 0.3, -0.2
    explorer._placing.children[2].click()
    explorer.wait()
    np.testing.assert_allclose(explorer.path[0, 0], [0.3, -0.2])
    assert bytes(explorer._map.value) != before


def test_molecules_have_no_map(rng):
    geometry = molecule(rng)
    with pytest.raises(ValueError, match="single particles in the plane"):
        AttackExplorer(
            mlp_committee(), Dataset([geometry], [Labels(energy=0.0, forces=np.zeros((5, 3)))])
        )
    with pytest.raises(ValueError, match="holds nothing"):
        AttackExplorer(mlp_committee(), Dataset())
