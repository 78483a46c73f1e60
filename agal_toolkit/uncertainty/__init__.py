"""How much the members of a committee disagree, and what size of error that stands for."""

from .calibration import Calibration
from .power_law import CalibrationRefused, PowerLaw

__all__ = ["Calibration", "CalibrationRefused", "PowerLaw"]
