"""Objectives, gradients and minimizers, composed into an attack."""

from .attack import Adversary, Attack
from .constraints import Apart, Ball, BondLengths
from .gradients import Autograd, FiniteDifference, Gradient, HessianVector, NotConservative
from .minimizers import LBFGS, Adam, GradientDescent, Minimizer
from .objectives import BoltzmannVariance, EnergyVariance, Loss, Objective, Variance
from .target_error import Bias, TargetError, TargetLoss

__all__ = [
    "LBFGS",
    "Adam",
    "Adversary",
    "Apart",
    "Attack",
    "Autograd",
    "Ball",
    "Bias",
    "BoltzmannVariance",
    "BondLengths",
    "EnergyVariance",
    "FiniteDifference",
    "Gradient",
    "GradientDescent",
    "HessianVector",
    "Loss",
    "Minimizer",
    "NotConservative",
    "Objective",
    "TargetError",
    "TargetLoss",
    "Variance",
]
