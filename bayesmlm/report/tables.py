"""Tables of the page: cells with what they are sorted by, in a box that scrolls sideways where the screen is narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.sheets.numbers import format_number, rounded_p

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COMPONENTS", "Cell", "Column", "Part", "frame_table", "table"]

HEADINGS = {
    "group": "group", "term": "term", "ml_estimate": "ML estimate", "ml_se": "SE", "map_estimate": "posterior mode",
    "map_se": "SE", "post_mean": "posterior mean", "post_sd": "SD", "gee_estimate": "GEE estimate", "gee_se": "SE",
    "difference": "difference in SDs",
    "npar": "parameters", "aic": "AIC", "bic": "BIC",
    "loglik": "log-likelihood", "chisq": "χ²", "df": "df", "p_value": "p", "elpd": "ELPD", "se": "SE",
    "p": "effective parameters", "elpd_diff": "ELPD difference", "dse": "SE of difference", "weight": "weight",
    "bad_k": "k̂ too high", "model": "model", "rank": "rank",
}  # fmt: skip
"""What columns are called in the report."""

ERRORS = {"_estimate": "_se", "_mean": "_sd"}
"""Endings of columns whose digits follow a standard error, and that of the column it is in."""

DECIMALS = {"aic": 1, "bic": 1, "loglik": 2, "chisq": 2, "df": 0, "difference": 2, "elpd": 1, "se": 1, "p": 1,
            "elpd_diff": 1, "dse": 1, "weight": 2}  # fmt: skip
"""Decimals of the other columns."""

COMPONENTS = {
    "fixed": "Fixed effects", "fixed conditional": "Fixed effects within a group",
    "fixed population": "Fixed effects averaged over groups", "sd": "Standard deviations between groups",
    "cor": "Correlations between groups", "residual": "Residual", "scale": "Scale", "alpha": "Working correlation",
}  # fmt: skip
"""Headings of the parts of a table of estimates."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell says, and the number it is sorted by; None sorts by the words."""

    text: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and whether numbers stand below it."""

    heading: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that belong together, below a heading that may be empty; they are sorted among themselves."""

    heading: str
    rows: Sequence[Sequence[Cell]]


def table(caption: str, columns: Sequence[Column], parts: Sequence[Part], sortable: bool = True) -> str:
    """Write a table; the script of the page makes it sortable, but one whose rows are of different kinds.

    Examples
    --------
    >>> text = table("Odds", [Column("term", False), Column("odds")], [Part("", [[Cell("a < b"), Cell("−1.2", -1.2)]])])
    >>> '<td class="number" data-value="-1.2">−1.2</td>' in text, "a &lt; b" in text
    (True, True)
    """
    kind = [' class="number"' if column.numeric else "" for column in columns]
    head = "".join(
        f'<th scope="col"{what}>{escape(column.heading)}</th>' for column, what in zip(columns, kind, strict=True)
    )
    bodies = []
    for part in parts:
        title = (
            f'<tr class="part"><th scope="rowgroup" colspan="{len(columns)}">{escape(part.heading)}</th></tr>'
            if part.heading
            else ""
        )
        rows = ("".join(f"<td{what}{_key(cell)}>{escape(cell.text)}</td>" for cell, what in zip(row, kind, strict=True))
                for row in part.rows)  # fmt: skip
        bodies.append(f"<tbody>{title}{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody>")
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f"<table{' class="sortable"' if sortable else ''}><caption><span>{escape(caption)}</span></caption>"
        f"<thead><tr>{head}</tr></thead>{''.join(bodies)}</table></div>"
    )


def _key(cell: Cell) -> str:
    if cell.value is None or np.isnan(cell.value):
        return ""
    # As the script reads it.
    number = f"{cell.value:.10g}".replace("inf", "Infinity")
    return f' data-value="{number}"'


def frame_table(frame: pd.DataFrame, caption: str, parts: str | None = None) -> str:
    """Write a data frame of results as a table.

    Parameters
    ----------
    frame : pandas.DataFrame
    caption : str
    parts : str, optional
        A column that is not shown but divides the rows, with a heading for each part.
    """
    names = [str(name) for name in frame.columns if name != parts]
    # A name reads better than an empty group at the head of a row.
    names.sort(key=lambda name: name != "term")
    columns = [Column(_heading(name), frame[name].dtype.kind in "fiu") for name in names]
    divided: dict[str, list[list[Cell]]] = {}
    for row in frame.to_dict("records"):
        key = "" if parts is None else str(row[parts])
        divided.setdefault(key, []).append([_cell(row, name) for name in names])
    return table(caption, columns, [Part(COMPONENTS.get(key, key), rows) for key, rows in divided.items()])


def _heading(name: str) -> str:
    return HEADINGS.get(name, name.replace("_", " "))


def _cell(row: Mapping[Any, Any], name: str) -> Cell:
    value = row[name]
    if isinstance(value, str):
        return Cell(value)
    if name == "p_value":
        return Cell(rounded_p(float(value)), float(value))
    return Cell(format_number(value, error=_error(row, name), decimals=DECIMALS.get(name)), float(value))


def _error(row: Mapping[Any, Any], name: str) -> float | None:
    """Standard error beside an estimate, or the one that the column itself holds."""
    for estimate, error in ERRORS.items():
        if name.endswith(estimate) and name.removesuffix(estimate) + error in row:
            return float(row[name.removesuffix(estimate) + error])
        if name.endswith(error) and name.removesuffix(error) + estimate in row:
            return float(row[name])
    return None
