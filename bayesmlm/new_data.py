"""New data as a model knows its columns: complete, with the levels of its factors.  What is wrong is said to be new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import DataError, among
from bayesmlm.frames import complete_rows, select
from bayesmlm.response import listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_trained", "new_columns", "plain_level", "refuse_incomplete"]


def plain_level(value: Any) -> Any:
    """A level as a dictionary key: numpy scalars and Python numbers of one value are one level.

    Examples
    --------
    >>> plain_level(np.int64(2)), plain_level("a")
    (2, 'a')
    """
    return value.item() if isinstance(value, np.generic) else value


def new_columns(data: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of new data; what is wrong with them is said to be of new data."""
    try:
        return select(data, columns)
    except DataError as error:
        raise DataError(f"new data: {error}") from None


def refuse_incomplete(frame: pd.DataFrame) -> None:
    """Refuse a missing or an infinite value, by column and row.

    Raises
    ------
    DataError
    """
    for name in frame.columns:
        missing = frame[name].isna().to_numpy()
        if missing.any():
            raise DataError(f'new data: column "{name}" is missing in row {int(np.argmax(missing))} (counting from 0)')
    try:
        complete_rows(frame)
    except DataError as error:  # an infinite value
        raise DataError(f"new data: {error}") from None


def as_trained(frame: pd.DataFrame, levels: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """Give factors the levels they had, refusing others before formulaic would turn them into zeros."""
    import pandas as pd

    frame = frame.copy()
    for column in frame.columns:
        name = str(column)
        if name not in levels:
            if frame[name].dtype.kind not in "fiu":
                raise DataError(f'new data: column "{name}" holds {listed(frame[name])}; the model knows it as numbers')
            continue
        place = {level: i for i, level in enumerate(levels[name])}
        codes, uniques = pd.factorize(frame[name])
        for value in uniques:
            if plain_level(value) not in place:
                raise DataError(
                    f'new data: column "{name}" holds "{value}", a level the model has not seen; {among(value, place)}'
                )
        if frame[name].dtype.kind in "fiu" and not isinstance(levels[name][0], bool):
            continue  # factor(x) makes its levels from the numbers
        places = np.array([place[plain_level(value)] for value in uniques] + [-1])
        frame[name] = pd.Categorical.from_codes(places[codes], categories=list(levels[name]))
    return frame
