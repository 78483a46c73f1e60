"""Sizes of the study, and its trials: those of the paper's figures and further ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from ase import units

from agal_toolkit.attack import Bias
from agal_toolkit.dataset import Dataset

from ..water.truth import Sizes, Water, water
from .trials import Trial

MULTIPLES = (1.0, 1.2, 1.4, 1.6, 2.0, 3.0)
ABSOLUTE = (0.05, 0.1, 0.2, 0.4)  # eV/angstrom
COMPARED = 1.4  # target, in held-out errors, of the trials that are compared


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of the study; nothing else differs between presets.

    Attributes:
        members: of the committee; 20 in the paper.
        epochs: of the training.
        channels, hidden: of the networks.
        learn: number of structures of each role and kind; None takes all.
        attacks: seeds of each trial.
        few: seeds of each trial of biases.
        subsets: numbers of attacked members.
        steps: of L-BFGS.
    """

    members: int = 12
    epochs: int = 80
    channels: int = 16
    hidden: int = 64
    learn: int | None = None
    attacks: int = 40
    few: int = 20
    subsets: tuple[int, ...] = (2, 3, 4, 8)
    steps: int = 30


PRESETS: Mapping[str, Preset] = {
    # shows that everything runs; its pictures mean nothing
    "smoke": Preset(
        members=3, epochs=4, channels=4, hidden=8, learn=6, attacks=2, few=1, subsets=(2,), steps=3
    ),
    # the lesson's; it reads the committee and the records of "laptop"
    "class": Preset(),
    "laptop": Preset(),
    "gpu": Preset(members=20, subsets=(2, 3, 4, 8, 12)),
    "paper": Preset(members=20, subsets=(2, 3, 4, 8, 12)),
}


def trials(preset: Preset) -> dict[str, Trial]:
    """Return all trials by name, first rounds before second ones."""
    many = partial(Trial, count=preset.attacks)
    few = partial(Trial, count=preset.few, target=COMPARED)
    like = partial(many, target=COMPARED)
    result = {
        f"x{m}": many(about=f"attack, {m} times the held-out error", target=m) for m in MULTIPLES
    }
    for m in (1.6, 2.0, 3.0):
        again = many(about=f"second round, {m} times", target=m, law="second", seeds="second")
        result[f"second x{m}"] = again
    for t in ABSOLUTE:
        name = f"{1000 * t:g} meV"
        result[name] = many(about=f"attack, {name}/A", target=t, relative=False)
    result |= {
        "raw": like(about="uncalibrated", law="raw"),
        "rattle": like(about="rattled as far", way="rattle"),
        "heat": like(about="heated as far", way="heat"),
        "linear x2.0": many(about="linear law, 2 times", target=2.0, law="linear"),
        "simulations x2.0": many(
            about="calibrated on simulations alone, 2 times", target=2.0, law="simulations"
        ),
        "guarded x2.0": many(about="bond lengths guarded, 2 times", target=2.0, guard=True),
    }
    for size in preset.subsets:
        result[f"{size} of all"] = like(about=f"{size} members, calibrated by all", members=size)
        result[f"{size} alone"] = like(
            about=f"{size} members, calibrated by themselves", members=size, law="own"
        )
    for strength in (1e-4, 1e-3, 1e-2):
        result[f"forces {strength:g}"] = few(
            about=f"forces biased to zero, strength {strength:g}", bias=(Bias(strength, "forces"),)
        )
    for pressure in (-0.3, 0.3):
        result[f"pressure {pressure:g}"] = few(
            about=f"cell moves, biased to {pressure:g} GPa",
            bias=(Bias(1e4, "pressure", pressure * units.GPa),),
            cell=True,
        )
    result["cell"] = few(about="cell moves, no bias", cell=True)
    return result


def truth(folder: Path, preset: Preset, say: Callable[[str], None] = lambda text: None) -> Water:
    """Return the truth's data, as many structures as the preset uses."""
    data = water(folder, Sizes(), say)
    if preset.learn is None:
        return data

    def first_of_roles(data: Dataset) -> Dataset:
        rows = [
            np.flatnonzero([r == role for r in data.roles]) for role in dict.fromkeys(data.roles)
        ]
        return data[np.sort(np.concatenate([some[: preset.learn] for some in rows]))]

    names = ("moved", "rattled", "first", "second", "shaken")
    return replace(data, **{name: first_of_roles(getattr(data, name)) for name in names})
