"""A coefficient in a sentence: its sign, how sure that is by the reading, its limits, its standardised value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.prose.terms import terms_of
from bayesmlm.prose.words import number, p_words, percent, within
from bayesmlm.ratios import RATIOS, baseline_terms, baseline_word

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["effect_lines", "limits_words", "test_words"]


def interval_word(fit: Any, level: float) -> str:
    """What an interval is called."""
    return f"{percent(level)} {'credible interval' if fit.reading == 'posterior' else 'CI'}"


def limits_words(fit: Any, row: Mapping[str, Any], level: float) -> str:
    """The interval of an estimate."""
    return f"{interval_word(fit, level)} {within(row['conf_low'], row['conf_high'], row['std_error'])}"


def test_words(row: Mapping[str, Any]) -> str:
    """The statistic and its p-value; empty where there is no test."""
    if np.isnan(row.get("p_value", np.nan)):
        return ""
    df = row.get("df", np.nan)
    statistic = f"z = {number(row['statistic'])}" if np.isnan(df) else f"t({df:.4g}) = {number(row['statistic'])}"
    return f"{statistic}, {p_words(row['p_value'])}"


def effect_lines(
    fit: Any, table: pd.DataFrame, standardised: pd.DataFrame | None, untested: Mapping[str, str], level: float
) -> list[str]:
    """A line per coefficient but the intercept.

    Parameters
    ----------
    fit : Fit
    table : pandas.DataFrame
        Its coefficients.
    standardised : pandas.DataFrame or None
        The same of standardised predictors.
    untested : mapping of str to str
        Coefficients whose test is not admissible, and why; under ``""`` why none is.
    level : float
    """
    rows = {row["term"]: row for row in table.to_dict("records")}
    scaled = {} if standardised is None else {row["term"]: row for row in standardised.to_dict("records")}
    draws = fit._values() if fit.reading == "posterior" else None
    levels = baseline_terms(fit.design)
    place = {term: j for j, term in enumerate(fit.design.terms)}
    out = []
    for term in terms_of(fit.design):
        row = rows[term.name]
        why = untested.get(term.name, untested.get("", ""))
        if not np.isfinite(row["std_error"]):
            why = why or "it has no standard error"
        facts = [f"β = {number(row['estimate'], row['std_error'])}, {limits_words(fit, row, level)}"]
        if not why and fit.reading in ("likelihood", "population"):
            facts[0] = ", ".join(part for part in (facts[0], test_words(row)) if part)
        word = RATIOS.get(fit.design.family.link.name)
        if word:
            word = baseline_word(fit.design.family) if term.name in levels else word
            with np.errstate(over="ignore"):
                facts.append(f"{word} {number(float(np.exp(row['estimate'])))}")
        if term.name in scaled:
            s = scaled[term.name]
            limits = within(s["conf_low"], s["conf_high"], s["std_error"])
            facts.append(f"standardised β = {number(s['estimate'], s['std_error'])} {limits}")
        said = _said(fit, row, why, level, None if draws is None else draws[:, place[term.name]])
        out.append(f"- {term.text}: {said} ({'; '.join(facts)}).")
    return out


def _said(fit: Any, row: Mapping[str, Any], why: str, level: float, draws: Any) -> str:
    """What may be said of the sign; a claim names its level, and none rests on a test that is not admissible."""
    sign = "positive" if row["estimate"] > 0.0 else "negative"
    if why:
        return f"estimated {sign}, but {why}"
    if draws is not None:
        share = float((draws * np.sign(row["estimate"]) > 0.0).mean())
        return f"{sign} with a probability of {_probability(share, len(draws))}"
    if fit.reading == "mode" or np.isnan(row["p_value"]):
        return f"{sign}"
    alpha = 1.0 - level
    if row["p_value"] < alpha:
        return f"{sign}, significant at the {percent(alpha)} level"
    return f"not significantly different from zero at the {percent(alpha)} level"


def _probability(share: float, draws: int) -> str:
    """A probability of direction, as far as the number of draws tells it."""
    digits = 3 if draws >= 1000 else 2
    text = f"{share:.{digits}f}"
    return f"above {1.0 - 10.0**-digits:.{digits}f}" if float(text) == 1.0 else text
