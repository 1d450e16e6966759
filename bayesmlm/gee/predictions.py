"""Predicted means of the population, with standard errors by the delta method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_kind, check_level
from bayesmlm.errors import FitError, among
from bayesmlm.estimands import ESTIMANDS, prediction_rows
from bayesmlm.tables import wald_limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_estimand", "prediction_table"]

Array = np.ndarray[Any, Any]


def check_estimand(estimand: str) -> None:
    """Refuse a prediction that a GEE does not have.

    Examples
    --------
    >>> check_estimand("conditional")
    Traceback (most recent call last):
        ...
    bayesmlm.errors.FitError: a GEE has no group effects, and its means are those of the population: ask for \
estimand="population", or fit by fit_ml() or sample() for "conditional"
    """
    if estimand not in ESTIMANDS:
        raise FitError(f'there is no estimand "{estimand}"; {among(estimand, ESTIMANDS)}')
    if estimand != "population":
        raise FitError(
            f"a GEE has no group effects, and its means are those of the population: ask for "
            f'estimand="population", or fit by fit_ml() or sample() for "{estimand}"'
        )


def prediction_table(fit: Any, newdata: Any, kind: str, estimand: str, level: float) -> pd.DataFrame:
    """What :meth:`bayesmlm.gee.fit.GEEFit.predict` answers."""
    import pandas as pd

    check_level(level)
    check_kind(kind)
    check_estimand(estimand)
    rows, link = prediction_rows(fit.design, newdata, "population", "population"), fit.design.family.link
    eta = rows.offset + rows.X @ fit.solution.beta
    error = np.sqrt(np.einsum("ip,pq,iq->i", rows.X, fit.solution.covariance, rows.X))
    low, high = wald_limits(eta, error, level)
    if kind == "response":
        # Limits are made on the link scale, so that they stay inside the range of the response.
        eta, error, low, high = link.inverse(eta), link.derivative(eta) * error, link.inverse(low), link.inverse(high)
    out = pd.DataFrame(
        {"estimate": eta, "std_error": error, "conf_low": low, "conf_high": high}, index=fit._index(newdata)
    )
    out.attrs.update(estimand=ESTIMANDS["population"], interval=f"{100 * level:g}% Wald", kind=kind)
    return out
