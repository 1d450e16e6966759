"""Several fits in the columns of one table, as journals print them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.arguments import check_level
from bayesmlm.comparable import check_fits, unique_names
from bayesmlm.errors import BayesmlmError, FitError, among
from bayesmlm.ratios import baseline_terms, baseline_word, exponentiated, ratio_word
from bayesmlm.sheets.numbers import like_error

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.sheets.models import ModelTable

__all__ = ["TABLE_STYLES", "model_table"]

TABLE_STYLES = ("se", "ci")
"""What stands beside an estimate: its standard error, or its interval."""

_ENGINES = {"ml": "ML", "map": "posterior mode", "nuts": "posterior (NUTS)", "marginal": "posterior (marginal)",
            "gee": "GEE"}  # fmt: skip

_ORDER = ("Observations", "Groups", "Clusters", "ICC", "R² (fixed effects)", "R² (total)", "Log-likelihood",
          "REML criterion", "AIC", "BIC", "QIC", "ELPD (LOO)")  # fmt: skip
"""Statistics, down the column."""

Rows = dict[str, dict[int, str]]
"""Row name to cells by the place of the fit."""


def model_table(
    *fits: Any, style: str = "se", exponentiate: bool = False, level: float = 0.95, stars: bool = False,
    loo: bool | None = None,
) -> ModelTable:  # fmt: skip
    """Put fits into the columns of one table: coefficients, spread between groups, statistics.

    Parameters
    ----------
    *fits : Fit
        Any readings of any models.  The header says of each how it was fitted, and whether its coefficients are given
        the groups or averaged over the population.
    style : {"se", "ci"}
        Estimates with standard errors (posteriors: means with standard deviations) or with intervals.
    exponentiate : bool
        Fixed effects as odds, rate or hazard ratios, their standard errors by the delta method.
    level : float
        Of intervals.
    stars : bool
        Mark p-values below 0.05, 0.01 and 0.001, where there is an admissible test.
    loo : bool, optional
        The expected log predictive density of posteriors by :func:`bayesmlm.loo`.  By default only of those that hold
        their pointwise log-likelihood already.

    Returns
    -------
    ModelTable
        A data frame of cells: ``part, row``, and a column per fit.  It prints as a table, has a clean form in a
        notebook, and :func:`bayesmlm.export` writes it.

    Raises
    ------
    FitError
        For what is no fit, a style that does not exist, and ratios under a link that has none.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"), name="m")
    >>> print("\\n".join(str(bm.model_table(m.fit_ml(), m.fit_gee())).splitlines()[:9]))
                                                  m                   m
                                                 ML                 GEE
                                   given the groups population-averaged
    Fixed effects
    Intercept                        -0.700 (0.085)      -0.672 (0.094)
    urban[Y]                            0.65 (0.12)         0.61 (0.15)
    Between and within groups
    SD of Intercept | district        0.434 (0.076)
    Scale                                               1.0050 (0.0079)
    """
    if style not in TABLE_STYLES:
        raise FitError(f'there is no style "{style}" of a table of models; {among(style, TABLE_STYLES)}')
    check_fits("model_table", *fits)
    if not fits:
        raise FitError("model_table takes fits, such as model.fit_ml() gives: give at least one")
    check_level(level)
    from bayesmlm.sheets.models import ModelTable

    tables = [_table(fit, exponentiate, level) for fit in fits]
    parts = {
        "Fixed effects": _estimates(fits, tables, ("fixed",), style, stars),
        "Between and within groups": _estimates(
            fits, tables, ("sd", "cor", "residual", "scale", "alpha"), style, False
        ),
        "Fit": _statistics(fits, loo),
    }
    header = _header(fits)
    notes = _notes(fits, header, style, exponentiate, level, stars)
    return ModelTable.of_parts(header, parts, notes)


# columns --------------------------------------------------------------------------------------------------


def _header(fits: Sequence[Any]) -> list[str]:
    """Name and reading of each fit, a line each."""
    names = [fit.name if fit.model.spec.name else f"({i})" for i, fit in enumerate(fits, start=1)]
    header = [f"{name}\n{_reading(fit)}" for name, fit in zip(names, fits, strict=True)]
    if len(set(header)) < len(header):
        header = [f"{name}\n{_reading(fit)}" for name, fit in zip(unique_names(fits), fits, strict=True)]
    return header


def _reading(fit: Any) -> str:
    """How it was fitted, and what its coefficients are of."""
    engine = _ENGINES[fit.engine]
    if fit.reading == "likelihood" and fit.solution.reml:
        engine = "REML"
    if fit.reading == "population":
        return f"{engine}\npopulation-averaged"
    return f"{engine}\ngiven the groups" if fit.design.groups else engine


# estimates ------------------------------------------------------------------------------------------------


def _table(fit: Any, exponentiate: bool, level: float) -> pd.DataFrame:
    table = fit.table(level)
    if not exponentiate:
        return table
    try:
        return exponentiated(table, fit.design.family)
    except FitError as error:
        raise FitError(f"{fit.name}: {error}") from None


def _estimates(
    fits: Sequence[Any], tables: Sequence[pd.DataFrame], components: Sequence[str], style: str, stars: bool
) -> Rows:
    """Cells of estimates, component by component."""
    rows: Rows = {}
    for component in components:
        rows |= _component(fits, tables, component, style, stars)
    return rows


def _component(fits: Sequence[Any], tables: Sequence[pd.DataFrame], component: str, style: str, stars: bool) -> Rows:
    """Cells of one component; a row that a later fit has stands after what it stands after there."""
    cells: Rows = {}
    order: list[str] = []
    for i, (fit, table) in enumerate(zip(fits, tables, strict=True)):
        tests = _p_values(fit) if stars else {}
        own = [(_name(row), row) for row in table[table.component == component].to_dict("records")]
        place = 0 if any(name in order for name, _ in own) else len(order)
        for name, row in own:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
            cells.setdefault(name, {})[i] = _cell(row, style, _stars(tests.get(row["term"], np.nan)))
    return {name: cells[name] for name in order}


def _name(row: dict[str, Any]) -> str:
    component, term, group = row["component"], row["term"], row["group"]
    if component in ("sd", "cor"):
        return f"{'SD' if component == 'sd' else 'Correlation'} of {term.replace(',', ', ')} | {group}"
    if component == "alpha":
        return f"Working correlation | {group}" if term == "alpha" else f"Working correlation {term} | {group}"
    return {"residual": "SD of the residual", "scale": "Scale"}.get(component, str(term))


def _cell(row: dict[str, Any], style: str, mark: str) -> str:
    error = row["std_error"]
    estimate = f"{like_error(row['estimate'], error, 2)}{mark}"
    if not np.isfinite(error):
        return estimate
    if style == "se":
        return f"{estimate} ({like_error(error, error, 2)})"
    return f"{estimate} [{like_error(row['conf_low'], error, 2)}, {like_error(row['conf_high'], error, 2)}]"


def _t_tested(fit: Any) -> bool:
    """Whether tests are from t, as in the report."""
    return bool(fit.reading == "likelihood" and fit.design.family.name == "gaussian")


def _p_values(fit: Any) -> dict[str, float]:
    """p by term, where there is an admissible test."""
    df = "satterthwaite" if _t_tested(fit) else None
    untested = fit._untested(df)
    if fit.reading not in ("likelihood", "population") or "" in untested:
        return {}
    table = fit.table(df=df)
    fixed = table[table.component == "fixed"]
    return {term: p for term, p in zip(fixed.term, fixed.p_value, strict=True) if term not in untested}


def _stars(p: float) -> str:
    return "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else ""


# statistics -----------------------------------------------------------------------------------------------


def _statistics(fits: Sequence[Any], loo: bool | None) -> Rows:
    rows: Rows = {}
    for i, fit in enumerate(fits):
        for name, cell in _of(fit, loo).items():
            rows.setdefault(name, {})[i] = cell
    # What only some fits have stands beside its like.
    rank = {first: place for place, first in enumerate(_ORDER)}
    return dict(sorted(rows.items(), key=lambda row: rank[row[0].partition(" of ")[0]]))


def _of(fit: Any, loo: bool | None) -> dict[str, str]:
    """Statistics of a fit, those it has."""
    out = {"Observations": str(fit.nobs)}
    if fit.reading == "population":
        out[f"Clusters of {fit.options.groups}"] = str(fit.solution.sizes[0])
        return out | {"QIC": f"{fit.qic().qic:.1f}"}
    out |= {f"Groups of {group.name}": str(group.n_levels) for group in fit.design.groups}
    icc, r2 = _or_nothing(fit.icc) if fit.design.groups else None, _or_nothing(fit.r2)
    if icc is not None:
        out |= {f"ICC of {name}": f"{value:.2f}" for name, value in icc.items()}
    if r2 is not None:
        out |= {"R² (fixed effects)": f"{r2.marginal:.2f}"}
        out |= {"R² (total)": f"{r2.conditional:.2f}"} if fit.design.groups else {}
    if fit.reading == "likelihood":
        if fit.solution.reml:
            out["REML criterion"] = f"{fit.reml_criterion:.1f}"
        else:
            out["Log-likelihood"] = f"{fit.loglik:.1f}"
        out |= {"AIC": f"{fit.aic:.1f}", "BIC": f"{fit.bic:.1f}"}
    if fit.reading == "posterior" and (loo or (loo is None and "log_likelihood" in fit.tree.children)):
        from bayesmlm.cross_validation import loo as leave_one_out

        found = leave_one_out(fit)
        out["ELPD (LOO)"] = f"{found.elpd:.1f} ({found.se:.1f})"
    return out


def _or_nothing(fact: Callable[[], Any]) -> Any:
    try:
        return fact()
    except BayesmlmError:  # not defined for this response
        return None


def _ratio_words(fits: Sequence[Any], word: str) -> str:
    """What exp() of the coefficients is, and of those that are compared with nothing: a row may hold both."""
    own = [fit for fit in fits if ratio_word(fit.design.family) == word]
    named = {}
    for fit in own:
        terms = baseline_terms(fit.design)
        if terms == ("Intercept",):
            named["of the intercept"] = True
        elif terms:
            named[f"of {', '.join(terms)}{f' in {fit.name}' if len(fits) > 1 else ''}"] = True
    return f"{word}s ({', '.join([*named, baseline_word(own[0].design.family)])})" if named else f"{word}s"


# notes ----------------------------------------------------------------------------------------------------


def _notes(
    fits: Sequence[Any], header: Sequence[str], style: str, exponentiate: bool, level: float, stars: bool
) -> list[str]:
    """What the cells are, the models, and what a reader must know of them."""
    readings = {fit.reading for fit in fits}
    beside = "standard errors" if style == "se" else f"{100 * level:g} % intervals"
    what = f"Estimates with {beside}"
    if "posterior" in readings:
        of = "standard deviations" if style == "se" else "equal-tailed intervals"
        what += f"; of posteriors, means with {of}"
    out = [f"{what}."]
    if exponentiate:
        ratios = " and ".join(dict.fromkeys(_ratio_words(fits, ratio_word(fit.design.family)) for fit in fits))
        by = ", with standard errors by the delta method" if style == "se" else ""
        out.append(f"Fixed effects are {ratios}{by}.")
    if stars:
        tests = "Wald; of gaussian likelihoods t, Satterthwaite" if any(map(_t_tested, fits)) else "Wald"
        out.append(f"* p < 0.05, ** p < 0.01, *** p < 0.001 ({tests}), where the test is admissible.")
    if "population" in readings and any(fit.design.groups for fit in fits):
        out.append(
            "Coefficients of a GEE are averaged over the population, those of the others are given the groups: they "
            "differ even where both models are right, under any link but the identity."
        )
    for i, (fit, name) in enumerate(zip(fits, header, strict=True)):
        label = name.replace("\n", ", ")
        formula = fit.model.design.formula
        if name.partition("\n")[0] not in [other.partition("\n")[0] for other in header[:i]]:
            out.append(f"{name.partition(chr(10))[0]}: {formula.text}, {fit.design.family}.")
        if not fit.converged:
            out.append(f"{label} cannot be relied on. {fit.diagnostics().verdict}")
    return out
