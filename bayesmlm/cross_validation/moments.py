"""Moment matching of leave-one-out weights, in the coordinates of the posterior's kernel."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from bayesmlm.bayes.coordinates import Coordinates, spiral
from bayesmlm.bayes.kernel import build_kernel
from bayesmlm.design import Design
from bayesmlm.laplace import kernels
from bayesmlm.laplace.covariance import correlation_matrices

__all__ = ["coordinates_from", "matched"]

Array = np.ndarray[Any, Any]


def coordinates_from(design: Design, coordinates: Coordinates, posterior: Any) -> Array:
    """Unconstrained coordinates (chain, draw, size) of named draws; ``bayes.coordinates.quantities`` reads them back.

    Parameters
    ----------
    design : Design
    coordinates : Coordinates
        Of centred effects, in all terms.
    posterior : mapping of str to array, or xarray.Dataset

    Examples
    --------
    >>> import bayesmlm as bm
    >>> from bayesmlm.bayes.coordinates import quantities
    >>> design = bm.Model("use ~ age + (age | district)", bm.load_dataset("contraception")).design
    >>> coordinates = build_kernel(design, (True,)).coordinates
    >>> x = np.random.default_rng(1).standard_normal((1, 2, coordinates.size))
    >>> np.allclose(coordinates_from(design, coordinates, quantities(design, coordinates, x)), x)
    True
    """
    beta = np.asarray(posterior["beta"])
    out = np.empty((*beta.shape[:2], coordinates.size))
    out[..., : coordinates.fixed] = beta @ np.linalg.inv(design.scaling.matrix).T
    for term in coordinates.terms:
        k = term.columns
        out[..., term.sd : term.cor] = np.log(np.asarray(posterior[f"sd_{term.label}"]))
        if k > 1:
            L = np.linalg.cholesky(correlation_matrices(np.asarray(posterior[f"cor_{term.label}"]), k))
            i, j = np.tril_indices(k, -1)
            out[..., term.cor + np.array(spiral(k))] = L[..., i, j] / L[..., i, i]
        effects = np.asarray(posterior[f"ranef_{term.label}"])
        out[..., term.effects : term.end] = effects.reshape(*effects.shape[:2], -1)
    if coordinates.sigma >= 0:
        out[..., coordinates.sigma] = np.log(np.asarray(posterior["sigma"]))
    return out


def matched(fit: Any, tree: Any, elpd: Any) -> Any:
    """ArviZ's leave-one-out with the moments of the draws matched where k̂ is too large (``loo_moment_match``).

    Parameters
    ----------
    fit : BayesFit
    tree : xarray.DataTree
        With ``posterior`` and ``log_likelihood``.
    elpd : arviz_stats.ELPDDataLOO
        Pointwise.
    """
    import arviz as az
    import xarray as xr

    design: Design = fit.design
    kernel = build_kernel(design, (True,) * len(design.groups))
    coordinates, p = kernel.coordinates, kernel.coordinates.fixed
    dims = ("chain", "draw")
    upars = xr.DataArray(coordinates_from(design, coordinates, tree["posterior"]), dims=(*dims, "coordinate"))
    response, poisson, gaussian = design.response, design.family.name == "poisson", design.family.name == "gaussian"
    X = design.scaling.apply(design.X)
    trials = np.ones_like(response.y) if poisson else response.trials
    constants = np.zeros(len(X)) if gaussian else kernels.row_constants(
        poisson, response.y, response.trials, design.weights
    )  # fmt: skip

    def log_density(at: Any) -> Any:
        x = at.transpose(*dims, "coordinate").to_numpy()
        values = np.array([kernel(np.ascontiguousarray(one))[0] for one in x.reshape(-1, kernel.size)])
        return xr.DataArray(values.reshape(x.shape[:2]), dims=dims)

    def log_likelihood(at: Any, i: int) -> Any:
        # Centred effects enter a row's linear predictor as they are.
        x = at.transpose(*dims, "coordinate").to_numpy()
        eta = design.offset[i] + x[..., :p] @ X[i]
        for term, group in zip(coordinates.terms, design.groups, strict=True):
            first = term.effects + int(group.codes[i]) * term.columns
            eta = eta + x[..., first : first + term.columns] @ group.z[i]
        if gaussian:
            sd = np.exp(x[..., coordinates.sigma]) / np.sqrt(design.weights[i])
            values = -0.5 * ((response.y[i] - eta) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2.0 * np.pi)
        else:
            w = design.weights[i]
            one = np.array([response.y[i] * w]), np.array([trials[i] * w])
            values = kernels.pointwise(design.family.link.code, *one, eta.reshape(-1, 1), constants[i : i + 1])
        return xr.DataArray(values.reshape(x.shape[:2]), dims=dims)

    with warnings.catch_warnings():
        # Rows that matching does not mend are counted by the caller.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        return az.loo_moment_match(
            tree, elpd, log_prob_upars_fn=log_density, log_lik_i_upars_fn=log_likelihood, upars=upars, pointwise=True
        )
