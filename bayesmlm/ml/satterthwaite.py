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
from bayesmlm.errors import FitError
from bayesmlm.hypotheses import JointTest
from bayesmlm.laplace.covariance import factors, pack
from bayesmlm.ml.glm import read_rows
from bayesmlm.ml.linear import least_squares, profiled, read_linear

__all__ = ["FixedVariance", "fixed_variance", "variance_of"]

Array = np.ndarray[Any, Any]

_RANK = 1.5e-8
"""An eigenvalue below this share of the largest is 0: a hypothesis that others imply (lmerTest's tolerance)."""


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

    def joint_degrees_of_freedom(self, L: Array) -> float:
        """Denominator degrees of freedom of an F test that L β is some vector, L of shape (m, p).

        The eigenvectors of L V L′ make L β independent single combinations, m of them with ν_i degrees of freedom each;
        F then has the mean of the sum of their squared t's over m (Fai & Cornelius, 1996, equation 2.5; lmerTest's
        ``contestMD``).

        Examples
        --------
        >>> V = FixedVariance(np.eye(2), np.zeros((0, 2, 2)), np.zeros((0, 0)), 17.0)
        >>> V.joint_degrees_of_freedom(np.eye(2))
        17.0
        """
        d, vectors = np.linalg.eigh(L @ self.covariance @ L.T)
        nu = self.degrees_of_freedom(vectors.T[d > _RANK * d[-1]] @ L)
        if np.ptp(nu) < 1e-8:
            return float(nu.mean())
        # Without a mean of their own, t's of two degrees of freedom or fewer leave F the least it can have.
        if (nu <= 2.0).any():
            return 2.0
        total = float((nu / (nu - 2.0)).sum())
        return 2.0 * total / (total - len(nu))

    def f_test(self, L: Array, beta: Array) -> JointTest:
        """Test that L β is 0, on F; rows of L are independent.

        Examples
        --------
        >>> V = FixedVariance(np.eye(2), np.zeros((0, 2, 2)), np.zeros((0, 0)), 17.0)
        >>> test = V.f_test(np.eye(2), np.array([1.0, 3.0]))
        >>> test.statistic, test.df, test.df_denom
        (5.0, 2, 17.0)
        """
        d = L @ beta
        statistic = float(d @ np.linalg.solve(L @ self.covariance @ L.T, d))
        return JointTest(statistic, len(L), np.nan).on_f(self.joint_degrees_of_freedom(L))


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
    linear, p = read_linear(design, read_rows(design)), len(design.terms)
    dof = linear.n - p if reml else linear.n
    columns = tuple(len(group.terms) for group in design.groups)
    scaled = [
        lam * group.scales[:, None] / sigma for lam, group in zip(factors(theta, columns), design.groups, strict=True)
    ]
    at = pack(scaled)
    T = design.scaling.matrix

    def covariance(x: Array) -> Array:
        _, rss, inverse = least_squares(linear.profile(x).M)
        return (rss / dof) * (T @ inverse @ T.T)

    likelihood = profiled(linear, reml)
    information = -_derivatives(lambda x: likelihood(x)[1], at).reshape(len(at), len(at))
    slopes = _derivatives(covariance, at).reshape(len(at), p, p)
    return FixedVariance(covariance(at), slopes, _inverse(information), float(dof))


def variance_of(fit: Any, df: str) -> FixedVariance:
    """What the degrees of freedom of a fit's fixed effects are made of.

    Raises
    ------
    FitError
        For a method that does not exist, and for fits that have none: of a generalised model, or a posterior mode.
    """
    if df != "satterthwaite":
        raise FitError(f'df should be None or "satterthwaite", not {df!r}')
    if fit.design.family.name != "gaussian":
        raise FitError(
            f"Satterthwaite's degrees of freedom are those of an estimated residual variance, of gaussian models; "
            f"the {fit.design.family} family has none, and its statistic is z"
        )
    if fit.engine != "ml":
        raise FitError(
            "a posterior mode has no degrees of freedom, which are of a maximum of the likelihood: use fit_ml()"
        )
    solution = fit.solution
    return fixed_variance(fit.design, solution.theta, solution.sigma, solution.reml)


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
