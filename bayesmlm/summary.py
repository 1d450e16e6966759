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


def _is_sampled(fit: Fit) -> bool:
    return fit.engine not in ("ml", "map")


def _is_gaussian(fit: Fit) -> bool:
    return fit.design.family.name == "gaussian"


def _kind(fit: Any) -> str:
    """What was fitted, and how: lme4's first line."""
    if _is_sampled(fit):
        sizes = fit.tree["posterior"].sizes
        return f"Posterior by NUTS: {sizes['chain']} chains × {sizes['draw']} draws"
    name = "linear mixed model" if fit.design.groups else "linear model"
    name = name if _is_gaussian(fit) else f"generalized {name}"
    if fit.engine == "map":
        how = f"{name}: posterior mode"
    else:
        how = f"{name} fit by {'REML' if fit.solution.reml else 'maximum likelihood'}"
    how = how[0].upper() + how[1:]
    if _is_gaussian(fit) or not fit.design.groups:
        return how
    points = fit.solution.n_agq
    approximations = {0: "Laplace approximation, fast: n_agq = 0", 1: "Laplace approximation"}
    return f"{how} ({approximations.get(points, f'adaptive Gauss-Hermite quadrature, {points} points')})"


def _head(fit: Any, table: pd.DataFrame) -> list[str]:
    design = fit.design
    family = [] if _is_gaussian(fit) else [f" Family: {design.family}"]
    tested = ". t tests use Satterthwaite's method" if "df" in table else ""
    lines = [f"{_kind(fit)}{tested}", *family, f"Formula: {design.formula.text}"]
    if design.response.event:
        lines.append(f"  Event: {design.response.name} = {design.response.event}")
    return lines


def _counts(fit: Fit) -> str:
    groups = "; ".join(dict.fromkeys(f"{g.name}, {g.n_levels}" for g in fit.design.groups))
    return f"Number of obs: {fit.nobs}" + (f", groups: {groups}" if groups else "")


def _decimals(values: Any, digits: int = 4) -> int:
    """Decimals that show the smallest number of a column to so many significant digits; zeros need none."""
    sizes = np.abs(np.asarray(values, dtype=float))
    sizes = sizes[np.isfinite(sizes) & (sizes > 0.0)]
    return int(np.clip(digits - 1 - np.floor(np.log10(sizes.min())), 0, 12)) if len(sizes) else digits


def _random_effects(fit: Fit, table: pd.DataFrame) -> str:
    return "Random effects:\n" + (_sampled_sds(table) if _is_sampled(fit) else _variances(fit, table))


def _sampled_sds(table: pd.DataFrame) -> str:
    rows = []
    for row in table[table.component.isin(["sd", "residual"])].itertuples():
        numbers = (row.estimate, row.std_error, row.conf_low, row.conf_high)
        rows.append([f" {row.group or 'Residual'}", str(row.term), *map(_significant, numbers)])
    for row in table[table.component == "cor"].itertuples():
        rows.append([f" {row.group}", f"cor {row.term}", f"{row.estimate:.2f}", "", "", ""])
    return _block([" Groups", "Name", "Std.Dev.", "SD", "2.5 %", "97.5 %"], rows, left=2)


def _variances(fit: Fit, table: pd.DataFrame) -> str:
    """lme4's block: a term's name once, its correlations beside the standard deviations."""
    sds = table.estimate[table.component == "sd"].tolist()
    cors = iter(table.estimate[table.component == "cor"])
    labels, beside = [], []
    for group in fit.design.groups:
        k = len(group.terms)
        R = np.eye(k)
        # The table's pairs run along the upper triangle.
        for place in zip(*np.triu_indices(k, 1), strict=True):
            R[place] = next(cors)
        labels += [(group.name if a == 0 else "", term) for a, term in enumerate(group.terms)]
        beside += [" ".join(f"{value:5.2f}".replace("nan", "NaN") for value in R[:a, a]) for a in range(k)]
    if _is_gaussian(fit):
        labels.append(("Residual", ""))
        sds += table.estimate[table.component == "residual"].tolist()
        beside.append("")
    clear = [value for value in sds if value > 1e-4]  # the others are zero but for rounding
    variance, sd = _decimals(np.square(clear)), _decimals(clear)
    rows = [
        [f" {name}", term, f"{value**2:.{variance}f}", f"{value:.{sd}f}"]
        for (name, term), value in zip(labels, sds, strict=True)
    ]
    header = [" Groups", "Name", "Variance", "Std.Dev."]
    if any(beside):
        wide = max(map(len, beside))
        header, rows = [*header, "Corr".ljust(wide)], [[*r, c.ljust(wide)] for r, c in zip(rows, beside, strict=True)]
    return _block(header, rows, left=2)


def _residual(fit: Any) -> str:
    """The one standard deviation of a linear model without groups."""
    return f"Residual standard deviation: {fit.sigma:.{_decimals([fit.sigma])}f}"


def _fixed_effects(fit: Fit, table: pd.DataFrame) -> str:
    # lme4 gives no p-value for a Gaussian model, lmerTest one with degrees of freedom; a posterior has intervals.
    columns = {
        "ml": {"Estimate": "estimate", "Std. Error": "std_error", "z value": "statistic", "Pr(>|z|)": "p_value"},
        "map": {"Mode": "estimate", "Std. Error": "std_error", "2.5 %": "conf_low", "97.5 %": "conf_high"},
    }.get(
        fit.engine,
        {"Mean": "estimate", "SD": "std_error", "2.5 %": "conf_low", "97.5 %": "conf_high", "R-hat": "rhat",
         "ESS bulk": "ess_bulk", "ESS tail": "ess_tail"},
    )  # fmt: skip
    if fit.engine == "ml" and _is_gaussian(fit):
        columns = {"Estimate": "estimate", "Std. Error": "std_error", "t value": "statistic"}
    if "df" in table:
        columns = {"Estimate": "estimate", "Std. Error": "std_error", "df": "df", "t value": "statistic",
                   "Pr(>|t|)": "p_value"}  # fmt: skip
    form = {"df": ".1f", "statistic": ".3f", "rhat": ".3f", "ess_bulk": ".0f", "ess_tail": ".0f"}
    fixed = table[table.component == "fixed"].to_dict("records")
    if not fixed:
        return ""
    rows = []
    for row in fixed:
        # One number of decimals per table would hide a small coefficient: significant digits by row.
        own = f".{_decimals([row['std_error']])}f"
        cells = [format_p(row[c]) if c == "p_value" else format(row[c], form.get(c, own)) for c in columns.values()]
        rows.append([row["term"], *cells])
    return "Fixed effects:\n" + _block(["", *columns], rows)


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


def _scaled_residuals(fit: Any) -> str:
    residuals = fit.residuals("pearson") / (fit.sigma if _is_gaussian(fit) else 1.0)
    quantiles = np.quantile(residuals, [0, 0.25, 0.5, 0.75, 1])
    return "Scaled residuals:\n" + _block(
        ["Min", "1Q", "Median", "3Q", "Max"], [[f"{q:.4f}" for q in quantiles]], left=0
    )


def _criteria(fit: Any) -> str:
    if fit.solution.reml:
        return f"REML criterion at convergence: {fit.reml_criterion:.1f}"
    values = [fit.aic, fit.bic, fit.loglik, fit.deviance]
    block = _block(
        ["AIC", "BIC", "logLik", "deviance", "df.resid"],
        [[*(f"{v:.1f}" for v in values), str(fit.df_resid)]],
        left=0,
    )
    if fit.engine == "map":
        block += (
            f"\nLog-posterior: {fit.log_posterior:.1f} (log-likelihood {fit.loglik:.1f}, log-prior {fit.log_prior:.1f})"
        )
    return block


def _full(fit: Any, table: pd.DataFrame) -> str:
    parts = ["\n".join(_head(fit, table))]
    if not _is_sampled(fit):
        parts += [_criteria(fit), _scaled_residuals(fit)]
    above = _random_effects(fit, table) if fit.design.groups else _residual(fit) if _is_gaussian(fit) else ""
    parts.append(f"{above}\n{_counts(fit)}".lstrip())
    # The event stands in the head already.
    notes = [note for note in fit.notes if not note.startswith("The response counts")]
    parts += [_fixed_effects(fit, table), _correlations(fit), "\n".join(fill(note, 79) for note in notes)]
    return "\n\n".join(part for part in parts if part)


def _concise(fit: Any, table: pd.DataFrame) -> str:
    facts = [
        ["Observations", str(fit.nobs)],
        ["Response", fit.design.response.name],
        ["Family", str(fit.design.family)],
    ]
    if not _is_sampled(fit):
        facts += [["REML criterion", f"{fit.reml_criterion:.2f}"]] if fit.solution.reml else []
        facts += [["AIC", f"{fit.aic:.2f}"], ["BIC", f"{fit.bic:.2f}"]]
    has_shares = fit.residual_variance is not None
    if has_shares:
        r2 = fit.r2()
        facts += [["R² (fixed effects)", f"{r2.marginal:.2f}"], ["R² (total)", f"{r2.conditional:.2f}"]]
    parts = [_block(facts[0], facts[1:]), _fixed_effects(fit, table)]
    if fit.design.groups:
        icc = fit.icc() if has_shares else {}
        sds = table[table.component.isin(["sd", "residual"])]
        decimals = max(2, _decimals(sds.estimate, 2)) if _is_gaussian(fit) else 2
        rows = [
            [row.group or "Residual", row.term if row.group else "", f"{row.estimate:.{decimals}f}",
             next((str(g.n_levels) for g in fit.design.groups if g.name == row.group), ""),
             f"{icc[row.group]:.2f}" if row.group in icc else ""]
            for row in sds.itertuples()
        ]  # fmt: skip
        parts.append("Groups:\n" + _block(["Group", "Name", "Std.Dev.", "levels", "ICC"], rows, left=2))
    elif _is_gaussian(fit):
        parts.append(_residual(fit))
    return "\n\n".join(part for part in parts if part)


def summarise(fit: Fit, style: str | None = None, df: str | None = None) -> str:
    """Text of a fit.

    Parameters
    ----------
    fit : Fit
    style : {"full", "concise"}, optional
    df : {"satterthwaite"}, optional
        Of a Gaussian model: t tests of the fixed effects, laid out as lmerTest does.

    Raises
    ------
    FitError
        For a style that does not exist, and degrees of freedom that the fit has not.

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
    table = fit.table(df=df)
    return _full(fit, table) if style == "full" else _concise(fit, table)
