"""Simulation-based calibration: is what is called a posterior the posterior?"""

from bayesmlm.calibration.harness import calibrate
from bayesmlm.calibration.result import Calibration

__all__ = ["Calibration", "calibrate"]
