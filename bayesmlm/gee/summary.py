"""A GEE as text: what R's gee and geepack print, in the layout of the other readings."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.gee.options import FLAVOURS
from bayesmlm.summary import STYLES, format_p

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["summarise_gee"]

_MOST_VISITS = 8
"""Rows of a working correlation that are printed."""

_SE = {
    "robust": "robust standard errors",
    "naive": "naive standard errors",
    "bias_corrected": "Mancl & DeRouen's standard errors",
    "mancl_derouen": "Mancl & DeRouen's standard errors",
    "kauermann_carroll": "Kauermann & Carroll's standard errors",
    "fay_graubard": "Fay & Graubard's standard errors",
}


def _block(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned: the first to the left, numbers to the right."""
    lines = [header, *rows]
    widths = [max(len(line[j]) for line in lines) for j in range(len(header))]
    return "\n".join(
        " ".join(cell.rjust(w) if j else cell.ljust(w) for j, (cell, w) in enumerate(zip(line, widths, strict=True)))
        .rstrip() for line in lines
    )  # fmt: skip


def _number(value: float, like: float) -> str:
    """A number with the decimals that show another to four digits."""
    if np.isnan(value):
        return ""
    size = abs(like) if np.isfinite(like) and like else abs(value)
    decimals = int(np.clip(3 - np.floor(np.log10(size)), 0, 12)) if size > 0.0 else 4
    return f"{value:.{decimals}f}"


def _head(fit: Any) -> str:
    design, options = fit.design, fit.options
    said = FLAVOURS[options.flavour]
    n_clusters, least, most = fit.solution.sizes
    rows = f"{least} row{'s' if least > 1 else ''}" if least == most else f"{least} to {most} rows"
    lines = [
        f"Generalised estimating equations, {options.corr} working correlation{f' ({said})' if said else ''}",
        f" Family: {design.family}",
        f"Formula: {design.formula.text}",
    ]
    if design.response.event:
        lines.append(f"  Event: {design.response.name} = {design.response.event}")
    return "\n".join([*lines, f"Number of obs: {fit.nobs}, clusters: {options.groups}, {n_clusters} of {rows}"])


def _coefficients(fit: Any, table: pd.DataFrame) -> str:
    letter = "t" if "df" in table else "z"
    header = ["", "Estimate", "Std. Error", *(["df"] if "df" in table else []), f"{letter} value", f"Pr(>|{letter}|)"]
    rows = []
    for row in table[table.component == "fixed"].to_dict("records"):
        degrees = [f"{row['df']:.0f}"] if "df" in table else []
        numbers = [_number(row[name], row["std_error"]) for name in ("estimate", "std_error")]
        rows.append([row["term"], *numbers, *degrees, f"{row['statistic']:.3f}", format_p(row["p_value"])])
    return f"Coefficients of the population ({_SE[fit.options.se]}):\n" + _block(header, rows)


def _association(fit: Any, table: pd.DataFrame) -> str:
    rows = [
        [
            f" {row.term}" if row.component == "scale" else f" alpha {row.term}".replace("alpha alpha", "alpha"),
            _number(row.estimate, row.std_error), _number(row.std_error, row.std_error),
        ]
        for row in table[table.component != "fixed"].itertuples()
    ]  # fmt: skip
    title = "Scale and correlations:" if len(rows) > 1 else "Scale:"
    if fit.options.scale is not None:
        title += " (the scale is fixed)"
    return f"{title}\n" + _block(["", "Estimate", "Std. Error"], rows)


def _working(fit: Any) -> str:
    # One correlation says all of the others.
    if fit.options.corr not in ("unstructured", "fixed") or not fit.solution.visits:
        return ""
    matrix = fit.working_correlation()
    shown = matrix.iloc[:_MOST_VISITS, :_MOST_VISITS]
    rows = [
        [str(name), *(f"{value:.3f}" for value in row)] for name, row in zip(shown.index, shown.values, strict=True)
    ]
    title = (
        "Working correlation:"
        if len(shown) == len(matrix)
        else (f"Working correlation of the first {_MOST_VISITS} of {len(matrix)} visits:")
    )
    return f"{title}\n" + _block(["", *map(str, shown.columns)], rows)


def _correlations(fit: Any) -> str:
    matrix = fit.correlation()
    terms = [str(term) for term in matrix.index]
    if len(terms) < 2:
        return ""
    rows = [
        [terms[i], *(f"{matrix.iloc[i, j]:.3f}" if j < i else "" for j in range(len(terms) - 1))]
        for i in range(1, len(terms))
    ]
    return "Correlation of coefficients:\n" + _block(["", *(term[:9] for term in terms[:-1])], rows)


def _residuals(fit: Any) -> str:
    residuals = fit.residuals("pearson") / np.sqrt(fit.solution.scale)
    quantiles = np.nanquantile(residuals, [0, 0.25, 0.5, 0.75, 1])
    return "Scaled residuals:\n" + _block(
        [" " * 8, "Min", "1Q", "Median", "3Q", "Max"], [["", *(f"{q:.4f}" for q in quantiles)]]
    )


def _criteria(fit: Any) -> str:
    found = fit.qic()
    return _block(["", "QIC", "QICu", "CIC"], [["", f"{found.qic:.1f}", f"{found.qicu:.1f}", f"{found.cic:.2f}"]])


def summarise_gee(fit: Any, style: str | None = None, df: str | None = None) -> str:
    """Text of a GEE.

    Parameters
    ----------
    fit : GEEFit
    style : {"full", "concise"}, optional
    df : {"clusters"}, optional

    Raises
    ------
    FitError
        For a style that does not exist.
    """
    style = style or "full"
    if style not in STYLES:
        raise FitError(f'there is no summary style "{style}"; {among(style, STYLES)}')
    table = fit.table(df=df)
    if style == "concise":
        return "\n\n".join([_head(fit), _coefficients(fit, table), _association(fit, table)])
    # The event stands in the head already.
    notes = [fill(note, 79) for note in fit.notes if not note.startswith("The response counts")]
    parts = [
        _head(fit), _criteria(fit), _residuals(fit), _coefficients(fit, table), _association(fit, table),
        _working(fit), _correlations(fit), "\n".join(notes),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)
