"""Our networks on public data: acetylacetone at UHF-PBE-D3/def2-SVP.

``python -m studies.acetylacetone --preset laptop --data FOLDER``

Batatia et al., "The design space of E(3)-equivariant atom-centered interatomic potentials"
(github.com/davkovacs/BOTNet-datasets, folder dataset_acac; MIT): 500 frames at 300 K to learn from;
tests are frames at 300 K and 600 K, a turn around a C-C bond and the path of the proton transfer.
The frames are read from a folder and never stored here. All fits take batches of five frames.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import kcal, mol
from numpy.typing import NDArray

from agal_toolkit.committee import Committee
from agal_toolkit.dataset import Dataset
from agal_toolkit.events import Epoch, Event
from agal_toolkit.potentials import DensityNet, SchNet
from agal_toolkit.settings import to_settings
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer

from .fits import run_fits, run_from_command_line
from .jobs import Claim, Record, Runner

NAME, SEED = "acetylacetone", 2026
LEARNED, SCAN, TRANSFER = "train_300K", "test_dihedral", "test_H_transfer"
MOLECULES = {"300 K": "test_MD_300K", "600 K": "test_MD_600K"}
ELEMENTS = (1, 6, 8)
SOURCE = "https://github.com/davkovacs/BOTNet-datasets/tree/main/dataset_acac"
KCAL = kcal / mol  # eV


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A committee and its training.

    Attributes:
        network: called with seeds.
        optimizer: of the trainer.
        steps: of five frames.
        learning_rate: at the start.
    """

    network: partial
    optimizer: str = "muon"
    steps: int = 6000
    learning_rate: float = 5e-3


def _density(channels: int, hidden: int) -> partial:
    return partial(DensityNet, ELEMENTS, channels=channels, hidden=hidden)


_SCHNET = partial(SchNet, ELEMENTS, features=64, filters=64, interactions=3)
PRESETS: Mapping[str, tuple[int, Mapping[str, Fit]]] = {
    "smoke": (
        2,
        {
            "DensityNet": Fit(network=_density(4, 8), steps=4),
            "SchNet": Fit(network=partial(SchNet, ELEMENTS, features=8, filters=8), steps=4),
        },
    ),
    "laptop": (
        5,
        {
            "DensityNet, adam": Fit(network=_density(24, 96), optimizer="adam"),
            "DensityNet, 2000 steps": Fit(network=_density(24, 96), steps=2000),
            "DensityNet, 6000 steps": Fit(network=_density(24, 96)),
            "DensityNet": Fit(network=_density(24, 96), steps=12000),
            "SchNet, adam": Fit(network=_SCHNET, optimizer="adam", learning_rate=1e-3),
            "SchNet": Fit(network=_SCHNET, learning_rate=1e-3),
        },
    ),
}


def frames(folder: Path, name: str) -> Dataset:
    """Return the labelled frames of a file, which may be compressed.

    Raises:
        FileNotFoundError: a folder without the file.
    """
    return Dataset.read(_file(folder, name))


def _file(folder: Path, name: str) -> Path:
    places = [
        folder / f"{prefix}{name}.xyz{end}" for prefix in ("", "acac_") for end in ("", ".gz")
    ]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(
        f"{folder} has no {name}.xyz: download the files of {SOURCE} into a folder and give it"
        " with --data"
    )


def digest(folder: Path) -> str:
    """Return the sha256 of all files that are read."""
    names = (LEARNED, *MOLECULES.values(), SCAN, TRANSFER)
    data = [_file(folder, name).read_bytes() for name in names]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in data)).hexdigest()


def trainer(fit: Fit, frames: int) -> TorchTrainer:
    """Return the trainer of a fit on a number of frames; the paper's weights of Cezar 2025."""
    return TorchTrainer(
        network=fit.network,
        epochs=max(1, round(5 * fit.steps / frames)),
        learning_rate=fit.learning_rate,
        optimizer=fit.optimizer,
        batch_size=5,
        energy_weight=5 / 15**2,
        patience=None,
        keep_best=False,
        anneal=True,
    )


def make(fit: Fit, members: int, name: str, folder: Path, run: Runner) -> Record:
    """Train a committee and return its errors on all tests, with what it cost."""
    data = frames(folder, LEARNED)
    fitted = trainer(fit, len(data))
    place = run.out / name.replace(", ", "-").replace(" ", "-")
    clock = place / "clock.json"
    place.mkdir(parents=True, exist_ok=True)
    spent = json.loads(clock.read_text()) if clock.exists() else 0.0
    began = time.process_time()

    def report(event: Event) -> None:
        if isinstance(event, Epoch):
            clock.write_text(json.dumps(spent + time.process_time() - began))
        run.report(event)

    weights, valid = Folds(train=1.0, valid=0.0)(data, members, np.random.default_rng(SEED))
    rng = np.random.default_rng([SEED, 1])
    committee = Committee(fitted.fit(data, weights, valid, rng, report, place))
    record: Record = {
        "steps": fitted.epochs * len(data) // 5,
        "cpu_seconds": round(spent + time.process_time() - began, 1),
    }
    for label, file in {"training": LEARNED, **MOLECULES}.items():
        record[label] = errors(committee, frames(folder, file))
    began = time.process_time()
    committee.predict(list(data)[:100])
    record["milliseconds"] = round(10 * (time.process_time() - began), 3)
    for label, file in {"turn": SCAN, "transfer": TRANSFER}.items():
        path = frames(folder, file)
        energies = committee.predict(list(path)).energy.mean(0).numpy()
        curves = {
            "predicted": energies - energies.min(),
            "true": path.energies - min(path.energies),
        }
        record[label] = {key: (curve / KCAL).round(3).tolist() for key, curve in curves.items()}
    return record


def errors(committee: Committee, data: Dataset) -> Record:
    """Return root mean square errors: meV/A of force components, meV of a molecule's energy."""
    predicted = committee.predict(list(data))
    forces = 1000 * (predicted.forces.numpy() - np.concatenate(data.forces))
    energies = 1000 * (predicted.energy.numpy() - data.energies)
    return {
        "forces": _rms(forces.mean(0)),
        "members": [_rms(member) for member in forces],
        "energies": _rms(energies.mean(0)),
    }


def _rms(values: NDArray) -> float:
    return round(float(np.sqrt(np.mean(np.square(values)))), 2)


def claims(records: Mapping[str, Any]) -> list[Claim]:
    """Return errors and costs of each fit."""
    result = []
    for fit, record in records.items():
        for label in MOLECULES:
            goal = {"300 K": 20.0, "600 K": 50.0}[label] if fit == "DensityNet" else None
            of_all, members = record[label]["forces"], record[label]["members"]
            spread, name = (min(members), max(members)), f"force error at {label}, {fit}"
            settings: dict[str, Any] = {"goal": goal, "at_least": False}
            result.append(Claim(name=f"{name}, mean", value=of_all, unit="meV/A", **settings))
            single = {"value": round(float(np.mean(members)), 2), "runs": len(members)}
            result.append(
                Claim(name=f"{name}, single members", unit="meV/A", spread=spread, **single)
            )
        for label in ("turn", "transfer"):
            curves = np.array([record[label]["predicted"], record[label]["true"]])
            wrong = round(float(np.abs(np.diff(curves.max(axis=1)))[0]), 3)
            name = f"error of the highest energy along the {label}, {fit}"
            result.append(Claim(name=name, value=wrong, unit="kcal/mol"))
        cost = record["cpu_seconds"]
        result.append(Claim(name=f"processor time of the training, {fit}", value=cost, unit="s"))
        cost = record["milliseconds"]
        result.append(
            Claim(name=f"a frame's prediction, all members, {fit}", value=cost, unit="ms")
        )
    return result


def settings(preset: str, data: str, fit: str | None = None) -> dict[str, Any]:
    """Return everything that changes the numbers of all fits, or of one, as JSON."""
    members, fits = PRESETS[preset]
    common = {"data": data, "seed": SEED, "members": members}
    if fit is None:
        return {**common, "fits": {name: to_settings(each) for name, each in fits.items()}}
    return {**common, "fit": to_settings(fits[fit])}


def study(run: Runner, folder: Path) -> Path | None:
    """Run the fits that are missing; return the result file once at least one is finished.

    Raises:
        FileNotFoundError: a folder without the data.
        ValueError, ExceptionGroup: as :func:`~studies.fits.run_fits`.
    """
    members, fits = PRESETS[run.preset]
    made_with = partial(settings, run.preset, digest(folder))
    makes = {name: partial(make, fit, members, name, folder) for name, fit in fits.items()}
    return run_fits(run, NAME, SEED, made_with, makes, claims, "cpu_seconds")


def main() -> None:
    """Run from the command line."""
    run_from_command_line(__doc__ or "", PRESETS, NAME, study)


if __name__ == "__main__":  # settings name this module, however it is called
    from studies import acetylacetone

    acetylacetone.main()
