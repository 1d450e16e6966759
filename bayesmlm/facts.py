"""Facts of a fit: shares of variance, odds between groups, dispersion, and how well it tells the outcomes apart.

A fact is a function of a fit that gives an array (draws, values): one row where there is one estimate, a row per draw
of a posterior.  :func:`answer` turns it into a table, with an interval where one is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.families import Family

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Classification", "area_under_curve", "auc", "classification", "confusion", "dispersion", "icc", "mor",
    "observation_variance", "r2",
]  # fmt: skip

Array = np.ndarray[Any, Any]

KINDS = ("theoretical", "delta", "observation", "lognormal", "trigamma")
"""What the residual variance of a share can be (Nakagawa, Johnson & Schielzeth, 2017)."""

OPTIONS = ("n", "seed", "workers", "progress")
"""What a bootstrap can be told."""

_THEORETICAL = {"logit": "π²/3", "probit": "1", "cloglog": "π²/6"}

RATES = ("accuracy", "sensitivity", "specificity", "ppv", "npv")
"""Rates of a confusion table."""


# answers --------------------------------------------------------------------------------------------------------


def answer(
    fit: Any, fact: Callable[[Any], Array], names: Sequence[str], interval: str | None, level: float,
    options: Mapping[str, Any], **attrs: Any,
) -> Any:  # fmt: skip
    """A fact as a Series, or with an interval as a DataFrame ``estimate, std_error, conf_low, conf_high``.

    Raises
    ------
    FitError
        For an interval the fit does not have.
    """
    import pandas as pd

    sampled = fit.engine not in ("ml", "map")
    own = "posterior" if sampled else "bootstrap"
    if interval not in (None, own):
        if interval in ("posterior", "bootstrap"):
            raise FitError(
                f"{fit.name} is {'a posterior' if sampled else 'one estimate, without draws'}: its intervals are "
                f'interval="{own}"'
            )
        raise FitError(f'interval should be None or "{own}", not {interval!r}')
    if not 0.0 < level < 1.0:
        raise FitError(f"level should lie between 0 and 1, for example 0.95, not {level}")
    for name in options:
        if name not in OPTIONS:
            raise FitError(f'there is no option "{name}"; {among(name, OPTIONS)}')
        if interval != "bootstrap":
            raise FitError(f'{name}= is for interval="bootstrap"')
    values = fact(fit)
    point = values.mean(axis=0)
    if sampled:
        attrs["estimate"] = f"mean over {len(values)} draws"
    if interval is None:
        out = pd.Series(point, index=list(names))
        out.attrs.update(attrs)
        return out
    if interval == "bootstrap":
        values = fit._bootstrapped(partial(_point, fact), **options)
    # Quantiles as those of confint(), of a bootstrap and of draws.
    method = "linear" if sampled else "weibull"
    spread = np.array([_spread(column[np.isfinite(column)], level, method) for column in values.T]).reshape(-1, 3)
    table = pd.DataFrame(
        {"estimate": point, "std_error": spread[:, 0], "conf_low": spread[:, 1], "conf_high": spread[:, 2]},
        index=list(names),
    )
    how = "equal-tailed" if sampled else f"percentiles of {len(values)} parametric bootstrap replicates"
    table.attrs.update(attrs, interval=f"{level:.0%} {how}")
    return table


def _spread(values: Array, level: float, method: Any) -> Array:
    """Standard deviation and equal-tailed limits of draws or replicates."""
    if len(values) < 2:
        return np.full(3, np.nan)
    limits = np.quantile(values, [0.5 - level / 2.0, 0.5 + level / 2.0], method=method)
    return np.append(values.std(ddof=1), limits)


def _point(fact: Callable[[Any], Array], fit: Any) -> Array:
    """The value of a fact at an estimate; at module level so that it can be sent to other processes."""
    return fact(fit)[0]


# shares of variance ---------------------------------------------------------------------------------------------


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


def _shares(fit: Any, kind: str | None, which: str) -> Array:
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
    fact = partial(_shares, kind=kind, which="r2")
    return answer(fit, fact, ("marginal", "conditional"), interval, level, options, kind=taken, residual=words)


def icc(fit: Any, kind: str | None, interval: str | None, level: float, options: Mapping[str, Any]) -> Any:
    """Intraclass correlation of each grouping; see :meth:`bayesmlm.fit.Fit.icc`."""
    _, taken, words = _residual(fit, kind)
    names = list(dict.fromkeys(group.name for group in fit.design.groups))
    fact = partial(_shares, kind=kind, which="icc")
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


# dispersion -----------------------------------------------------------------------------------------------------


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


# telling outcomes apart -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Classification:
    """A confusion table and its rates.

    Attributes
    ----------
    table : pandas.DataFrame
        Counts, observed outcomes by row and predicted ones by column, the event second; means over the draws of a
        posterior.
    rates : pandas.Series or pandas.DataFrame
        ``accuracy``; ``sensitivity`` and ``specificity``, the shares of the events and of the others that are
        predicted so; ``ppv`` and ``npv``, the shares of the predicted events and of the others that are so.
    threshold : float
        An event is predicted where its probability is above.
    estimand : str
    """

    table: pd.DataFrame
    rates: Any
    threshold: float
    estimand: str

    def __str__(self) -> str:
        return f"{self.table.round(1)}\n\n{self.rates.to_string(float_format='{:.4f}'.format)}"

    __repr__ = __str__


def confusion(probability: Array, events: Array, others: Array, threshold: float = 0.5) -> Array:
    """Counts of a classification: true negatives, false positives, false negatives, true positives.

    Parameters
    ----------
    probability : ndarray, shape (draws, n)
    events, others : ndarray, shape (n,)
        How many outcomes of each kind a row has.
    threshold : float

    Returns
    -------
    ndarray, shape (draws, 4)

    Examples
    --------
    >>> confusion(np.array([[0.2, 0.6, 0.9]]), np.array([0.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0])).tolist()
    [[1.0, 1.0, 0.0, 1.0]]
    """
    predicted = (probability > threshold).astype(float)
    false_positives, true_positives = predicted @ others, predicted @ events
    return np.column_stack(
        [others.sum() - false_positives, false_positives, events.sum() - true_positives, true_positives]
    )


def _rates(fit: Any, threshold: float, estimand: str) -> Array:
    """Rates, in the order of RATES, then the counts of :func:`confusion`."""
    counts = confusion(fit._means(estimand), *_outcomes(fit), threshold)
    tn, fp, fn, tp = counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = [(tn + tp) / counts.sum(axis=1), tp / (tp + fn), tn / (tn + fp), tp / (tp + fp), tn / (tn + fn)]
    return np.column_stack([*rates, counts])


def _outcomes(fit: Any) -> tuple[Array, Array]:
    """Events and other outcomes of each row, frequencies counted."""
    response, freq = fit.design.response, fit.design.freq
    return freq * response.y, freq * (response.trials - response.y)


def _binary(fit: Any, what: str) -> None:
    if not fit.design.family.is_binary:
        raise FitError(f"{what} is for binary responses; this model is {fit.design.family}")


def classification(
    fit: Any, threshold: float, estimand: str, interval: str | None, level: float, options: Mapping[str, Any]
) -> Classification:
    """Confusion table and rates; see :meth:`bayesmlm.fit.Fit.classification`."""
    import pandas as pd

    _binary(fit, "a classification")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0.0 < threshold < 1.0:
        raise FitError(f"threshold should be a probability between 0 and 1, for example 0.5, not {threshold!r}")
    fact = partial(_rates, threshold=threshold, estimand=estimand)
    names = (*RATES, "tn", "fp", "fn", "tp")
    out = answer(fit, fact, names, interval, level, options)
    counts = (out if interval is None else out.estimate)[list(names[len(RATES) :])].to_numpy()
    if fit.engine in ("ml", "map"):
        counts = np.round(counts).astype(int)
    response = fit.design.response
    labels = list(response.levels) if len(response.levels) == 2 else ["0", "1"]
    table = pd.DataFrame(
        counts.reshape(2, 2), index=pd.Index(labels, name="observed"), columns=pd.Index(labels, name="predicted")
    )
    rates = out.loc[list(RATES)]
    return Classification(table, rates, float(threshold), estimand)


def area_under_curve(score: Array, events: Array, others: Array) -> float:
    """Probability that an event has a higher score than another outcome, ties counted half.

    Parameters
    ----------
    score, events, others : ndarray, shape (n,)
        How many outcomes of each kind a row has.

    Examples
    --------
    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 0, 0]))
    0.875
    """
    _, place = np.unique(score, return_inverse=True)
    above, below = np.bincount(place, weights=events), np.bincount(place, weights=others)
    return float(above @ (np.cumsum(below) - 0.5 * below) / (events.sum() * others.sum()))


def _areas(fit: Any, estimand: str) -> Array:
    events, others = _outcomes(fit)
    return np.array([[area_under_curve(row, events, others)] for row in fit._means(estimand)])


def auc(fit: Any, estimand: str, interval: str | None, level: float, options: Mapping[str, Any]) -> Any:
    """Area under the ROC curve; see :meth:`bayesmlm.fit.Fit.auc`."""
    _binary(fit, "the area under the ROC curve")
    events, others = _outcomes(fit)
    if not events.any() or not others.any():
        raise FitError("the response is the same in every row: there is nothing to tell apart")
    out = answer(fit, partial(_areas, estimand=estimand), ("auc",), interval, level, options)
    return float(out["auc"]) if interval is None else out
