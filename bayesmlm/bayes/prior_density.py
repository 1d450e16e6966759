"""Log-densities of a model's priors at the draws of a posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from bayesmlm.bayes.densities import lkj_constant, log_prior, prior_row
from bayesmlm.design import Design
from bayesmlm.laplace.covariance import correlation_matrices
from bayesmlm.prior_rules import ResolvedPriors
from bayesmlm.priors import Prior

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["log_prior_density", "log_priors"]

Array = np.ndarray[Any, Any]


def log_priors(design: Design, priors: ResolvedPriors, tree: xr.DataTree) -> dict[str, Array]:
    """Log-density of every prior at every draw: ``fixed``, ``sd``, ``cor``, ``sigma``, each (chain, draw, quantities).

    On the user's scale; the intercept's at the means of the predictors, where its prior is.  A correlation matrix is
    one quantity.  The distribution of the group effects is part of the model, not a prior that was chosen, and is left
    out.

    Parameters
    ----------
    design : Design
    priors : ResolvedPriors
        The design's own, or others.
    tree : xarray.DataTree
        With a group ``posterior``.
    """
    posterior, scaling = tree["posterior"], design.scaling
    beta = posterior["beta"].to_numpy().copy()
    if scaling.intercept >= 0:
        beta[..., scaling.intercept] += beta @ scaling.means
    out = {"fixed": _each(priors.fixed, beta)} if design.terms else {}
    sds, correlations = [], []
    for group, label, own, lkj in zip(design.groups, design.group_labels, priors.sd, priors.correlation, strict=True):
        sds.append(_each(own, posterior[f"sd_{label}"].to_numpy()))
        if lkj is not None:
            k, eta = len(group.terms), lkj["eta"]
            R = correlation_matrices(posterior[f"cor_{label}"].to_numpy(), k)
            correlations.append(lkj_constant(eta, k) + (eta - 1.0) * np.linalg.slogdet(R)[1][..., None])
    if sds:
        out["sd"] = np.concatenate(sds, axis=2)
    if correlations:
        out["cor"] = np.concatenate(correlations, axis=2)
    if priors.sigma is not None:
        out["sigma"] = _each((priors.sigma,), posterior["sigma"].to_numpy()[..., None])
    return out


def log_prior_density(design: Design, priors: ResolvedPriors, tree: xr.DataTree) -> Array:
    """Log-density of all parameters under some priors, at every draw, shape (draws,); see :func:`log_priors`."""
    sizes = tree["posterior"].sizes
    total = np.zeros((sizes["chain"], sizes["draw"]))
    for values in log_priors(design, priors, tree).values():
        total += values.sum(axis=2)
    return total.ravel()


def _each(priors: Sequence[Prior], values: Array) -> Array:
    """Log-densities of the quantities along the last axis."""
    return _log_densities(np.array([prior_row(prior) for prior in priors]), np.ascontiguousarray(values))


@njit(cache=True, error_model="numpy")
def _log_densities(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.empty_like(values)
    for chain in range(values.shape[0]):
        for draw in range(values.shape[1]):
            for i in range(values.shape[2]):
                out[chain, draw, i] = log_prior(rows[i], values[chain, draw, i])[0]
    return out
