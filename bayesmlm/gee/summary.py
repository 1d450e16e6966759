"""A GEE as a sheet: what R's gee and geepack print, in the layout of the other readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesmlm.gee.options import FLAVOURS
from bayesmlm.sheets import Grid, Lines, Sheet
from bayesmlm.sheets.numbers import like_error
from bayesmlm.summary import check_style
from bayesmlm.summary.concise import trouble
from bayesmlm.summary.full import own_notes
from bayesmlm.summary.parts import correlations, fixed_effects, head, scaled_residuals

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ERRORS", "population_sheet"]

_MOST_VISITS = 8
"""Rows of a working correlation that are shown."""

ERRORS = {
    "robust": "robust standard errors",
    "naive": "naive standard errors",
    "bias_corrected": "Mancl & DeRouen's standard errors",
    "mancl_derouen": "Mancl & DeRouen's standard errors",
    "kauermann_carroll": "Kauermann & Carroll's standard errors",
    "fay_graubard": "Fay & Graubard's standard errors",
}
"""What each kind of standard error is called."""


def population_sheet(fit: Any, style: str | None = None, df: str | None = None, exponentiate: bool = False) -> Sheet:
    """What :meth:`bayesmlm.gee.fit.GEEFit.summary` says, as a sheet.

    Raises
    ------
    FitError
        For a style that does not exist, degrees of freedom that the fit has not, and ratios of a link without any.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban", bm.load_dataset("contraception")).fit_gee(groups="district")
    >>> population_sheet(fit)[0].lines[0]
    'Generalised estimating equations, exchangeable working correlation'
    """
    style, table = check_style(fit, style, exponentiate), fit.table(df=df)
    coefficients = fixed_effects(fit, table, exponentiate, f"Coefficients of the population ({ERRORS[fit.options.se]})")
    if style == "concise":
        parts: list[Grid | Lines | str | None] = [
            Grid((), tuple(_facts(fit))), coefficients, _association(fit, table), *trouble(fit)
        ]  # fmt: skip
    else:
        found = fit.qic()
        criteria = Grid(("QIC", "QICu", "CIC"), ((f"{found.qic:.1f}", f"{found.qicu:.1f}", f"{found.cic:.2f}"),), 0)
        parts = [
            _head(fit), criteria, scaled_residuals(fit), coefficients, _association(fit, table), _working(fit),
            correlations(fit, "Correlation of coefficients"), *own_notes(fit),
        ]  # fmt: skip
    return tuple(part for part in parts if part)


def _clusters(fit: Any) -> str:
    n_clusters, least, most = fit.solution.sizes
    rows = f"{least} row{'s' if least > 1 else ''}" if least == most else f"{least} to {most} rows"
    return f"{fit.options.groups}, {n_clusters} of {rows}"


def _head(fit: Any) -> Lines:
    options = fit.options
    said = FLAVOURS[options.flavour]
    kind = f"Generalised estimating equations, {options.corr} working correlation{f' ({said})' if said else ''}"
    lines = head(fit, kind).lines
    if fit.design.family.name == "gaussian":
        lines = (lines[0], f" Family: {fit.design.family}", *lines[1:])
    return Lines((*lines, f"Number of obs: {fit.nobs}, clusters: {_clusters(fit)}"))


def _facts(fit: Any) -> list[tuple[str, str]]:
    options, design = fit.options, fit.design
    return [
        ("Observations", str(fit.nobs)),
        ("Clusters", _clusters(fit)),
        ("Response", design.response.name),
        ("Type", "generalised estimating equations, population-averaged"),
        ("Family", str(design.family)),
        ("Working correlation", options.corr),
    ]


def _association(fit: Any, table: pd.DataFrame) -> Grid:
    rows = [
        (
            f" {row.term}" if row.component == "scale" else f" alpha {row.term}".replace("alpha alpha", "alpha"),
            like_error(row.estimate, row.std_error), like_error(row.std_error, row.std_error),
        )
        for row in table[table.component != "fixed"].itertuples()
    ]  # fmt: skip
    title = "Scale and correlations:" if len(rows) > 1 else "Scale:"
    if fit.options.scale is not None:
        title += " (the scale is fixed)"
    return Grid(("", "Estimate", "Std. Error"), tuple(rows), title=title)


def _working(fit: Any) -> Grid | None:
    # One correlation says all of the others.
    if fit.options.corr not in ("unstructured", "fixed") or not fit.solution.visits:
        return None
    matrix = fit.working_correlation()
    shown = matrix.iloc[:_MOST_VISITS, :_MOST_VISITS]
    rows = tuple(
        (str(name), *(f"{value:.3f}" for value in row)) for name, row in zip(shown.index, shown.values, strict=True)
    )
    title = (
        "Working correlation:"
        if len(shown) == len(matrix)
        else f"Working correlation of the first {_MOST_VISITS} of {len(matrix)} visits:"
    )
    return Grid(("", *map(str, shown.columns)), rows, title=title)
