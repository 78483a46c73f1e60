"""What objects look like as the last line of a cell."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pytest
from helpers import labels_of, mlp_committee, molecule, network, pair_committee, well_data
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
    HessianVector,
    Labels,
    Loop,
    Recipe,
    Reference,
    Schedule,
    TorchTrainer,
    UncertaintyPercentile,
    until,
)
from agal_toolkit.loop.generation import Generation
from agal_toolkit.selection import Candidate
from agal_toolkit.widgets import formatters


def size(picture):
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG"
    return image.size


def loop(**changes):
    trainer = TorchTrainer(network=partial(network, width=8), epochs=2, batch_size=16)
    recipe = Recipe(
        trainer=trainer,
        sampler=FromDataset(4),
        attack=Attack(BoltzmannVariance(kT=5.0), Adam(0.01, 2), HessianVector(), bound=Ball(0.4)),
        selectors=[UncertaintyPercentile(50), AtMost(3)],
        members=2,
        folds=Folds(train=0.8, valid=0.2),
    )
    return Loop(
        **{"recipe": recipe, "reference": Reference(labels_of, settings={"well": 1}), **changes}
    )


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
        formatters.attack_png(loop().recipe.attack),
        formatters.loop_png(loop()),
    ):
        width, height = size(picture)
        assert 300 < width <= 1010
        assert 80 < height < 800


def test_what_is_not_in_the_plane_has_a_picture_too(rng):
    committee, data = pair_committee(2), molecules(rng)
    candidates = tuple(Candidate(geometry, 0, float("nan")) for geometry in data)
    turn = Generation(
        index=0,
        dataset=data,
        committee=committee,
        adversaries=(),
        candidates=candidates,
        verdicts=("kept",) * 3 + ("AtMost",),
        labelled=data[:3],
        failures={},
        metrics={},
    )
    assert size(formatters.generation_png(turn))[0] == 800
    assert size(formatters.dataset_png(data)) != size(formatters.dataset_png(well_data(rng)))
    assert size(formatters.committee_png(committee)) != size(
        formatters.committee_png(mlp_committee())
    )
    size(formatters.dataset_png(Dataset()))


def test_a_generation_without_labels_has_a_picture(rng):
    data = well_data(rng)
    turn = Generation(
        index=0,
        dataset=data,
        committee=mlp_committee(),
        adversaries=(),
        candidates=(),
        verdicts=(),
        labelled=Dataset(),
        failures={},
        metrics={},
    )
    size(formatters.generation_png(turn))


def test_settings_change_the_diagram():
    one = formatters.attack_png(Attack(BoltzmannVariance(kT=5.0)))
    assert one != formatters.attack_png(Attack(BoltzmannVariance(kT=6.0)))
    assert formatters.loop_png(loop()) != formatters.loop_png(loop(seed=1))
    guarded = Attack(
        BoltzmannVariance(kT=5.0), guard=lambda batch: batch.positions.new_ones(len(batch)).bool()
    )
    assert formatters.attack_png(guarded) != one  # a lambda has no name, and is shown all the same
    assert formatters.loop_png(loop(recipe=Schedule({0: loop().recipe}))) == formatters.loop_png(
        loop()
    )


def test_lines_are_short():
    lines = formatters._lines_of(loop().recipe.trainer)
    assert lines[0] == "TorchTrainer"
    assert " network network(width=8)" in lines
    assert " epochs 2" in lines
    assert not any("together" in line for line in lines)  # off
    assert formatters._lines_of(AtMost(3)) == ["AtMost", " count 3"]
    assert formatters._lines_of(np.array) == ["array"]


def test_a_running_ipython_shows_pictures_and_keeps_the_text(monkeypatch, rng):
    shell = InteractiveShell()
    monkeypatch.setattr(formatters, "get_ipython", lambda: shell)
    shell.display_formatter.active_types = ["text/plain", "image/png"]
    formatters.register()
    for thing in (mlp_committee(), well_data(rng), loop(), loop().recipe.attack):
        data, _ = shell.display_formatter.format(thing)
        assert data["image/png"].startswith(b"\x89PNG")
        assert data["text/plain"] == repr(thing)
    data, _ = shell.display_formatter.format(Committee)  # the class is no instance
    assert "image/png" not in data


def test_without_ipython_nothing_happens(monkeypatch):
    monkeypatch.setattr(formatters, "get_ipython", lambda: None)
    formatters.register()
