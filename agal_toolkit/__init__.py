"""agal_toolkit: adversarial geometries, active learning.

Finds out what a neural-network interatomic potential does not know, and mends it: a committee of
networks disagrees, an attack looks for the geometries where it disagrees most, a reference labels
them, and the loop goes on.

Implements, and cites in its docstrings as "Schwalbe-Koda 2021" and "Cezar 2025":

- D. Schwalbe-Koda, A. R. Tan, R. Gómez-Bombarelli, "Differentiable sampling of molecular geometries
  with uncertainty-based adversarial attacks", Nature Communications 12, 5104 (2021),
  doi:10.1038/s41467-021-25342-8.
- H. M. Cezar, T. Bodenstein, H. A. Sveinsson, M. Ledum, S. Reine, S. L. Bore, "Learning atomic
  forces from uncertainty-calibrated adversarial attacks", npj Computational Materials (2025),
  doi:10.1038/s41524-025-01703-5.

The names below are for daily use. Public names of the rooms (``agal_toolkit.attack``,
``agal_toolkit.potentials``, ...) are found here as well: ``agal_toolkit.Stacked``.
"""

from importlib.metadata import version as _version
from typing import Any as _Any

from . import (
    attack,
    batch,
    committee,
    dataset,
    dynamics,
    geometry,
    loop,
    potentials,
    references,
    sampling,
    selection,
    training,
    uncertainty,
)
from .attack import (
    LBFGS,
    Adam,
    Attack,
    Autograd,
    Ball,
    Bias,
    BoltzmannVariance,
    FiniteDifference,
    HessianVector,
    TargetError,
    Variance,
)
from .committee import Committee
from .dataset import Dataset
from .geometry import Geometry, Labels, points
from .loop import Loop, Plateau, Recipe, Run, Schedule, until
from .potentials import MLP, DensityNet, Guard, SchNet
from .references import (
    AMOEBA,
    DFT,
    ORCA,
    XTB,
    CalculatorLabels,
    DoubleWell,
    Reference,
    basin,
    conformer,
    optimised,
    processes,
)
from .sampling import FromDataset, MolecularDynamics, NormalModes, Rattle, start
from .selection import (
    AtMost,
    Deduplicate,
    MaxForce,
    MinDistance,
    UncertaintyPercentile,
    VariancePercentile,
)
from .training import Folds, Likelihood, TorchTrainer, WarmStart

__version__ = _version("agal_toolkit")

# fmt: off
__all__ = [
    "Committee", "Dataset", "Geometry", "Labels", "points",
    "MLP", "SchNet", "DensityNet", "TorchTrainer", "WarmStart", "Likelihood", "Folds",
    "Attack", "BoltzmannVariance", "Variance", "TargetError", "Bias", "Adam", "LBFGS", "Ball",
    "Autograd", "HessianVector", "FiniteDifference",
    "FromDataset", "Rattle", "NormalModes", "MolecularDynamics", "start",
    "VariancePercentile", "UncertaintyPercentile", "Deduplicate", "MinDistance", "MaxForce",
    "AtMost",
    "Reference", "CalculatorLabels", "XTB", "DFT", "ORCA", "AMOEBA", "DoubleWell", "basin",
    "conformer", "optimised", "processes",
    "Guard", "Loop", "Recipe", "Run", "Schedule", "Plateau", "until",
]
# fmt: on

_ROOMS = (attack, batch, committee, dataset, dynamics, geometry, loop, potentials, references)
_ROOMS += (sampling, selection, training, uncertainty)


def __getattr__(name: str) -> _Any:
    """Return a public name of a room that is not among the daily names."""
    for room in _ROOMS:
        value = vars(room).get(name)
        if getattr(value, "__module__", "").startswith(__name__) and not name.startswith("_"):
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
