"""Prior predictive check: the rates that the priors predict, against those observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.plots.canvas import PALETTE, headline, new_canvas, response_words, write_title
from bayesmlm.plots.predictive import grouping_of, rates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmlm.design import Design
    from bayesmlm.model import Model

__all__ = ["prior_predictive"]

Array = np.ndarray[Any, Any]

BINS = 20


def prior_predictive(model: Model, group: str | None = None, draws: int = 500, seed: int = 1) -> Figure:
    """Compare the observed rates with those that the priors predict, before any response has been seen.

    A prior should call the observed rates possible, and impossible ones improbable: rates that all lie near 0 and 1
    say that the priors are wider than anyone believes.  Left: the rate of all rows, one per draw.  Middle: the rates of
    groups, pooled over the draws.  Right: their standard deviation between groups, one per draw.  Black is observed.

    Parameters
    ----------
    model : Model
    group : str, optional
        A grouping of the model, or any column of its data; the model's first grouping without it.  A model without
        groups has the left panel only, unless a column is named.
    draws : int
        From the priors, each with a response of every row.
    seed : int

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PriorError
        For a flat prior, from which nothing can be drawn.
    FitError
        For fewer than two draws.
    DataError
        For a name that is neither a grouping nor a column.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> figure = prior_predictive(m, draws=50)
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['rate of use = Y, all rows', 'rate of use = Y by district', 'sd of rates between groups']
    """
    if draws < 2:
        raise FitError(f"draws should be 2 or more, not {draws}")
    design = model.design
    grouping = grouping_of(model, group) if group is not None or design.groups else None
    tree = model.prior_predictive(draws, seed)
    y = tree["prior_predictive"][design.response.variable].to_numpy()[0]
    counted = np.asarray(design.freq if design.family.name == "gaussian" else design.freq * design.weights)

    def by(codes: Array, levels: int) -> tuple[Array, Array]:
        """Predicted (draws, levels) and observed (levels,) rates."""
        both = rates(np.vstack([y, design.response.y]) * counted, design.response.trials * counted, codes, levels)
        return both[:-1], both[-1]

    what = "rate" if design.family.is_binary else "mean"
    label = f"{what} of {response_words(design).removeprefix('probability of ').removeprefix('expected ')}"
    figure, axes = new_canvas(1, 1 if grouping is None else 3, 3.0)
    predicted, seen = by(np.zeros(len(design.X), dtype=np.intp), 1)
    _draw_numbers(axes[0, 0], predicted[:, 0], seen[0], design, f"{label}, all rows")
    if grouping is not None:
        name, codes, levels = grouping
        predicted, seen = by(codes, len(levels))
        _draw_groups(axes[0, 1], predicted, seen, design, f"{label} by {name}")
        with np.errstate(over="ignore", invalid="ignore"):  # of rates beyond all counting
            spreads = predicted.std(axis=1, ddof=1)
        _draw_numbers(axes[0, 2], spreads, seen.std(ddof=1), design, f"sd of {what}s between groups", spread=True)
    headline(figure, f"{model.name}: what its priors predict in {draws} draws; black is what was observed")
    return figure


def _edges(ax: Axes, values: Array, seen: Any, design: Design, spread: bool = False) -> list[float]:
    """Bins that hold the draws and what was observed, on the axis they are drawn on.

    Probabilities run from 0 to 1, others from the 1 to the 99 % quantile of the draws, so that a heavy tail leaves the
    rest visible; counts, whose logarithm the priors speak of, on an axis that is logarithmic from 1 on.
    """
    if design.family.is_binary and not spread:
        return np.linspace(0.0, 1.0, BINS + 1).tolist()
    low, high = np.quantile(values[np.isfinite(values)], [0.01, 0.99])
    counts = design.family.name == "poisson"
    low, high = 0.0 if spread or counts else min(low, np.min(seen)), max(high, np.max(seen))
    if not counts:
        return np.linspace(low, 1.02 * high if spread else high, BINS + 1).tolist()
    ax.set_xscale("asinh", linear_width=1.0)
    powers = np.unique(np.linspace(0.0, np.log10(max(high, 1.0)), 4).astype(int))
    powers = powers[powers > 0] if high > 1e5 else powers  # 1 would stand too near to 0
    ax.set_xticks([0.0, *(10.0**powers)], ["0", *(f"$10^{{{power}}}$" if power else "1" for power in powers)])
    ax.minorticks_off()
    return np.sinh(np.linspace(0.0, np.arcsinh(high), BINS + 1)).tolist()


def _draw_numbers(ax: Axes, values: Array, seen: float, design: Design, label: str, spread: bool = False) -> None:
    """Draw one number per draw, and the observed one."""
    ax.hist(values, bins=_edges(ax, values, seen, design, spread), color=PALETTE[5])
    ax.axvline(seen, color="black", linewidth=1.6)
    share = float((values > seen).mean())
    write_title(ax, f"line: observed, {seen:.3g}\n{100 * share:.0f} % of draws above", 40)
    ax.set_xlabel(label)
    ax.set_ylabel("draws")


def _draw_groups(ax: Axes, predicted: Array, seen: Array, design: Design, label: str) -> None:
    """Draw the rates of all groups and draws as one histogram, and the observed ones in the same bins."""
    edges = _edges(ax, predicted, seen, design)
    ax.hist(predicted.ravel(), bins=edges, weights=np.full(predicted.size, 1.0 / predicted.size), color=PALETTE[5])
    ax.hist(
        seen, bins=edges, weights=np.full(len(seen), 1.0 / len(seen)), histtype="step", color="black", linewidth=1.2
    )
    write_title(ax, f"line: the {len(seen):,} observed", 40)
    ax.set_xlabel(label)
    ax.set_ylabel("share of groups")
