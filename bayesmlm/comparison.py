"""Setting fits against each other: side by side, by likelihood-ratio tests, by what they predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmlm.comparable import check_fits, same_data, unique_names
from bayesmlm.fit import Fit
from bayesmlm.ladder import anova
from bayesmlm.ranking import compare
from bayesmlm.tables import COMPONENTS, labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["anova", "compare", "side_by_side"]


def side_by_side(*fits: Fit) -> pd.DataFrame:
    """Put the estimates of several fits of one model next to each other.

    Parameters
    ----------
    *fits : Fit
        Different readings of a model, or different models of one response.

    Returns
    -------
    pandas.DataFrame
        ``component, group, term``, then per fit its estimate and standard error (``ml_estimate, ml_se``; ``map_…`` of
        a posterior mode) or posterior mean and standard deviation (``post_mean, post_sd``); with one ML fit and one
        posterior also ``difference``, posterior mean minus ML estimate in posterior standard deviations.  Fits of a
        kind that is there twice carry their names.

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
    """
    check_fits("side_by_side", *fits)
    same_data(fits)
    kinds = [fit.engine if fit.engine in ("ml", "map") else "post" for fit in fits]
    merged: pd.DataFrame | None = None
    for fit, kind, name in zip(fits, kinds, unique_names(fits), strict=True):
        prefix = kind if kinds.count(kind) == 1 else f"{name} {kind}"
        columns = (f"{prefix}_mean", f"{prefix}_sd") if kind == "post" else (f"{prefix}_estimate", f"{prefix}_se")
        table = fit.table()[["component", "group", "term", "estimate", "std_error"]]
        table = table.rename(columns=dict(zip(("estimate", "std_error"), columns, strict=True)))
        keys = ["component", "group", "term"]
        merged = table if merged is None else merged.merge(table, how="outer", on=keys)
    assert merged is not None
    # An outer merge sorts by label: back to the order in which the fits name things.
    order: dict[tuple[str, ...], int] = {}
    for component in COMPONENTS:
        for fit in fits:
            for row in labels(fit.design):
                if row[0] == component:
                    order.setdefault(row[:3], len(order))
    place = [order[key] for key in zip(merged.component, merged.group, merged.term, strict=True)]
    merged = merged.iloc[np.argsort(place)].reset_index(drop=True)
    if (kinds.count("ml"), kinds.count("post")) == (1, 1):
        merged["difference"] = (merged.post_mean - merged.ml_estimate) / merged.post_sd
    return merged
