"""Tables of one model with a column per reading: ratios, spreads between groups, and how much is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import BayesmlmError
from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import reading_of
from bayesmlm.ratios import baseline_terms, baseline_word, exponentiated, ratio_word
from bayesmlm.report.tables import COMPONENTS, Cell, Column, Part, frame_table, table
from bayesmlm.sheets.numbers import format_interval, format_number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["estimates", "explained", "ratios", "spreads"]


def _columns(first: Sequence[str], fits: Sequence[Fit]) -> list[Column]:
    return [*(Column(name, False) for name in first), *(Column(reading_of(fit)) for fit in fits)]


def _with_limits(row: Any) -> Cell:
    return Cell(format_interval(row.estimate, row.conf_low, row.conf_high), float(row.estimate))


def estimates(frame: pd.DataFrame, caption: str) -> str:
    """Table of estimates and standard errors, from :func:`bayesmlm.comparison.side_by_side`."""
    keys = frame.component
    if "estimand" in frame:
        # Two quantities that bear the same names do not belong into one part.
        keys = (frame.component + " " + frame.estimand).str.strip()
    terms = [f"{term} | {group}" if group else term for term, group in zip(frame.term, frame.group, strict=True)]
    shown = frame.drop(columns=["component", "group", "estimand"], errors="ignore")
    return frame_table(shown.assign(term=terms, part=keys), caption, parts="part")


def ratios(fits: Sequence[Fit]) -> str:
    """Table of the coefficients as odds, rate or hazard ratios, with their 95 % intervals.

    Raises
    ------
    FitError
        For a link under which exp() of a coefficient is nothing.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> "1.92 [1.53, 2.40]" in ratios([fit])
    True
    """
    family = fits[0].design.family
    word = ratio_word(family)
    tables = [exponentiated(fit.table(), family) for fit in fits]
    terms = list(dict.fromkeys(term for found in tables for term in found.term[found.component == "fixed"]))
    rows, levels = [], baseline_terms(fits[0].design)
    for term in terms:
        label = f"{term} ({baseline_word(family)})" if term in levels else str(term)
        rows.append([Cell(label), *(_found(found, "fixed", "", term) for found in tables)])
    caption = f"{word.capitalize()}s with 95 % intervals"
    return table(caption, _columns(["term"], fits), [Part("", rows)]) if rows else ""


def _found(rows: Any, component: str, group: str, term: str) -> Cell:
    match = rows[(rows.component == component) & (rows.group == group) & (rows.term == term)]
    return _with_limits(next(match.itertuples())) if len(match) else Cell("")


def spreads(fits: Sequence[Fit]) -> str:
    """Table of standard deviations and correlations with intervals; empty where no reading has any."""
    tables = [fit.table() for fit in fits]
    kinds = ("sd", "cor", "residual")
    having = [fit for fit, found in zip(fits, tables, strict=True) if found.component.isin(kinds).any()]
    tables = [found for found in tables if found.component.isin(kinds).any()]
    if not having:
        return ""
    levels = {group.name: group.n_levels for group in having[0].design.groups}
    parts = []
    for kind in kinds:
        keys = dict.fromkeys(
            (str(row.group), str(row.term))
            for found in tables
            for row in found[found.component == kind].itertuples()
        )  # fmt: skip
        rows = [
            [
                Cell(term),
                Cell(group),
                _count(levels.get(group)),
                *(_found(found, kind, group, term) for found in tables),
            ]
            for group, term in keys
        ]
        if rows:
            parts.append(Part(COMPONENTS[kind], rows))
    columns = _columns(["term", "group"], having)
    columns.insert(2, Column("groups"))
    return table("Random effects with 95 % intervals", columns, parts)


def _count(number: int | None) -> Cell:
    return Cell("") if number is None else Cell(f"{number:,}", float(number))


def explained(fits: Sequence[Fit]) -> tuple[str, list[str]]:
    """Table of R², intraclass correlations and the like, and why a reading lacks one.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> text, why = explained([fit])
    >>> "R², fixed effects" in text, "ICC of district" in text, why
    (True, True, [])
    """
    fits = [fit for fit in fits if fit.reading != "population"]
    answers: dict[str, dict[int, Cell]] = {}
    why: dict[str, None] = {}
    for place, fit in enumerate(fits):
        for ask in _questions(fit):
            try:
                found = ask(fit)
            except BayesmlmError as error:
                why[f"{reading_of(fit)}: {error}."] = None
                continue
            for label, cell in found.items():
                answers.setdefault(label, {})[place] = cell
    rows = [
        [Cell(label), *(cells.get(place, Cell("")) for place in range(len(fits)))] for label, cells in answers.items()
    ]
    shown = table("How much the model explains", _columns(["measure"], fits), [Part("", rows)]) if rows else ""
    return shown, list(why)


def _questions(fit: Fit) -> list[Callable[[Fit], dict[str, Cell]]]:
    family, response = fit.design.family, fit.design.response
    out: list[Callable[[Fit], dict[str, Cell]]] = [_r2]
    if fit.design.groups:
        out.append(_icc)
        if family.link.name == "logit":
            out.append(_mor)
    return [*out, _auc] if family.is_binary and response.is_binary else out


def _answer(fit: Fit, verb: str, labels: Callable[[str], str]) -> dict[str, Cell]:
    """An answer of the fit by name; of a posterior with the limits over its draws."""
    if fit.reading == "posterior":
        found = getattr(fit, verb)(interval="posterior")
        return {labels(str(row.Index)): _with_limits(row) for row in found.itertuples()}
    return {labels(str(name)): _number(float(value)) for name, value in getattr(fit, verb)().items()}


def _number(value: float) -> Cell:
    return Cell(format_number(value, decimals=3), value)


def _r2(fit: Fit) -> dict[str, Cell]:
    words = {"marginal": "R², fixed effects", "conditional": "R², groups included"}
    found = _answer(fit, "r2", lambda name: words[name])
    return found if fit.design.groups else {"R²": next(iter(found.values()))}


def _icc(fit: Fit) -> dict[str, Cell]:
    return _answer(fit, "icc", lambda name: f"ICC of {name}")


def _mor(fit: Fit) -> dict[str, Cell]:
    return _answer(fit, "mor", lambda name: f"Median odds ratio of {name}")


def _auc(fit: Fit) -> dict[str, Cell]:
    # Of a posterior the mean over its draws; its limits would take the draws twice.
    return {"Area under the ROC curve": _number(float(np.asarray(fit.auc())))}
