"""Deletion: what a model loses without each of its terms, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import quoted
from bayesmlm.comparable import check_fits, maximised
from bayesmlm.design import Design
from bayesmlm.errors import ComparisonError, among
from bayesmlm.expressions import canonical
from bayesmlm.likelihood_ratio import ratio_test, variances_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["contrasts", "drop1"]

Array = np.ndarray[Any, Any]

PARTS = ("fixed", "random", "all")
"""Which terms can be dropped."""


@dataclass(frozen=True, slots=True)
class _Deletion:
    """A term and the right-hand side without it."""

    label: str
    right: str


def drop1(fit: Any, part: str = "fixed", df: str | None = None) -> pd.DataFrame:
    """Leave out each term that can be left out, one at a time, and test it by a likelihood ratio, or on F.

    A term stays while an interaction that contains it is there (marginality, as R's ``drop1`` has it).  Every smaller
    model is fitted to the same rows, in the same way.

    Parameters
    ----------
    fit : MLFit
    part : {"fixed", "random", "all"}
        Random-effect terms lose one column at a time, its correlations with it, and go when only one is left.
    df : {"satterthwaite"}, optional
        Of a Gaussian model: F tests of the fixed effects at the estimates as they are, by REML too, with
        Satterthwaite's degrees of freedom (lmerTest's ``drop1``); nothing is fitted again.

    Returns
    -------
    pandas.DataFrame
        ``term, df, aic, chisq, p_value``; the first row, ``<none>``, is the model itself.  P-values of random-effect
        terms are those at the boundary of a variance of zero.  ``attrs["distribution"]`` holds what each statistic was
        compared with, ``attrs["notes"]`` what else there is to know.  Fixed effects of a fit by REML are tested by
        maximum likelihood, as lme4 does; its random effects alone (``part="random"``) by REML.  With ``df`` the columns
        are ``term, df, df_denom, statistic, p_value``, without a row for the model itself.

    Raises
    ------
    FitError
        For what is no fit.
    ComparisonError
        For a posterior or its mode, a part that does not exist, or a model without such terms.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ age*ch + I(age^2) + urban + (1 | urban:district)", bm.load_dataset("contraception"))
    >>> table = bm.drop1(m.fit_ml(), part="all")
    >>> table.term.tolist()
    ['<none>', 'I(age^2)', 'urban', 'age:ch', '(1 | urban:district)']
    >>> table.chisq.round(3).tolist()[1:]
    [47.413, 19.331, 7.407, 54.903]
    >>> m = bm.Model("Reaction ~ Days + (Days | Subject)", bm.load_dataset("sleepstudy"), family="gaussian")
    >>> bm.drop1(m.fit_ml(reml=True), df="satterthwaite").iloc[0, 1:4].round(3).tolist()
    [1.0, 17.0, 45.853]
    """
    import pandas as pd

    check_fits("drop1", fit)
    maximised(fit)
    if part not in PARTS:
        raise ComparisonError(f'there is no part "{part}" of a model; {among(part, PARTS)}')
    design, notes = fit.design, []
    deletions = [*(_fixed(design) if part != "random" else ()), *(_random(design) if part != "fixed" else ())]
    if not deletions:
        what = {"fixed": "fixed effect", "random": "random-effect term", "all": "term"}[part]
        raise ComparisonError(f"{fit.name} has no {what} to leave out")
    if df is not None:
        if part != "fixed":
            raise ComparisonError('F tests are of fixed effects: give df= with part="fixed"')
        return _on_f(fit, deletions, df)
    base = fit
    if fit.solution.reml and part != "random":
        base = fit.model.fit_ml()
        notes.append(f"{fit.name} was fitted by REML; every model here is fitted by maximum likelihood.")
    rows: list[dict[str, Any]] = [{"term": "<none>", "df": np.nan, "aic": base.aic, "chisq": np.nan, "p_value": np.nan}]
    distributions, solution = [""], base.solution
    for deletion in deletions:
        small = fit.model.reduced(deletion.right).fit_ml(solution.n_agq, solution.reml, solution.information)
        variances = variances_of(design) - variances_of(small.design)
        test = ratio_test(2.0 * (base.loglik - small.loglik), base.df_model - small.df_model, variances)
        if test.note:
            notes.append(f"{deletion.label}: {test.note}.")
        rows.append(
            {"term": deletion.label, "df": test.df, "aic": small.aic, "chisq": test.chisq, "p_value": test.p_value}
        )
        distributions.append(test.distribution)
    out = pd.DataFrame(rows)
    out.attrs.update(notes=notes, distribution=distributions)
    return out


def _on_f(fit: Any, deletions: Sequence[_Deletion], df: str) -> pd.DataFrame:
    """Test each deletion by the hypothesis it puts on the coefficients."""
    import pandas as pd

    from bayesmlm.ml.satterthwaite import variance_of

    variance, rows, distributions = variance_of(fit, df), [], []
    for deletion in deletions:
        L = contrasts(fit.model.reduced(deletion.right).design.X, fit.design.X)
        row = {"term": deletion.label, "df": len(L), "df_denom": np.nan, "statistic": np.nan, "p_value": np.nan}
        if len(L):
            test = variance.f_test(L, fit.solution.beta)
            row.update(df_denom=test.df_denom, statistic=test.statistic, p_value=test.p_value)
        rows.append(row)
        distributions.append(f"F({len(L)}, {row['df_denom']:.1f})" if len(L) else "")
    out = pd.DataFrame(rows)
    out.attrs.update(notes=[], distribution=distributions)
    return out


def contrasts(small: Array, big: Array) -> Array:
    """Rows L with L β = 0 where X β of the larger model lies in the smaller one's column space, orthonormal.

    Parameters
    ----------
    small, big : ndarray, shapes (n, r) and (n, p)
        Of full rank, the first's column space within the second's.

    Returns
    -------
    ndarray, shape (p − r, p)

    Examples
    --------
    >>> one, x = np.ones(4), np.arange(4.0)
    >>> np.abs(contrasts(one[:, None], np.column_stack([one, x]))).round(12).tolist()
    [[0.0, 1.0]]
    """
    scale = np.sqrt(np.square(big).sum(axis=0))
    Q, _ = np.linalg.qr(small / np.sqrt(np.square(small).sum(axis=0))) if small.shape[1] else (small, None)
    scaled = big / scale
    outside = scaled - Q @ (Q.T @ scaled)
    # As many directions as the larger model has columns more: what is below is rounding.
    rows = np.linalg.svd(outside, full_matrices=False)[2][: big.shape[1] - small.shape[1]]
    return np.linalg.qr((rows * scale).T)[0].T


def _pieces(matrix_spec: Any) -> list[tuple[str, ...]]:
    """Terms of one formula part as their factors, ``("age", "ch")``; the intercept is empty."""
    return [tuple(str(f.expr) for f in term.factors if str(f.expr) != "1") for term in matrix_spec.terms]


def _written(factors: Sequence[str]) -> str:
    """A term as a formula has it."""
    return ":".join(_factor(factor) for factor in factors)


def _factor(text: str) -> str:
    return canonical(text) if "(" in text else quoted(text)


def _droppable(terms: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Terms that no other term contains; never the intercept."""
    return [term for term in terms if term and not any(set(term) < set(other) for other in terms)]


def _sum(terms: Sequence[tuple[str, ...]]) -> str:
    """Terms as the text of a formula part."""
    return " + ".join(["1" if () in terms else "0", *(_written(term) for term in terms if term)])


def _fixed(design: Design) -> Iterator[_Deletion]:
    terms, formula = _pieces(design.matrix_spec), design.formula
    for term in _droppable(terms):
        rest = _sum([other for other in terms if other != term])
        if rest != "0" or formula.bars:  # something must be left
            yield _Deletion(_written(term), formula.right(rest, formula.bars))


def _random(design: Design) -> Iterator[_Deletion]:
    formula = design.formula
    for at, (bar, group) in enumerate(zip(formula.bars, design.groups, strict=True)):
        before, after = formula.bars[:at], formula.bars[at + 1 :]
        terms = [()] if group.matrix_spec is None else _pieces(group.matrix_spec)
        if len(terms) == 1:
            yield _Deletion(bar.text, formula.right(formula.fixed, [*before, *after]))
            continue
        for term in _droppable(terms):
            rest = replace(bar, columns=_sum([other for other in terms if other != term]))
            label = f"{_written(term)} in {bar.text}"
            yield _Deletion(label, formula.right(formula.fixed, [*before, rest, *after]))
