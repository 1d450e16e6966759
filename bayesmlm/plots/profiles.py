"""Profiles of the likelihood as signed roots ζ."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.fit import Fit, check_level
from bayesmlm.plots.canvas import (
    MUTED,
    PALETTE,
    filled,
    headline,
    name_panel,
    new_canvas,
    percent,
    quantity_name,
    reading_of,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmlm.ml.fit import MLFit

__all__ = ["profile", "require_profile"]

Array = np.ndarray[Any, Any]

MARGIN = 0.995
"""Level that the profiles of a 95 % interval are followed to, at least."""


def require_profile(fit: Fit, asked: str) -> MLFit:
    """Return the fit as one whose likelihood can be profiled, refusing any other."""
    if fit.engine == "ml":
        return cast("MLFit", fit)
    if fit.engine == "map":
        why = "a posterior mode has none around it"
    elif fit.engine == "gee":
        why = "estimating equations have no likelihood"
    else:
        why = "a posterior has draws instead: variance_densities and trace_rank show them"
    raise FitError(f"{asked} needs a profile of the likelihood, and {why}; give it the result of Model.fit_ml()")


def profile(fit: Fit, parm: str | Sequence[str] | None = None, level: float = 0.95) -> Figure:
    """Draw the profile ζ of each parameter: where it is straight a Wald interval is right.

    ζ is the signed root of twice what the log-likelihood loses when the parameter is held at a value and all
    others are at their best for it (Bates et al., 2015, section 5.1).  The grey line is what the standard error says;
    the marks are the limits of the profile interval, where |ζ| reaches the normal quantile.

    Parameters
    ----------
    fit : MLFit
        By maximum likelihood; of a fit by REML the likelihood is profiled.
    parm : str or sequence of str, optional
        Components (``"sd"``), groups or terms to restrict the parameters to.
    level : float
        Of the interval.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For a fit without a likelihood to profile.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> [ax.get_title() for ax in profile(fit, "sd").axes]
    ['sd(Intercept | district)']
    """
    check_level(level)
    traces = require_profile(fit, "profile").profile(parm, level=max(MARGIN, 0.5 + level / 2.0))
    table = fit.table().set_index(["component", "group", "term"])
    panels = list(traces.groupby(["component", "group", "term"], sort=False))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_canvas(rows, columns, 3.4 if rows == 1 else 0.7 + 1.9 * rows, sharey=True)
    quantile = NormalDist().inv_cdf(0.5 + level / 2.0)
    for ax, (key, rows_of) in zip(axes.flat, panels, strict=False):
        _draw_trace(ax, rows_of, table.std_error[key], quantile)
        name_panel(ax, quantity_name(*key))
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    figure.supylabel("ζ, signed root of the loss", fontsize=9)
    figure.supxlabel("value of the parameter, each panel its own scale" if len(panels) > 1 else "value", fontsize=9)
    headline(
        figure,
        f"{reading_of(fit)}: profile (blue) and normal approximation (grey); marks: {percent(level)} profile limits",
    )
    return figure


def _draw_trace(ax: Axes, rows: pd.DataFrame, error: float, quantile: float) -> None:
    """Draw one profile, the straight line of its standard error, and its limits."""
    from matplotlib.ticker import MaxNLocator

    rows = rows.dropna(subset=["value", "zeta"])
    value, zeta = rows.value.to_numpy(), rows.zeta.to_numpy()
    if len(value) < 2:
        ax.text(0.5, 0.5, filled("the likelihood says nothing of it", 20), transform=ax.transAxes, ha="center",
                fontsize=8)  # fmt: skip
        return
    centre = value[np.argmin(np.abs(zeta))]
    grid = np.linspace(value[0], value[-1], 200)
    curve = smooth(value, zeta)
    if np.isfinite(error):
        ax.plot(value[[0, -1]], (value[[0, -1]] - centre) / error, color=MUTED, linewidth=0.9, zorder=1)
    ax.plot(grid, curve(grid), color=PALETTE[0], linewidth=1.6)
    limits = [float(np.interp(side * quantile, curve(grid), grid)) for side in (-1.0, 1.0)
              if zeta[0] <= side * quantile <= zeta[-1]]  # fmt: skip
    ax.plot(limits, curve(np.array(limits)), "|", color="black", markersize=10)
    ax.axhline(0.0, color="black", linewidth=0.6, zorder=0)
    for side in (-quantile, quantile):
        ax.axhline(side, color=MUTED, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
    ax.set_ylim(-1.35 * quantile - 0.2, 1.35 * quantile + 0.2)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def smooth(value: Array, zeta: Array) -> Any:
    """Curve through the points of a profile, never falling where they rise."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(value, zeta)
