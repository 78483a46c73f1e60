"""Fitting all members of a committee at once, and how they share the data."""

from .folds import Folds
from .likelihood import Likelihood
from .trainer import TorchTrainer, Trainer, TrainingFailed
from .weights import StartRefused, WarmStart

__all__ = ["Folds", "Likelihood", "StartRefused", "TorchTrainer", "Trainer", "TrainingFailed"]
__all__ += ["WarmStart"]
