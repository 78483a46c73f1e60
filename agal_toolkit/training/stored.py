"""One file with the members of a committee, which opens without the script that trained them.

It is an npz file: the parameters, and a record in JSON, from which a network of this package is
built again by its name and keywords. Nothing is unpickled, and a digest proves the whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..files import absolute, atomic_write, read_arrays, reading, write_arrays
from ..potentials.density import DensityNet
from ..potentials.members import Stacked
from ..potentials.mlp import MLP
from ..potentials.protocol import Members
from ..potentials.schnet import SchNet
from ..settings import machine, name_of
from .weights import Network, packed, unpacked

KIND, FORMAT = "agal_toolkit committee", 1
NETWORKS = {name_of(network): network for network in (MLP, SchNet, DensityNet)}
UNITS = {"length": "angstrom", "energy": "eV", "forces": "eV/angstrom", "stress": "eV/angstrom^3"}
PREFIX = "parameters/"  # of the names of arrays


def save_stacked(members: Members, path: str | os.PathLike, more: Mapping[str, Any]) -> None:
    """Write members and `more` plain JSON to one file, which has its name once it is complete.

    Raises:
        TypeError: members that are not :class:`~agal_toolkit.potentials.Stacked`.
    """
    if not isinstance(members, Stacked):
        wrong = f"members are {type(members).__name__}, whose parameters are not ours to write"
        raise TypeError(f"{wrong}: save committees of Stacked(network), each in a file of its own")
    module = members.module
    record, arrays = packed(members)
    name = name_of(type(module))
    # a network of the user has no keywords here; load needs it again
    keywords = module.keywords if isinstance(module, tuple(NETWORKS.values())) else None
    keywords = keywords if name in NETWORKS else None
    record |= {"kind": KIND, "format": FORMAT, "class": name, "keywords": keywords}
    record |= {"dtype": str(next(module.parameters()).dtype).removeprefix("torch.")}
    record |= {"units": UNITS, "versions": machine()["versions"], **more}
    arrays = {PREFIX + key: array for key, array in arrays.items()}
    with atomic_write(absolute(path)) as part:
        write_arrays(part, {**arrays, "record": np.array(json.dumps(record))}, {})


def load_stacked(
    path: str | os.PathLike, network: Network | None = None, device: str = "cpu"
) -> tuple[Stacked, dict[str, Any]]:
    """Return the members of a file and its record; `network` builds a network of the user.

    Raises:
        FileNotFoundError: no file.
        DamagedFile: a damaged file, or one of something else.
        ValueError: a file of a newer version, or of another network.
    """
    file = absolute(path)
    record, arrays = read_stacked(file)
    if network is None:
        if record["keywords"] is None:
            wrong = f"{file} holds a network that is not of this package, {record['class']}"
            raise ValueError(f"{wrong}: give load(path, network=...) what makes it from seeds")
        if record["class"] not in NETWORKS:
            wrong = f"{file} holds a {record['class']}, this version has {', '.join(NETWORKS)}"
            raise ValueError(f"{wrong}: update agal_toolkit")
        dtype = {"float32": torch.float32, "float64": torch.float64}[record["dtype"]]

        def ours(seeds: Sequence[int]) -> nn.Module:
            return NETWORKS[record["class"]](seeds=seeds, **record["keywords"], dtype=dtype)

        network = ours
    return unpacked(network, record, arrays, file, device), record


def read_stacked(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return the record of a file (network, units, versions, ...) and its parameters by name."""
    file = absolute(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}: give one that committee.save wrote")
    with reading(file, "give a file that committee.save wrote, or save the committee again"):
        arrays = read_arrays(file, {})
        record = json.loads(str(arrays.pop("record", "{}")))
        if record.get("kind") != KIND:
            raise ValueError("it holds no committee")
    if record["format"] > FORMAT:
        wrong = f"{file} has format {record['format']}, this version reads up to {FORMAT}"
        raise ValueError(f"{wrong}: update agal_toolkit")
    return record, {key.removeprefix(PREFIX): array for key, array in arrays.items()}
