"""Put a finished loop beside the result file, as the notebook reads it.

``python -m studies.water.export --preset laptop``

The folder ``results/water/loop-PRESET`` gets the first and the last committee, as the trainer saves
them, with their calibration, and all labels in the order in which they were made.
"""

from __future__ import annotations

from pathlib import Path

from agal_toolkit.dataset import Dataset
from agal_toolkit.files import atomic_write

from ..jobs import Runner, parser, runner, save
from .iterations import folder_of
from .recipes import PRESETS, STRATEGIES, TRAININGS


def export(run: Runner, strategy: str = "attacks", training: str = "warm", seed: int = 0) -> Path:
    """Copy the first and the last committee of a loop, and its labels; return their folder.

    Committees are numbered from 1 there, as iterations are.

    Raises:
        FileNotFoundError: a loop that has not been finished.
    """
    loop, last = folder_of(run, strategy, training, seed), PRESETS[run.preset].iterations
    done = [k + 1 for k in range(last) if (loop / f"iteration-{k}.json").exists()]
    if len(done) < last:
        wrong = f"{loop} has {len(done)} of {last} iterations"
        raise FileNotFoundError(f"{wrong}: finish the loop with python -m studies.water")
    place = run.results / "water" / f"loop-{run.preset}"
    for iteration in (1, last):
        source, target = loop / f"committee-{iteration - 1}", place / f"committee-{iteration}"
        target.mkdir(parents=True, exist_ok=True)
        for file in filter(Path.is_file, source.iterdir()):  # simulations may have folders there
            with atomic_write(target / file.name) as part:
                part.write_bytes(file.read_bytes())
    save(place / "labels.extxyz.gz", Dataset.read(loop / f"labels-{last - 1}.extxyz"))
    run.say(f"written to {place}")
    return place


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__ or "", PRESETS, "water")
    arguments.add_argument("--strategy", choices=STRATEGIES, default="attacks")
    arguments.add_argument("--training", choices=TRAININGS, default="warm")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    try:
        export(runner(given), given.strategy, given.training, given.seed)
    except FileNotFoundError as error:
        arguments.error(str(error))


if __name__ == "__main__":
    main()
