"""Eight labelled structures of two systems, from which the lesson's committee learns in seconds.

``python -m studies.uio66.examples`` makes their file if it is missing, in about a minute.

Each system has its relaxed start and three copies, atoms displaced by 0.05 angstrom and cells
strained by 2 %, as the loop has them. The last copy of each calibrates.
"""

from __future__ import annotations

import numpy as np

from agal_toolkit.dataset import CALIBRATION, TRAIN, Dataset

from ..jobs import save
from ..water.recipes import Shaken
from .structures import DRY, FOLDER, LABEL, SEED, name, start

SYSTEMS = (DRY, name(14))
FILE = FOLDER / "examples.extxyz.gz"
COPIES = 3


def examples() -> Dataset:
    """Return the structures of both systems; they are made if their file is missing."""
    if not FILE.exists():
        save(FILE, labelled())
    return Dataset.read(FILE)


def labelled() -> Dataset:
    """Return the structures of both systems with labels of GFN1-xTB."""
    data = Dataset()
    for k, system in enumerate(SYSTEMS):
        first = start(system)
        copies = Shaken(first[0], COPIES).draw(np.random.default_rng([SEED, 2000, k]))
        # files have eight decimals: the labels are those of the stored positions
        copies = [copy.moved(copy.positions.round(8)) for copy in copies]
        geometries, labels = [*first, *copies], [*first.labels, *map(LABEL, copies)]
        data = data + Dataset(geometries, labels, [TRAIN] * COPIES + [CALIBRATION])
    return data


if __name__ == "__main__":
    print(examples())
