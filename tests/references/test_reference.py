from __future__ import annotations

import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from label_functions import (
    FORKS,
    GOOD,
    INTERRUPTS,
    NO_LIBRARY,
    NO_MESSAGE,
    NO_PROGRAM,
    NOT_A_NUMBER,
    RAISES,
    WRONG_SHAPE,
    WRONG_TYPE,
    Counted,
    moody,
    squared,
)

from agal_toolkit.events import Labelled
from agal_toolkit.geometry import Labels, points
from agal_toolkit.references import DoubleWell, LabelFailed, Reference, Refused

MOODS = points([[mood, 0.5] for mood in (GOOD, RAISES, NOT_A_NUMBER, WRONG_SHAPE, WRONG_TYPE, 0.5)])


def small_force(geometry, labels, limit=1.0):
    """Refuses labels with a force component beyond `limit`."""
    largest = np.abs(labels.forces).max()
    return None if largest <= limit else f"a force of {largest:g} exceeds {limit:g}"


@pytest.fixture(params=["here", "threads"])
def executor(request):
    if request.param == "here":
        yield None
        return
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_failures_are_values_at_the_index_of_their_geometry(executor):
    results = dict(Reference(moody, {"code": "moody"}, executor)(MOODS))
    assert sorted(results) == list(range(6))
    assert [isinstance(results[i], Labels) for i in range(6)] == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]
    expected = {
        1: "RuntimeError: the SCF did not converge",
        2: "energy is nan",
        3: "shape (4, 2), its positions (1, 2)",
        4: "returned float, expected Labels",
    }
    for index, text in expected.items():
        assert isinstance(results[index], LabelFailed)
        assert text in str(results[index])
    assert "label_functions.py" in results[1].traceback


def test_one_structure_is_as_good_as_a_list(tmp_path):
    point = points([0.25, 0.5])[0]
    ((index, labels),) = Reference(squared, {"code": "squared"})(point, tmp_path)
    assert (index, labels.energy) == (0, (0.25**2 + 0.5**2) / 2)
    ((_, kept),) = Reference(moody, {"code": "squared"})(point, str(tmp_path / "other"))
    assert kept.energy == labels.energy
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    with pytest.raises(TypeError, match=r"expected a Geometry or an ase\.Atoms, got NoneType"):
        Reference(squared, {"code": "squared"})(None)


@pytest.mark.parametrize(
    ("mood", "error"), [(NO_LIBRARY, ImportError), (NO_PROGRAM, FileNotFoundError)]
)
def test_a_reference_that_cannot_work_stops_at_once(mood, error, executor, tmp_path):
    reference = Reference(moody, {"code": "moody"}, executor)
    for _ in range(2):
        with pytest.raises(error, match=r"no.such"):
            list(reference(points([[mood, 0.5], [GOOD, 0.5]]), tmp_path))
    assert not list(tmp_path.glob("*/*.failed.json"))


def test_a_forked_child_does_not_go_on(executor, tmp_path):
    geometries = points([[0.25, 0.5], [FORKS, 0.5], [0.75, 0.5]])
    results = dict(Reference(moody, {"code": "moody"}, executor)(geometries, tmp_path))
    energies = [results[i].energy for i in range(3)]
    assert energies == [(g.positions**2).sum() / 2 for g in geometries]


def test_an_error_without_a_text_is_a_failure_too(executor):
    ((_, failed),) = Reference(moody, {"code": "moody"}, executor)(points([NO_MESSAGE, 0.5]))
    assert str(failed) == "Unspeakable: (its message cannot be shown: ValueError)"


def test_a_failure_survives_a_pickle():
    failure = pickle.loads(pickle.dumps(LabelFailed("why", "where")))
    assert (failure.reason, failure.traceback) == ("why", "where")
    assert pickle.loads(pickle.dumps(Refused("why"))).reason == "why"


def test_equal_geometries_are_asked_once_and_answered_each(tmp_path, executor):
    label, events = Counted(tmp_path), []
    geometries = points([[0.25, 0], [RAISES, 0], [0.25, 0], [RAISES, 0]])
    results = list(Reference(label, executor=executor)(geometries, report=events.append))
    assert label.calls() == [0.25, RAISES]
    assert sorted(index for index, _ in results) == [0, 1, 2, 3]
    by_index = dict(results)
    assert by_index[0].energy == by_index[2].energy
    assert str(by_index[1]) == str(by_index[3]) == "RuntimeError: the SCF did not converge"
    assert [event.index for event in events] == [index for index, _ in results]
    assert [event.done for event in events] == [1, 2, 3, 4]
    assert all(
        isinstance(event, Labelled) and event.total == 4 and not event.cached for event in events
    )
    assert {event.index: event.error for event in events}[
        3
    ] == "RuntimeError: the SCF did not converge"


def test_order_does_not_change_labels(executor):
    geometries = points(np.random.default_rng(0).normal(size=(8, 2)))
    forward = dict(Reference(DoubleWell(), executor=executor)(geometries))
    backward = dict(Reference(DoubleWell(), executor=executor)(geometries[::-1]))
    for index in range(8):
        assert forward[index].energy == backward[7 - index].energy
        np.testing.assert_array_equal(forward[index].forces, backward[7 - index].forces)


def test_a_label_that_failed_is_asked_again(tmp_path):
    reference = Reference(Counted(tmp_path, failures=2), retries=2)
    events = []
    ((index, labels),) = reference(points([0.25, 0.0]), report=events.append)
    assert index == 0
    assert labels.energy == 0.25**2 / 2
    assert reference.label.calls() == [0.25] * 3
    assert [event.error for event in events] == [None]


def test_retries_run_out(tmp_path):
    reference = Reference(Counted(tmp_path, failures=2), retries=1)
    assert "not this time" in str(dict(reference(points([0.25, 0.0])))[0])
    assert reference.label.calls() == [0.25] * 2


def test_a_retry_does_not_hold_up_the_others(tmp_path):
    results = list(
        Reference(Counted(tmp_path, failures=1), retries=1)(points([[0.25, 0], [0.5, 0]]))
    )
    assert [index for index, _ in results] == [1, 0]
    assert all(isinstance(labels, Labels) for _, labels in results)


def test_refused_labels_are_failures_and_not_asked_again(tmp_path):
    label = Counted(tmp_path)
    results = dict(Reference(label, accept=small_force, retries=3)(points([[0.25, 0], [0, 5.0]])))
    assert isinstance(results[0], Labels)
    assert isinstance(results[1], Refused)
    assert results[1].reason == "a force of 5 exceeds 1"
    assert label.calls() == [0, 0.25]


def test_nothing_is_asked_before_it_is_wanted_in_this_thread(tmp_path):
    label = Counted(tmp_path)
    labels = Reference(label)(points([[0.25, 0], [0.5, 0]]))
    assert label.calls() == []
    next(labels)
    assert label.calls() == [0.25]
    labels.close()


def test_nothing_in_nothing_out(executor):
    assert list(Reference(DoubleWell(), executor=executor)([])) == []


def test_structures_may_be_atoms():
    ((_, labels),) = Reference(squared, {"code": "squared"})([Atoms("H", positions=[[0, 0, 2.0]])])
    assert labels.energy == 2
    with pytest.raises(TypeError, match=r"expected a Geometry or an ase.Atoms"):
        Reference(DoubleWell())([np.zeros((1, 2))])


def test_interrupts_are_raised(executor):
    with pytest.raises(KeyboardInterrupt):
        list(Reference(moody, {"code": "moody"}, executor)(points([INTERRUPTS, 0.0])))


def test_what_a_listener_raises_is_raised(executor):
    class Cancelled(Exception):
        pass

    def cancel(event):
        raise Cancelled

    with pytest.raises(Cancelled):
        list(Reference(DoubleWell(), executor=executor)(MOODS, report=cancel))


# Executors that cannot kill


def test_abandoning_the_iterator_cancels_what_has_not_begun():
    gate, begun = threading.Event(), []

    def label(geometry):
        begun.append(geometry.positions[0, 0])
        if len(begun) > 1:
            gate.wait()
        return squared(geometry)

    with ThreadPoolExecutor(1) as pool:
        labels = Reference(label, {"code": "label"}, pool)(points(np.arange(20).reshape(10, 2)))
        next(labels)
        labels.close()
        gate.set()
    assert len(begun) <= 3


def test_an_executor_that_cannot_run_the_label_says_so():
    with (
        ProcessPoolExecutor(1) as pool,
        pytest.raises(RuntimeError, match="put it into a module that can be imported"),
    ):
        list(Reference(lambda geometry: None, {"code": "nameless"}, pool)(points([0.0, 0.0])))


# What identifies labels


def test_a_function_needs_settings():
    with pytest.raises(ValueError, match=r"give settings=\{'code': "):
        Reference(squared)
    with pytest.raises(ValueError, match="frozen dataclass"):
        Reference(DoubleWell)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"label": 3}, TypeError, "label is a int"),
        ({"label": Reference(DoubleWell())}, TypeError, "label is a Reference"),
        ({"label": EMT}, ValueError, r"is the class EMT, .*Reference\(CalculatorLabels\(EMT\)\)"),
        ({"timeout": 0}, ValueError, "timeout is 0, expected seconds above 0"),
        ({"timeout": float("nan")}, ValueError, "timeout is nan"),
        ({"retries": -1}, ValueError, "retries is -1"),
        ({"retries": 1.5}, ValueError, "retries is 1.5"),
        ({"executor": 4}, TypeError, r"executor is a int, expected processes\(n\)"),
        ({"settings": {"basis": object()}}, TypeError, r"settings\['basis'\] holds a object"),
        ({"settings": {"a": [1, float("nan")]}}, ValueError, r"settings\['a'\]\[1\] is nan"),
        ({"settings": {2.5: 2}}, TypeError, "the key 2.5"),
    ],
)
def test_what_makes_no_reference(changes, error, message):
    with pytest.raises(error, match=message):
        Reference(**{"label": DoubleWell(), **changes})


@pytest.mark.parametrize("kind", [ProcessPoolExecutor, ThreadPoolExecutor])
def test_an_executor_that_cannot_kill_is_given_no_timeout(kind):
    message = rf"a {kind.__name__} cannot stop a label: use processes\(n\)"
    with kind(1) as pool, pytest.raises(ValueError, match=message):
        Reference(DoubleWell(), executor=pool, timeout=1.0)


@dataclass(frozen=True)
class Inner:
    """A parameter with parameters."""

    grid: tuple[int, ...] = (75, 302)


@dataclass(frozen=True)
class Method:
    """A label function with every kind of parameter."""

    basis: str = "def2-svp"
    levels: Any = field(default_factory=lambda: np.array([1.0, 2.0]))
    inner: Inner = Inner()
    guess: Any = partial(squared, 3)
    loss: Any = small_force
    threads: Any = field(default=None, compare=False)

    def __call__(self, geometry):
        return squared(geometry)


def test_the_identity_is_json_of_what_changes_results():
    here = __name__
    identity = Reference(
        Method(threads=object()),
        settings={"version": "2.8"},
        accept=partial(small_force, limit=3.0),
    ).identity
    assert identity == {
        "label": f"{here}.Method",
        "settings": {
            "basis": "def2-svp",
            "levels": [1.0, 2.0],
            "inner": {"name": f"{here}.Inner", "grid": [75, 302]},
            "guess": {"name": "label_functions.squared", "args": [3], "keywords": {}},
            "loss": f"{here}.small_force",
            "version": "2.8",
        },
        "accept": {"name": f"{here}.small_force", "args": [], "keywords": {"limit": 3.0}},
    }
    assert Reference(DoubleWell()).identity == {
        "label": "agal_toolkit.DoubleWell",
        "settings": {"y_power": 2},
        "accept": "agal_toolkit.always",
    }


def test_how_labels_are_computed_does_not_identify_them():
    reference = Reference(Method())
    with ThreadPoolExecutor(1) as pool:
        other = replace(reference, executor=pool, retries=2, label=Method(threads=4))
    assert (other.identity, other.settings_digest) == (
        reference.identity,
        reference.settings_digest,
    )
    assert replace(reference, accept=small_force).settings_digest == reference.settings_digest
    assert replace(reference, accept=small_force).identity != reference.identity
    assert replace(reference, label=Method(basis="tz")).settings_digest != reference.settings_digest
    assert replace(reference, settings={"version": 1}).settings_digest != reference.settings_digest


def test_settings_are_known_in_any_order():
    a, b = (Reference(squared, settings) for settings in ({"x": 1, "y": 2}, {"y": 2, "x": 1}))
    assert a.settings_digest == b.settings_digest
    assert len(a.settings_digest) == 16


def test_what_has_no_name_has_no_identity():
    assert list(Reference(lambda geometry: squared(geometry), {"code": "x"})(points([1.0, 0.0])))
    with pytest.raises(ValueError, match="define the function with def"):
        _ = Reference(lambda geometry: squared(geometry), {"code": "x"}).settings_digest
    with pytest.raises(ValueError, match="define the function with def"):
        _ = Reference(DoubleWell(), accept=lambda geometry, labels: None).identity
