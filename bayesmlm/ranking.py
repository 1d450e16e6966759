"""Fits ranked by what they predict: leave-one-out for posteriors, information criteria for likelihoods."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.comparable import check_fits, one_likelihood, same_data, unique_names
from bayesmlm.errors import ComparisonError, among
from bayesmlm.fit import Fit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare"]

CRITERIA = ("loo", "aic", "aicc", "bic")
"""What fits can be ranked by."""

BAD_K = 0.7
"""Pareto k̂ above which a leave-one-out term is not reliable (Vehtari, Gelman & Gabry, 2017)."""


def compare(*fits: Fit, by: str = "") -> pd.DataFrame:
    """Rank models by what they predict.

    Parameters
    ----------
    *fits : Fit
    by : {"loo", "aic", "aicc", "bic"}, optional
        Leave-one-out by Pareto-smoothed importance sampling for posteriors (the default for them), or an
        information criterion for likelihood fits (AIC by default); neither is for posterior modes.

    Returns
    -------
    pandas.DataFrame
        For ``loo``: ``model, rank, elpd, se, p, elpd_diff, dse, weight, bad_k``, best first; ``attrs["notes"]`` holds
        the warnings on k̂.  For the criteria: ``model, rank, npar, loglik, aic | aicc | bic, delta, weight``.

    Raises
    ------
    FitError
        For what is no fit.
    ComparisonError
        For fits of different data or kinds, or a criterion that does not exist.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> a = bm.Model("use ~ age + (1 | district)", d, name="age").fit_ml()
    >>> b = bm.Model("use ~ urban + (1 | district)", d, name="urban").fit_ml()
    >>> bm.compare(a, b).model.tolist()
    ['urban', 'age']
    """
    check_fits("compare", *fits)
    same_data(fits)
    for fit in fits:
        if fit.engine == "map":
            raise ComparisonError(
                f"{fit.name} is a posterior mode, which has neither a maximised likelihood nor draws to compare by: "
                f"use fit_ml() or sample()"
            )
    engines = {"ml" if fit.engine == "ml" else "posterior" for fit in fits}
    if len(engines) > 1:
        raise ComparisonError("some fits are likelihoods and some posteriors: compare fits of one kind")
    by = by or ("aic" if engines == {"ml"} else "loo")
    if by not in CRITERIA:
        raise ComparisonError(f'there is no criterion "{by}"; {among(by, CRITERIA)}')
    if by == "loo":
        if engines == {"ml"}:
            raise ComparisonError('leave-one-out needs draws: sample the models, or compare by="aic"')
        return _compare_loo(fits)
    if engines != {"ml"}:
        raise ComparisonError(
            f"{'AICc' if by == 'aicc' else by.upper()} needs maximised likelihoods: fit the models by fit_ml(), or "
            f'compare by="loo"'
        )
    one_likelihood(fits)
    return _compare_criterion(fits, by)


def _compare_criterion(fits: Sequence[Any], by: str) -> pd.DataFrame:
    import pandas as pd

    values = np.array([getattr(fit, by) for fit in fits])
    delta = values - values.min()
    weight = np.exp(-0.5 * delta)
    out = pd.DataFrame(
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


def _compare_loo(fits: Sequence[Any]) -> pd.DataFrame:
    import arviz as az
    import pandas as pd

    for fit in fits:
        if not np.all(fit.design.freq == 1.0):
            raise ComparisonError(
                f"{fit.name} has row frequencies: leave-one-out would leave out a whole set of equal rows"
            )
    names = unique_names(fits)
    notes: list[str] = []
    elpds: dict[str, Any] = {}
    bad: dict[str, int] = {}
    for fit, name in zip(fits, names, strict=True):
        with warnings.catch_warnings():
            # ArviZ warns of k̂ in general words; the notes below name the model and count the rows.
            warnings.simplefilter("ignore", UserWarning)
            elpds[name] = az.loo(fit.to_arviz(), pointwise=True)
        bad[name] = int((np.asarray(elpds[name].pareto_k) > BAD_K).sum())
        if bad[name]:
            worst = float(np.max(np.asarray(elpds[name].pareto_k)))
            notes.append(
                f"{name}: {bad[name]} of {len(fit.design.rows)} rows have k̂ above {BAD_K} (largest {worst:.2f}); "
                f"their share of the LOO estimate is not reliable, refit without them to be sure."
            )
    if not any(bad.values()):
        notes.append(f"Every k̂ is below {BAD_K}: the leave-one-out estimates are reliable.")
    if len(fits) == 1:
        elpd = elpds[names[0]]
        return pd.DataFrame(
            [
                {
                    "model": names[0], "rank": 0, "elpd": float(elpd.elpd), "se": float(elpd.se), "p": float(elpd.p),
                    "elpd_diff": 0.0, "dse": 0.0, "weight": 1.0, "bad_k": bad[names[0]],
                }
            ]
        ).pipe(_with_notes, notes)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ranked = az.compare(elpds, round_to="none")
    out = pd.DataFrame({"model": [str(name) for name in ranked.index]})
    for column in ("rank", "elpd", "se", "p", "elpd_diff", "dse", "weight"):
        out[column] = ranked[column].to_numpy()
    out["bad_k"] = [bad[name] for name in out.model]
    return _with_notes(out, notes)


def _with_notes(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    table.attrs["notes"] = notes
    return table
