"""Fits as text: lme4's layout, and a concise one."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError, among

if TYPE_CHECKING:
    import pandas as pd

    from bayesmlm.fit import Fit

__all__ = ["STYLES", "format_p", "summarise"]

STYLES = ("full", "concise")
"""Styles of a summary."""


def format_p(p: float) -> str:
    """A p-value as R prints it.

    Examples
    --------
    >>> format_p(0.03614), format_p(0.001451), format_p(1e-12), format_p(1e-20)
    ('0.0361', '0.00145', '1.00e-12', '<2e-16')
    """
    return "" if np.isnan(p) else "<2e-16" if p < 2e-16 else f"{p:#.3g}"


def _significant(value: float, digits: int = 4) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.{digits}g}" if value and abs(value) < 1e-3 else f"{value:.{digits}f}"


def _block(header: list[str], rows: list[list[str]], left: int = 1) -> str:
    """Columns aligned: the first ``left`` to the left, numbers to the right."""
    widths = [max(len(line[j]) for line in [header, *rows]) for j in range(len(header))]
    return "\n".join(
        " ".join(
            cell.ljust(w) if j < left else cell.rjust(w) for j, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [header, *rows]
    )


def _head(fit: Any) -> list[str]:
    design = fit.design
    if fit.engine != "ml":
        sizes = fit.tree["posterior"].sizes
        kind = f"Posterior by NUTS: {sizes['chain']} chains × {sizes['draw']} draws"
    elif not design.groups:
        kind = "Generalized linear model fit by maximum likelihood"
    else:
        points = fit.solution.n_agq
        how = "Laplace approximation" if points == 1 else f"adaptive Gauss-Hermite quadrature, {points} points"
        kind = f"Generalized linear mixed model fit by maximum likelihood ({how})"
    lines = [kind, f" Family: {design.family}", f"Formula: {design.formula.text}"]
    if design.response.event:
        lines.append(f"  Event: {design.response.name} = {design.response.event}")
    return lines


def _counts(fit: Fit) -> str:
    groups = "; ".join(dict.fromkeys(f"{g.name}, {g.n_levels}" for g in fit.design.groups))
    return f"Number of obs: {fit.nobs}" + (f", groups: {groups}" if groups else "")


def _random_effects(table: pd.DataFrame, posterior: bool) -> str:
    sd, cor = table[table.component == "sd"], table[table.component == "cor"]
    rows = []
    for row in sd.itertuples():
        cells = [str(row.group), str(row.term), _significant(row.estimate**2), _significant(row.estimate)]
        if posterior:
            cells[2:3] = []
            cells += [_significant(row.std_error), _significant(row.conf_low), _significant(row.conf_high)]
        rows.append(cells)
    for row in cor.itertuples():
        cells = [str(row.group), f"cor {row.term}", f"{row.estimate:.2f}"]
        rows.append(cells + [""] * (len(rows[0]) - 3))
    header = (
        ["Groups", "Name", "Std.Dev.", "SD", "2.5 %", "97.5 %"]
        if posterior
        else ["Groups", "Name", "Variance", "Std.Dev."]
    )
    return "Random effects:\n" + _block([" " + header[0], *header[1:]], [[" " + r[0], *r[1:]] for r in rows], left=2)


def _fixed_effects(table: pd.DataFrame, posterior: bool) -> str:
    fixed = table[table.component == "fixed"]
    # One number of decimals per table would hide a small coefficient: significant digits by row.
    rows = []
    for row in fixed.itertuples():
        digits = 4 if not row.std_error > 0 else max(4, int(np.ceil(-np.log10(row.std_error))) + 3)
        numbers = [f"{row.estimate:.{digits}f}", f"{row.std_error:.{digits}f}"]
        if posterior:
            rows.append(
                [row.term, *numbers, f"{row.conf_low:.{digits}f}", f"{row.conf_high:.{digits}f}",
                 f"{row.rhat:.3f}", f"{row.ess_bulk:.0f}", f"{row.ess_tail:.0f}"]
            )  # fmt: skip
        else:
            rows.append([row.term, *numbers, f"{row.statistic:.3f}", format_p(row.p_value)])
    header = (
        ["", "Mean", "SD", "2.5 %", "97.5 %", "R-hat", "ESS bulk", "ESS tail"]
        if posterior
        else ["", "Estimate", "Std. Error", "z value", "Pr(>|z|)"]
    )
    return "Fixed effects:\n" + _block(header, rows)


def _correlations(fit: Fit) -> str:
    matrix = fit.correlation()
    terms = [str(term) for term in matrix.index]
    if len(terms) < 2:
        return ""
    rows = [
        [terms[i], *(f"{matrix.iloc[i, j]:.3f}" if j < i else "" for j in range(len(terms) - 1))]
        for i in range(1, len(terms))
    ]
    return "Correlation of fixed effects:\n" + _block(["", *(term[:9] for term in terms[:-1])], rows)


def _scaled_residuals(fit: Fit) -> str:
    quantiles = np.quantile(fit.residuals("pearson"), [0, 0.25, 0.5, 0.75, 1])
    return "Scaled residuals:\n" + _block(
        ["Min", "1Q", "Median", "3Q", "Max"], [[f"{q:.4f}" for q in quantiles]], left=0
    )


def _criteria(fit: Any) -> str:
    values = [fit.aic, fit.bic, fit.loglik, fit.deviance]
    return _block(
        ["AIC", "BIC", "logLik", "deviance", "df.resid"],
        [[*(f"{v:.1f}" for v in values), str(fit.df_resid)]],
        left=0,
    )


def _full(fit: Any) -> str:
    table, posterior = fit.table(), fit.engine != "ml"
    parts = ["\n".join(_head(fit))]
    if not posterior:
        parts += [_criteria(fit), _scaled_residuals(fit)]
    if fit.design.groups:
        parts.append(_random_effects(table, posterior) + "\n" + _counts(fit))
    else:
        parts.append(_counts(fit))
    # The event stands in the head already.
    notes = [note for note in fit.notes if not note.startswith("The response counts")]
    parts += [_fixed_effects(table, posterior), _correlations(fit), "\n".join(fill(note, 79) for note in notes)]
    return "\n\n".join(part for part in parts if part)


def _concise(fit: Any) -> str:
    table, posterior = fit.table(), fit.engine != "ml"
    facts = [
        ["Observations", str(fit.nobs)],
        ["Response", fit.design.response.name],
        ["Family", str(fit.design.family)],
    ]
    if not posterior:
        facts += [["AIC", f"{fit.aic:.2f}"], ["BIC", f"{fit.bic:.2f}"]]
    if fit.design.family.link.residual_variance is not None:
        r2 = fit.r2()
        facts += [["R² (fixed effects)", f"{r2.marginal:.2f}"], ["R² (total)", f"{r2.conditional:.2f}"]]
    parts = [_block(facts[0], facts[1:]), _fixed_effects(table, posterior)]
    if fit.design.groups:
        icc = fit.icc() if fit.design.family.link.residual_variance is not None else {}
        rows = [
            [row.group, row.term, f"{row.estimate:.2f}",
             str(next(g.n_levels for g in fit.design.groups if g.name == row.group)),
             f"{icc[row.group]:.2f}" if row.group in icc else ""]
            for row in table[table.component == "sd"].itertuples()
        ]  # fmt: skip
        parts.append("Groups:\n" + _block(["Group", "Name", "Std.Dev.", "levels", "ICC"], rows, left=2))
    return "\n\n".join(parts)


def summarise(fit: Fit, style: str | None = None) -> str:
    """Text of a fit.

    Parameters
    ----------
    fit : Fit
    style : {"full", "concise"}, optional

    Raises
    ------
    FitError
        For a style that does not exist.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + urban + livch + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> print(fit.summary().splitlines()[0])
    Generalized linear mixed model fit by maximum likelihood (Laplace approximation)
    """
    style = style or "full"
    if style not in STYLES:
        raise FitError(f'there is no summary style "{style}"; {among(style, STYLES)}')
    return _full(fit) if style == "full" else _concise(fit)
