"""Everything that a person holds can be pickled and copied: for joblib, dask, or a new process."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import io
import pickle
import pkgutil
import re
from functools import partial

import helpers
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from numpy.random import default_rng

import agal_toolkit as agal
from agal_toolkit.batch import Batch
from agal_toolkit.potentials import Baseline, CalculatorPotential, PotentialCalculator, Stacked


def public_classes():
    """Every public class of the rooms, widgets and pictures aside."""
    found = {}
    for module in pkgutil.walk_packages(agal.__path__, "agal_toolkit."):
        if module.name.split(".")[1] in ("widgets", "plots"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            own = getattr(value, "__module__", "").startswith("agal_toolkit")
            if own and not name.startswith("_"):
                found[f"{value.__module__}.{name}"] = value
    return found


def test_every_public_name_can_be_pickled():
    for name, value in public_classes().items():
        if isinstance(value, type) or callable(value):
            assert pickle.loads(pickle.dumps(value)) is value, name


def held_out(data):
    return agal.Dataset(data.geometries, data.labels, ["calibration"] * len(data))


def instances():
    rng = default_rng(0)
    data = helpers.well_data(rng, 12)
    committee = helpers.mlp_committee(3)
    calibrated = committee.calibrated(held_out(data), "linear")
    baseline = Baseline({1: -13.6, 8: -2040.0})
    trainer = agal.TorchTrainer(network=partial(agal.MLP, 2), epochs=2, baseline=baseline)
    loop = helpers.small_loop()
    atoms = bulk("Cu", cubic=True)
    atoms.calc = PotentialCalculator(agal.Committee.from_calculators([EMT()]).mean)
    made = [
        *(data, data[0], data.labels[0], committee, calibrated, calibrated.mean, baseline, trainer),
        *(loop, loop.recipe, loop.reference, agal.Schedule({0: loop.recipe})),
        *(committee.batch(list(data)), committee.predict(list(data)), calibrated.calibration),
        *(atoms, atoms.calc, CalculatorPotential(EMT()), Stacked(helpers.network([1]), baseline)),
        *(agal.SchNet([1, 8], [0]), agal.DensityNet([1, 8], [0]), agal.Committee([EMT()])),
        next(loop.generations(helpers.first_data())),
        loop.ask(helpers.first_data()),
    ]
    for value in public_classes().values():  # frozen settings that need no arguments
        if isinstance(value, type) and dataclasses.is_dataclass(value):
            required = [
                f
                for f in dataclasses.fields(value)
                if f.init
                and f.default is dataclasses.MISSING
                and f.default_factory is dataclasses.MISSING
            ]
            if not required:
                try:
                    made.append(value())
                except (TypeError, ValueError):  # nothing means nothing to it
                    continue
    return made


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


@pytest.mark.parametrize("again", [pickled, copy.deepcopy, saved])
def test_instances_come_back_equal(again):
    for value in instances():
        other = again(value)
        assert type(other) is type(value)
        assert re.sub(r"0x\w+", "", repr(other)) == re.sub(r"0x\w+", "", repr(value))


@pytest.mark.parametrize("again", [pickled, copy.deepcopy])
def test_a_committee_predicts_the_same_after_it(again, rng):
    data = helpers.well_data(rng, 12)
    committee = helpers.mlp_committee(3).calibrated(held_out(data), "linear")
    one, other = committee.predict(list(data)), again(committee).predict(list(data))
    assert torch.equal(one.forces, other.forces)
    assert again(committee).calibration.to_json() == committee.calibration.to_json()
    net = agal.Committee(Stacked(agal.SchNet([1, 7], [0, 1], features=8, filters=8)))
    batch = Batch.of([helpers.ammonia()])
    assert torch.equal(again(net)(batch).forces, net(batch).forces)


def test_atoms_with_a_committee_are_copied_with_it():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = PotentialCalculator(agal.Committee.from_calculators([EMT()]).mean)
    other = copy.deepcopy(atoms)
    assert other.calc is not atoms.calc
    assert np.array_equal(other.get_forces(), atoms.get_forces())


def test_baselines_can_be_keys():
    one, other = Baseline({8: -2040.0, 1: -13.6}), Baseline({1: -13.6, 8: -2040.0})
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    assert Baseline({1: -13.5}) not in {one}


def test_settings_are_equal_where_the_objects_are():
    one, other = agal.XTB(temperature=300), agal.XTB(temperature=300.0)
    assert one == other
    assert agal.Reference(one).settings_digest == agal.Reference(other).settings_digest
    different = agal.Reference(agal.XTB(temperature=301))
    assert different.settings_digest != agal.Reference(one).settings_digest
