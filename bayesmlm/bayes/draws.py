"""The draws of a posterior in the order of its table, and what ArviZ says of their convergence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["convergence", "table_draws"]

Array = np.ndarray[Any, Any]


def table_draws(design: Design, tree: xr.DataTree, ranef: bool = False) -> Array:
    """Draws (chain, draw, quantity) of everything in a table: fixed effects, sds, correlations, σ; then group effects.

    Parameters
    ----------
    design : Design
    tree : xarray.DataTree
        With a group ``posterior``.
    ranef : bool
    """
    posterior = tree["posterior"]
    parts = [posterior["beta"].to_numpy()]
    parts += [posterior[f"sd_{label}"].to_numpy() for label in design.group_labels]
    for group, label in zip(design.groups, design.group_labels, strict=True):
        if group.pairs:
            parts.append(posterior[f"cor_{label}"].to_numpy())
    if "sigma" in posterior:
        parts.append(posterior["sigma"].to_numpy()[..., None])
    if ranef:
        for label in design.group_labels:
            values = posterior[f"ranef_{label}"].to_numpy()
            parts.append(values.reshape(*values.shape[:2], -1))
    return np.concatenate(parts, axis=2)


def convergence(draws: Array) -> dict[str, Array]:
    """ESS and R-hat of every quantity (chain, draw, quantity), by ArviZ; NaN where there are too few draws or chains.

    Examples
    --------
    >>> draws = np.random.default_rng(1).standard_normal((4, 500, 1))
    >>> {name: round(float(values[0]), 1) for name, values in convergence(draws).items()}["rhat"]
    1.0
    """
    from arviz_stats.base import array_stats

    chains, n = draws.shape[:2]
    nan = np.full(draws.shape[2], np.nan)
    if n < 4:
        return {"ess_bulk": nan, "ess_tail": nan, "rhat": nan}
    return {
        "ess_bulk": np.asarray(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk")),
        "ess_tail": np.asarray(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95))),
        "rhat": np.asarray(array_stats.rhat(draws, chain_axis=0, draw_axis=1)) if chains > 1 else nan,
    }
