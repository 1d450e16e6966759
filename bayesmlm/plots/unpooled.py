"""Effects of groups without pooling: each by maximum likelihood from its own rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.families import Family

__all__ = ["own_estimates"]

Array = np.ndarray[Any, Any]


def own_estimates(family: Family, y: Array, trials: Array, weights: Array, eta: Array, codes: Array, z: Array) -> Array:
    """Estimate the effects of every group by maximum likelihood from its own rows, all else given.

    Fisher scoring of all groups at once.

    Parameters
    ----------
    family : Family
    y, trials, weights : ndarray, shape (n,)
        Successes (or counts, or measurements), trials, and how much a row counts.
    eta : ndarray, shape (n,)
        The rest of the linear predictor.
    codes : ndarray of int, shape (n,)
    z : ndarray, shape (n, k)

    Returns
    -------
    ndarray, shape (groups, k)
        NaN where a group has no maximum: its answers are all the same, its own predictors separate them, or they do
        not vary.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> y, ones = np.array([0.0, 1.0, 1.0, 0.0, 1.0, 1.0]), np.ones(6)
    >>> codes = np.array([0, 0, 0, 0, 1, 1])
    >>> own_estimates(family_of("bernoulli"), y, ones, ones, np.zeros(6), codes, np.ones((6, 1))).round(3).tolist()
    [[0.0], [nan]]
    """
    n_groups, k = int(codes.max()) + 1, z.shape[1]
    effects, last = np.zeros((n_groups, k)), np.full(n_groups, np.inf)
    link, longest = family.link, 2.0 if family.name != "gaussian" else np.inf
    singular = np.zeros(n_groups, dtype=bool)
    for _ in range(30):
        at = eta + np.einsum("nk,nk->n", z, effects[codes])
        mu, slope = link.inverse(at), link.derivative(at)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = mu * (1.0 - mu) if family.is_binary else mu if family.name == "poisson" else np.ones_like(mu)
            # A mean at the end of its range, where the variance is 0, has no information left.
            score = np.where(variance > 0.0, weights * (y - trials * mu) * slope / variance, 0.0)
            information = np.where(variance > 0.0, weights * trials * slope**2 / variance, 0.0)
        g = np.stack([np.bincount(codes, score * z[:, a], n_groups) for a in range(k)], axis=1)
        H = np.empty((n_groups, k, k))
        for a in range(k):
            for b in range(k):
                H[:, a, b] = np.bincount(codes, information * z[:, a] * z[:, b], n_groups)
        # In units of the columns, so that what is singular does not depend on them.
        unit = np.sqrt(np.maximum(np.diagonal(H, axis1=1, axis2=2), 1e-300))
        scaled = H / (unit[:, :, None] * unit[:, None, :])
        singular = (np.linalg.eigvalsh(scaled)[:, 0] < 1e-8) | (unit.min(axis=1) < 1e-6)
        scaled[singular] = np.eye(k)
        step = np.linalg.solve(scaled, (g / unit)[:, :, None])[:, :, 0] / unit
        step[singular] = 0.0
        moved = np.zeros(n_groups)
        np.maximum.at(moved, codes, np.abs(np.einsum("nk,nk->n", z, step[codes])))
        effects += step * np.minimum(1.0, longest / np.maximum(moved, 1e-300))[:, None]
        last = moved
        if (last < 1e-8).all():
            break
    effects[singular | (last > 1e-4)] = np.nan
    return effects
