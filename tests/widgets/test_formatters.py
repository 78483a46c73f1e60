"""What objects look like as the last line of a cell."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from helpers import (
    labels_of,
    mlp_committee,
    molecule,
    network,
    pair_committee,
    schnet_committee,
    well_data,
)
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from agal_toolkit import (
    Adam,
    AtMost,
    Attack,
    Ball,
    BoltzmannVariance,
    Committee,
    Dataset,
    Folds,
    FromDataset,
    Geometry,
    HessianVector,
    Labels,
    Loop,
    Recipe,
    Reference,
    Run,
    TorchTrainer,
    UncertaintyPercentile,
    until,
)
from agal_toolkit.loop.generation import Generation
from agal_toolkit.selection import Candidate
from agal_toolkit.widgets import formatters
from agal_toolkit.widgets.energies import above_lowest, lowest_energies


def test_a_run_shows_its_metrics(tmp_path):
    data = well_data(np.random.default_rng(0), 16)
    generations = replace(loop(), test=data[12:]).generations(data[:12], tmp_path / "run")
    for _ in until(generations, count=2):
        pass
    run = Run.open(tmp_path / "run")
    assert len(run.curves) > 1
    width, height = size(formatters.run_png(run))
    assert width == 320 * (len(run.curves) - 1) > height > 200
    # RMS errors of energies and forces are drawn, a run without metrics is not
    assert formatters.run_png(replace(run, metrics=({}, {}))) is None
    assert formatters.PICTURES[Run] is formatters.run_png


def size(picture):
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG"
    return image.size


def loop():
    trainer = TorchTrainer(network=partial(network, width=8), epochs=2, batch_size=16)
    recipe = Recipe(
        trainer=trainer,
        sampler=FromDataset(4),
        attack=Attack(BoltzmannVariance(kT=5.0), Adam(0.01, 2), HessianVector(), bound=Ball(0.4)),
        selectors=[UncertaintyPercentile(50), AtMost(3)],
        members=2,
        folds=Folds(train=0.8, valid=0.2),
    )
    return Loop(recipe=recipe, reference=Reference(labels_of, settings={"well": 1}))


@pytest.fixture
def generation(rng):
    return next(until(loop().generations(well_data(rng)), count=1))


def molecules(rng, count=4):
    return Dataset(
        [molecule(rng) for _ in range(count)],
        [Labels(energy=float(k), forces=rng.normal(size=(5, 3))) for k in range(count)],
    )


def test_pictures_fit_a_notebook(rng, generation):
    data = well_data(rng)
    for picture in (
        formatters.committee_png(mlp_committee()),
        formatters.dataset_png(data),
        formatters.generation_png(generation),
    ):
        width, height = size(picture)
        assert 300 < width <= 1010
        assert 80 < height < 800


def test_structures_that_are_not_in_the_plane(rng):
    committee, data = pair_committee(2), molecules(rng)
    candidates = [
        Candidate(geometry, 0, float("nan"), outcome=labels)
        for geometry, labels in zip(data, data.labels, strict=True)
    ]
    candidates[3] = replace(candidates[3], verdict="AtMost", outcome=None)
    turn = Generation(
        index=0, dataset=data, committee=committee, candidates=tuple(candidates), metrics={}
    )
    assert size(formatters.generation_png(turn))[0] == 800
    assert size(formatters.dataset_png(data)) != size(formatters.dataset_png(well_data(rng)))
    assert formatters.committee_png(committee) is None  # it names no elements: its repr is shown
    assert size(formatters.committee_png(schnet_committee()))[0] == 820
    assert size(formatters.geometry_png(data[0])) == (320, 310)
    assert formatters.geometry_png(well_data(rng)[0]) is None
    size(formatters.dataset_png(Dataset()))


def test_a_generation_without_labels_has_a_picture(rng):
    data = well_data(rng)
    turn = Generation(index=0, dataset=data, committee=mlp_committee(), candidates=(), metrics={})
    size(formatters.generation_png(turn))


def test_a_running_ipython_shows_pictures_and_keeps_the_text(monkeypatch, rng):
    shell = InteractiveShell()
    monkeypatch.setattr(formatters, "get_ipython", lambda: shell)
    shell.display_formatter.active_types = ["text/plain", "image/png"]
    formatters.register()
    for thing in (mlp_committee(), well_data(rng)):
        data, _ = shell.display_formatter.format(thing)
        assert data["image/png"].startswith(b"\x89PNG")
        assert data["text/plain"] == repr(thing)
    for thing in (pair_committee(), loop(), loop().recipe.attack):
        data, _ = shell.display_formatter.format(thing)
        assert data == {"text/plain": repr(thing)}
    data, _ = shell.display_formatter.format(Committee)  # the class is no instance
    assert "image/png" not in data


def test_without_ipython_nothing_happens(monkeypatch):
    monkeypatch.setattr(formatters, "get_ipython", lambda: None)
    formatters.register()


def test_energies_sit_above_the_lowest_of_their_formula(rng):
    numbers = [[1, 6], [6, 1], [6, 6]]
    geometries = [Geometry(positions=rng.normal(size=(2, 3)), numbers=z) for z in numbers]
    labels = [Labels(energy=e, forces=np.zeros((2, 3))) for e in (-40.0, -39.5, -76.0)]
    data = Dataset(geometries, labels)
    lowest = lowest_energies(data, data.energies)
    np.testing.assert_allclose(above_lowest(data, lowest), [0.0, 0.5, 0.0])
