"""Leave one row out: new answers of groups that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.comparable import check_fits
from bayesmlm.cross_validation.moments import matched
from bayesmlm.cross_validation.refits import Progress, densities_without, log_mean
from bayesmlm.cross_validation.result import CrossValidation
from bayesmlm.cross_validation.units import Units
from bayesmlm.cross_validation.weights import replaced, smoothed, without_refitted, words_of_k
from bayesmlm.errors import FitError, among

__all__ = ["check_draws", "check_repair", "loo", "row_units"]

Array = np.ndarray[Any, Any]

REPAIRS = ("match", "refit")
"""What can be done about weights that cannot be trusted."""


def check_draws(fit: Any, verb: str) -> None:
    """Refuse what is no fit, and a fit without draws."""
    check_fits(verb, fit)
    if fit.reading != "posterior":
        kind = {"mode": "posterior mode", "population": "GEE"}.get(fit.reading, fit.reading)
        ways = "" if fit.reading == "population" else ", or refit it without groups by bm.kfold(fit, group=...)"
        raise FitError(
            f"{verb} reweights the draws of a posterior, and {fit.name} is a {kind} without any: sample the model{ways}"
        )


def check_repair(repair: str | None, known: Sequence[str]) -> None:
    """Refuse a way of mending that does not exist."""
    if repair is not None and repair not in known:
        raise FitError(f'there is no repair "{repair}"; {among(repair, known)}')


def row_units(fit: Any) -> Units:
    """Every row a unit of its own, the effects of all groups known.

    Raises
    ------
    FitError
        For rows that stand for several.
    """
    design = fit.design
    if not np.all(design.freq == 1.0):
        raise FitError(f"{fit.name} has row frequencies: leaving a row out would leave out a whole set of equal rows")
    n = len(design.rows)
    labels = tuple(str(label) for label in fit._index())
    return Units("row", labels, np.arange(n), (), tuple(range(len(design.groups))))


def loo(
    fit: Any, repair: str | None = None, workers: int | None = None, progress: Progress | None = None
) -> CrossValidation:
    """Leave one row out: how well a posterior predicts new answers of the groups it knows.

    ArviZ's PSIS-LOO (Vehtari, Gelman & Gabry, 2017): the posterior's draws are reweighted to stand for the posterior
    without a row, and the Pareto-smoothed weights say by k̂ whether they can.  The effects of the row's groups are kept,
    so this is about one more woman of a district that is known, not about a new district: see
    :func:`leave_one_group_out`.

    Parameters
    ----------
    fit : BayesFit
    repair : {"match", "refit"}, optional
        What to do about rows whose k̂ is too large: match the moments of the draws to those that the posterior without
        the row has (Paananen, Piironen, Bürkner & Vehtari, 2021), or fit the model again without it.  By default they
        are left as they are, and counted.
    workers : int, optional
        Processes for refits; one, this one, by default.
    progress : callable, optional
        Called with the refits done and in all.

    Returns
    -------
    CrossValidation

    Raises
    ------
    FitError
        For a fit without draws, rows that stand for several, or a repair that does not exist.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="urban")
    >>> result = bm.loo(m.sample(draws=200, chains=2, seed=1))
    >>> result.predicts, -1248 < result.elpd < -1243, result.bad_k
    ('new answers of known groups', True, 0)
    """
    check_draws(fit, "leave-one-out")
    check_repair(repair, REPAIRS)
    workers = 1 if workers is None else check_count("workers", workers)
    units = row_units(fit)
    tree = fit.to_arviz()
    elpd = smoothed(tree)
    likelihood = tree["log_likelihood"].to_dataset()[fit.design.response.variable]
    before, bad = elpd, np.flatnonzero(np.asarray(elpd.pareto_k) > elpd.good_k)
    mended = 0
    if repair == "match" and len(bad):
        elpd = matched(fit, tree, elpd)
        mended = int((np.asarray(elpd.pareto_k)[bad] <= elpd.good_k).sum())
    refitted: list[Any] = []
    if repair == "refit" and len(bad):
        refitted = densities_without(fit, units, [bad[i : i + 1] for i in range(len(bad))], None, workers, progress)
        elpd = replaced(tree, elpd, refitted)
    values = likelihood.to_numpy().reshape(-1, len(units))
    predicts = "new answers of known groups" if fit.design.groups else "new answers"
    return CrossValidation(
        name=fit.name,
        method="loo",
        predicts=predicts,
        unit="row",
        labels=units.labels,
        rows=np.ones(len(units), dtype=int),
        elpd_i=np.asarray(elpd.elpd_i),
        lpd_i=log_mean(values),
        pareto_k=without_refitted(np.asarray(elpd.pareto_k), refitted),
        good_k=float(elpd.good_k),
        bad_k=len(bad),
        matched=mended,
        refitted=len(refitted),
        design=fit.design,
        notes=(*words_of_k(units, np.asarray(before.pareto_k), elpd.good_k, repair, mended, refitted), _MEANING),
    )


_MEANING = "The effects of a row's groups are known: this says nothing of groups the data do not have."
