"""The committee that is attacked: its training, and the calibration of its uncertainties before any
attack (Cezar 2025, Figs. 2a and 2b).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from agal_toolkit.analysis.reliability import Reliability, reliability
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import TRAIN, Dataset
from agal_toolkit.events import Epoch, Event, Report, ignore
from agal_toolkit.potentials.density import DensityNet
from agal_toolkit.settings import machine, to_settings
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer
from agal_toolkit.uncertainty.calibration import QUANTITIES, Samples, samples
from agal_toolkit.uncertainty.power_law import FORMS, PowerLaw

from ..jobs import agree, save
from ..water.truth import SEED, Water
from .ratios import counted
from .recipes import Preset
from .trials import Scene, predict, rms, simulated

ELEMENTS = {"O": 8, "H": 1}
STATISTICS = ("spread", "within_1", "within_2", "nll", "area", "slope")


def trainer(preset: Preset, device: str = "cpu") -> TorchTrainer:
    """Return the trainer: one structure a step, an annealed learning rate, the paper's weights.

    The paper's weight 5 of the energy per atom is 5 / 192^2 for the energy of 192 atoms (Cezar
    2025, Sec. IV B).
    """
    return TorchTrainer(
        network=partial(DensityNet, (1, 8), channels=preset.channels, hidden=preset.hidden),
        epochs=preset.epochs,
        learning_rate=5e-3,
        batch_size=1,
        energy_weight=5 / 192**2,
        forces_weight=1.0,
        stress_weight=100.0,
        patience=None,
        keep_best=False,
        anneal=True,
        equal_batches=False,  # as the stored runs
        must_learn=False,
        device=device,
    )


def committee(
    folder: Path,
    preset: Preset,
    data: Water,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    check: Report = ignore,
) -> Committee:
    """Return the committee in `folder`, trained first if there is none.

    Members are trained on bootstrap samples (Cezar 2025, Sec. IV D).

    Args:
        folder: of its files.
        preset: of the sizes.
        data: of the truth.
        device: where the networks are.
        say: called with lines of progress.
        check: listener of the training.

    Raises:
        ValueError: the files belong to a committee with other settings.
    """
    fit = trainer(preset, device)
    settings = {"trainer": to_settings(trainer(preset)), "members": preset.members}
    if not (folder / "members.json").exists():
        learned = data.learned.of_role(TRAIN)
        folds = Folds(train=0.9, valid=0.1, bootstrap=True)
        weights, valid = folds(learned, preset.members, np.random.default_rng([SEED, 0]))
        began = time.monotonic()

        def report(event: Event) -> None:
            if isinstance(event, Epoch) and event.epoch % 5 == 0:
                progress = f"epoch {event.epoch} of {event.epochs}, loss {np.mean(event.train):.5f}"
                say(f"{progress}, {time.monotonic() - began:.0f} s")
            check(event)

        scratch = folder.with_name(f"{folder.name}-fit")
        scratch.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([SEED, 1])
        members = fit.fit(learned, weights, valid, rng, report, scratch)
        fit.save(members, folder)
        rmtree(scratch)
        seconds = round(time.monotonic() - began, 1)
        save(folder / "fitted.json", {"settings": settings, "seconds": seconds, **machine()})
    file = folder / "fitted.json"
    agree(json.loads(file.read_text())["settings"], settings, file)
    return Committee(fit.load(folder))


def evaluate(scene: Scene) -> dict[str, Any]:
    """Return calibration statistics on structures used neither for training nor for calibration.

    Structures are simulated and rattled ones; each element has the law of all atoms, its own, and
    its own of simulations alone (Cezar 2025, Figs. 2a and 2b).
    """
    alone = scene.aside[simulated(scene.aside)]
    calibration_sets = {
        "its own": (samples(scene.predicted, scene.aside), scene.aside),
        "its own, simulations": (samples(predict(scene.committee, list(alone)), alone), alone),
    }
    laws = {
        form: {q: _fit(samples(scene.predicted, scene.aside, q), form) for q in QUANTITIES}
        for form in FORMS
    }
    laws["simulations"] = {"forces": _fit(calibration_sets["its own, simulations"][0])}
    of_element = {
        f"{element}, {name}": {"forces": _fit(select_element(points, data, number))}
        for element, number in ELEMENTS.items()
        for name, (points, data) in calibration_sets.items()
    }
    record: dict[str, Any] = {
        "laws": {
            key: {quantity: asdict(law) for quantity, law in some.items()}
            for key, some in (laws | of_element).items()
        },
        "reliability": {},
        "heldout": {},
        "ratios": {},
    }
    laws_of_forces = {
        element: {
            "power": laws["power"],
            **{name: of_element[f"{element}, {name}"] for name in calibration_sets},
        }
        for element in ELEMENTS
    }
    tests = {"simulated": scene.data.first + scene.data.second, "rattled": scene.data.shaken}
    component_errors = {}
    for name, data in tests.items():
        prediction = predict(scene.committee, list(data))
        by_quantity = {quantity: samples(prediction, data, quantity) for quantity in QUANTITIES}
        component_errors[name] = {q: _rms(points) for q, points in by_quantity.items()}
        record["heldout"][name] = {
            "rms": float(np.mean(rms(prediction, data))),
            "component": component_errors[name]["forces"],
        }
        for quantity, points in by_quantity.items():
            bins = 12 if quantity == "forces" else 6
            for form, some in laws.items():
                if quantity in some:
                    result = reliability(points, some[quantity], bins=bins)
                    record["reliability"][f"{name}, {quantity}, {form}"] = _values(result)
            if quantity == "forces":
                for element, some in laws_of_forces.items():
                    chosen = select_element(points, data, ELEMENTS[element])
                    for form, law in some.items():
                        result = reliability(chosen, law["forces"])
                        record["reliability"][f"{name}, {element}, {form}"] = _values(result)
            for form in ("power", "identity"):
                ratios = points.errors / laws[form][quantity].at(points.sigma)
                record["ratios"][f"{name}, {quantity}, {form}"] = counted(ratios).tolist()
    record["component error"] = component_errors["simulated"]
    return record


def _fit(points: Samples, form: str = "power") -> PowerLaw:
    return PowerLaw.fit(points.sigma, points.errors, form)


def _rms(points: Samples) -> float:
    """Return the root mean square error of components."""
    return float(np.sqrt(np.mean(points.errors**2)))


def select_element(points: Samples, data: Dataset, number: int) -> Samples:
    """Return the samples of force components on the atoms of one element."""
    chosen = np.repeat(np.concatenate([geometry.numbers for geometry in data]), 3) == number
    return Samples(points.sigma[chosen], points.errors[:, chosen], points.owner[chosen])


def _values(result: Reliability) -> dict[str, Any]:
    """Return a reliability as JSON: statistics with their intervals, bins and structures."""
    statistics = {}
    for name in STATISTICS:
        value = getattr(result, name)
        statistics[name] = [round(v, 5) for v in (value.value, value.low, value.high)]
    bins = np.round(result.bins, 6).tolist()
    return {**statistics, "bins": bins, "structures": result.structures}
