"""Residuals of rows whose means are known: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["KINDS", "residuals_of"]

Array = np.ndarray[Any, Any]

KINDS = ("pearson", "deviance", "response", "simulated")
"""What ``Fit.residuals()`` can be asked for; the last are made by simulation, the others here."""


def residuals_of(kind: str, y: Array, n: Array, mu: Array, weight: Array, family: str) -> Array:
    """Residuals of counts y in n trials with mean μ per trial; NaN where there are no trials.

    Parameters
    ----------
    kind : {"pearson", "deviance", "response"}
    y, n, mu, weight : ndarray, shape (rows,)
    family : str
        Of a Gaussian response the first two kinds are √weight × (y − μ).

    Examples
    --------
    >>> y, n, mu, weight = np.array([3.0]), np.array([4.0]), np.array([0.5]), np.ones(1)
    >>> [residuals_of(kind, y, n, mu, weight, "binomial").round(3).tolist() for kind in KINDS[:3]]
    [[1.0], [1.023], [0.25]]
    """
    poisson = family == "poisson"
    if kind == "response":
        return y / n - mu
    if family == "gaussian":
        return np.sqrt(weight) * (y - mu)
    if kind == "pearson":
        return np.sqrt(weight) * (y - n * mu) / np.sqrt(mu if poisson else n * mu * (1.0 - mu))
    from scipy.special import xlogy

    part = xlogy(y, y / (n * mu)) + (mu - y if poisson else xlogy(n - y, (n - y) / (n * (1.0 - mu))))
    return np.sign(y - n * mu) * np.sqrt(np.maximum(2.0 * weight * part, 0.0))
