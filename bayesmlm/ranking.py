"""Fits ranked by what they predict: by cross-validation for posteriors, by information criteria for likelihoods."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.comparable import check_fits, one_likelihood, same_data, unique_names
from bayesmlm.cross_validation import CrossValidation, leave_one_group_out, loo
from bayesmlm.cross_validation.groups import group_named
from bayesmlm.errors import ComparisonError, FitError, among

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare"]

CRITERIA = ("loo", "logo", "marginal", "aic", "aicc", "bic")
"""What fits can be ranked by."""


def compare(*fits: Any, by: str = "", group: str | None = None) -> pd.DataFrame:
    """Rank models by what they predict.

    Parameters
    ----------
    *fits : Fit or CrossValidation
        Fits of one kind, or what :func:`~bayesmlm.cross_validation.loo`, ``leave_one_group_out`` or ``kfold`` made of
        them.
    by : {"loo", "logo", "marginal", "aic", "aicc", "bic"}, optional
        For posteriors leaving one row out (the default: new answers of known groups) or one group (``logo``: a new
        group), by Pareto-smoothed importance sampling, or the marginal likelihood, which only posteriors by
        ``sample(method="marginal")`` know; for likelihoods an information criterion (AIC by default).  None is for
        posterior modes.
    group : str, optional
        The grouping, or column of the data, whose groups are left out; that of the models by default, if it is one.

    Returns
    -------
    pandas.DataFrame
        Of cross-validation: ``model, rank, elpd, se, p, elpd_diff, dse, weight, bad_k``, best first, with the standard
        error of the difference to the best and the weights of stacking (Yao, Vehtari, Simpson & Gelman, 2018);
        ``attrs["predicts"]`` says what is predicted, ``attrs["notes"]`` how far it can be trusted.  Of the marginal
        likelihood: ``model, rank, log_evidence, se, difference, probability`` (where all were as likely before).  Of
        the criteria: ``model, rank, npar, loglik, aic | aicc | bic, delta, weight``.

    Raises
    ------
    FitError
        For what is no fit, and a grouping that does not exist.
    ComparisonError
        For GEEs, fits of different data or kinds, predictions of different things, or a criterion that does not exist.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> a = bm.Model("use ~ age + (1 | district)", d, name="age").fit_ml()
    >>> b = bm.Model("use ~ urban + (1 | district)", d, name="urban").fit_ml()
    >>> bm.compare(a, b).model.tolist()
    ['urban', 'age']
    >>> bm.compare(*(bm.kfold(fit, folds=3, group="district") for fit in (a, b))).model.tolist()
    ['urban', 'age']
    """
    results = [fit for fit in fits if isinstance(fit, CrossValidation)]
    if results:
        return _of_results(fits, results, by)
    check_fits("compare", *fits)
    same_data(fits)
    for fit in fits:
        if fit.reading == "mode":
            raise ComparisonError(
                f"{fit.name} is a posterior mode, which has neither a maximised likelihood nor draws to compare by: "
                f"use fit_ml() or sample()"
            )
        if fit.reading == "population":
            raise ComparisonError(
                f"{fit.name} is a GEE, which has neither a likelihood nor draws to compare by: compare the qic() of "
                f"each, or use fit_ml() or sample()"
            )
    readings = {fit.reading for fit in fits}
    if len(readings) > 1:
        raise ComparisonError("some fits are likelihoods and some posteriors: compare fits of one kind")
    by = by or ("aic" if readings == {"likelihood"} else "loo")
    if by not in CRITERIA:
        raise ComparisonError(f'there is no criterion "{by}"; {among(by, CRITERIA)}')
    if by == "marginal":
        return _by_evidence(fits)
    if by in ("loo", "logo"):
        if readings == {"likelihood"}:
            raise ComparisonError(
                f"{'leave-one-out' if by == 'loo' else 'leave-one-group-out'} needs draws: sample the models, compare "
                f'by="aic", or compare bm.kfold(fit, group=...) of each'
            )
        if by == "loo":
            if group is not None:
                raise ComparisonError(
                    f'by="loo" leaves out single rows: to leave out groups of {group} ask for by="logo"'
                )
            return _by_elpd([loo(fit) for fit in fits])
        name = _one_group(fits, group)
        return _by_elpd([leave_one_group_out(fit, name) for fit in fits])
    if readings != {"likelihood"}:
        raise ComparisonError(
            f"{'AICc' if by == 'aicc' else by.upper()} needs maximised likelihoods: fit the models by fit_ml(), or "
            f'compare by="loo"'
        )
    one_likelihood(fits)
    return _by_criterion(fits, by)


def _of_results(fits: Sequence[Any], results: list[CrossValidation], by: str) -> pd.DataFrame:
    """Rank what was cross-validated before."""
    if len(results) < len(fits):
        raise ComparisonError("some of these are fits and some results of cross-validation: give one or the other")
    if by and by != results[0].method:
        raise ComparisonError(f'these are results of {results[0].method}, which cannot be compared by="{by}"')
    same_data(fits)
    return _by_elpd(results)


def _one_group(fits: Sequence[Any], group: str | None) -> str:
    """The grouping whose groups are left out of every model."""
    if group is not None:
        return group
    try:
        names = list(dict.fromkeys(group_named(fit.design, None) for fit in fits))
    except FitError as error:
        raise ComparisonError(str(error)) from None
    if len(names) > 1:
        raise ComparisonError(
            f'the models have groups of {" and ".join(names)}: say which are left out of all, group="{names[0]}"'
        )
    return names[0]


def _by_criterion(fits: Sequence[Any], by: str) -> pd.DataFrame:
    from bayesmlm.sheets.results import Result

    values = np.array([getattr(fit, by) for fit in fits])
    delta = values - values.min()
    weight = np.exp(-0.5 * delta)
    out = Result(
        {
            "model": unique_names(fits),
            "npar": [fit.df_model for fit in fits],
            "loglik": [fit.loglik for fit in fits],
            by: values,
            "delta": delta,
            "weight": weight / weight.sum(),
        }
    )
    out = out.sort_values(by, kind="stable").reset_index(drop=True)
    out.insert(1, "rank", np.arange(len(out)))
    return out


def _by_evidence(fits: Sequence[Any]) -> pd.DataFrame:
    from bayesmlm.sheets.results import Result

    for fit in fits:
        if not hasattr(fit, "log_evidence"):
            raise ComparisonError(
                f"{fit.name} does not know its marginal likelihood: sample every model by "
                f'sample(method="marginal"), or compare by what they predict, by="loo"'
            )
    values = np.array([fit.log_evidence for fit in fits])
    difference = values - values.max()
    share = np.exp(difference)
    out = Result(
        {
            "model": unique_names(fits),
            "log_evidence": values,
            "se": [fit.log_evidence_se for fit in fits],
            "difference": difference,
            "probability": share / share.sum(),
        }
    )
    out = out.sort_values("log_evidence", ascending=False, kind="stable").reset_index(drop=True)
    out.insert(1, "rank", np.arange(len(out)))
    out.attrs["notes"] = [
        "The marginal likelihood averages over the priors: priors of what only some models have weigh on it for ever."
    ]
    return out


def _same_question(results: Sequence[CrossValidation]) -> None:
    """Refuse predictions of different things."""
    first = results[0]
    for other in results[1:]:
        if other.unit != first.unit or other.labels != first.labels or not np.array_equal(other.rows, first.rows):
            raise ComparisonError(
                f"{first.name} predicts {first.predicts} and {other.name} {other.predicts}: leave the same out of both"
            )
        if other.method != first.method:
            raise ComparisonError(
                f"{first.name} was cross-validated by {first.method} and {other.name} by {other.method}: do both alike"
            )


def _by_elpd(results: Sequence[CrossValidation]) -> pd.DataFrame:
    import arviz as az
    import pandas as pd

    from bayesmlm.sheets.results import Result

    _same_question(results)
    names = unique_names(results)
    by_name = dict(zip(names, results, strict=True))
    if len(results) == 1:
        ranked = pd.DataFrame({"rank": [0], "elpd_diff": [0.0], "dse": [0.0], "weight": [1.0]}, index=names)
    else:
        with warnings.catch_warnings():
            # ArviZ warns of k̂ in general words; the notes name the model and count the units.
            warnings.simplefilter("ignore", UserWarning)
            ranked = az.compare(_elpd_data(by_name), round_to="none")
    out = Result({"model": [str(name) for name in ranked.index], "rank": ranked["rank"].to_numpy()})
    for column in ("elpd", "se", "p"):
        out[column] = [getattr(by_name[name], column) for name in out.model]
    for column in ("elpd_diff", "dse", "weight"):
        out[column] = ranked[column].to_numpy()
    out["bad_k"] = [by_name[name].still_bad for name in out.model]
    said: dict[str, list[str]] = {}
    for name in names:
        for note in by_name[name].notes:
            said.setdefault(note, []).append(name)
    # What holds of all models is said once.
    notes = [note if len(of) == len(names) else f"{', '.join(of)}: {note}" for note, of in said.items()]
    out.attrs.update(predicts=results[0].predicts, unit=results[0].unit, notes=notes)
    return out


def _elpd_data(results: dict[str, CrossValidation]) -> dict[str, Any]:
    """Results as ArviZ has them; densities of a unit divided by the best model's, which no comparison sees.

    Stacking takes exp of them, which of a large group would be 0.
    """
    import xarray as xr
    from arviz_stats import ELPDDataLOO

    best = np.max([result.elpd_i for result in results.values()], axis=0)
    return {
        name: ELPDDataLOO(
            elpd=float((result.elpd_i - best).sum()), se=result.se, p=result.p, n_samples=0,
            n_data_points=len(result.labels), scale="log", warning=False, good_k=result.good_k,
            elpd_i=xr.DataArray(result.elpd_i - best, dims="unit"), pareto_k=xr.DataArray(result.pareto_k, dims="unit"),
        )
        for name, result in results.items()
    }  # fmt: skip
