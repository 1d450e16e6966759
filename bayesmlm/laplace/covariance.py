"""Covariance of group effects: θ (lower triangles of relative factors) <-> Λ, Σ, standard deviations, correlations.

A term with k columns has Σ = λλ′ with λ lower triangular, k × k; its θ holds λ column by column (lme4's order).
λ is unconstrained here: flipping the sign of one of its columns leaves Σ as it is, so an optimiser needs no bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["correlation_matrices", "effect_factors", "factors", "pack", "sd_cor", "sd_cor_jacobian", "theta_size"]

Array = np.ndarray[Any, Any]


def theta_size(columns: tuple[int, ...]) -> int:
    """Number of parameters of terms with these many columns.

    Examples
    --------
    >>> theta_size((1, 2))
    4
    """
    return sum(k * (k + 1) // 2 for k in columns)


def factors(theta: Array, columns: tuple[int, ...]) -> list[Array]:
    """Unpack θ into one lower-triangular factor per term.

    Examples
    --------
    >>> factors(np.array([2.0, 0.5, 1.0]), (2,))[0].tolist()
    [[2.0, 0.0], [0.5, 1.0]]
    """
    out, at = [], 0
    for k in columns:
        lam = np.zeros((k, k))
        for b in range(k):
            lam[b:, b] = theta[at : at + k - b]
            at += k - b
        out.append(lam)
    return out


def pack(lams: list[Array]) -> Array:
    """Pack lower triangles into θ, the inverse of :func:`factors`."""
    return np.concatenate([lam[b:, b] for lam in lams for b in range(len(lam))]) if lams else np.zeros(0)


def sd_cor(lam: Array) -> tuple[Array, Array]:
    """Standard deviations (k,) and correlations (k(k−1)/2,), pairs (0,1), (0,2), …, of one term.

    Examples
    --------
    >>> sd, cor = sd_cor(np.array([[2.0, 0.0], [3.0, 4.0]]))
    >>> sd.tolist(), cor.tolist()
    ([2.0, 5.0], [0.6])
    """
    sigma = lam @ lam.T
    sd = np.sqrt(np.diag(sigma))
    upper = np.triu_indices(len(lam), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cor = (sigma / np.outer(sd, sd))[upper]
    return sd, cor


def correlation_matrices(cor: Array, k: int) -> Array:
    """Matrices (..., k, k) of the correlations (..., k (k − 1) / 2) above their diagonals.

    Examples
    --------
    >>> correlation_matrices(np.array([0.1, 0.2, 0.3]), 3)[0].tolist()
    [1.0, 0.1, 0.2]
    """
    R = np.broadcast_to(np.eye(k), (*cor.shape[:-1], k, k)).copy()
    first, second = np.triu_indices(k, 1)
    R[..., first, second] = R[..., second, first] = cor
    return R


def effect_factors(sd: Array, cor: Array | None) -> Array:
    """Square roots (draws, k, k) of the covariances with these standard deviations (draws, k) and correlations.

    Examples
    --------
    >>> lam = effect_factors(np.array([[1.0, 2.0]]), np.array([[0.5]]))[0]
    >>> (lam @ lam.T).round(12).tolist()
    [[1.0, 1.0], [1.0, 4.0]]
    """
    k = sd.shape[1]
    if cor is None:
        return sd[:, :, None] * np.eye(k)
    # A draw may sit so near a correlation of ±1 that rounding makes R indefinite.
    values, vectors = np.linalg.eigh(correlation_matrices(cor, k))
    return sd[:, :, None] * vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]


def sd_cor_jacobian(theta: Array, columns: tuple[int, ...]) -> Array:
    """Derivative of all (sd…, cor…) of each term in θ, shape (theta_size, theta_size), exact.

    dΣ = dλ λ′ + λ dλ′; d sd_a = dΣ_aa / (2 sd_a); d ρ_ab = dΣ_ab/(sd_a sd_b) − ρ_ab (d sd_a/sd_a + d sd_b/sd_b).
    """
    size = theta_size(columns)
    out = np.zeros((size, size))
    at = 0
    for lam, k in zip(factors(theta, columns), columns, strict=True):
        sd, cor = sd_cor(lam)
        ia, ib = np.triu_indices(k, 1)
        place = at
        for b in range(k):
            for a in range(b, k):
                d_lam = np.zeros((k, k))
                d_lam[a, b] = 1.0
                d_sigma = d_lam @ lam.T + lam @ d_lam.T
                with np.errstate(invalid="ignore", divide="ignore"):
                    d_sd = np.diag(d_sigma) / (2.0 * sd)
                    out[at : at + k, place] = d_sd
                    out[at + k : at + k + len(cor), place] = d_sigma[ia, ib] / (sd[ia] * sd[ib]) - cor * (
                        d_sd[ia] / sd[ia] + d_sd[ib] / sd[ib]
                    )
                place += 1
        at += k + len(cor)
    return out
