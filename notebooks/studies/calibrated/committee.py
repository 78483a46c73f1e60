"""The committee that is attacked: how it is trained, and what its uncertainties are worth before
anyone attacks (Cezar 2025, Figs. 2a and 2b).
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

from agal_toolkit.analysis.reliability import Reliability, counted, reliability
from agal_toolkit.committee import Committee
from agal_toolkit.dataset import TRAIN, Dataset
from agal_toolkit.events import Epoch, Event
from agal_toolkit.potentials.density import DensityNet
from agal_toolkit.settings import machine, to_settings
from agal_toolkit.training.folds import Folds
from agal_toolkit.training.trainer import TorchTrainer
from agal_toolkit.uncertainty.calibration import QUANTITIES, Samples, samples
from agal_toolkit.uncertainty.power_law import FORMS, PowerLaw

from ..results import agree, keep
from ..water.truth import SEED, Water
from .recipes import Preset
from .trials import Scene, predicted, rms, simulated

ELEMENTS = {"O": 8, "H": 1}


def trainer(preset: Preset, device: str = "cpu") -> TorchTrainer:
    """Of the committee: one structure a step, a learning rate that falls to zero, and the paper's
    weights (Cezar 2025, Sec. IV B).

    Its 5 for an energy per atom is 5 / 192^2 for the total energy of 192.
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
        device=device,
    )


def committee(
    place: Path,
    preset: Preset,
    data: Water,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    deadline: float = np.inf,
) -> Committee:
    """The trained committee, from its files or made; bootstrapped, so that each member has its own
    data (Cezar 2025, Sec. IV D).

    Raises:
        ValueError: files of a committee that was trained otherwise (the differences are shown).
    """
    fit, wanted = (
        trainer(preset, device),
        {"trainer": to_settings(trainer(preset)), "members": preset.members},
    )
    if not (place / "members.json").exists():
        learned = data.learned.of_role(TRAIN)
        weights, valid = Folds(train=0.9, valid=0.1, bootstrap=True)(
            learned, preset.members, np.random.default_rng([SEED, 0])
        )
        began = time.monotonic()

        def report(event: Event) -> None:
            if isinstance(event, Epoch) and event.epoch % 5 == 0:
                say(
                    f"epoch {event.epoch} of {event.epochs}, loss {np.mean(event.train):.5f},"
                    f" {time.monotonic() - began:.0f} s"
                )
            if time.time() > deadline:
                raise TimeoutError("the time of this call is over; the next one goes on")

        scratch = place.with_name(f"{place.name}-fit")
        scratch.mkdir(parents=True, exist_ok=True)
        members = fit.fit(
            learned, weights, valid, np.random.default_rng([SEED, 1]), report, scratch
        )
        fit.save(members, place)
        rmtree(scratch)
        keep(
            place / "fitted.json",
            {"settings": wanted, "seconds": round(time.monotonic() - began, 1), **machine()},
        )
    agree(
        json.loads((place / "fitted.json").read_text())["settings"], wanted, place / "fitted.json"
    )
    return Committee(fit.load(place))


def judged(there: Scene) -> dict[str, Any]:
    """What laws are worth on structures that served neither training nor calibration: simulated and
    rattled ones, and each element, by the law of all atoms, by its own, and by its own of
    simulations alone.
    """
    tests = {"simulated": there.data.first + there.data.second, "rattled": there.data.shaken}
    said = {name: predicted(there.committee, list(data)) for name, data in tests.items()}
    laws = {
        form: {
            q: PowerLaw.fit(*_pair(samples(there.said, there.aside, q)), form) for q in QUANTITIES
        }
        for form in FORMS
    }
    alone = there.aside[simulated(there.aside)]
    fitted = {
        "its own": (samples(there.said, there.aside), there.aside),
        "its own, simulations": (samples(predicted(there.committee, list(alone)), alone), alone),
    }
    laws["simulations"] = {"forces": PowerLaw.fit(*_pair(fitted["its own, simulations"][0]))}
    elements = {
        (element, form): PowerLaw.fit(*_pair(of_element(*given, z)))
        for element, z in ELEMENTS.items()
        for form, given in fitted.items()
    }
    record: dict[str, Any] = {
        "laws": (
            {form: {q: asdict(law) for q, law in own.items()} for form, own in laws.items()}
            | {
                f"{element}, {form}": {"forces": asdict(law)}
                for (element, form), law in elements.items()
            }
        ),
        "reliability": {},
        "heldout": {},
        "ratios": {},
    }
    for name, data in tests.items():
        record["heldout"][name] = {
            "rms": float(np.mean(rms(said[name], data))),
            "component": float(np.sqrt(np.mean(samples(said[name], data).errors ** 2))),
        }
        for quantity in QUANTITIES:
            found = samples(said[name], data, quantity)
            for form, own in laws.items():
                if quantity in own:
                    record["reliability"][f"{name}, {quantity}, {form}"] = _values(
                        reliability(found, own[quantity], bins=12 if quantity == "forces" else 6)
                    )
            if quantity == "forces":
                for element, z in ELEMENTS.items():
                    for form, law in {
                        "power": laws["power"]["forces"],
                        **{form: elements[element, form] for form in fitted},
                    }.items():
                        record["reliability"][f"{name}, {element}, {form}"] = _values(
                            reliability(of_element(found, data, z), law)
                        )
            for form in ("power", "identity"):
                r = found.errors / laws[form][quantity].at(found.sigma)
                record["ratios"][f"{name}, {quantity}, {form}"] = counted(r).tolist()
    record["component error"] = {
        q: float(np.sqrt(np.mean(samples(said["simulated"], tests["simulated"], q).errors ** 2)))
        for q in QUANTITIES
    }
    return record


def of_element(found: Samples, data: Dataset, number: int) -> Samples:
    """Those of force components on the atoms of one element."""
    chosen = np.repeat(np.concatenate([geometry.numbers for geometry in data]), 3) == number
    return Samples(found.sigma[chosen], found.errors[:, chosen], found.owner[chosen])


def _pair(found: Samples) -> tuple[np.ndarray, np.ndarray]:
    return found.sigma, found.errors


def _values(found: Reliability) -> dict[str, Any]:
    """As JSON."""
    named = {
        key: getattr(found, key)
        for key in ("spread", "within_1", "within_2", "nll", "area", "slope")
    }
    return {
        key: [round(v, 5) for v in (value.value, value.low, value.high)]
        for key, value in named.items()
    } | {"bins": np.round(found.bins, 6).tolist(), "structures": found.structures}
