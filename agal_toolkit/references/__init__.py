"""References turn geometries into labels: label functions, pools that can kill them, a cache."""

from __future__ import annotations

from .amoeba import AMOEBA
from .cache import Cache
from .calculators import ORCA, XTB, CalculatorLabels, OneCalculator
from .double_well import DoubleWell, basin
from .molecules import LabelCalculator, NoMinimum, conformer, hessian, optimised
from .outcomes import LabelFailed, NotConverged, Refused
from .processes import processes
from .pyscf import DFT
from .reference import Reference

# fmt: off
__all__ = [
    "AMOEBA", "DFT", "ORCA", "XTB", "Cache", "CalculatorLabels", "DoubleWell", "LabelCalculator",
    "LabelFailed", "NoMinimum", "NotConverged", "OneCalculator", "Reference", "Refused", "basin",
    "conformer", "hessian", "optimised", "processes",
]
# fmt: on
