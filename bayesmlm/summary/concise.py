"""The concise summary of a fit: statistics, coefficients, groups; the layout of R's jtools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesmlm.errors import FitError
from bayesmlm.sheets import Grid, Lines, Sheet
from bayesmlm.sheets.numbers import decimals_of
from bayesmlm.summary.parts import fixed_effects, is_gaussian, kind_of, residual

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["concise", "trouble"]


def concise(fit: Any, table: pd.DataFrame, exponentiate: bool) -> Sheet:
    """Fit statistics with R², coefficients, groups with their counts and ICC; a verdict where there is trouble."""
    groups = _groups(fit, table) if fit.design.groups else Lines((residual(fit),)) if is_gaussian(fit) else None
    parts = [Grid((), tuple(_facts(fit))), fixed_effects(fit, table, exponentiate), groups, *trouble(fit)]
    return tuple(part for part in parts if part)


def trouble(fit: Any) -> list[str]:
    """The verdict: of draws always, of estimates where it is not that all is well."""
    found = fit.diagnostics()
    return [] if found.ok and fit.reading != "posterior" else [found.verdict]


def _facts(fit: Any) -> list[tuple[str, str]]:
    facts = [("Observations", str(fit.nobs)), ("Response", fit.design.response.name), ("Type", _type(fit))]
    facts.append(("Family", str(fit.design.family)))
    if fit.reading == "posterior":
        facts.append(("Draws", kind_of(fit).rpartition(": ")[2].removesuffix(" draws")))
    else:
        facts += [("REML criterion", f"{fit.reml_criterion:.2f}")] if fit.solution.reml else []
        if fit.reading == "mode":  # its likelihood is not at its maximum
            facts.append(("Log-posterior", f"{fit.log_posterior:.2f}"))
        else:
            facts += [("AIC", f"{fit.aic:.2f}"), ("BIC", f"{fit.bic:.2f}")]
    try:
        r2 = fit.r2()
        facts += [("R² (fixed effects)", f"{r2.marginal:.2f}"), ("R² (total)", f"{r2.conditional:.2f}")]
    except FitError:  # a response without variance
        pass
    return facts


def _type(fit: Any) -> str:
    mixed = "mixed " if fit.design.groups else ""
    return f"{mixed}linear model" if is_gaussian(fit) else f"{mixed}generalized linear model"


def _groups(fit: Any, table: pd.DataFrame) -> Grid:
    try:
        icc = fit.icc()
    except FitError:
        icc = {}
    sds = table[table.component.isin(["sd", "residual"])]
    decimals = max(2, decimals_of(sds.estimate, 2)) if is_gaussian(fit) else 2
    levels = {group.name: str(group.n_levels) for group in fit.design.groups}
    first = ~sds.group.duplicated()  # an intraclass correlation is of a grouping, not of its slopes
    rows = tuple(
        (row.group or "Residual", row.term if row.group else "", f"{row.estimate:.{decimals}f}",
         levels.get(row.group, ""), f"{icc[row.group]:.2f}" if new and row.group in icc else "")
        for row, new in zip(sds.itertuples(), first, strict=True)
    )  # fmt: skip
    return Grid(("Group", "Name", "Std.Dev.", "levels", "ICC"), rows, left=2, title="Groups:")
