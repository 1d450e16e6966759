"""Coefficients as ratios: exp() of a coefficient, where that has a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.families import Family

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RATIOS", "baseline_terms", "baseline_word", "exponentiated", "ratio_word"]

RATIOS = {"logit": "odds ratio", "log": "rate ratio", "cloglog": "hazard ratio"}
"""What exp() of a coefficient is, by link; under the complementary log-log it is a ratio of cumulative hazards."""

_BASELINES = {"logit": "odds", "log": "rate", "cloglog": "cumulative hazard"}
"""What exp() of an intercept is."""


def ratio_word(family: Family) -> str:
    """What exp() of a coefficient is.

    Raises
    ------
    FitError
        For a link under which it is nothing.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> ratio_word(family_of("poisson"))
    'rate ratio'
    >>> ratio_word(family_of("bernoulli", "probit"))
    Traceback (most recent call last):
        ...
    bayesmlm.errors.FitError: exp() of a coefficient means nothing under the probit link: it is a shift of a latent \
normal variable; for ratios of odds fit with link="logit", for ratios of probabilities use bm.effects.comparisons(fit, \
..., comparison="ratio")
    """
    word = RATIOS.get(family.link.name)
    if word is not None:
        return word
    if family.link.name == "identity":
        raise FitError(
            "exp() of a coefficient means nothing under the identity link: it is a difference of means already; leave "
            "exponentiate=True out"
        )
    raise FitError(
        f"exp() of a coefficient means nothing under the {family.link.name} link: it is a shift of a latent normal "
        f'variable; for ratios of odds fit with link="logit", for ratios of probabilities use '
        f'bm.effects.comparisons(fit, ..., comparison="ratio")'
    )


def baseline_word(family: Family) -> str:
    """What exp() of the intercept is."""
    return _BASELINES[family.link.name]


def baseline_terms(design: Design) -> tuple[str, ...]:
    """Coefficients that are compared with nothing: the intercept, or those of every level where it is left out.

    They are found by their columns, which sum to one in every row.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> [baseline_terms(bm.Model(f"use ~ {right}", d).design) for right in ("urban", "0 + age + urban", "0 + age")]
    [('Intercept',), ('urban[N]', 'urban[Y]'), ()]
    """
    parts = [] if design.matrix_spec is None else [set(map(str, part.columns)) for part in design.matrix_spec.structure]
    for part in [{"Intercept"}, *parts]:
        own = [j for j, term in enumerate(design.terms) if term in part]
        if own and (design.X[:, own].sum(axis=1) == 1.0).all():
            return tuple(design.terms[j] for j in own)
    return ()


def exponentiated(table: pd.DataFrame, family: Family) -> pd.DataFrame:
    """A table of estimates whose fixed effects are ratios.

    Estimates and limits are exp() of those on the link scale, standard errors are multiplied by the ratio (the delta
    method), tests stay: they are of a ratio of 1.  The estimate of a posterior is exp() of the coefficient's mean, the
    geometric mean of the ratio's draws, so that it belongs to the coefficient that other tables show; its limits are
    the quantiles of the ratio's draws.

    Raises
    ------
    FitError
        For a link under which exp() of a coefficient is nothing.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> exponentiated(fit.table(), fit.design.family)[["estimate", "conf_low", "conf_high"]].round(2).values[1].tolist()
    [1.92, 1.53, 2.4]
    """
    ratio_word(family)
    fixed = table.component == "fixed"
    with np.errstate(over="ignore"):
        ratio = np.exp(table.estimate)
        columns = {"estimate": ratio, "std_error": table.std_error * ratio} | {
            name: np.exp(table[name]) for name in ("conf_low", "conf_high")
        }
    return table.assign(**{name: values.where(fixed, table[name]) for name, values in columns.items()})
