"""Weights of members: kept in files, and taken over by the next fit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from ..files import read_arrays, read_json, reading, stored_digest, write_arrays, write_json
from ..potentials.members import Stacked
from ..potentials.protocol import Baseline, Members
from .member_adam import is_count

Network = Callable[[Sequence[int]], nn.Module]


class StartRefused(ValueError):
    """Members that a fit cannot go on from."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """A short fit that goes on from the last weights of members, instead of training afresh.

    Adam starts with fresh moments, and its rate falls to zero along half a cosine. Everything else
    is as in the trainer.

    Attributes:
        epochs: passes over the training data. 0 takes the members as they are: a generation then
            only calibrates on data that have grown and attacks new seeds.
        learning_rate: of Adam, at the start; None takes the trainer's.
    """

    epochs: int
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        rate = 1.0 if self.learning_rate is None else self.learning_rate
        if not (self.epochs == 0 or is_count(self.epochs)) or not 0 < rate < math.inf:
            remedy = "give a whole number of epochs, 0 or more, and a positive rate, or None"
            raise ValueError(f"{self}: {remedy}")


def taken_over(
    network: Network, start: Members, members: int, baseline: Baseline | None, device: str
) -> Stacked:
    """Return new members of `network` with the weights and the baseline of `start`.

    Raises:
        StartRefused: another number of members, another network, or a `baseline` that is given and
            different.
    """
    if baseline is None and isinstance(start, Stacked):
        baseline = start.baseline
    new = Stacked(network([0] * members), baseline or Baseline())
    if not isinstance(start, Stacked) or _kind(start) != _kind(new):
        wrong = f"the start is {start}, expected {new} of {next(new.module.parameters()).dtype}"
        raise StartRefused(f"{wrong}: give members of this trainer, or no start to train afresh")
    new.module.load_state_dict(start.module.state_dict())
    return Stacked(new.module.to(device), new.baseline)


def _kind(members: Stacked) -> tuple:
    """Return what members must share for one to take over the weights of the other."""
    state = members.module.state_dict().items()
    shapes = [(name, value.shape, value.dtype) for name, value in state]
    return repr(members.module), members.baseline, shapes


def save_members(members: Stacked, folder: Path) -> None:
    """Write parameters as npz and everything else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    record, arrays = packed(members)
    parameters = write_arrays(folder / "parameters.npz", arrays, {})
    write_json(folder / "members.json", record | {"parameters": parameters})


def load_members(network: Network, folder: Path, device: str) -> Stacked:
    """Read members that :func:`save_members` wrote into a new module of `network`."""
    return unpacked(network, *_saved(folder), folder, device)


def packed(members: Stacked) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return what files hold of members: plain JSON, and their parameters by name."""
    state = members.module.state_dict()
    arrays = {name: value.detach().cpu().numpy() for name, value in state.items()}
    record = {"members": len(members), "baseline": members.baseline.to_json()}
    return record | {"network": repr(members.module)}, arrays


def unpacked(
    network: Network,
    record: Mapping[str, Any],
    arrays: Mapping[str, NDArray],
    path: Path,
    device: str,
) -> Stacked:
    """Invert :func:`packed` with a new module of `network`; `path` is for errors.

    Raises:
        ValueError: another network than that of the parameters.
    """
    module = network([0] * record["members"])
    other = f"the parameters in {path} belong to another network than {module}: "
    if record.get("network", repr(module)) != repr(module):  # older files do not name it
        raise ValueError(f"{other}they are those of {record['network']}")
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for name, value in module.state_dict().items():  # torch converts without a word
        if name in state and state[name].dtype != value.dtype:
            raise ValueError(f"{other}{name} is {state[name].dtype}, not {value.dtype}")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{other}{error}") from None
    return Stacked(module.to(device).requires_grad_(False), Baseline(record["baseline"]))


def _saved(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """The record and the parameters of saved members, with their digests checked.

    Members that were saved before there were digests have none, and nothing else that is new.
    """
    file, remedy = folder / "members.json", "save the members again, or train them again"
    with reading(file, remedy):
        proved = not set(json.loads(file.read_text())) <= {"members", "baseline", "network"}
        record = read_json(file) if proved else json.loads(file.read_text())
    file = folder / "parameters.npz"
    with reading(file, remedy):
        if proved and stored_digest(file) != record["parameters"]:
            raise ValueError("it belongs to another members.json")
        return record, read_arrays(file, {} if proved else None)
