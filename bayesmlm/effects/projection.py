"""Population-averaged coefficients: what a GEE estimates, read off a model with group effects.

A conditional coefficient is of the log-odds in one group; averaged over groups, probabilities lie nearer to 1/2 and
coefficients nearer to 0 (Zeger, Liang & Albert, 1988).  The averages are not exactly linear on the link scale.  Their
least-squares projection on the predictors is what a coefficient of the population can mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.effects.parameters import parameters_of
from bayesmlm.effects.quantities import Estimand, Normal, Sampled, evaluate
from bayesmlm.effects.request import read_request
from bayesmlm.effects.rows import rows_at
from bayesmlm.families import IDENTITY

if TYPE_CHECKING:
    from bayesmlm.effects.tables import EffectTable
    from bayesmlm.fit import Fit

__all__ = ["population_coefficients"]

Array = np.ndarray[Any, Any]


def population_coefficients(fit: Fit, level: float = 0.95) -> EffectTable:
    """Coefficients of the population's means: (X′WX)⁻¹ X′W g(E[y]), g(E[y]) without its offset.

    Rows weigh as the observations they stand for.  Of a GEE, and of a model without group effects, these are its own
    coefficients.

    Parameters
    ----------
    fit : Fit
        Of any engine.
    level : float

    Returns
    -------
    EffectTable
        ``term, estimate, std_error, statistic, p_value, conf_low, conf_high, estimand``; of a posterior as in
        :func:`bayesmlm.effects.predictions`.  Standard errors contain the uncertainty of the coefficients and of the
        groups' variances.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> bm.effects.population_coefficients(fit).estimate.round(3).tolist(), fit.fixef().round(3).tolist()
    ([-0.671, 0.623], [-0.7, 0.65])
    """
    import pandas as pd

    from bayesmlm.effects.tables import effect_table

    request = read_request("population_coefficients", fit, None, True, "population", None, None, "population", level)
    design, base = fit.design, request.base
    link = design.family.link
    rows = rows_at(design, base, (), "population", "population")
    weight = np.sqrt(base.averages.toarray()[0])
    Q, R = np.linalg.qr(weight[:, None] * rows.X)
    projection = np.linalg.solve(R, Q.T * weight)
    of = Estimand("population", "population", link, link, True)
    found = evaluate(parameters_of(fit), [rows], projection, of)
    known = projection @ rows.offset
    found = (
        Sampled(found.values - known)
        if isinstance(found, Sampled)
        else Normal(found.values - known, found.jacobian, found.covariance)
    )
    said = request.said(
        f"coefficients of the {link.scale_word}", "least-squares projection on the predictors, over {rows}", [()]
    )
    labels = pd.DataFrame({"term": list(design.terms)})
    return effect_table(labels, found, IDENTITY, level, True, None, 0, said)
