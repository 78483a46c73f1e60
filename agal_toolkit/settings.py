"""What a callable is, as JSON: the name under which its results may be kept and found again.

Frozen dataclasses describe themselves. A field declared with ``field(compare=False)`` is left out:
it takes no part in equality, so it does not change results either (a number of threads, a scratch
folder). Classes and functions of this package are named without their module, so that files stay
readable when code moves; a test keeps these names unique.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from importlib.metadata import version
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch


def is_frozen(value: object) -> bool:
    """Whether `value` is an instance of a frozen dataclass."""
    return is_dataclass(value) and not isinstance(value, type) and value.__dataclass_params__.frozen


def name_of(function: Callable) -> str:
    """Module and qualified name of a function or class; of the class of any other callable; of what
    a partial calls.

    The name of something of this package is ``agal_toolkit.<name>``, whatever its module.

    Raises:
        ValueError: a lambda, which has no name.
    """
    if isinstance(function, partial):
        return name_of(function.func)
    named = (
        function
        if isinstance(function, (type, FunctionType, BuiltinFunctionType, MethodType))
        else type(function)
    )
    if "<lambda>" in named.__qualname__:
        raise ValueError(
            f"{named.__module__}.{named.__qualname__} has no name to keep results under: define the"
            " function with def"
        )
    package = __name__.partition(".")[0]
    module = package if named.__module__.partition(".")[0] == package else named.__module__
    return f"{module}.{named.__qualname__}"


def to_settings(value: Any, where: str = "settings") -> Any:
    """`value` as plain JSON; a dataclass or callable inside becomes its name and its parameters.

    Raises:
        TypeError: something that has no JSON; `where` and its place name it.
        ValueError: NaN.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError(
                f"{where} is {value}, which JSON does not know: give a number, or None"
            )
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
                raise TypeError(
                    f"{where} has the key {key!r}, which JSON does not know: use a string"
                )
        return {str(key): to_settings(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_settings(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if is_frozen(value):
        return {"name": name_of(type(value)), **parameters(value, where)}
    if isinstance(value, partial):
        return {
            "name": name_of(value),
            "args": to_settings(value.args, where),
            "keywords": to_settings(value.keywords, where),
        }
    if (
        isinstance(value, FunctionType) and name_of(value) and value.__closure__
    ):  # name_of refuses a lambda first
        raise ValueError(
            f"{where} is {value.__qualname__}, whose captured variables have no name to keep"
            " results under: make it a frozen dataclass or a functools.partial of its parameters"
        )
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return name_of(value)
    raise TypeError(
        f"{where} holds a {type(value).__name__}, which has no JSON: give numbers, strings, lists,"
        " mappings or frozen dataclasses, or, for a field of a dataclass that does not change"
        " results, declare it with field(compare=False)"
    )


def parameters(value: Any, where: str = "settings") -> dict[str, Any]:
    """The fields of a dataclass instance that take part in equality, as plain JSON."""
    return {
        field.name: to_settings(getattr(value, field.name), f"{where}.{field.name}")
        for field in fields(value)
        if field.compare
    }


def digest(description: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that name a JSON `description`, whatever the order of its keys."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def machine() -> dict[str, Any]:
    """Where and with what a result is computed: platform, threads, GPU, Python and the versions of
    the libraries that matter.
    """
    libraries = {name: version(name) for name in ("torch", "numpy", "scipy", "ase", "agal_toolkit")}
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {
        "machine": (
            f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads{gpu}"
        ),
        "python": platform.python_version(),
        "versions": libraries,
    }
