"""Structures of a chosen error, in liquid water: Cezar 2025, Figs. 2 and 3, with AMOEBA as the truth.

One committee is trained once; a trial sends forty structures to an error, each way that the paper compares and some that it
does not (:mod:`.calibrated_trials`). Every trial is a job of its own, kept as it ends, and trials that a result file holds
are not run again. A second round calibrates anew, with the first round's labelled structures of the same target beside
those put aside, and attacks seeds that the first did not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import units

from ..analysis.reliability import Reliability, counted, reliability
from ..attack import Bias
from ..calibration import QUANTITIES, Samples, samples
from ..committee import Committee
from ..dataset import TRAIN, Dataset, Folds
from ..events import Epoch, Event
from ..identity import described, machine
from ..laws import FORMS, Law
from ..potentials.density import DensityNet
from ..training import TorchTrainer
from .calibrated_claims import claims
from .calibrated_trials import Scene, Trial, predicted, rms, run, simulated
from .results import agree, keep, read, write
from .water_truth import SEED, Sizes, Water, water

MULTIPLES = (1.0, 1.2, 1.4, 1.6, 2.0, 3.0)
ABSOLUTE = (0.05, 0.1, 0.2, 0.3, 0.4)                # eV/angstrom
COMPARED = 1.4                                       # the target, in held-out errors, at which ways are compared


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Sizes of the study; nothing else differs between presets.

    Attributes:
        members: of the committee (20).
        epochs: over the training structures.
        channels, hidden: of the networks.
        learn: structures of each role and kind that are used of those there are; None takes all.
        attacks: seeds of each trial (40).
        few: seeds of each trial of committee sizes and of biases.
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
    "fast": Preset(members=3, epochs=4, channels=4, hidden=8, learn=6, attacks=2, few=1, subsets=(2,), steps=3),
    "laptop": Preset(),
    "gpu": Preset(members=20, subsets=(2, 3, 4, 8, 12)),
    "paper": Preset(members=20, subsets=(2, 3, 4, 8, 12)),
}


def trials(preset: Preset) -> dict[str, Trial]:
    """All trials by name, those first that others go on from."""
    many, few = partial(Trial, count=preset.attacks), partial(Trial, count=preset.few, target=COMPARED)
    found = {f"x{m}": many(about=f"attack, {m} times the held-out error", target=m) for m in MULTIPLES}
    found |= {f"second x{m}": many(about=f"second round, {m} times", target=m, law="second", seeds="second") for m in (1.6, 2.0, 3.0)}
    found |= {f"{1000 * t:g} meV": many(about=f"attack, {1000 * t:g} meV/A", target=t, relative=False) for t in ABSOLUTE}
    found |= {
        "raw": many(about="uncalibrated", target=COMPARED, law="raw"),
        "rattle": many(about="rattled as far", target=COMPARED, way="rattle"),
        "heat": few(about="heated as far", way="heat"),
        **{f"linear x{m}": many(about=f"linear law, {m} times", target=m, law="linear") for m in (1.6, 2.0)},
        **{f"simulations x{m}": many(about=f"calibrated on simulations alone, {m} times", target=m, law="simulations") for m in (COMPARED, 2.0)},
        **{f"guarded x{m}": many(about=f"bond lengths guarded, {m} times", target=m, guard=True) for m in (2.0, 3.0)},
    }
    for size in preset.subsets:
        found[f"{size} of all"] = few(about=f"{size} members, calibrated by all", members=size)
        found[f"{size} alone"] = few(about=f"{size} members, calibrated by themselves", members=size, law="own")
    for strength in (1e-4, 1e-3, 1e-2):
        found[f"forces {strength:g}"] = few(about=f"bias {strength:g} on forces", bias=(Bias(strength, "forces"),))
    for pressure in (-0.3, 0.3):
        found[f"pressure {pressure:g}"] = few(about=f"bias to {pressure:g} GPa", bias=(Bias(1e4, "pressure", pressure * units.GPa),), cell=True)
    found["cell"] = few(about="cell, too", cell=True)
    return found


def truth(folder: Path, preset: Preset, say: Callable[[str], None] = lambda text: None) -> Water:
    """The truth's data, as many of them as the preset uses."""
    known = water(folder, Sizes(), say)
    if preset.learn is None:
        return known

    def fewer(data: Dataset) -> Dataset:
        chosen = [np.flatnonzero([r == role for r in data.roles])[: preset.learn] for role in dict.fromkeys(data.roles)]
        return data[np.sort(np.concatenate(chosen))]

    return replace(known, **{name: fewer(getattr(known, name)) for name in ("moved", "rattled", "first", "second", "shaken")})


def trainer(preset: Preset, device: str = "cpu") -> TorchTrainer:
    """Of the committee: one structure a step, a learning rate that falls to zero, and the paper's weights (Cezar 2025, Sec. IV B).

    Its 5 for an energy per atom is little for a total energy of 192: ten times as much doubles the error of forces.
    """
    return TorchTrainer(
        network=partial(DensityNet, (1, 8), channels=preset.channels, hidden=preset.hidden), epochs=preset.epochs, learning_rate=5e-3, batch_size=1,
        energy_weight=5 / 192**2, forces_weight=1.0, stress_weight=100.0, patience=None, keep_best=False, anneal=True, device=device,
    )


def committee(place: Path, preset: Preset, data: Water, device: str = "cpu", say: Callable[[str], None] = lambda text: None, deadline: float = np.inf) -> Committee:
    """The trained committee, from its files or made; bootstrapped, so that each member has its own data (Cezar 2025, Sec. IV D)."""
    fit = trainer(preset, device)
    if not (place / "members.json").exists():
        learned = data.learned.of_role(TRAIN)
        weights, valid = Folds(train=0.9, valid=0.1, bootstrap=True)(learned, preset.members, np.random.default_rng([SEED, 0]))
        began = time.monotonic()

        def report(event: Event) -> None:
            if isinstance(event, Epoch) and event.epoch % 5 == 0:
                say(f"epoch {event.epoch} of {event.epochs}, loss {np.mean(event.train):.5f}, {time.monotonic() - began:.0f} s")
            if time.time() > deadline:
                raise TimeoutError("the time of this call is over; the next one goes on")

        scratch = place.with_name("fit")
        scratch.mkdir(parents=True, exist_ok=True)
        members = fit.fit(learned, weights, valid, np.random.default_rng([SEED, 1]), report, scratch)
        fit.save(members, place)
        keep(place / "fitted.json", {"seconds": round(time.monotonic() - began, 1), **machine()})
    return Committee(fit.load(place))


@lru_cache(maxsize=1)
def scene(out: Path, data: Path, preset: str, device: str = "cpu") -> Scene:
    """What all trials share; the committee must be there."""
    sizes = PRESETS[preset]
    known = truth(data, sizes)
    return Scene.of(committee(data / f"committee-{preset}", sizes, known, device), known, sizes.steps)


def judged(there: Scene) -> dict[str, Any]:
    """What laws are worth on structures that served neither training nor calibration: simulated and rattled ones, and of the simulated each element."""
    tests = {"simulated": there.data.first + there.data.second, "rattled": there.data.shaken}
    said = {name: predicted(there.committee, list(data)) for name, data in tests.items()}
    laws = {form: {q: Law.fit(*_pair(samples(there.said, there.aside, q)), form) for q in QUANTITIES} for form in FORMS}
    keep_simulated = simulated(there.aside)
    alone = there.aside[keep_simulated]
    laws["simulations"] = {"forces": Law.fit(*_pair(samples(predicted(there.committee, list(alone)), alone)))}
    record: dict[str, Any] = {"laws": {form: {q: asdict(law) for q, law in own.items()} for form, own in laws.items()}, "reliability": {}, "heldout": {}, "ratios": {}}
    for name, data in tests.items():
        record["heldout"][name] = {"rms": float(np.mean(rms(said[name], data))), "component": float(np.sqrt(np.mean(samples(said[name], data).errors ** 2)))}
        for quantity in QUANTITIES:
            found = samples(said[name], data, quantity)
            for form, own in laws.items():
                if quantity in own:
                    record["reliability"][f"{name}, {quantity}, {form}"] = _values(reliability(found, own[quantity], bins=12 if quantity == "forces" else 6))
            if quantity == "forces":
                numbers = np.repeat(np.concatenate([g.numbers for g in data]), 3)
                for element, z in (("O", 8), ("H", 1)):
                    part = Samples(found.sigma[numbers == z], found.errors[:, numbers == z], found.owner[numbers == z])
                    record["reliability"][f"{name}, {element}, power"] = _values(reliability(part, laws["power"]["forces"]))
            for form in ("power", "identity"):
                r = found.errors / laws[form][quantity].at(found.sigma)
                record["ratios"][f"{name}, {quantity}, {form}"] = counted(r).tolist()
    record["component error"] = {q: float(np.sqrt(np.mean(samples(said["simulated"], tests["simulated"], q).errors ** 2))) for q in QUANTITIES}
    return record


def _pair(found: Samples) -> tuple[np.ndarray, np.ndarray]:
    return found.sigma, found.errors


def _values(found: Reliability) -> dict[str, Any]:
    """As JSON."""
    named = {key: getattr(found, key) for key in ("spread", "within_1", "within_2", "nll", "area", "slope")}
    return {key: [round(v, 5) for v in (value.value, value.low, value.high)] for key, value in named.items()} | {"bins": np.round(found.bins, 6).tolist(), "structures": found.structures}


def _job(name: str, out: Path, data: Path, preset: str, device: str, deadline: float) -> str | None:
    """What a process does: one trial, kept."""
    if time.time() > deadline:
        return None
    torch.set_num_threads(1)
    trial, place = trials(PRESETS[preset])[name], out / "trials"
    earlier = Dataset.read(place / f"x{trial.target}.extxyz.gz") if trial.law == "second" else None
    record, labelled = run(trial, scene(out, data, preset, device), earlier)
    if len(labelled):
        keep(place / f"{name}.extxyz.gz", labelled)
    keep(place / f"{name}.json", {"settings": described(trial), **machine(), "device": device, "record": record})
    found = [value for value in record["structures"]["found"] if value is not None]
    return f"{name}: target {record['target']:.4f}, found {np.mean(found):.4f} eV/A, {record['seconds']:.0f} s"


def settings(preset: Preset) -> dict[str, Any]:
    """Everything that changes the numbers but a trial's own, as JSON."""
    return {"sizes": described(preset), "truth": described(Sizes()), "trainer": described(trainer(preset))}


def study(
    preset: str = "laptop", *, only: Sequence[str] = (), processes: int = 1, device: str = "cpu", out: str | Path = "runs/calibrated_attacks",
    results: str | Path = "notebooks/results", minutes: float = np.inf, say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Runs what is not there yet, and writes the result file ``calibrated_attacks-<preset>.json``.

    Args:
        preset: of the sizes.
        only: names of trials; all where none is given.
        processes: trials at a time, each in a process with one thread.
        device: where networks are.
        out: of trials' files.
        results: folder of the result file, and in ``water/`` of the truth's data and of the committee.
        minutes: no trial is begun after this; the next call goes on.
        say: hears lines of progress.

    Raises:
        ValueError: a trial that does not exist; results of other settings.
    """
    deadline, sizes = time.time() + 60 * minutes, PRESETS[preset]
    out, data, place = Path(out).absolute() / preset, Path(results).absolute() / "water", Path(results) / f"calibrated_attacks-{preset}.json"
    known = trials(sizes)
    unknown = set(only) - set(known)
    if unknown:
        raise ValueError(f"no trials are named {sorted(unknown)}; there are {', '.join(known)}")
    wanted = settings(sizes)
    done = collected(place, out, wanted, known)
    committee(data / f"committee-{preset}", sizes, truth(data, sizes, say), device, say, deadline)
    missing = [name for name in known if name not in done and (not only or name in only)]
    for later in (False, True):
        names = [name for name in missing if (known[name].law == "second") == later]
        names = [name for name in names if not later or (out / "trials" / f"x{known[name].target}.extxyz.gz").exists()]
        jobs = [(name, out, data, preset, device, deadline) for name in names]
        if processes == 1:
            for arguments in jobs:
                say(_job(*arguments) or f"{arguments[0]}: no time left")
        elif jobs:
            with get_context("spawn").Pool(processes) as pool:
                for said in [pool.apply_async(_job, arguments) for arguments in jobs]:
                    say(said.get() or "no time left")
    done = collected(place, out, wanted, known)
    there = scene(out, data, preset, device)
    if not (out / "judged.json").exists():
        keep(out / "judged.json", judged(there))
    about = json.loads((out / "judged.json").read_text())
    fitted = json.loads((data / f"committee-{preset}" / "fitted.json").read_text())
    records = {"heldout": there.heldout, "committee": about, "trials": {name: done[name] for name in known if name in done}}
    seconds = {"training": fitted["seconds"], "trials": round(sum(each["seconds"] for each in records["trials"].values()), 1)}
    found = claims(records)
    write(results, "calibrated_attacks", preset, seed=SEED, device=device, seconds=seconds, settings=wanted | {"trials": {name: described(known[name]) for name in records["trials"]}}, records=records, claims=found)
    for claim in found:
        say(str(claim))
    say(f"{len(records['trials'])} of {len(known)} trials, written to {place}")
    return place


def collected(place: Path, out: Path, wanted: Mapping[str, Any], known: Mapping[str, Trial]) -> dict[str, dict[str, Any]]:
    """Records of the trials that are finished, by name.

    Raises:
        ValueError: results of other settings (the differences are shown).
    """
    found: dict[str, dict[str, Any]] = {}
    if place.exists():
        stored = read(place)
        agree(stored["settings"], wanted, place)
        for name, record in stored["records"]["trials"].items():
            if name in known:
                agree(stored["settings"]["trials"][name], described(known[name]), place)
                found[name] = record
    for file in sorted((out / "trials").glob("*.json")):
        stored = json.loads(file.read_text())
        if file.stem in known:
            agree(stored["settings"], described(known[file.stem]), file)
            found[file.stem] = stored["record"]
    return found


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="laptop")
    parser.add_argument("--only", nargs="+", default=[], help="names of trials")
    parser.add_argument("--processes", type=int, default=1, help="trials at a time, each in a process with one thread")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default="runs/calibrated_attacks", help="trials' files; what is there is not run again")
    parser.add_argument("--results", default="notebooks/results", help="where JSON, the truth's data and the committee go")
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no trial after this; the next call goes on")
    study(**vars(parser.parse_args()), say=_say)


if __name__ == "__main__":
    main()
