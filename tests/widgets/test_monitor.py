"""The panel of running loops, without a browser."""

from __future__ import annotations

import base64
import io
import threading
import time
from functools import partial

import numpy as np
import pytest
from helpers import labels_of, network, picture, well_data
from PIL import Image

from agal_toolkit import (
    Adam,
    Attack,
    BoltzmannVariance,
    Folds,
    FromDataset,
    Loop,
    Rattle,
    Recipe,
    Reference,
    TorchTrainer,
    until,
)
from agal_toolkit.analysis.errors import rmse
from agal_toolkit.analysis.grids import Grid
from agal_toolkit.events import Epoch, Labelled, Stage
from agal_toolkit.widgets import Monitor
from agal_toolkit.widgets.generation_views import PlaneView
from agal_toolkit.widgets.picture import Picture
from agal_toolkit.widgets.progress import Begun, ProgressTracker, Turn, clock


def pair(rng, folder=None, count=2, epochs=3):
    data = well_data(rng)
    test = Grid(points=5).labelled(labels_of)

    def run(name, attack, sampler):
        trainer = TorchTrainer(network=partial(network, width=8), epochs=epochs, batch_size=16)
        recipe = Recipe(
            trainer=trainer,
            sampler=sampler,
            attack=attack,
            members=2,
            folds=Folds(train=0.8, valid=0.2),
        )
        loop = Loop(
            recipe, Reference(labels_of, settings={"well": 1}), test=test, metrics={"rmse": rmse}
        )
        directory = None if folder is None else folder / name
        return lambda report: until(loop.generations(data, directory, report), count=count)

    attack = Attack(BoltzmannVariance(kT=5.0), Adam(0.01, 3))
    return {
        "adversarial": run("adversarial", attack, FromDataset(4)),
        "random": run("random", None, Rattle(0.3)),
    }


def small(loops, **settings):
    return Monitor(loops, view=PlaneView(Grid(points=8)), **settings)


@pytest.fixture(scope="module")
def finished():
    """A run of two generations of two loops, shown from its end."""
    return small(pair(np.random.default_rng(3)), generations=2).finish()


def seen(monitor):
    """The three pictures."""
    return [bytes(shown.value) for shown in (monitor._maps, monitor._curves, monitor._live)]


def usable(monitor):
    return {name for name, button in monitor._buttons.items() if not button.disabled}


def test_loops_take_turns_and_pictures_follow(rng):
    monitor = small(pair(rng), generations=2)
    before = seen(monitor)
    assert monitor.state == "idle"
    assert usable(monitor) == {"Start", "Step"}
    assert all(value.startswith(b"\x89PNG") for value in before)
    monitor.step().wait()
    assert [len(g) for g in monitor.runs.values()] == [1, 0]
    assert monitor.state == "paused"
    assert usable(monitor) == {"Resume", "Step", "Stop"}
    after = seen(monitor)
    assert all(a != b for a, b in zip(before, after, strict=True))
    monitor.step().wait()
    assert [len(g) for g in monitor.runs.values()] == [1, 1]
    monitor.resume().wait()
    assert monitor.state == "done"
    assert [len(g) for g in monitor.runs.values()] == [2, 2]
    assert usable(monitor) == {"Start"}
    assert seen(monitor)[0] != after[0]
    assert monitor._maps.error is None
    assert monitor._curves.error is None
    assert monitor._live.error is None
    assert monitor._trouble.value == ""
    assert monitor._outer.value == 1.0
    assert "all 2 generations" in monitor._where.value


def test_the_slider_looks_back_and_the_toggle_at_the_other_loop(finished):
    monitor = finished
    assert monitor._slider.max == monitor._slider.value == 2
    assert monitor.shown is monitor.runs["adversarial"][1]
    newest = seen(monitor)[0]
    monitor._slider.value = 1
    monitor.settle()
    assert monitor.shown is monitor.runs["adversarial"][0]
    assert seen(monitor)[0] != newest
    assert not monitor._newest.value
    earlier = seen(monitor)[0]
    monitor._paths.value = True
    monitor.settle()
    assert seen(monitor)[0] != earlier
    monitor._newest.value = True
    monitor.settle()
    assert monitor._slider.value == 2
    monitor._strategy.value = "random"
    monitor.settle()
    assert monitor.shown is monitor.runs["random"][1]


def test_a_person_who_looks_back_is_left_alone(rng):
    monitor = small({"adversarial": pair(rng, count=3)["adversarial"]}, generations=3)
    monitor.step().wait()
    monitor.step().wait()
    monitor._slider.value = 1
    monitor.settle()
    looked_at = seen(monitor)[0]
    monitor.resume().wait()
    assert monitor._slider.value == 1
    assert monitor._slider.max == 3
    assert seen(monitor)[0] == looked_at


class Slow:
    """A view that computes until it is allowed to end."""

    titles, zero, unit, unit_name = ("left", "right"), 0.0, 1.0, ""

    def __init__(self):
        self.begun, self.allowed = threading.Event(), threading.Event()
        self.drawn = []

    def prepare(self, generations):
        self.begun.set()
        assert self.allowed.wait(30)

    def draw(self, left, right, generations, paths):
        self.drawn.append(generations)


def test_what_a_view_computes_holds_up_no_other_picture_and_no_stop(rng):
    view = Slow()
    monitor = Monitor({"adversarial": pair(rng, epochs=300)["adversarial"]}, view=view)
    other = Picture(lambda figure: figure.subplots().plot([1, 2]), (2, 1))
    monitor.start()
    assert view.begun.wait(30)
    began = time.monotonic()
    other.redraw()
    picture(monitor)
    monitor.stop().wait()
    assert monitor.state == "stopped"
    assert view.drawn == []
    assert time.monotonic() - began < 10
    view.allowed.set()
    monitor.settle()
    assert view.drawn == [monitor.runs["adversarial"][:1]]


def test_a_view_gets_the_generations_of_the_shown_strategy_up_to_the_shown_one(rng):
    view = Slow()
    view.allowed.set()
    monitor = Monitor(pair(rng), generations=2, view=view).finish()
    for strategy, number in (("adversarial", 1), ("random", 2), ("random", 1)):
        monitor._strategy.value, monitor._slider.value = strategy, number
        monitor.settle()
        assert view.drawn[-1] == monitor.runs[strategy][:number]


def test_a_view_that_cannot_compute_says_so_in_its_place(rng, monkeypatch):
    view = Slow()
    monkeypatch.setattr(view, "prepare", lambda generations: 1 / 0)
    monitor = Monitor(pair(rng, count=1), generations=1, view=view).finish()
    assert isinstance(monitor._maps.error, ZeroDivisionError)
    assert monitor.state == "done"
    assert view.drawn == []
    monkeypatch.undo()
    view.allowed.set()
    monitor._strategy.value = "random"
    monitor.settle()
    assert monitor._maps.error is None
    assert len(view.drawn) == 1


def test_stop_and_start_again_reads_what_is_on_disk(rng, tmp_path):
    monitor = small(pair(rng, tmp_path, count=1), generations=1).step()
    monitor.wait()
    first = monitor.runs["adversarial"][0]
    monitor.stop().wait()
    assert monitor.state == "stopped"
    assert usable(monitor) == {"Start", "Step"}
    assert "stopped" in monitor._badge.value
    monitor.finish()
    assert monitor.state == "done"
    assert "members" not in monitor.runs["adversarial"][0].seconds
    assert monitor.runs["adversarial"][0].metrics == first.metrics


def test_the_buttons_steer(rng):
    monitor = small(pair(rng, epochs=100_000))
    press = {name: button.click for name, button in monitor._buttons.items()}
    press["Start"]()
    assert monitor.state == "running"
    assert usable(monitor) == {"Pause", "Stop"}
    press["Pause"]()
    assert monitor.state in ("pausing", "paused")
    monitor.wait(5)
    assert monitor.state == "paused"
    assert "paused" in monitor._badge.value
    press["Resume"]()
    assert monitor.state == "running"
    time.sleep(0.3)
    assert "epoch" in monitor._stage.value
    press["Stop"]()
    assert monitor.state in ("stopping", "stopped")
    monitor.wait(5)
    assert monitor.state == "stopped"
    assert usable(monitor) == {"Start", "Step"}


def test_a_failing_run_says_so_in_the_panel():
    def broken(report):
        raise ValueError("no <labels> for geometry 7")
        yield

    monitor = small({"broken": broken}).start()
    with pytest.raises(ValueError, match="geometry 7"):
        monitor.wait()
    assert monitor.state == "failed"
    assert "no &lt;labels&gt; for geometry 7" in monitor._trouble.value
    assert "failed" in monitor._badge.value


def test_the_trouble_of_a_run_is_forgotten_when_another_begins(rng):
    tries, [(name, loop)] = [], [*pair(rng, count=1).items()][:1]

    def second_time(report):
        tries.append(0)
        if len(tries) == 1:
            raise RuntimeError("disk full")
        return loop(report)

    monitor = small({name: second_time}, generations=1)
    with pytest.raises(RuntimeError, match="disk full"):
        monitor.finish()
    assert "disk full" in monitor._trouble.value
    monitor.start()
    assert monitor._trouble.value == ""
    monitor.wait()
    assert monitor.state == "done"
    assert monitor._trouble.value == ""


def test_a_drawing_that_fails_says_so_in_its_place_and_the_run_goes_on(rng, monkeypatch):
    def fail(axes, *_):
        raise ZeroDivisionError("no points to draw")

    monitor = small(pair(rng), generations=2)
    monkeypatch.setattr("agal_toolkit.plots.data_curves", fail)
    empty = seen(monitor)[1]
    monitor.step().wait()
    assert isinstance(monitor._curves.error, ZeroDivisionError)
    assert seen(monitor)[1] != empty
    assert "application/vnd.jupyter.widget-view+json" in monitor._repr_mimebundle_()
    assert monitor._maps.error is None
    monkeypatch.undo()
    monitor.step().wait()
    assert len(monitor.runs["random"]) == 1
    assert monitor._curves.error is None
    monitor.stop().wait()


def test_a_view_that_fails_is_named_below_the_pictures(rng, monkeypatch):
    monitor = small(pair(rng), generations=2)
    monkeypatch.setattr(monitor, "_fit", lambda: 1 / 0)
    monitor.step().wait()
    assert "could not follow the run, which goes on: ZeroDivisionError" in monitor._trouble.value
    monkeypatch.undo()
    monitor.step().wait()
    assert monitor._trouble.value == ""  # it follows again
    monitor.stop().wait()


def test_static_readers_get_a_picture(rng, finished):
    bundle = finished._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    after = base64.b64decode(bundle["image/png"])
    before = base64.b64decode(small(pair(rng))._repr_mimebundle_()["image/png"])
    assert before != after
    pixels = np.asarray(Image.open(io.BytesIO(after)))
    assert pixels.shape[1] <= 850
    assert (pixels[0, 20:-20] == (247, 247, 247, 255)).all()
    assert pixels[0, 0, 3] == pixels[-1, -1, 3] == 0  # round corners on any page


def endless(rng, seed=0):
    """A loop and its data."""
    data = well_data(rng)
    trainer = TorchTrainer(network=partial(network, width=8), epochs=3, batch_size=16)
    folds = Folds(train=0.8, valid=0.2)
    recipe = Recipe(trainer=trainer, sampler=FromDataset(4), members=2, folds=folds)
    return Loop(recipe, Reference(labels_of, settings={"well": 1}), seed=seed), data


def test_a_shorter_loop_leaves_newest_ticked(rng):
    """A smaller largest value moves the slider, which is not a person who looks back."""
    monitor = small(pair(rng), generations=2)
    for _ in range(3):
        monitor.step().wait()
    assert [len(turns) for turns in monitor.runs.values()] == [2, 1]
    for strategy, count in (("random", 1), ("adversarial", 2)):
        monitor._strategy.value = strategy
        monitor.settle()
        assert monitor._newest.value
        assert monitor._slider.value == monitor._slider.max == count
    monitor.stop().wait()


@pytest.mark.parametrize("stored", [True, False])
def test_a_finished_panel_goes_on(rng, tmp_path, stored):
    loop, data = endless(rng)
    folder = tmp_path / "run" if stored else None
    monitor = small(loop, dataset=data, directory=folder, generations=1).finish()
    first = monitor.runs["loop"][0]
    seconds = monitor._earlier
    assert seconds > 0
    monitor._further.value = 2
    monitor._buttons["Start"].click()
    monitor.wait()
    assert [turn.index for turn in monitor.runs["loop"]] == [0, 1, 2]
    assert monitor.runs["loop"][0] is first  # not computed again
    assert monitor._earlier > seconds
    assert "all 3 generations" in monitor._where.value
    expected = list(until(loop.generations(data), count=3))
    for mine, theirs in zip(monitor.runs["loop"], expected, strict=True):
        np.testing.assert_array_equal(mine.grown.energies, theirs.grown.energies)


def test_loops_that_cannot_go_on_are_named(rng):
    loops = pair(rng, count=1)
    monitor = small(loops, generations=2).finish()
    assert monitor.state == "done"
    assert "adversarial, random ended before the planned number" in monitor._trouble.value


def test_the_time_outlives_a_stop(rng, tmp_path):
    loop, data = endless(rng)
    monitor = small(loop, dataset=data, directory=tmp_path / "run", generations=3).step()
    monitor.wait()
    monitor.stop().wait()
    worked = monitor.background.seconds
    monitor._earlier += 60.0  # as if it had taken a minute
    monitor.step().wait()
    monitor.step().wait()  # the first is read
    assert monitor._earlier >= 60.0 + worked
    assert monitor._time.value.startswith("1:0")
    assert "left" in monitor._time.value
    assert "Run this cell again" in monitor._badge.value  # an honest "paused"
    monitor.stop().wait()
    assert "Run this cell again" not in monitor._badge.value


def test_several_loops_have_folders_of_their_own(rng, tmp_path):
    (one, data), (two, _) = endless(rng), endless(rng, seed=1)
    monitor = small({"a": one, "b": two.generations}, dataset=data, directory=tmp_path)
    monitor.step().wait()
    monitor.step().wait()
    monitor.stop().wait()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("wrong", ["loop", "method", "iterator", "two arguments"])
def test_what_is_no_loop_is_refused_before_the_start(rng, wrong):
    loop, data = endless(rng)
    loops = {
        "loop": loop,
        "method": {"a": loop.generations},
        "iterator": {"a": loop.generations(data)},
        "two arguments": {"a": lambda report, other: None},
    }[wrong]
    with pytest.raises(TypeError, match=r'Monitor\(loop, dataset, "runs/first", generations=5\)'):
        Monitor(loops)


def test_loops_without_test_data_have_the_error_on_what_is_new(rng):
    from agal_toolkit.widgets.run_pictures import new_error

    loop, data = endless(rng)
    (turn,) = until(loop.generations(data), count=1)
    forces = turn.committee.predict(turn.labelled.geometries).forces.mean(0).numpy()
    true = np.concatenate([labels.forces for labels in turn.labelled.labels])
    assert new_error(turn) == pytest.approx(np.sqrt(np.mean((forces - true) ** 2)))


def test_no_loops_is_an_error():
    with pytest.raises(ValueError, match="at least one loop"):
        Monitor({})


def test_the_tracker_knows_where_it_is_and_how_long_it_takes():
    def epoch(k):
        return Epoch(k, 10, np.ones(2), np.ones(2), np.ones(2))

    tracker = ProgressTracker(("adversarial", "random"), 2)
    assert tracker.overall() == "not started"
    assert tracker.share == 0.0
    assert tracker.left(0.0) is None
    for message in (Begun("adversarial"), Stage(0, "members", "started"), epoch(5)):
        tracker.update(message)
    assert tracker.overall() == "generation 1 of 2 · adversarial"
    assert tracker.detail() == "training · epoch 5 of 10"
    assert tracker.inside == 0.5
    assert 0.08 < tracker.share < 0.13
    assert tracker.left(10.0) == pytest.approx(10 / tracker.share - 10)
    for message in (
        Stage(0, "members", "finished", 1.0),
        Stage(0, "labels", "started"),
        Labelled(3, 4, 8),
    ):
        tracker.update(message)
    assert tracker.detail() == "labelling · label 4 of 8"


def test_what_was_read_counts_as_done_but_not_as_work(finished):
    generation = finished.runs["adversarial"][0]
    tracker = ProgressTracker(("one",), 4)
    tracker.update(Begun("one"))
    for name in ("members", "seeds", "adversaries", "verdicts", "labels", "metrics"):
        tracker.update(Stage(0, name, "read"))
    tracker.update(Turn("one", generation))
    assert tracker.share == 0.25
    assert tracker.left(1.0) is None
    tracker.update(Begun("one"))
    tracker.update(Stage(1, "members", "started"))
    tracker.update(Epoch(1, 1, np.ones(2), np.ones(2), np.ones(2)))
    worked = tracker.share * 4 - 1
    assert tracker.left(3.0) == pytest.approx(3.0 / worked * (3 - worked))


def test_clock():
    assert [clock(s) for s in (0, 61.2, 3725)] == ["0:00", "1:01", "1:02:05"]
