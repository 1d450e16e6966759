"""A posterior under other priors, by weighting the draws it has by the ratio of the priors' densities.

Nothing is sampled again: draws of any posterior will do, as long as k̂ of the ratios says that they reach far enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bayes.draws import table_draws
from bayesmlm.bayes.fit import BayesFit
from bayesmlm.bayes.marginal.pareto import fault, smoothed
from bayesmlm.bayes.prior_density import log_prior_density
from bayesmlm.errors import FitError
from bayesmlm.prior_rules import ResolvedPriors, resolve_priors
from bayesmlm.priors import Prior
from bayesmlm.scaling import slope_sds
from bayesmlm.tables import labelled, labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["under_other_priors", "widened"]

Array = np.ndarray[Any, Any]


def widened(prior: Prior, factor: float) -> Prior:
    """The prior so many times as wide, about where it is; flat ones and those of correlations as they are.

    Examples
    --------
    >>> str(widened(Prior("normal", (1.0, 2.0)), 2.0)), str(widened(Prior("gamma", (2.0, 0.1)), 2.0))
    ('normal(1, 4)', 'gamma(2, 0.05)')
    """
    if prior.distribution in ("flat", "lkj"):
        return prior
    moved = prior.scaled(factor)
    if prior.distribution in ("normal", "student_t", "cauchy"):
        place = 0 if prior.distribution != "student_t" else 1
        values = list(moved.parameters)
        values[place] = prior.parameters[place]
        return replace(moved, parameters=tuple(values))
    return moved


def all_widened(priors: ResolvedPriors, factor: float) -> ResolvedPriors:
    """Every prior so many times as wide."""
    return replace(
        priors,
        fixed=tuple(widened(prior, factor) for prior in priors.fixed),
        sd=tuple(tuple(widened(prior, factor) for prior in row) for row in priors.sd),
        sigma=None if priors.sigma is None else widened(priors.sigma, factor),
    )


def _given(fit: BayesFit, given: Mapping[str, Any]) -> ResolvedPriors:
    """The fit's priors, some of them replaced by others."""
    design, y = fit.design, fit.design.response.y
    response = (float(y.mean()), float(y.std()) or 1.0) if design.family.name == "gaussian" else None
    groups = tuple((group.name, group.terms, slope_sds(group.z, group.terms)) for group in design.groups)
    return resolve_priors(
        {**fit.model.spec.priors, **given}, design.terms, slope_sds(design.X, design.terms), groups, response
    )


def under_other_priors(fit: BayesFit, *alternatives: Mapping[str, Any] | float) -> pd.DataFrame:
    """What a posterior would be under other priors.

    Parameters
    ----------
    fit : BayesFit
    *alternatives : mapping or float
        Priors as :class:`~bayesmlm.model.Model` takes them, in place of those the model has for the same quantities;
        or a number, by which the widths of all priors are multiplied (those of correlations aside).  0.5 and 2 without
        any.

    Returns
    -------
    pandas.DataFrame
        Per alternative a row for every quantity: ``priors, component, group, term, estimate, std_error, conf_low,
        conf_high`` (95 %), ``shift`` of the mean in posterior standard deviations, and ``pareto_k``.  Where k̂ is too
        high the draws do not reach the other posterior: its numbers are NaN, and ``attrs["notes"]`` says so.

    Raises
    ------
    FitError
        For what is no posterior, or a width that is not positive.
    PriorError
        For priors the model has no place for.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from bayesmlm.bayes.marginal.fit import MarginalFit
    >>> from bayesmlm.bayes.marginal.ladder import sample_marginal
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> fit = MarginalFit(m, sample_marginal(m.design, None, draws=1000, seed=1).tree)
    >>> table = under_other_priors(fit, 2.0, {"urban[Y]": "normal(0, 0.5)"})
    >>> table[table.term == "urban[Y]"][["priors", "shift"]].round(1).to_numpy().tolist()
    [['widths × 2', 0.0], ['urban[Y]: normal(0, 0.5)', -0.3]]
    """
    import pandas as pd

    if not isinstance(fit, BayesFit):
        raise FitError(
            f"under_other_priors takes a posterior, such as model.sample() gives, not a {type(fit).__name__}"
        )
    draws = table_draws(fit.design, fit.tree)
    flat = draws.reshape(-1, draws.shape[2])
    mean, sd = flat.mean(axis=0), flat.std(axis=0)
    now = log_prior_density(fit.design, fit.design.priors, fit.tree)
    tables, notes = [], []
    for alternative in alternatives or (0.5, 2.0):
        name, priors = _named(fit, alternative)
        found = smoothed(log_prior_density(fit.design, priors, fit.tree) - now)
        why = fault(found.k_hat, found.ess, len(flat))
        if why:
            notes.append(f"{name}: the draws do not reach that posterior ({why}); sample it.")
        w = found.weights if not why else np.full(len(flat), np.nan)
        moved = w @ flat
        low, high = (_quantiles(flat, w, p) for p in (0.025, 0.975))
        values = {
            "estimate": moved,
            "std_error": np.sqrt(w @ np.square(flat - moved)),
            "conf_low": low,
            "conf_high": high,
            "shift": (moved - mean) / sd,
            "pareto_k": np.full(len(moved), found.k_hat),
        }
        table = labelled(labels(fit.design), values)
        table.insert(0, "priors", name)
        tables.append(table.drop(columns="level"))
    out = pd.concat(tables, ignore_index=True)
    out.attrs.update(interval="95% equal-tailed", notes=notes)
    return out


def _named(fit: BayesFit, alternative: Mapping[str, Any] | float) -> tuple[str, ResolvedPriors]:
    if isinstance(alternative, Mapping):
        return ", ".join(f"{key}: {value}" for key, value in alternative.items()), _given(fit, alternative)
    if isinstance(alternative, bool) or not isinstance(alternative, int | float) or not 0.0 < alternative < np.inf:
        raise FitError(f"a prior's width is multiplied by a positive number, not by {alternative!r}")
    return f"widths × {alternative:g}", all_widened(fit.design.priors, float(alternative))


def _quantiles(x: Array, weights: Array, p: float) -> Array:
    """Weighted quantiles of the columns of x, shape (quantity,)."""
    if np.isnan(weights).any():
        return np.full(x.shape[1], np.nan)
    order = np.argsort(x, axis=0)
    cumulated = np.cumsum(weights[order], axis=0)
    place = np.minimum((cumulated < p).sum(axis=0), len(x) - 1)
    return np.asarray(x[order[place, np.arange(x.shape[1])], np.arange(x.shape[1])])
