"""Setting fits against each other: side by side, by likelihood-ratio tests, by what they predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmlm.comparable import check_fits, same_data, unique_names
from bayesmlm.effects import population_coefficients
from bayesmlm.fit import Fit
from bayesmlm.ladder import anova
from bayesmlm.ranking import compare
from bayesmlm.tables import COMPONENTS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["anova", "compare", "side_by_side"]

_COLUMNS = {"ml": ("ml_estimate", "ml_se"), "map": ("map_estimate", "map_se"), "gee": ("gee_estimate", "gee_se")}
"""What estimate and standard error of an engine are called; those of a posterior are its mean and sd."""


def side_by_side(*fits: Fit, population: bool | None = None) -> pd.DataFrame:
    """Put the estimates of several fits of one model next to each other.

    Parameters
    ----------
    *fits : Fit
        Different readings of a model, or different models of one response.
    population : bool, optional
        Also the coefficients averaged over groups, which are what a GEE's are (see
        :func:`bayesmlm.effects.population_coefficients`).  They are given where one of the fits is a GEE.

    Returns
    -------
    pandas.DataFrame
        ``component, group, term``, then per fit its estimate and standard error (``ml_estimate, ml_se``; ``map_…`` of
        a posterior mode, ``gee_…`` of a GEE) or posterior mean and standard deviation (``post_mean, post_sd``); with
        one ML fit and one posterior also ``difference``, posterior mean minus ML estimate in posterior standard
        deviations.  Fits of a kind that is there twice carry their names.  With population-averaged coefficients a
        column ``estimand`` says which fixed effects are ``conditional`` on a group, and which are of the
        ``population``: different quantities, of which a GEE has the second only.

    Raises
    ------
    FitError
        For what is no fit.
    ComparisonError
        For fits of different data.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> bm.side_by_side(m.fit_ml()).columns.tolist()
    ['component', 'group', 'term', 'ml_estimate', 'ml_se']
    >>> both = bm.side_by_side(m.fit_ml(), m.fit_gee())
    >>> both[both.term == "urban[Y]"][["estimand", "ml_estimate", "gee_estimate"]].round(3).values.tolist()
    [['conditional', 0.65, nan], ['population', 0.623, 0.611]]
    """
    check_fits("side_by_side", *fits)
    same_data(fits)
    kinds = [fit.engine if fit.engine in _COLUMNS else "post" for fit in fits]
    averaged = "gee" in kinds if population is None else population
    merged: pd.DataFrame | None = None
    order: dict[tuple[str, ...], tuple[int, ...]] = {}
    for fit, kind, name in zip(fits, kinds, unique_names(fits), strict=True):
        prefix = kind if kinds.count(kind) == 1 else f"{name} {kind}"
        columns = (f"{prefix}_mean", f"{prefix}_sd") if kind == "post" else (f"{prefix}_estimate", f"{prefix}_se")
        table = _estimates(fit, averaged)
        for row in table[_KEYS].itertuples(index=False):
            order.setdefault(tuple(row), (COMPONENTS.index(row.component), row.estimand == "population", len(order)))
        table = table.rename(columns=dict(zip(("estimate", "std_error"), columns, strict=True)))
        merged = table if merged is None else merged.merge(table, how="outer", on=_KEYS)
    assert merged is not None
    # An outer merge sorts by label: back to the order in which the fits name things.
    keys = [tuple(row) for row in merged[_KEYS].itertuples(index=False)]
    merged = merged.iloc[sorted(range(len(keys)), key=lambda at: order[keys[at]])].reset_index(drop=True)
    if (kinds.count("ml"), kinds.count("post")) == (1, 1):
        merged["difference"] = (merged.post_mean - merged.ml_estimate) / merged.post_sd
    merged.attrs.clear()  # what one fit's table says of itself
    return merged if averaged else merged.drop(columns="estimand")


_KEYS = ["component", "group", "term", "estimand"]


def _estimates(fit: Fit, averaged: bool) -> pd.DataFrame:
    """Estimates and standard errors of a fit, each with what it is of."""
    import pandas as pd

    table = fit.table()[["component", "group", "term", "estimate", "std_error"]]
    fixed = table.component == "fixed"
    own = "population" if fit.engine == "gee" else "conditional"
    table = table.assign(estimand=np.where(fixed, own, ""))
    if not averaged or fit.engine == "gee":
        return table
    coefficients = population_coefficients(fit)[["term", "estimate", "std_error"]]
    coefficients = pd.DataFrame(coefficients).assign(component="fixed", group="", estimand="population")
    return pd.concat([table, coefficients[list(table.columns)]], ignore_index=True)
