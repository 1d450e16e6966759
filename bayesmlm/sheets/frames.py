"""A table of results as a sheet: its columns by the names people know, its numbers with the digits they deserve."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.sheets.grid import Grid, Sheet
from bayesmlm.sheets.numbers import format_p, like_error, rounded

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sheet_of"]

HEADINGS = {
    "estimate": "Estimate", "std_error": "SE", "conf_low": "low", "conf_high": "high", "p_value": "p",
    "ess_bulk": "ESS bulk", "ess_tail": "ESS tail", "rhat": "R-hat", "ml_estimate": "ML", "ml_se": "SE",
    "map_estimate": "mode", "map_se": "SE", "gee_estimate": "GEE", "gee_se": "SE", "post_mean": "posterior mean",
    "post_sd": "SD", "difference": "difference in SDs", "log_evidence": "log evidence",
    "npar": "parameters", "aic": "AIC", "aicc": "AICc", "bic": "BIC", "loglik": "log-likelihood", "chisq": "χ²",
    "elpd": "ELPD", "se": "SE", "p": "effective parameters", "elpd_diff": "ELPD difference", "dse": "SE of difference",
    "bad_k": "k̂ too high", "evidence_ratio": "evidence ratio", "p_direction": "probability of direction",
}  # fmt: skip
"""What columns are called where it is not their name."""

_DECIMALS = {"aic": 1, "aicc": 1, "bic": 1, "loglik": 1, "delta": 1, "chisq": 2, "df": 0, "statistic": 2,
             "difference": 2, "elpd": 1, "se": 1, "p": 1, "elpd_diff": 1, "dse": 1, "weight": 2, "probability": 3,
             "rhat": 3, "ess_bulk": 0, "ess_tail": 0, "log_evidence": 1, "p_direction": 3}  # fmt: skip
"""Decimals of columns that do not follow a standard error."""

_ERRORS = dict.fromkeys(("estimate", "std_error", "conf_low", "conf_high"), "std_error")

_COMPONENTS = {"fixed": "Fixed effects", "sd": "Standard deviations between groups",
               "cor": "Correlations between groups", "residual": "Residual", "scale": "Scale",
               "alpha": "Working correlation", "ranef": "Group effects"}  # fmt: skip

_SAID = ("estimand", "interval")


def sheet_of(frame: pd.DataFrame) -> Sheet:
    """Lay out a table of results.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of this package's verbs, or any other: rows of a ``component`` get a heading, columns that are empty everywhere
        are left out, and what ``attrs`` say of the table stands below it.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> sheet_of(fit.table())[0].rows[2]
    ('urban[Y]', '', '0.650', '0.115', '0.424', '0.876', '5.63', '1.80e-08')
    """
    if frame.index.dtype.kind not in "iu":
        frame = frame.rename_axis(frame.index.name or "").reset_index()
    names = [str(name) for name in frame.columns]
    frame = frame.set_axis(names, axis=1)
    words = [name for name in names if frame[name].dtype.kind not in "fiu"]
    shown = [name for name in names if not (frame[name].isna() | (frame[name] == "")).all()]
    parted = "component" in shown
    if parted:
        shown.remove("component")
    order = sorted(shown, key=lambda name: (name not in words, parted and name != "term"))
    rows: list[tuple[str, ...]] = []
    part = None
    for record in frame.to_dict("records"):
        if parted and record["component"] != part:
            part = record["component"]
            rows.append((_COMPONENTS.get(str(part), str(part)),))
        rows.append(tuple(_cell(record, name) for name in order))
    limits = _limits(str(frame.attrs.get("interval", "")))
    header = tuple(limits.get(name) or _heading(name) for name in order)
    return (Grid(header, tuple(rows), sum(name in words for name in order)), *_notes(frame))


def _heading(name: str) -> str:
    """A column's heading; that of one fit among several begins with the fit's name."""
    fit, space, column = name.rpartition(" ")
    return f"{fit}{space}{HEADINGS.get(column, column)}"


def _limits(interval: str) -> dict[str, str]:
    """Headings of limits: the quantiles they stand for, where the table says its level."""
    level = re.match(r"(\d+(?:\.\d+)?)%", interval)
    if level is None:
        return {}
    tail = (100.0 - float(level[1])) / 2.0
    return {"conf_low": f"{tail:g} %", "conf_high": f"{100.0 - tail:g} %"}


def _error_of(name: str) -> str:
    """The column with the standard error of another one."""
    for end, error in (("_estimate", "_se"), ("_mean", "_sd")):
        if name.endswith(end):
            return f"{name.removesuffix(end)}{error}"
    return name if name.endswith(("_se", "_sd")) else _ERRORS.get(name, "")


def _cell(record: Mapping[Any, Any], name: str) -> str:
    value = record[name]
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if not isinstance(value, int | float | np.number):
        return "" if value is None else str(value)
    if np.isnan(value):
        return ""
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    if name == "p_value":
        return format_p(float(value))
    error = _error_of(name)
    if error and error in record:  # an index without a name is a column named ""
        return like_error(float(value), float(record[error]), 3)
    if isinstance(value, int | np.integer):
        return str(int(value))
    return f"{value:.{_DECIMALS[name]}f}" if name in _DECIMALS else rounded(float(value), 3)


def _notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """What a table says of itself, in sentences."""
    said = [str(frame.attrs[key]) for key in _SAID if frame.attrs.get(key)]
    line = "; ".join(said)
    first = (f"{line[0].upper()}{line[1:]}.",) if line else ()
    return (*first, *map(str, frame.attrs.get("notes", ())))
