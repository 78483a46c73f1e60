"""References turn geometries into labels: a label function, a pool that can kill it, and a cache that remembers."""

from __future__ import annotations

from .cache import Cache
from .pyscf import DFT, NotConverged
from .double_well import DoubleWell, basin
from .outcomes import LabelFailed, Refused
from .molecules import LabelCalculator, conformer, optimised
from .orca import ORCA
from .processes import processes
from .reference import Reference
from .amoeba import AMOEBA
from .xtb import XTB

__all__ = [
    "AMOEBA", "DFT", "ORCA", "XTB", "Cache", "DoubleWell", "LabelCalculator", "LabelFailed", "NotConverged", "Reference", "Refused", "basin", "conformer",
    "optimised", "processes",
]
