"""Predictions under every draw of a posterior, in three estimands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_kind, check_level
from bayesmlm.bayes.draws import ParameterDraws, posterior_draws, summarised
from bayesmlm.estimands import ESTIMANDS, PredictionRows, prediction_rows
from bayesmlm.families import IDENTITY, Link
from bayesmlm.prediction import averaged_under, distinct_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["expected_under", "linear_predictors", "prediction_table"]

Array = np.ndarray[Any, Any]


def linear_predictors(
    draws: ParameterDraws, rows: PredictionRows, estimand: str, new_groups: str
) -> tuple[Array, Array]:
    """η of every draw and row, and the variance of the group effects that are integrated over.

    Parameters
    ----------
    draws : ParameterDraws
    rows : PredictionRows
    estimand, new_groups : str
        As in :meth:`bayesmlm.fit.Fit.predict`.

    Returns
    -------
    eta : ndarray, shape (draws, m)
    spread : ndarray, shape (draws, m), or (1, 1) where nothing is integrated over

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> draws = ParameterDraws(np.array([[1.0]]), (np.array([[[2.0]]]),), (np.array([[[0.5]]]),), np.array([np.nan]))
    >>> rows = PredictionRows(one, np.zeros(1), (np.array([0]),), (one,))
    >>> eta, spread = linear_predictors(draws, rows, "conditional", "zero")
    >>> eta.tolist(), spread.tolist()
    ([[1.5]], [[0.0]])
    >>> eta, spread = linear_predictors(draws, rows, "population", "zero")
    >>> eta.tolist(), spread.tolist()
    ([[1.0]], [[4.0]])
    """
    eta, spread = rows.offset + draws.beta @ rows.X.T, np.zeros((1, 1))
    if estimand == "typical":
        return eta, spread
    for z, codes, effects, factor in zip(rows.z, rows.codes, draws.effects, draws.factors, strict=True):
        known = (codes >= 0) & (estimand == "conditional")
        if known.any():
            for a in range(z.shape[1]):
                eta[:, known] += effects[:, codes[known], a] * z[known, a]
        integrated = ~known & (new_groups != "zero" or estimand == "population")
        if integrated.any():
            spread = spread if spread.shape == eta.shape else np.zeros_like(eta)
            spread[:, integrated] += np.square(z[integrated] @ factor).sum(axis=2)
    return eta, spread


def expected_under(
    draws: ParameterDraws, rows: PredictionRows, estimand: str, new_groups: str, link: Link, scale: Link = IDENTITY
) -> Array:
    """Expected responses of rows under every draw, shape (draws, m), group effects that are not known averaged over.

    Parameters
    ----------
    draws, rows, estimand, new_groups
        As in :func:`linear_predictors`.
    link : Link
        The model's.
    scale : Link
        Of the values; the response itself without it.
    """
    eta, spread = linear_predictors(draws, rows, estimand, new_groups)
    averaged = np.flatnonzero(np.broadcast_to(spread.any(axis=0), eta.shape[1]))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        values = eta if scale.name == link.name else scale.link(link.inverse(eta))
        if len(averaged):
            values[:, averaged] = scale.link(averaged_under(eta[:, averaged], spread[:, averaged], link))
    return values


def prediction_table(fit: Any, newdata: Any, kind: str, estimand: str, new_groups: str, level: float) -> pd.DataFrame:
    """What :meth:`bayesmlm.bayes.fit.BayesFit.predict` answers."""
    import pandas as pd

    check_level(level)
    check_kind(kind)
    design, draws = fit.design, posterior_draws(fit.design, fit.tree)
    rows, places = distinct_rows(prediction_rows(design, newdata, estimand, new_groups), estimand)
    if kind == "link":
        values, spread = linear_predictors(draws, rows, estimand, new_groups)
        if spread.any():
            # A new group's own deviation belongs to its linear predictor.
            values += np.sqrt(spread) * np.random.default_rng(0).standard_normal(values.shape)
    else:
        values = expected_under(draws, rows, estimand, new_groups, design.family.link)
    out = pd.DataFrame(summarised(values, level)).iloc[places].set_axis(fit._index(newdata))
    out.attrs.update(estimand=ESTIMANDS[estimand], interval=f"{100 * level:g}% equal-tailed", kind=kind)
    return out
