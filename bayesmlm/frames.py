"""Data frames in: any library narwhals knows -> the used columns as pandas, levels in order, incomplete rows named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import DataError, among
from bayesmlm.expressions import columns_of, evaluate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_names", "complete_rows", "level_text", "prepare", "replaced", "row_count", "row_labels", "select"]


def _native(data: Any) -> Any:
    import narwhals.stable.v2 as nw
    import pandas as pd

    if isinstance(data, Mapping):
        try:
            data = pd.DataFrame(data)
        except ValueError:
            sizes = ", ".join(f"{name}: {np.size(values)}" for name, values in data.items())
            raise DataError(f"the columns of the data have different lengths ({sizes})") from None
    if isinstance(data, pd.DataFrame) and not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()][0]
        raise DataError(f'the data have more than one column "{twice}"; rename or drop all but one')
    try:
        frame = nw.from_native(data)
    except TypeError:
        raise DataError(
            f"the data are a {type(data).__name__}, not a data frame; give a pandas, polars or pyarrow table"
        ) from None
    return frame.collect() if isinstance(frame, nw.LazyFrame) else frame


def row_count(data: Any) -> int:
    """Number of rows of any data frame."""
    return len(_native(data))


def row_labels(data: Any) -> pd.Index:
    """Labels of the rows: the index of a pandas data frame, positions in any other.

    Examples
    --------
    >>> import pandas as pd
    >>> row_labels(pd.DataFrame({"x": [1.0, 2.0]}, index=["a", "b"])).tolist(), row_labels({"x": [1.0, 2.0]}).tolist()
    (['a', 'b'], [0, 1])
    """
    import pandas as pd

    return data.index if isinstance(data, pd.DataFrame) else pd.RangeIndex(row_count(data))


def replaced(data: Any, columns: Mapping[str, Any]) -> Any:
    """A data frame of the same library with other values in some columns.

    Parameters
    ----------
    data : data frame
    columns : mapping of str to ndarray
        A value per row.

    Examples
    --------
    >>> import pandas as pd
    >>> replaced(pd.DataFrame({"x": [1, 2]}, index=[5, 7]), {"x": np.array([0.5, 1.5])}).x.to_dict()
    {5: 0.5, 7: 1.5}
    """
    import narwhals.stable.v2 as nw

    frame = _native(data)
    series = [nw.new_series(name, values, backend=frame.implementation) for name, values in columns.items()]
    return frame.with_columns(*series).to_native() if series else frame.to_native()


def level_text(level: Any) -> str:
    """A level as text: whole numbers are 3, not 3.0, and no digit is lost.

    Examples
    --------
    >>> level_text(3.0), level_text(1000001.0), level_text(0.25), level_text("a")
    ('3', '1000001', '0.25', 'a')
    """
    if isinstance(level, float | np.floating):
        return str(int(level)) if float(level).is_integer() else repr(float(level))
    return str(level)


def column_names(data: Any) -> list[str]:
    """Names of the columns of a data frame of any library, or of a mapping.

    Examples
    --------
    >>> column_names({"y": [0, 1], "x": [1.0, 2.0]})
    ['y', 'x']
    """
    return [str(name) for name in (data.columns if hasattr(data, "columns") else data)]


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
        Its index is the row's position in ``data``.  It may share memory with ``data``: columns may be replaced, but
        not written into.

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
    import pandas as pd

    frame = _native(data)
    there = set(frame.columns)
    for name in columns:
        if name not in there:
            raise DataError(f'the data have no column "{name}"; {among(name, frame.columns)}')
    if len(frame) == 0:
        raise DataError("the data have no rows; check how they were read or filtered")
    taken = {name: _values(name, frame.get_column(name)) for name in columns}
    return pd.DataFrame(taken, index=pd.RangeIndex(len(frame)), copy=False)


def _values(name: str, series: Any) -> Any:
    """One column: numbers, text, or a factor with its levels in the data's order; nothing is copied without need."""
    import narwhals.stable.v2 as nw
    import pandas as pd

    dtype, native = series.dtype, series.to_native()
    own = native.dtype if isinstance(native, pd.Series) else None
    if dtype.is_numeric():
        return series.to_numpy()
    if isinstance(own, pd.CategoricalDtype):
        return native.array.as_unordered() if native.array.ordered else native.array
    if own == "str":
        return native.array
    if dtype in (nw.Categorical, nw.Enum):
        return pd.Categorical(series.to_list(), categories=series.cat.get_categories().to_list())
    if dtype == nw.Boolean:
        return pd.Categorical(series.to_numpy(), categories=[False, True])
    if dtype in (nw.String, nw.Object):
        values = series.to_list()
        if pd.api.types.infer_dtype(values, skipna=True) in ("mixed", "mixed-integer"):
            raise DataError(f'column "{name}" holds both text and numbers; make it one or the other')
        return pd.Series(values, dtype="str" if dtype == nw.String else None).to_numpy(dtype=object)
    raise DataError(f'column "{name}" holds {dtype}, which a model cannot use; turn it into numbers or text first')


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
    columns: dict[str, Any] = {**{str(name): values for name, values in frame.items()}, **(numeric or {})}
    keep = np.ones(len(frame), dtype=bool)
    for name, values in columns.items():
        if values.dtype.kind in "iu":
            continue
        if values.dtype.kind != "f":
            keep &= ~values.array.isna()
            continue
        array = np.asarray(values)
        finite = np.isfinite(array)
        if not finite.all():
            infinite = np.isinf(array)
            if infinite.any():
                row = int(np.argmax(infinite))
                raise DataError(
                    f'column "{name}" is infinite in row {row} (counting from 0); correct the value or make it missing'
                )
            keep &= finite
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

    frame = select(data, _native(data).columns).copy()
    for name, given in derive.items():
        text = given if isinstance(given, str) else given["where"]
        plain = {str(c): frame[c].to_numpy(dtype=object if frame[c].dtype == "category" else None) for c in frame}
        values = np.asarray(evaluate(text, plain))
        missing = frame[list(columns_of(text))].isna().any(axis=1).to_numpy()
        if isinstance(given, str):
            frame[name] = pd.array(values, dtype="boolean") if values.dtype.kind == "b" else values
            if values.dtype.kind == "b":
                frame.loc[missing, name] = pd.NA
            continue
        if values.dtype.kind != "b":
            raise DataError(
                f'the condition "{text}" of the derived column "{name}" is not true or false; compare with something'
            )
        frame[name] = pd.Categorical.from_codes(
            np.where(missing, -1, values.astype(int)), categories=list(given["levels"])
        )
    for name, order in levels.items():
        if name not in frame.columns:
            raise DataError(f'levels are given for "{name}", which the data lack; {among(name, frame.columns)}')
        repeated = [level for level in order if list(order).count(level) > 1]
        if repeated:
            raise DataError(f'the levels given for "{name}" repeat "{repeated[0]}"; name each once')
        codes, uniques = pd.factorize(frame[name])
        texts = [level_text(value) for value in uniques]
        strange = sorted(set(texts) - {str(level) for level in order})
        if strange:
            raise DataError(
                f'column "{name}" holds "{strange[0]}", which is not among the levels given ({", ".join(order)}); '
                f"add it to the levels or make it missing"
            )
        places = np.array([list(order).index(text) for text in texts] + [-1])
        frame[name] = pd.Categorical.from_codes(places[codes], categories=list(order))
    return frame
