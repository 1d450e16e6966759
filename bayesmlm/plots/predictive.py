"""Posterior predictive check of the rates of groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import DataError, FitError
from bayesmlm.fit import Fit
from bayesmlm.frames import select
from bayesmlm.plots.canvas import PALETTE, counted, headline, new_canvas, require_posterior, response_words, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmlm.model import Model


Array = np.ndarray[Any, Any]


def posterior_predictive_rates(fit: Fit, group: str | None = None, draws: int = 200, seed: int = 1) -> Figure:
    """Compare the observed rate of each group with rates replicated from the posterior.

    A distribution over all rows says nothing of 0/1 responses; what a multilevel model can get wrong is the rates of
    groups and how much they differ.  Left: every group's observed rate, and the 50 and 90 % intervals of its
    replicated rates.  Right: the standard deviation of the rates between groups, replicated and observed.

    Parameters
    ----------
    fit : BayesFit
    group : str, optional
        A grouping of the model, or any column of its data, so that a grouping the model leaves out can be
        checked; the model's first grouping without it.
    draws : int
        Posterior draws to replicate from.
    seed : int

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For a fit without draws, a model without groups where none is named, or rows that carry frequencies.
    DataError
        For a name that is neither a grouping nor a column.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> figure = posterior_predictive_rates(m.sample(draws=50, tune=100, chains=2))
    >>> figure.axes[0].get_ylabel(), figure.axes[1].get_xlabel()
    ('rate of use = Y', 'sd of rates between groups')
    """
    posterior = require_posterior(fit, "posterior_predictive_rates", "ask predictive_check, which serves both")
    design = posterior.design
    if (design.freq != 1.0).any():
        raise FitError("rows that stand for several cannot be replicated one by one; give counts as cbind(s, f)")
    if draws < 2:
        raise FitError(f"draws should be 2 or more, not {draws}")
    name, codes, levels = grouping_of(posterior.model, group)
    successes = posterior.posterior_predictive(seed, draws)
    replicated = rates(successes, design.response.trials, codes, len(levels))
    observed = rates(design.response.y[None], design.response.trials, codes, len(levels))[0]
    figure, axes = new_canvas(1, 2, 3.6, width_ratios=[2.1, 1])
    what = response_words(design).removeprefix("probability of ").removeprefix("expected ")
    word = "rate" if design.family.is_binary else "mean"
    inside = _draw_rates(axes[0, 0], observed, replicated, levels, name, word)
    axes[0, 0].set_ylabel(f"rate of {what}" if word == "rate" else f"mean {what}")
    _draw_spread(axes[0, 1], observed, replicated, word)
    headline(
        figure,
        f"{name}: {inside} of {len(levels)} observed {word}s lie in the 90 % interval of "
        f"{counted(len(replicated), 'replication')}",
    )
    return figure


def grouping_of(model: Model, group: str | None) -> tuple[str, Array, tuple[str, ...]]:
    """Name, codes (n,) and levels of a grouping of the model, or of a column of its data."""
    groupings = {g.name: g for g in model.design.groups}
    if group is None:
        if not groupings:
            raise FitError("the model has no groups; name a column of its data, group=..., to compare rates by")
        group = next(iter(groupings))
    if group in groupings:
        return group, groupings[group].codes, groupings[group].levels
    column = select(model.data, [group])[group].iloc[model.design.rows]
    if column.isna().any():
        raise DataError(f'column "{group}" is missing in some of the rows the model uses; rates by it are not defined')
    levels, codes = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)
    return group, codes, tuple(levels)


def rates(successes: Array, trials: Array, codes: Array, n_levels: int) -> Array:
    """Successes per trial by group, (draws, n) -> (draws, groups)."""
    totals = np.stack([np.bincount(codes, weights=row, minlength=n_levels) for row in successes])
    return totals / np.bincount(codes, weights=trials, minlength=n_levels)


LABELLED_RATES = 30
"""With more groups than this their names do not fit below the axis."""


def _draw_rates(ax: Axes, observed: Array, replicated: Array, levels: Sequence[str], name: str, word: str) -> int:
    """Draw groups in order of their observed rates; return how many lie in the 90 % interval."""
    order = np.argsort(observed, kind="stable")
    places = np.arange(len(order))
    q05, q25, q75, q95 = np.quantile(replicated[:, order], [0.05, 0.25, 0.75, 0.95], axis=0)
    seen = observed[order]
    outside = (seen < q05) | (seen > q95)
    room = 300.0 / len(order)  # points of paper per group
    ax.vlines(places, q05, q95, color=PALETTE[5], linewidth=min(1.5, 0.45 * room), label="replicated, 90 %")
    ax.vlines(places, q25, q75, color=PALETTE[0], linewidth=min(4.0, 0.7 * room), label="50 %")
    ax.plot(places[~outside], seen[~outside], "o", color="black", markersize=2.8, label="observed")
    if outside.any():
        ax.plot(places[outside], seen[outside], "D", color=PALETTE[1], markersize=4, label="outside 90 %")
    ax.set_xlabel(f"{counted(len(order), 'group')} of {name}, by observed {word}")
    if len(order) <= LABELLED_RATES:
        ax.set_xticks(places, [levels[i] for i in order], rotation=90 if len(order) > 12 else 0)
        ax.set_xlabel(f"{name}, by observed {word}")
    else:
        ax.set_xticks([])
    ax.legend(
        fontsize=8, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2,
        columnspacing=1.2, handlelength=1.5,
    )  # fmt: skip
    return int((~outside).sum())


def _draw_spread(ax: Axes, observed: Array, replicated: Array, word: str) -> None:
    """Draw the replicated standard deviations of the rates between groups, and the observed one."""
    spread, seen = replicated.std(axis=1, ddof=1), observed.std(ddof=1)
    ax.hist(spread, bins=20, color=PALETTE[5])
    ax.axvline(seen, color="black", linewidth=1.6)
    share = float((spread >= seen).mean())
    write_title(ax, f"line: observed, {seen:.3f}\n{100 * share:.0f} % of replications above")
    ax.set_xlabel(f"sd of {word}s between groups")
    ax.set_ylabel("replications")
