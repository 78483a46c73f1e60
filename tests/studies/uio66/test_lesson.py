"""The lesson on water in UiO-66: its examples and checks, and the panel of a stored loop."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.display import Markdown
from matplotlib.figure import Figure

from agal_toolkit import plots
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import CALIBRATION, Dataset
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.power_law import PowerLaw
from studies import loops
from studies.uio66 import costs, examples, gallery, lesson, recipes, sites, structures
from studies.uio66.explorer import PoreExplorer
from studies.uio66.recipes import first

WET = structures.name(14)
LAW = Calibration(PowerLaw(0.5, 0.9))


@pytest.fixture(scope="module")
def two():
    """Committees with random weights; the second is the first two members of the first."""
    members = costs.committee(3).members
    all_members = Committee(members, LAW)
    return {"committee of 3": all_members, "committee of 2": all_members[[0, 1]]}


@pytest.fixture(scope="module")
def labels():
    """Starts of two systems, and one more label of each in iteration 1, two of the wet one."""
    data = Dataset()
    for generation, systems in enumerate(([WET, structures.LIQUID], [structures.LIQUID, WET, WET])):
        for k, system in enumerate(systems):
            start, rng = first(system), np.random.default_rng([generation, k])
            moves = rng.normal(0, 0.02, start[0].positions.shape)
            geometry = start[0].moved(start[0].positions + moves, generation=generation)
            data = data + Dataset([geometry], start.labels)
    return data


def test_examples_are_those_of_two_systems():
    data = lesson.examples()
    assert [geometry.origin["system"] for geometry in data] == [structures.DRY] * 4 + [WET] * 4
    assert [role == CALIBRATION for role in data.roles] == [False, False, False, True] * 2
    for system, at in ((structures.DRY, 0), (WET, 4)):
        np.testing.assert_array_equal(data[at].positions, first(system)[0].positions)
        np.testing.assert_array_equal(data.labels[at].forces, first(system).labels[0].forces)
        for copy in data[at + 1 : at + 4]:
            apart = copy.positions @ np.linalg.inv(copy.cell)
            apart = apart - data[at].positions @ np.linalg.inv(data[at].cell)
            assert 0.03 < np.std(apart @ copy.cell) < 0.07
    assert examples.FILE.stat().st_size < 100_000


@pytest.mark.slow
def test_an_example_has_the_label_of_the_reference():
    pytest.importorskip("tblite", reason="tblite is in the extra `references`")
    data = lesson.examples()
    again = structures.LABEL(data[1])
    assert again.energy == pytest.approx(data.energies[1], abs=1e-5)
    np.testing.assert_allclose(again.forces, data.forces[1], atol=1e-5)


def test_the_lessons_committee_learns_from_six_and_is_calibrated_with_two(capsys):
    data = lesson.examples()
    committee = lesson.trained(lesson.PRESETS["smoke"], data)
    assert len(committee) == 3
    assert committee.calibration.forces.samples >= 3 * (114 + 156) * 0.9
    lesson.show_errors_of(committee, data)
    printed = capsys.readouterr().out
    forces = np.concatenate([data.forces[3]])
    assert f"UiO-66: force error {1000 * rmse(committee, data, 3):.0f} of" in printed
    assert f"of {1000 * np.sqrt(np.mean(forces**2)):.0f} meV/Å" in printed
    assert printed.count("error over uncertainty") == 2


def rmse(committee, data, k):
    mean = committee.predict(data[k]).forces.numpy().mean(0)
    return np.sqrt(np.mean((mean - data.forces[k]) ** 2))


def test_right_answers_are_right_and_others_are_not():
    assert lesson.is_weight(100 * 42 * 18.015 / 1664, 42)
    assert not lesson.is_weight(100 * 42 * 18.015 / (1664 + 42 * 18.015), 42)


def test_a_framework_is_filled():
    full = lesson.filled(waters=3)
    assert len(full) == 114 + 9
    assert len(sites.oxygens(full)) == 3


def test_doubt_is_told_by_kind_of_atom(two):
    committee, dry = two["committee of 3"], first(structures.DRY)[0]
    found = lesson.by_kind(committee, [dry])
    spread = committee.predict(dry).forces.double().numpy().std(axis=0, ddof=1)
    expected = 1000 * np.linalg.norm(0.5 * spread**0.9, axis=-1)  # the law is one of components
    np.testing.assert_allclose(found["Zr"], expected[dry.numbers == 40], rtol=1e-4)
    np.testing.assert_allclose(found["C"], expected[dry.numbers == 6], rtol=1e-3)
    assert sum(len(values) for values in found.values()) == 114
    lesson.show_doubts(two, dry, 2.0)
    title = plt.gcf().axes[0].get_title()
    assert title == f"committee of 3, mean {expected.mean():.0f} meV/Å"
    view = lesson.pore_of(committee, dry, 2.0)
    np.testing.assert_allclose(
        view._shown.colours,
        plots.heat(expected / 1000, 2.0),
        atol=0.02,  # steps of the colours
    )
    lesson.show_kinds({name: (each, [dry]) for name, each in two.items()}, 0.25)
    assert plt.gcf().axes[0].get_ylabel() == "mean uncertainty (meV/Å)"
    plt.close("all")


def test_hydrogen_bonds_of_one_structure(capsys):
    lesson.show_bonds(first(structures.DRY)[0])
    printed = capsys.readouterr().out
    assert printed == "4 µ₃-OH groups, hydrogen bonds given to waters: 0, taken from waters: 0\n"
    titles = [axes.get_title() for axes in plt.gcf().axes]
    assert titles == [f"hydrogen {k}" for k in range(110, 114)]
    plt.close("all")


def test_the_panel_has_labels_of_each_system(two, labels):
    curves = {"error (meV/Å)": {WET: ([[2, 5]], [[60.0, 30.0]])}}
    panel = PoreExplorer(labels, two, [2, 5], curves, target=0.25).settle()
    for iteration, structure, system, index in (
        (0, 1, WET, 0),
        (0, 1, structures.LIQUID, 1),
        (1, 1, structures.LIQUID, 2),
        (1, 2, WET, 4),
    ):
        panel.look(iteration, structure, system=system)
        panel.settle()
        assert panel.index == index
        assert panel._trouble.value == ""
        assert panel._molecule.geometry.origin["system"] == system
        assert f"{system}, label {structure} of" in panel._numbers.value
    figure = Figure(figsize=(5.2, 4.4))
    move = panel._draw_curves(figure)
    (line,) = move(1)
    assert line.get_xdata() == [2, 2]
    assert panel._repr_mimebundle_()["image/png"]


def test_a_stored_loop_is_read(two, labels, tmp_path, monkeypatch, capsys):
    """Committees as the trainer saves them, of the sizes of the laptop's."""
    monkeypatch.setattr(gallery, "stored", gallery.stored.__wrapped__)  # which is kept in memory
    monkeypatch.setattr(gallery, "RESULTS", tmp_path)
    monkeypatch.setattr(gallery, "record", lambda: None)
    assert isinstance(gallery.explorer(), Markdown)
    gallery.show_doubt()
    assert capsys.readouterr().out.startswith("Not computed yet: labels and committees")
    place = tmp_path / "uio66" / "loop-laptop"
    sizes = replace(gallery.SIZES, systems=(WET, structures.LIQUID), one=WET)
    trainer = recipes.trainer(sizes, "all", 0)
    for k in (1, 2):
        folder = place / f"committee-{k}"
        folder.mkdir(parents=True)
        trainer.save(costs.committee(2).members, folder)
        loops.save(folder / "calibration.json", LAW.to_json())
    loops.save(place / "labels.extxyz.gz", labels)
    iterations = [{"iteration": k, "labels": n, "systems": {}} for k, n in ((1, 2), (2, 5))]
    forces = {system: {"forces": 0.1, "energy": 0.01} for system in gallery.SIZES.systems}
    loop = {"iterations": iterations, "errors": {"1": forces, "2": forces}}
    monkeypatch.setattr(gallery, "record", lambda: {"records": {gallery.NAME: loop}})
    monkeypatch.setattr(gallery, "SIZES", sizes)
    panel = gallery.explorer().settle()
    assert list(panel.committees) == ["2 labels", "5 labels"]
    assert panel._trouble.value == ""
    assert panel._system.options == (WET, structures.LIQUID)
    gallery.show_doubt()
    assert (
        capsys.readouterr().out
        == f"2 labels of {WET} in the last iteration; the first one is drawn\n"
    )
    plt.close("all")
