"""What each part of our double-well recipe contributes.

Every ablation changes one thing and starts from the same data and seeds as a run of the whole
recipe, so their errors are compared seed by seed. ``python -m studies.double_well.ablations``
prints the table.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..jobs import RESULTS, interval, markdown, read
from .recipes import ABLATIONS, VARIANTS
from .study import final

HEAD = (
    "recipe",
    "final RMSE",
    "interval",
    "over ours",
    "interval",
    "labels bought",
    "saved as duplicates",
    "runs",
)


@dataclass(frozen=True, eq=False)
class Row:
    """One recipe on the seeds that it shares with ours.

    Attributes:
        about: description of the recipe.
        errors: (seeds,) final RMSE of its adversarial loops.
        over_ours: (seeds,) the same divided by that of our recipe with the same seed.
        bought: (seeds,) labels in all generations.
        duplicates: (seeds,) candidates that deduplication kept from being labelled.
    """

    about: str
    errors: NDArray
    over_ours: NDArray
    bought: NDArray
    duplicates: NDArray


def rows(folder: str | Path, preset: str = "laptop") -> list[Row]:
    """Return our recipe and every ablation whose results are in `folder`.

    Raises:
        FileNotFoundError: the results of our own recipe are missing.
    """

    def pairs_of(variant: str) -> list[dict]:
        return read(Path(folder) / f"double_well_{variant}-{preset}.json")["records"]["pairs"]

    result, ours = [], {pair["seed"]: pair for pair in pairs_of("ours")}
    for name in ("ours", *ABLATIONS):
        if not (Path(folder) / f"double_well_{name}-{preset}.json").exists():
            continue
        pairs = [pair for pair in pairs_of(name) if pair["seed"] in ours]
        errors = final(pairs, "adversarial")
        reference = final([ours[pair["seed"]] for pair in pairs], "adversarial")
        bought, duplicates = (
            np.array([sum(record[key] for record in pair["adversarial"]) for pair in pairs])
            for key in ("labelled", "duplicates")
        )
        result.append(Row(VARIANTS[name].about, errors, errors / reference, bought, duplicates))
    return result


def table(compared: Sequence[Row]) -> str:
    """Return medians over seeds with 95 % bootstrap intervals, as Markdown."""
    cells = []
    for row in compared:
        medians = []
        for values in (row.errors, row.over_ours):
            low, high = interval(values, statistic=np.median)
            medians += [f"{np.median(values):.2f}", f"{low:.2f} to {high:.2f}"]
        counts = f"{np.median(row.bought):.0f}", f"{np.median(row.duplicates):.0f}"
        cells.append((row.about, *medians, *counts, str(len(row.errors))))
    return markdown(HEAD, cells)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=RESULTS, help="where the JSON files are")
    parser.add_argument("--preset", default="laptop")
    arguments = parser.parse_args()
    print(table(rows(arguments.folder, arguments.preset)))
