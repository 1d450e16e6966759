"""Predictions of a likelihood fit in three estimands, with standard errors by the delta method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_kind, check_level
from bayesmlm.design import Design
from bayesmlm.estimands import ERRORS, ESTIMANDS, PredictionRows, prediction_rows
from bayesmlm.laplace import kernels
from bayesmlm.laplace.covariance import factors
from bayesmlm.laplace.layout import RandomTerm
from bayesmlm.ml.glm import read_rows
from bayesmlm.ml.solution import MLSolution
from bayesmlm.prediction import averaged_mean, effects_variance
from bayesmlm.tables import wald_limits

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.families import Family

__all__ = ["prediction_table"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class _Predictor:
    """Linear predictors of m rows, and how they depend on what was estimated.

    Attributes
    ----------
    eta : ndarray, shape (m,)
    slope : ndarray, shape (m, p)
        Derivatives in β, the effects of known groups moving along.
    extra : ndarray, shape (m,)
        Variance of those effects given β and the variances.
    spread : ndarray, shape (m,)
        Variance of the group effects that are integrated over, 0 where none are.
    spread_slope : ndarray, shape (m, q)
        Its derivatives in θ.
    """

    eta: Array
    slope: Array
    extra: Array
    spread: Array
    spread_slope: Array


def prediction_table(fit: Any, newdata: Any, kind: str, estimand: str, new_groups: str, level: float) -> pd.DataFrame:
    """What :meth:`bayesmlm.ml.fit.MLFit.predict` answers."""
    import pandas as pd

    check_level(level)
    check_kind(kind)
    design, solution = fit.design, fit.solution
    rows = prediction_rows(design, newdata, estimand, new_groups)
    predictor = _predictor(design, solution, rows, estimand, new_groups)
    # The residual's own coordinate, where there is one, is the last and moves no prediction.
    size = len(design.terms) + len(solution.theta)
    covariance = solution.covariance[:size, :size]
    answer = _on_link if kind == "link" else _on_response
    estimate, error, low, high = answer(predictor, covariance, design.family, level)
    out = pd.DataFrame(
        {"estimate": estimate, "std_error": error, "conf_low": low, "conf_high": high}, index=fit._index(newdata)
    )
    # A new group's own effect is part of what a linear predictor may be, not of a mean over groups.
    inside = "; a new group's own effect is inside" if kind == "link" and predictor.spread.any() else ""
    out.attrs.update(
        estimand=ESTIMANDS[estimand], std_error=ERRORS[estimand] + inside, interval=fit._interval(level), kind=kind
    )
    return out


def _predictor(
    design: Design, solution: MLSolution, rows: PredictionRows, estimand: str, new_groups: str
) -> _Predictor:
    """Linear predictors at the estimates: groups known with their modes, others integrated over or at zero."""
    eta, slope = rows.offset + rows.X @ solution.beta, rows.X.copy()
    extra, spread = np.zeros(len(eta)), np.zeros(len(eta))
    spread_slope = np.zeros((len(eta), len(solution.theta)))
    if estimand == "typical":
        return _Predictor(eta, slope, extra, spread, spread_slope)
    at, lams = 0, factors(solution.theta, tuple(len(group.terms) for group in design.groups))
    for t, lam in enumerate(lams):
        z, codes = rows.z[t], rows.codes[t]
        known = (codes >= 0) & (estimand == "conditional")
        b, V, S = solution.modes[t], solution.mode_covariances[t], solution.sensitivities[t]
        own = codes[known]
        eta[known] += np.einsum("ia,ia->i", z[known], b[own])
        extra[known] += np.einsum("ia,iab,ib->i", z[known], V[own], z[known])
        slope[known] += np.einsum("ia,iap->ip", z[known], S[own])
        integrated = ~known & (new_groups != "zero" or estimand == "population")
        m = z @ lam
        spread += np.where(integrated, np.einsum("ia,ia->i", m, m), 0.0)
        for c in range(len(lam)):
            for a in range(c, len(lam)):
                spread_slope[:, at] = np.where(integrated, 2.0 * z[:, a] * m[:, c], 0.0)
                at += 1
    if len(lams) > 1 and estimand == "conditional":
        # Effects of several terms are known together: the sum of their variances is not the variance of their sum.
        terms = [RandomTerm(group.codes, group.z, group.n_levels) for group in design.groups]
        extra = effects_variance(terms, lams, _information(design, solution), rows.codes, rows.z)
    return _Predictor(eta, slope, extra, spread, spread_slope)


def _information(design: Design, solution: MLSolution) -> Array:
    """What each of the model's rows says of its linear predictor, at the modes, shape (n,)."""
    if design.family.name == "gaussian":
        return design.weights * design.freq / solution.sigma**2
    rows = read_rows(design)
    return kernels.rows(rows.link, rows.y, rows.trials, solution.linear_predictor)[2]


def _quadratic(J: Array, V: Array) -> Array:
    """diag(J V J′)."""
    return np.einsum("ip,pq,iq->i", J, V, J)


def _on_link(of: _Predictor, covariance: Array, family: Family, level: float) -> tuple[Array, Array, Array, Array]:
    """Estimates, errors and limits of η; a new group's own effect is part of its error."""
    p = of.slope.shape[1]
    error = np.sqrt(_quadratic(of.slope, covariance[:p, :p]) + of.extra + of.spread)
    return of.eta, error, *wald_limits(of.eta, error, level)


def _on_response(of: _Predictor, covariance: Array, family: Family, level: float) -> tuple[Array, Array, Array, Array]:
    """Estimates, errors and limits of the mean, averaged over the effects that are integrated over."""
    link, p = family.link, of.slope.shape[1]
    # On the identity link the average over groups is the typical mean.
    if of.spread.any() and link.name != "identity":
        mean, d_eta, d_sd = averaged_mean(of.eta, of.spread, link)
    else:
        mean, d_eta, d_sd = link.inverse(of.eta), link.derivative(of.eta), np.zeros(len(of.eta))
    sd = np.sqrt(of.spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        d_theta = np.where(sd[:, None] > 0, d_sd[:, None] * of.spread_slope / (2.0 * sd[:, None]), 0.0)
    jacobian = np.hstack([d_eta[:, None] * of.slope, d_theta])
    error = np.sqrt(_quadratic(jacobian, covariance) + d_eta**2 * of.extra)
    # Limits are made on the link scale, so that they stay inside the range of the response.
    centre, width = of.eta.copy(), np.sqrt(_quadratic(of.slope, covariance[:p, :p]) + of.extra)
    largest = 1.0 - 1e-12 if family.is_binary else np.inf
    averaged = (of.spread > 0.0) & (mean > 1e-12) & (mean < largest)
    centre[averaged] = link.link(mean[averaged])
    width[averaged] = error[averaged] / link.derivative(centre[averaged])
    low, high = wald_limits(centre, width, level)
    return mean, error, link.inverse(low), link.inverse(high)
