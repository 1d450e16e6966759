"""Contrasts between the rows of a table: all pairs, each with the first or with the one before, or given weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.frames import level_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONTRASTS", "Contrasts", "contrasts_of", "row_names"]

Array = np.ndarray[Any, Any]

CONTRASTS = ("pairwise", "reference", "sequential")
"""Ways to contrast the rows of a table."""

_MANY = 200
"""Rows beyond which nobody reads contrasts."""


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Contrasts of m quantities.

    Attributes
    ----------
    weights : ndarray, shape (r, m)
    labels : list of str
    pairs_of : int
        m where they are all pairs, else 0.
    """

    weights: Array
    labels: list[str]
    pairs_of: int


def contrasts_of(names: list[str], hypothesis: Any, ratios: bool) -> Contrasts:
    """Weights of the contrasts asked for; a later row minus an earlier one.

    Parameters
    ----------
    names : list of str
        Of the rows.
    hypothesis : str or mapping
        One of :data:`CONTRASTS`, or names of contrasts and their weights, one per row.
    ratios : bool
        The rows are ratios, and so are their contrasts: ``a / b``.

    Raises
    ------
    FitError
        For a way that does not exist, a single row, or weights of another length.

    Examples
    --------
    >>> contrasts_of(["a", "b", "c"], "pairwise", False).labels
    ['b - a', 'c - a', 'c - b']
    >>> contrasts_of(["a", "b", "c"], {"c - (a + b) / 2": [-0.5, -0.5, 1]}, False).weights.tolist()
    [[-0.5, -0.5, 1.0]]
    """
    m = len(names)
    if m > _MANY:
        raise FitError(f"the table has {m} rows, too many to contrast with each other; average within by= first")
    if isinstance(hypothesis, Mapping):
        if not hypothesis:
            raise FitError("hypothesis= has no contrast: give weights by name")
        rows = [_weights(name, given) for name, given in hypothesis.items()]
        for name, row in zip(hypothesis, rows, strict=True):
            if row.shape != (m,):
                raise FitError(f'the contrast "{name}" has {row.size} weights for {m} rows ({", ".join(names)})')
        return Contrasts(np.array(rows).reshape(-1, m), [str(name) for name in hypothesis], 0)
    if not isinstance(hypothesis, str) or hypothesis not in CONTRASTS:
        raise FitError(f"there is no hypothesis {hypothesis!r}; {among(hypothesis, CONTRASTS)}, or weights by name")
    if m < 2:
        raise FitError(f'there is one row only, and nothing to contrast it with by "{hypothesis}"')
    ways = {
        "pairwise": list(combinations(range(m), 2)),
        "reference": [(0, j) for j in range(1, m)],
        "sequential": [(j - 1, j) for j in range(1, m)],
    }
    pairs = ways[hypothesis]
    weights = np.zeros((len(pairs), m))
    for row, (before, after) in zip(weights, pairs, strict=True):
        row[before], row[after] = -1.0, 1.0
    sign = "/" if ratios else "-"
    labels = [f"{names[after]} {sign} {names[before]}" for before, after in pairs]
    return Contrasts(weights, labels, m if hypothesis == "pairwise" else 0)


def _weights(name: str, given: Any) -> Array:
    try:
        row = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        row = np.array([np.nan])
    if not np.isfinite(row).all():
        raise FitError(f'the contrast "{name}" should have numbers for weights, one per row, not {given!r}')
    return row


def row_names(labels: pd.DataFrame) -> list[str]:
    """What tells the rows of a table apart, in words.

    Examples
    --------
    >>> import pandas as pd
    >>> row_names(pd.DataFrame({"ch": ["N", "Y"], "term": "urban", "contrast": "Y - N"}))
    ['(Y - N, ch = N)', '(Y - N, ch = Y)']
    >>> row_names(pd.DataFrame({"livch": ["0", "3+"]}))
    ['0', '3+']
    """
    own = [name for name in labels if name not in ("term", "contrast")]
    several = "term" in labels and labels.term.nunique() > 1
    out = []
    for row in labels.to_dict("records"):
        values = [level_text(row[name]) for name in own]
        if "contrast" not in row:
            out.append(values[0] if len(values) == 1 else f"({', '.join(values)})")
            continue
        said = [f"{row['term']}: {row['contrast']}" if several else str(row["contrast"])]
        said += [f"{name} = {value}" for name, value in zip(own, values, strict=True)]
        out.append(f"({', '.join(said)})")
    return out
