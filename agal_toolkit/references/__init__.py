"""References turn geometries into labels: a label function, a pool that can kill it, and a cache
that remembers.
"""

from __future__ import annotations

from .amoeba import AMOEBA
from .cache import Cache
from .calculators import ORCA, XTB, CalculatorLabels
from .double_well import DoubleWell, basin
from .molecules import LabelCalculator, conformer, optimised
from .outcomes import LabelFailed, NotConverged, Refused
from .processes import processes
from .pyscf import DFT
from .reference import Reference

__all__ = [
    "AMOEBA",
    "DFT",
    "ORCA",
    "XTB",
    "Cache",
    "CalculatorLabels",
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
