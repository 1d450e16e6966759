"""The observations of a model: which rows of the data it takes, and the weights, frequencies and offsets they carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.bars import Formula
from bayesmlm.errors import DataError
from bayesmlm.frames import complete_rows, select
from bayesmlm.response import listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_counts", "complete", "extra", "without_unused_levels"]

Array = np.ndarray[Any, Any]


def extra(name: str, given: Any, data: Any, n: int) -> Array | None:
    """Weights, frequencies or an offset: a column name or an array of the data's length.

    Examples
    --------
    >>> extra("weights", "w", {"w": [1, 2]}, 2).tolist(), extra("offset", None, {"w": [1, 2]}, 2)
    ([1.0, 2.0], None)
    """
    if given is None:
        return None
    values = select(data, [given])[given].to_numpy() if isinstance(given, str) else np.asarray(given)
    if values.dtype.kind not in "fiub":
        raise DataError(f"{name} should be numbers, not {listed(values)}")
    if values.shape != (n,):
        raise DataError(f"{name} has {values.size} values for {n} rows of data")
    return values.astype(float)


def complete(
    frame: pd.DataFrame, extras: Mapping[str, Array | None], formula: Formula, na_action: str
) -> tuple[Array, list[str]]:
    """Mark the rows without a missing value, shape (n,), and note how many are left out."""
    if na_action not in ("drop", "error"):
        raise DataError(f'na_action should be "drop" or "error", not "{na_action}"')
    given, n = {name: values for name, values in extras.items() if values is not None}, len(frame)
    keep = complete_rows(frame, given)
    if keep.all():
        return keep, []
    if not keep.any():
        raise DataError(f"no row is complete: each of the {n} rows misses one of {', '.join(formula.columns)}")
    holes = [str(name) for name in frame.columns if frame[name].isna().any()]
    holes += [name for name, values in given.items() if np.isnan(values).any()]
    lost = np.flatnonzero(~keep)
    if na_action == "error":
        first = ", ".join(map(str, lost[:5])) + (", …" if len(lost) > 5 else "")
        raise DataError(
            f"{len(lost)} of {n} rows miss a value in {', '.join(holes)} (counting from 0: {first}); fill them in, or "
            f'leave the rows out with na_action="drop"'
        )
    were = "was" if len(lost) == 1 else "were"
    return keep, [f"{len(lost)} of {n} rows {were} left out because a value is missing in {', '.join(holes)}."]


def without_unused_levels(frame: pd.DataFrame, formula: Formula) -> pd.DataFrame:
    """The frame with factors that have the levels they take only; the response keeps its own."""
    for name, values in frame.items():
        if values.dtype == "category" and name not in formula.response_columns:
            counts = np.bincount(values.array.codes, minlength=len(values.array.categories))
            if not counts.all():
                frame[name] = values.array.remove_unused_categories()
    return frame


def check_counts(picked: Mapping[str, Array | None], frame: pd.DataFrame) -> None:
    """Refuse weights and frequencies that no row can have."""
    for name in ("weights", "freq"):
        values = picked[name]
        if values is not None and (values < 0).any():
            raise DataError(f"{name} is negative in row {int(frame.index[np.argmax(values < 0)])} (counting from 0)")
    freq = picked["freq"]
    if freq is not None and (freq != np.round(freq)).any():
        raise DataError("freq should be whole numbers: it repeats rows; for other weights use weights=")
