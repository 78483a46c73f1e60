"""References turn geometries into labels: a label function, a pool that can kill it, and a cache
that remembers.
"""

from __future__ import annotations

from .amoeba import AMOEBA
from .cache import Cache
from .double_well import DoubleWell, basin
from .molecules import LabelCalculator, conformer, optimised
from .orca import ORCA
from .outcomes import LabelFailed, Refused
from .processes import processes
from .pyscf import DFT, NotConverged
from .reference import Reference
from .xtb import XTB

__all__ = [
    "AMOEBA",
    "DFT",
    "ORCA",
    "XTB",
    "Cache",
    "DoubleWell",
    "LabelCalculator",
    "LabelFailed",
    "NotConverged",
    "Reference",
    "Refused",
    "basin",
    "conformer",
    "optimised",
    "processes",
]
