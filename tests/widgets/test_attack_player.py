"""Playing attacks on ammonia, without a browser."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from helpers import ammonia, crystal, pair_committee, picture, schnet_committee
from matplotlib.figure import Figure

from agal_toolkit import Adam, Attack, Ball, Dataset, Labels, Proposal, Variance
from agal_toolkit.loop.generation import Generation
from agal_toolkit.plots.style import plain
from agal_toolkit.selection import Candidate
from agal_toolkit.widgets import AttackPlayer


@pytest.fixture(scope="module")
def committee():
    return schnet_committee()


@pytest.fixture(scope="module")
def adversaries(committee):
    rng = np.random.default_rng(5)
    seeds = [ammonia().moved(ammonia().positions + rng.normal(0, 0.05, (4, 3))) for _ in range(3)]
    return Attack(Variance(), Adam(0.03, 12), bound=Ball(0.8))(committee, None, seeds, rng)


def labels(energy):
    return Labels(energy=energy, forces=np.zeros((4, 3)))


def test_it_begins_at_the_kept_step_with_the_start_as_a_ghost(committee, adversaries):
    player = AttackPlayer(committee, adversaries).settle()
    kept = adversaries[0].kept
    assert player.step == kept
    assert player._slider.max == player._play.max == 12
    np.testing.assert_array_equal(player._molecule.geometry.positions, adversaries[0].path[kept])
    np.testing.assert_array_equal(player._molecule._shown.ghost.positions, adversaries[0].path[0])
    assert f"step {kept}</b> of 12, <b>kept" in player._numbers.value
    assert "eV/Å" in player._numbers.value
    assert player._trouble.value == ""
    assert player._curves.error is None


def test_a_step_moves_the_molecule_the_mark_and_the_numbers(committee, adversaries):
    player = AttackPlayer(
        committee,
        adversaries,
        zero=float(committee.predict([ammonia()]).energy.mean()),
        unit="kcal/mol",
    ).settle()
    curves, still = bytes(player._curves.value), picture(player)
    player.step = 2
    player.settle()
    np.testing.assert_array_equal(player._molecule.geometry.positions, adversaries[0].path[2])
    assert bytes(player._curves.value) != curves
    assert picture(player) != still
    energies = player.energies(player.trace)[:, 2]
    assert (
        f"energy {plain(energies.mean())} ± {plain(energies.std(ddof=1))} kcal/mol"
        in player._numbers.value
    )
    assert "kept" not in player._numbers.value
    expected = (
        committee.predict([ammonia().moved(adversaries[0].path[2])]).energy.mean() - player._zero
    )
    assert energies.mean() == pytest.approx(float(expected) * 23.0605, rel=1e-3, abs=1e-3)


def test_the_committee_is_asked_once_about_each_attack(committee, adversaries, monkeypatch):
    asked = Counter()
    predict = type(committee).predict
    monkeypatch.setattr(
        type(committee),
        "predict",
        lambda self, structures, *rest: (
            asked.update([len(structures)]) or predict(self, structures, *rest)
        ),
    )
    player = AttackPlayer(committee, adversaries)
    for chosen in (1, 0, 1):
        player.chosen = chosen
        for step in (0, 3, 7):
            player.step = step
            player.settle()
    picture(player)
    assert asked == {13: 2}


def test_another_attack(committee, adversaries):
    player = AttackPlayer(committee, adversaries).settle()
    before = picture(player)
    assert [name.split(",")[0] for name, _ in player._choice.options] == [
        "1: seed 0",
        "2: seed 1",
        "3: seed 2",
    ]
    player.chosen = 2
    player.settle()
    assert player.step == adversaries[2].kept
    assert picture(player) != before
    np.testing.assert_array_equal(
        player._molecule.geometry.positions, adversaries[2].geometry.positions
    )


def test_atoms_can_have_the_colours_of_their_uncertainty(committee, adversaries):
    player = AttackPlayer(committee, adversaries).settle()
    assert player._molecule._shown.colours is None
    assert player._scale_bar.value == ""
    player._colouring.value = "uncertainty"
    player.settle()
    colours = player._molecule._shown.colours
    assert colours.shape == (4, 3)
    assert len(np.unique(colours.round(6), axis=0)) > 1
    assert "eV/Å" in player._scale_bar.value
    most = player.trace.atomic[player.step].argmax()
    assert colours.sum(1).argmin() == most  # the darkest


def test_the_reference_answers_in_the_background(committee, adversaries):
    """Nothing waits for it, not even a display."""
    asked, allowed = [], threading.Event()

    def slow(geometry):
        asked.append(geometry)
        assert allowed.wait(30)
        return labels(-1.25)

    player = AttackPlayer(committee, adversaries, slow, zero=-1.5)
    before = picture(player)
    player.step = 0
    player._follow.settle()
    assert "step 0</b>" in player._numbers.value
    assert "asking the reference" in player._numbers.value
    assert not allowed.is_set()
    player.step = adversaries[0].kept
    allowed.set()
    player.settle()
    assert f"reference 0.25 eV at step {adversaries[0].kept}" in player._numbers.value
    assert picture(player) != before
    assert [g.digest() for g in asked] == [adversaries[0].geometry.digest()]
    player.step = 0
    player.settle()
    assert len(asked) == 1


def test_a_reference_that_fails_says_so_and_the_rest_stays(committee, adversaries):
    def fail(_):
        raise RuntimeError("SCF did not <converge>")

    player = AttackPlayer(committee, adversaries, fail).settle()
    assert "no reference: SCF did not &lt;converge&gt;" in player._numbers.value
    assert player._trouble.value == ""
    player.step = 1
    assert "step 1" in player.settle()._numbers.value


def test_a_committee_that_refuses_says_so_in_its_place(adversaries):
    player = AttackPlayer(schnet_committee(1), adversaries).settle()
    assert "at least two" in player._trouble.value
    assert player._slider.disabled
    assert picture(player) != picture(AttackPlayer(schnet_committee(), adversaries))


def test_an_attack_that_the_committee_refuses_is_not_shown_as_another(committee, adversaries):
    refused = replace(
        adversaries[1], geometry=replace(adversaries[1].geometry, numbers=[7, 1, 1, 9])
    )
    player = AttackPlayer(committee, [adversaries[0], refused, adversaries[2]]).settle()
    still = picture(player)
    player.chosen = 1
    player.settle()
    assert player._trouble.value != ""
    assert player._numbers.value == ""
    assert player._molecule.geometry is None
    assert player._slider.disabled
    assert picture(player) != still
    assert player._slider.value == 0
    player.chosen = 0
    player.settle()
    assert player._trouble.value == ""
    assert "kept" in player._numbers.value
    assert picture(player) == still


def test_a_step_that_fails_is_said_until_one_goes_well(committee, adversaries, monkeypatch):
    player = AttackPlayer(committee, adversaries).settle()
    with monkeypatch.context() as context:
        context.setattr(player._molecule, "seek", lambda *_: 1 / 0)
        player.step = 1
        assert "ZeroDivisionError" in player.settle()._trouble.value
        assert player._numbers.value == ""
    player.step = 2
    assert player.settle()._trouble.value == ""
    assert "step 2</b>" in player._numbers.value
    picture(player)
    assert player._error is None


def test_a_static_picture_that_fails_says_so_in_its_place(committee, adversaries, monkeypatch):
    player = AttackPlayer(committee, adversaries)
    before = picture(player)
    monkeypatch.setattr(player._molecule, "draw", lambda _: 1 / 0)
    data = player._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert picture(player) != before


def test_another_attack_may_be_chosen_while_one_is_displayed(committee, adversaries, monkeypatch):
    short = replace(
        adversaries[1], path=adversaries[1].path[:4], losses=adversaries[1].losses[:4], kept=3
    )
    player = AttackPlayer(committee, [adversaries[0], short])
    player.step = 12
    player.settle()
    choosing, seen = threading.Thread(target=lambda: setattr(player, "chosen", 1)), []
    molecule, curves = player._molecule.draw, player._draw_curves

    def draw_molecule(axes):
        choosing.start()
        choosing.join(0.3)
        molecule(axes)

    def draw_curves(figure):
        seen.append(len(player._trace))
        mark = curves(figure)
        return lambda step: seen.append(step) or mark(step)

    monkeypatch.setattr(player._molecule, "draw", draw_molecule)
    monkeypatch.setattr(player, "_draw_curves", draw_curves)
    picture(player)
    choosing.join()
    assert seen == [13, 12]  # steps of the first attack, and where it was
    assert "step 3</b> of 3, <b>kept" in player.settle()._numbers.value


def test_an_attack_that_moved_the_cell(rng):
    committee = pair_committee()
    adversary = Attack(Variance(), Adam(0.02, 3), cell=True)(
        committee, None, [crystal(rng, (4, 4, 4))], rng
    )[0]
    player = AttackPlayer(committee, [adversary]).settle()
    assert player._trouble.value == ""
    for step in (0, 2):
        player.step = step
        np.testing.assert_array_equal(
            player.settle()._molecule.geometry.cell, adversary.cells[step]
        )


def test_of_a_generation_the_kept_ones_with_their_labels(committee, adversaries):
    outcomes = (("Deduplicate", None), ("kept", "no"), ("kept", labels(0.5)))
    candidates = tuple(
        Candidate(
            a.geometry.moved(a.geometry.positions, generation=1), a.seed, 0.0, a, verdict, outcome
        )
        for a, (verdict, outcome) in zip(adversaries, outcomes, strict=True)
    )
    common = {"index": 0, "dataset": Dataset(), "committee": committee}
    generation = Generation(**common, candidates=candidates, metrics={})
    player = AttackPlayer.of(generation, zero=0.25).settle()
    assert player.adversaries == (adversaries[1], adversaries[2])
    assert "reference" not in player._numbers.value  # that one got no label
    player.chosen = 1
    assert "reference 0.25 eV" in player.settle()._numbers.value
    dropped = tuple(replace(c, verdict="AtMost", outcome=None) for c in candidates)
    assert AttackPlayer.of(Proposal(**common, candidates=dropped)).adversaries == tuple(adversaries)


def test_there_must_be_an_attack_and_a_unit(committee, adversaries):
    with pytest.raises(ValueError, match="at least one adversary"):
        AttackPlayer(committee, [])
    with pytest.raises(ValueError, match="kcal/mol"):
        AttackPlayer(committee, adversaries, unit="Hartree")


def test_the_axes_say_their_units(committee, adversaries):
    player = AttackPlayer(committee, adversaries, unit="kcal/mol").settle()
    figure = Figure()
    player._draw_curves(figure)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "energy above\nthe start (kcal/mol)",
        r"$\sigma_F$ (kcal/mol/Å)",
        r"$\mathcal{L}_\mathrm{adv}$",
    ]
    assert figure.axes[-1].get_xlabel() == "attack step"
