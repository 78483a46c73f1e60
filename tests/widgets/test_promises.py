"""What was promised and what was found, without a browser."""

from __future__ import annotations

from dataclasses import replace

import helpers
import numpy as np
import pytest
from helpers import picture
from matplotlib.figure import Figure

from agal_toolkit import LBFGS, Attack, Dataset, Labels, Loop, Reference, Run, TargetError
from agal_toolkit.attack import Adam, Variance
from agal_toolkit.loop.generation import Generation
from agal_toolkit.potentials import Differentiable
from agal_toolkit.selection import Candidate
from agal_toolkit.widgets import Promises
from agal_toolkit.widgets.promises import delivered


def truth(geometry):
    potential = Differentiable(helpers.PairEnergy(2.05, 0.57, 0.51))
    prediction = potential(helpers.pair_committee(1).batch([geometry]))
    return Labels(energy=float(prediction.energy), forces=prediction.forces.numpy())


@pytest.fixture(scope="module")
def generations():
    rng = np.random.default_rng(3)
    places = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    structures = [
        replace(
            helpers.molecule(rng, 8).moved(1.9 * places + rng.normal(0, 0.1, (8, 3))),
            numbers=[6, 6, 6, 6, 1, 1, 1, 8],
        )
        for _ in range(12)
    ]
    known = Dataset(structures[:4], [truth(g) for g in structures[:4]])
    committee = helpers.pair_committee(4).calibrated(helpers.aside(known), "linear")
    turns = []
    for index, part in enumerate((structures[4:8], structures[8:])):
        attacks = Attack(Variance(), Adam(0.01, 3))(committee, None, part, rng)
        chosen = [Candidate(a.geometry, a.seed, 0.0, a, outcome=truth(a.geometry)) for a in attacks]
        plain = Candidate(part[0], 0, float("nan"), outcome=truth(part[0]))
        failed = Candidate(part[1], 1, float("nan"), outcome="no answer")
        dropped = Candidate(part[2], 2, float("nan"), verdict="AtMost")
        candidates = (plain, failed, *chosen, dropped)
        turns.append(
            Generation(
                index=index,
                dataset=known,
                committee=committee,
                candidates=candidates,
                metrics={},
            )
        )
    return turns


def test_predicted_and_found_are_those_of_the_atoms(generations):
    part = delivered(generations[0])
    committee, candidates = generations[0].committee, generations[0].candidates
    assert part.attacked == 4
    assert part.calibrated
    order = [*candidates[2:6], candidates[0]]  # attacked ones first
    law = committee.calibration.forces
    for k, candidate in enumerate(order):
        forces = committee.predict([candidate.geometry]).forces.numpy()
        errors = forces - truth(candidate.geometry).forces
        by_hand = np.sqrt((errors**2).sum(-1).mean(0)).mean()
        assert part.found[k] == pytest.approx(by_hand)
        sigma = law.scale * forces.std(0, ddof=1)
        assert part.predicted[k] == pytest.approx(np.sqrt((sigma**2).sum(-1)).mean(), rel=1e-6)


def test_elements_and_levels_are_those_of_the_components(generations):
    panel = Promises(generations)
    panel.generation = 1
    figure = Figure()
    panel._draw_static(figure)
    promises, errors, levels = figure.axes
    assert {line.get_label() for line in promises.lines} == {"attacked", "others", "as promised"}
    assert {line.get_label() for line in errors.lines} == {"y = x", "all", "C", "H"}
    part = delivered(generations[1])
    ratio = np.abs(part.errors / part.sigma)
    one, two = 100 * (ratio < 1).mean(), 100 * (ratio < 2).mean()
    text = next(t for t in (line.get_label() for line in levels.lines) if t.startswith("all"))
    said = [float(word) for word in text[5:].split(" and ")]
    assert said == [pytest.approx(one, abs=2), pytest.approx(two, abs=2)]
    means = Promises(generations, helpers.small_recipe(errors_of="mean"))
    ((_, mean),) = [part for part in means._shown() if part[0] == 0]
    assert mean.errors.shape[0] == 1
    assert (mean.found < delivered(generations[0]).found).all()


def test_it_grows_and_has_a_picture_from_the_start(generations, monkeypatch):
    panel = Promises(generations[:1])
    first = picture(panel)
    panel.add(generations[1])
    assert picture(panel) != first
    assert [value for _, value in panel._choice.options] == [-1, 0, 1]
    assert panel._picture.error is None
    monkeypatch.setattr("agal_toolkit.widgets.promises._FEW", 1000)
    few = Promises(generations)
    assert few._picture.error is None
    empty = Promises([])
    assert len(picture(empty)) > 1000
    assert empty._picture.error is None


@pytest.mark.parametrize("relative", [False, True])
def test_a_run_tells_its_targets(tmp_path, relative):
    start = helpers.first_data(30).reserving(8, np.random.default_rng(0))
    target = TargetError(3.0, tolerance=10.0, deviation=10.0, relative=relative)
    attack = Attack(target, LBFGS(4))
    recipe = helpers.small_recipe(attack=attack, members=3, calibrate=0.4)
    loop: Loop = helpers.small_loop(recipe=recipe)
    next(loop.generations(start, tmp_path / "run"))
    assert isinstance(loop.reference, Reference)
    run = Run.open(tmp_path / "run")
    panel = Promises(run)
    (generation,) = run.generations
    aside = generation.dataset.of_role("calibration")
    missed = generation.committee.predict(aside).forces.numpy() - np.concatenate(aside.forces)
    error = np.sqrt(3 * (missed**2).mean()) if relative else 1.0
    assert panel._targets == {0: pytest.approx(3.0 * error, rel=1e-6)}
    assert not panel._shown()  # a particle in a plane has no atoms
    assert len(picture(panel)) > 1000
