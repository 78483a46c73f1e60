"""What was tried on ammonia, on seeds that no result rests on: our recipe with one thing changed,
without its attack, and the printed one with our training.

Each run is a loop of two labelled rounds, and what its three committees say of barrier and surface;
nothing else is computed. Every run is kept as it ends, and none is made twice. ``python -m
studies.ammonia.remedies`` prints the table of all that are there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agal_toolkit.references import DFT, Cache, Reference

from ..results import agree, read, write
from .committees import paths, surface
from .labels import labelled
from .recipes import KCAL, PRESETS, RECIPES, REMEDIES, STARTS, initial
from .study import loop, settings
from .truth import truth

SEEDS = (100, 101)
TRIED = ("ours", "frames", "converged", *REMEDIES)
HEAD = (
    "recipe",
    "start",
    "barrier error of the third",
    "of its members",
    "RMSE below 5",
    "below 40",
    "labels",
    "runs",
)


def run(
    name: str, start: str, seed: int, preset: str, out: Path, data: Path, label: DFT, device: str
) -> dict[str, Any]:
    """One loop; its record."""
    sizes, began = PRESETS[preset], time.monotonic()
    known, reference = truth(data / "reference", label, sizes.truth), Reference(label)
    first = labelled(
        data / f"{start}-{seed}.extxyz",
        initial(start, sizes, known, seed),
        reference,
        Cache(out / "labels"),
    )
    running, place = (
        loop(name, sizes, known, seed, reference, device),
        out / "remedies" / f"{name}-{start}-{seed}",
    )
    turns = [*islice(running.generations(first, place), 2), running.ask(first, place)]
    said = []
    for turn in turns:
        path = paths(turn.committee, known, sizes)
        below = surface(turn.committee, known)["rmse below"]
        said.append(
            {
                "structures": len(turn.dataset),
                "barrier": path.get("barrier"),
                "members": path.get("members"),
                "rmse below": {cap: below[cap] for cap in ("5", "40")},
            }
        )
    energies = [
        np.round((turn.labelled.energies - known.zero) / KCAL, 2).tolist() for turn in turns[:2]
    ]
    return {
        "start": start,
        "seed": seed,
        "committees": said,
        "energies": energies,
        "seconds": round(time.monotonic() - began, 1),
    }


def study(
    preset: str = "laptop",
    *,
    recipes: Sequence[str] = TRIED,
    starts: Sequence[str] = ("thermal", "cold"),
    seeds: Sequence[int] = SEEDS,
    out: str | Path = "runs/ammonia",
    results: str | Path = "notebooks/results",
    minutes: float = np.inf,
    label: DFT = DFT(),
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Makes the runs that the result file ``ammonia_remedies-<preset>.json`` lacks.

    Args:
        preset: of the sizes.
        recipes, starts, seeds: a run for each of their combinations, recipes innermost.
        out: of run directories and labels.
        results: folder of the result file, of the reference's files and of labelled starts.
        minutes: no run starts later than this.
        label: the reference.
        device: where networks are trained.
        say: hears each run.

    Raises:
        ValueError: runs in the result file that were made with other settings.
    """
    results, out, deadline, sizes = (
        Path(results),
        Path(out) / preset,
        time.monotonic() + 60 * minutes,
        PRESETS[preset],
    )
    place = results / f"ammonia_remedies-{preset}.json"
    known = truth(results / "ammonia" / "reference", label, sizes.truth)
    stored = read(place) if place.exists() else {"settings": {}, "records": {"runs": {}}}
    made, found = stored["settings"], stored["records"]["runs"]
    for start, seed, name in product(starts, seeds, recipes):
        asked = {
            key: value
            for key, value in settings(name, start, sizes, known, label).items()
            if "start" not in key
        }
        if name in made:
            agree(made[name], asked, place)
        if (
            any((each["start"], each["seed"]) == (start, seed) for each in found.get(name, ()))
            or time.monotonic() > deadline
        ):
            continue
        one = run(name, start, seed, preset, out, results / "ammonia", label, device)
        made[name] = asked
        found.setdefault(name, []).append(one)
        say(
            f"{name}, {start}, seed {seed}: barriers"
            f" {[each['barrier'] for each in one['committees']]} kcal/mol, {one['seconds']:.0f} s"
        )
        write(
            results,
            "ammonia_remedies",
            preset,
            seed=min(each["seed"] for runs in found.values() for each in runs),
            device=device,
            seconds={
                "in all": round(sum(each["seconds"] for runs in found.values() for each in runs), 1)
            },
            settings=made,
            records={"truth": round(known.path.barrier / KCAL, 4), "runs": found},
            claims=[],
        )
    return place


def table(stored: dict[str, Any]) -> str:
    """Medians over the runs of each recipe and start, kcal/mol, as Markdown; barriers that were not
    found count as infinitely wrong.
    """
    truth_said, lines = (
        stored["records"]["truth"],
        ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)],
    )
    for name, runs in stored["records"]["runs"].items():
        for start in STARTS:
            thirds = [each["committees"][2] for each in runs if each["start"] == start]
            if thirds:
                errors = [
                    np.inf if each["barrier"] is None else abs(each["barrier"] - truth_said)
                    for each in thirds
                ]
                members = [
                    np.sqrt(
                        np.nanmean(np.square(np.array(each["members"], dtype=float) - truth_said))
                    )
                    for each in thirds
                    if each["members"] is not None
                ]
                below = [
                    np.median([each["rmse below"][cap] for each in thirds]) for cap in ("5", "40")
                ]
                lines.append(
                    "| "
                    + " | ".join(
                        (
                            (RECIPES | REMEDIES)[name].about,
                            start,
                            f"{np.median(errors):.2f}",
                            f"{np.median(members):.2f}" if members else "",
                            f"{below[0]:.3f}",
                            f"{below[1]:.2f}",
                            f"{np.median([each['structures'] for each in thirds]):.0f}",
                            str(len(thirds)),
                        )
                    )
                    + " |"
                )
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="laptop")
    parser.add_argument("--recipes", choices=(*RECIPES, *REMEDIES), nargs="*", default=list(TRIED))
    parser.add_argument("--starts", choices=STARTS, nargs="+", default=["thermal", "cold"])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out", default="runs/ammonia", help="run directories; what is there is not run again"
    )
    parser.add_argument(
        "--results",
        default="notebooks/results",
        help="where the JSON goes; runs that it holds are not made again",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=np.inf,
        help="start no run later than this; the next call goes on",
    )
    torch.set_num_threads(1)
    print(table(read(study(**vars(parser.parse_args()), say=lambda text: print(text, flush=True)))))


if __name__ == "__main__":
    main()
