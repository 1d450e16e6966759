"""Weights that stand for leaving a unit out: smoothed by ArviZ, replaced by refits where they fail, judged in words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from bayesmlm.cross_validation.units import Units

__all__ = ["replaced", "smoothed", "without_refitted", "words_of_k"]

Array = np.ndarray[Any, Any]


def smoothed(tree: Any) -> Any:
    """ArviZ's own leave-one-out of a tree; its warning of k̂ is in general words, ours name the units.

    Draws that were resampled by importance weights look independent to ArviZ: their efficiency is that of the weights.
    """
    import arviz as az

    sizes = tree["posterior"].sizes
    reff = float(tree.attrs["ess"]) / (sizes["chain"] * sizes["draw"]) if "ess" in tree.attrs else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return az.loo(tree, pointwise=True, reff=reff)


def replaced(tree: Any, elpd: Any, refitted: list[Any]) -> Any:
    """Leave-one-out with the units that were refitted, by ArviZ's ``reloo``."""
    import arviz as az
    import xarray as xr
    from arviz_stats import SamplingWrapper

    found = {int(left.units[0]): left.values[:, 0] for left in refitted}

    class Refitted(SamplingWrapper):
        """Hands over what was computed already."""

        def sel_observations(self, idx: Any) -> Any:
            return idx, idx

        def sample(self, modified_observed_data: Any) -> Any:
            return modified_observed_data

        def get_inference_data(self, fitted_model: Any) -> Any:
            return fitted_model

        def log_likelihood__i(self, excluded_obs: Any, idata__i: Any) -> Any:
            return xr.DataArray(found[int(excluded_obs)][None], dims=("chain", "draw"))

    return az.reloo(Refitted(model=None, idata_orig=tree), loo_orig=elpd, pointwise=True)


def without_refitted(pareto_k: Array, refitted: list[Any]) -> Array:
    """NaN where weights are not used."""
    out = pareto_k.copy()
    for left in refitted:
        out[left.units] = np.nan
    return out


def words_of_k(
    units: Units, pareto_k: Array, good_k: float, repair: str | None, mended: int, refitted: list[Any]
) -> list[str]:
    """How far the weights can be trusted, and what was done about those that cannot."""
    bad = np.flatnonzero(pareto_k > good_k)
    what = "row" if units.name == "row" else units.name
    if not len(bad):
        return [
            f"Every k̂ is at most {good_k:.2f} (the largest is {pareto_k.max():.2f}): the draws can stand for the "
            f"posterior without any one {what}."
        ]
    worst = int(np.argmax(pareto_k))
    named = f"{len(bad)} of {len(units):,}" + (" rows" if units.name == "row" else f" groups of {units.name}")
    have = "has" if len(bad) == 1 else "have"
    out = [
        f"{named} {have} k̂ above {good_k:.2f}, the largest {pareto_k[worst]:.2f} ({what} {units.labels[worst]}): "
        f"without such a {what} the posterior would be too different a one for these draws to stand for it."
    ]
    if repair is None:
        ways = '"match" or "refit"' if units.name == "row" else '"refit"'
        out.append(f"Their share of the estimate cannot be relied on, and is mostly too high: ask for repair={ways}.")
    elif repair == "match":
        left = len(bad) - mended
        out.append(
            f"Moment matching mended {mended} of {len(bad)}"
            + (f'; {left} remain{"s" if left == 1 else ""} above: ask for repair="refit".' if left else ".")
        )
    else:
        out.append(f"The model was fitted again without {'it' if len(bad) == 1 else 'each of them'}.")
        poor = sum(not left.converged for left in refitted)
        if poor:
            out.append(f"{poor} of {len(refitted)} refits did not converge by their diagnostics.")
    return out
