"""Satterthwaite's degrees of freedom of the fixed effects of a Gaussian model (Fai & Cornelius, 1996; lmerTest).

The variance v of a linear combination of the fixed effects is itself estimated: with g its gradient in the variance
parameters and A their covariance, df = 2 v² / (g′ A g), that of the χ² with v's mean and variance.  Along the profile
of the likelihood, where σ is at its best for every θ, σ's own error is independent of θ's and contributes 2 v²/dof,
which leaves g and A in θ alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.laplace.covariance import factors, pack
from bayesmlm.ml.gaussian import _estimate, _linear, _profiled
from bayesmlm.ml.glm import read_rows

__all__ = ["FixedVariance", "fixed_variance"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class FixedVariance:
    """Covariance of the fixed effects, and how it moves with the variance parameters; on the user's scale.

    Attributes
    ----------
    covariance : ndarray, shape (p, p)
    slopes : ndarray, shape (q, p, p)
        Derivatives in θ, σ following θ along the profile.
    theta_covariance : ndarray, shape (q, q)
        Of θ; 0 in directions in which the likelihood is flat.
    dof : float
        Of σ given θ: observations, less the fixed effects under REML.
    """

    covariance: Array
    slopes: Array
    theta_covariance: Array
    dof: float

    def degrees_of_freedom(self, L: Array) -> Array:
        """Degrees of freedom of the combinations L β, shape (m,) for L of shape (m, p).

        Examples
        --------
        >>> V = FixedVariance(np.eye(2), np.zeros((0, 2, 2)), np.zeros((0, 0)), 17.0)
        >>> V.degrees_of_freedom(np.eye(2)).tolist()
        [17.0, 17.0]
        """
        v = np.einsum("ma,ab,mb->m", L, self.covariance, L)
        g = np.einsum("ma,qab,mb->mq", L, self.slopes, L)
        spread = np.einsum("mq,qr,mr->m", g, self.theta_covariance, g) + 2.0 * v * v / self.dof
        with np.errstate(invalid="ignore", divide="ignore"):
            return 2.0 * v * v / spread


def fixed_variance(design: Design, theta: Array, sigma: float, reml: bool) -> FixedVariance:
    """What Satterthwaite's degrees of freedom are made of.

    Parameters
    ----------
    design : Design
        Of a Gaussian model.
    theta : ndarray
        At the maximum, on the user's scale (as in ``MLSolution``).
    sigma : float
    reml : bool

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")
    >>> solution = m.fit_ml(reml=True).solution
    >>> V = fixed_variance(m.design, solution.theta, solution.sigma, reml=True)
    >>> V.degrees_of_freedom(np.eye(2)).round(4).tolist()
    [17.0, 17.0]
    """
    linear, p = _linear(design, read_rows(design)), len(design.terms)
    dof = linear.n - p if reml else linear.n
    columns = tuple(len(group.terms) for group in design.groups)
    scaled = [
        lam * group.scales[:, None] / sigma for lam, group in zip(factors(theta, columns), design.groups, strict=True)
    ]
    at = pack(scaled)
    T = design.scaling.matrix

    def covariance(x: Array) -> Array:
        _, rss, inverse = _estimate(linear.profile(x).M)
        return (rss / dof) * (T @ inverse @ T.T)

    likelihood = _profiled(linear, reml)
    information = -_derivatives(lambda x: likelihood(x)[1], at).reshape(len(at), len(at))
    slopes = _derivatives(covariance, at).reshape(len(at), p, p)
    return FixedVariance(covariance(at), slopes, _inverse(information), float(dof))


def _derivatives(function: Callable[[Array], Array], at: Array) -> Array:
    """Derivatives along every coordinate, first axis the coordinate: central differences, extrapolated twice."""
    out = []
    for j in range(len(at)):
        unit = np.zeros(len(at))
        unit[j] = 1.0
        # θ is relative to σ: of the order of 1, or near 0 where a group hardly matters.
        step = 0.02 * max(abs(at[j]), 0.1)
        halves = [(function(at + h * unit) - function(at - h * unit)) / (2.0 * h) for h in (step, step / 2, step / 4)]
        first = [(4.0 * b - a) / 3.0 for a, b in pairwise(halves)]
        out.append((16.0 * first[1] - first[0]) / 15.0)
    return np.array(out)


def _inverse(information: Array) -> Array:
    """Inverse in the directions that have information; the others, as lmerTest has it, are left out."""
    if not len(information):
        return np.zeros((0, 0))
    values, vectors = np.linalg.eigh(0.5 * (information + information.T))
    known = values > 1e-8 * max(values[-1], 1.0)
    return (vectors[:, known] / values[known]) @ vectors[:, known].T
