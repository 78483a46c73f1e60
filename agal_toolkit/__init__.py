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
"""

from .attack import (
    LBFGS,
    Adam,
    Adversary,
    Apart,
    Attack,
    Autograd,
    Ball,
    Bias,
    BoltzmannVariance,
    BondLengths,
    EnergyVariance,
    FiniteDifference,
    GradientDescent,
    HessianVector,
    TargetError,
    Variance,
)
from .batch import Batch, Delta, Prediction
from .committee import Committee
from .dataset import Dataset
from .geometry import Geometry, Labels, points
from .loop.generation import Generation, Proposal
from .loop.loop import Loop, Recipe, Schedule
from .loop.stopping import Plateau, until
from .potentials import (
    MLP,
    Baseline,
    CalculatorPotential,
    DensityNet,
    Differentiable,
    PotentialCalculator,
    SchNet,
    Separate,
    Stacked,
)
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
from .sampling.molecular_dynamics import MolecularDynamics
from .sampling.normal_modes import NormalModes
from .sampling.samplers import Copies, FromDataset, Mixture, Rattle
from .selection import AtMost, Candidate, Deduplicate, MaxForce, MinDistance, UncertaintyPercentile
from .training.folds import Folds
from .training.trainer import TorchTrainer
from .uncertainty.calibration import Calibration
from .uncertainty.power_law import CalibrationRefused, PowerLaw

__all__ = [
    "AMOEBA",
    "DFT",
    "LBFGS",
    "MLP",
    "ORCA",
    "XTB",
    "Adam",
    "Adversary",
    "Apart",
    "AtMost",
    "Attack",
    "Autograd",
    "Ball",
    "Baseline",
    "Batch",
    "Bias",
    "BoltzmannVariance",
    "BondLengths",
    "CalculatorLabels",
    "CalculatorPotential",
    "Calibration",
    "CalibrationRefused",
    "Candidate",
    "Committee",
    "Copies",
    "Dataset",
    "Deduplicate",
    "Delta",
    "DensityNet",
    "Differentiable",
    "DoubleWell",
    "EnergyVariance",
    "FiniteDifference",
    "Folds",
    "FromDataset",
    "Generation",
    "Geometry",
    "GradientDescent",
    "HessianVector",
    "Labels",
    "PowerLaw",
    "Loop",
    "MaxForce",
    "MinDistance",
    "Mixture",
    "MolecularDynamics",
    "NormalModes",
    "Plateau",
    "PotentialCalculator",
    "Prediction",
    "Proposal",
    "Rattle",
    "Recipe",
    "Reference",
    "SchNet",
    "Schedule",
    "Separate",
    "Stacked",
    "TargetError",
    "TorchTrainer",
    "UncertaintyPercentile",
    "Variance",
    "basin",
    "conformer",
    "optimised",
    "points",
    "processes",
    "until",
]
