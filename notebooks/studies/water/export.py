"""Put a finished loop beside the result file, as the notebook reads it.

``python -m studies.water.export --preset laptop``

The folder ``results/water/loop-PRESET`` gets the first and the last committee, as the trainer saves
them, with their calibration, and all labels in the order in which they were made.
"""

from __future__ import annotations

from pathlib import Path

from .. import loops
from ..jobs import Runner
from .iterations import folder_of
from .recipes import PRESETS, STRATEGIES, TRAININGS


def export(run: Runner, strategy: str = "attacks", training: str = "warm", seed: int = 0) -> Path:
    """Copy a finished loop with :func:`~studies.loops.export`; return its new folder."""
    folder, count = folder_of(run, strategy, training, seed), PRESETS[run.preset].iterations
    return loops.export(run, "water", folder, count)


if __name__ == "__main__":
    choices = {"strategy": STRATEGIES, "training": TRAININGS}
    loops.export_from_command_line(__doc__ or "", "water", PRESETS, export, **choices)
