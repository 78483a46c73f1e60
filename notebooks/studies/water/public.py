"""A committee on density functional theory: 64 waters at revPBE0-D3, 111 public frames.

``python -m studies.water.public --preset laptop --data FOLDER``

The frames (:mod:`.public_frames`) are those that a published committee was trained on; they are
read from a folder and never stored here. Two splits are compared. In the split "apart", families of
neighbouring frames are tested as a whole or not at all; the split "random" tests some frames beside
their neighbours in training. Both are drawn with the seed. A training has "seconds" by the clock on
the wall, which other programs slow down, and "cpu_seconds" of processor time, all threads together.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Epoch, Event
from agal_toolkit.settings import to_settings
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer

from ..calibrated.committee import trainer
from ..calibrated.recipes import Preset
from ..fits import run_fits, run_from_command_line
from ..jobs import Claim, Record, Runner, interval, rounded, save
from .public_frames import ELEMENTS, NEIGHBOURS, TESTED, displacements, frames, held_out
from .truth import SEED

NAME = "water_public"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the study.

    Attributes:
        members: of the committee.
        channels, hidden: of the networks.
        short, long: epochs of the two fits; an epoch is one step for each training frame.
    """

    members: int = 4
    channels: int = 16
    hidden: int = 64
    short: int = 60
    long: int = 150

    def trainer(self, fit: str) -> TorchTrainer:
        """Return the trainer of the "short" or the "long" fit; stresses are not labelled."""
        preset = Preset(epochs=getattr(self, fit), channels=self.channels, hidden=self.hidden)
        return replace(trainer(preset), stress_weight=0.0)


PRESETS = {"smoke": Sizes(members=2, channels=4, hidden=8, short=2, long=4), "laptop": Sizes()}
# name of each fit, its length and its split
FITS = {
    "long fit": ("long", "apart"),
    "short fit": ("short", "apart"),
    "long fit, random split": ("long", "random"),
    "short fit, random split": ("short", "random"),
}


def make(sizes: Sizes, fit: str, folder: Path, run: Runner) -> Record:
    """Train a committee and return its errors on the test frames, with the cost of the training.

    A fit that was stopped goes on from its last checkpoint; its seconds are of all calls together.
    """
    length, split = FITS[fit]
    data, _ = frames(folder)
    distances = displacements(data)
    test = held_out(distances, split)
    learned, trained_by = data[~test], sizes.trainer(length)
    place = run.out / fit.replace(", ", "-").replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    clock = place / "clock.json"
    spent = json.loads(clock.read_text()) if clock.exists() else {"wall": 0.0, "cpu": 0.0}
    began = {"wall": time.monotonic(), "cpu": time.process_time()}

    def read_clock() -> dict[str, float]:
        now = {"wall": time.monotonic(), "cpu": time.process_time()}
        return {name: spent[name] + now[name] - began[name] for name in spent}

    def report(event: Event) -> None:
        save(clock, read_clock())
        if isinstance(event, Epoch) and event.epoch % 10 == 0:
            progress = f"epoch {event.epoch} of {event.epochs}, loss {np.mean(event.train):.5f}"
            run.say(f"{fit}: {progress}, {read_clock()['wall']:.0f} s")
        run.report(event)

    rng = np.random.default_rng([SEED, 1])
    weights, valid = Folds(train=1.0, valid=0.0)(learned, sizes.members, rng)
    members = replace(trained_by, device=run.device).fit(
        learned, weights, valid, rng, report, place
    )
    trained_by.save(members, place)
    seconds, committee = read_clock(), Committee(members)
    return {
        "steps": trained_by.epochs * len(learned),
        "seconds": round(seconds["wall"], 1),
        "cpu_seconds": round(seconds["cpu"], 1),
        "frames": np.flatnonzero(test).tolist(),
        "nearest": np.round(distances[test][:, ~test].min(axis=1), 3).tolist(),
        "learned": errors(committee, learned)["forces"],
        **errors(committee, data[test]),
    }


def errors(committee: Committee, data: Dataset) -> Record:
    """Return "forces", "energies" and "elements" of the mean of a committee, and of "members".

    Each is a list over frames: root mean square errors of force components, meV/angstrom, and
    signed errors of energies, meV for each atom. "elements" are forces on O and H over all frames.
    """
    predicted, atoms = committee.predict(list(data)), len(data[0])
    forces = 1000 * (predicted.forces.numpy() - np.concatenate(data.forces))
    energies = 1000 * (predicted.energy.numpy() - data.energies) / atoms
    numbers = np.concatenate([frame.numbers for frame in data])

    def of_frames(errors: NDArray) -> NDArray:
        squares = errors.reshape(*errors.shape[:-2], len(data), -1) ** 2
        return np.round(np.sqrt(squares.mean(axis=-1)), 3)

    mean = forces.mean(axis=0)
    return {
        "forces": of_frames(mean).tolist(),
        "energies": np.round(energies.mean(axis=0), 4).tolist(),
        "elements": {
            name: round(float(np.sqrt(np.mean(mean[numbers == number] ** 2))), 2)
            for name, number in ELEMENTS.items()
        },
        "members": {
            "forces": of_frames(forces).tolist(),
            "energies": np.round(energies, 4).tolist(),
        },
    }


def root_mean_square(values: NDArray, axis: int = -1) -> NDArray:
    """Return the root mean square along an axis."""
    return np.sqrt(np.mean(np.square(values), axis=axis))


def claims(records: Mapping[str, Any]) -> list[Claim]:
    """Return the errors and costs of each fit; intervals are over test frames, or over members."""
    result = []
    for fit, record in records.items():
        forces, energies = np.array(record["forces"]), np.array(record["energies"])
        members = root_mean_square(np.array(record["members"]["forces"]))

        def claim(
            name: str, value: float, unit: str, spread: Any, runs: int, fit: str = fit
        ) -> Claim:
            bounds = None if spread is None else rounded(spread)
            name = f"{name}, {fit}"
            return Claim(name=name, value=round(value, 4), unit=unit, spread=bounds, runs=runs)

        def over_frames(name: str, values: NDArray, unit: str, statistic: Any) -> Claim:
            spread = interval(values, statistic=statistic)
            return claim(name, float(statistic(values)), unit, spread, len(values))

        of_all, ends = (
            "force error per component, mean of the members",
            (min(members), max(members)),
        )
        shifted = "energy error per atom, constant shift removed"
        result += [
            over_frames(of_all, forces, "meV/A", root_mean_square),
            claim(
                "force error per component, single members",
                float(members.mean()),
                "meV/A",
                ends,
                len(members),
            ),
            over_frames("energy error per atom", energies, "meV", root_mean_square),
            over_frames(shifted, energies, "meV", np.std),
            claim("steps of the training", record["steps"], "", None, 1),
            claim("processor time of the training", record["cpu_seconds"], "s", None, 1),
        ]
    return result


def settings(sizes: Sizes, digest: str, fit: str | None = None) -> dict[str, Any]:
    """Return everything that changes the numbers of all fits, or of one, as JSON."""
    common = {"data": digest, "tested": TESTED, "neighbours": NEIGHBOURS, "seed": SEED}
    if fit is None:
        return {**common, "sizes": to_settings(sizes)}
    length, split = FITS[fit]
    fitted = {"members": sizes.members, "trainer": to_settings(sizes.trainer(length))}
    return {**common, **fitted, "split": split}


def study(run: Runner, folder: Path) -> Path | None:
    """Run the fits that are missing; return the result file once at least one is finished.

    Raises:
        FileNotFoundError: a folder without the data.
        ValueError, ExceptionGroup: as :func:`~studies.fits.run_fits`.
    """
    sizes, (_, digest) = PRESETS[run.preset], frames(folder)
    makes = {fit: partial(make, sizes, fit, folder) for fit in FITS}
    return run_fits(run, NAME, SEED, partial(settings, sizes, digest), makes, claims, "seconds")


def main() -> None:
    """Run from the command line."""
    run_from_command_line(__doc__ or "", PRESETS, NAME, study)


if __name__ == "__main__":  # settings name this module, however it is called
    from studies.water import public

    public.main()
