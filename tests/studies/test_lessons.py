"""The lessons: their presets, their recipes as the notebooks write them, and their checks."""

from __future__ import annotations

import ast
import io

import numpy as np
import pytest
import render
from helpers import mlp_committee
from matplotlib.figure import Figure

import agal_toolkit as agal
from agal_toolkit.settings import ADDED, to_settings
from studies import lessons
from studies.ammonia import lesson as ammonia
from studies.ammonia import recipes as ammonia_recipes
from studies.calibrated import committee as calibrated_committee
from studies.calibrated import recipes as calibrated_recipes
from studies.double_well import lesson as well
from studies.double_well import recipes as well_recipes
from studies.double_well import typical
from studies.water import lesson as water
from studies.water import recipes as water_recipes

ALL = (well_recipes, ammonia_recipes, calibrated_recipes, water_recipes)


def written(notebook: str, names: set[str], given: dict) -> dict:
    """Return what a script's imports, functions and assignments to `names` define."""
    tree = ast.parse((render.FOLDER / f"{notebook}.py").read_text())
    for node in tree.body:
        assigns = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names
        if assigns or isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef):
            exec(compile(ast.Module([node], []), notebook, "exec"), given)
    return given


def of_old_fields(value):
    """Settings without the fields that the stored studies do not have: lessons use defaults."""
    new = {name for added in ADDED.values() for name in added}

    def old(settings):
        if isinstance(settings, list):
            return [old(item) for item in settings]
        if not isinstance(settings, dict):
            return settings
        return {key: old(item) for key, item in settings.items() if key not in new}

    return old(to_settings(value))


@pytest.mark.parametrize("recipes", ALL, ids=lambda module: module.__name__)
def test_there_are_five_presets(recipes):
    assert list(recipes.PRESETS) == ["smoke", "class", "laptop", "gpu", "paper"]


def test_the_double_well_writes_out_the_recipe_of_the_typical_seed():
    preset = well_recipes.PRESETS["class"]
    names = {"trainer", "folds", "recipe", "recipes"}
    found = written("01_double_well", names, {"preset": preset})["recipes"]
    for strategy in well_recipes.STRATEGIES:
        expected = well_recipes.recipe(strategy, preset, "lesson")
        assert to_settings(found[strategy]) == to_settings(expected)


def test_the_typical_seed_has_the_median_ratio():
    ratios = typical.ratios()
    assert sorted(ratios) == list(range(typical.PAIRS))
    middle = ratios[typical.TYPICAL]
    assert sum(ratio < middle for ratio in ratios.values()) == typical.PAIRS // 2
    assert typical.typical(ratios) == typical.TYPICAL


def test_ammonia_writes_out_the_attacks_of_the_study():
    preset = ammonia_recipes.PRESETS["class"]
    sizes = ammonia_recipes.PRESETS["laptop"].truth
    known = ammonia.load_truth(ammonia.DATA / "reference", sizes=sizes)
    names = {"trainer", "half", "hot", "first_round", "later_rounds"}
    found = written("02_ammonia", names, {"preset": preset, "known": known})
    study = ammonia_recipes.recipe("ours", preset, known).recipes
    for mine, theirs in ((found["first_round"], study[0]), (found["later_rounds"], study[1])):
        for part in ("sampler", "attack", "selectors", "folds", "members"):
            assert of_old_fields(getattr(mine, part)) == of_old_fields(getattr(theirs, part))
        same = ("network", "epochs", "learning_rate", "batch_size", "energy_weight", "anneal")
        settings = (to_settings(recipe.trainer) for recipe in (mine, theirs))
        first, second = ({key: each[key] for key in (*same, "large_force")} for each in settings)
        assert first == second


def test_water_writes_out_the_trainer_of_the_stored_members():
    found = written("03_calibrated_attacks", {"trainer"}, {})["trainer"]
    expected = calibrated_committee.trainer(calibrated_recipes.PRESETS["laptop"])
    same = ("network", "epochs", "learning_rate", "batch_size", "energy_weight", "stress_weight")
    assert {key: to_settings(found)[key] for key in same} == {
        key: to_settings(expected)[key] for key in same
    }


def test_liquid_water_writes_out_the_loop_of_the_study():
    preset = water_recipes.PRESETS["class"]
    names = {"trainer", "recipe"}
    found = written("04_water", names, {"preset": preset, "lesson": water})["recipe"]
    expected = water_recipes.recipe("attacks", preset, "warm", 0, agal.points([[0.0, 0.0]])[0])
    assert to_settings(found.selectors) == to_settings(expected.selectors)
    assert to_settings(found.folds) == to_settings(expected.folds)
    mine, theirs = (to_settings(recipe.attack) for recipe in (found, expected))
    same = ("objective", "start", "cell", "guard", "accept", "gradient")
    assert {key: mine[key] for key in same} == {key: theirs[key] for key in same}
    mine, theirs = (to_settings(recipe.trainer) for recipe in (found, expected))
    same = ("batch_size", "energy_weight", "forces_weight", "stress_weight", "patience", "anneal")
    assert {key: mine[key] for key in same} == {key: theirs[key] for key in same}


def test_the_labels_of_the_loop_are_in_their_cells():
    labels = water.labels()
    assert np.bincount(labels.generations).tolist() == [10, 5, 5, 20, 20, 20]
    for geometry in labels:
        inside = geometry.positions[::3] @ np.linalg.inv(geometry.cell)
        assert inside.min() > -1e-9
        assert inside.max() < 1 + 1e-9
        bonds = np.linalg.norm(geometry.positions[1::3] - geometry.positions[::3], axis=1)
        assert bonds.max() < 1.5


def picture() -> bytes:
    figure, stream = Figure(figsize=(3, 2)), io.BytesIO()
    figure.subplots().plot([0, 1])
    figure.savefig(stream, format="png", bbox_inches="tight")
    return stream.getvalue()


def test_smoke_stamps_every_figure_once(monkeypatch, capsys):
    monkeypatch.setattr(Figure, "draw", Figure.draw)  # restored after the test
    monkeypatch.setenv("AGAL_PRESET", "class")
    before = picture()
    assert lessons.begin({"class": 1, "smoke": 2}) == ("class", 1)
    assert picture() == before
    monkeypatch.setenv("AGAL_PRESET", "smoke")
    assert lessons.begin({"class": 1, "smoke": 2}) == ("smoke", 2)
    assert "too small to be true" in capsys.readouterr().out
    stamped = picture()
    assert stamped != before
    lessons.stamp_figures()
    assert picture() == stamped


def test_pictures_of_a_loop_wait_for_its_first_generation(capsys):
    truth = ammonia.load_truth(ammonia.DATA / "reference")
    for call in (
        lambda: well.show_maps(()),
        lambda: well.show_curves({"adversarial": (), "random": ()}),
        lambda: well.show_verdicts(()),
        lambda: ammonia.show_rounds((), truth),
        lambda: ammonia.show_verdicts(()),
    ):
        call()
        assert "No generation is finished yet. Press Start in part" in capsys.readouterr().out


def test_a_blank_is_no_answer(capsys):
    lessons.check(..., lambda answer: 1 / 0, "think")
    assert "Replace the dots" in capsys.readouterr().out
    lessons.check(3, lambda answer: answer == 3, "think")
    assert capsys.readouterr().out == "Right.\n"
    lessons.check(4, lambda answer: answer == 3, "think")
    assert capsys.readouterr().out == "Not yet. think\n"


def test_right_answers_are_right_and_others_are_not():
    committee = mlp_committee()
    forces = committee.predict(agal.points([[0.8, 0.0]])).forces.numpy()
    assert well.is_variance(forces.var(axis=0, ddof=1).mean(), committee, 0.8, 0.0)
    assert not well.is_variance(forces.var(axis=0).mean(), committee, 0.8, 0.0)
    assert well.is_boltzmann(np.exp(-0.8))
    assert not well.is_boltzmann(np.exp(0.8))
    pairs = well.record("ours")["records"]["pairs"]
    errors = [[pair[s][-1]["metrics"]["rmse"] for s in well.STRATEGIES] for pair in pairs]
    assert well.wins(well.record("ours")) == sum(one < other for one, other in errors)
    cube = agal.Geometry(positions=[[0.0] * 3], numbers=[18], cell=10 * np.eye(3), pbc=True)
    assert water.is_density(39.95 * 1.66054 / 1000, cube)
    assert not water.is_density(39.95 / 1000, cube)
    assert ammonia.is_thermal_energy(0.596)
    assert not ammonia.is_thermal_energy(0.0257)
