"""The table of a GEE: coefficients, scale and correlations, with their standard errors and limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.errors import FitError
from bayesmlm.estimands import ESTIMANDS
from bayesmlm.gee.engine import GEESolution
from bayesmlm.tables import Label, labelled, wald_limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["degrees_of_freedom", "estimates_table", "joint_estimates", "row_labels"]

Array = np.ndarray[Any, Any]


def row_labels(fit: Any) -> list[Label]:
    """(component, group, term, level) of every estimate, in the order of the table."""
    visits, q = fit.solution.visits, len(fit.solution.alpha)
    names = ["alpha"] * q
    if fit.options.corr == "unstructured":
        names = [f"{a},{b}" for i, a in enumerate(visits) for b in visits[i + 1 :]]
    rows = [("fixed", "", term, "") for term in fit.design.terms]
    return [*rows, ("scale", "", "scale", ""), *(("alpha", fit.options.groups, name, "") for name in names)]


def joint_estimates(fit: Any) -> tuple[Array, Array]:
    """All estimates and their covariance: of the coefficients the one asked for, robust where others enter.

    It is NaN where there is none: of a scale that was given, and of R's gee.
    """
    solution: GEESolution = fit.solution
    p = len(solution.beta)
    estimate = np.concatenate([solution.beta, [solution.scale], solution.alpha])
    V = solution.joint.copy()
    if fit.options.se != "robust":
        V[:p, p:], V[p:, :p] = np.nan, np.nan
    V[:p, :p] = solution.covariance
    return estimate, V


def degrees_of_freedom(fit: Any, df: str | None) -> float:
    """Degrees of freedom of t: clusters minus coefficients, or infinite.

    Raises
    ------
    FitError
        For a rule that does not exist, or where nothing is left.
    """
    if df is None:
        return math.inf
    if df != "clusters":
        raise FitError(f'a GEE has df="clusters" (clusters minus coefficients) or None, not "{df}"')
    left = fit.solution.sizes[0] - len(fit.design.terms)
    if left < 1:
        raise FitError(
            f"{fit.solution.sizes[0]} clusters and {len(fit.design.terms)} coefficients leave no degrees of freedom"
        )
    return float(left)


def estimates_table(fit: Any, level: float, df: str | None) -> pd.DataFrame:
    """What :meth:`bayesmlm.gee.fit.GEEFit.table` answers."""
    check_level(level)
    rows, degrees = row_labels(fit), degrees_of_freedom(fit, df)
    estimate, V = joint_estimates(fit)
    error = np.sqrt(np.diag(V))
    low, high = wald_limits(estimate, error, level)
    p = len(fit.design.terms)
    z = np.full(len(rows), np.nan)
    z[:p] = estimate[:p] / error[:p]
    p_value = np.array([math.erfc(abs(value) / math.sqrt(2.0)) for value in z])
    columns = {"estimate": estimate, "std_error": error, "conf_low": low, "conf_high": high, "statistic": z}
    interval = f"{100 * level:g}% Wald"
    if df is not None:
        from scipy.special import stdtr, stdtrit

        width = stdtrit(degrees, 0.5 + level / 2.0) * error[:p]
        low[:p], high[:p] = estimate[:p] - width, estimate[:p] + width
        p_value[:p] = 2.0 * stdtr(degrees, -np.abs(z[:p]))
        columns["df"] = np.where(np.arange(len(rows)) < p, degrees, np.nan)
        interval = f"{100 * level:g}% t, clusters minus coefficients (fixed effects)"
    low[p] = max(low[p], 0.0) if np.isfinite(low[p]) else low[p]
    out = labelled(rows, {**columns, "p_value": p_value})
    out.attrs.update(interval=interval, estimand=ESTIMANDS["population"], engine=fit.engine, std_error=fit.options.se)
    return out
