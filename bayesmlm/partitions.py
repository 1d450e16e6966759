"""Rows in groups: a grouping of a model or a column of its data as codes, and which groups lie within others."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.frames import column_names, level_text, select

__all__ = ["grouping_of", "is_within", "same_groups"]

Array = np.ndarray[Any, Any]


def is_within(inner: Array, outer: Array) -> bool:
    """Whether each group of ``inner`` lies in one group of ``outer``; codes of the same rows.

    Examples
    --------
    >>> town, school = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])
    >>> is_within(school, town), is_within(town, school)
    (True, False)
    """
    pairs = np.unique(np.stack([inner, outer]), axis=1)
    return bool(pairs.shape[1] == len(np.unique(inner)))


def same_groups(a: Array, b: Array) -> bool:
    """Whether two sets of codes group the rows alike."""
    return is_within(a, b) and is_within(b, a)


def grouping_of(model: Any, name: str) -> tuple[Array, tuple[str, ...]]:
    """Codes (n,) and labels of a grouping of the model, or of a column of its data.

    Raises
    ------
    FitError, DataError
        For a name that is neither, or a column with missing values.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> model = bm.Model("use ~ age + (1 | urban:district)", bm.load_dataset("contraception"))
    >>> codes, labels = grouping_of(model, "district")
    >>> len(codes), len(labels), labels[:2]
    (1934, 60, ('1', '2'))
    """
    design: Design = model.design
    for group in design.groups:
        if group.name == name:
            # Only the groups that the rows have: a model of part of the data keeps the names of all.
            used, codes = np.unique(group.codes, return_inverse=True)
            return codes, tuple(group.levels[place] for place in used)
    known = list(dict.fromkeys([*(group.name for group in design.groups), *column_names(model.data)]))
    if not isinstance(name, str) or name not in known:
        raise FitError(f'there is no grouping or column "{name}" in the data; {among(name, known)}')
    column = select(model.data, [name])[name].iloc[design.rows]
    if column.isna().any():
        row = int(design.rows[int(np.argmax(column.isna().to_numpy()))])
        raise DataError(f'column "{name}" is missing in row {row} (counting from 0), so that it groups no rows')
    if column.dtype == "category":
        column = column.cat.remove_unused_categories()
        return column.cat.codes.to_numpy(), tuple(level_text(level) for level in column.cat.categories)
    levels, codes = np.unique(column.to_numpy(), return_inverse=True)
    return codes, tuple(level_text(level) for level in levels.tolist())
