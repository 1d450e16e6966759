"""Observed proportions, smoothed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import DataError, among
from bayesmlm.frames import complete_rows, select
from bayesmlm.plots.canvas import counted, headline
from bayesmlm.plots.curves import Curve, cells_of, coded, draw_curves, grid_along, there_are
from bayesmlm.plots.smoother import lowess

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


Array = np.ndarray[Any, Any]


def smoothed_proportions(
    data: Any, response: str, x: str, by: str | None = None, facet: str | None = None, event: str | None = None
) -> Figure:
    """Draw the observed proportion of a 0/1 response against a numeric column, smoothed by :func:`lowess`.

    The picture to draw before a model: is the relation curved, and does it differ between groups?

    Parameters
    ----------
    data : data frame
        Rows with a missing value are left out.
    response : str
        0 and 1, booleans, or two levels.
    x : str
        A numeric column.
    by, facet : str, optional
        Factors: a curve per level of the one, a panel per level of the other.
    event : str, optional
        The level whose proportion is drawn; the second without it.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        For a column that is not there or not of the kind that is needed.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> figure = smoothed_proportions(d, "use", "age", by="livch", facet="urban")
    >>> figure.get_supylabel(), [ax.get_title() for ax in figure.axes]
    ('proportion with use = Y', ['urban = N', 'urban = Y'])
    """
    used = [name for name in (response, x, by, facet) if name is not None]
    frame = select(data, list(dict.fromkeys(used)))
    frame = frame[complete_rows(frame)]
    if not len(frame):
        raise DataError(f"no row is complete: each misses one of {', '.join(used)}")
    outcome, event_name = _outcome(frame[response], event)
    if frame[x].dtype.kind not in "fiu":
        raise DataError(f'"{x}" is not numeric; a curve runs along numbers, and {there_are(x, _numeric(data))}')
    factors = {name: _few_levels(frame[name]) for name in (by, facet) if name is not None}
    values = frame[x].to_numpy(dtype=float)
    curves = []
    for cell in cells_of(coded(frame, facet, factors), coded(frame, by, factors)):
        at = grid_along(values[cell.rows])
        smooth = np.clip(lowess(values[cell.rows], outcome[cell.rows], at), 0.0, 1.0)
        curves.append(Curve(str(cell.facet), str(cell.by), at, smooth))
    figure = draw_curves(curves, x, f"proportion with {response} = {event_name}", by, facet)
    headline(figure, f"observed proportions of {counted(len(frame), 'row')}, smoothed by lowess")
    return figure


def _numeric(data: Any) -> list[str]:
    """Names of the numeric columns of any data frame, or of a mapping of arrays."""
    import narwhals.stable.v2 as nw
    import pandas as pd

    frame = nw.from_native(pd.DataFrame(data) if isinstance(data, Mapping) else data)
    return [name for name, dtype in frame.collect_schema().items() if dtype.is_numeric()]


def _outcome(values: pd.Series, event: str | None) -> tuple[Array, str]:
    """0/1 of a two-valued column, and the name of what 1 stands for."""
    levels = _level_list(values)
    names = [str(level) for level in levels]
    if len(names) != 2:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise DataError(f'the response "{values.name}" should have two values; it has {len(names)} ({shown})')
    if event is None:
        event = names[1]
    if event not in names:
        raise DataError(f'the response "{values.name}" has no level "{event}"; {among(event, names)}')
    return (values == levels[names.index(event)]).to_numpy().astype(float), event


def _level_list(values: pd.Series) -> list[Any]:
    """Levels that occur: a factor's in its order, others sorted."""
    if values.dtype == "category":
        return list(values.cat.remove_unused_categories().cat.categories)
    return sorted(values.unique())


MOST_LEVELS = 12
"""More curves or panels than this cannot be told apart."""


def _few_levels(values: pd.Series) -> list[Any]:
    levels = _level_list(values)
    if len(levels) > MOST_LEVELS:
        raise DataError(
            f'"{values.name}" has {len(levels)} levels, too many to tell apart; group them into {MOST_LEVELS} or fewer'
        )
    return levels
