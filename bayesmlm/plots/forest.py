"""Coefficients of several fits, one panel each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.fit import Fit, check_level
from bayesmlm.plots.canvas import (
    MARKERS,
    PALETTE,
    PANEL,
    fit_labels,
    in_lines,
    name_panel,
    new_canvas,
    percent,
    quantity_name,
    unit_words,
    unlike_words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Array = np.ndarray[Any, Any]


def coefficients(*fits: Fit, level: float = 0.95) -> Figure:
    """Draw fixed effects, standard deviations (a residual's too) and correlations of several fits, a panel each.

    Each panel has its own scale: a coefficient per year and one per category never fit on one axis, and what is to
    be compared is the readings of one coefficient.

    Parameters
    ----------
    *fits : Fit
        Readings of one model, or of several.
    level : float

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        Without a fit.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> figure = coefficients(m.fit_ml(), m.sample(draws=50, tune=100, chains=2))
    >>> [ax.get_title() for ax in figure.axes]
    ['Intercept', 'urban[Y]', 'sd(Intercept | district)']
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['ML', 'posterior']
    """
    if not fits:
        raise FitError("there is nothing to draw: give coefficients() one fit or more")
    check_level(level)
    tables = [_quantities(fit, level) for fit in fits]
    names = list(dict.fromkeys(name for table in tables for name in table))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    labels = fit_labels(fits)
    line = max(0.2, 0.14 * max(label.count("\n") + 1 for label in labels))
    titled = 0.14 * max(in_lines(name, PANEL).count("\n") for name in names)
    figure, axes = new_canvas(rows, columns, 0.7 + rows * (0.55 + titled + line * len(fits)), sharey=True)
    for ax, name in zip(axes.flat, names, strict=False):
        _draw_quantity(ax, name, [table.get(name) for table in tables])
    for ax in axes.flat[len(names) :]:
        ax.remove()
    axes[0, 0].set_yticks(range(len(fits)), labels)
    axes[0, 0].set_ylim(len(fits) - 0.5, -0.5)
    unit = unit_words(fits[0].design)
    below = [
        f"estimate and {percent(level)} interval: fixed effects in {unit} per unit of the predictor,",
        f"sd in {unit}; each panel has its own scale",
        unlike_words(fits),
    ]
    figure.supxlabel("\n".join(line for line in below if line), fontsize=9)
    return figure


def _quantities(fit: Fit, level: float) -> dict[str, tuple[float, float, float]]:
    """Estimate and limits by name."""
    table = fit.table(level=level)
    rows = table[table.component.isin(["fixed", "sd", "cor", "residual"])]
    return {
        quantity_name(row.component, row.group, row.term): (row.estimate, row.conf_low, row.conf_high)
        for row in rows.itertuples()
    }


def _draw_quantity(ax: Axes, name: str, values: Sequence[tuple[float, float, float] | None]) -> None:
    """Draw one coefficient's readings; zero is shown where that leaves the intervals room."""
    from matplotlib.ticker import MaxNLocator

    limits: list[float] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        estimate, low, high = value
        colour = PALETTE[place % len(PALETTE)]
        ax.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        ax.plot([estimate], [place], MARKERS[place % len(MARKERS)], color=colour, markersize=5)
        limits += [low, high]
    low, high = min(limits), max(limits)
    if max(high, 0.0) - min(low, 0.0) <= 5.0 * (high - low):
        ax.axvline(0.0, color="black", linewidth=0.8, zorder=0)
    # The spine would look like one more line at zero.
    ax.spines["left"].set_visible(False)
    name_panel(ax, name)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(axis="y", length=0)
