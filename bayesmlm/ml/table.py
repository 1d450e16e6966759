"""The table of a likelihood fit: estimates on the scale people read, their errors, normal or t limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.design import Design
from bayesmlm.estimands import ESTIMANDS
from bayesmlm.laplace.covariance import factors, sd_cor, sd_cor_jacobian
from bayesmlm.ml.boundary import boundaries
from bayesmlm.ml.solution import MLSolution
from bayesmlm.tables import labelled, labels, ranef_labels, wald_limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["covariance_of_table", "estimates_table"]

Array = np.ndarray[Any, Any]


def estimates_table(fit: Any, level: float, ranef: bool, df: str | None) -> pd.DataFrame:
    """What :meth:`bayesmlm.ml.fit.MLFit.table` answers."""
    check_level(level)
    design, solution = fit.design, fit.solution
    p = len(design.terms)
    estimate, error = solution.beta, np.sqrt(np.diag(solution.covariance)[:p])
    rows = labels(design)
    if design.groups:
        values, errors = _sds_and_correlations(design, solution)
        estimate, error = np.concatenate([estimate, values]), np.concatenate([error, errors])
    if design.family.name == "gaussian":
        estimate = np.append(estimate, solution.sigma)
        error = np.append(error, np.sqrt(solution.covariance[-1, -1]))
    if ranef:
        rows = [*rows, *ranef_labels(design)]
        estimate = np.concatenate([estimate, *(m.ravel() for m in solution.modes)])
        sds = [np.sqrt(np.diagonal(V, axis1=1, axis2=2)).ravel() for V in solution.mode_covariances]
        error = np.concatenate([error, *sds])
    low, high = wald_limits(estimate, error, level)
    kind = np.array([row[0] for row in rows])
    low = np.where(kind == "cor", np.maximum(low, -1.0), low)
    low = np.where((kind == "sd") | (kind == "residual"), np.maximum(low, 0.0), low)
    high = np.where(kind == "cor", np.minimum(high, 1.0), high)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(kind == "fixed", estimate / error, np.nan)
    out = labelled(
        rows,
        {
            "estimate": estimate,
            "std_error": error,
            "conf_low": low,
            "conf_high": high,
            "statistic": z,
            "p_value": np.array([math.erfc(abs(v) / math.sqrt(2.0)) for v in z]),
        },
    )
    out.attrs.update(interval=fit._interval(level), estimand=ESTIMANDS["conditional"], engine=fit.engine)
    return out if df is None else _on_t(fit, out, df, level)


def _sds_and_correlations(design: Design, solution: MLSolution) -> tuple[Array, Array]:
    """Standard deviations, then correlations, of all terms, with their standard errors (delta method).

    At a boundary an estimate is exactly that, and a standard error NaN.
    """
    p, q, sizes = len(design.terms), len(solution.theta), _sizes(design)
    values = [np.concatenate(sd_cor(lam)) for lam in factors(solution.theta, sizes)]
    J = sd_cor_jacobian(solution.theta, sizes)
    errors = np.sqrt(np.maximum(np.diag(J @ solution.covariance[p : p + q, p : p + q] @ J.T), 0.0))
    ends = boundaries(design, solution.theta, solution.sigma)
    errors[np.concatenate([end.without_error for end in ends])] = np.nan
    for value, end in zip(values, ends, strict=True):
        value[: len(end.terms)][np.array(end.vanished)] = 0.0
        value[len(end.terms) :][end.undefined] = np.nan
    order = _table_order(sizes)
    return np.concatenate(values)[order], errors[order]


def covariance_of_table(design: Design, solution: MLSolution) -> Array:
    """Covariance of all quantities of the table, in its order, by the delta method; NaN of those at a boundary."""
    p, q, sizes = len(design.terms), len(solution.theta), _sizes(design)
    if not sizes:
        return solution.covariance.copy()
    order, J = _table_order(sizes), np.eye(len(solution.covariance))
    J[p : p + q, p : p + q] = sd_cor_jacobian(solution.theta, sizes)[order]
    ends = boundaries(design, solution.theta, solution.sigma)
    lost = p + np.flatnonzero(np.concatenate([end.without_error for end in ends])[order])
    # A vanished standard deviation has no derivative.
    J[lost] = 0.0
    V = J @ solution.covariance @ J.T
    V[lost], V[:, lost] = np.nan, np.nan
    return V


def _sizes(design: Design) -> tuple[int, ...]:
    return tuple(len(group.terms) for group in design.groups)


def _table_order(sizes: tuple[int, ...]) -> Array:
    """From term by term, each its standard deviations then its correlations, to all of the first before the second."""
    is_sd = np.concatenate([np.arange(k * (k + 1) // 2) < k for k in sizes])
    return np.concatenate([np.flatnonzero(is_sd), np.flatnonzero(~is_sd)])


def _on_t(fit: Any, table: pd.DataFrame, df: str, level: float) -> pd.DataFrame:
    """The table with limits and p-values of its fixed effects from the t distribution."""
    from scipy.special import stdtr, stdtrit

    # The linear mixed model has kernels of its own, which others do not wait for.
    from bayesmlm.ml.satterthwaite import variance_of

    p = len(fit.design.terms)
    degrees = np.full(len(table), np.nan)
    degrees[:p] = variance_of(fit, df).degrees_of_freedom(np.eye(p))
    fixed = table.iloc[:p]
    width = stdtrit(degrees[:p], 0.5 + level / 2.0) * fixed.std_error
    p_value = np.append(2.0 * stdtr(degrees[:p], -np.abs(fixed.statistic)), table.p_value.iloc[p:])
    out = table.assign(
        conf_low=np.append(fixed.estimate - width, table.conf_low.iloc[p:]),
        conf_high=np.append(fixed.estimate + width, table.conf_high.iloc[p:]),
        p_value=p_value,
    )
    out.insert(out.columns.get_loc("p_value"), "df", degrees)
    out.attrs.update(table.attrs, interval=f"{100 * level:g}% t, Satterthwaite's degrees of freedom (fixed effects)")
    return out
