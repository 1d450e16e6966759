"""Caterpillar plot of the effects of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.fit import Fit, check_level
from bayesmlm.plots.canvas import (
    GRID,
    MUTED,
    PALETTE,
    filled,
    headline,
    new_canvas,
    percent,
    reading_of,
    require_groups,
    unit_words,
    write_title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Array = np.ndarray[Any, Any]


def caterpillar(fit: Fit, group: str | None = None, level: float = 0.95) -> Figure:
    """Draw the groups' own effects with intervals, sorted.

    Parameters
    ----------
    fit : Fit
    group : str, optional
        A grouping of the model, ``"district"``; all of them side by side without it.
    level : float
        Of the intervals: equal-tailed for a posterior, estimate ± z × conditional sd for maximum likelihood.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per grouping and term; the groups of one grouping are in one order, that of its first term.

    Raises
    ------
    FitError
        For a GEE or a model without groups, and a grouping that the model does not have.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> caterpillar(fit).axes[0].get_xlabel()
    'deviation from the average district (log-odds)'
    """
    check_level(level)
    names = _groupings(fit, group)
    table = fit.table(level=level, ranef=True)
    effects = table[(table.component == "ranef") & table.group.isin(names)]
    panels = list(effects.groupby(["group", "term"], sort=False))
    most = max(len(rows) for _, rows in panels)
    figure, axes = new_canvas(1, len(panels), _height_of(most))
    order: dict[str, Array] = {}
    for ax, ((name, term), rows) in zip(axes[0], panels, strict=True):
        is_first = name not in order
        places = order.setdefault(name, np.argsort(rows.estimate.to_numpy()))
        _draw_effects(ax, rows.iloc[places])
        what = f"the average {name}" if term == "Intercept" else f"the average effect of {term}"
        label = f"deviation from {what} ({unit_words(fit.design)})"
        ax.set_xlabel(filled(label, 90 // len(panels)))
        _name_levels(ax, name, rows.iloc[places], is_first)
        if len(panels) > 1:
            write_title(ax, f"{name}: {term}")
    centre = {"ml": "conditional modes", "map": "conditional modes"}.get(fit.engine, "means")
    headline(figure, f"{reading_of(fit)}: {centre} with {percent(level)} intervals; filled where zero lies outside")
    return figure


def _groupings(fit: Fit, group: str | None) -> list[str]:
    require_groups(fit, "caterpillar")
    names = list(dict.fromkeys(g.name for g in fit.design.groups))
    if group is None:
        return names
    if group not in names:
        raise FitError(f'the model has no grouping "{group}"; {among(group, names)}')
    return [group]


LABELLED_LEVELS = 65
"""With more groups than this only those apart from zero are named, where there is room."""


_TALLEST = 6.0
_LINE = 0.02
"""Share of the tallest axis that a name takes."""


def _height_of(n_levels: int) -> float:
    """Height in inches that leaves room for a label per group, or all that a screen has."""
    if n_levels > LABELLED_LEVELS:
        return _TALLEST
    return max(2.5, 1.1 + (0.14 if n_levels <= 40 else 0.1) * n_levels)


def _draw_effects(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw one panel of group effects, rows from the bottom up."""
    places = np.arange(len(rows))
    low, high = rows.conf_low.to_numpy(), rows.conf_high.to_numpy()
    crowd = min(1.0, 130.0 / len(rows))
    apart = (low > 0) | (high < 0)
    for chosen, colour, fill in ((~apart, MUTED, "white"), (apart, PALETTE[0], PALETTE[0])):
        ax.hlines(places[chosen], low[chosen], high[chosen], color=colour, linewidth=max(1.1 * crowd, 0.1))
        ax.plot(
            rows.estimate.to_numpy()[chosen], places[chosen], "o",
            markersize=max(3.5 * crowd, 1.0), color=colour, markerfacecolor=fill, linestyle="none",
        )  # fmt: skip
    ax.axvline(0.0, color="black", linewidth=0.8, zorder=0.9)
    ax.set_ylim(-1, len(rows))
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)


def _name_levels(ax: Axes, group: str, rows: pd.DataFrame, is_first: bool) -> None:
    """Write the groups' names along the axis, from the bottom up, while there is room for them.

    The panels of one grouping share an order, and its names stand beside the first.
    """
    levels, n = rows.level.tolist(), len(rows)
    ax.tick_params(axis="y", labelsize=7.5 if n <= 40 else 6.5, length=0)
    if n <= LABELLED_LEVELS:
        ax.set_yticks(range(n), levels if is_first else [])
        ax.set_ylabel(group if is_first else "")
        return
    apart = np.flatnonzero((rows.conf_low.to_numpy() > 0) | (rows.conf_high.to_numpy() < 0))
    # From both ends inwards, so that the groups farthest from zero are named first.
    named: list[int] = []
    for place in sorted(apart.tolist(), key=lambda place: min(place, n - 1 - place)):
        if all(abs(place - other) >= n * _LINE for other in named):
            named.append(place)
    ax.set_yticks(named, [levels[place] for place in named])
    which = "sorted; named: some whose interval leaves zero out" if named else "sorted"
    ax.set_ylabel(f"{n:,} levels of {group}, {which}" if is_first else "")
