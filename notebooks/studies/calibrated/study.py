"""Structures of a chosen error, in liquid water: Cezar 2025, Figs. 2 and 3, with AMOEBA as the
truth.

One committee is trained once; a trial sends forty structures to an error, each way that the paper
compares and some that it does not (:mod:`.calibrated_trials`). Every trial is a job of its own,
kept as it ends, and trials that a result file holds are not run again. A second round calibrates
anew, with the first round's labelled structures of the same target beside those put aside, and
attacks seeds that the first did not.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agal_toolkit.dataset import Dataset
from agal_toolkit.settings import machine, to_settings

from ..results import agree, keep, read, write
from ..water.truth import SEED, Sizes
from .claims import claims
from .committee import committee, judged, trainer
from .recipes import PRESETS, Preset, trials, truth
from .trials import Scene, Trial, run
from .ways import HOT, LONGEST, STEP


@lru_cache(maxsize=1)
def scene(out: Path, data: Path, preset: str, device: str = "cpu") -> Scene:
    """What all trials share; the committee must be there."""
    sizes = PRESETS[preset]
    known = truth(data, sizes)
    return Scene.of(
        committee(data / f"committee-{preset}", sizes, known, device), known, sizes.steps
    )


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
    keep(
        place / f"{name}.json",
        {
            "settings": settings(PRESETS[preset]) | {"trial": asked(trial)},
            **machine(),
            "device": device,
            "record": record,
        },
    )
    found = [value for value in record["structures"]["found"] if value is not None]
    return (
        f"{name}: target {record['target']:.4f}, found {np.mean(found):.4f} eV/A,"
        f" {record['seconds']:.0f} s"
    )


def settings(preset: Preset) -> dict[str, Any]:
    """Everything that changes the numbers but a trial's own, as JSON."""
    heat = {"temperature": HOT, "timestep": STEP, "longest": LONGEST}
    return {
        "sizes": to_settings(preset),
        "truth": to_settings(Sizes()),
        "trainer": to_settings(trainer(preset)),
        "heat": heat,
    }


def asked(trial: Trial) -> dict[str, Any]:
    """Everything that changes the numbers of a trial, as JSON; what it is called does not."""
    return {key: value for key, value in to_settings(trial).items() if key != "about"}


def study(
    preset: str = "laptop",
    *,
    only: Sequence[str] = (),
    processes: int = 1,
    device: str = "cpu",
    out: str | Path = "runs/calibrated_attacks",
    results: str | Path = "notebooks/results",
    minutes: float = np.inf,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Runs what is not there yet, and writes the result file ``calibrated_attacks-<preset>.json``.

    Args:
        preset: of the sizes.
        only: names of trials; all where none is given.
        processes: trials at a time, each in a process with one thread.
        device: where networks are.
        out: of trials' files.
        results: folder of the result file, and in ``water/`` of the truth's data and of the
            committee.
        minutes: no trial is begun after this; the next call goes on.
        say: hears lines of progress.

    Raises:
        ValueError: a trial that does not exist; results of other settings.
        RuntimeError: trials failed; what others found is written.
    """
    deadline, sizes = time.time() + 60 * minutes, PRESETS[preset]
    out, data, place = (
        Path(out).absolute() / preset,
        Path(results).absolute() / "water",
        Path(results) / f"calibrated_attacks-{preset}.json",
    )
    known = trials(sizes)
    unknown = set(only) - set(known)
    if unknown:
        raise ValueError(f"no trials are named {sorted(unknown)}; there are {', '.join(known)}")
    wanted = settings(sizes)
    done = collected(place, out, wanted, known)
    committee(data / f"committee-{preset}", sizes, truth(data, sizes, say), device, say, deadline)
    missing = [name for name in known if name not in done and (not only or name in only)]
    failed: list[str] = []
    for later in (False, True):
        names = []
        for name in missing:
            first = out / "trials" / f"x{known[name].target}.extxyz.gz"
            if later and known[name].law == "second" and not first.exists():
                failed.append(
                    f"{name}: it goes on from the structures of x{known[name].target}, and {first}"
                    " is missing: run that trial into the same folder"
                )
                say(failed[-1])
            elif (known[name].law == "second") == later:
                names.append(name)
        jobs = [(name, out, data, preset, device, deadline) for name in names]
        with (
            get_context("spawn").Pool(processes) if processes > 1 and jobs else nullcontext()
        ) as pool:
            waiting = {
                name: partial(_job, *job) if pool is None else pool.apply_async(_job, job).get
                for name, job in zip(names, jobs, strict=True)
            }
            for name, result in waiting.items():
                try:
                    say(result() or f"{name}: no time left")
                except (ValueError, RuntimeError) as error:  # others go on
                    failed.append(f"{name}: {error}")
                    say(failed[-1])
    done = collected(place, out, wanted, known)
    there = scene(out, data, preset, device)
    if not (out / "judged.json").exists():
        keep(out / "judged.json", {"settings": wanted, "judged": judged(there)})
    kept = json.loads((out / "judged.json").read_text())
    agree(kept["settings"], wanted, out / "judged.json")
    about = kept["judged"]
    fitted = json.loads((data / f"committee-{preset}" / "fitted.json").read_text())
    records = {
        "heldout": there.heldout,
        "committee": about,
        "trials": {name: done[name] for name in known if name in done},
    }
    seconds = {
        "training": fitted["seconds"],
        "trials": round(sum(each["seconds"] for each in records["trials"].values()), 1),
    }
    found = claims(records)
    write(
        results,
        "calibrated_attacks",
        preset,
        seed=SEED,
        device=device,
        seconds=seconds,
        settings=wanted | {"trials": {name: asked(known[name]) for name in records["trials"]}},
        records=records,
        claims=found,
    )
    for claim in found:
        say(str(claim))
    say(f"{len(records['trials'])} of {len(known)} trials, written to {place}")
    if failed:
        raise RuntimeError("trials failed, all others are kept:\n" + "\n".join(failed))
    return place


def collected(
    place: Path, out: Path, wanted: Mapping[str, Any], known: Mapping[str, Trial]
) -> dict[str, dict[str, Any]]:
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
                agree(stored["settings"]["trials"][name], asked(known[name]), place)
                found[name] = record
    for file in sorted((out / "trials").glob("*.json")):
        stored = json.loads(file.read_text())
        if file.stem in known:
            agree(stored["settings"], dict(wanted) | {"trial": asked(known[file.stem])}, file)
            found[file.stem] = stored["record"]
    return found


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="laptop")
    parser.add_argument("--only", nargs="+", default=[], help="names of trials")
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="trials at a time, each in a process with one thread",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out",
        default="runs/calibrated_attacks",
        help="trials' files; what is there is not run again",
    )
    parser.add_argument(
        "--results",
        default="notebooks/results",
        help="where JSON, the truth's data and the committee go",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=np.inf,
        help="begin no trial after this; the next call goes on",
    )
    study(**vars(parser.parse_args()), say=_say)


if __name__ == "__main__":
    main()
