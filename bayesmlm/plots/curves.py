"""Curves of predicted probability, or of the expected response where that is a count or a measurement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import matrix_factors
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.expressions import columns_of
from bayesmlm.fit import ESTIMANDS, Fit, check_level
from bayesmlm.frames import select
from bayesmlm.plots.canvas import (
    LINES,
    PALETTE,
    estimand_words,
    filled,
    headline,
    name_series,
    new_canvas,
    percent,
    response_words,
    write_title,
)
from bayesmlm.plots.smoother import lowess

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a figure: its facet and series, points, and limits where it has them."""

    facet: str
    by: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """The rows with one level of ``facet`` and one of ``by``; the level is None without such a column."""

    facet: Any
    by: Any
    rows: Array


def cells_of(facets: tuple[list[Any], Array], series: tuple[list[Any], Array]) -> Iterator[Cell]:
    """Go through the combinations of levels that have rows, each given as levels and codes (n,)."""
    for f, facet in enumerate(facets[0]):
        for b, by in enumerate(series[0]):
            rows = np.flatnonzero((facets[1] == f) & (series[1] == b))
            if len(rows):
                yield Cell(facet, by, rows)


def draw_curves(
    curves: Sequence[Curve], x: str, y: str, by: str | None, facet: str | None, from_zero: bool = True,
    observed: Sequence[Curve] = (),
) -> Figure:  # fmt: skip
    """Draw curves, a panel per facet and a colour and line style per series; the axis of y from 0 where it has one.

    What was observed goes below them, thin and in the same colours.
    """
    facets, series = (list(dict.fromkeys(names)) for names in zip(*((c.facet, c.by) for c in curves), strict=True))
    columns = min(len(facets), 2 if len(facets) in (2, 4) else 3)
    rows = -(-len(facets) // columns)
    figure, axes = new_canvas(rows, columns, 3.8 if rows == 1 else 0.8 + 2.4 * rows, sharex=True, sharey=True)
    for ax, name in zip(axes.flat, facets, strict=False):
        for curve in curves:
            if curve.facet == name:
                _draw_curve(ax, curve, series.index(curve.by))
        for curve in observed:
            if curve.facet == name:
                _draw_observed(ax, curve, series.index(curve.by))
        if facet is not None:
            write_title(ax, f"{facet} = {name}")
    for ax in axes.flat[len(facets) :]:
        ax.remove()
    if from_zero:
        axes[0, 0].set_ylim(bottom=0.0)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(filled(y, 44), fontsize=9)
    if by is not None:
        handles = {line.get_label(): line for ax in figure.axes for line in reversed(ax.get_lines())}
        name_series(figure, [handles[name] for name in series], series, by)
    return figure


def _draw_curve(ax: Axes, curve: Curve, place: int) -> None:
    colour = PALETTE[place % len(PALETTE)]
    ax.plot(
        curve.x, curve.y, color=colour, linestyle=LINES[place % len(LINES)], linewidth=1.8, label=curve.by,
        marker="o" if len(curve.x) == 1 else "",
    )  # fmt: skip
    if curve.low is not None and curve.high is not None:
        ax.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def _draw_observed(ax: Axes, curve: Curve, place: int) -> None:
    ax.plot(
        curve.x, curve.y, color=PALETTE[place % len(PALETTE)], linewidth=0.8, zorder=1.5,
        label="_observed", marker="." if len(curve.x) == 1 else "",
    )  # fmt: skip


GRID = 60
"""Points of a curve."""


def probability_curves(
    fit: Fit,
    x: str,
    by: str | None = None,
    facet: str | None = None,
    estimand: str | None = None,
    level: float = 0.95,
    observed: bool = False,
) -> Figure:
    """Draw the predicted probability (of a count or a measurement, its mean) against one predictor, the others held.

    A curve covers the values of ``x`` that were observed together with its levels of ``by`` and ``facet``;
    combinations that were not observed have none.  Other numeric predictors are held at their mean, factors at
    their reference level: the figure says which.

    Parameters
    ----------
    fit : Fit
    x : str
        A numeric predictor.
    by, facet : str, optional
        Factors of the model: a curve per level of the one, a panel per level of the other.
    estimand : {"typical", "population"}
        In a group whose effects are zero, or averaged over the distribution of the group effects.  Without it typical;
        population of a GEE, which has no other, and beside what was observed, which is of the population too.
    level : float
        Of the bands.
    observed : bool
        Draw what was observed below the curves, smoothed by :func:`lowess`: of all rows with a curve's levels of
        ``by`` and ``facet``, whatever the predictors that the curve holds.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For another estimand, and observed values of rows that differ in their offset.
    DataError
        For a column that is not a predictor of the model, or not of the kind that is needed.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> fit = bm.Model("use ~ age + I(age^2) + urban + livch + (1 | district)", d).fit_ml()
    >>> figure = probability_curves(fit, "age", by="urban")
    >>> figure.get_supxlabel(), figure.get_supylabel()
    ('age', 'probability of use = Y (typical district)')
    >>> print(figure.get_suptitle())
    95 % bands; in a group whose effects are zero; held: livch = 0 (reference)
    """
    import pandas as pd

    check_level(level)
    if estimand is None:
        estimand = "population" if observed or fit.engine == "gee" else "typical"
    if estimand not in ("typical", "population"):
        raise FitError(f'estimand should be "typical" or "population", not "{estimand}": a curve is of no one group')
    if observed and np.ptp(fit.design.offset) > 0.0:
        raise FitError(
            "rows that differ in their offset have no common scale to be observed on; draw the curve with "
            "observed=False"
        )
    frame, factors = _predictors(fit)
    _check_roles(frame, factors, x, by, facet)
    held, words = _held(frame, factors, {x, by, facet})
    cells = list(cells_of(coded(frame, facet, factors), coded(frame, by, factors)))
    parts = [_along(cell, frame[x].to_numpy(dtype=float)[cell.rows], held, x, by, facet) for cell in cells]
    predicted = fit.predict(pd.concat(parts, ignore_index=True), estimand=estimand, level=level)
    curves, seen, start = [], [], 0
    for cell, part in zip(cells, parts, strict=True):
        rows = predicted.iloc[start : start + len(part)]
        start += len(part)
        estimate, low, high = (rows[name].to_numpy() for name in ("estimate", "conf_low", "conf_high"))
        curves.append(Curve(str(cell.facet), str(cell.by), part[x].to_numpy(), estimate, low, high))
        if observed:
            seen.append(_observed(fit, cell, frame[x].to_numpy(dtype=float)[cell.rows], part[x].to_numpy()))
    has_zero = fit.design.family.name != "gaussian"
    label = f"{response_words(fit.design)}{estimand_words(fit, estimand)}"
    figure = draw_curves(curves, x, label, by, facet, has_zero, seen)
    where = [ESTIMANDS[estimand]] if fit.design.groups or fit.engine == "gee" else []
    said = [f"{percent(level)} bands", *where, *([f"held: {words}"] if words else [])]
    if observed:
        said.append(f"thin: observed, smoothed by lowess{', nothing held' if words else ''}")
    headline(figure, "; ".join(said))
    return figure


def _observed(fit: Fit, cell: Cell, x: Array, at: Array) -> Curve:
    """What was observed of a cell, per trial, smoothed."""
    response, freq = fit.design.response, fit.design.freq
    trials = response.trials[cell.rows] if fit.design.family.is_binary else np.ones(len(cell.rows))
    answered = trials > 0.0
    x, y, trials = x[answered], response.y[cell.rows][answered] / trials[answered], trials[answered]
    smooth = lowess(x, y, at, weights=trials * freq[cell.rows][answered])
    if fit.design.family.name != "gaussian":
        smooth = np.clip(smooth, 0.0, 1.0 if fit.design.family.is_binary else None)
    return Curve(str(cell.facet), str(cell.by), at, smooth)


def _predictors(fit: Fit) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    """Columns that a prediction needs, in the model's rows, and the levels of those that are factors."""
    import pandas as pd

    design = fit.design
    formula = design.formula
    names = [*matrix_factors(formula), *(name for text in formula.offsets for name in columns_of(text))]
    if not names:
        return pd.DataFrame(index=pd.RangeIndex(len(design.rows))), {}
    frame = select(fit.model.data, list(dict.fromkeys(names))).iloc[design.rows]
    factors = {name: list(levels) for name, levels in design.fixed_levels.items() if name in frame}
    for name in frame:
        # A number that the formula turns into a factor has levels, no mean.
        if name not in factors and re.search(rf"\b(C|factor)\(\s*{re.escape(str(name))}\b", formula.text):
            factors[str(name)] = sorted(frame[name].unique())
    return frame, factors


def _check_roles(frame: pd.DataFrame, factors: dict[str, list[Any]], x: str, by: str | None, facet: str | None) -> None:
    """Refuse columns that cannot be what they are asked to be."""
    numbers = [str(name) for name in frame if name not in factors]
    if x not in numbers:
        why = "is a factor" if x in factors else "is no predictor of the model"
        raise DataError(f'"{x}" {why}; a curve runs along a numeric one, and {there_are(x, numbers)}')
    for role, name in (("by", by), ("facet", facet)):
        if name is not None and name not in factors:
            raise DataError(f'{role} should be a factor of the model, not "{name}"; {there_are(name, factors)}')
    if by is not None and by == facet:
        raise DataError(f'by and facet are both "{by}"; give each a factor of its own')


def there_are(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return among(name, names) if names else "there is none"


def _held(frame: pd.DataFrame, factors: dict[str, list[Any]], moving: set[str | None]) -> tuple[dict[str, Any], str]:
    """Values at which the other predictors stay, and the same in words."""
    held: dict[str, Any] = {}
    words = []
    for name in (str(name) for name in frame if name not in moving):
        if name in factors:
            held[name] = factors[name][0]
            words.append(f"{name} = {held[name]} (reference)")
        else:
            held[name] = float(frame[name].mean())
            words.append(f"{name} = {held[name]:.3g} (mean)")
    return held, ", ".join(words)


def coded(frame: pd.DataFrame, name: str | None, factors: dict[str, list[Any]]) -> tuple[list[Any], Array]:
    """Levels and codes (n,) of a factor; one level for all rows without a factor."""
    if name is None:
        return [""], np.zeros(len(frame), dtype=int)
    place = {level: i for i, level in enumerate(factors[name])}
    return factors[name], np.array([place[value] for value in frame[name]])


def _along(
    cell: Cell, observed: Array, held: dict[str, Any], x: str, by: str | None, facet: str | None
) -> pd.DataFrame:
    """Rows to predict for: the range of x that was observed in a cell."""
    import pandas as pd

    own = {name: value for name, value in ((by, cell.by), (facet, cell.facet)) if name is not None}
    return pd.DataFrame({**held, **own, x: grid_along(observed)})


def grid_along(observed: Array) -> Array:
    low, high = float(observed.min()), float(observed.max())
    return np.linspace(low, high, GRID) if high > low else np.array([low])
