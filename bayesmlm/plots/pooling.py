"""Shrinkage: what each group says by itself, what the model makes of it, and what all say together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError, among
from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import (
    GRID,
    MUTED,
    PALETTE,
    counted,
    filled,
    headline,
    new_canvas,
    reading_of,
    require_groups,
    unit_words,
)
from bayesmlm.plots.unpooled import own_estimates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["shrinkage"]

Array = np.ndarray[Any, Any]

ORDERS = ("size", "value")


@dataclass(frozen=True, slots=True)
class _Pooling:
    """Effects of one grouping: of each group by itself (NaN without a maximum) and by the model, (groups, k)."""

    name: str
    terms: tuple[str, ...]
    levels: tuple[str, ...]
    sizes: Array
    unit: str
    own: Array
    partial: Array


def shrinkage(fit: Fit, group: str | None = None, term: str | None = None, order: str = "size") -> Figure:
    """Draw what partial pooling does: each group's own estimate, the model's, and none at all.

    No pooling is the group's effect by maximum likelihood from its own rows alone, given the coefficients and all
    other effects of the fit.  Complete pooling is an effect of zero.  The model's estimate lies between, the nearer to
    zero the fewer rows the group has.  An intercept and a slope are drawn as arrows in their plane, from the
    group's own estimate to the model's.

    Parameters
    ----------
    fit : Fit
        Of a likelihood or a posterior.
    group : str, optional
        A grouping of the model; its first without it.
    term : str, optional
        One of the grouping's terms; without it the first, or the first two as arrows.
    order : {"size", "value"}
        Of the groups of one term, along the axis: by their number of rows or by the model's estimate.

    Returns
    -------
    matplotlib.figure.Figure
        Groups whose own estimate does not exist (all answers the same) or lies outside the axis are triangles at
        its edge.

    Raises
    ------
    FitError
        For a GEE or a model without groups, and a grouping, term or order that does not exist.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> figure = shrinkage(fit)
    >>> figure.axes[0].get_ylabel()
    'deviation from the average district (log-odds)'
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['by itself (no pooling)', 'in the model (partial pooling)', 'all alike (complete pooling)', 'by itself: none']
    """
    require_groups(fit, "shrinkage")
    names = list(dict.fromkeys(g.name for g in fit.design.groups))
    group = names[0] if group is None else group
    if group not in names:
        raise FitError(f'the model has no grouping "{group}"; {among(group, names)}')
    if order not in ORDERS:
        raise FitError(f'order should be "size" or "value", not "{order}"')
    found = _pooling(fit, group)
    if term is not None and term not in found.terms:
        raise FitError(f'{group} has no effect of "{term}"; {among(term, found.terms)}')
    if len(found.terms) > 1 and term is None:
        figure = _draw_arrows(fit, found)
    else:
        figure = _draw_line(fit, found, found.terms.index(term) if term is not None else 0, order)
    none = int(np.isnan(found.own).any(axis=1).sum())
    words = f"; {counted(none, 'group')} of {len(found.levels):,} without an estimate of its own" if none else ""
    headline(figure, f"{reading_of(fit)}: shrinkage of {group}{words}")
    return figure


def _pooling(fit: Fit, name: str) -> _Pooling:
    """Put the effects of all terms of a grouping side by side, with and without the model."""
    design = fit.design
    groups = [g for g in design.groups if g.name == name]
    terms = tuple(term for g in groups for term in g.terms)
    z, codes, levels = np.column_stack([g.z for g in groups]), groups[0].codes, groups[0].levels
    effects = fit.ranef()
    rows = effects[effects.group == name].pivot(index="level", columns="term", values="estimate")
    partial = rows.loc[list(levels), list(terms)].to_numpy()
    eta = fit.predict(kind="link").estimate.to_numpy() - np.einsum("nk,nk->n", z, partial[codes])
    response = design.response
    y, trials = response.y, response.trials if design.family.is_binary else np.ones(len(codes))
    own = own_estimates(design.family, y, trials, design.freq * design.weights, eta, codes, z)
    unit = "trials" if (trials != 1.0).any() else "rows"
    return _Pooling(name, terms, tuple(levels), np.bincount(codes, design.freq * trials), unit, own, partial)


def _reach(own: Array, partial: Array) -> tuple[float, float]:
    """Ends of an axis that hold all the model's estimates, and the groups' own but for a few far out."""
    own = own[np.isfinite(own)]
    low, high = partial.min(), partial.max()
    if len(own):
        q25, q75 = np.quantile(own, [0.25, 0.75])
        far = 2.0 * (q75 - q25)
        low = min(low, own[own >= q25 - far].min())
        high = max(high, own[own <= q75 + far].max())
    room = 0.08 * (high - low) or 1.0
    return float(low - room), float(high + room)


def _draw_line(fit: Fit, found: _Pooling, place: int, order: str) -> Figure:
    """Draw one term: the groups along the axis, sorted."""
    own, partial, sizes = found.own[:, place], found.partial[:, place], found.sizes
    ranks = np.lexsort((partial, sizes)) if order == "size" else np.argsort(partial, kind="stable")
    own, partial, sizes = own[ranks], partial[ranks], sizes[ranks]
    figure, axes = new_canvas(1, 1, 4.0)
    ax = axes[0, 0]
    places, crowd = np.arange(len(own)), float(np.clip((80.0 / len(own)) ** 0.7, 0.08, 1.0))
    low, high = _reach(own, partial)
    shown = np.clip(own, low, high)
    # Without a maximum the likelihood still rises to one side: that of the model's estimate.
    edge = np.where(np.isfinite(own), shown, np.where(partial > 0.0, high, low))
    outside = ~np.isfinite(own) | (shown != own)
    inside = ~outside
    ax.vlines(places, edge, partial, color=MUTED, linewidth=0.9 * crowd, zorder=1)
    marks = {"linestyle": "none", "zorder": 2}
    ax.plot(
        places[inside], own[inside], "o", color=PALETTE[1], markerfacecolor="white", markersize=max(4.5 * crowd, 1.0),
        label="by itself (no pooling)", **marks,
    )  # fmt: skip
    ax.plot(
        places, partial, "o", color=PALETTE[0], markersize=max(4.0 * crowd, 1.0),
        label="in the model (partial pooling)", **marks,
    )  # fmt: skip
    ax.axhline(0.0, color="black", linewidth=0.9, zorder=0.9, label="all alike (complete pooling)")
    _draw_outside(ax, places[outside], edge[outside], high, max(5.0 * crowd, 2.0), bool(np.isfinite(own).all()))
    ax.set_ylim(low, high)
    ax.set_xlim(-1.0, len(own))
    _mark_sizes(ax, found, sizes, ranks, order)
    term = found.terms[place]
    what = f"the average {found.name}" if term == "Intercept" else f"the average effect of {term}"
    ax.set_ylabel(filled(f"deviation from {what} ({unit_words(fit.design)})", 48))
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    _name_marks(figure)
    return figure


def _draw_arrows(fit: Fit, found: _Pooling) -> Figure:
    """Draw two terms as arrows from each group's own estimate to the model's."""
    own, partial = found.own[:, :2], found.partial[:, :2]
    exist = np.isfinite(own).all(axis=1)
    (left, right), (bottom, top) = (_reach(own[exist, i], partial[:, i]) for i in range(2))
    start = np.clip(own, [left, bottom], [right, top])
    crowd = float(np.clip((80.0 / len(own)) ** 0.7, 0.08, 1.0))
    figure, axes = new_canvas(1, 1, 4.6)
    ax = axes[0, 0]
    ax.quiver(
        *start[exist].T, *(partial - start)[exist].T, angles="xy", scale_units="xy", scale=1.0, color=MUTED,
        width=0.0035 * crowd, headwidth=4.0, headlength=5.0, headaxislength=4.5, alpha=0.8, zorder=1,
    )  # fmt: skip
    inside = exist & (start == own).all(axis=1)
    marks = {"linestyle": "none", "zorder": 2}
    ax.plot(
        *own[inside].T, "o", color=PALETTE[1], markerfacecolor="white", markersize=max(4.5 * crowd, 1.0),
        label="by itself (no pooling)", **marks,
    )  # fmt: skip
    ax.plot(
        *partial.T, "o", color=PALETTE[0], markersize=max(4.0 * crowd, 1.0), label="in the model (partial pooling)",
        **marks,
    )  # fmt: skip
    ax.plot([0.0], [0.0], "P", color="black", markersize=8, label="all alike (complete pooling)", **marks)
    if len(own[exist & ~inside]):
        ax.plot(
            *start[exist & ~inside].T, "x", color=PALETTE[1], markersize=max(5.0 * crowd, 2.0), clip_on=False,
            label="by itself: outside", **marks,
        )  # fmt: skip
    ax.set(xlim=(left, right), ylim=(bottom, top))
    for side, term in zip(("x", "y"), found.terms, strict=False):
        what = f"the average {found.name}" if term == "Intercept" else f"the average effect of {term}"
        ax.set(**{f"{side}label": filled(f"deviation from {what} ({unit_words(fit.design)})", 60)})
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    _name_marks(figure)
    return figure


def _name_marks(figure: Figure) -> None:
    """Write below what the marks are, each as large as can be told apart however many there are."""
    from matplotlib.lines import Line2D

    legend = figure.legend(
        loc="outside lower left", ncols=4, fontsize=8, frameon=False, handletextpad=0.4, columnspacing=1.2
    )
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):
            handle.set_markersize(5.0)


def _draw_outside(ax: Axes, x: Array, y: Array, high: float, size: float, exist: bool) -> None:
    """Draw the groups that the axis cannot show as triangles at its edge."""
    label = "by itself: outside" if exist else "by itself: none"
    for up in (True, False):
        chosen = (y == high) == up
        if chosen.any():
            ax.plot(
                x[chosen], y[chosen], "^" if up else "v", color=PALETTE[1], markersize=size, linestyle="none",
                clip_on=False, label=label,
            )  # fmt: skip
            label = "_"


def _mark_sizes(ax: Axes, found: _Pooling, sizes: Array, ranks: Array, order: str) -> None:
    """Write along the axis how many rows the groups have, or which they are while their names fit."""
    if order == "size":
        ticks = np.unique(np.linspace(0, len(sizes) - 1, min(9, len(sizes))).astype(int))
        ax.set_xticks(ticks, [f"{sizes[i]:,.0f}" for i in ticks])
        ax.set_xlabel(f"{counted(len(sizes), 'group')} of {found.name}, by their number of {found.unit}")
    elif len(sizes) <= 30:
        ax.set_xticks(range(len(sizes)), [found.levels[i] for i in ranks], rotation=90 if len(sizes) > 12 else 0)
        ax.set_xlabel(found.name)
    else:
        ax.set_xticks([])
        ax.set_xlabel(f"{counted(len(sizes), 'group')} of {found.name}, by the model's estimate")
