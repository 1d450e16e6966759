"""A ladder of likelihoods: each model against the one before it, tested where one is a special case of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.comparable import check_fits, maximised, one_likelihood, same_data, unique_names
from bayesmlm.design import Design
from bayesmlm.likelihood_ratio import is_nested, ratio_test, same_partition, variances_of

if TYPE_CHECKING:
    from bayesmlm.prose.ladder import Ladder

__all__ = ["anova"]


def anova(*fits: Any, refit: bool = False) -> Ladder:
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
    Ladder
        A data frame ``model, npar, aic, bic, loglik, chisq, df, p_value``; the last three are NaN without a test.
        ``attrs["distribution"]`` holds what each statistic was compared with, such as ``½ χ²(0) + ½ χ²(1)``;
        ``attrs["notes"]`` says why there is no test, how a p-value at a boundary was computed, and what was refitted.
        :meth:`~bayesmlm.prose.ladder.Ladder.report` says all of it in sentences.

    Raises
    ------
    FitError
        For what is no fit.
    ComparisonError
        For posteriors, their modes and GEEs, fits of different data, or fits by REML whose fixed parts differ.

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
    from bayesmlm.prose.ladder import Ladder

    check_fits("anova", *fits)
    same_data(fits)
    for fit in fits:
        maximised(fit)
    names = unique_names(fits)
    notes: list[str] = []
    if refit and any(fit.solution.reml for fit in fits):
        again = [name for fit, name in zip(fits, names, strict=True) if fit.solution.reml]
        notes.append(f"{' and '.join(again)} {'was' if len(again) == 1 else 'were'} refitted by maximum likelihood.")
        fits = tuple(fit.model.fit_ml() if fit.solution.reml else fit for fit in fits)
    one_likelihood(fits)
    rows: list[dict[str, Any]] = []
    distributions: list[str] = []
    for i, (fit, name) in enumerate(zip(fits, names, strict=True)):
        row: dict[str, Any] = {
            "model": name, "npar": fit.df_model, "aic": fit.aic, "bic": fit.bic, "loglik": fit.loglik,
            "chisq": np.nan, "df": np.nan, "p_value": np.nan,
        }  # fmt: skip
        distributions.append(_test(fits[i - 1], names[i - 1], fit, name, row, notes) if i else "")
        rows.append(row)
    out = Ladder(rows)
    out.attrs.update(notes=notes, distribution=distributions)
    return out


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
