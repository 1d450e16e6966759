"""Pictures of checks: replicated rates beside the observed ones, separation, and simulated residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.checks import PredictiveCheck, ResidualCheck, posterior_predictive, simulated_residuals
from bayesmlm.checks.splits import Split
from bayesmlm.errors import FitError
from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import (
    MUTED,
    PALETTE,
    counted,
    headline,
    new_canvas,
    reading_of,
    response_words,
    write_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["predictive_check", "residual_quantiles", "separation"]

Array = np.ndarray[Any, Any]

_LABELLED = 12
"""With more parts than this their names do not fit below an axis."""


def predictive_check(check: PredictiveCheck | Fit) -> Figure:
    """Draw the discrepancies of a posterior predictive check: a panel for each row of its table.

    Parameters
    ----------
    check : PredictiveCheck or Fit
        Of a fit the check is made with its defaults.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> [ax.get_title().split(",")[0] for ax in predictive_check(fit).axes]
    ['district: rates', 'district: sd of rates', 'age: rates', 'calibration', 'ranks among replicates']
    """
    check = posterior_predictive(check) if isinstance(check, Fit) else _expected(check, PredictiveCheck)
    table = check.table().set_index(["discrepancy", "by"]).p_value
    word = check.word
    panels: list[tuple[Any, ...]] = []
    for split in check.by_group:
        rates = check.rates(split)
        p = table[f"χ² of {word}s", split.name]
        panels.append((_draw_groups, f"{split.name}: {word}s, χ² p {p:.3f}", split, rates, word))
        p = table[f"sd of {word}s", split.name]
        panels.append((_draw_spread, f"{split.name}: sd of {word}s, p {p:.3f}", rates.std(axis=1, ddof=1), word))
    for split in check.by_column:
        p = table[f"χ² of {word}s", split.name]
        panels.append((_draw_bins, f"{split.name}: {word}s, χ² p {p:.3f}", split, check.rates(split), word))
    split = check.by_prediction()
    p = table["χ² of calibration", split.name]
    panels.append((_draw_calibration, f"calibration, χ² p {p:.3f}", split, check.rates(split), check.predicted, word))
    panels.append((_draw_ranks, "ranks among replicates, randomised", check))
    rows = -(-len(panels) // 2)
    figure, axes = new_canvas(rows, 2, 0.4 + 2.3 * rows)
    for ax, (draw, title, *what) in zip(axes.flat, panels, strict=False):
        draw(ax, *what)
        write_title(ax, title, 55)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    sets = check.replicates
    kept = "new effects of groups" if sets.groups == "new" else "the groups' own effects"
    headline(
        figure,
        f"{check.name}: {response_words(check.design)}; black is observed, blue the 50 and 95 % of "
        f"{counted(len(sets.responses) - 1, 'replicate')} with {kept}",
    )
    return figure


def _expected(given: Any, kind: type) -> Any:
    if not isinstance(given, kind):
        raise FitError(f"this draws a fit, or a {kind.__name__}, not {given!r}")
    return given


def _draw_intervals(ax: Axes, places: Array, values: Array, width: float) -> None:
    """Draw the 50 and 95 % intervals of replicates, (sets, places)."""
    low, q25, q75, high = np.quantile(values, [0.025, 0.25, 0.75, 0.975], axis=0)
    ax.vlines(places, low, high, color=PALETTE[5], linewidth=min(1.5, 0.5 * width))
    ax.vlines(places, q25, q75, color=PALETTE[0], linewidth=min(4.0, 0.8 * width))


def _draw_groups(ax: Axes, split: Split, rates: Array, word: str) -> None:
    order = np.argsort(rates[0], kind="stable")
    places, seen = np.arange(len(order)), rates[0, order]
    _draw_intervals(ax, places, rates[1:, order], 170.0 / len(order))
    low, high = np.quantile(rates[1:, order], [0.025, 0.975], axis=0)
    outside = (seen < low) | (seen > high)
    ax.plot(places[~outside], seen[~outside], "o", color="black", markersize=2.5)
    ax.plot(places[outside], seen[outside], "D", color=PALETTE[1], markersize=3.5)
    ax.set_xlabel(f"{counted(len(order), 'group')} by observed {word}; {int(outside.sum())} outside 95 %")
    ax.set_xticks([])
    ax.set_ylabel(word)


def _draw_spread(ax: Axes, values: Array, word: str) -> None:
    ax.hist(values[1:], bins=25, color=PALETTE[5])
    ax.axvline(values[0], color="black", linewidth=1.6)
    ax.set_xlabel(f"sd of {word}s between groups")
    ax.set_ylabel("replicates")


def _draw_bins(ax: Axes, split: Split, rates: Array, word: str) -> None:
    if split.values is None:
        places = np.arange(len(split), dtype=float)
        if len(split) <= _LABELLED:
            ax.set_xticks(places, split.labels)
        ax.set_xlim(-0.6, len(split) - 0.4)
    else:
        places = np.bincount(split.codes, split.values) / np.bincount(split.codes)
    _draw_intervals(ax, places, rates[1:], 8.0)
    ax.plot(places, rates[0], "o", color="black", markersize=3.5)
    ax.set_xlabel(split.name)
    ax.set_ylabel(word)


def _draw_calibration(ax: Axes, split: Split, rates: Array, predicted: Array, word: str) -> None:
    _draw_bins(ax, split, rates, word)
    ends = [predicted.min(), predicted.max()]
    ax.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=0)
    ax.set_ylabel(f"observed {word}")


def _draw_ranks(ax: Axes, check: PredictiveCheck) -> None:
    from bayesmlm.checks.monte_carlo import random_ranks

    ranks = random_ranks(check.replicates.responses, np.random.default_rng(check.seed))
    _draw_deviation(ax, ranks)
    ax.set_xlabel("rank of the response among replicates")


def _draw_deviation(ax: Axes, ranks: Array) -> None:
    """Draw the distribution function of ranks minus the uniform one, and where 95 % of the replicates' are."""
    points = np.linspace(0.0, 1.0, 101)
    ecdf = np.array([np.searchsorted(np.sort(row), points, side="right") / len(row) for row in ranks]) - points
    low, high = np.quantile(ecdf[1:], [0.025, 0.975], axis=0)
    ax.fill_between(points, low, high, color=PALETTE[5], alpha=0.5, linewidth=0.0)
    ax.plot(points, ecdf[0], color="black", linewidth=1.2)
    ax.axhline(0.0, color=MUTED, linewidth=0.8, zorder=0)
    ax.set_ylabel("Δ ECDF")


def separation(fit: Fit, estimand: str | None = None) -> Figure:
    """Draw a separation plot: the answers in the order of their predicted probabilities.

    A stripe is an answer, dark where the event happened; where a model tells the answers apart they crowd at the right.
    The line is the predicted probability, the triangle the number of events that it sums to.

    Parameters
    ----------
    fit : Fit
        Of a binary response.
    estimand : {"conditional", "typical", "population"}, optional
        Which probabilities; see ``fit.predict``.  Conditional without it, population of a GEE.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For a response that is not binary.

    References
    ----------
    B. Greenhill, M. D. Ward & A. Sacks (2011), The separation plot: a new visual method for evaluating the fit of
    binary models, American Journal of Political Science 55, 991-1002.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> separation(fit).axes[0].get_xlabel()
    '1,934 answers, by predicted probability of use = Y'
    """
    design = fit.design
    if not design.family.is_binary:
        raise FitError(f"a separation plot is of binary responses; those of {fit.name} are {design.family.name}")
    counts = design.freq * design.weights
    if estimand is None:
        estimand = "population" if fit.engine == "gee" else "conditional"
    predicted = fit.predict(estimand=estimand).estimate.to_numpy()
    order = np.argsort(predicted, kind="stable")
    successes, trials = (design.response.y * counts)[order], (design.response.trials * counts)[order]
    ends = np.cumsum(trials)
    figure, axes = new_canvas(1, 1, 1.9)
    ax = axes[0, 0]
    # A row of several trials is a stripe as wide as they are many and as dark as its share of events.
    with np.errstate(invalid="ignore"):
        share = np.nan_to_num(successes / trials)
    ax.pcolormesh(
        np.concatenate([[0.0], ends]), [0.0, 1.0], share[None], cmap=_stripes(), vmin=0.0, vmax=1.0, rasterized=True
    )
    ax.plot(ends - 0.5 * trials, predicted[order], color="black", linewidth=1.3)
    expected = float(predicted[order] @ trials)
    ax.plot(ends[-1] - expected, -0.05, "^", color="black", markersize=7, clip_on=False)
    ax.set_xlim(0.0, ends[-1])
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel(f"{round(ends[-1]):,} answers, by predicted {response_words(design)}", labelpad=8)
    ax.set_ylabel("probability")
    headline(
        figure,
        f"{reading_of(fit)} of {fit.name}: {round(float(successes.sum())):,} events (dark), {expected:,.0f} predicted "
        f"(triangle)",
    )
    return figure


def _stripes() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("stripes", ["#f5f0e6", PALETTE[1]])


def residual_quantiles(check: ResidualCheck | Fit, bins: int = 20) -> Figure:
    """Draw simulated residuals: their distribution, and their quartiles against the predicted mean.

    Left: the distribution function minus the uniform one, over the band that holds it in 95 % of replicates at each
    point.  Right: the quartiles of the residuals in bins of the rank of the prediction, over the bands of the
    replicates' own; they should lie level at 0.25, 0.5 and 0.75.

    Parameters
    ----------
    check : ResidualCheck or Fit
        Of a fit the residuals are simulated with defaults.
    bins : int

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> [ax.get_xlabel() for ax in residual_quantiles(fit).axes]
    ['simulated residual', 'rank of the predicted mean']
    """
    check = simulated_residuals(check) if isinstance(check, Fit) else _expected(check, ResidualCheck)
    table = check.table().set_index(["test", "by"]).p_value
    figure, axes = new_canvas(1, 2, 3.2)
    _draw_deviation(axes[0, 0], check.residuals)
    axes[0, 0].set_xlabel("simulated residual")
    tests = [test for test in ("uniformity", "dispersion") if (test, "") in table.index]
    write_title(axes[0, 0], ", ".join(f"{test} p {table[test, '']:.3f}" for test in tests), 50)
    _draw_quartiles(axes[0, 1], check, min(bins, max(2, len(check.predicted) // 10)))
    headline(figure, f"{check.name}: simulated residuals of {counted(len(check.predicted), 'row')}. {check.verdict}")
    return figure


def _draw_quartiles(ax: Axes, check: ResidualCheck, bins: int) -> None:
    n = len(check.predicted)
    order = np.argsort(check.predicted, kind="stable")
    if n <= 2000:
        ax.plot((np.arange(n) + 0.5) / n, check.residuals[0, order], ".", color=MUTED, markersize=1.5, zorder=0)
    parts = np.array_split(order, bins)
    places = (np.cumsum([len(part) for part in parts]) - [0.5 * len(part) for part in parts]) / n
    for quantile, colour in zip((0.25, 0.5, 0.75), PALETTE, strict=False):
        values = np.stack([np.quantile(check.residuals[:, part], quantile, axis=1) for part in parts], axis=1)
        low, high = np.quantile(values[1:], [0.025, 0.975], axis=0)
        ax.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0.0)
        ax.plot(places, values[0], color=colour, linewidth=1.3)
        ax.axhline(quantile, color="black", linewidth=0.6, linestyle=(0, (1, 2)))
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel("rank of the predicted mean")
    ax.set_ylabel("residual")
    write_title(ax, "quartiles, over the bands of replicates", 50)
