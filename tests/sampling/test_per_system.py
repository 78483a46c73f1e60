"""One sampler for each system among the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import helpers
import numpy as np
import pytest

from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Note
from agal_toolkit.sampling import FromDataset, NoSeeds, PerSystem, Rattle
from agal_toolkit.settings import to_settings

NAMES = ["ice", "liquid", "ice", None, "liquid", "ice"]


def named(names=NAMES):
    data = helpers.first_data(len(names))
    geometries = [
        g if name is None else replace(g, origin={"system": name})
        for g, name in zip(data, names, strict=True)
    ]
    return Dataset(geometries, data.labels)


@dataclass(frozen=True)
class Seen:
    """Writes what it is called with; finds nothing in data of `without`."""

    without: str = ""

    def __call__(self, committee, dataset, rng, report, scratch):
        report(Note(None, f"{[g.origin.get('system') for g in dataset]} {scratch}"))
        if dataset[0].origin.get("system") == self.without:
            raise NoSeeds("it boiled away")
        # a sampler that forgets where structures come from
        return [replace(dataset[0].moved(rng.normal(size=(1, 2))), origin={"by": "seen"})]


def test_each_system_has_its_own_structures_folder_and_random_numbers(tmp_path):
    events = []
    seeds = PerSystem(Seen())(None, named(), np.random.default_rng(3), events.append, tmp_path)
    assert [event.text for event in events] == [
        f"['ice', 'ice', 'ice'] {tmp_path / '0'}",
        f"['liquid', 'liquid'] {tmp_path / '1'}",
        f"[None] {tmp_path / '2'}",
    ]
    assert [dict(g.origin) for g in seeds] == [
        {"by": "seen", "system": "ice"},
        {"by": "seen", "system": "liquid"},
        {"by": "seen"},
    ]
    for seed, rng in zip(seeds, np.random.default_rng(3).spawn(3), strict=True):
        np.testing.assert_array_equal(seed.positions, rng.normal(size=(1, 2)))
    # structures of a new system change nothing for the others
    more = PerSystem(Seen())(None, named([*NAMES, "gas"]), np.random.default_rng(3))
    assert [g.digest() for g in more[:3]] == [g.digest() for g in seeds]


def test_a_system_without_seeds_is_told_and_does_not_stop_the_others():
    events, sampler = [], PerSystem(Seen(without="ice"))
    seeds = sampler(None, named(), np.random.default_rng(3), events.append)
    assert [g.origin.get("system") for g in seeds] == ["liquid", None]
    assert events[1].text == "system 'ice' has no seeds: it boiled away"
    with pytest.raises(NoSeeds, match=r"^system 'ice' has no seeds: it boiled away$"):
        sampler(None, named(["ice", "ice"]), np.random.default_rng(3))

    def faulty(committee, dataset, rng, report, scratch):
        raise RuntimeError("a fault of the program")

    with pytest.raises(RuntimeError, match="a fault"):
        PerSystem(Seen(), {"liquid": faulty})(None, named(), np.random.default_rng(3))


def test_systems_may_have_samplers_of_their_own():
    sampler = PerSystem(FromDataset(), {"liquid": Rattle(0.1, copies=2)})
    seeds = sampler(None, named(), np.random.default_rng(3))
    assert [(g.origin.get("system"), g.origin.get("by")) for g in seeds] == [
        *[("ice", None)] * 3,
        *[("liquid", "rattle")] * 4,
        (None, None),
    ]
    with pytest.raises(ValueError, match=r"samplers are given for \['liqid'\], the data have"):
        PerSystem(FromDataset(), {"liqid": Rattle(0.1)})(None, named(), np.random.default_rng(3))
    stored = to_settings(sampler)
    assert stored["name"] == "agal_toolkit.PerSystem"
    assert stored["samplers"]["liquid"]["name"] == "agal_toolkit.Rattle"


def test_a_loop_keeps_systems_apart(tmp_path):
    """Acquired structures belong to the system of their seed, in the next generation too."""
    recipe = helpers.small_recipe(sampler=PerSystem(FromDataset(3)), selectors=())
    loop = helpers.small_loop(recipe=recipe)
    first, second = islice(loop.generations(named(["a", "b"] * 8), tmp_path), 2)
    for turn in (first, second):
        assert [c.geometry.origin["system"] for c in turn.candidates] == ["a"] * 3 + ["b"] * 3
    assert {g.origin["system"] for g in second.dataset[16:]} == {"a", "b"}
