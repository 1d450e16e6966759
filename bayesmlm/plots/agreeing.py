"""Two readings of one model against each other: its parameters, and the effects of its groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.fit import Fit, check_level
from bayesmlm.plots.canvas import (
    FAINT,
    GRID,
    MARKERS,
    MUTED,
    PALETTE,
    filled,
    fit_labels,
    headline,
    in_lines,
    new_canvas,
    percent,
    quantity_name,
    unit_words,
    unlike_words,
    write_title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["agreement"]

Array = np.ndarray[Any, Any]

KEYS = ["component", "group", "term", "level"]
"""What a row of a table is known by."""


def agreement(first: Fit, second: Fit, level: float = 0.95) -> Figure:
    """Set two fits against each other: maximum likelihood against the posterior, say.

    Left: the intervals of every parameter both have, in pairs, in standard errors of the first and measured from
    its estimate, so that parameters of any size share an axis.  Right: the effects of the groups, the first fit's
    against the second's; on the line of identity they agree.

    Parameters
    ----------
    first, second : Fit
    level : float

    Returns
    -------
    matplotlib.figure.Figure
        Without the right panel where either fit has no group effects or they share none.

    Raises
    ------
    FitError
        For fits that share no parameter.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> figure = agreement(m.fit_ml(), m.fit_map())
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['Intercept', 'urban[Y]', 'sd(Intercept | district)']
    >>> figure.axes[1].get_xlabel(), figure.axes[1].get_ylabel()
    ('ML (log-odds)', 'MAP (log-odds)')
    """
    check_level(level)
    tables = [fit.table(level=level, ranef=True) for fit in (first, second)]
    both = tables[0].merge(tables[1], on=KEYS, suffixes=("_first", "_second"))
    effects = both[both.component == "ranef"]
    parameters = both[both.component.isin(["fixed", "sd", "cor", "residual"])]
    if not len(parameters):
        raise FitError(f"{first.name} and {second.name} have no parameter in common, so there is nothing to compare")
    labels = fit_labels((first, second))
    columns = 2 if len(effects) else 1
    figure, axes = new_canvas(1, columns, max(3.2, 1.2 + 0.34 * len(parameters)))
    _draw_parameters(axes[0, 0], parameters, labels)
    if columns == 2:
        _draw_effects(axes[0, 1], effects)
        for side, label in zip(("x", "y"), labels, strict=True):
            axes[0, 1].set(**{f"{side}label": filled(f"{label} ({unit_words(first.design)})", 40)})
    one_line = [label.replace("\n", " ") for label in labels]
    words = f"{one_line[0]} against {one_line[1]}: estimates and {percent(level)} intervals"
    headline(figure, ". ".join(line for line in (words, unlike_words((first, second))) if line))
    return figure


def _draw_parameters(ax: Axes, rows: pd.DataFrame, labels: list[str]) -> None:
    """Draw the paired intervals, in standard errors of the first fit around its estimate."""
    centre = rows.estimate_first.to_numpy()
    # At a boundary there is no standard error: the other fit's serves, and 1 where neither has one.
    unit = rows.std_error_first.fillna(rows.std_error_second).fillna(1.0).to_numpy()
    unit = np.where(unit > 0.0, unit, 1.0)
    places = np.arange(len(rows), dtype=float)
    for i, (suffix, shift) in enumerate((("first", -0.15), ("second", 0.15))):
        estimate, low, high = (
            (rows[f"{name}_{suffix}"].to_numpy() - centre) / unit for name in ("estimate", "conf_low", "conf_high")
        )
        ax.hlines(places + shift, low, high, color=PALETTE[i], linewidth=1.6)
        ax.plot(
            estimate, places + shift, MARKERS[i], color=PALETTE[i], markersize=4.5, linestyle="none", label=labels[i]
        )
    ax.axvline(0.0, color="black", linewidth=0.8, zorder=1)
    names = [quantity_name(row.component, row.group, row.term) for row in rows.itertuples()]
    ax.set_yticks(places, [in_lines(name, 24) for name in names])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel(filled(f"distance from the estimate by {labels[0]} (its standard errors)", 45))
    ax.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.1)


def _draw_effects(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the effects of the groups as crosses of their intervals around the line of identity."""
    crowd = float(np.clip((60.0 / len(rows)) ** 0.5, 0.1, 1.0))
    names = list(rows.groupby(["group", "term"], sort=False))
    for i, ((group, term), part) in enumerate(names):
        x, y = part.estimate_first.to_numpy(), part.estimate_second.to_numpy()
        ax.hlines(y, part.conf_low_first, part.conf_high_first, color=FAINT, linewidth=0.8 * crowd, zorder=0)
        ax.vlines(x, part.conf_low_second, part.conf_high_second, color=FAINT, linewidth=0.8 * crowd, zorder=0)
        ax.plot(
            x, y, MARKERS[i % len(MARKERS)], color=PALETTE[i % len(PALETTE)], markersize=max(4.0 * crowd, 1.2),
            linestyle="none", label=f"{term} | {group}",
        )  # fmt: skip
    ends = [*ax.get_xlim(), *ax.get_ylim()]
    ax.set(xlim=(min(ends), max(ends)), ylim=(min(ends), max(ends)))
    ax.axline((0.0, 0.0), slope=1.0, color=MUTED, linewidth=0.9, zorder=0.5)
    if len(names) == 1:
        (group, term), part = names[0]
        name = f"effects of {len(part):,} levels of {group}{'' if term == 'Intercept' else f': {term}'}"
        ax.set_title(in_lines(name, 32), fontsize=9)
    else:
        ax.legend(fontsize=8, frameon=False, loc="upper left")
        write_title(ax, "effects of groups")
