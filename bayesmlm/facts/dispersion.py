"""Dispersion: whether counts vary more than their family allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.facts.answers import answer

__all__ = ["dispersion"]

Array = np.ndarray[Any, Any]


def _pearson(fit: Any) -> Array:
    """Pearson's χ² and its ratio to the degrees of freedom, per draw."""
    design = fit.design
    y, n, mu = design.response.y, design.response.trials, fit._means("conditional")
    poisson = design.family.name == "poisson"
    mean = mu if poisson else n * mu
    variance = mean if poisson else mean * (1.0 - mu)
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = np.where(y == mean, 0.0, np.square(y - mean) / variance)
    chisq = squares @ (design.weights * design.freq)
    return np.column_stack([chisq, chisq / _residual_df(fit)])


def _residual_df(fit: Any) -> int:
    # Draws are not fitted to the data: no degrees of freedom are spent within one.
    return fit.df_resid if fit.engine in ("ml", "map") else fit.nobs


def dispersion(fit: Any, interval: str | None, level: float, options: Mapping[str, Any]) -> Any:
    """Pearson's χ² over its degrees of freedom; see :meth:`bayesmlm.fit.Fit.dispersion`."""
    import pandas as pd

    design, df = fit.design, _residual_df(fit)
    if design.family.name == "gaussian":
        raise FitError("the dispersion of a gaussian model is its residual variance, a parameter: see fit.varcorr()")
    if df < 1:
        raise FitError(f"{fit.nobs} observations and {fit.df_model} parameters leave no degrees of freedom")
    note = ""
    if design.family.is_binary and design.response.is_binary:
        note = "Single 0/1 answers cannot be over-dispersed: the ratio says nothing of the model."
    out = answer(fit, _pearson, ("chisq", "ratio"), interval, level, options, note=note)
    if interval is not None:
        return out
    from scipy.special import chdtrc

    values = {"chisq": out.chisq, "df": float(df), "ratio": out.ratio}
    if fit.engine in ("ml", "map"):
        values["p_value"] = float(chdtrc(df, out.chisq))
    series = pd.Series(values, name="dispersion")
    series.attrs.update(out.attrs)
    return series
