"""What a callable is, as JSON."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import torch

import agal_toolkit
from agal_toolkit.attack import Adam, Attack, BoltzmannVariance
from agal_toolkit.potentials import MLP
from agal_toolkit.settings import (
    ADDED,
    from_settings,
    is_frozen,
    machine,
    name_of,
    parameters,
    settings_digest,
    to_code,
    to_settings,
)


@dataclass(frozen=True)
class Method:
    """A label function as a dataclass."""

    cutoff: float
    threads: int = field(default=1, compare=False)


@dataclass
class Loose:
    """Not frozen."""

    cutoff: float


def test_plain_values_stay_what_they_are():
    plain = {"a": [1, 2.5, "x", None, True], "b": {"c": [[]]}}
    assert to_settings(plain) == plain


def test_values_of_libraries_become_plain():
    given = {
        "dtype": torch.float32,
        "array": np.eye(2),
        "number": np.int64(3),
        "path": Path("a/b"),
        "far": math.inf,
        "tuple": (1, 2),
        5: 6,
    }
    right = {
        "dtype": "torch.float32",
        "array": [[1.0, 0.0], [0.0, 1.0]],
        "number": 3,
        "path": "a/b",
        "far": "inf",
        "tuple": [1, 2],
        "5": 6,
    }
    assert to_settings(given) == right
    json.dumps(to_settings(given), allow_nan=False)


def test_dataclasses_functions_and_partials_are_named():
    assert to_settings(Method(2.0)) == {"name": f"{__name__}.Method", "cutoff": 2.0}
    assert to_settings(partial(MLP, 2, width=8)) == {
        "name": "agal_toolkit.MLP",
        "args": [2],
        "keywords": {"width": 8},
    }
    assert to_settings(math.sqrt) == "math.sqrt"
    assert to_settings(Method) == f"{__name__}.Method"
    assert to_settings(Attack(BoltzmannVariance(5.0), Adam(0.1, 3)))["objective"]["kT"] == 5.0


def test_fields_that_do_not_compare_change_nothing():
    assert parameters(Method(2.0, threads=8)) == {"cutoff": 2.0}
    assert settings_digest(to_settings(Method(2.0, threads=8))) == settings_digest(
        to_settings(Method(2.0))
    )
    assert settings_digest(to_settings(Method(2.0))) != settings_digest(to_settings(Method(2.1)))


def test_only_instances_of_frozen_dataclasses_are_frozen():
    assert is_frozen(Method(1.0))
    assert not is_frozen(Method)
    assert not is_frozen(Loose(1.0))
    assert not is_frozen(3)


def test_names_of_callables():
    assert name_of(partial(partial(math.hypot, 1), 2)) == "math.hypot"
    assert name_of(Method(1.0)) == f"{__name__}.Method"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (
            {"a": [0, lambda x: x]},
            ValueError,
            "<lambda> has no name to keep results under: define the function with def",
        ),
        ({"a": {"b": math.nan}}, ValueError, r"settings\['a'\]\['b'\] is nan"),
        (
            {"a": Loose(1.0)},
            TypeError,
            r"settings\['a'\] holds a Loose, which has no JSON.*field\(compare=False\)",
        ),
        ({(1, 2): 3}, TypeError, r"settings has the key \(1, 2\)"),
        (partial(math.hypot, object()), TypeError, r"settings\[0\] holds a object"),
    ],
)
def test_what_has_no_json_is_named_with_its_place(value, error, message):
    with pytest.raises(error, match=message):
        to_settings(value)


def test_the_order_of_keys_does_not_matter():
    assert settings_digest({"a": 1, "b": 2}) == settings_digest({"b": 2, "a": 1})
    assert len(settings_digest({})) == 16
    assert settings_digest({"a": 1}) != settings_digest({"a": 1.5})


def test_the_machine_names_versions():
    said = machine()
    assert said["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    json.dumps(said)


def test_a_closure_has_no_name():
    def made(power):
        def metric(committee, test):
            return power

        return metric

    with pytest.raises(ValueError, match="captured variables have no name"):
        to_settings(made(2))


@dataclass(frozen=True)
class Newer:
    """A class whose `shared` is younger than the files that hold it."""

    cutoff: float
    shared: bool = True


def network(seeds, width=8, *, shared=True):
    """A network whose keyword `shared` is younger than the files that hold it."""


def test_files_without_a_new_field_agree_with_the_value_that_means_what_was_done_then(monkeypatch):
    for name in ("Newer", "network"):
        monkeypatch.setitem(ADDED, f"{__name__}.{name}", {"shared": False})
    assert to_settings(Newer(2.0, shared=False)) == {"name": f"{__name__}.Newer", "cutoff": 2.0}
    assert to_settings(Newer(2.0))["shared"] is True
    # a keyword that is not given has its default, which is not what was done then
    partials = [partial(network, width=4), partial(network, width=4, shared=False)]
    told = [to_settings(one)["keywords"] for one in partials]
    assert told == [{"width": 4, "shared": True}, {"width": 4}]


def test_what_was_added_exists():
    """An entry for a field that was renamed or mistyped would silently do nothing."""
    homes = {
        name_of(value): value
        for module in [m for n, m in sys.modules.items() if n.startswith("agal_toolkit.")]
        for value in vars(module).values()
        if callable(value) and getattr(value, "__module__", "").startswith("agal_toolkit.")
    }
    assert agal_toolkit.TorchTrainer in homes.values()
    for name, added in ADDED.items():
        assert set(added) <= set(signature(homes[name]).parameters), name


RESULTS = Path(agal_toolkit.__file__).parent.parent / "notebooks" / "results"


def recipes(value):
    """The settings of recipes and schedules inside of a JSON value."""
    if isinstance(value, dict) and value.get("name") in (
        "agal_toolkit.Recipe",
        "agal_toolkit.Schedule",
    ):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from recipes(item)


def test_every_recipe_of_the_results_is_built_from_its_settings():
    files = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    found = [settings for file in files for settings in recipes(file)]
    assert len(found) > 30
    for settings in found:
        built = from_settings(settings)
        assert to_settings(built) == settings
        assert type(built).__name__ in settings["name"]


def test_objects_come_back_with_their_types():
    network = partial(agal_toolkit.DensityNet, [1, 7], cutoff=4.5, dtype=torch.float64)
    trainer = agal_toolkit.TorchTrainer(network=network, epochs=3, equal_batches=False)
    back = from_settings(to_settings(trainer))
    assert back.network.keywords == {"cutoff": 4.5, "dtype": torch.float64}
    assert next(back.network([0]).parameters()).dtype == torch.float64
    assert back.equal_batches is False  # what a file of old means, not the default
    assert from_settings(to_settings({"p": float("inf"), "name": "water", 3: [1, 2.5]})) == {
        "p": float("inf"),
        "name": "water",
        3: (1, 2.5),
    }
    assert from_settings(to_settings(agal_toolkit.Deduplicate(0.1, known=False))).known is False
    assert from_settings("agal_toolkit.MLP") is agal_toolkit.MLP
    ammonia = agal_toolkit.Geometry(positions=np.eye(3), numbers=[1, 1, 7], movable=[1, 0, 1])
    assert from_settings(to_settings(ammonia)).digest() == ammonia.digest()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "os.system", "args": ["true"], "keywords": {}},
        {"name": "test_settings.Newer", "cutoff": 2.0},
        {"name": "agal_toolkit._public", "args": [], "keywords": {}},
        {"name": "agal_toolkit.files.os", "args": [], "keywords": {}},
        ["agal_toolkit.nothing"],
    ],
)
def test_names_of_others_are_not_looked_up(wrong):
    with pytest.raises(ValueError, match="which is no public name of agal_toolkit"):
        from_settings(wrong)


def test_functions_are_not_called_and_other_versions_are_noticed():
    with pytest.raises(
        ValueError, match=r"settings is agal_toolkit\.machine, which is no dataclass"
    ):
        from_settings({"name": "agal_toolkit.machine"})
    settings = to_settings(agal_toolkit.Adam(0.1, 3))
    del settings["steps"]
    with pytest.raises((ValueError, TypeError), match=r"steps|another version"):
        from_settings(settings)
    with pytest.raises(TypeError, match="momentum"):
        from_settings(to_settings(agal_toolkit.Adam(0.1, 3)) | {"momentum": 3})


def test_code_makes_the_same_object_again():
    names = {"agal": agal_toolkit, "partial": partial, "pathlib": sys.modules["pathlib"]}
    trainer = agal_toolkit.TorchTrainer(network=partial(MLP, 2, width=8), epochs=3)
    attack = Attack(BoltzmannVariance(5.0), bound=agal_toolkit.Ball(0.5, math.inf))
    copies = agal_toolkit.Copies(agal_toolkit.points([[1.0, -0.5]])[0], 2)
    for value in (trainer, attack, copies, (1,), [], {"a": np.float64(2.5), "b": Path}):
        code = to_code(value)
        assert to_settings(eval(code, names)) == to_settings(value)
        assert max(map(len, code.splitlines())) <= 88
    assert to_code(Adam(0.1, 5)).startswith("agal.Adam(learning_rate=0.1, steps=5, betas=(0.9, ")
