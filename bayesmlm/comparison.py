"""Setting fits against each other: side by side, by likelihood-ratio tests, by leave-one-out prediction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import ComparisonError, among
from bayesmlm.fit import COMPONENTS, Fit, labels
from bayesmlm.likelihood_ratio import is_nested, ratio_test, same_partition, variances_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["anova", "compare", "side_by_side"]

Array = np.ndarray[Any, Any]

CRITERIA = ("loo", "aic", "aicc", "bic")
"""What fits can be ranked by."""

BAD_K = 0.7
"""Pareto k̂ above which a leave-one-out term is not reliable (Vehtari, Gelman & Gabry, 2017)."""


def _names(fits: Sequence[Fit]) -> list[str]:
    """A name per fit, unique."""
    names: list[str] = []
    for fit in fits:
        name, n = fit.name, 2
        while name in names:
            name, n = f"{fit.name} ({n})", n + 1
        names.append(name)
    return names


def _same_data(fits: Sequence[Fit]) -> None:
    """Refuse fits of different responses or rows."""
    if not fits:
        raise ComparisonError("there is nothing to compare: give at least one fit")
    first = fits[0].design
    for fit in fits[1:]:
        design = fit.design
        if len(design.rows) != len(first.rows) or not np.array_equal(design.rows, first.rows):
            raise ComparisonError(
                f"{fits[0].name} was fitted to {len(first.rows)} rows and {fit.name} to {len(design.rows)}, or to "
                f"other rows (missing values differ): fit both to the rows that are complete for both"
            )
        if not (
            np.array_equal(design.response.y, first.response.y)
            and np.array_equal(design.response.trials, first.response.trials)
            and np.array_equal(design.freq, first.freq)
            and np.array_equal(design.weights, first.weights)
        ):
            raise ComparisonError(f"{fits[0].name} and {fit.name} have different responses or weights: not comparable")


# side by side -------------------------------------------------------------------------------------------------


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
    ComparisonError
        For fits of different data.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> bm.side_by_side(m.fit_ml()).columns.tolist()
    ['component', 'group', 'term', 'ml_estimate', 'ml_se']
    """
    _same_data(fits)
    kinds = [fit.engine if fit.engine in ("ml", "map") else "post" for fit in fits]
    merged: pd.DataFrame | None = None
    for fit, kind, name in zip(fits, kinds, _names(fits), strict=True):
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


# likelihood ratios ----------------------------------------------------------------------------------------------


def anova(*fits: Any, refit: bool = False) -> pd.DataFrame:
    """Likelihood ladder: each model against the one before it, by a likelihood-ratio test where they are nested.

    Where a variance is tested, at its boundary of zero, the p-value is of the half-and-half mixture of χ²
    (Self & Liang, 1987; Stram & Lee, 1994): a model without groups against its mixed model, one more random-effect
    term, or one more column with its correlations.  Of several variances at once it is the plain one, which is
    conservative.

    Parameters
    ----------
    *fits : MLFit
        In the order of the argument; whichever of two neighbours is smaller is the null.
    refit : bool
        Refit by maximum likelihood what was fitted by REML, which lets models of different fixed parts be compared.

    Returns
    -------
    pandas.DataFrame
        ``model, npar, aic, bic, loglik, chisq, df, p_value``; the last three are NaN where there is no test.
        ``attrs["distribution"]`` holds what each statistic was compared with, such as ``½ χ²(0) + ½ χ²(1)``;
        ``attrs["notes"]`` says why there is no test, how a p-value at a boundary was computed, and what was refitted.

    Raises
    ------
    ComparisonError
        For posteriors and their modes, fits of different data, or fits by REML whose fixed parts differ.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> m_01 = bm.Model("use ~ age + urban + livch + (1 | district)", d, name="m_01").fit_ml()
    >>> m_02 = m_01.model.update("use ~ age + I(age^2) + urban + livch + (1 | district)").fit_ml()
    >>> round(float(bm.anova(m_01, m_02).chisq[1]), 3)
    40.887
    >>> table = bm.anova(m_01.model.update("use ~ age + urban + livch").fit_ml(), m_01)
    >>> table.attrs["distribution"][1]
    '½ χ²(0) + ½ χ²(1)'
    """
    import pandas as pd

    _same_data(fits)
    for fit in fits:
        maximised(fit)
    names = _names(fits)
    notes: list[str] = []
    if refit and any(fit.solution.reml for fit in fits):
        again = [name for fit, name in zip(fits, names, strict=True) if fit.solution.reml]
        notes.append(f"{' and '.join(again)} {'was' if len(again) == 1 else 'were'} refitted by maximum likelihood.")
        fits = tuple(fit.model.fit_ml() if fit.solution.reml else fit for fit in fits)
    _one_likelihood(fits)
    rows: list[dict[str, Any]] = []
    distributions: list[str] = []
    for i, (fit, name) in enumerate(zip(fits, names, strict=True)):
        row: dict[str, Any] = {
            "model": name, "npar": fit.df_model, "aic": fit.aic, "bic": fit.bic, "loglik": fit.loglik,
            "chisq": np.nan, "df": np.nan, "p_value": np.nan,
        }  # fmt: skip
        distributions.append(_test(fits[i - 1], names[i - 1], fit, name, row, notes) if i else "")
        rows.append(row)
    out = pd.DataFrame(rows)
    out.attrs.update(notes=notes, distribution=distributions)
    return out


def maximised(fit: Any) -> None:
    """Refuse a fit whose likelihood was not maximised."""
    if fit.engine == "map":
        raise ComparisonError(
            f"{fit.name} is a posterior mode: a likelihood-ratio test needs maximised likelihoods; use fit_ml()"
        )
    if fit.engine != "ml":
        raise ComparisonError(
            f"{fit.name} is a posterior: a likelihood-ratio test needs maximised likelihoods; fit it by fit_ml(), "
            f'or use bm.compare(..., by="loo")'
        )


def _one_likelihood(fits: Sequence[Any]) -> None:
    """Refuse likelihoods of different kinds: REML beside ML, or REML of different fixed parts."""
    first = fits[0]
    for fit in fits:
        if fit.solution.reml != first.solution.reml:
            reml, other = (fit, first) if fit.solution.reml else (first, fit)
            raise ComparisonError(
                f"{reml.name} was fitted by REML and {other.name} by maximum likelihood: not comparable; refit by "
                f"fit_ml(reml=False), or ask for anova(..., refit=True)"
            )
        if fit.solution.reml and not _same_columns(first.design, fit.design):
            raise ComparisonError(
                f"{first.name} and {fit.name} were fitted by REML and their fixed parts differ, so that their "
                f"restricted likelihoods are of different data; refit both by fit_ml(reml=False), or ask for "
                f"anova(..., refit=True)"
            )


def _same_columns(a: Design, b: Design) -> bool:
    """Whether the fixed parts are the same columns, in whatever order."""
    if sorted(a.terms) != sorted(b.terms):
        return False
    return all(np.array_equal(a.X[:, a.terms.index(term)], b.X[:, b.terms.index(term)]) for term in a.terms)


def _test(before: Any, before_name: str, fit: Any, name: str, row: dict[str, Any], notes: list[str]) -> str:
    """Fill in the test of two neighbours, say what there is to say, and return what it was compared with."""
    small, big = (before, fit) if before.df_model <= fit.df_model else (fit, before)
    small_name, big_name = (before_name, name) if small is before else (name, before_name)
    df = big.df_model - small.df_model
    row["df"] = df
    pair = f"{before_name} and {name}"
    # Without groups there is nothing to approximate; with a canonical link there is one information only.
    approximate = bool(small.design.groups and big.design.groups)
    informed = approximate and not small.design.family.is_canonical
    if approximate and small.solution.n_agq != big.solution.n_agq:
        notes.append(
            f"{pair}: no test, their likelihoods use different numbers of quadrature points; refit with one n_agq."
        )
    elif informed and small.solution.information != big.solution.information:
        notes.append(
            f"{pair}: no test, their Laplace approximations take different information; refit with one information=."
        )
    elif is_nested(small.design, big.design) and df > 0:
        variances = variances_of(big.design) - variances_of(small.design)
        test = ratio_test(2.0 * (big.loglik - small.loglik), df, variances)
        row["chisq"], row["p_value"] = test.chisq, test.p_value
        notes.append(f"{pair}: {small_name} is nested in {big_name}{'; it ' + test.note if test.note else ''}.")
        return test.distribution
    elif is_nested(small.design, big.design):
        notes.append(f"{pair}: no test (0 df), they are one model in two parametrisations.")
    else:
        better = before_name if before.aic < fit.aic else name
        notes.append(
            f"{pair}: no likelihood-ratio test, {'0 df and ' if df == 0 else ''}neither is a special case of the other"
            f"{_why_not(small.design, big.design)}; by AIC {better} is lower by {abs(before.aic - fit.aic):.1f}, "
            f"and LOO compares what they predict."
        )
    return ""


def _why_not(small: Design, big: Design) -> str:
    """The grouping that stands in the way, and the model that would contain both."""
    for own in small.groups:
        if any(same_partition(own, other) for other in big.groups):
            continue
        for other in big.groups:
            if set(own.factors) < set(other.factors):
                rest = ":".join(factor for factor in other.factors if factor not in own.factors)
                return f" (a model with (1 | {own.name}/{rest}) contains both)"
    return ""


# out-of-sample comparison -----------------------------------------------------------------------------------------


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
    _same_data(fits)
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
    _one_likelihood(fits)
    return _compare_criterion(fits, by)


def _compare_criterion(fits: Sequence[Any], by: str) -> pd.DataFrame:
    import pandas as pd

    values = np.array([getattr(fit, by) for fit in fits])
    delta = values - values.min()
    weight = np.exp(-0.5 * delta)
    out = pd.DataFrame(
        {
            "model": _names(fits),
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
    names = _names(fits)
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
