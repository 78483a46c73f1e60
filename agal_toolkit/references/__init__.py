"""References turn geometries into labels: a label function, a pool that can kill it, and a cache that remembers."""

from __future__ import annotations

from agal_toolkit.references.cache import Cache
from agal_toolkit.references.double_well import DoubleWell, basin
from agal_toolkit.references.failures import LabelFailed, Refused
from agal_toolkit.references.processes import processes
from agal_toolkit.references.reference import Reference

__all__ = ["Cache", "DoubleWell", "LabelFailed", "Reference", "Refused", "basin", "processes"]
