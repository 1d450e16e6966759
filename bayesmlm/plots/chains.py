"""Traces and ranks of a posterior's chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import PALETTE, counted, headline, new_canvas, quantity_name, require_posterior, write_title

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from bayesmlm.bayes.fit import BayesFit


Array = np.ndarray[Any, Any]


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
        For a fit without draws, or whose draws come from no chain.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> figure = trace_rank(m.sample(draws=50, tune=100, chains=2))
    >>> [ax.get_title(loc="left") for ax in figure.axes[::2]]
    ['Intercept', 'urban[Y]', 'sd(Intercept | district)']
    """
    import arviz_plots as azp

    posterior = require_posterior(fit, "trace_rank")
    if fit.engine == "marginal":
        raise FitError(
            "trace_rank is of chains, and draws of the marginal posterior come from none; what certifies them is "
            "fit.diagnostics()"
        )
    draws = _draws(posterior)
    names = [str(name) for name in draws]
    # Ranks set chains against each other: with one there is nothing to draw.
    columns = ["trace", "rank"] if draws.sizes["chain"] > 1 else ["trace"]
    figure, axes = new_canvas(len(names), len(columns), 0.8 + 1.0 * len(names))
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
    chains = counted(draws.sizes["chain"], "chain")
    headline(figure, f"left: {chains}, a colour each{ranks}" if ranks else f"{chains}: ranks would compare several")
    return figure


def _draws(fit: BayesFit) -> xr.Dataset:
    """Draws of fixed effects, standard deviations, correlations and σ, one variable each, named as in the figures."""
    import xarray as xr

    posterior, design = fit.tree["posterior"], fit.design
    pieces = [("fixed", "", "beta", design.terms)]
    for component in ("sd", "cor"):
        for group, label in zip(design.groups, design.group_labels, strict=True):
            terms = group.terms if component == "sd" else group.pairs
            pieces += [(component, group.name, f"{component}_{label}", terms)] if terms else []
    draws = {
        quantity_name(component, group, term): (("chain", "draw"), posterior[variable].to_numpy()[:, :, place])
        for component, group, variable, terms in pieces
        for place, term in enumerate(terms)
    }
    if "sigma" in posterior:
        draws["sigma"] = (("chain", "draw"), posterior["sigma"].to_numpy())
    return xr.Dataset(
        draws,
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
        write_title(row[0], name, loc="left")
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
