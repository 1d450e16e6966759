"""A random-intercept logistic model of any size, from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMULA", "simulate"]

FORMULA = "y ~ x + t + (1 | g)"
"""Three fixed-effect columns: intercept, a number, a 0/1 treatment."""


def simulate(n: int, n_groups: int, seed: int = 20240) -> pd.DataFrame:
    """Simulate 0/1 responses in groups of equal expected size.

    Parameters
    ----------
    n : int
        Rows.
    n_groups : int
    seed : int

    Returns
    -------
    pandas.DataFrame
        ``y`` (0/1), ``x`` (normal), ``t`` (0/1), ``g`` (whole numbers, in no order).

    Examples
    --------
    >>> simulate(1000, 100).shape
    (1000, 4)
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    x, t = rng.standard_normal(n), rng.integers(0, 2, n).astype(float)
    g = rng.integers(0, n_groups, n)
    eta = -0.3 + 0.5 * x + 0.8 * t + 0.7 * rng.standard_normal(n_groups)[g]
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return pd.DataFrame({"y": y, "x": x, "t": t, "g": g})
