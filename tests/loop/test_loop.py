"""The loop: seven stages, each run once, whatever happens in between."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice

import helpers
import label_functions
import numpy as np
import pytest

from agal_toolkit import files
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Epoch, Finished, Labelled, Note, Stage, Step
from agal_toolkit.geometry import Labels, points
from agal_toolkit.loop.generation import KEPT, Generation
from agal_toolkit.loop.loop import Schedule
from agal_toolkit.loop.run_directory import RunDirectoryError
from agal_toolkit.loop.stages import NOT_REACHED, random_stream
from agal_toolkit.loop.stopping import until
from agal_toolkit.references import DoubleWell, Reference
from agal_toolkit.sampling.samplers import Rattle
from agal_toolkit.selection import AtMost
from agal_toolkit.training.trainer import TrainingFailed

STAGES = ["members", "seeds", "adversaries", "verdicts", "labels", "metrics"]
WELL = DoubleWell()


class Stop(Exception):
    """A listener's way to cancel."""


@dataclass(frozen=True)
class Asked:
    """The double well, and a list of every point it was asked about; above `breaks` it raises while
    `mood` says so.
    """

    log: list = field(default_factory=list, compare=False)
    mood: dict = field(default_factory=dict, compare=False)

    def __call__(self, geometry):
        self.log.append(geometry.digest())
        if self.mood.get("broken") and geometry.positions[0, 1] > self.mood.get("above", -np.inf):
            raise RuntimeError("not today")
        return WELL(geometry)


@dataclass(frozen=True)
class Fixed:
    """A sampler that always proposes the same points."""

    positions: tuple[tuple[float, float], ...]

    def __call__(self, committee, dataset, rng, report=None, scratch=None):
        return points(self.positions)


def run(loop, directory=None, count=2, report=None, data=None):
    listener = {} if report is None else {"report": report}
    return list(
        islice(
            loop.generations(helpers.first_data() if data is None else data, directory, **listener),
            count,
        )
    )


def equal(one: Generation, other: Generation) -> bool:
    """Whether two records say the same, bit for bit."""
    batch = one.committee.batch(one.dataset)
    return (
        one.dataset.digest() == other.dataset.digest()
        and one.labelled.digest() == other.labelled.digest()
        and one.verdicts == other.verdicts
        and dict(one.failures) == dict(other.failures)
        and dict(one.metrics) == dict(other.metrics)
        and [a.path.tobytes() for a in one.adversaries]
        == [a.path.tobytes() for a in other.adversaries]
        and one.committee(batch).forces.numpy().tobytes()
        == other.committee(batch).forces.numpy().tobytes()
    )


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """An uninterrupted run of three generations: its folder and its records."""
    folder = tmp_path_factory.mktemp("right") / "run"
    return folder, run(helpers.small_loop(Asked()), folder, 3)


# -- what a generation is


def test_a_generation_keeps_what_happened(right):
    _, generations = right
    size = 20
    for index, generation in enumerate(generations):
        assert generation.index == index
        assert len(generation.dataset) == size
        assert (
            len(generation.adversaries)
            == len(generation.candidates)
            == len(generation.verdicts)
            == 8
        )
        kept = [
            c.geometry
            for c, verdict in zip(generation.candidates, generation.verdicts, strict=True)
            if verdict == KEPT
        ]
        assert 0 < len(kept) <= 4
        assert (
            [g.digest() for g in generation.geometries]
            == [g.digest() for g in kept]
            == [g.digest() for g in generation.labelled]
        )
        assert all(
            g.origin["generation"] == index + 1 and g.origin["by"] == "attack"
            for g in generation.labelled
        )
        np.testing.assert_allclose(
            generation.labelled.energies, [WELL.energy(g.positions)[0] for g in kept]
        )
        assert set(generation.verdicts) <= {KEPT, "Deduplicate", "AtMost", NOT_REACHED}
        assert generation.metrics["rmse"] > 0
        assert set(generation.seconds) == set(STAGES)
        size += len(generation.labelled)
        assert len(generation.grown) == size
    assert repr(generations[0]).startswith("Generation 1: 20 structures, 8 candidates (")


def test_a_loop_is_its_seed(right):
    again = run(helpers.small_loop(Asked()), None, 2)
    assert all(equal(a, b) for a, b in zip(again, right[1], strict=False))
    other = run(helpers.small_loop(Asked(), seed=4), None, 1)
    assert not equal(other[0], right[1][0])


def test_events_tell_the_stages_in_order():
    events = []
    run(helpers.small_loop(), None, 1, events.append)
    stages = [(e.name, e.status) for e in events if isinstance(e, Stage)]
    assert stages == [(name, status) for name in STAGES for status in ("started", "finished")]
    assert Counter(type(e) for e in events) == {
        Stage: 12,
        Epoch: 6,
        Step: 5,
        Labelled: 4,
        Finished: 1,
    }
    assert isinstance(events[-1].generation, Generation)


def test_without_an_attack_the_samples_are_candidates():
    loop = helpers.small_loop(
        recipe=helpers.small_recipe(attack=None, sampler=Rattle(0.3), selectors=(AtMost(5),))
    )
    generation = run(loop, None, 1)[0]
    weights, _ = loop.recipe.folds(generation.dataset, 2, random_stream(loop.seed, 0, "folds"))
    assert generation.adversaries == ()
    assert len(generation.candidates) == weights.any(0).sum() < 20
    assert {c.geometry.origin["by"] for c in generation.candidates} == {"rattle"}
    assert all(np.isnan(c.loss) for c in generation.candidates)
    assert len(generation.labelled) == 5


def test_an_attack_without_a_sound_iterate_is_not_labelled():
    attack = replace(helpers.small_recipe().attack, guard=nothing_is_sound)
    generation = run(helpers.small_loop(recipe=helpers.small_recipe(attack=attack)), None, 1)[0]
    assert set(generation.verdicts) == {NOT_REACHED}
    assert len(generation.labelled) == 0


def nothing_is_sound(batch):
    return batch.pbc.any(-1)


def test_a_schedule_changes_the_recipe(tmp_path):
    early, late = (
        helpers.small_recipe(),
        helpers.small_recipe(attack=None, sampler=Rattle(0.1), selectors=(AtMost(2),)),
    )
    schedule = Schedule({0: early, 2: late})
    assert [schedule(k) is early for k in range(4)] == [True, True, False, False]
    generations = run(helpers.small_loop(recipe=schedule), tmp_path / "run", 3)
    assert [bool(g.adversaries) for g in generations] == [True, True, False]
    assert (
        "recipes" in json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["recipe"]
    )
    with pytest.raises(ValueError, match=r"a schedule starts at generation 0, this one has \[1\]"):
        Schedule({1: early})


# -- a run directory


def test_what_is_on_disk_is_read_not_run(right, tmp_path):
    folder, generations = right
    before = helpers.contents(folder)
    label, events = Asked(), []
    again = run(helpers.small_loop(label), folder, 3, events.append)
    assert all(equal(a, b) for a, b in zip(again, generations, strict=True))
    assert not label.log
    told = [e.text for e in events if isinstance(e, Note)]
    assert told == [f"continuing {folder} at generation 4"]
    assert {type(e) for e in events} == {Stage, Finished, Note}
    assert {e.status for e in events if isinstance(e, Stage)} == {"read"}
    assert all(not g.seconds for g in again)
    assert helpers.contents(folder) == before


def test_a_longer_run_goes_on(tmp_path, right):
    label = Asked()
    run(helpers.small_loop(label), tmp_path / "run", 1)
    calls, events = len(label.log), []
    run(helpers.small_loop(label), tmp_path / "run", 3, events.append)
    assert {e.generation for e in events if isinstance(e, Stage) and e.status == "started"} == {
        1,
        2,
    }
    assert sum(isinstance(e, Epoch) for e in events) == 12
    assert len(label.log) - calls == sum(len(g.labelled) for g in right[1][1:])
    assert len(set(label.log)) == len(label.log)
    assert helpers.contents(tmp_path / "run") == helpers.contents(right[0])


def cancels(kind, generation, **fields):
    """A listener that raises at the first event of a kind with these fields, in or after a
    generation; and what it heard.
    """
    now = [0]

    def listener(event):
        if isinstance(event, Stage):
            now[0] = event.generation
        if (
            isinstance(event, kind)
            and now[0] == generation
            and all(getattr(event, k) == v for k, v in fields.items())
        ):
            raise Stop

    return listener


MOMENTS = [
    *[(Stage, 1, {"name": name, "status": "started"}) for name in STAGES],
    *[(Stage, 0, {"name": name, "status": "finished"}) for name in STAGES],
    (Epoch, 0, {"epoch": 1}),
    (Epoch, 1, {"epoch": 4}),
    (Step, 1, {"step": 2}),
    (Labelled, 0, {"done": 1}),
    (Labelled, 1, {"done": 2}),
    (Finished, 1, {}),
]


@pytest.mark.parametrize(
    ("kind", "generation", "fields"),
    MOMENTS,
    ids=[f"{k.__name__} {g} {' '.join(map(str, f.values()))}" for k, g, f in MOMENTS],
)
def test_cancelled_anywhere_it_ends_like_an_uninterrupted_run(
    kind, generation, fields, right, tmp_path
):
    label = Asked()
    with pytest.raises(Stop):
        run(helpers.small_loop(label), tmp_path / "run", 2, cancels(kind, generation, **fields))
    generations = run(helpers.small_loop(label), tmp_path / "run", 2)
    assert all(equal(a, b) for a, b in zip(generations, right[1], strict=False))
    assert len(label.log) == len(set(label.log)) == sum(len(g.labelled) for g in generations)
    whole = {
        name: value
        for name, value in helpers.contents(right[0]).items()
        if not name.startswith(("generation_002", "labels"))
    }
    mine = {
        name: value
        for name, value in helpers.contents(tmp_path / "run").items()
        if not name.startswith("labels")
    }
    assert mine == whole


def test_a_fit_is_resumed_in_the_middle(tmp_path):
    events = []
    with pytest.raises(Stop):
        run(helpers.small_loop(), tmp_path / "run", 1, cancels(Epoch, 0, epoch=4))
    run(helpers.small_loop(), tmp_path / "run", 1, events.append)
    assert [e.epoch for e in events if isinstance(e, Epoch)] == [4, 5, 6]


def test_nothing_on_disk_is_a_pickle(right):
    files = [file for file in right[0].rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".npz", ".json"}
    for file in files:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                assert all(not arrays[name].dtype.hasobject for name in arrays.files)
        else:
            json.loads(file.read_text())


@pytest.mark.parametrize(
    "name",
    [
        "members/parameters.npz",
        "members/members.json",
        "seeds.npz",
        "adversaries.npz",
        "verdicts.json",
        "labels.npz",
        "metrics.json",
    ],
)
def test_a_truncated_file_is_named_and_can_be_deleted(name, tmp_path):
    loop = helpers.small_loop(Asked())
    run(loop, tmp_path / "run", 1)
    before = helpers.contents(tmp_path / "run")
    file = tmp_path / "run" / "generation_000" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    stage = file.parent if "/" in name else file
    with pytest.raises(
        RunDirectoryError,
        match=rf"{stage.name} is damaged .*: delete it, and it will be computed again",
    ):
        run(loop, tmp_path / "run", 1)
    for part in [file, *(file.parent.iterdir() if "/" in name else [])]:
        part.unlink(missing_ok=True)
    if "/" in name:
        file.parent.rmdir()
    label = Asked()
    run(helpers.small_loop(label), tmp_path / "run", 1)
    assert helpers.contents(tmp_path / "run") == before
    assert not label.log


def test_other_settings_show_their_difference(right):
    folder, _ = right
    recipe = helpers.small_recipe()
    changes = {
        "recipe.trainer.epochs: 6 there, 7 here": {
            "recipe": replace(recipe, trainer=replace(recipe.trainer, epochs=7))
        },
        "recipe.attack.objective.kT: 5.0 there, 6.0 here": {
            "recipe": replace(
                recipe,
                attack=replace(recipe.attack, objective=replace(recipe.attack.objective, kT=6.0)),
            )
        },
        "recipe.selectors[1].count: 4 there, 5 here": {
            "recipe": replace(recipe, selectors=(recipe.selectors[0], AtMost(5)))
        },
        "seed: 3 there, 5 here": {"seed": 5},
        "metrics.rmse: ": {"metrics": {}},
        "reference.label: ": {"label": DoubleWell()},
    }
    for line, change in changes.items():
        loop = helpers.small_loop(**{"label": Asked(), **change})
        with pytest.raises(RunDirectoryError, match="made with other settings") as error:
            run(loop, folder, 1)
        assert f"\n  {line}" in str(error.value)
    with pytest.raises(RunDirectoryError, match=r"\n  dataset: "):
        run(helpers.small_loop(Asked()), folder, 1, data=helpers.first_data(21))


def test_what_does_not_change_results_may_change(right):
    recipe = helpers.small_recipe()
    other = replace(recipe, trainer=replace(recipe.trainer, checkpoint=99.0))
    assert equal(
        run(helpers.small_loop(Reference(Asked(), timeout=9.0, retries=2), other), right[0], 1)[0],
        right[1][0],
    )


def test_foreign_damaged_and_unwritable_directories(tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text('{"settings": {"re')
    (tmp_path / "damaged" / "generation_000").mkdir()
    label, events = Asked(), []
    for place, message in (
        ("foreign", "is not a run directory"),
        ("damaged", "is damaged"),
        ("foreign/thesis.tex/run", "cannot write"),
    ):
        with pytest.raises(RunDirectoryError, match=message):
            run(helpers.small_loop(label), tmp_path / place, 1, events.append)
    assert not label.log
    assert not events


def test_a_full_disk_loses_nothing_that_is_finished(right, tmp_path, monkeypatch):
    real = files.os.replace

    def replace_or_not(part, place):
        if place.name == "labels.npz":
            raise OSError(28, "No space left on device")
        real(part, place)

    label = Asked()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", replace_or_not)
        with pytest.raises(
            RunDirectoryError,
            match=(
                r"cannot write .*labels\.npz .*No space left.*give a directory that can be written"
                r" to; what is finished is kept"
            ),
        ):
            run(helpers.small_loop(label), tmp_path / "run", 1)
    events = []
    assert equal(run(helpers.small_loop(label), tmp_path / "run", 1, events.append)[0], right[1][0])
    assert len(label.log) == 4
    assert not any(isinstance(e, Epoch | Step) for e in events)


def test_what_a_killed_process_left_half_written_is_no_obstacle(right, tmp_path):
    def litter(event):
        if isinstance(event, Stage) and event.status == "started" and event.name != "members":
            (
                tmp_path / "run" / f"generation_{event.generation:03d}" / f"part-{event.name}.npz"
            ).mkdir()

    run(helpers.small_loop(Asked()), tmp_path / "run", 1, litter)
    assert (tmp_path / "run" / "generation_000" / "labels.npz").read_bytes() == (
        right[0] / "generation_000" / "labels.npz"
    ).read_bytes()


# -- what is refused


def test_lambdas_are_refused_with_the_remedy(tmp_path):
    recipe = helpers.small_recipe()
    for loop in (
        helpers.small_loop(metrics={"one": lambda committee, test: 1.0}),
        helpers.small_loop(Reference(lambda geometry: WELL(geometry), settings={"code": "well"})),
        helpers.small_loop(
            recipe=replace(recipe, selectors=(lambda c, d, k, r: np.ones(len(k), dtype=bool),))
        ),
        helpers.small_loop(recipe=lambda generation: recipe),
    ):
        with pytest.raises(
            ValueError,
            match=r"<lambda> has no name to keep results under: define the function with def",
        ):
            run(loop, tmp_path / "run", 1)
        assert not (tmp_path / "run").exists()
        assert len(run(loop, None, 1)) == 1


def test_an_empty_or_small_data_set():
    with pytest.raises(ValueError, match="the data set is empty: a loop needs labelled structures"):
        run(helpers.small_loop(), data=Dataset())
    with pytest.raises(
        ValueError,
        match=(
            r"2 structures to split is too small .* give more structures, or Folds\(train=1,"
            r" valid=0\)"
        ),
    ):
        run(helpers.small_loop(), data=helpers.first_data(2))


def test_what_a_loop_and_a_recipe_refuse():
    with pytest.raises(
        ValueError, match=r"metrics \['rmse'\] need test data: give Loop\(test=...\)"
    ):
        helpers.small_loop(test=None)
    with pytest.raises(ValueError, match="members=1: a committee needs at least two to disagree"):
        helpers.small_recipe(members=1)
    bad = helpers.small_loop(recipe=helpers.small_recipe(selectors=(two_bools,)))
    with pytest.raises(
        ValueError,
        match=r"two_bools.* returned shape \(2,\) for 8 candidates: return one bool for each",
    ):
        run(bad, None, 1)


def two_bools(committee, dataset, candidates, rng):
    return np.ones(2, dtype=bool)


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_failed_training_raises_and_loses_nothing(tmp_path):
    recipe = helpers.small_recipe()
    wild = replace(recipe, trainer=replace(recipe.trainer, learning_rate=1e30))
    loop = helpers.small_loop(recipe=Schedule({0: recipe, 1: wild}))
    generations = []
    told = pytest.warns(UserWarning, match=r"learning_rate=1e\+30: Adam moves each weight")
    with told, pytest.raises(TrainingFailed, match="lower the learning rate"):
        generations.extend(loop.generations(helpers.first_data(), tmp_path / "run"))
    assert len(generations) == 1
    assert (tmp_path / "run" / "generation_000" / "metrics.json").exists()


# -- failures


def test_failed_labels_are_recorded_and_asked_again_on_request(right, tmp_path):
    label = Asked(
        mood={
            "broken": True,
            "above": float(np.median([g.positions[0, 1] for g in right[1][0].labelled])),
        }
    )
    generation = run(helpers.small_loop(label), tmp_path / "run", 1)[0]
    assert 0 < len(generation.failures) < 4
    assert len(generation.labelled) == 4 - len(generation.failures)
    assert all("not today" in reason for reason in generation.failures.values())
    failed = {generation.geometries[i].digest() for i in generation.failures}
    assert failed.isdisjoint(g.digest() for g in generation.labelled)
    assert run(helpers.small_loop(label), tmp_path / "run", 1)[0].failures == generation.failures

    label.mood["broken"] = False
    label.log.clear()
    assert helpers.small_loop(label).retry(tmp_path / "run") == len(failed)
    again = run(helpers.small_loop(label), tmp_path / "run", 2)
    assert set(label.log[: len(failed)]) == failed
    assert len(label.log) == len(failed) + len(again[1].labelled)
    assert all(equal(a, b) for a, b in zip(again, right[1], strict=False))


@pytest.mark.parametrize(
    "moment", [(Epoch, {"epoch": 2}), (Labelled, {"done": 1})], ids=["training", "labelling"]
)
def test_a_retry_after_the_next_generation_began(moment, right, tmp_path):
    label = Asked(
        mood={
            "broken": True,
            "above": float(np.median([g.positions[0, 1] for g in right[1][0].labelled])),
        }
    )
    with pytest.raises(Stop):
        run(helpers.small_loop(label), tmp_path / "run", 2, cancels(moment[0], 1, **moment[1]))
    label.mood["broken"] = False
    assert helpers.small_loop(label).retry(tmp_path / "run") > 0
    again = run(helpers.small_loop(label), tmp_path / "run", 2)
    assert all(equal(a, b) for a, b in zip(again, right[1], strict=False))


def test_a_retry_without_failures_changes_nothing(right):
    before = helpers.contents(right[0])
    assert helpers.small_loop(Asked()).retry(right[0]) == 0
    assert helpers.contents(right[0]) == before


def test_when_every_label_fails_the_loop_goes_on(tmp_path):
    label = Asked(mood={"broken": True})
    generations = list(
        until(
            helpers.small_loop(label).generations(helpers.first_data(), tmp_path / "run"), no_new=2
        )
    )
    assert len(generations) == 2
    assert len(generations[1].grown) == 20
    assert len(generations[0].failures) == 4
    assert len(run(helpers.small_loop(label), tmp_path / "run", 2)[0].failures) == 4


def test_labels_that_raise_hang_or_are_nonsense(tmp_path):
    moods = [
        label_functions.GOOD,
        label_functions.RAISES,
        label_functions.NOT_A_NUMBER,
        label_functions.WRONG_SHAPE,
        label_functions.WRONG_TYPE,
        0.5,
        label_functions.HANGS,
    ]
    recipe = helpers.small_recipe(
        attack=None, selectors=(), sampler=Fixed(tuple((float(x), 0.25) for x in moods))
    )
    events = []
    loop = helpers.small_loop(
        Reference(label_functions.moody, settings={"code": "moody"}, timeout=1.0), recipe
    )
    generation = run(loop, tmp_path / "run", 1, events.append)[0]
    assert [g.positions[0, 0] for g in generation.labelled] == [0.0, 0.5]
    reasons = {
        1: "the SCF did not converge",
        2: "energy is nan",
        3: "shape (4, 2)",
        4: "returned float",
        6: "no answer within 1 s",
    }
    assert generation.failures.keys() == reasons.keys()
    assert all(text in generation.failures[i] for i, text in reasons.items())
    assert sum(e.error is not None for e in events if isinstance(e, Labelled)) == 5


def test_labelled_data_are_ordered_by_candidate_not_by_arrival(right):
    class Backwards(Reference):
        """Answers last things first."""

        def __call__(self, *args, **kwargs):
            return iter(list(super().__call__(*args, **kwargs))[::-1])

    assert equal(run(helpers.small_loop(Backwards(Asked())), None, 1)[0], right[1][0])


# -- with a person in the middle


def asked_and_told(loop, directory, count):
    generation = None
    for _ in range(count):
        proposal = loop.ask(
            helpers.first_data(), directory, after=generation if directory is None else None
        )
        generation = loop.tell(proposal, [WELL(g) for g in proposal.geometries], directory)
        yield generation


@pytest.mark.parametrize("kept", [True, False], ids=["directory", "memory"])
def test_ask_and_tell_is_generations(kept, right, tmp_path):
    folder = tmp_path / "run" if kept else None
    generations = list(asked_and_told(helpers.small_loop(Asked()), folder, 3))
    assert all(equal(a, b) for a, b in zip(generations, right[1], strict=True))
    if kept:
        mine = helpers.contents(tmp_path / "run")
        assert mine == helpers.contents(right[0])  # told labels are in the cache too


def test_asking_again_is_the_same_question(tmp_path):
    loop, events = helpers.small_loop(Asked()), []
    one = loop.ask(helpers.first_data(), tmp_path / "run")
    other = loop.ask(helpers.first_data(), tmp_path / "run", report=events.append)
    assert [g.digest() for g in one.geometries] == [g.digest() for g in other.geometries]
    assert {e.status for e in events if isinstance(e, Stage)} == {"read"}


def test_answers_may_be_missing_or_failures():
    loop = helpers.small_loop(Asked())
    proposal = loop.ask(helpers.first_data())
    answers = [
        WELL(proposal.geometries[0]),
        None,
        ValueError("the beam was off"),
        WELL(proposal.geometries[3]),
    ]
    generation = loop.tell(proposal, answers)
    assert len(generation.labelled) == 2
    assert dict(generation.failures) == {
        1: "no answer",
        2: "the beam was off",
    }
    with pytest.raises(
        ValueError, match="3 answers to 4 geometries: give one for each, None where there is none"
    ):
        loop.tell(proposal, answers[:3])
    with pytest.raises(
        ValueError,
        match=(
            r"forces of geometry 0 have shape \(3, 3\), its positions \(1, 2\): give one force per"
            r" coordinate"
        ),
    ):
        loop.tell(proposal, [Labels(energy=0.0, forces=np.zeros((3, 3))), None, None, None])


# -- data


def test_the_digest_of_data_sees_geometry_label_and_role():
    first = helpers.first_data(3)
    boxes = [replace(geometry, cell=np.eye(2), pbc=True) for geometry in first]
    data = Dataset(boxes, first.labels)
    others = [
        Dataset(data.geometries, data.labels, ["train", "calibration", "train"]),
        data[:2],
        data[[1, 0, 2]],
        Dataset(
            data.geometries,
            [
                replace(data.labels[0], energy=np.nextafter(data.labels[0].energy, 9.0)),
                *data.labels[1:],
            ],
        ),
        Dataset(
            data.geometries, [replace(data.labels[0], stress=np.zeros((2, 2))), *data.labels[1:]]
        ),
    ]
    assert len({d.digest() for d in (data, *others)}) == 6
    assert helpers.first_data(3).digest() == first.digest()


def test_a_structure_keeps_its_place_in_the_split_in_later_generations(right):
    folds = helpers.small_recipe().folds
    loop = helpers.small_loop()
    splits = [folds(g.dataset, 2, random_stream(loop.seed, 0, "folds")) for g in right[1]]
    for weights, valid in splits[1:]:
        np.testing.assert_array_equal(weights[:, :20], splits[0][0])
        np.testing.assert_array_equal(valid[:, :20], splits[0][1])


def answered(tmp_path, *answers):
    """A proposal of a small loop with answers for its first geometries, None for the others."""
    loop, data = helpers.small_loop(), helpers.first_data()
    proposal = loop.ask(data, tmp_path / "run")
    assert len(proposal.geometries) > len(answers)
    return loop, data, proposal, [*answers, *[None] * (len(proposal.geometries) - len(answers))]


def test_told_labels_survive_a_retry(tmp_path):
    loop, data, proposal, answers = answered(tmp_path)
    answers[1:] = [WELL(g) for g in proposal.geometries[1:]]
    loop.tell(proposal, answers, tmp_path / "run")
    assert loop.retry(tmp_path / "run") == 1
    again = loop.ask(data, tmp_path / "run")
    assert [g.digest() for g in again.geometries] == [g.digest() for g in proposal.geometries]
    complete = loop.tell(
        again, [WELL(again.geometries[0]), *[None] * (len(answers) - 1)], tmp_path / "run"
    )
    assert not complete.failures
    assert len(complete.labelled) == len(answers)


def test_a_generation_is_told_once(tmp_path):
    loop, _, proposal, answers = answered(tmp_path)
    loop.tell(proposal, answers, tmp_path / "run")
    with pytest.raises(ValueError, match=r"generation 1 has its labels already.*retry"):
        loop.tell(proposal, [WELL(g) for g in proposal.geometries], tmp_path / "run")


def test_answers_that_are_no_labels_are_refused_before_anything_is_written(tmp_path):
    loop, _, proposal, answers = answered(tmp_path, -3.8)
    with pytest.raises(TypeError, match=r"answer 0 is a float: give Labels"):
        loop.tell(proposal, answers, tmp_path / "run")
    assert not (tmp_path / "run" / "generation_000" / "labels.npz").exists()


def test_retry_needs_a_run_directory(tmp_path):
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        helpers.small_loop().retry(tmp_path / "typo")


def test_settings_tell_apart_what_may_move_and_who_acquired_it():
    data = helpers.first_data(4)
    held = Dataset([replace(g, movable=[False]) for g in data], data.labels)
    later = Dataset([replace(g, origin={"generation": 2}) for g in data], data.labels)
    assert len({d.digest() for d in (data, held, later)}) == 3
