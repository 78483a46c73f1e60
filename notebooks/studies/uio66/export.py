"""Put a finished loop beside the result file, where it can be explored without training.

``python -m studies.uio66.export --preset laptop``
"""

from __future__ import annotations

from ..loops import Export
from .iterations import folder_of
from .recipes import GROUPS, PRESETS, STRATEGIES

export = Export("uio66", PRESETS, folder_of, {"strategy": STRATEGIES, "group": GROUPS})

if __name__ == "__main__":
    export.main()
