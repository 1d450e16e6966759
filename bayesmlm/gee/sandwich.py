"""Covariances of the coefficients: naive, robust, and robust with corrections for few clusters.

The corrections divide each cluster's residuals by what the fit took from them.  With A⁻¹ = Σ M_i, M_i = D′ V⁻¹ D,
g_i = D′ V⁻¹ (y − μ) and the leverage H_i = D A D′ V⁻¹ of a cluster, f(I − H_i) on its residuals is f(I − M_i A) on g_i:
matrices of the size of a cluster are never formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bayesmlm.errors import FitError
from bayesmlm.gee.clusters import Clusters

__all__ = ["corrected_scores", "robust"]

Array = np.ndarray[Any, Any]

_FAY_GRAUBARD_BOUND = 0.75
"""What a leverage is counted as at most (Fay & Graubard, 2001)."""

_BLOCK = 4_000_000
"""Numbers in the clusters' information matrices held at a time."""


def robust(scores: Array, information: Array) -> Array:
    """A (Σ g g′) A of scores (K, p) and Σ M = A⁻¹ (Liang & Zeger, 1986).

    Examples
    --------
    >>> robust(np.array([[1.0], [-1.0]]), np.array([[2.0]])).tolist()
    [[0.5]]
    """
    half = np.linalg.solve(information, scores.T)
    return half @ half.T


def corrected_scores(kind: str, slope: Array, solved: Array, e: Array, clusters: Clusters, transform: Array) -> Array:
    """Scores g_i of each cluster, corrected for few clusters, shape (K, p).

    Parameters
    ----------
    kind : {"mancl_derouen", "kauermann_carroll", "fay_graubard"}
        (I − H)⁻¹, (I − H)^−½, or diag(1 − min(0.75, M A))^−½.
    slope, solved : ndarray, shape (n, p)
        D and R⁻¹ D, residual variances divided out.
    e : ndarray, shape (n,)
        Residuals.
    clusters : Clusters
    transform : ndarray, shape (p, p)
        T with β_user = T β: Fay and Graubard's correction depends on the coordinates, and is made in the user's.

    Raises
    ------
    FitError
        Where a coefficient depends on one cluster alone, or the working correlation is not positive definite.
    """
    information = slope.T @ solved
    scores = clusters.sums(solved * e[:, None])
    out = np.empty_like(scores)
    if kind == "fay_graubard":
        spread = transform @ np.linalg.solve(information, transform.T)  # A of the user's coefficients
        back = np.linalg.inv(transform)
        for block, M in _informations(slope @ back, solved @ back, clusters):
            leverage = np.einsum("iab,ba->ia", M, spread)
            factor = 1.0 / np.sqrt(1.0 - np.minimum(_FAY_GRAUBARD_BOUND, leverage))
            out[block] = (factor * (scores[block] @ back)) @ transform
        return out
    try:
        L = np.linalg.cholesky((information + information.T) / 2.0)
    except np.linalg.LinAlgError:
        raise _indefinite() from None
    inverse = np.linalg.inv(L)
    for block, M in _informations(slope @ inverse.T, solved @ inverse.T, clusters):
        # Eigenvalues of M A, which lie between 0 and 1 where R is positive definite.
        values, vectors = np.linalg.eigh((M + M.transpose(0, 2, 1)) / 2.0)
        if values.min() < -1e-8:
            raise _indefinite()
        rest = 1.0 - values
        if rest.min() < 1e-8:
            raise FitError(
                "a coefficient is told by one cluster alone, so that a correction for few clusters divides by 0; use "
                'se="robust" or se="fay_graubard", or a smaller model'
            )
        factor = 1.0 / rest if kind == "mancl_derouen" else 1.0 / np.sqrt(rest)
        inner = np.einsum("iab,ia->ib", vectors, scores[block] @ inverse.T)
        out[block] = np.einsum("iab,ib->ia", vectors, factor * inner) @ L.T
    return out


def _informations(slope: Array, solved: Array, clusters: Clusters) -> Iterator[tuple[slice, Array]]:
    """M_i of the clusters, a block of these at a time."""
    p = slope.shape[1]
    step = max(1, _BLOCK // (p * p))
    for start in range(0, len(clusters.sizes), step):
        block = slice(start, start + step)
        at, sizes = clusters.starts[block], clusters.sizes[block]
        rows = slice(at[0], at[-1] + sizes[-1])
        M = np.empty((len(sizes), p, p))
        for a in range(p):
            M[:, a] = np.add.reduceat(slope[rows, a, None] * solved[rows], at - at[0], axis=0)
        yield block, M


def _indefinite() -> FitError:
    return FitError(
        'the working correlation is not positive definite, and corrections for few clusters need that; use se="robust"'
        " or a simpler corr="
    )
