"""The active-learning loop: train, attack, select, label, again; and its directory on disk."""

from .generation import Generation, Proposal
from .loop import Loop
from .recipe import Recipe, Schedule
from .review import Reviewed
from .run import Run
from .run_directory import RunDirectoryError
from .stopping import Plateau, until

# fmt: off
__all__ = [
    "Generation", "Loop", "Plateau", "Proposal", "Recipe", "Reviewed", "Run",
    "RunDirectoryError", "Schedule", "until",
]
# fmt: on
