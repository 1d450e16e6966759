"""The rows an effect is averaged over, and the same rows with some columns set to other values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.effects.variables import Setting, Shift, levels_of, observations, predictors_of
from bayesmlm.errors import DataError, FitError
from bayesmlm.estimands import PredictionRows, prediction_rows
from bayesmlm.expressions import columns_of
from bayesmlm.frames import select
from bayesmlm.new_data import as_trained, new_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Base", "base_rows", "columns_needed", "rows_at"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Base:
    """Rows, and the averages taken over them.

    Attributes
    ----------
    frame : pandas.DataFrame, n rows
        The columns that are needed.  Where averages are taken, equal rows are one, which counts as often.
    offset : ndarray, shape (n,)
        What the offset has that is no column of the data.
    averages : sparse array, shape (cells, n), or None
        Weights of the rows in each average; None where every row stands for itself.
    cells : pandas.DataFrame
        What tells the averages, or the rows, apart.
    words : str
        What is averaged over.
    """

    frame: pd.DataFrame
    offset: Array
    averages: Any
    cells: pd.DataFrame
    words: str


def columns_needed(design: Design, estimand: str) -> tuple[str, ...]:
    """Columns that a prediction needs: of the matrices and the offset, and of the groups where they are known."""
    formula = design.formula
    offsets = [name for text in formula.offsets for name in columns_of(text)]
    own = [design.offset_column] if design.offset_column else []
    varying = [] if estimand == "typical" or not design.groups else formula.varying_columns
    known = [name for group in design.groups for name in group.factors] if estimand == "conditional" else []
    return tuple(dict.fromkeys([*formula.fixed_columns, *varying, *offsets, *own, *known]))


def base_rows(fit: Any, newdata: Any, by: Any, weights: Any, estimand: str, overwritten: Sequence[str] = ()) -> Base:
    """Read the rows that effects are of.

    Parameters
    ----------
    fit : Fit
    newdata : data frame, optional
        The model's own rows without it.
    by : None, bool, str or sequence of str
        Columns to average within; True averages over all rows, False over none.  None averages over the model's own
        rows, and leaves new data row by row.
    weights : str or array, optional
        How much each row counts; without it, own rows count as the observations they stand for, new ones as 1.
    estimand : str
    overwritten : sequence of str
        Columns that need not be there, because every one of their values is set.

    Raises
    ------
    DataError
        For a column that is not there or misses a value.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> base = base_rows(fit, None, "livch", None, "typical")
    >>> base.cells.livch.tolist(), len(base.frame), base.words
    (['0', '1', '2', '3+'], 8, '1934 observations, within livch')
    """
    design = fit.design
    averaged = (newdata is None) if by is None else by is not False
    names = _by_columns(by)
    asked = [name for name in columns_needed(design, estimand) if name not in overwritten]
    columns = list(dict.fromkeys([*asked, *names]))
    frame = _columns(fit, newdata, columns)
    n, own = len(frame), newdata is None
    offset = np.zeros(n)
    if own and design.offset.any():
        offset = design.offset - design.offset_of(frame)
    weight = _weights(fit, newdata, weights, n)
    if not averaged:
        if weights is not None:
            raise FitError("weights= is of averages, and here every row stands for itself; average with by=True")
        frame.index = fit._index(newdata)
        shown = frame if own else _shown(frame, design)
        return Base(frame, offset, None, shown, "")
    for name in names:
        if frame[name].isna().any():
            row = int(np.argmax(frame[name].isna()))
            raise DataError(f'by: column "{name}" is missing in row {row} (counting from 0)')
    total = f"{weight.sum():g} observations" if own and weights is None else f"{n} rows"
    words = f"{total}, weighted" if weights is not None else total
    words += f", within {', '.join(names)}" if names else ""
    frame, offset, weight = _distinct(frame, offset, weight)
    return Base(frame, offset, *_averages(frame, names, weight), words)


def _by_columns(by: Any) -> list[str]:
    if by is None or isinstance(by, bool):
        return []
    names = [by] if isinstance(by, str) or not isinstance(by, Iterable) else list(by)
    for name in names:
        if not isinstance(name, str):
            raise FitError(f"by should name columns, not {name!r}")
    return list(dict.fromkeys(names))


def _columns(fit: Any, newdata: Any, columns: list[str]) -> pd.DataFrame:
    """Columns of the model's rows, or of new data."""
    import pandas as pd

    if newdata is not None:
        if columns:
            frame, levels = new_columns(newdata, columns), fit.design.fixed_levels
            factors = [name for name in columns if name in levels]
            # In the model's order of levels, which not every library keeps.
            return frame.assign(**as_trained(frame[factors], levels))
        from bayesmlm.frames import row_count

        if not (n := row_count(newdata)):
            raise DataError("new data: the data have no rows; check how they were read or filtered")
        return pd.DataFrame(index=pd.RangeIndex(n))
    rows = fit.design.rows
    if not columns:
        return pd.DataFrame(index=pd.RangeIndex(len(rows)))
    return select(fit.model.data, columns).iloc[rows].reset_index(drop=True)


def _shown(frame: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Columns of new data that are shown beside a row's effect."""
    return frame[[name for name in predictors_of(design) if name in frame]]


def _weights(fit: Any, newdata: Any, weights: Any, n: int) -> Array:
    if weights is None:
        return observations(fit.design) if newdata is None else np.ones(n)
    if isinstance(weights, str):
        weights = _columns(fit, newdata, [weights])[weights]
        if weights.dtype.kind not in "fiu":
            raise DataError(f'weights: column "{weights.name}" does not hold numbers')
    try:
        values = np.asarray(weights, dtype=float)
    except (TypeError, ValueError):
        raise DataError("weights should be numbers, one per row, or the name of a column") from None
    if newdata is None and values.shape == (fit.design.n_rows,):
        values = values[fit.design.rows]
    if values.shape != (n,):
        raise DataError(f"weights have shape {values.shape}; there are {n} rows")
    if not (np.isfinite(values).all() and (values >= 0.0).all() and values.any()):
        raise DataError("weights should be numbers of 0 or more, not all of them 0")
    return values


def _distinct(frame: pd.DataFrame, offset: Array, weight: Array) -> tuple[pd.DataFrame, Array, Array]:
    """Equal rows once, with the sum of their weights."""
    keyed = frame.assign(**{"\0offset": offset})
    codes = keyed.groupby(list(keyed.columns), sort=False, observed=True, dropna=False).ngroup().to_numpy()
    _, first = np.unique(codes, return_index=True)
    return frame.iloc[first].reset_index(drop=True), offset[first], np.bincount(codes, weight)


def _averages(frame: pd.DataFrame, names: list[str], weight: Array) -> tuple[Any, pd.DataFrame]:
    """Weights of the rows in the average of each cell, and the cells."""
    import pandas as pd
    from scipy import sparse

    if names:
        grouped = frame.groupby(names, sort=True, observed=True)
        codes = grouped.ngroup().to_numpy()
        _, first = np.unique(codes, return_index=True)
        cells = frame[names].iloc[first].reset_index(drop=True)
    else:
        codes, cells = np.zeros(len(frame), dtype=int), pd.DataFrame(index=pd.RangeIndex(1))
    total = np.bincount(codes, weight)
    if not total.all():
        raise DataError("by: the rows of a cell have weight 0 altogether; leave them out")
    share = weight / total[codes]
    rows = np.arange(len(frame))
    return sparse.csr_array((share, (codes, rows)), shape=(len(cells), len(frame))), cells


def rows_at(design: Design, base: Base, setting: Setting, estimand: str, new_groups: str) -> PredictionRows:
    """The rows with some columns set, as arrays.

    Raises
    ------
    DataError
        For levels the model has not seen, and the like.
    """
    frame = base.frame
    for name, value in setting:
        frame = frame.assign(**{name: _set(frame, design, name, value)})
    rows = prediction_rows(design, frame, estimand, new_groups)
    return PredictionRows(rows.X, rows.offset + base.offset, rows.codes, rows.z)


def _set(frame: pd.DataFrame, design: Design, name: str, value: Any) -> Any:
    """A column set to one value, or moved."""
    import pandas as pd

    if isinstance(value, Shift):
        as_trained(frame[[name]], {})  # a number, or it is refused
        return frame[name].to_numpy(dtype=float) + value.by
    levels, is_number = levels_of(design, name), isinstance(value, int | float) and not isinstance(value, bool)
    if levels is None or (is_number and name in design.formula.coded_columns):
        return np.full(len(frame), value)  # factor(x) makes its levels from the numbers
    return pd.Categorical.from_codes(np.full(len(frame), levels.index(value)), categories=list(levels))
