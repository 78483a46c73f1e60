"""References turn geometries into labels: a label function, a pool that can kill it, and a cache that remembers."""

from __future__ import annotations

from agal_toolkit.references.cache import Cache
from agal_toolkit.references.dft import DFT, NotConverged
from agal_toolkit.references.double_well import DoubleWell, basin
from agal_toolkit.references.failures import LabelFailed, Refused
from agal_toolkit.references.molecules import LabelCalculator, conformer, optimised
from agal_toolkit.references.orca import ORCA
from agal_toolkit.references.processes import processes
from agal_toolkit.references.reference import Reference
from agal_toolkit.references.water import AMOEBA
from agal_toolkit.references.water_dynamics import WaterDynamics, packed
from agal_toolkit.references.xtb import XTB

__all__ = [
    "AMOEBA", "DFT", "ORCA", "XTB", "Cache", "DoubleWell", "LabelCalculator", "LabelFailed", "NotConverged", "Reference", "Refused", "WaterDynamics", "basin", "conformer",
    "optimised", "packed", "processes",
]
