"""The draws of a posterior: as parameters, and in the order of its table with what ArviZ says of their convergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.laplace.covariance import effect_factors

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ParameterDraws", "convergence", "posterior_draws", "summarised", "table_draws"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class ParameterDraws:
    """Draws of everything a response depends on.

    Attributes
    ----------
    beta : ndarray, shape (draws, p)
    factors : tuple of ndarray, shape (draws, k, k)
        Per random-effect term, square roots of the effects' covariance: Σ = ΛΛ'.
    effects : tuple of ndarray, shape (draws, levels, k)
    sigma : ndarray, shape (draws,)
        Residual standard deviation of a Gaussian model, NaN elsewhere.
    """

    beta: Array
    factors: tuple[Array, ...]
    effects: tuple[Array, ...]
    sigma: Array

    def __len__(self) -> int:
        return len(self.beta)

    def chosen(self, which: Any) -> ParameterDraws:
        """Some of the draws, by their places."""
        return ParameterDraws(
            self.beta[which],
            tuple(factor[which] for factor in self.factors),
            tuple(effects[which] for effects in self.effects),
            self.sigma[which],
        )


def posterior_draws(design: Design, tree: xr.DataTree) -> ParameterDraws:
    """The draws of a posterior, chain after chain.

    Parameters
    ----------
    design : Design
    tree : xarray.DataTree
        With a group ``posterior``.
    """
    posterior = tree["posterior"]

    def flat(name: str) -> Array:
        values = posterior[name].to_numpy()
        # Not -1: a model may have no fixed effects.
        return np.asarray(values.reshape(values.shape[0] * values.shape[1], *values.shape[2:]))

    beta, labels = flat("beta"), design.group_labels
    factors = tuple(
        effect_factors(flat(f"sd_{label}"), flat(f"cor_{label}") if group.pairs else None)
        for group, label in zip(design.groups, labels, strict=True)
    )
    effects = tuple(flat(f"ranef_{label}") for label in labels)
    return ParameterDraws(beta, factors, effects, flat("sigma") if "sigma" in posterior else np.full(len(beta), np.nan))


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


def summarised(draws: Array, level: float) -> dict[str, Array]:
    """Means, standard deviations and equal-tailed limits of draws (draws, quantity), each (quantity,).

    Examples
    --------
    >>> found = summarised(np.arange(101.0)[:, None], 0.9)
    >>> {name: float(values[0].round(1)) for name, values in found.items()}
    {'estimate': 50.0, 'std_error': 29.3, 'conf_low': 5.0, 'conf_high': 95.0}
    """
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    error = draws.std(axis=0, ddof=min(1, len(draws) - 1))
    return {"estimate": draws.mean(axis=0), "std_error": error, "conf_low": low, "conf_high": high}


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
