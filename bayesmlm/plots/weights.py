"""What ArviZ draws of a cross-validation: k̂ of every unit, and the calibration of predicted probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.checks.replicates import replicates_of
from bayesmlm.cross_validation import CrossValidation
from bayesmlm.errors import FitError
from bayesmlm.fit import Fit
from bayesmlm.plots.canvas import MUTED, PALETTE, counted, headline, new_canvas, response_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["calibration_curve", "pareto_k"]

Array = np.ndarray[Any, Any]

_NAMED = 8
"""Units above the threshold that are named, those with the largest k̂ first."""


def _collection(figure: Figure, ax: Axes, data: Any) -> Any:
    """Hand one axes to ArviZ."""
    import xarray as xr
    from arviz_plots import PlotCollection

    def of(value: Any) -> xr.Dataset:
        return xr.Dataset({name: ((), np.array(value, dtype=object)) for name in data.data_vars})

    places = {"plot": of(ax), "row_index": of(0), "col_index": of(0)}
    root = xr.Dataset({"figure": ((), np.array(figure, dtype=object))})
    return PlotCollection(data, xr.DataTree.from_dict({"/": root, **places}), backend="matplotlib")


def calibration_curve(fit: Fit, draws: int = 1000, seed: int = 1, groups: str = "conditional") -> Figure:
    """Draw how often the event happened against how probable it was said to be, by isotonic regression.

    ArviZ's calibration plot (Dimitriadis, Gneiting & Jordan, 2021): no bins are chosen, and the band holds the curves
    that replicates of the model give.

    Parameters
    ----------
    fit : Fit
        Of 0/1 responses.
    draws, seed
        Replicates.
    groups : {"conditional", "new"}
        Whether probabilities are given the groups' own effects or for new groups.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    FitError
        For other responses; :func:`predictive_check` has their calibration in bins.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ age + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> calibration_curve(fit, draws=50).axes[0].get_xlabel()
    'predicted probability of use = Y'
    """
    import arviz_plots as azp
    import xarray as xr

    design = fit.design
    if not (design.family.is_binary and design.response.is_binary):
        raise FitError(
            f"isotonic calibration is of 0/1 responses; plots.predictive_check has it for {fit.name} in bins"
        )
    sets = replicates_of(fit, draws, seed, groups).responses
    tree = xr.DataTree.from_dict(
        {
            "posterior_predictive": xr.Dataset(
                {"y": (("chain", "draw", "row"), sets[None, 1:])},
                coords={"chain": [0], "draw": np.arange(len(sets) - 1)},
            ),
            "observed_data": xr.Dataset({"y": (("row",), sets[0])}),
        }
    )
    figure, axes = new_canvas(1, 1, 3.6)
    ax = axes[0, 0]
    azp.plot_ppc_pava(
        tree,
        ci_prob=0.95,
        plot_collection=_collection(figure, ax, tree["observed_data"].to_dataset()),
        visuals={
            "lines": {"color": "black", "width": 1.4},
            "credible_interval": {"color": PALETTE[5]},
            "reference_line": {"color": MUTED, "width": 0.8},
            "title": False,
            "xlabel": False,
            "ylabel": False,
        },
    )
    ax.set_xlabel(f"predicted {response_words(design)}")
    ax.set_ylabel("share of events, isotonic")
    kept = "the groups' own effects" if groups == "conditional" else "new effects of groups"
    headline(figure, f"{fit.name}: calibration given {kept}; blue holds 95 % of {counted(len(sets) - 1, 'replicate')}")
    return figure


def pareto_k(result: CrossValidation) -> Figure:
    """Draw k̂ of every unit left out: how far the draws can stand for the posterior without it.

    Parameters
    ----------
    result : CrossValidation
        Of ``bm.loo`` or ``bm.leave_one_group_out``.

    Returns
    -------
    matplotlib.figure.Figure
        Units above the threshold are named, at most eight.

    Raises
    ------
    FitError
        For a cross-validation without weights.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> m = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception"))
    >>> pareto_k(bm.leave_one_group_out(m.sample(draws=100, chains=2, seed=1))).axes[0].get_xlabel()
    '60 groups of district'
    """
    import arviz_plots as azp
    import xarray as xr
    from arviz_stats import ELPDDataLOO

    if not isinstance(result, CrossValidation) or np.isnan(result.pareto_k).all():
        raise FitError("k̂ is of weights: give what bm.loo() or bm.leave_one_group_out() found")
    k = xr.DataArray(np.nan_to_num(result.pareto_k), dims="unit", name="pareto_k")
    data = ELPDDataLOO(
        elpd=result.elpd, se=result.se, p=result.p, n_samples=0, n_data_points=len(k), scale="log", warning=False,
        good_k=result.good_k, elpd_i=xr.DataArray(result.elpd_i, dims="unit"), pareto_k=k,
    )  # fmt: skip
    figure, axes = new_canvas(1, 1, 2.8)
    ax = axes[0, 0]
    azp.plot_khat(
        data,
        threshold=result.good_k,
        plot_collection=_collection(figure, ax, xr.Dataset({"pareto_k": k})),
        visuals={
            "khat": {"color": PALETTE[0], "size": 4},
            "title": False,
            "xlabel": False,
            "ylabel": False,
            "threshold_text": False,
            "bin_text": False,
        },
    )
    ax.axhline(result.good_k, color=MUTED, linewidth=0.8, linestyle="--")
    for unit in np.argsort(-result.pareto_k)[:_NAMED]:
        if result.pareto_k[unit] > result.good_k:
            ax.annotate(
                result.labels[unit], (unit, result.pareto_k[unit]), (3, 3), textcoords="offset points", fontsize=7
            )
    ax.set_xlabel(f"{len(k):,} {'rows' if result.unit == 'row' else f'groups of {result.unit}'}")
    ax.set_ylabel(r"$\hat{k}$")
    # A combining accent stands beside its letter in most fonts.
    headline(figure, f"{result.name}: {result.predicts}. {result.notes[0]}".replace("k̂", r"$\hat{k}$"))
    return figure
