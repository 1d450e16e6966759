"""A Gaussian response: the likelihood of groups with their effects integrated out, in closed form."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["integrate_gaussian"]

Array = np.ndarray[Any, Any]


def integrate_gaussian(
    starts: Array,
    inner: list[Array],
    y: Array,
    weights: Array,
    freq: Array,
    z: list[Array],
    fixed: Array,
    lams: list[Array],
    sigma: Array,
) -> Array:
    """Integrated log-likelihood of every group under every draw.

    With residuals r of a group's rows, of variance σ²/w each, and M = ZΛ the columns of all effects within it,

        log L = Σ log N(r; 0, σ²/w) − ½ log |H| + ½ b'H⁻¹b,   H = I + M'WM / σ²,   b = M'Wr / σ².

    Parameters
    ----------
    starts : ndarray of int, shape (groups + 1,)
        Rows ``starts[g]:starts[g + 1]`` belong to group g.
    inner : list of ndarray of int, shape (n,)
        Of the second set of effects, if there is one: its groups within each group, counted from 0.
    y, weights, freq : ndarray, shape (n,)
    z : list of ndarray, shape (n, k)
        Columns of each set of effects.
    fixed : ndarray, shape (draws, n)
        The means without the effects.
    lams : list of ndarray, shape (draws, k, k)
    sigma : ndarray, shape (draws,)

    Returns
    -------
    ndarray, shape (draws, groups)

    Examples
    --------
    >>> from scipy.stats import multivariate_normal
    >>> y, one = np.array([0.3, -1.0]), np.ones(2)
    >>> value = integrate_gaussian(np.array([0, 2]), [], y, one, one, [one[:, None]], np.zeros((1, 2)),
    ...                            [np.full((1, 1, 1), 2.0)], np.array([0.5]))
    >>> np.isclose(value[0, 0], multivariate_normal.logpdf(y, np.zeros(2), 4.0 + 0.25 * np.eye(2)))
    np.True_
    """
    residual, precision = y - fixed, sigma**-2.0
    counted = weights * freq
    out = np.empty((len(fixed), len(starts) - 1))
    for g, (lo, hi) in enumerate(pairwise(starts)):
        rows = slice(lo, hi)
        r, w = residual[:, rows], counted[rows]
        value = -0.5 * precision * (r * r @ w) - freq[rows].sum() * np.log(sigma)
        value += 0.5 * freq[rows] @ (np.log(weights[rows]) - np.log(2.0 * np.pi))
        if z:
            Z, lam = _all_columns([one[rows] for one in z], [one[rows] for one in inner], lams)
            G = (Z.T * w) @ Z
            H = np.swapaxes(lam, 1, 2) @ G @ lam * precision[:, None, None] + np.eye(Z.shape[1])
            b = np.einsum("sij,si->sj", lam, (r * w) @ Z) * precision[:, None]
            L = np.linalg.cholesky(H)
            half = np.linalg.solve(L, b[:, :, None])[:, :, 0]
            value += 0.5 * (half * half).sum(axis=1) - np.log(np.einsum("sii->si", L)).sum(axis=1)
        out[:, g] = value
    return out


def _all_columns(z: list[Array], inner: list[Array], lams: list[Array]) -> tuple[Array, Array]:
    """Columns of all effects within a group, and the square root of their covariance."""
    if not inner:
        return z[0], lams[0]
    groups, k, q = int(inner[0].max()) + 1, z[1].shape[1], z[0].shape[1]
    Z = np.zeros((len(z[0]), q + groups * k))
    lam = np.zeros((len(lams[0]), Z.shape[1], Z.shape[1]))
    Z[:, :q], lam[:, :q, :q] = z[0], lams[0]
    for g in range(groups):
        at = slice(q + g * k, q + (g + 1) * k)
        Z[:, at] = np.where((inner[0] == g)[:, None], z[1], 0.0)
        lam[:, at, at] = lams[1]
    return Z, lam
