"""Criteria without a likelihood: the quasi-likelihood under independence, and what it costs to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.families import Family

__all__ = ["Criteria", "quasi_criteria", "quasi_likelihood"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Criteria:
    """What takes the place of AIC.

    Attributes
    ----------
    qic : float
        −2 Q + 2 CIC: chooses between working correlations, and between means.
    qicu : float
        −2 Q + 2 p: chooses between means under one working correlation.
    cic : float
        tr(V⁻¹ robust), V the naive covariance under independence: chooses between working correlations.
    quasi_loglik : float
    """

    qic: float
    qicu: float
    cic: float
    quasi_loglik: float


def quasi_likelihood(family: Family, y: Array, weight: Array, mu: Array) -> float:
    """Q(μ; y) under independence, the scale 1 and what depends on y alone left out (McCullagh & Nelder, 1989).

    Parameters
    ----------
    family : Family
    y, weight, mu : ndarray, shape (n,)
        Responses per trial, trials times weights, means per trial.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> round(quasi_likelihood(family_of("bernoulli"), np.array([1.0, 0.0]), np.ones(2), np.array([0.5, 0.5])), 4)
    -1.3863
    """
    from scipy.special import xlog1py, xlogy

    if family.name == "gaussian":
        return float(weight @ np.square(y - mu)) / -2.0
    if family.name == "poisson":
        return float(weight @ (xlogy(y, mu) - mu))
    return float(weight @ (xlogy(y, mu) + xlog1py(1.0 - y, -mu)))


def quasi_criteria(quasi: float, scale: float, naive_independent: Array, robust: Array) -> Criteria:
    """QIC and its parts (Pan, 2001; Hin & Wang, 2009, of the CIC).

    Parameters
    ----------
    quasi : float
        With scale 1.
    scale : float
        Of the quasi-likelihood.
    naive_independent, robust : ndarray, shape (p, p)

    Examples
    --------
    >>> quasi_criteria(-10.0, 1.0, np.eye(2), 1.5 * np.eye(2))
    Criteria(qic=26.0, qicu=24.0, cic=3.0, quasi_loglik=-10.0)
    """
    cic = float(np.trace(np.linalg.solve(naive_independent, robust)))
    quasi = quasi / scale
    return Criteria(-2.0 * quasi + 2.0 * cic, -2.0 * quasi + 2.0 * len(robust), cic, quasi)
