"""Figures: group effects, coefficients, chains, predictive checks and curves of probability.

Every function returns a matplotlib ``Figure`` that no window owns: a notebook shows it, ``figure.savefig`` keeps it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design, matrix_factors
from bayesmlm.errors import DataError, FitError, among
from bayesmlm.expressions import columns_of
from bayesmlm.fit import ESTIMANDS, Fit, check_level
from bayesmlm.frames import complete_rows, select

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmlm.bayes.fit import BayesFit

__all__ = [
    "caterpillar",
    "coefficients",
    "lowess",
    "posterior_predictive_rates",
    "probability_curves",
    "smoothed_proportions",
    "trace_rank",
]

Array = np.ndarray[Any, Any]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that stay apart for colour-blind readers: Okabe & Ito (2008), without their yellow."""

MARKERS, LINES = ("o", "s", "D", "^", "v", "P", "X"), ("-", "--", "-.", (0, (1, 1)))
"""What else tells series apart, so that colour is never the only sign."""

MUTED = "#7f7f7f"
WIDTH = 7.0
"""Width of every figure in inches."""

READINGS = {"ml": "ML", "map": "MAP", "nuts": "posterior", "marginal": "marginal posterior", "gee": "GEE"}
"""What a fit's engine is called in a figure."""


# canvas ---------------------------------------------------------------------------------------------------


def _canvas(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, Array]:
    """Make a figure with a grid of axes, shape (rows, columns).

    pyplot makes it, because that is what teaches a notebook to show figures, and forgets it at once: no window
    opens and none leaks.
    """
    import matplotlib.pyplot as plt

    with plt.ioff():
        figure, axes = plt.subplots(
            rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **options
        )
        plt.close(figure)
    for ax in axes.flat:
        _tidy(ax)
    return figure, axes


def _tidy(ax: Axes) -> None:
    """Give axes the house's plain look."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8, length=3)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_fontsize(9)


def _fill(text: str, width: int = 100) -> str:
    """Break a line between words, never at the hyphen of "log-odds"."""
    return textwrap.fill(text, width, break_on_hyphens=False)


def _title(ax: Axes, text: str, width: int = 100, **where: Any) -> None:
    ax.set_title("\n".join(_fill(line, width) for line in text.split("\n")), fontsize=9, **where)


def _headline(figure: Figure, text: str) -> None:
    """Write one small line (or a few) above the axes, from the left."""
    figure.suptitle(_fill(text), x=0.01, ha="left", fontsize=9)


def _percent(level: float) -> str:
    return f"{100 * level:g} %"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# fits -----------------------------------------------------------------------------------------------------


def _reading(fit: Fit) -> str:
    return READINGS.get(fit.engine, fit.engine)


def _posterior(fit: Fit, asked: str) -> BayesFit:
    """Return the fit as a posterior, refusing any other."""
    from bayesmlm.bayes.fit import BayesFit

    if not isinstance(fit, BayesFit):
        raise FitError(
            f"{asked} needs draws, and a fit by {_reading(fit)} has none; give it the result of Model.sample()"
        )
    return fit


def _quantity(component: str, group: str, term: str) -> str:
    """Name a row of a table in a figure."""
    return term if component == "fixed" else f"{component}({term} | {group})"


def _response_words(design: Design) -> str:
    response = design.response
    outcome = f"{response.name} = {response.event}" if response.event else response.name
    return f"probability of {outcome}" if design.family.is_binary else f"expected {outcome}"


# group effects --------------------------------------------------------------------------------------------


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
        For a model without groups, or a grouping it does not have.

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
    figure, axes = _canvas(1, len(panels), _height_of(most))
    order: dict[str, Array] = {}
    for ax, ((name, term), rows) in zip(axes[0], panels, strict=True):
        places = order.setdefault(name, np.argsort(rows.estimate.to_numpy()))
        _draw_effects(ax, rows.iloc[places])
        what = f"the average {name}" if term == "Intercept" else f"the average effect of {term}"
        label = f"deviation from {what} ({fit.design.family.link.scale_word})"
        ax.set_xlabel(_fill(label, 90 // len(panels)))
        _name_levels(ax, name, rows.level.iloc[places].tolist())
        if len(panels) > 1:
            _title(ax, f"{name}: {term}")
    centre = {"ml": "conditional modes", "map": "conditional modes"}.get(fit.engine, "means")
    _headline(figure, f"{_reading(fit)}: {centre} with {_percent(level)} intervals; filled where zero lies outside")
    return figure


def _groupings(fit: Fit, group: str | None) -> list[str]:
    names = list(dict.fromkeys(g.name for g in fit.design.groups))
    if not names:
        raise FitError(f'the model "{fit.design.formula.text}" has no groups, so there are no group effects to draw')
    if group is None:
        return names
    if group not in names:
        raise FitError(f'the model has no grouping "{group}"; {among(group, names)}')
    return [group]


LABELLED_LEVELS = 130
"""With more groups than this their names could not be read."""


def _height_of(n_levels: int) -> float:
    """Height in inches that leaves room for a label per group."""
    if n_levels > LABELLED_LEVELS:
        return 7.0
    return max(2.5, 1.1 + (0.16 if n_levels <= 40 else 0.115) * n_levels)


def _draw_effects(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw one panel of group effects, rows from the bottom up."""
    places = np.arange(len(rows))
    low, high = rows.conf_low.to_numpy(), rows.conf_high.to_numpy()
    crowd = min(1.0, LABELLED_LEVELS / len(rows))
    apart = (low > 0) | (high < 0)
    for chosen, colour, fill in ((~apart, MUTED, "white"), (apart, PALETTE[0], PALETTE[0])):
        ax.hlines(places[chosen], low[chosen], high[chosen], color=colour, linewidth=max(1.1 * crowd, 0.1))
        ax.plot(
            rows.estimate.to_numpy()[chosen], places[chosen], "o",
            markersize=max(3.5 * crowd, 1.0), color=colour, markerfacecolor=fill, linestyle="none",
        )  # fmt: skip
    ax.axvline(0.0, color="black", linewidth=0.8, zorder=0.9)
    ax.set_ylim(-1, len(rows))
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)


def _name_levels(ax: Axes, group: str, levels: list[str]) -> None:
    """Write the groups' names along the axis, from the bottom up, while there is room for them."""
    if len(levels) <= LABELLED_LEVELS:
        ax.set_yticks(range(len(levels)), levels)
        ax.tick_params(axis="y", labelsize=8 if len(levels) <= 40 else 6.5, length=0)
        ax.set_ylabel(group)
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(levels):,} levels of {group}, sorted")


# coefficients ---------------------------------------------------------------------------------------------


def coefficients(*fits: Fit, level: float = 0.95) -> Figure:
    """Draw fixed effects, standard deviations and correlations of several fits, a panel each.

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
    labels = _fit_labels(fits)
    line = max(0.2, 0.14 * max(label.count("\n") + 1 for label in labels))
    figure, axes = _canvas(rows, columns, 0.7 + rows * (0.55 + line * len(fits)), sharey=True)
    for ax, name in zip(axes.flat, names, strict=False):
        _draw_quantity(ax, name, [table.get(name) for table in tables])
    for ax in axes.flat[len(names) :]:
        ax.remove()
    axes[0, 0].set_yticks(range(len(fits)), labels)
    axes[0, 0].set_ylim(len(fits) - 0.5, -0.5)
    unit = fits[0].design.family.link.scale_word
    figure.supxlabel(
        f"estimate and {_percent(level)} interval: fixed effects in {unit} per unit of the predictor,\n"
        f"sd in {unit}; each panel has its own scale",
        fontsize=9,
    )
    return figure


def _quantities(fit: Fit, level: float) -> dict[str, tuple[float, float, float]]:
    """Estimate and limits by name."""
    table = fit.table(level=level)
    rows = table[table.component.isin(["fixed", "sd", "cor"])]
    return {
        _quantity(row.component, row.group, row.term): (row.estimate, row.conf_low, row.conf_high)
        for row in rows.itertuples()
    }


def _fit_labels(fits: Sequence[Fit]) -> list[str]:
    """Name fits by what differs among them: reading, model or both."""
    one_model = len({fit.name for fit in fits}) == 1
    one_reading = len({fit.engine for fit in fits}) == 1
    if one_model:
        return [_reading(fit) for fit in fits]
    names = [fit.name if one_reading else f"{fit.name}, {_reading(fit)}" for fit in fits]
    return [_fill(name, 28) for name in names]


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
    _title(ax, name, 28)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(axis="y", length=0)


# chains ---------------------------------------------------------------------------------------------------

TRACE_POINTS, RANK_POINTS = 300, (50, 500)
"""Draws of a chain that a trace can show; the fewest and the most that ranks are taken of."""


def trace_rank(fit: Fit) -> Figure:
    """Draw traces and rank plots of fixed effects, standard deviations and correlations.

    The rank plot shows, chain by chain, how far the distribution of the draws' ranks is from uniform; p is that of
    ArviZ's test that all chains sample one distribution, and points that speak against it are marked.  Chains
    are thinned: a trace shows at most 300 draws of each, ranks are taken of nearly independent ones, as the test asks.

    Parameters
    ----------
    fit : BayesFit

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For a fit without draws.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> figure = trace_rank(m.sample(draws=50, tune=100, chains=2))
    >>> [ax.get_title(loc="left") for ax in figure.axes[::2]]
    ['Intercept', 'urban[Y]', 'sd(Intercept | district)']
    """
    import arviz_plots as azp

    posterior = _posterior(fit, "trace_rank")
    draws = _draws(posterior)
    names = [str(name) for name in draws]
    # Ranks set chains against each other: with one there is nothing to draw.
    columns = ["trace", "rank"] if draws.sizes["chain"] > 1 else ["trace"]
    figure, axes = _canvas(len(names), len(columns), 0.8 + 1.0 * len(names))
    collection = _collection(figure, axes, draws, columns)
    collection.coords = {"column": "trace"}
    azp.plot_trace(
        _every(draws, -(-draws.sizes["draw"] // TRACE_POINTS)),
        plot_collection=collection,
        visuals={"trace": {"width": 0.5, "alpha": 0.8}, "title": False, "xlabel": False, "ticklabels": False},
    )
    ranks = ""
    if "rank" in columns:
        step = _independent_step(posterior)
        ranks = f"; right: each chain's ECDF of ranks minus the uniform, {_share(step)}"
        collection.coords = {"column": "rank"}
        azp.plot_rank(
            _every(draws, step),
            plot_collection=collection,
            visuals={"ecdf_lines": {"width": 1.0}, "title": False, "xlabel": False, "remove_axis": False},
        )
        _label_ranks(axes[:, 1])
    _mark_divergences(posterior, axes[:, 0])
    _label_traces(axes, names)
    chains = _count(draws.sizes["chain"], "chain")
    _headline(figure, f"left: {chains}, a colour each{ranks}" if ranks else f"{chains}: ranks would compare several")
    return figure


def _draws(fit: BayesFit) -> xr.Dataset:
    """Draws of fixed effects, standard deviations and correlations, one variable each, named as in the figures."""
    import xarray as xr

    posterior, design = fit.tree["posterior"], fit.design
    pieces = [("fixed", "", "beta", design.terms)]
    for component in ("sd", "cor"):
        for group, label in zip(design.groups, design.group_labels, strict=True):
            terms = group.terms if component == "sd" else group.pairs
            pieces += [(component, group.name, f"{component}_{label}", terms)] if terms else []
    return xr.Dataset(
        {
            _quantity(component, group, term): (("chain", "draw"), posterior[variable].to_numpy()[:, :, place])
            for component, group, variable, terms in pieces
            for place, term in enumerate(terms)
        },
        coords={name: np.arange(posterior.sizes[name]) for name in ("chain", "draw")},
    )


def _every(draws: xr.Dataset, step: int) -> xr.DataTree:
    """Keep every so many draws of each chain, as ArviZ wants them."""
    import xarray as xr

    return xr.DataTree.from_dict({"posterior": draws.isel(draw=slice(None, None, step))})


def _independent_step(fit: BayesFit) -> int:
    """Step that leaves nearly independent draws.

    ArviZ's test of the ranks takes the draws of a chain for independent.  Of healthy chains with an autocorrelation of
    0.6 it finds 39 in 100 different at p < 0.01 (4 chains of 500 draws, simulated), and 2 in 100 once they are thinned
    to their effective size.
    """
    sizes = fit.tree["posterior"].sizes
    table = fit.table()
    least = float(np.nanmin([table.ess_bulk, table.ess_tail], initial=np.inf))
    fewest, most = RANK_POINTS
    wanted = max(np.ceil(sizes["chain"] * sizes["draw"] / least), np.ceil(sizes["draw"] / most))
    return int(np.clip(wanted, 1, max(sizes["draw"] // fewest, 1)))


def _share(step: int) -> str:
    return "of every draw" if step == 1 else f"of one draw in {step}"


def _collection(figure: Figure, axes: Array, draws: xr.Dataset, columns: list[str]) -> Any:
    """Hand the axes to ArviZ: a row per variable, a column per plot, a colour per chain."""
    import xarray as xr
    from arviz_plots import PlotCollection

    def grid(values: Array) -> xr.Dataset:
        return xr.Dataset(
            {name: ("column", row) for name, row in zip(draws, values, strict=True)}, coords={"column": columns}
        )

    index = np.indices(axes.shape)
    places = {"plot": grid(axes), "row_index": grid(index[0]), "col_index": grid(index[1])}
    root = xr.Dataset({"figure": ((), np.array(figure, dtype=object))})
    return PlotCollection(
        draws.expand_dims(column=columns),
        xr.DataTree.from_dict({"/": root, **places}),
        backend="matplotlib",
        aes={"color": ["chain"], "overlay": ["chain"]},
        color=list(PALETTE),
    )


def _mark_divergences(fit: BayesFit, axes: Array) -> None:
    """Mark the draws that end in a divergence, in any chain, along the foot of every trace."""
    if "sample_stats" not in fit.tree.children or "diverging" not in fit.tree["sample_stats"]:
        return
    where = np.flatnonzero(fit.tree["sample_stats"]["diverging"].to_numpy().any(axis=0))
    for ax in axes if len(where) else ():
        ax.plot(where, np.zeros(len(where)), "|", color="black", markersize=7, transform=ax.get_xaxis_transform())


def _label_traces(axes: Array, names: Sequence[str]) -> None:
    """Name the rows; only the lowest carries numbers along its foot."""
    for row, name in zip(axes, names, strict=True):
        _title(row[0], name, loc="left")
        row[0].set_ylabel("value")
        for ax in row:
            ax.tick_params(labelbottom=ax in axes[-1])
    axes[-1, 0].set_xlabel("draw")
    axes[0, 0].figure.align_ylabels(list(axes[:, 0]))


def _label_ranks(axes: Array) -> None:
    for ax in axes:
        for text in ax.texts:
            # ArviZ writes "p=0.31(α=0.01)", in the size of a heading.
            value = text.get_text().split("(")[0].removeprefix("p=").strip()
            text.set(text="p < 0.01" if value == "0.00" else f"p = {value}", fontsize=8)
        ax.set_ylabel("Δ ECDF")
        ax.axhline(0.0, color="black", linewidth=0.8, zorder=0)
    axes[-1].set_xlabel("fractional rank among all draws")


# predictive check -----------------------------------------------------------------------------------------


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
    posterior = _posterior(fit, "posterior_predictive_rates")
    design = posterior.design
    if (design.freq != 1.0).any():
        raise FitError("rows that stand for several cannot be replicated one by one; give counts as cbind(s, f)")
    if draws < 2:
        raise FitError(f"draws should be 2 or more, not {draws}")
    name, codes, levels = _grouping_of(posterior, group)
    successes = _spread_out(posterior, draws).posterior_predictive(seed, draws)
    replicated = _rates(successes, design.response.trials, codes, len(levels))
    observed = _rates(design.response.y[None], design.response.trials, codes, len(levels))[0]
    figure, axes = _canvas(1, 2, 3.6, width_ratios=[2.4, 1])
    what = _response_words(design).removeprefix("probability of ")
    inside = _draw_rates(axes[0, 0], observed, replicated, levels, name)
    axes[0, 0].set_ylabel(f"rate of {what}" if design.family.is_binary else f"mean {what}")
    _draw_spread(axes[0, 1], observed, replicated)
    _headline(
        figure,
        f"{name}: {inside} of {len(levels)} observed rates lie in the 90 % interval of {len(replicated)} replications",
    )
    return figure


def _spread_out(fit: BayesFit, draws: int) -> BayesFit:
    """Keep as few evenly spread draws of each chain as make up ``draws``: a linear predictor costs draws × rows."""
    import xarray as xr

    from bayesmlm.bayes.fit import BayesFit

    posterior = fit.tree["posterior"].to_dataset()
    each = min(-(-draws // posterior.sizes["chain"]), posterior.sizes["draw"])
    chosen = np.linspace(0, posterior.sizes["draw"] - 1, each).astype(int)
    return BayesFit(fit.model, xr.DataTree.from_dict({"posterior": posterior.isel(draw=chosen)}))


def _grouping_of(fit: Fit, group: str | None) -> tuple[str, Array, tuple[str, ...]]:
    """Name, codes (n,) and levels of a grouping of the model, or of a column of its data."""
    groupings = {g.name: g for g in fit.design.groups}
    if group is None:
        if not groupings:
            raise FitError("the model has no groups; name a column of its data, group=..., to compare rates by")
        group = next(iter(groupings))
    if group in groupings:
        return group, groupings[group].codes, groupings[group].levels
    column = select(fit.model.data, [group])[group].iloc[fit.design.rows]
    if column.isna().any():
        raise DataError(f'column "{group}" is missing in some of the rows the model uses; rates by it are not defined')
    levels, codes = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)
    return group, codes, tuple(levels)


def _rates(successes: Array, trials: Array, codes: Array, n_levels: int) -> Array:
    """Successes per trial by group, (draws, n) -> (draws, groups)."""
    totals = np.stack([np.bincount(codes, weights=row, minlength=n_levels) for row in successes])
    return totals / np.bincount(codes, weights=trials, minlength=n_levels)


LABELLED_RATES = 30
"""With more groups than this their names do not fit below the axis."""


def _draw_rates(ax: Axes, observed: Array, replicated: Array, levels: Sequence[str], name: str) -> int:
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
    ax.set_xlabel(f"{_count(len(order), 'group')} of {name}, by observed rate")
    if len(order) <= LABELLED_RATES:
        ax.set_xticks(places, [levels[i] for i in order], rotation=90 if len(order) > 12 else 0)
        ax.set_xlabel(f"{name}, by observed rate")
    else:
        ax.set_xticks([])
    ax.legend(
        fontsize=8, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2,
        columnspacing=1.2, handlelength=1.5,
    )  # fmt: skip
    return int((~outside).sum())


def _draw_spread(ax: Axes, observed: Array, replicated: Array) -> None:
    """Draw the replicated standard deviations of the rates between groups, and the observed one."""
    spread, seen = replicated.std(axis=1, ddof=1), observed.std(ddof=1)
    ax.hist(spread, bins=20, color=PALETTE[5])
    ax.axvline(seen, color="black", linewidth=1.6)
    share = float((spread >= seen).mean())
    _title(ax, f"line: observed, {seen:.3f}\n{100 * share:.0f} % of replications above")
    ax.set_xlabel("sd of rates between groups")
    ax.set_ylabel("replications")


# curves ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Curve:
    """One line of a figure: its facet and series, points, and limits where it has them."""

    facet: str
    by: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True, slots=True)
class _Cell:
    """The rows with one level of ``facet`` and one of ``by``; the level is None without such a column."""

    facet: Any
    by: Any
    rows: Array


def _cells(facets: tuple[list[Any], Array], series: tuple[list[Any], Array]) -> Iterator[_Cell]:
    """Go through the combinations of levels that have rows, each given as levels and codes (n,)."""
    for f, facet in enumerate(facets[0]):
        for b, by in enumerate(series[0]):
            rows = np.flatnonzero((facets[1] == f) & (series[1] == b))
            if len(rows):
                yield _Cell(facet, by, rows)


def _draw_curves(curves: Sequence[_Curve], x: str, y: str, by: str | None, facet: str | None) -> Figure:
    """Draw curves, a panel per facet and a colour and line style per series."""
    facets, series = (list(dict.fromkeys(names)) for names in zip(*((c.facet, c.by) for c in curves), strict=True))
    columns = min(len(facets), 2 if len(facets) in (2, 4) else 3)
    rows = -(-len(facets) // columns)
    figure, axes = _canvas(rows, columns, 3.8 if rows == 1 else 0.8 + 2.4 * rows, sharex=True, sharey=True)
    for ax, name in zip(axes.flat, facets, strict=False):
        for curve in curves:
            if curve.facet == name:
                _draw_curve(ax, curve, series.index(curve.by))
        if facet is not None:
            _title(ax, f"{facet} = {name}")
    for ax in axes.flat[len(facets) :]:
        ax.remove()
    axes[0, 0].set_ylim(bottom=0.0)
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    if by is not None:
        handles = {line.get_label(): line for ax in figure.axes for line in ax.get_lines()}
        figure.legend(
            [handles[name] for name in series], series, title=by, loc="outside right upper",
            fontsize=8, title_fontsize=8, frameon=False,
        )  # fmt: skip
    return figure


def _draw_curve(ax: Axes, curve: _Curve, place: int) -> None:
    colour = PALETTE[place % len(PALETTE)]
    ax.plot(
        curve.x, curve.y, color=colour, linestyle=LINES[place % len(LINES)], linewidth=1.8, label=curve.by,
        marker="o" if len(curve.x) == 1 else "",
    )  # fmt: skip
    if curve.low is not None and curve.high is not None:
        ax.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


GRID = 60
"""Points of a curve."""


def probability_curves(
    fit: Fit,
    x: str,
    by: str | None = None,
    facet: str | None = None,
    estimand: str = "typical",
    level: float = 0.95,
) -> Figure:
    """Draw the predicted probability against one predictor, the others held.

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
        In a group whose effects are zero, or averaged over the distribution of the group effects.
    level : float
        Of the bands.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For another estimand.
    DataError
        For a column that is not a predictor of the model, or not of the kind that is needed.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> fit = bm.Model("use ~ age + I(age^2) + urban + livch + (1 | district)", d).fit_ml()
    >>> figure = probability_curves(fit, "age", by="urban")
    >>> figure.get_supxlabel(), figure.get_supylabel()
    ('age', 'probability of use = Y')
    >>> print(figure.get_suptitle())
    95 % bands; in a group whose effects are zero; held: livch = 0 (reference)
    """
    import pandas as pd

    check_level(level)
    if estimand not in ("typical", "population"):
        raise FitError(f'estimand should be "typical" or "population", not "{estimand}": a curve is of no one group')
    frame, factors = _predictors(fit)
    _check_roles(frame, factors, x, by, facet)
    held, words = _held(frame, factors, {x, by, facet})
    cells = list(_cells(_coded(frame, facet, factors), _coded(frame, by, factors)))
    parts = [_along(cell, frame[x].to_numpy(dtype=float)[cell.rows], held, x, by, facet) for cell in cells]
    predicted = fit.predict(pd.concat(parts, ignore_index=True), estimand=estimand, level=level)
    curves, start = [], 0
    for cell, part in zip(cells, parts, strict=True):
        rows = predicted.iloc[start : start + len(part)]
        start += len(part)
        estimate, low, high = (rows[name].to_numpy() for name in ("estimate", "conf_low", "conf_high"))
        curves.append(_Curve(str(cell.facet), str(cell.by), part[x].to_numpy(), estimate, low, high))
    figure = _draw_curves(curves, x, _response_words(fit.design), by, facet)
    where = [ESTIMANDS[estimand]] if fit.design.groups else []
    _headline(figure, "; ".join([f"{_percent(level)} bands", *where, *([f"held: {words}"] if words else [])]))
    return figure


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
        raise DataError(f'"{x}" {why}; a curve runs along a numeric one, and {_there_are(x, numbers)}')
    for role, name in (("by", by), ("facet", facet)):
        if name is not None and name not in factors:
            raise DataError(f'{role} should be a factor of the model, not "{name}"; {_there_are(name, factors)}')
    if by is not None and by == facet:
        raise DataError(f'by and facet are both "{by}"; give each a factor of its own')


def _there_are(name: str, known: Iterable[str]) -> str:
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


def _coded(frame: pd.DataFrame, name: str | None, factors: dict[str, list[Any]]) -> tuple[list[Any], Array]:
    """Levels and codes (n,) of a factor; one level for all rows without a factor."""
    if name is None:
        return [""], np.zeros(len(frame), dtype=int)
    place = {level: i for i, level in enumerate(factors[name])}
    return factors[name], np.array([place[value] for value in frame[name]])


def _along(
    cell: _Cell, observed: Array, held: dict[str, Any], x: str, by: str | None, facet: str | None
) -> pd.DataFrame:
    """Rows to predict for: the range of x that was observed in a cell."""
    import pandas as pd

    own = {name: value for name, value in ((by, cell.by), (facet, cell.facet)) if name is not None}
    return pd.DataFrame({**held, **own, x: _grid(observed)})


def _grid(observed: Array) -> Array:
    low, high = float(observed.min()), float(observed.max())
    return np.linspace(low, high, GRID) if high > low else np.array([low])


# observed proportions -------------------------------------------------------------------------------------


def lowess(x: Array, y: Array, at: Array, span: float = 2.0 / 3.0) -> Array:
    """Smooth y over x by local linear regression with tricube weights.

    Without the robustness iterations, which would take the rarer of two outcomes for outliers.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    at : ndarray, shape (m,)
        Where to evaluate.
    span : float
        Share of the points in each local regression.

    Returns
    -------
    ndarray, shape (m,)

    References
    ----------
    W. S. Cleveland (1979), Robust locally weighted regression and smoothing scatterplots, Journal of the American
    Statistical Association 74, 829-836, section 2.

    Examples
    --------
    >>> x = np.linspace(0.0, 1.0, 50)
    >>> lowess(x, 1.0 + 2.0 * x, np.array([0.25, 0.5])).round(6).tolist()
    [1.5, 2.0]
    """
    neighbours = int(np.clip(int(span * len(x) + 1e-7), min(2, len(x)), len(x)))
    out = np.empty(len(at))
    for i, centre in enumerate(at):
        distance = np.abs(x - centre)
        reach = np.partition(distance, neighbours - 1)[neighbours - 1]
        # Where ties fill the neighbourhood the fit is their mean.
        weight = np.clip(1.0 - (distance / reach) ** 3, 0.0, None) ** 3 if reach > 0 else (distance == 0).astype(float)
        weight /= weight.sum()
        mean_x, mean_y = weight @ x, weight @ y
        spread = weight @ (x - mean_x) ** 2
        slope = weight @ ((x - mean_x) * (y - mean_y)) / spread if spread > 1e-12 * reach**2 else 0.0
        out[i] = mean_y + slope * (centre - mean_x)
    return out


def smoothed_proportions(
    data: Any, response: str, x: str, by: str | None = None, facet: str | None = None, event: str | None = None
) -> Figure:
    """Draw the observed proportion of a 0/1 response against a numeric column, smoothed by :func:`lowess`.

    The picture to draw before a model: is the relation curved, and does it differ between groups?

    Parameters
    ----------
    data : data frame
        Rows with a missing value are left out.
    response : str
        0 and 1, booleans, or two levels.
    x : str
        A numeric column.
    by, facet : str, optional
        Factors: a curve per level of the one, a panel per level of the other.
    event : str, optional
        The level whose proportion is drawn; the second without it.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        For a column that is not there or not of the kind that is needed.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> d = bm.load_dataset("contraception")
    >>> figure = smoothed_proportions(d, "use", "age", by="livch", facet="urban")
    >>> figure.get_supylabel(), [ax.get_title() for ax in figure.axes]
    ('proportion with use = Y', ['urban = N', 'urban = Y'])
    """
    used = [name for name in (response, x, by, facet) if name is not None]
    frame = select(data, list(dict.fromkeys(used)))
    frame = frame[complete_rows(frame)]
    if not len(frame):
        raise DataError(f"no row is complete: each misses one of {', '.join(used)}")
    outcome, event_name = _outcome(frame[response], event)
    if frame[x].dtype.kind not in "fiu":
        raise DataError(f'"{x}" is not numeric; a curve runs along numbers, and {_there_are(x, _numeric(data))}')
    factors = {name: _few_levels(frame[name]) for name in (by, facet) if name is not None}
    values = frame[x].to_numpy(dtype=float)
    curves = []
    for cell in _cells(_coded(frame, facet, factors), _coded(frame, by, factors)):
        at = _grid(values[cell.rows])
        smooth = np.clip(lowess(values[cell.rows], outcome[cell.rows], at), 0.0, 1.0)
        curves.append(_Curve(str(cell.facet), str(cell.by), at, smooth))
    figure = _draw_curves(curves, x, f"proportion with {response} = {event_name}", by, facet)
    _headline(figure, f"observed proportions of {_count(len(frame), 'row')}, smoothed by lowess")
    return figure


def _numeric(data: Any) -> list[str]:
    """Names of the numeric columns of any data frame, or of a mapping of arrays."""
    import narwhals.stable.v2 as nw
    import pandas as pd

    frame = nw.from_native(pd.DataFrame(data) if isinstance(data, Mapping) else data)
    return [name for name, dtype in frame.collect_schema().items() if dtype.is_numeric()]


def _outcome(values: pd.Series, event: str | None) -> tuple[Array, str]:
    """0/1 of a two-valued column, and the name of what 1 stands for."""
    levels = _level_list(values)
    names = [str(level) for level in levels]
    if len(names) != 2:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise DataError(f'the response "{values.name}" should have two values; it has {len(names)} ({shown})')
    if event is None:
        event = names[1]
    if event not in names:
        raise DataError(f'the response "{values.name}" has no level "{event}"; {among(event, names)}')
    return (values == levels[names.index(event)]).to_numpy().astype(float), event


def _level_list(values: pd.Series) -> list[Any]:
    """Levels that occur: a factor's in its order, others sorted."""
    if values.dtype == "category":
        return list(values.cat.remove_unused_categories().cat.categories)
    return sorted(values.unique())


MOST_LEVELS = 12
"""More curves or panels than this cannot be told apart."""


def _few_levels(values: pd.Series) -> list[Any]:
    levels = _level_list(values)
    if len(levels) > MOST_LEVELS:
        raise DataError(
            f'"{values.name}" has {len(levels)} levels, too many to tell apart; group them into {MOST_LEVELS} or fewer'
        )
    return levels
