"""The evidence of draws for a single point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["savage_dickey"]

Array = np.ndarray[Any, Any]


def savage_dickey(draws: Array, prior_density: float) -> float:
    """Posterior density over prior density at 0: the evidence for a value of exactly 0.

    The posterior's is a Gaussian kernel estimate with Silverman's bandwidth.

    Examples
    --------
    >>> from statistics import NormalDist
    >>> draws = np.array([NormalDist().inv_cdf((i + 0.5) / 2000) for i in range(2000)])
    >>> round(savage_dickey(draws, prior_density=0.1), 1)
    3.9
    """
    spread = float(min(draws.std(), np.subtract(*np.quantile(draws, [0.75, 0.25])) / 1.349) or draws.std())
    if not spread > 0.0:
        return math.nan
    width = 0.9 * spread * len(draws) ** -0.2
    density = float(np.exp(-0.5 * np.square(draws / width)).mean()) / (width * math.sqrt(2.0 * math.pi))
    return density / prior_density
