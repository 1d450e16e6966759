"""Rows by the groups they belong to, by the levels of a factor, or by bins of a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.arguments import check_count
from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.frames import column_names, level_text, select
from bayesmlm.partitions import grouping_of

__all__ = ["Split", "splits_by_column", "splits_by_group"]

Array = np.ndarray[Any, Any]

BINS = 10
"""Bins of a number; one with fewer values has a bin for each."""


@dataclass(frozen=True, slots=True)
class Split:
    """Rows in parts.

    Attributes
    ----------
    name : str
        Of the grouping or column.
    labels : tuple of str
        Of the parts.
    codes : ndarray of int, shape (n,)
    values : ndarray, shape (n,), or None
        Of a number, itself.
    """

    name: str
    labels: tuple[str, ...]
    codes: Array
    values: Array | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def sums(self, values: Array) -> Array:
        """Sums over the parts, (sets, n) -> (sets, parts)."""
        return np.stack([np.bincount(self.codes, row, len(self)) for row in values])


def splits_by_group(model: Any, names: Sequence[str] | None) -> list[Split]:
    """A split for each grouping named (the model's by default), or column of its data.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> model = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception"))
    >>> [(split.name, len(split)) for split in splits_by_group(model, None)]
    [('district', 60)]
    """
    design: Design = model.design
    if names is None:
        names = list(dict.fromkeys(group.name for group in design.groups))
    out = []
    for name in names:
        codes, labels = grouping_of(model, name)
        out.append(Split(name, labels, codes))
    return out


def splits_by_column(model: Any, names: Sequence[str] | None, bins: int = BINS) -> list[Split]:
    """A split for each predictor named (those of the fixed effects by default): levels of a factor, bins of a number.

    Raises
    ------
    FitError
        For a name that is no column.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> model = bm.Model("use ~ age + urban + (1 | district)", bm.load_dataset("contraception"))
    >>> [(split.name, split.labels[:2]) for split in splits_by_column(model, None, 5)]
    [('age', ('-13.6 to -8.56', '-7.56 to -3.56')), ('urban', ('N', 'Y'))]
    """
    design: Design = model.design
    bins = check_count("bins", bins)
    known = column_names(model.data)
    names = design.formula.fixed_columns if names is None else names
    out = []
    for name in names:
        if name not in known:
            raise FitError(f'there is no column "{name}" in the data; {among(name, known)}')
        column = select(model.data, [name])[name].iloc[design.rows]
        if column.isna().any():
            raise FitError(f'column "{name}" is missing in some of the rows the model uses, so that it parts no rows')
        if column.dtype.kind in "fiu":
            out.append(_binned(name, column.to_numpy(dtype=float), bins))
        else:
            codes, labels = grouping_of(model, name)
            out.append(Split(name, labels, codes))
    return out


def _binned(name: str, values: Array, bins: int) -> Split:
    """Bins with about as many rows each, the same value never in two."""
    distinct = np.unique(values)
    if len(distinct) <= bins:
        return Split(
            name, tuple(level_text(one) for one in distinct.tolist()), np.searchsorted(distinct, values), values
        )
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
    codes = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
    ends = [(values[codes == code].min(), values[codes == code].max()) for code in range(codes.max() + 1)]
    return Split(
        name, tuple(f"{low:.3g} to {high:.3g}" if low < high else f"{low:.3g}" for low, high in ends), codes, values
    )
