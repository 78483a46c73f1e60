"""The states of a run, on plain generators and on a real loop."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from functools import partial

import pytest
from helpers import labels_of, network, well_data

from agal_toolkit import Folds, FromDataset, Loop, Recipe, Reference, TorchTrainer, until
from agal_toolkit.events import Epoch, Progress, Stage
from agal_toolkit.loop.generation import Generation
from agal_toolkit.widgets import Background


def count_to(n, pause=0.002, events=3):
    """Records 0 ... n - 1 with some events before each."""

    def make(report):
        for i in range(n):
            for k in range(events):
                time.sleep(pause)
                report(Progress("beat", k, events))
            yield i

    return make


def states_of(run):
    seen = [run.state]
    run.observe(lambda change: seen.append(change["new"]), "state")
    return seen


def until_state(run, *states, timeout=5.0):
    end = time.monotonic() + timeout
    while run.state not in states:
        assert time.monotonic() < end, f"{run.state} instead of {states}"
        time.sleep(0.005)
    return run


def test_a_run_goes_from_idle_to_done_with_all_its_records():
    run = Background(count_to(4))
    seen = states_of(run)
    assert run.state == "idle"
    assert run.records == ()
    run.start().wait()
    assert run.records == (0, 1, 2, 3)
    assert seen == ["idle", "running", "done"]
    assert run.seconds > 0


def test_pause_says_so_at_once_holds_at_the_next_event_and_resume_goes_on():
    run = Background(count_to(200))
    seen = states_of(run)
    run.start().pause()
    assert run.state in ("pausing", "paused")
    until_state(run, "paused")
    held, worked = run.records, run.seconds
    time.sleep(0.1)
    assert run.records == held
    assert run.seconds == worked
    run.resume()
    assert run.state == "running"
    time.sleep(0.05)
    run.stop().wait()
    assert len(run.records) >= len(held)
    assert seen == ["idle", "running", "pausing", "paused", "running", "stopping", "stopped"]


def test_a_pause_taken_back_before_it_was_reached_leaves_the_run_running():
    run = Background(count_to(3, pause=0.05)).start().pause().resume()
    assert run.state == "running"
    assert run.wait().records == (0, 1, 2)


def test_step_gives_one_record_and_then_waits():
    run = Background(count_to(3))
    for expected in ((0,), (0, 1), (0, 1, 2)):
        run.step().wait()
        assert run.state == "paused"
        assert run.records == expected
    run.resume().wait()
    assert run.state == "done"
    assert run.records == (0, 1, 2)


def test_step_while_running_pauses_after_the_next_record():
    run = Background(count_to(100, pause=0.01)).start()
    run.step().wait()
    assert run.state == "paused"
    assert len(run.records) < 5
    run.stop().wait()
    assert run.state == "stopped"


def test_stop_while_paused_ends_the_run():
    run = Background(count_to(100)).step().wait().stop()
    assert run.state in ("stopping", "stopped")
    run.wait()
    assert run.state == "stopped"
    assert len(run.records) == 1


def test_start_while_stopping_is_refused_and_afterwards_begins_anew():
    release = threading.Event()

    def make(report):
        release.wait(5)
        report(Progress("beat", 0, 1))
        yield "record"

    run = Background(make).start().stop()
    with pytest.raises(RuntimeError, match=r"still stopping: call wait\(\)"):
        run.start()
    release.set()
    assert run.wait().state == "stopped"
    assert run.start().wait().records == ("record",)


def test_a_stop_runs_the_generators_clean_up_before_the_run_is_stopped():
    cleaned = []

    def make(report):
        try:
            while True:
                report(Progress("beat", 0, 1))
                yield 0
        finally:
            time.sleep(0.05)
            cleaned.append(True)

    run = Background(make).step().wait()
    run.stop().wait()
    assert run.state == "stopped"
    assert cleaned == [True]


def test_nothing_on_the_way_can_swallow_the_stop():
    def make(report):
        while True:
            try:
                report(Progress("beat", 0, 1))
            except Exception:
                pytest.fail("a stop must not look like a failure of the computation")
            yield 0

    assert Background(make).start().stop().wait(5).state == "stopped"


def test_an_error_is_kept_and_raised_by_wait():
    def make(report):
        yield 1
        raise ValueError("the label of geometry 3 is NaN")

    run = Background(make).start()
    for _ in range(2):
        with pytest.raises(ValueError, match="geometry 3"):
            run.wait()
    assert run.state == "failed"
    assert run.records == (1,)
    assert isinstance(run.error, ValueError)


def test_an_error_before_the_first_record_is_one_too():
    def make(report):
        raise RuntimeError("no such directory")

    with pytest.raises(RuntimeError, match="no such"):
        Background(make).start().wait()


def test_wait_returns_at_its_timeout():
    run = Background(count_to(1000)).start()
    began = time.monotonic()
    assert run.wait(0.1) is run
    assert run.state == "running"
    assert 0.1 <= time.monotonic() - began < 1.0
    run.stop().wait()


@pytest.fixture
def interruptible():
    """Python's own handler of SIGINT, which a shell's background job ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_reaches_wait_and_stops_the_run(interruptible):
    run = Background(count_to(10_000)).start()
    threading.Timer(0.2, _thread.interrupt_main).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run.wait()
    assert time.monotonic() - began < 2
    assert run.state == "stopped"


def test_subscribers_receive_events_and_records_in_the_worker():
    received = []
    run = Background(count_to(2, events=1))
    run.subscribe(lambda message: received.append((message, threading.current_thread().name)))
    run.start().wait()
    assert [type(m).__name__ for m, _ in received] == ["Progress", "int", "Progress", "int"]
    assert {name for _, name in received} == {"agal background"}


def test_a_throttled_subscriber_receives_fewer_but_always_the_last():
    def make(report):
        for k in range(100):
            time.sleep(0.002)
            report(Progress("beat", k, 100))
        yield "end"

    all_of_them, some = [], []
    run = Background(make)
    run.subscribe(all_of_them.append, kinds=(Progress,))
    run.subscribe(lambda m: some.append(m.done), hz=20, kinds=(Progress,))
    run.start().wait()
    assert len(all_of_them) == 100
    assert 2 <= len(some) < 30
    assert some[0] == 0
    assert some[-1] == 99
    assert some == sorted(some)


def test_a_message_of_another_kind_is_not_throttled_away():
    def make(report):
        for k in range(20):
            report(Progress("beat", k, 20))
        report(Stage(0, "labels", "started"))
        for k in range(20):
            report(Progress("beat", k, 20))
        yield "end"

    received = []
    run = Background(make)
    run.subscribe(received.append, hz=0.5)
    run.start().wait()
    assert [m.done if isinstance(m, Progress) else m for m in received[:2]] == [0, 19]
    assert isinstance(received[2], Stage)
    assert received[-1] == "end"


def test_a_held_message_is_delivered_before_one_of_a_kind_that_is_not_subscribed():
    def make(report):
        for k in range(20):
            report(Progress("beat", k, 20))
        report(Stage(0, "labels", "started"))
        seen.append(list(received))
        yield "end"

    received, seen = [], []
    run = Background(make)
    run.subscribe(lambda message: received.append(message.done), hz=0.5, kinds=(Progress,))
    run.start().wait()
    assert seen == [[0, 19]]
    assert received == [0, 19]


def test_the_error_of_a_subscriber_is_reported_and_the_run_continues():
    reported = []

    def draw(message):
        if message == 1:
            raise ZeroDivisionError("no data to draw")

    run = Background(count_to(3))
    failing = run.subscribe(draw, kinds=(int,), failed=reported.append)
    broken = run.subscribe(lambda _: 1 / 0, failed=lambda error: 1 / 0)
    run.start().wait()
    assert run.records == (0, 1, 2)
    assert run.state == "done"
    assert [str(error) for error in reported] == ["no data to draw"]
    assert failing.error is None
    assert isinstance(broken.error, ZeroDivisionError)


# -- a real loop


def tiny_loop(epochs):
    trainer = TorchTrainer(network=partial(network, width=8), epochs=epochs, batch_size=16)
    return Loop(
        Recipe(
            trainer=trainer, sampler=FromDataset(3), members=2, folds=Folds(train=0.8, valid=0.2)
        ),
        Reference(labels_of, settings={"well": 1}),
    )


def test_a_loop_stops_inside_its_training_and_goes_on_from_disk(rng, tmp_path):
    data, loop = well_data(rng), tiny_loop(epochs=4)
    first = (
        Background(lambda report: until(loop.generations(data, tmp_path, report), count=2))
        .start()
        .wait()
    )
    stages, epochs = [], []
    run = Background(lambda report: until(loop.generations(data, tmp_path, report), count=3))
    run.subscribe(lambda stage: stages.append((stage.generation, stage.status)), kinds=(Stage,))
    run.subscribe(epochs.append, kinds=(Epoch,))
    run.subscribe(lambda epoch: run.stop(), kinds=(Epoch,))
    run.start()
    until_state(run, "stopped")
    assert len(epochs) == 1
    assert len(run.records) == 2
    assert {status for generation, status in stages if generation < 2} == {"read"}
    time.sleep(0.1)
    assert len(epochs) == 1
    assert stages[-1] == (2, "started")
    again = (
        Background(lambda report: until(loop.generations(data, tmp_path, report), count=3))
        .start()
        .wait()
    )
    assert [type(g) for g in again.records] == [Generation] * 3
    assert [g.labelled.energies.tolist() for g in again.records[:2]] == [
        g.labelled.energies.tolist() for g in first.records
    ]


def test_stop_during_a_long_training_ends_within_a_second(rng):
    data, loop = well_data(rng), tiny_loop(epochs=100_000)
    epochs = []
    run = Background(lambda report: loop.generations(data, None, report))
    run.subscribe(epochs.append, kinds=(Epoch,))
    run.start()
    end = time.monotonic() + 10
    while not epochs and time.monotonic() < end:
        time.sleep(0.01)
    began = time.monotonic()
    run.stop()
    assert run.state in ("stopping", "stopped")
    assert time.monotonic() - began < 0.1
    run.wait()
    assert run.state == "stopped"
    assert time.monotonic() - began < 1.0
    count = len(epochs)
    time.sleep(0.1)
    assert len(epochs) == count


def test_an_observer_that_raises_does_not_hold_a_run():
    """It raises at each change of state; the state changes, and the run goes on to its end."""

    def fail(change):
        raise ValueError("no picture")

    run = Background(lambda report: iter(range(3)))
    run.observe(fail, "state")
    message = r"observer .* failed \(ValueError: no picture\); the run"
    for _ in range(2):
        with pytest.warns(UserWarning, match=message):
            run.start().wait(10)
        assert run.state == "done"
    assert run.records == (0, 1, 2)
