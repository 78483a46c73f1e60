"""Put a finished loop beside the result file, as the notebook reads it.

``python -m studies.water.export --preset laptop``
"""

from __future__ import annotations

from ..loops import Export
from .iterations import folder_of
from .recipes import PRESETS, STRATEGIES, TRAININGS

export = Export("water", PRESETS, folder_of, {"strategy": STRATEGIES, "training": TRAININGS})

if __name__ == "__main__":
    export.main()
