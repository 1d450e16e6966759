"""Shares of variance: R², intraclass correlations, and the median odds ratio, which is one in other words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.facts.answers import answer
from bayesmlm.families import Family

__all__ = ["icc", "mor", "null_mean", "observation_variance", "r2", "shares_of"]

Array = np.ndarray[Any, Any]

KINDS = ("theoretical", "delta", "observation", "lognormal", "trigamma")
"""What the residual variance of a share can be (Nakagawa, Johnson & Schielzeth, 2017)."""

_THEORETICAL = {"logit": "π²/3", "probit": "1", "cloglog": "π²/6"}


def _fixed_variance(design: Any, beta: Array) -> Array:
    """Variance of the fixed part over the observations (R's ``var``), per draw of β (S, p)."""
    freq = np.asarray(design.freq, dtype=float)
    if design.X.shape[1] == 0:
        return np.zeros(len(beta))
    if len(beta) == 1:
        eta = design.X @ beta[0]
        return np.array([freq @ np.square(eta - freq @ eta / freq.sum()) / (freq.sum() - 1.0)])
    centred = design.X - (freq @ design.X) / freq.sum()
    # The triangle has the length of X β without the rows.
    triangle = np.linalg.qr(np.sqrt(freq)[:, None] * centred, mode="r")
    return np.square(beta @ triangle.T).sum(axis=1) / (freq.sum() - 1.0)


def _group_variances(design: Any, values: Array) -> dict[str, Array]:
    """Mean variance of each grouping's effects over the observations (Johnson, 2014), per draw.

    It is the variance itself for an intercept.
    """
    freq = np.asarray(design.freq, dtype=float)
    at = len(design.terms)
    cor_at = at + sum(len(group.terms) for group in design.groups)
    out: dict[str, Array] = {}
    for group in design.groups:
        k = len(group.terms)
        sd = values[:, at : at + k]
        # With a standard deviation of zero there is no correlation; the product is zero all the same.
        cor = np.nan_to_num(values[:, cor_at : cor_at + len(group.pairs)])
        squares = (group.z * freq[:, None]).T @ group.z / freq.sum()
        ia, ib = np.triu_indices(k, 1)
        variance = np.square(sd) @ np.diag(squares) + 2.0 * (sd[:, ia] * sd[:, ib] * cor) @ squares[ia, ib]
        out[group.name] = out.get(group.name, 0.0) + variance
        at, cor_at = at + k, cor_at + len(group.pairs)
    return out


def null_mean(fit: Any) -> float:
    """Mean response of the model with its groups but no predictors, fitted by maximum likelihood.

    Observation-level variances are taken there.  The group effects are integrated over, and an offset averaged over.
    """
    formula = fit.design.formula
    null = fit.model.reduced(formula.right("1", formula.bars))
    same = {"n_agq": fit.solution.n_agq, "information": fit.solution.information} if fit.engine in ("ml", "map") else {}
    null = null.fit_ml(**same)
    freq = np.asarray(fit.design.freq, dtype=float)
    return float(freq @ null.predict(estimand="population").estimate.to_numpy() / freq.sum())


def observation_variance(family: Family, mean: float, kind: str = "delta") -> float:
    """Variance of one observation on the link scale, at the mean of the responses.

    Parameters
    ----------
    family : Family
        A binary or a Poisson family.
    mean : float
    kind : {"delta", "lognormal", "trigamma"}
        By the delta method; for counts also ln(1 + 1/λ) and ψ₁(λ), the last of which is exact (Nakagawa, Johnson &
        Schielzeth, 2017, table 1).

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> observation_variance(family_of("bernoulli"), 0.5)
    4.0
    >>> round(observation_variance(family_of("poisson"), 2.0, "trigamma"), 4)
    0.6449
    """
    if kind == "lognormal":
        return math.log1p(1.0 / mean)
    if kind == "trigamma":
        from scipy.special import polygamma

        return float(polygamma(1, mean))
    link, at = family.link, np.array([mean])
    variance = mean if family.name == "poisson" else mean * (1.0 - mean)
    return float(variance / link.derivative(link.link(at))[0] ** 2)


def _residual(fit: Any, kind: str | None) -> tuple[float | None, str, str]:
    """Residual variance on the link scale (None: the model's own σ²), the kind taken, and what it is in words."""
    family = fit.design.family
    if kind is not None and kind not in KINDS:
        raise FitError(f'there is no "{kind}" residual variance; {among(kind, KINDS)}')
    if family.name == "gaussian":
        return None, "theoretical", "σ², the residual variance"
    if family.is_binary:
        if kind in ("lognormal", "trigamma"):
            raise FitError(f'the {kind} variance is for counts; the {family} family has "theoretical" and "delta"')
        if kind in (None, "theoretical"):
            name = family.link.name
            return family.link.residual_variance, "theoretical", f"{_THEORETICAL[name]}, the {name}'s own"
        mean = null_mean(fit)
        words = f"of one trial, by the delta method at the null model's mean {mean:.3g}"
        return observation_variance(family, mean), "delta", words
    if kind == "theoretical":
        raise FitError(
            f"the {family} family has no latent residual variance of its own: take "
            f'kind="trigamma", "lognormal" or "delta", of an observation at the mean'
        )
    kind = "trigamma" if kind in (None, "observation") else kind
    mean = null_mean(fit)
    formula = {"trigamma": "ψ₁(λ)", "lognormal": "ln(1 + 1/λ)", "delta": "1/λ"}[kind]
    return observation_variance(family, mean, kind), kind, f"{formula} at the null model's mean λ = {mean:.3g}"


def shares_of(fit: Any, kind: str | None, which: str) -> Array:
    """Marginal and conditional R², or the intraclass correlations, per draw."""
    design, values = fit.design, fit._values()
    residual = _residual(fit, kind)[0]
    rest = np.square(values[:, -1]) if residual is None else np.full(len(values), residual)
    groups = _group_variances(design, values)
    between = sum(groups.values(), np.zeros(len(values)))
    if which == "icc":
        columns = [variance / (between + rest) for variance in groups.values()]
        return np.column_stack(columns) if columns else np.zeros((len(values), 0))
    fixed = _fixed_variance(design, values[:, : len(design.terms)])
    total = fixed + between + rest
    return np.column_stack([fixed / total, (fixed + between) / total])


def r2(fit: Any, kind: str | None, interval: str | None, level: float, options: Mapping[str, Any]) -> Any:
    """Nakagawa's marginal and conditional R²; see :meth:`bayesmlm.fit.Fit.r2`."""
    _, taken, words = _residual(fit, kind)
    fact = partial(shares_of, kind=kind, which="r2")
    return answer(fit, fact, ("marginal", "conditional"), interval, level, options, kind=taken, residual=words)


def icc(fit: Any, kind: str | None, interval: str | None, level: float, options: Mapping[str, Any]) -> Any:
    """Intraclass correlation of each grouping; see :meth:`bayesmlm.fit.Fit.icc`."""
    _, taken, words = _residual(fit, kind)
    names = list(dict.fromkeys(group.name for group in fit.design.groups))
    fact = partial(shares_of, kind=kind, which="icc")
    out = answer(fit, fact, names, interval, level, options, kind=taken, residual=words)
    return out.rename("icc") if interval is None else out


def _median_odds_ratios(fit: Any) -> Array:
    values = fit._values()
    variances = list(_group_variances(fit.design, values).values())
    upper = NormalDist().inv_cdf(0.75)
    columns = [np.exp(np.sqrt(2.0 * variance) * upper) for variance in variances]
    return np.column_stack(columns) if columns else np.zeros((len(values), 0))


def mor(fit: Any, interval: str | None, level: float, options: Mapping[str, Any]) -> Any:
    """Median odds ratio of each grouping; see :meth:`bayesmlm.fit.Fit.mor`."""
    family = fit.design.family
    if family.link.name != "logit":
        raise FitError(f"the median odds ratio is of the logit link; this model is {family}: fit.icc() has its shares")
    names = list(dict.fromkeys(group.name for group in fit.design.groups))
    out = answer(fit, _median_odds_ratios, names, interval, level, options)
    return out.rename("mor") if interval is None else out
