"""What each part of our double-well recipe is worth: ``python -m studies.double_well.ablations
[FOLDER]`` prints the table.

Every ablation changes one thing and starts from the same data and seeds as a run of the whole
recipe, so their errors are compared seed by seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..results import interval_of_median, read
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
        about: what it is.
        errors: (seeds,) final RMSE of its adversarial loops.
        over_ours: (seeds,) the same divided by that of our recipe with the same seed.
        bought: (seeds,) labels asked for in all generations.
        duplicates: (seeds,) candidates that deduplication kept from being labelled.
    """

    about: str
    errors: NDArray
    over_ours: NDArray
    bought: NDArray
    duplicates: NDArray


def rows(folder: str | Path, preset: str = "laptop") -> list[Row]:
    """Our recipe and every ablation whose results are in `folder`.

    Raises:
        FileNotFoundError: without the results of our own recipe there is nothing to compare with.
    """
    found, ours = (
        [],
        {
            pair["seed"]: pair
            for pair in read(Path(folder) / f"double_well_ours-{preset}.json")["records"]["pairs"]
        },
    )
    for name in ("ours", *ABLATIONS):
        place = Path(folder) / f"double_well_{name}-{preset}.json"
        if place.exists():
            pairs = [pair for pair in read(place)["records"]["pairs"] if pair["seed"] in ours]
            errors, reference = (
                final(pairs, "adversarial"),
                final([ours[pair["seed"]] for pair in pairs], "adversarial"),
            )
            total = {
                key: np.array([sum(r[key] for r in pair["adversarial"]) for pair in pairs])
                for key in ("labelled", "duplicates")
            }
            found.append(
                Row(
                    VARIANTS[name].about,
                    errors,
                    errors / reference,
                    total["labelled"],
                    total["duplicates"],
                )
            )
    return found


def table(compared: Sequence[Row]) -> str:
    """Medians over seeds with 95 % bootstrap intervals, as Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in compared:
        error, ratio = interval_of_median(row.errors), interval_of_median(row.over_ours)
        cells = (
            row.about,
            f"{np.median(row.errors):.2f}",
            f"{error[0]:.2f} to {error[1]:.2f}",
            f"{np.median(row.over_ours):.2f}",
            f"{ratio[0]:.2f} to {ratio[1]:.2f}",
            f"{np.median(row.bought):.0f}",
            f"{np.median(row.duplicates):.0f}",
            str(len(row.errors)),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default="notebooks/results", help="where the JSON files are"
    )
    parser.add_argument("--preset", default="laptop")
    arguments = parser.parse_args()
    print(table(rows(arguments.folder, arguments.preset)))
