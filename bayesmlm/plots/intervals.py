"""Tables of predictions, comparisons, slopes and means as points with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.effects.tables import EffectTable
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.plots.canvas import (
    GRID,
    LINES,
    MARKERS,
    PALETTE,
    filled,
    headline,
    in_lines,
    name_series,
    new_canvas,
    plain,
    write_title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["effects"]

Array = np.ndarray[Any, Any]

_NUMBERS = (
    "estimate", "median", "std_error", "statistic", "p_value", "p_direction", "conf_low", "conf_high", "estimand",
)  # fmt: skip
"""Columns of a table that do not tell its rows apart."""

_MOST = 60
"""More rows than this cannot be named."""

_SERIES = 12
"""More series or panels than this cannot be told apart."""

_POINTS = 15
"""With more points than this along an axis they are a curve with a band."""


def effects(table: EffectTable, by: str | None = None) -> Figure:
    """Draw an answer of ``bm.effects``: a point and an interval for each row of its table.

    Where a numeric column tells the rows apart, and takes three values or more, it becomes the axis below and the
    estimates are joined; otherwise the rows stand below each other.  Ratios are drawn on a logarithmic axis with a line
    at 1, differences and slopes with a line at 0.

    Parameters
    ----------
    table : EffectTable
        From ``bm.effects.predictions``, ``comparisons``, ``slopes`` or ``means``, for any fit.
    by : str, optional
        A column of the table whose values get a colour each; the last that is left without it.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For anything but such a table, or one of more rows than can be told apart.
    DataError
        For a column that does not tell the rows apart.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age*ch + urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> figure = effects(bm.effects.predictions(fit, by=["ch", "urban"]))
    >>> figure.axes[0].get_xlabel(), [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ('probability of use = Y, typical group', ['ch = N', 'ch = Y'])
    """
    if not isinstance(table, EffectTable) or "conf_low" not in table:
        raise FitError(
            "effects draws a table of bm.effects: predictions, comparisons, slopes or means of a fit; "
            f"it was given {type(table).__name__}"
        )
    names = [str(name) for name in table if name not in _NUMBERS]
    telling = [name for name in names if table[name].nunique(dropna=False) > 1]
    if by is not None and by not in telling:
        known = among(by, telling) if telling else "there is none"
        raise DataError(f'"{by}" does not tell the rows of the table apart; {known}')
    numeric = [name for name in telling if name != by and table[name].dtype.kind in "fiu" and table[name].nunique() > 2]
    figure = _draw_along(table, numeric[0], telling, by) if numeric else _draw_rows(table, telling, names, by)
    said = [table.attrs.get("average", ""), table.attrs.get("interval", "")]
    headline(figure, "; ".join(str(text) for text in said if text))
    return figure


def _quantity(table: EffectTable) -> str:
    """What the numbers are, and of which estimand."""
    estimand = str(table.attrs["estimand"]).partition(":")[0]
    word = {"typical": "typical group", "conditional": "own groups", "population": "population average"}
    return f"{plain(str(table.attrs['quantity']))}, {word.get(estimand, estimand)}"


def _is_ratio(table: EffectTable) -> bool:
    return "ratio" in str(table.attrs["quantity"]).replace("log ", "")


def _reference(table: EffectTable) -> float | None:
    """The value that means no effect; None of expected responses."""
    if "contrast" not in table:
        return None
    return 1.0 if _is_ratio(table) else 0.0


def _series(table: EffectTable, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    if by is None:
        return [("", table)]
    if table[by].nunique() > _SERIES:
        raise FitError(
            f"{by} has {table[by].nunique():,} values, and {_SERIES} is the most that can be told apart by colour or "
            f"panel; average over some columns, by=..."
        )
    return [(str(value), table[table[by] == value]) for value in dict.fromkeys(table[by])]


def _line_label(row: Any, names: list[str]) -> str:
    """Name a row by the columns that tell it apart; a term and its contrast as such."""
    change = ": ".join(str(row[name]) for name in names if name in ("term", "contrast"))
    where = [f"{name} = {_short(row[name])}" for name in names if name not in ("term", "contrast")]
    return ", ".join([*where, *([change] if change else [])])


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _draw_rows(table: EffectTable, telling: list[str], names: list[str], by: str | None) -> Figure:
    """Draw the rows of a table below each other, those alike but for ``by`` together."""
    factors = [name for name in telling if name not in ("term", "contrast")]
    by = by if by is not None or len(telling) < 2 or not factors else factors[-1]
    rest = [name for name in telling if name != by] or [name for name in names if name in ("term", "contrast")]
    if "contrast" in names and "contrast" not in rest and "term" in rest:
        rest.insert(rest.index("term") + 1, "contrast")
    labels = [_line_label(row, rest) for _, row in table.iterrows()]
    lines = list(dict.fromkeys(labels))
    if len(lines) > _MOST:
        raise FitError(
            f"the table has {len(lines):,} rows to name, and {_MOST} is the most that can be read; average over some "
            f"of them, by=..."
        )
    series = _series(table, by)
    each = 0.26 + 0.12 * (len(series) - 1)
    names_of = [in_lines(line, 34, 4) for line in lines]
    each = max(each, 0.15 + 0.14 * max(name.count("\n") for name in names_of))
    figure, axes = new_canvas(1, 1, max(2.0, 1.0 + each * len(lines)))
    ax = axes[0, 0]
    place = {label: i for i, label in enumerate(lines)}
    spots = np.array([float(place[label]) for label in labels])
    positions = dict(zip(table.index, spots, strict=True))
    shifts = 0.14 * min(1.0, 4.0 / len(series)) * (np.arange(len(series)) - 0.5 * (len(series) - 1))
    for i, ((name, rows), shift) in enumerate(zip(series, shifts, strict=True)):
        at = np.array([positions[index] for index in rows.index]) + shift
        ax.hlines(at, rows.conf_low, rows.conf_high, color=PALETTE[i % len(PALETTE)], linewidth=1.8)
        ax.plot(
            rows.estimate, at, MARKERS[i % len(MARKERS)], color=PALETTE[i % len(PALETTE)], markersize=5,
            linestyle="none", label=name,
        )  # fmt: skip
    reference = _reference(table)
    if reference is not None:
        ax.axvline(reference, color="black", linewidth=0.8, zorder=1)
        if reference == 1.0:
            _log_axis(ax)
    ax.set_yticks(range(len(lines)), names_of)
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel(filled(_quantity(table), 80))
    if len(series) > 1:
        _legend(figure, ax, str(by))
    return figure


def _log_axis(ax: Axes) -> None:
    """Make the axis below logarithmic, with a few plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    subs: tuple[float, ...] = (1.0, 2.0, 5.0) if high / low < 200.0 else (1.0,)
    if high / low < 6.0:
        subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    ax.xaxis.set_major_locator(LogLocator(subs=subs))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(low, high)


def _legend(figure: Figure, ax: Axes, title: str) -> None:
    handles, labels = ax.get_legend_handles_labels()
    name_series(figure, handles, labels, title)


def _draw_along(table: EffectTable, x: str, telling: list[str], by: str | None) -> Figure:
    """Draw estimates along a numeric column, a colour per series and a panel per value of what is left."""
    rest = [name for name in telling if name != x]
    by = by if by is not None or not rest else rest[-1]
    panels_by = [name for name in rest if name != by]
    keys = [_line_label(row, panels_by) for _, row in table.iterrows()]
    panels = list(dict.fromkeys(keys))
    if len(panels) > _SERIES:
        raise FitError(
            f"{' and '.join(panels_by)} would make {len(panels):,} panels, and {_SERIES} is the most that can be told "
            f"apart; average over some columns, by=..."
        )
    columns = min(len(panels), 2 if len(panels) in (2, 4) else 3)
    rows = -(-len(panels) // columns)
    figure, axes = new_canvas(rows, columns, 3.8 if rows == 1 else 0.8 + 2.4 * rows, sharex=True, sharey=True)
    order = [name for name, _ in _series(table, by)]
    width = float(table[x].max() - table[x].min())
    for ax, panel in zip(axes.flat, panels, strict=False):
        part = table[[key == panel for key in keys]]
        for name, rows_of in _series(part, by):
            i = order.index(name)
            shift = (i - 0.5 * (len(order) - 1)) * 0.012 * width
            _draw_points(ax, rows_of.sort_values(x), x, shift, i, name)
        if panels_by:
            write_title(ax, panel, 40)
        reference = _reference(table)
        if reference is not None:
            ax.axhline(reference, color="black", linewidth=0.8, zorder=0)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(filled(_quantity(table), 44), fontsize=9)
    if by is not None:
        _legend(figure, axes[0, 0], by)
    return figure


def _draw_points(ax: Axes, rows: pd.DataFrame, x: str, shift: float, place: int, label: str) -> None:
    colour = PALETTE[place % len(PALETTE)]
    at = rows[x].to_numpy(dtype=float)
    if len(at) > _POINTS:
        ax.plot(at, rows.estimate, color=colour, linestyle=LINES[place % len(LINES)], linewidth=1.8, label=label)
        ax.fill_between(at, rows.conf_low, rows.conf_high, color=colour, alpha=0.18, linewidth=0.0)
        return
    ax.vlines(at + shift, rows.conf_low, rows.conf_high, color=colour, linewidth=1.6)
    ax.plot(
        at + shift, rows.estimate, MARKERS[place % len(MARKERS)], color=colour, markersize=4.5, linestyle="-",
        linewidth=0.8, label=label,
    )  # fmt: skip
