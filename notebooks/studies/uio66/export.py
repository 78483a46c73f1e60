"""Put a finished loop beside the result file, where it can be explored without training.

``python -m studies.uio66.export --preset laptop``

The folder ``results/uio66/loop-PRESET`` gets the first and the last committee, as the trainer saves
them, with their calibration, and all labels of all systems in the order in which they were made.
"""

from __future__ import annotations

from pathlib import Path

from .. import loops
from ..jobs import Runner
from .iterations import folder_of
from .recipes import GROUPS, PRESETS, STRATEGIES


def export(run: Runner, strategy: str = "attacks", group: str = "all", seed: int = 0) -> Path:
    """Copy a finished loop with :func:`~studies.loops.export`; return its new folder."""
    folder, count = folder_of(run, strategy, group, seed), PRESETS[run.preset].iterations
    return loops.export(run, "uio66", folder, count)


if __name__ == "__main__":
    choices = {"strategy": STRATEGIES, "group": GROUPS}
    loops.export_from_command_line(__doc__ or "", "uio66", PRESETS, export, **choices)
