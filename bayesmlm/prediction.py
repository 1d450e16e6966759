"""Predictions as arrays: a mean on the response scale, averaged over a normal linear predictor where asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.families import Link

__all__ = ["averaged_mean"]

Array = np.ndarray[Any, Any]


def averaged_mean(eta: Array, variance: Array, link: Link, points: int = 61) -> tuple[Array, Array, Array]:
    """E[g⁻¹(η + √v ε)] for ε ~ N(0, 1), by Gauss-Hermite quadrature, with its derivatives.

    Parameters
    ----------
    eta, variance : ndarray, one shape
        Linear predictor and variance of the group effects that are integrated over.
    link : Link
    points : int

    Returns
    -------
    mean, d_eta, d_sd : ndarray, shape of ``eta``
        The average, and its derivatives in η and in √v.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> mean, _, _ = averaged_mean(np.array([1.0]), np.array([3.0]), family_of("bernoulli", "probit").link)
    >>> from scipy.special import ndtr
    >>> bool(abs(mean[0] - ndtr(1.0 / 2.0)) < 1e-8)   # known exactly for the probit
    True
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    weights = weights / weights.sum()
    sd = np.sqrt(variance)
    mean, d_eta, d_sd = np.zeros_like(eta), np.zeros_like(eta), np.zeros_like(eta)
    for node, weight in zip(nodes, weights, strict=True):
        at = eta + sd * node
        slope = weight * link.derivative(at)
        mean += weight * link.inverse(at)
        d_eta += slope
        d_sd += slope * node
    return mean, d_eta, d_sd
