"""Predictions, comparisons, slopes and means of any fit, in one set of words.

Every answer is a linear combination of expected responses, on some scale, at some settings of some rows, averaged: the
four verbs differ in the settings and in the combination alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesmlm.effects.answers import (
    COMPARISONS,
    Comparison,
    answer_changes,
    answer_expected,
    is_link,
    quantity_of,
    rows_are_first,
)
from bayesmlm.effects.request import expected_word, read_request
from bayesmlm.effects.variables import changes_of, steps_of
from bayesmlm.errors import FitError, among
from bayesmlm.families import IDENTITY, LOG, LOGIT

if TYPE_CHECKING:
    from bayesmlm.effects.tables import EffectTable
    from bayesmlm.fit import Fit

__all__ = ["comparisons", "means", "predictions", "slopes"]


def predictions(
    fit: Fit, by: Any = None, newdata: Any = None, estimand: str | None = None, *, scale: str = "response",
    average: str | None = None, hypothesis: Any = None, adjust: str | None = None, weights: Any = None,
    new_groups: str = "population", level: float = 0.95,
) -> EffectTable:  # fmt: skip
    """Expected responses, row by row or averaged.

    Parameters
    ----------
    fit : Fit
        Of any engine.
    by : None, bool, str or sequence of str
        Columns to average within; True averages over all rows, False over none.  Without it the model's own rows are
        averaged over, and new data answered row by row.
    newdata : data frame or "grid", optional
        The model's own rows without it; ``"grid"`` is every combination of the factors' levels, numbers at their
        means.  See also :func:`bayesmlm.effects.grid`.
    estimand : {"typical", "conditional", "population"}, optional
        In a group whose effects are zero (the default), given the groups' own effects, or averaged over their
        distribution (the only one of a GEE).
    scale : {"response", "link"}
        Of an average over groups the link scale is the link of the average.
    average : {"rows", "means"}, optional
        On the link scale: whether rows are put on it and then averaged (the default), or the other way round.
    hypothesis : {"pairwise", "reference", "sequential"} or mapping, optional
        Contrasts between the rows of the table instead of the rows: all pairs, each with the first, each with the one
        before it, or weights by name.
    adjust : {"bonferroni", "holm", "tukey", "single-step"}, optional
        Of contrasts: p-values and limits for all of them at once.
    weights : str or array, optional
        How much each row counts in an average.  Without it, the model's own rows count as the observations they stand
        for (frequencies, prior weights, trials), rows of new data as 1.
    new_groups : {"population", "zero"}
        For ``conditional``, what a group the model has not seen stands for.
    level : float

    Returns
    -------
    EffectTable
        A data frame: what tells the rows apart, ``estimate, std_error, conf_low, conf_high, estimand``; of a posterior
        ``estimate`` is the mean, with a ``median``.  Contrasts have ``term, contrast`` and ``statistic, p_value``, or
        ``p_direction``, the probability that the difference has the sign it mostly has.  ``attrs`` say what it is of,
        as its text does.

    Raises
    ------
    DataError
        For new data that do not fit, and columns that are not there.
    FitError
        For an estimand that does not exist, and the like.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age*ch + urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> new = bm.effects.grid(fit, "urban", age=0, ch="N")
    >>> bm.effects.predictions(fit, newdata=new)[["urban", "estimate"]].round(3).values.tolist()
    [['N', 0.172], ['Y', 0.298]]
    >>> print(bm.effects.predictions(fit, estimand="population")[["estimate", "std_error"]].round(4))
       estimate  std_error
    0    0.3828     0.0173
    probability of use = Y; population: averaged over the distribution of the group effects; averaged over 1934
    observations; standard errors contain the uncertainty of the coefficients and of the groups' variances; 95%
    Wald intervals.
    """
    request = read_request("predictions", fit, newdata, by, estimand, None, weights, new_groups, level)
    return answer_expected(request, scale, average, hypothesis, adjust)


def means(
    fit: Fit, by: Any, newdata: Any = None, estimand: str | None = None, *, scale: str = "response",
    average: str | None = None, hypothesis: Any = None, adjust: str | None = None, weights: Any = None,
    new_groups: str = "population", level: float = 0.95,
) -> EffectTable:  # fmt: skip
    """Expected responses were every row set to each level of some factors: adjusted, or estimated marginal, means.

    Parameters
    ----------
    fit : Fit
    by : str, sequence of str, or mapping
        Factors, each set to all its levels in turn; or variable to values.
    newdata : data frame or "grid", optional
        The rows to set and to average over.  Without it the model's own (counterfactual averages); with ``"grid"``
        every combination of the other factors' levels counts the same, numbers at their means (R's emmeans, whose
        scale is ``"link"``).
    estimand, scale, average, hypothesis, adjust, weights, new_groups, level
        As of :func:`predictions`.

    Returns
    -------
    EffectTable
        As :func:`predictions`, a row for each combination of values.

    Raises
    ------
    DataError
        For what is no predictor, or a level that does not exist.
    FitError

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + livch + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> bm.effects.means(fit, "livch").estimate.round(3).tolist()
    [0.19, 0.407, 0.463, 0.454]
    >>> pairs = bm.effects.means(fit, "livch", hypothesis="pairwise", adjust="tukey")
    >>> pairs[["contrast", "estimate", "p_value"]].round(3).values.tolist()[-1]
    ['3+ - 2', -0.009, 0.996]
    """
    if by is None or (isinstance(by, list | tuple | Mapping) and not by):
        raise FitError("means are by something: name a factor, or give values of a variable")
    request = read_request("means", fit, newdata, True, estimand, by, weights, new_groups, level)
    return answer_expected(request, scale, average, hypothesis, adjust)


def comparisons(
    fit: Fit, variables: Any = None, by: Any = None, newdata: Any = None, estimand: str | None = None, *,
    comparison: str = "difference", at: Any = None, average: str | None = None, hypothesis: Any = None,
    adjust: str | None = None, weights: Any = None, new_groups: str = "population", level: float = 0.95,
) -> EffectTable:  # fmt: skip
    """What changes when a variable changes: risk differences, risk ratios and odds ratios.

    The rows are predicted twice, with one column set to either value, and all that follows from it, interactions and
    random slopes included.

    Parameters
    ----------
    fit : Fit
    variables : None, str, sequence of str, or mapping
        All predictors; some; or variable to what is compared.  Of a factor: ``"reference"`` (each level with the
        first), ``"sequential"``, ``"pairwise"``, or two levels.  Of a number: a step (1 without it), ``"sd"``, or two
        values.
    by, newdata, estimand
        As of :func:`predictions`.
    comparison : {"difference", "ratio", "oddsratio", "lnratio", "lnoddsratio"}
        Of expected responses.  Tests and limits of a ratio are made on the log scale, its standard error is its own.
    at : str, sequence of str, or mapping, optional
        Other variables to be set first, as by :func:`means`: an effect at each value.
    average : {"rows", "means"}, optional
        Whether rows are compared and the results averaged (ratios by their geometric mean), or averages are compared.
        It is one for differences.  Odds ratios are by default of rows, as exp(β) is; those of averages are nearer to 1
        even without groups.  Ratios are by default of averages: standardised risk ratios.
    hypothesis, adjust, weights, new_groups, level
        As of :func:`predictions`; contrasts of ratios are ratios.

    Returns
    -------
    EffectTable
        ``term, contrast, estimate, std_error, statistic, p_value, conf_low, conf_high, estimand``, what tells the rows
        apart before them.

    Raises
    ------
    DataError
        For what is no predictor, or a level that does not exist.
    FitError
        For a comparison that does not exist, or is not defined for the response.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age*ch + urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> for estimand in ("typical", "population"):
    ...     odds = bm.effects.comparisons(fit, "urban", estimand=estimand, comparison="oddsratio")
    ...     print(odds[["contrast", "estimate", "estimand"]].round(3).values.tolist())
    [['odds(Y) / odds(N)', 2.054, 'typical']]
    [['odds(Y) / odds(N)', 1.989, 'population']]
    >>> by_ch = bm.effects.comparisons(fit, {"age": 10}, at="ch", hypothesis="pairwise")
    >>> by_ch[["contrast", "estimate", "p_value"]].round(3).values.tolist()
    [['(+10, ch = Y) - (+10, ch = N)', -0.034, 0.261]]
    """
    if comparison not in COMPARISONS:
        raise FitError(f'there is no comparison "{comparison}"; {among(comparison, COMPARISONS)}')
    request = read_request("comparisons", fit, newdata, by, estimand, at, weights, new_groups, level)
    way, design = COMPARISONS[comparison], fit.design
    if way.scale is LOGIT and not design.family.is_binary:
        raise FitError(f'an odds ratio is of a binary response, not of a {design.family}; ask for "ratio"')
    rows_first = rows_are_first(average, way.rows_first)
    changes = changes_of(fit, variables)
    expected = expected_word(design)
    over = {
        IDENTITY: "averaged over {rows}",
        LOG: "geometric mean over {rows}" if rows_first else "ratio of averages over {rows}",
        LOGIT: "geometric mean over {rows}" if rows_first else "odds ratio of averages over {rows}",
    }[way.scale]
    words = way.words.format(expected=expected, event=expected.removeprefix("probability of "))
    return answer_changes(request, changes, way, rows_first, words, over, hypothesis, adjust)


def slopes(
    fit: Fit, variables: Any = None, by: Any = None, newdata: Any = None, estimand: str | None = None, *,
    scale: str = "response", at: Any = None, hypothesis: Any = None, adjust: str | None = None, weights: Any = None,
    new_groups: str = "population", level: float = 0.95,
) -> EffectTable:  # fmt: skip
    """How steeply the expected response changes with a number: its derivative, row by row or averaged.

    Parameters
    ----------
    fit : Fit
    variables : None, str or sequence of str
        Numeric predictors; all of them without it.
    by, newdata, estimand, scale, at, hypothesis, adjust, weights, new_groups, level
        As of :func:`comparisons` and :func:`predictions`.

    Returns
    -------
    EffectTable
        As of :func:`comparisons`.

    Raises
    ------
    DataError
        For what is no predictor.
    FitError
        For a factor, which has no slope.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + I(age^2) + urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> new = bm.effects.grid(fit, age=[-10, 10])
    >>> slopes = bm.effects.slopes(fit, "age", newdata=new, scale="link")
    >>> slopes[["age", "term", "contrast", "estimate"]].round(4).values.tolist()
    [[-10.0, 'age', 'dY/dX', 0.1561], [10.0, 'age', 'dY/dX', -0.0901]]
    """
    request = read_request("slopes", fit, newdata, by, estimand, at, weights, new_groups, level)
    link = fit.design.family.link if is_link(scale) else IDENTITY
    way = Comparison(link, IDENTITY, True, "", "")
    words = f"slope of the {quantity_of(request, scale)}"
    return answer_changes(
        request, steps_of(fit, variables), way, True, words, "averaged over {rows}", hypothesis, adjust
    )  # fmt: skip
