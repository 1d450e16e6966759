"""The parts that summaries are made of: how a fit was made, its coefficients, its random effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.ratios import baseline_terms, baseline_word, exponentiated, ratio_word
from bayesmlm.sheets import Grid, Lines
from bayesmlm.sheets.numbers import decimals_of, format_p, like_error

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["correlations", "counts", "fixed_effects", "head", "is_gaussian", "kind_of", "random_effects", "residual",
           "scaled_residuals"]  # fmt: skip

_ROWS = 10_000_000
"""Draws times rows of the fitted means that the residuals of a posterior are taken from."""


def is_gaussian(fit: Any) -> bool:
    """Whether the response is normal."""
    return fit.design.family.name == "gaussian"


def kind_of(fit: Any) -> str:
    """What was fitted, and how: lme4's first line."""
    if fit.reading == "posterior":
        sizes = fit.tree["posterior"].sizes
        if fit.engine == "marginal":
            return f"Posterior by {fit.tree.attrs['sampler']}: {sizes['draw']} draws"
        return f"Posterior by NUTS: {sizes['chain']} chains × {sizes['draw']} draws"
    name = "linear mixed model" if fit.design.groups else "linear model"
    name = name if is_gaussian(fit) else f"generalized {name}"
    if fit.engine == "map":
        how = f"{name}: posterior mode"
    else:
        how = f"{name} fit by {'REML' if fit.solution.reml else 'maximum likelihood'}"
    how = how[0].upper() + how[1:]
    if is_gaussian(fit) or not fit.design.groups:
        return how
    points = fit.solution.n_agq
    approximations = {0: "Laplace approximation, fast: n_agq = 0", 1: "Laplace approximation"}
    return f"{how} ({approximations.get(points, f'adaptive Gauss-Hermite quadrature, {points} points')})"


def head(fit: Any, kind: str) -> Lines:
    """The lines at the top: what, of which family, formula and event."""
    design = fit.design
    lines = [kind] if is_gaussian(fit) else [kind, f" Family: {design.family}"]
    lines.append(f"Formula: {design.formula.text}")
    if design.response.event:
        lines.append(f"  Event: {design.response.name} = {design.response.event}")
    return Lines(tuple(lines))


def counts(fit: Any) -> str:
    """Observations and groups."""
    groups = "; ".join(dict.fromkeys(f"{g.name}, {g.n_levels}" for g in fit.design.groups))
    return f"Number of obs: {fit.nobs}" + (f", groups: {groups}" if groups else "")


# coefficients ---------------------------------------------------------------------------------------------


def _columns(fit: Any, table: pd.DataFrame, exponentiate: bool) -> dict[str, str]:
    """Heading to column of the coefficients; a ratio has limits instead of an error, which would not be symmetric."""
    limits = {"2.5 %": "conf_low", "97.5 %": "conf_high"}
    ratio = {ratio_word(fit.design.family).capitalize(): "estimate", **limits} if exponentiate else None
    if fit.reading == "posterior":
        out = ratio or {"Mean": "estimate", "SD": "std_error", **limits}
        out |= {"R-hat": "rhat", "ESS bulk": "ess_bulk", "ESS tail": "ess_tail"}
        if fit.engine == "marginal":
            del out["R-hat"]
        return out
    if fit.engine == "map":
        return ratio or {"Mode": "estimate", "Std. Error": "std_error", **limits}
    out = ratio or {"Estimate": "estimate", "Std. Error": "std_error"}
    if "df" in table:
        return out | {"df": "df", "t value": "statistic", "Pr(>|t|)": "p_value"}
    if is_gaussian(fit) and fit.engine == "ml":
        # lme4 gives no p-value for a Gaussian model, lmerTest one with degrees of freedom.
        return out | {"t value": "statistic"}
    return out | {"z value": "statistic", "Pr(>|z|)": "p_value"}


def baselines(fit: Any) -> list[str]:
    """What exp() of coefficients that are compared with nothing is; empty where there are none."""
    terms = ["the intercept" if term == "Intercept" else term for term in baseline_terms(fit.design)]
    named = ", ".join(terms) if len(terms) < 4 else f"{terms[0]} … {terms[-1]}"
    return [f"of {named}, {baseline_word(fit.design.family)}"] if terms else []


def fixed_effects(fit: Any, table: pd.DataFrame, exponentiate: bool, title: str = "Fixed effects") -> Grid | None:
    """The coefficients, or their exponentials; None where there are no coefficients."""
    columns = _columns(fit, table, exponentiate)
    if exponentiate:
        table = exponentiated(table, fit.design.family)
    form = {"df": ".1f" if fit.reading != "population" else ".0f", "statistic": ".3f", "rhat": ".3f",
            "ess_bulk": ".0f", "ess_tail": ".0f"}  # fmt: skip
    rows = []
    for row in table[table.component == "fixed"].to_dict("records"):
        cells = [
            format_p(row[name]) if name == "p_value"
            else format(row[name], form[name]) if name in form
            # One number of decimals per table would hide a small coefficient: significant digits by row.
            else like_error(row[name], row["std_error"])
            for name in columns.values()
        ]  # fmt: skip
        rows.append((row["term"], *cells))
    if not rows:
        return None
    if exponentiate:
        of = "".join(f"; {words}" for words in baselines(fit))
        title = f"{title} as {ratio_word(fit.design.family)}s{of}"
    return Grid(("", *columns), tuple(rows), title=f"{title}:")


def correlations(fit: Any, title: str = "Correlation of fixed effects") -> Grid | None:
    """Correlations of the estimates, below the diagonal."""
    matrix = fit.correlation()
    terms = [str(term) for term in matrix.index]
    if len(terms) < 2:
        return None
    rows = [
        (terms[i], *(f"{matrix.iloc[i, j]:.3f}" if j < i else "" for j in range(len(terms) - 1)))
        for i in range(1, len(terms))
    ]
    short = [term[:9] for term in terms]
    heads = [cut if short.count(cut) == 1 else term for cut, term in zip(short, terms, strict=True)]
    return Grid(("", *heads[:-1]), tuple(rows), title=f"{title}:")


def scaled_residuals(fit: Any) -> Grid:
    """Quartiles of Pearson's residuals, over σ or the root of the scale."""
    if fit.reading == "posterior":
        sizes = fit.tree["posterior"].sizes
        draws = max(100, _ROWS // len(fit.design.rows))
        fit = fit.thinned(draws) if draws < sizes["chain"] * sizes["draw"] else fit
    values = fit.residuals("pearson")
    if is_gaussian(fit) or fit.reading == "population":
        values = values / np.sqrt(fit.solution.scale if fit.reading == "population" else fit.residual_variance)
    quantiles = np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1])
    return Grid(
        ("Min", "1Q", "Median", "3Q", "Max"), (tuple(f"{q:.4f}" for q in quantiles),), left=0, title="Scaled residuals:"
    )


# random effects -------------------------------------------------------------------------------------------


def random_effects(fit: Any, table: pd.DataFrame) -> Grid:
    """Standard deviations and correlations of the groups' effects, and the counts below."""
    return (_sampled if fit.reading == "posterior" else _variances)(fit, table)


def _sampled(fit: Any, table: pd.DataFrame) -> Grid:
    columns = _columns(fit, table, False)
    rows = []
    for row in table[table.component.isin(["sd", "cor", "residual"])].to_dict("records"):
        name = "sigma" if row["component"] == "residual" else f"{row['component']}({row['term']})"
        numbers = [
            f"{row[column]:.3f}" if column == "rhat"
            else f"{row[column]:.0f}" if column.startswith("ess")
            else like_error(row[column], row["std_error"], 3)
            for column in columns.values()
        ]  # fmt: skip
        rows.append((f" {row['group'] or 'Residual'}", name, *numbers))
    return Grid((" Groups", "Name", *columns), tuple(rows), left=2, title="Random effects:", below=counts(fit))


def _variances(fit: Any, table: pd.DataFrame) -> Grid:
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
    if is_gaussian(fit):
        labels.append(("Residual", ""))
        sds += table.estimate[table.component == "residual"].tolist()
        beside.append("")
    clear = [value for value in sds if value > 1e-4]  # the others are zero but for rounding
    variance, sd = decimals_of(np.square(clear)), decimals_of(clear)
    rows = [
        (f" {name}", term, f"{value**2:.{variance}f}", f"{value:.{sd}f}")
        for (name, term), value in zip(labels, sds, strict=True)
    ]
    header: tuple[str, ...] = (" Groups", "Name", "Variance", "Std.Dev.")
    if any(beside):
        wide = max(map(len, beside))
        header = (*header, "Corr".ljust(wide))
        rows = [(*row, cell.ljust(wide)) for row, cell in zip(rows, beside, strict=True)]  # type: ignore[misc]
    return Grid(header, tuple(rows), left=2, title="Random effects:", below=counts(fit))


def residual(fit: Any) -> str:
    """The one standard deviation of a linear model without groups."""
    sigma = float(np.sqrt(fit.residual_variance))
    return f"Residual standard deviation: {sigma:.{decimals_of([sigma])}f}"
