"""The spread between groups in sentences.  No test is made of a standard deviation: zero is the end of its range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.prose.effects import limits_words
from bayesmlm.prose.words import number

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["group_sentences"]


def group_sentences(fit: Any, table: pd.DataFrame, level: float) -> list[str]:
    """A sentence per standard deviation and correlation; the intraclass correlation beside the first of a grouping."""
    out, said = [], set()
    icc = _icc(fit)
    for row in table[table.component.isin(["sd", "cor"])].to_dict("records"):
        share = f"; ICC {icc[row['group']]:.2f}" if row["group"] in icc and row["group"] not in said else ""
        said.add(row["group"])
        what = _what(row["component"], row["term"], row["group"])
        if not np.isfinite(row["std_error"]):
            end = "zero" if row["component"] == "sd" and row["estimate"] == 0.0 else number(row["estimate"])
            if not np.isfinite(row["estimate"]):
                out.append(f"{what} is not defined.")
                continue
            place = "the end of its range" if end in ("zero", "1.00", "−1.00") else "where the fit is singular"
            out.append(f"{what} is estimated at {end}, {place}, so that it has no interval and no test{share}.")
            continue
        out.append(f"{what} is {number(row['estimate'], row['std_error'])} ({limits_words(fit, row, level)}{share}).")
    return out


def _what(component: str, term: str, group: str) -> str:
    if component == "cor":
        a, _, b = term.partition(",")
        return f"The correlation of {_effect(a)} and {_effect(b)} between groups of {group}"
    return f"The standard deviation of {_effect(term)} between groups of {group}"


def _effect(term: str) -> str:
    return "the intercept" if term == "Intercept" else f"the effect of {term}"


def _icc(fit: Any) -> Any:
    if not fit.design.groups:
        return {}
    try:
        return fit.icc()
    except FitError:
        return {}
