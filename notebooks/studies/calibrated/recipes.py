"""What is run of calibrated attacks: sizes, and the trials that the paper's figures and our
questions ask for.
"""

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
COMPARED = 1.4  # the target, in held-out errors, at which ways are compared


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of the study; nothing else differs between presets.

    Attributes:
        members: of the committee (20).
        epochs: over the training structures.
        channels, hidden: of the networks.
        learn: structures of each role and kind that are used of those there are; None takes all.
        attacks: seeds of each trial (40).
        few: seeds of each trial of biases.
        subsets: members attacked.
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
    "fast": Preset(
        members=3, epochs=4, channels=4, hidden=8, learn=6, attacks=2, few=1, subsets=(2,), steps=3
    ),
    "laptop": Preset(),
    "gpu": Preset(members=20, subsets=(2, 3, 4, 8, 12)),
    "paper": Preset(members=20, subsets=(2, 3, 4, 8, 12)),
}


def trials(preset: Preset) -> dict[str, Trial]:
    """All trials by name, those first that others go on from."""
    many, few = (
        partial(Trial, count=preset.attacks),
        partial(Trial, count=preset.few, target=COMPARED),
    )
    like = partial(many, target=COMPARED)
    found = {
        f"x{m}": many(about=f"attack, {m} times the held-out error", target=m) for m in MULTIPLES
    }
    found |= {
        f"second x{m}": many(
            about=f"second round, {m} times", target=m, law="second", seeds="second"
        )
        for m in (1.6, 2.0, 3.0)
    }
    found |= {
        f"{1000 * t:g} meV": many(about=f"attack, {1000 * t:g} meV/A", target=t, relative=False)
        for t in ABSOLUTE
    }
    found |= {
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
        found[f"{size} of all"] = like(about=f"{size} members, calibrated by all", members=size)
        found[f"{size} alone"] = like(
            about=f"{size} members, calibrated by themselves", members=size, law="own"
        )
    for strength in (1e-4, 1e-3, 1e-2):
        found[f"forces {strength:g}"] = few(
            about=f"forces biased to zero, strength {strength:g}", bias=(Bias(strength, "forces"),)
        )
    for pressure in (-0.3, 0.3):
        found[f"pressure {pressure:g}"] = few(
            about=f"cell moves, biased to {pressure:g} GPa",
            bias=(Bias(1e4, "pressure", pressure * units.GPa),),
            cell=True,
        )
    found["cell"] = few(about="cell moves, no bias", cell=True)
    return found


def truth(folder: Path, preset: Preset, say: Callable[[str], None] = lambda text: None) -> Water:
    """The truth's data, as many of them as the preset uses."""
    known = water(folder, Sizes(), say)
    if preset.learn is None:
        return known

    def fewer(data: Dataset) -> Dataset:
        chosen = [
            np.flatnonzero([r == role for r in data.roles])[: preset.learn]
            for role in dict.fromkeys(data.roles)
        ]
        return data[np.sort(np.concatenate(chosen))]

    return replace(
        known,
        **{
            name: fewer(getattr(known, name))
            for name in ("moved", "rattled", "first", "second", "shaken")
        },
    )
