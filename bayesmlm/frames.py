"""Data frames in: any library narwhals knows -> the used columns as pandas, levels in order, incomplete rows named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import DataError, among
from bayesmlm.expressions import evaluate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["complete_rows", "prepare", "select"]


def _native(data: Any) -> Any:
    import narwhals.stable.v2 as nw

    try:
        frame = nw.from_native(data)
    except TypeError:
        raise DataError(
            f"the data are a {type(data).__name__}, not a data frame; give a pandas, polars or pyarrow table"
        ) from None
    return frame.collect() if isinstance(frame, nw.LazyFrame) else frame


def select(data: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Take columns out of any data frame, as pandas; booleans become factors, as in R.

    Parameters
    ----------
    data : data frame
        pandas, polars, pyarrow or another library narwhals reads; or a mapping of arrays.
    columns : sequence of str

    Returns
    -------
    pandas.DataFrame
        Its index is the row's position in ``data``.

    Raises
    ------
    DataError
        For a column that is not there, or data without rows.

    Examples
    --------
    >>> select({"y": [0, 1], "g": ["a", "b"]}, ["g"]).g.tolist()
    ['a', 'b']
    >>> select({"y": [0, 1]}, ["x"])
    Traceback (most recent call last):
        ...
    bayesmlm.errors.DataError: the data have no column "x"; there are: y
    """
    import narwhals.stable.v2 as nw
    import pandas as pd

    frame = _native(pd.DataFrame(data) if isinstance(data, Mapping) else data)
    for name in columns:
        if name not in frame.columns:
            raise DataError(f'the data have no column "{name}"; {among(name, frame.columns)}')
    if len(frame) == 0:
        raise DataError("the data have no rows; check how they were read or filtered")
    taken: dict[str, Any] = {}
    for name in columns:
        series = frame[name]
        dtype = series.dtype
        if dtype in (nw.Categorical, nw.Enum):
            levels = series.cat.get_categories().to_list()
            taken[name] = pd.Categorical(series.to_list(), categories=levels)
        elif dtype == nw.Boolean:
            taken[name] = pd.Categorical(series.to_list(), categories=[False, True])
        elif dtype.is_numeric():
            taken[name] = series.to_numpy()
        elif dtype in (nw.String, nw.Object):
            taken[name] = pd.Series(series.to_list(), dtype="str" if dtype == nw.String else None).to_numpy(
                dtype=object
            )
        else:
            raise DataError(
                f'column "{name}" holds {dtype}, which a model cannot use; turn it into numbers or text first'
            )
    return pd.DataFrame(taken, index=pd.RangeIndex(len(frame)))


def complete_rows(frame: pd.DataFrame, numeric: Mapping[str, Any] | None = None) -> np.ndarray[Any, Any]:
    """Mark the rows without a missing value.

    Parameters
    ----------
    frame : pandas.DataFrame
    numeric : mapping of str to ndarray, optional
        Further columns (offset, weights) to look at.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    DataError
        For an infinite value, naming column and row.

    Examples
    --------
    >>> import pandas as pd
    >>> complete_rows(pd.DataFrame({"x": [1.0, np.nan], "g": ["a", "b"]})).tolist()
    [True, False]
    """
    columns = {**{str(name): frame[name] for name in frame.columns}, **(numeric or {})}
    keep = np.ones(len(frame), dtype=bool)
    for name, values in columns.items():
        array = values if isinstance(values, np.ndarray) else None
        if array is None and values.dtype.kind in "fiu":
            array = values.to_numpy()
        if array is None:
            keep &= values.notna().to_numpy()
        elif array.dtype.kind == "f":
            infinite = np.isinf(array)
            if infinite.any():
                row = int(np.argmax(infinite))
                raise DataError(
                    f'column "{name}" is infinite in row {row} (counting from 0); correct the value or make it missing'
                )
            keep &= ~np.isnan(array)
    return keep


def prepare(data: Any, levels: Mapping[str, Sequence[str]], derive: Mapping[str, Any]) -> pd.DataFrame:
    """Apply a spec's data preparation: derived columns, then the order of levels.

    Parameters
    ----------
    data : data frame
    levels : mapping of str to sequence
        Column name to its levels in order; the first is the reference.
    derive : mapping of str to (str or mapping)
        New column to an expression, or to ``{"where": expression, "levels": [if false, if true]}``.

    Raises
    ------
    DataError
        For a value that is not among the levels given, naming column and value.

    Examples
    --------
    >>> d = prepare({"livch": ["0", "2"]}, {}, {"ch": {"where": "livch != '0'", "levels": ["N", "Y"]}})
    >>> d.ch.tolist(), d.ch.cat.categories.tolist()
    (['N', 'Y'], ['N', 'Y'])
    """
    import pandas as pd

    native = _native(pd.DataFrame(data) if isinstance(data, Mapping) else data)
    frame = select(data, native.columns)
    for name, given in derive.items():
        text = given if isinstance(given, str) else given["where"]
        plain = {str(c): frame[c].to_numpy(dtype=object if frame[c].dtype == "category" else None) for c in frame}
        values = np.asarray(evaluate(text, plain))
        if isinstance(given, str):
            frame[name] = values
        else:
            frame[name] = pd.Categorical.from_codes(values.astype(int), categories=list(given["levels"]))
    for name, order in levels.items():
        if name not in frame.columns:
            raise DataError(f'levels are given for "{name}", which the data lack; {among(name, frame.columns)}')
        values = frame[name]
        text_values = values.astype(str).where(values.notna(), None) if values.dtype.kind in "fiu" else values
        strange = sorted({str(v) for v in text_values.dropna().unique()} - {str(v) for v in order})
        if strange:
            raise DataError(
                f'column "{name}" holds "{strange[0]}", which is not among the levels given ({", ".join(order)}); '
                f"add it to the levels or make it missing"
            )
        frame[name] = pd.Categorical(text_values, categories=list(order))
    return frame
