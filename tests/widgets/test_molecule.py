"""The 3D view without a browser: what it would send, and what it falls back to."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from ase.build import molecule as ase_molecule
from helpers import ammonia, crystal, molecule, picture

from agal_toolkit.plots.scene import element_colours
from agal_toolkit.widgets import Molecule


@pytest.fixture
def view(monkeypatch):
    """A molecule's view, and the scenes that it sent."""
    view = Molecule()
    sent = []
    monkeypatch.setattr(
        type(view._view), "send", lambda _, message, buffers=None: sent.append(scene_of(message))
    )
    return view, sent


def scene_of(message):
    assert message["methodName"] == "executeCode"
    assert message["target"] == "Widget"
    code = message["args"][0]
    assert code.startswith("const scene = ")
    return json.JSONDecoder().raw_decode(code.removeprefix("const scene = "))[0]


def test_importing_the_widgets_does_not_load_nglview():
    code = "import sys, agal_toolkit.widgets; print('nglview' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )


def test_it_sends_atoms_bonds_and_colours(view):
    view, sent = view
    view.show(ammonia())
    [part] = sent[-1]["parts"]
    centred = ammonia().positions - ammonia().positions.mean(0)
    np.testing.assert_allclose(np.reshape(part["balls"]["position"], (4, 3)), centred, atol=1e-4)
    np.testing.assert_allclose(
        np.reshape(part["balls"]["color"], (4, 3)), element_colours(ammonia()), atol=1e-4
    )
    assert len(part["sticks"]["radius"]) == 6
    assert part["opacity"] == 1.0
    assert part["text"] == []
    matrix = np.reshape(sent[-1]["turn"], (4, 4)).T[:3, :3]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert sent[-1]["size"] == ["360px", "320px"]


def test_a_ghost_colours_and_labels(view):
    view, sent = view
    moved = ammonia().moved(ammonia().positions + np.array([0.5, 0, 0]))
    view.show(moved, ghost=ammonia(), colours=np.full((4, 3), 0.25), labels=["N", "", "H", ""])
    solid, ghost = sent[-1]["parts"]
    assert 0 < ghost["opacity"] < 0.5
    assert solid["text"] == ["N", "H"]
    assert ghost["text"] == []
    assert set(solid["balls"]["color"]) == {0.25}
    np.testing.assert_allclose(
        np.reshape(solid["balls"]["position"], (4, 3))
        - np.reshape(ghost["balls"]["position"], (4, 3)),
        [[0.5, 0, 0]] * 4,
        atol=2e-4,
    )


def test_the_camera_stays_while_the_atoms_are_the_same(view, rng):
    view, sent = view
    for _ in range(3):
        view.show(ammonia().moved(ammonia().positions + rng.normal(0, 0.02, (4, 3))))
    assert len({scene["number"] for scene in sent}) == 1
    assert len({tuple(scene["turn"]) for scene in sent}) == 1
    view.show(
        ammonia().moved(3.0 * ammonia().positions)
    )  # it flew apart: a step back, from the same side
    assert sent[-1]["number"] != sent[0]["number"]
    assert sent[-1]["reach"] > 2.0
    assert sent[-1]["turn"] == sent[0]["turn"]
    view.show(molecule(rng))
    assert sent[-1]["number"] != sent[-2]["number"]
    assert sent[-1]["turn"] != sent[-2]["turn"]


def test_a_cell_is_sent_as_thin_edges(view, rng):
    view, sent = view
    view.show(crystal(rng, (2, 2, 2)))
    widths = np.array(sent[-1]["parts"][0]["sticks"]["radius"])
    assert (widths == widths.min()).sum() == 12
    assert len(widths) > 12


def test_frames(view):
    view, sent = view
    frames = [ammonia().moved(ammonia().positions * stretch) for stretch in (1.0, 1.5, 2.5)]
    view.frames(frames, ghost=frames[0])
    number = sent[-1]["number"]
    assert sent[-1]["reach"] > 2.5  # the last is seen, too
    view.seek(2)
    assert sent[-1]["number"] == number
    assert view.geometry is frames[2]
    with pytest.raises(IndexError):
        view.seek(3)
    for wrong in ([], [ammonia(), crystal(np.random.default_rng(0), (2, 2, 2))]):
        with pytest.raises(ValueError, match="all of the same atoms"):
            view.frames(wrong)


def test_frames_of_a_cell_that_moves(view, rng):
    view, sent = view
    first = crystal(rng, (2, 2, 2))
    strained = dataclasses.replace(first, positions=1.1 * first.positions, cell=1.1 * first.cell)
    view.frames([first, strained], ghost=first)
    view.seek(1)
    assert view.geometry is strained
    assert sent[0]["number"] == sent[1]["number"]
    assert sent[0]["parts"][0]["sticks"]["position1"] != sent[1]["parts"][0]["sticks"]["position1"]


def test_nothing_is_shown(view):
    view, sent = view
    empty = picture(view)
    view.show(ammonia(), ghost=ammonia(), labels=list("NHHH"))
    view.clear()
    assert sent[-1]["parts"] == []
    assert view.geometry is None
    assert picture(view) == empty
    with pytest.raises(IndexError):
        view.seek(0)


def test_a_page_that_is_loaded_gets_the_scene(view):
    view, sent = view
    view._answer(None, {"type": "request_loaded", "data": True}, [])
    assert sent == []  # there is nothing yet
    view.show(ammonia())
    view._answer(None, {"type": "request_loaded", "data": True}, [])
    view._answer(None, {"type": "stage_parameters", "data": {}}, [])
    assert len(sent) == 2
    assert sent[0] == sent[1]


def test_from_another_thread(view):
    view, sent = view
    worker = threading.Thread(target=lambda: view.show(ammonia()))
    worker.start()
    worker.join()
    assert len(sent) == 1


def test_a_reader_without_a_kernel_sees_a_picture():
    view = Molecule()
    empty = picture(view)
    view.show(ammonia())
    data = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert picture(view) != empty
    shown = picture(view)
    view.show(ammonia(), labels=list("NHHH"))
    assert picture(view) != shown


def test_wrong_colours_change_nothing(view):
    view, sent = view
    view.show(ammonia())
    with pytest.raises(ValueError, match="colours"):
        view.show(ammonia(), colours=[1.0, 2.0])
    assert len(sent) == 1
    assert view._shown.colours is None


def test_without_nglview_a_picture_says_what_to_do(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "nglview" else find(name, *rest),
    )
    view = Molecule()
    assert not view.live
    assert "pip install nglview" in view.children[1].value
    before = bytes(view._view.value)
    view.show(ammonia())
    view._view.settle()
    assert bytes(view._view.value) != before
    assert view._view.error is None


def test_the_front_end_that_is_installed_is_announced():
    """JupyterLab loads nothing else."""
    from agal_toolkit.widgets.molecule import _installed

    assert (
        Molecule()._view._view_module_version
        == Molecule()._view._model_module_version
        == _installed()
    )


def test_atoms_of_ase_are_shown_at_once():
    ethanol = ase_molecule("CH3CH2OH")
    view = Molecule(ethanol)
    np.testing.assert_allclose(view.geometry.positions, ethanol.positions)
    assert Molecule().show(ethanol, ghost=ethanol).geometry.numbers.tolist() == [6, 6, 8] + [1] * 6
    with pytest.raises(TypeError, match=r"expected a Geometry or an ase\.Atoms, got tuple"):
        Molecule((3.0, 3.0))
