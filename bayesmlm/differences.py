"""Why a posterior's means are not the estimates of maximum likelihood: approximation, prior, and mean against mode."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.comparable import check_fits, same_data
from bayesmlm.errors import ComparisonError
from bayesmlm.ml.accuracy import points_to_check, predicted_shift
from bayesmlm.ml.engine import solve_map
from bayesmlm.ml.fit import MAPFit
from bayesmlm.tables import labelled, labels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["why_differ"]

Array = np.ndarray[Any, Any]

MATTERS = 0.1
"""Difference, in posterior standard deviations, below which two readings agree."""

REASONS = {
    "laplace": "the likelihood was approximated (Laplace)",
    "prior": "the prior",
    "mean_vs_mode": "the posterior is skew: its mean is not its mode",
}
"""Columns that add up to the difference, in words."""


def why_differ(ml: Any, posterior: Any) -> pd.DataFrame:
    """Take the difference between posterior means and maximum-likelihood estimates apart.

    From the estimates as they are to those without approximation error (a fit by quadrature, or where there are several
    random-effect terms what it is predicted to change); from these to the mode of the posterior with the priors that
    were sampled, the group effects integrated out; from the mode to the mean.  Each step in posterior standard
    deviations: they add up to the difference.

    Parameters
    ----------
    ml : MLFit
    posterior : BayesFit
        Of the same model.

    Returns
    -------
    pandas.DataFrame
        ``component, group, term, ml_estimate, post_mean, difference, laplace, prior, mean_vs_mode, mc_error, reason``.
        ``mc_error`` is how far the mean may be off by the number of draws; ``reason`` names what makes up most of a
        difference of 0.1 standard deviations or more.

    Raises
    ------
    FitError
        For what is no fit.
    ComparisonError
        For anything but a likelihood and a posterior of one model and the same data.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> table = bm.why_differ(m.fit_ml(), m.sample(draws=1000, chains=2, seed=1))
    >>> table.term[table.reason != "they agree"].tolist(), table.reason.iloc[-1]
    (['Intercept'], 'the posterior is skew: its mean is not its mode')
    """
    check_fits("why_differ", ml, posterior)
    if (ml.reading, posterior.reading) != ("likelihood", "posterior"):
        raise ComparisonError("why_differ takes a fit by fit_ml() and a posterior by sample(), in this order")
    same_data([ml, posterior])
    design = ml.design
    if labels(design) != labels(posterior.design) or not np.array_equal(design.X, posterior.design.X):
        raise ComparisonError(f"{ml.name} and {posterior.name} are different models: compare them by what they predict")
    if ml.solution.reml:
        raise ComparisonError(
            f"{ml.name} was fitted by REML: fit it by fit_ml(reml=False) to set it against a posterior"
        )
    table = posterior.table()
    estimate, mean, sd = ml.table().estimate.to_numpy(), table.estimate.to_numpy(), table.std_error.to_numpy()
    points, exact = _without_approximation(ml, estimate)
    mode = _mode(posterior, points)
    # Where several terms admit no quadrature the mode is by Laplace too, its error taken to be that of the estimate.
    moved = exact - estimate
    mode = mode if points > 1 else mode + moved
    parts = {"laplace": moved / sd, "prior": (mode - exact) / sd, "mean_vs_mode": (mean - mode) / sd}
    difference = (mean - estimate) / sd
    mc_error = 1.0 / np.sqrt(table.ess_bulk.to_numpy())
    out = labelled(
        labels(design),
        {
            "ml_estimate": estimate,
            "post_mean": mean,
            "difference": difference,
            **parts,
            "mc_error": mc_error,
            "reason": np.array([_reason(*row) for row in zip(difference, mc_error, *parts.values(), strict=True)]),
        },
    )
    out.attrs["unit"] = "posterior standard deviations"
    return out.drop(columns="level")


def _without_approximation(ml: Any, estimate: Array) -> tuple[int, Array]:
    """Quadrature points, 1 where there can be none, and the estimates that quadrature gives or is predicted to give."""
    design, n_agq = ml.design, ml.solution.n_agq
    if not design.groups or design.family.name == "gaussian":
        return 1, estimate
    points = max(points_to_check(len(design.groups[0].terms), 1), n_agq)
    if len(design.groups) == 1 and points > 1:
        return points, estimate if n_agq == points else ml.model.fit_ml(n_agq=points).table().estimate.to_numpy()
    shift = predicted_shift(design, ml.solution)
    if shift is None:
        return 1, estimate
    by = dict(zip(shift.names, shift.shifts, strict=True))
    table = ml.table()
    moved = np.array([by[key] for key in zip(table.component, table.group, table.term, strict=True)])
    return 1, estimate + np.nan_to_num(moved * table.std_error.to_numpy())


def _mode(posterior: Any, points: int) -> Array:
    """Mode of the posterior that was sampled, the group effects integrated out, in the order of the table."""
    model = copy(posterior.model)
    design = model.design
    # fit_map() has defaults of its own for standard deviations; these are the priors of the draws.
    model.design = replace(design, priors=replace(design.priors, mode_sd=design.priors.sd))
    return np.asarray(MAPFit(model, solve_map(model.design, n_agq=points)).table().estimate.to_numpy())


def _reason(difference: float, mc_error: float, *parts: float) -> str:
    if abs(difference) < max(MATTERS, 3.0 * mc_error):
        return "they agree"
    along = [part * np.sign(difference) for part in parts]
    return list(REASONS.values())[int(np.argmax(along))]
