"""Densities of what is between the groups: standard deviations, correlations, and intraclass correlations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.facts.shares import shares_of
from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import (
    LINES,
    PALETTE,
    fit_labels,
    headline,
    name_panel,
    new_canvas,
    quantity_name,
    require_groups,
    unit_words,
)
from bayesmlm.plots.profiles import require_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["variance_densities"]

Array = np.ndarray[Any, Any]
Density = tuple[Array, Array, float]
"""Values, the density at them, and the estimate."""

COVERED = 0.9995
"""Level of the interval that a profile is followed to."""


def variance_densities(*fits: Fit) -> Figure:
    """Draw how sure the fits are of standard deviations, correlations and intraclass correlations.

    A posterior has the density of its draws.  Maximum likelihood has that of its profile, dΦ(ζ)/dσ, whose quantiles are
    the profile limits of every level (Bates et al., 2015, section 5.1): what is missing of its mass lies at the end of
    the range, such as a standard deviation of 0.  The mark at the foot is the estimate: a posterior's mean, a
    likelihood's maximum.

    Parameters
    ----------
    *fits : Fit
        Posteriors, and fits by maximum likelihood.  An intraclass correlation is a likelihood's too where it depends
        on one standard deviation alone, whose profile does not reach zero.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        Without a fit, for a GEE, a posterior mode, or a model without groups.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> figure = variance_densities(m.fit_ml(), m.sample(draws=50, tune=100, chains=2))
    >>> [ax.get_title() for ax in figure.axes]
    ['sd(Intercept | district)', 'ICC of district']
    """
    if not fits:
        raise FitError("there is nothing to draw: give variance_densities() one fit or more")
    found: dict[str, list[tuple[int, Density]]] = {}
    for place, fit in enumerate(fits):
        require_groups(fit, "variance_densities")
        for name, density in _densities(fit):
            found.setdefault(name, []).append((place, density))
    columns = 2 if len(found) in (2, 4) else min(3, len(found))
    rows = -(-len(found) // columns)
    figure, axes = new_canvas(rows, columns, 3.2 if rows == 1 else 0.6 + 2.2 * rows)
    labels = fit_labels(fits)
    for ax, (name, curves) in zip(axes.flat, found.items(), strict=False):
        for place, density in curves:
            _draw_density(ax, density, place, labels[place])
        _finish(ax, name, fits[0])
    for ax in axes.flat[len(found) :]:
        ax.remove()
    if len(fits) > 1:
        lines = {str(line.get_label()): line for ax in figure.axes for line in ax.get_lines()}
        shown = [label for label in labels if label in lines]
        figure.legend(
            [lines[label] for label in shown], shown, loc="outside lower left", ncols=4, fontsize=8, frameon=False
        )  # fmt: skip
    ways = dict.fromkeys("profile likelihood" if fit.engine == "ml" else "posterior draws" for fit in fits)
    headline(figure, f"densities of {' and '.join(ways)}; mark at the foot: estimate")
    return figure


def _densities(fit: Fit) -> Iterator[tuple[str, Density]]:
    """Go through the quantities of a fit and their densities."""
    if fit.engine in ("ml", "map"):
        yield from _profiled(fit)
        return
    table = fit.table()
    draws = fit._values()
    for place, row in enumerate(table.itertuples()):
        if row.component in ("sd", "cor", "residual"):
            limits = (-1.0, 1.0) if row.component == "cor" else (0.0, np.inf)
            yield quantity_name(row.component, row.group, row.term), _smoothed(draws[:, place], limits)
    shares = shares_of(fit, None, "icc")
    for name, values in zip(dict.fromkeys(g.name for g in fit.design.groups), shares.T, strict=True):
        yield f"ICC of {name}", _smoothed(values, (0.0, 1.0))


def _smoothed(values: Array, limits: tuple[float, float]) -> Density:
    """Kernel density of draws, reflected at limits that they come close to."""
    from arviz_stats.base import array_stats

    low, high = limits
    room = 0.5 * values.std()
    ends = [max(low, values.min() - room), min(high, values.max() + room)]
    grid, density, _ = array_stats.kde(values, custom_lims=ends)
    return grid, density, float(values.mean())


def _profiled(fit: Fit) -> Iterator[tuple[str, Density]]:
    table = fit.table().set_index(["component", "group", "term"])
    wanted = [name for name in ("sd", "cor", "residual") if name in table.index.unique("component")]
    traces = require_profile(fit, "variance_densities").profile(wanted, level=COVERED, points=10)
    for key, rows in traces.groupby(["component", "group", "term"], sort=False):
        rows = rows.dropna(subset=["value", "zeta"])
        if len(rows) > 2:
            value, zeta = rows.value.to_numpy(), rows.zeta.to_numpy()
            yield quantity_name(*key), (*_density(value, zeta), float(table.estimate[key]))
            residual = fit.design.family.link.residual_variance
            # A function of one parameter has the same ζ at the same place; at a standard deviation of 0 its density
            # would have no end.
            if key[0] == "sd" and residual is not None and _is_one_intercept(fit) and value[0] > 0.0:
                grid, density = _density(value, zeta)
                total = grid**2 + residual
                share, slope = grid**2 / total, 2.0 * grid * residual / total**2
                yield f"ICC of {key[1]}", (share, density / slope, float(fit.icc().iloc[0]))


def _is_one_intercept(fit: Fit) -> bool:
    groups = fit.design.groups
    return len(groups) == 1 and groups[0].terms == ("Intercept",)


def _density(value: Array, zeta: Array) -> tuple[Array, Array]:
    """Density dΦ(ζ)/dφ along a profile: ζ is interpolated by a spline, as lme4 does."""
    from scipy.interpolate import CubicSpline

    curve = CubicSpline(value, zeta)
    grid = np.linspace(value[0], value[-1], 300)
    at = curve(grid)
    return grid, np.exp(-0.5 * at**2) / np.sqrt(2.0 * np.pi) * np.maximum(curve(grid, 1), 0.0)


def _draw_density(ax: Axes, density: Density, place: int, label: str) -> None:
    grid, height, estimate = density
    colour = PALETTE[place % len(PALETTE)]
    ax.plot(grid, height, color=colour, linestyle=LINES[place % len(LINES)], linewidth=1.6, label=label)
    ax.fill_between(grid, 0.0, height, color=colour, alpha=0.1, linewidth=0.0)
    ax.plot([estimate], [0.0], "^", color=colour, markersize=7, clip_on=False, zorder=3)


def _finish(ax: Axes, name: str, fit: Fit) -> None:
    """Name a panel and its axes; where the values reach near zero, zero is shown."""
    from matplotlib.ticker import MaxNLocator

    name_panel(ax, name)
    ax.set_ylim(bottom=0.0)
    low, high = ax.get_xlim()
    if not name.startswith("cor(") and low < 0.35 * high:
        ax.set_xlim(left=min(0.0, -0.01 * high))
    unit = "share of variance" if name.startswith("ICC") else "correlation"
    ax.set_xlabel(unit if name.startswith(("ICC", "cor(")) else unit_words(fit.design))
    ax.set_ylabel("density")
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(5))
