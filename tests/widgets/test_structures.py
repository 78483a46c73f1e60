"""Structures as rows and columns, and what is chosen of them, without a browser."""

from __future__ import annotations

import io
import threading

import ase.io
import numpy as np
import pytest
from ase.build import molecule as ase_molecule
from helpers import Springs, ammonia, first_data, molecule, picture, small_loop
from matplotlib.figure import Figure

from agal_toolkit import Committee, Dataset, Geometry, Labels
from agal_toolkit.loop import Run
from agal_toolkit.potentials import Differentiable, Separate
from agal_toolkit.uncertainty.calibration import Calibration
from agal_toolkit.uncertainty.power_law import PowerLaw
from agal_toolkit.widgets import (
    Background,
    Chosen,
    StructureMap,
    Structures,
    StructuresPanel,
    StructureTable,
    StructureView,
)


def springs(calibration=None) -> Committee:
    """Two springs of 10 and 12 eV/angstrom^2, at rest at 1.5 angstrom."""
    members = [Differentiable(Springs(stiffness)) for stiffness in (10.0, 12.0)]
    return Committee(Separate(members), calibration)


def pair(length: float, **origin) -> Geometry:
    return Geometry(positions=[[0, 0, 0], [length, 0, 0]], numbers=[6, 6], origin=origin)


def pulled(*lengths: float) -> Dataset:
    """Pairs whose true spring has 13 eV/angstrom^2, and energies from 100 eV on."""
    labels = []
    for length in lengths:
        force = 13.0 * (length - 1.5)
        energy = 100.0 + 6.5 * (length - 1.5) ** 2
        labels.append(Labels(energy=energy, forces=np.array([[force, 0, 0], [-force, 0, 0]])))
    return Dataset([pair(length, by="hand") for length in lengths], labels)


@pytest.fixture(scope="module")
def generations():
    loop = small_loop().generations(first_data())
    return [next(loop) for _ in range(2)]


# -- rows and columns


def test_columns_of_labelled_structures_by_hand():
    columns = Structures(pulled(1.6, 1.8), springs()).columns
    stretch = np.array([0.1, 0.3])
    lowest = 6.5 * 0.01
    np.testing.assert_allclose(columns["energy"].values, 6.5 * stretch**2 - lowest, atol=1e-9)
    # the same zero, so that both compare: 100 eV and the lowest label
    np.testing.assert_allclose(
        columns["predicted energy"].values, 5.5 * stretch**2 - 100.0 - lowest, atol=1e-9
    )
    # one of three components differs by 2 k: variance (2 stretch)^2 / 2
    np.testing.assert_allclose(columns["raw sigma"].values, stretch * np.sqrt(2 / 3), atol=1e-9)
    np.testing.assert_allclose(columns["error"].values, 2 * stretch / np.sqrt(3), atol=1e-9)
    assert (columns["energy"].unit, columns["error"].unit) == ("eV", "eV/Å")
    assert columns["found by"].values.tolist() == ["hand", "hand"]
    assert columns["formula"].values.tolist() == ["C2", "C2"]
    assert "verdict" not in columns  # nothing is known of it


def test_a_calibration_scales_sigma_and_changes_its_name():
    doubled = springs(Calibration(forces=PowerLaw(scale=2.0), energy=None, virial=None))
    structures = Structures(pulled(1.6), doubled)
    assert "raw sigma" not in structures.columns
    assert structures.columns["sigma"].values == pytest.approx(0.2 * np.sqrt(2 / 3))
    np.testing.assert_allclose(structures[0].atomic_sigma, 0.2 * np.sqrt(2), atol=1e-9)


def test_energies_of_another_formula_have_a_zero_of_their_own():
    other = Dataset([ammonia()], [Labels(energy=-7.0, forces=np.zeros((4, 3)))])
    columns = Structures([pulled(1.5, 1.7), other]).columns
    np.testing.assert_allclose(columns["energy"].values, [0.0, 6.5 * 0.04, 0.0], atol=1e-9)
    assert "raw sigma" not in columns


def test_structures_of_ase_have_what_is_known_of_them():
    structures = Structures([ase_molecule("H2O"), ase_molecule("NH3")])
    assert list(structures.columns) == ["row", "generation", "formula"]
    assert structures[0].atomic_sigma is None


def test_candidates_of_generations_with_their_fates(generations):
    structures = Structures(generations)
    first, second = generations
    columns = structures.columns
    assert len(structures) == len(first.dataset) + len(first.candidates) + len(second.candidates)
    assert np.unique(columns["generation"].values).tolist() == [0.0, 1.0, 2.0]
    new = slice(len(first.dataset), len(first.dataset) + len(first.candidates))
    fates = [c.verdict.partition(" (")[0] for c in first.candidates]
    fates = ["labelled" if fate == "kept" else fate for fate in fates]
    assert columns["verdict"].values[new].tolist() == fates
    labelled = columns["verdict"].values == "labelled"
    assert labelled.sum() == len(first.labelled) + len(second.labelled)
    assert np.isfinite(columns["error"].values[labelled]).all()
    assert np.isnan(columns["energy"].values[new][np.array(fates) != "labelled"]).all()
    # a surface has its own zero and no units
    np.testing.assert_allclose(columns["energy"].values[: new.start], first.dataset.energies)
    assert columns["energy"].unit == columns["raw sigma"].unit == ""
    k = new.start
    np.testing.assert_array_equal(structures[k].start.positions, first.adversaries[0].path[0])
    # each by the committee that met it
    assert structures[k].committee is first.committee
    assert structures[len(structures) - 1].committee is second.committee
    assert len(structures.append(generations)) == len(columns["row"].values)


def test_several_runs_are_told_apart(generations):
    structures = Structures(generations[:1]).append(generations[0], run="other")
    assert len(structures) == 2 * (20 + len(generations[0].candidates))
    assert set(structures.columns["run"].values) == {"", "other"}


def test_a_run_directory(tmp_path):
    loop = small_loop()
    generation = next(loop.generations(first_data(), tmp_path / "run"))
    structures = Structures(Run.open(tmp_path / "run"))
    assert len(structures) == 20 + len(generation.candidates)


def test_a_run_that_goes_on_is_followed(generations):
    gate = threading.Event()

    def records(report):
        yield generations[0]
        gate.wait(20)
        yield generations[1]

    run = Background(records).start()
    while not run.records:
        gate.wait(0.01)
    structures, counts = Structures(), []
    structures.watch(lambda: counts.append(len(structures)))
    structures.follow(run)
    assert len(structures) == 20 + len(generations[0].candidates)
    gate.set()
    run.wait(20)
    assert counts[-1] == len(structures) == counts[0] + len(generations[1].candidates)


def test_a_column_of_ones_own():
    structures = Structures(pulled(1.5, 1.6, 1.7)).add("dipole", [1, 2, 3], "D")
    structures.add("note", ["a", "b", ""]).append(pair(1.9))
    np.testing.assert_array_equal(structures.columns["dipole"].values, [1, 2, 3, np.nan])
    assert structures.columns["dipole"].unit == "D"
    assert structures.columns["note"].values.tolist() == ["a", "b", "", ""]
    with pytest.raises(ValueError, match="give a value for each of 4 structures"):
        structures.add("dipole", [1.0])


def test_a_map_by_descriptors_follows(rng):
    structures = Structures([molecule(rng) for _ in range(6)])
    structures.mapped(lambda gs: np.array([g.positions[0] for g in gs]), lambda x: x[:, 1:])
    structures.append(molecule(rng))
    expected = [structures[k].geometry.positions[0, 2] for k in range(7)]
    np.testing.assert_array_equal(structures.columns["UMAP 2"].values, expected)
    part = StructureMap(structures)
    assert (part.x, part.y) == ("UMAP 1", "UMAP 2")


def test_what_cannot_be_mapped_leaves_the_rest():
    structures = Structures()
    with pytest.raises(ValueError, match="at least one"):
        structures.mapped()
    assert structures.columns == {}


@pytest.mark.parametrize("source", ["runs/first", 3, [1, 2]])
def test_another_kind_of_source_is_refused(source):
    with pytest.raises(TypeError, match="give a Dataset, a Run, generations, or structures"):
        Structures(source)


# -- choosing


def sent(chosen: Chosen, monkeypatch) -> list:
    """Messages of a choice, as they are sent."""
    messages = []
    monkeypatch.setattr(
        chosen, "send", lambda content, buffers=None: messages.append((content, buffers))
    )
    return messages


def values(chosen: Chosen, name: str) -> np.ndarray:
    column = next(c for c in chosen.columns["columns"] if c["name"] == name)
    return np.frombuffer(column["values"], "<f4")


def test_new_rows_are_sent_alone(monkeypatch):
    chosen = Chosen(Structures(pulled(1.5, 1.6), springs()))
    messages = sent(chosen, monkeypatch)
    chosen.observe(lambda _: messages.append("everything"), "columns")
    chosen.structures.append(pulled(1.7, 1.8))
    [(message, buffers)] = messages
    assert (message["type"], message["from"]) == ("rows", 2)
    for field, part, column in zip(
        message["columns"], buffers, chosen.columns["columns"], strict=True
    ):
        assert field["name"] == column["name"]
        assert len(part) == 8
        assert column["values"].endswith(part)
    # pages that are loaded later get all
    np.testing.assert_allclose(values(chosen, "energy"), [0, 0.065, 0.26, 0.585], rtol=1e-5)


def test_rows_that_change_are_sent_with_all(monkeypatch):
    chosen = Chosen(Structures(pulled(1.6, 1.7)))
    messages = sent(chosen, monkeypatch)
    chosen.observe(lambda _: messages.append("everything"), "columns")
    chosen.structures.append(pulled(1.5))  # the lowest so far
    assert messages == ["everything"]
    np.testing.assert_allclose(values(chosen, "energy"), [0.065, 0.26, 0.0], rtol=1e-5)


def test_a_page_that_missed_rows_gets_all(monkeypatch):
    chosen, asked = Chosen(Structures(pulled(1.5, 1.6))), []
    monkeypatch.setattr(chosen, "send_state", asked.append)
    chosen._answer(None, {"have": 2}, None)
    assert asked == []
    chosen._answer(None, {"have": 1}, None)
    assert asked == ["columns"]


def test_parts_share_what_is_chosen():
    panel = StructuresPanel(pulled(1.5, 1.6, 1.9), springs())
    assert panel.map.rows is panel.table.rows is panel.view.rows is panel.rows
    assert panel.view.molecule.geometry is panel.structures[0].geometry
    panel.rows.active = 2
    panel.settle()
    distances = panel.view.molecule.geometry.to_ase().get_distance(0, 1)
    assert distances == pytest.approx(1.9)
    assert "row 2" in panel.view._facts.value
    panel.view._heat.value = True
    panel.settle()
    assert "eV/Å" in panel.view._facts.value
    assert panel.view._trouble.value == ""


def test_the_first_structure_comes_into_view():
    panel = StructuresPanel()
    assert panel.rows.active is None
    picture(panel)
    panel.structures.append(pulled(1.7), "mine")
    assert (panel.rows.active, panel.map.x) == (0, "energy")
    assert panel.settle().view.molecule.geometry is panel.structures[0].geometry


def test_an_error_is_told_in_its_place(monkeypatch):
    view = StructureView(pulled(1.5, 1.6))
    monkeypatch.setattr(view.molecule, "show", lambda *_: 1 / 0)
    view.rows.active = 1
    assert "ZeroDivisionError" in view.settle()._trouble.value


def test_a_ghost_of_the_start(generations):
    view = StructureView(generations[:1])
    view.rows.active = 20
    shown = view.settle().molecule._shown
    np.testing.assert_array_equal(shown.ghost.positions, generations[0].adversaries[0].path[0])
    view._ghost.value = False
    assert view.settle().molecule._shown.ghost is None


def test_the_chosen_are_saved_with_labels_and_facts(generations):
    structures = Structures(pulled(1.5, 1.6, 1.7), springs()).append(pair(1.9))
    chosen = Chosen(structures)
    chosen.selected = [1, 3]
    frames = ase.io.read(io.StringIO(chosen.extxyz()), index=":", format="extxyz")
    assert [atoms.get_distance(0, 1) for atoms in frames] == pytest.approx([1.6, 1.9])
    assert frames[0].get_potential_energy() == pytest.approx(100.065)
    assert frames[0].get_forces()[0, 0] == pytest.approx(1.3)
    assert frames[0].info["row"] == 1
    assert frames[0].info["error"] == pytest.approx(0.2 / np.sqrt(3))
    assert frames[1].calc is None
    assert "error" not in frames[1].info
    particles = Chosen(Structures(generations))
    particles.selected = list(range(20, 30))
    assert len(ase.io.read(io.StringIO(particles.extxyz()), index=":", format="extxyz")) == 10


# -- pictures


def test_each_part_has_a_picture_that_follows(generations):
    parts = [StructureMap(generations), StructureTable(generations), StructureView(generations)]
    for part in parts:
        before = picture(part)
        part.rows.selected, part.rows.active = [3, 30], 30
        assert picture(part) != before
        assert "application/vnd.jupyter.widget-view+json" in part._repr_mimebundle_()
    for name in ("verdict", "error"):
        parts[0].colour, parts[0].size = name, "raw sigma"
        parts[0].draw(Figure().subplots())
    assert picture(StructuresPanel(generations))


def test_columns_that_are_not_there_are_replaced():
    part = StructureMap(pulled(1.5, 1.6), springs(), x="nothing", y="error", colour="verdict")
    assert (part.x, part.y, part.colour) == ("predicted energy", "error", "raw sigma")
    assert part.size == "equal"


def test_a_message_of_2000_structures_is_small(rng):
    geometries = [molecule(rng) for _ in range(2000)]
    labels = [Labels(energy=float(k), forces=np.zeros((5, 3))) for k in range(2000)]
    chosen = Chosen(Structures(Dataset(geometries, labels)))
    parts = [len(column["values"]) for column in chosen.columns["columns"]]
    assert sum(parts) == 4 * 2000 * len(parts) < 100_000


def test_a_panel_follows_a_run_and_tells_its_errors(generations, monkeypatch):
    run = Background(lambda report: iter(generations))
    panel = StructuresPanel(follow=run)
    run.start().wait(20)
    assert len(panel.structures) == panel.rows.columns["count"] > 20
    monkeypatch.setattr(panel.structures, "_add", lambda *_: 1 / 0)
    run.start().wait(20)
    assert "ZeroDivisionError" in panel._trouble.value
