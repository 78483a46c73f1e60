"""Objects as JSON settings, under which their results are kept and found again.

A frozen dataclass is described by its fields. Fields declared with ``field(compare=False)`` are
left out: they take no part in equality and do not change results (a number of threads, a scratch
folder). Classes and functions of this package are named without their module, so that files stay
readable when code moves; a test keeps these names unique.

Settings that are on disk stay comparable when a class gets a new field: :data:`ADDED` lists the
field with the value that means what was done before there was a choice, and with that value the
field is not written. So old and new files agree where the same is done, and digests stay.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path, PurePath
from textwrap import indent
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

# Fields that did not exist in format 2 of run directories and result files, and the value (as JSON)
# that means what was done then: class or function -> field or keyword -> value. The default of a
# new field may be another value; whoever wants the old numbers names the old value. Add a line for
# each new field; never change or remove one.
ADDED: dict[str, dict[str, Any]] = {
    "agal_toolkit.Geometry": {"isotopes": None},
    "agal_toolkit.Adam": {"relative": None},
    "agal_toolkit.Attack": {"accept": ["did not move"]},
    "agal_toolkit.Ball": {"strain": None},
    "agal_toolkit.Deduplicate": {"known": False},
    "agal_toolkit.Recipe": {"reserve": 0.0, "errors_of": "members", "laws_per_element": False},
    "agal_toolkit.TargetError": {"relative": False},
    "agal_toolkit.TorchTrainer": {
        "equal_batches": False,
        "must_learn": False,
        "warm": None,
        "likelihood": None,
        "optimizer": "adam",
    },
}


def is_frozen(value: object) -> bool:
    """Return whether `value` is an instance of a frozen dataclass."""
    params = getattr(type(value), "__dataclass_params__", None)
    return params is not None and params.frozen


def name_of(function: Callable) -> str:
    """Return the module and qualified name of a function or class.

    Other callables have the name of their class, and partials that of the function they call. Names
    of this package are ``agal_toolkit.<name>``, whatever the module.

    Raises:
        ValueError: a lambda, which has no name.
    """
    if isinstance(function, partial):
        return name_of(function.func)
    has_name = isinstance(function, (type, FunctionType, BuiltinFunctionType, MethodType))
    named = function if has_name else type(function)
    if "<lambda>" in named.__qualname__:
        place = f"{named.__module__}.{named.__qualname__}"
        raise ValueError(f"{place} has no name to keep results under: define the function with def")
    package = __name__.partition(".")[0]
    module = package if named.__module__.partition(".")[0] == package else named.__module__
    return f"{module}.{named.__qualname__}"


def to_settings(value: Any, where: str = "settings") -> Any:
    """Return `value` as plain JSON; dataclasses and callables become names and parameters.

    Args:
        value: numbers, strings, arrays, mappings, sequences, frozen dataclasses and callables.
        where: the place of `value`, for errors.

    Raises:
        TypeError: a value that has no JSON.
        ValueError: NaN, a lambda, or a function with captured variables.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError(f"{where} is {value}, which JSON does not know: give a number or None")
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, (np.generic, np.ndarray)):
        return to_settings(value.tolist(), where)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int)):
                remedy = "which JSON does not know: use a string"
                raise TypeError(f"{where} has the key {key!r}, {remedy}")
        return {str(key): to_settings(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_settings(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if is_frozen(value):
        return {"name": name_of(type(value)), **parameters(value, where)}
    if isinstance(value, partial):
        name, keywords = name_of(value), value.keywords
        if name in ADDED:  # a keyword that is not given has its default, which may be new
            known = signature(value.func).parameters
            keywords = {key: known[key].default for key in ADDED[name]} | keywords
        return {
            "name": name,
            "args": to_settings(value.args, where),
            "keywords": _without_old(name, to_settings(keywords, where)),
        }
    # name_of refuses a lambda first
    if isinstance(value, FunctionType) and name_of(value) and value.__closure__:
        raise ValueError(
            f"{where} is {value.__qualname__}, whose captured variables have no name to keep"
            " results under: make it a frozen dataclass or a functools.partial of its parameters"
        )
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return name_of(value)
    raise TypeError(
        f"{where} holds a {type(value).__name__}, which has no JSON: give numbers, strings, lists,"
        " mappings or frozen dataclasses; a field that does not change results may be declared"
        " with field(compare=False)"
    )


def from_settings(plain: Any, where: str = "settings") -> Any:
    """Return an object that has the settings `plain`, made of this package's public classes.

    Inverts :func:`to_settings`, with tuples for sequences. Nothing is unpickled, and nothing is
    imported that is not a file of this package. Fields that do not change results have their
    default; those of :data:`ADDED` that are not stored have their old value.

    Raises:
        ValueError: a class or function of somebody else, or settings of another version.
    """
    built = _built(plain, where)
    if to_settings(built, where) != plain:
        raise ValueError(f"{where} were written by another version, which did other things")
    return built


def _built(plain: Any, where: str) -> Any:
    if isinstance(plain, list):
        return tuple(_built(item, f"{where}[{index}]") for index, item in enumerate(plain))
    if isinstance(plain, str):
        if plain in ("inf", "-inf"):
            return float(plain)
        dtype = getattr(torch, plain.removeprefix("torch."), None)
        if isinstance(dtype, torch.dtype) or not re.fullmatch(r"([^\W\d]\w*\.)+\w+", plain):
            return dtype if isinstance(dtype, torch.dtype) else plain
        if (ours := _public(plain)) is None:
            package = __name__.partition(".")[0]
            raise ValueError(f"{where} is {plain}, which is no public name of {package}")
        return ours
    if not isinstance(plain, Mapping):
        return plain
    name = str(plain.get("name"))
    made: Any = _built(name, where)
    rest = {key: item for key, item in plain.items() if key != "name"}
    if made == name:  # a mapping; JSON has no integers as keys
        pairs = ((key, _built(item, f"{where}.{key}")) for key, item in plain.items())
        return {int(key) if re.fullmatch(r"-?\d+", key) else key: item for key, item in pairs}
    if set(rest) == {"args", "keywords"}:
        keywords = _built(ADDED.get(name, {}) | rest["keywords"], where)
        return partial(made, *_built(rest["args"], where), **keywords)
    if not (isinstance(made, type) and is_dataclass(made)):
        raise ValueError(f"{where} is {name}, which is no dataclass")
    return made(**_built(ADDED.get(name, {}) | rest, where))


@cache
def _public(name: str) -> Any:
    """Return the class or function of this package with a public name, None if there is none."""
    (package, _, bare), root = name.rpartition("."), Path(__file__).parent
    files = sorted(root.rglob("*.py")) if package == root.name and bare[0] != "_" else []
    for file in files:
        if re.search(rf"^(class|def) {bare}\b", file.read_text(encoding="utf-8"), re.MULTILINE):
            module = ".".join((package, *file.relative_to(root).with_suffix("").parts))
            return getattr(import_module(module), bare)
    return None


def parameters(value: Any, where: str = "settings") -> dict[str, Any]:
    """Return the fields of a dataclass instance that take part in equality, as plain JSON."""
    plain = {}
    for field in fields(value):
        if field.compare:
            item = to_settings(getattr(value, field.name), f"{where}.{field.name}")
            real = "float" in str(field.type) and "int" not in str(field.type)
            plain[field.name] = _floats(item) if real else item
    return _without_old(name_of(type(value)), plain)


def to_code(value: Any, width: int = 88) -> str:
    """Return Python code that makes `value` again, with ``import agal_toolkit as agal``.

    Frozen dataclasses show all their fields. Partials need ``from functools import partial``.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return to_code(value.tolist(), width)
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return name_of(value).replace("agal_toolkit.", "agal.").removeprefix("builtins.")
    if isinstance(value, partial):
        items = [("", part) for part in (value.func, *value.args)]
        items += [(f"{key}=", item) for key, item in value.keywords.items()]
        opening, closing = "partial(", ")"
    elif is_frozen(value):
        items = [(f"{f.name}=", getattr(value, f.name)) for f in fields(value) if f.init]
        opening, closing = f"{to_code(type(value))}(", ")"
    elif isinstance(value, Mapping):
        items, opening, closing = [(f"{k!r}: ", item) for k, item in value.items()], "{", "}"
    elif isinstance(value, (list, tuple)):
        items = [("", item) for item in value]
        opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")")
    else:
        return f"float('{value}')" if value in (math.inf, -math.inf) else repr(value)
    parts = [key + to_code(item, width - 4) for key, item in items]
    line = ", ".join(parts) + "," * (opening == "(" and len(parts) == 1)
    if "\n" not in line and len(opening + line + closing) <= width:
        return opening + line + closing
    return "\n".join([opening, *(indent(part, "    ") + "," for part in parts), closing])


def _floats(item: Any) -> Any:
    """Return JSON with floats for whole numbers, so that 300 and 300.0 are one setting."""
    if isinstance(item, list):
        return [_floats(part) for part in item]
    return float(item) if isinstance(item, int) and not isinstance(item, bool) else item


def _without_old(name: str, plain: dict[str, Any]) -> dict[str, Any]:
    """Leave out what :data:`ADDED` lists for `name`, where it has the value listed there."""
    old = ADDED.get(name, {})
    return {key: item for key, item in plain.items() if key not in old or item != old[key]}


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that name JSON `settings`, whatever the order of their keys."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of equal length as lines of right-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pairs = (zip(row, widths, strict=True) for row in rows)
    return "\n".join("  ".join(cell.rjust(width) for cell, width in row) for row in pairs)


def differences(stored: Any, given: Any, where: str = "") -> list[str]:
    """Return one line for each place where two JSON values differ."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        keys = sorted(set(stored) | set(given))
        pairs = [(stored.get(key, "nothing"), given.get(key, "nothing")) for key in keys]
        places = [f"{where}.{key}" if where else key for key in keys]
    elif isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        pairs = list(zip(stored, given, strict=True))
        places = [f"{where}[{i}]" for i in range(len(pairs))]
    else:
        same = stored == given
        return [] if same else [f"{where}: {json.dumps(stored)} there, {json.dumps(given)} here"]
    items = zip(pairs, places, strict=True)
    return [line for (a, b), place in items for line in differences(a, b, place)]


def machine() -> dict[str, Any]:
    """Return platform, threads, GPU, Python and library versions that a result is computed with."""
    libraries = {name: version(name) for name in ("torch", "numpy", "scipy", "ase", "agal_toolkit")}
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    system = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads{gpu}"
    return {"machine": system, "python": platform.python_version(), "versions": libraries}
