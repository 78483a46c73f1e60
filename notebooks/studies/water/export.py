"""Put a finished loop beside the result file, as the notebook reads it.

``python -m studies.water.export --preset laptop``

The folder ``results/water/loop-PRESET`` gets the first and the last committee, as the trainer saves
them, with their calibration, and all labels in the order in which they were made.
"""

from __future__ import annotations

from pathlib import Path

from .. import loops
from ..jobs import Runner, parser, runner
from .iterations import folder_of
from .recipes import PRESETS, STRATEGIES, TRAININGS


def export(run: Runner, strategy: str = "attacks", training: str = "warm", seed: int = 0) -> Path:
    """Copy a finished loop with :func:`~studies.loops.export`; return its new folder.

    Raises:
        FileNotFoundError: a loop that has not been finished.
    """
    place, count = run.results / "water" / f"loop-{run.preset}", PRESETS[run.preset].iterations
    loop = folder_of(run, strategy, training, seed)
    loops.export(loop, place, count, "python -m studies.water")
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
