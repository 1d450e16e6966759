"""Where the search for the variances starts: moments of the scores' group sums, and the information expected there.

At the model without groups the sum U_g of a group's scores z_i s_i has E U_g U_g' ≈ W_g + W_g Σ W_g, with its
information W_g = Σ w_i z_i z_i' (the moments behind the score test of a variance; Breslow & Clayton, 1993, section 2),
so Σ solves

    Σ_g W_g Σ W_g = Σ_g (U_g U_g' − W_g).

Terms are taken one by one, which is exact for balanced crossing and good enough to start from elsewhere.  With
V_g = W_g (I + Σ W_g)⁻¹ the expected information on two entries of λ, which move Σ by D and D′, is
½ Σ_g tr(V_g D V_g D′).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, int32, int64, njit

from bayesmlm.laplace.kernels import score_information
from bayesmlm.laplace.preload import preload

__all__ = ["Term", "start_gaussian", "start_glmm"]

Array = np.ndarray[Any, Any]
Term = tuple[Array, Array, Array, int]
"""Codes (n,), columns (n, k) and their scales (k,), groups: internal columns are columns / scales."""

_SMALLEST = 0.2
"""Where moments see no variance, σ starts at this share of a group's standard error, not at the boundary."""


@njit(cache=True, error_model="numpy", nogil=True)
def _group_sums(link, y, trials, eta, codes, z, scales, U, W):  # type: ignore[no-untyped-def]
    """U (groups, k) += Σ z s and W (groups, k, k) += Σ w z z'."""
    for i in range(len(y)):
        s, w = score_information(link, y[i], trials[i], eta[i])
        for a in range(z.shape[1]):
            v = z[i, a] / scales[a]
            U[codes[i], a] += v * s
            for b in range(z.shape[1]):
                W[codes[i], a, b] += w * v * z[i, b] / scales[b]


_V, _M = float64[::1], float64[:, ::1]
preload(_group_sums, int64, _V, _V, _V, int32[::1], _M, _V, _M, float64[:, :, ::1])


def _moments(UU: Array, W: Array, total: Array) -> Array:
    """Σ from Σ_g W_g Σ W_g = UU − total, made positive definite, shape (k, k)."""
    k = len(UU)
    system = (
        (W.reshape(-1, k * k).T @ W.reshape(-1, k * k)).reshape(k, k, k, k).transpose(0, 2, 1, 3).reshape(k * k, k * k)
    )
    least = _SMALLEST**2 / np.maximum(np.einsum("gaa->a", W) / len(W), 1e-12)
    try:
        sigma = np.linalg.solve(system, (UU - total).ravel()).reshape(k, k)
    except np.linalg.LinAlgError:
        sigma = np.diag(least)
    root = np.sqrt(least)
    values, vectors = np.linalg.eigh((sigma + sigma.T) / 2.0 / np.outer(root, root))
    # A start too close to a correlation of ±1 or to an enormous variance is slow to leave.
    values = np.clip(np.nan_to_num(values, nan=1.0), np.maximum(1.0, 0.02 * values[-1]), None)
    return root[:, None] * (vectors * values) @ vectors.T * root


def _expected(sigma: Array, W: Array, largest: float) -> tuple[Array, Array]:
    """θ of one term and the information expected on it, shapes (t,) and (t, t)."""
    k = len(sigma)
    shrink = min(1.0, largest / float(np.sqrt(np.diag(sigma).max())))
    lam = np.linalg.cholesky(sigma) * shrink
    sigma = lam @ lam.T
    V = np.linalg.solve(np.eye(k) + W @ sigma, W) if k > 1 else W / (1.0 + sigma * W)
    moved = []
    theta = []
    for b in range(k):
        for a in range(b, k):
            d = np.zeros((k, k))
            d[a] += lam[:, b]
            d[:, a] += lam[:, b]
            moved.append(V @ d)
            theta.append(lam[a, b])
    information = [[0.5 * float(np.vdot(A, B.transpose(0, 2, 1))) for B in moved] for A in moved]
    return np.array(theta), np.array(information)


def _stacked(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    theta = np.concatenate([t for t, _ in parts])
    information = np.zeros((len(theta), len(theta)))
    at = 0
    for t, own in parts:
        information[at : at + len(t), at : at + len(t)] = own
        at += len(t)
    return theta, information


def start_glmm(link: int, y: Array, trials: Array, eta: Array, terms: list[Term]) -> tuple[Array, Array]:
    """θ to start from and the information expected on it, of a generalised model.

    Parameters
    ----------
    link : int
    y, trials, eta : ndarray, shape (n,)
        ``eta`` is the linear predictor of the model without groups.
    terms : list of Term
        In the rows' order.

    Returns
    -------
    theta : ndarray, shape (t,)
    information : ndarray, shape (t, t)
        Block-diagonal.
    """
    parts = []
    for codes, z, scales, levels in terms:
        k = len(scales)
        U, W = np.zeros((levels, k)), np.zeros((levels, k, k))
        _group_sums(link, y, trials, eta, np.ascontiguousarray(codes), np.array(z, order="C"), scales, U, W)
        # Beyond 3 on the scale of the link moments are not to be trusted.
        parts.append(_expected(_moments(U.T @ U, W, W.sum(axis=0)), W, 3.0))
    return _stacked(parts)


def start_gaussian(weights: Array, residuals: Array, terms: list[Term]) -> tuple[Array, Array]:
    """The same for a Gaussian model, relative to σ.

    Parameters
    ----------
    weights, residuals : ndarray, shape (n,)
        Of the least-squares fit.
    terms : list of Term
    """
    sums = []
    for codes, z, scales, levels in terms:
        v = z / scales
        U = np.stack([np.bincount(codes, a * weights * residuals, levels) for a in v.T], axis=1)
        W = np.stack([[np.bincount(codes, a * b * weights, levels) for b in v.T] for a in v.T])
        sums.append((U.T @ U, W.transpose(2, 0, 1)))
    total = float(weights @ residuals**2) / len(residuals)
    spread = 1.0
    for _ in range(5):
        # The residual variance of least squares holds every term's.
        found = [_moments(UU / total * spread, W, W.sum(axis=0)) for UU, W in sums]
        spread = 1.0 + sum(min(float(np.trace(sigma)), 100.0) for sigma in found)
    return _stacked([_expected(sigma, W, 10.0) for sigma, (_, W) in zip(found, sums, strict=True)])
