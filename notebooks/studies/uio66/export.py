"""Put a finished loop beside the result file, where it can be explored without training.

``python -m studies.uio66.export --preset laptop``

The folder ``results/uio66/loop-PRESET`` gets the first and the last committee, as the trainer saves
them, with their calibration, and all labels of all systems in the order in which they were made.
"""

from __future__ import annotations

from pathlib import Path

from .. import loops
from ..jobs import Runner, parser, runner
from .iterations import folder_of
from .recipes import GROUPS, PRESETS, STRATEGIES


def export(run: Runner, strategy: str = "attacks", group: str = "all", seed: int = 0) -> Path:
    """Copy a finished loop with :func:`~studies.loops.export`; return its new folder.

    Raises:
        FileNotFoundError: a loop that has not been finished.
    """
    place, count = run.results / "uio66" / f"loop-{run.preset}", PRESETS[run.preset].iterations
    loop = folder_of(run, strategy, group, seed)
    loops.export(loop, place, count, "python -m studies.uio66")
    run.say(f"written to {place}")
    return place


def main() -> None:
    """Run from the command line."""
    arguments = parser(__doc__ or "", PRESETS, "uio66")
    arguments.add_argument("--strategy", choices=STRATEGIES, default="attacks")
    arguments.add_argument("--group", choices=GROUPS, default="all")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    try:
        export(runner(given), given.strategy, given.group, given.seed)
    except FileNotFoundError as error:
        arguments.error(str(error))


if __name__ == "__main__":
    main()
