"""Likelihood of groups with their effects integrated out, group by group, by adaptive Gauss-Hermite quadrature.

For a group with effects u ~ N(0, ΛΛ') = Λ ũ, rows η_i = o_i + m_i'ũ with m_i = Λ'z_i, and f its rows' log-density
minus ½ |ũ|², with mode û and H = LL' minus its second derivative there (Pinheiro & Bates, 1995, eq. 6),

    log L_g = log Σ_j exp(f(û + √2 L⁻ᵀx_j) + |x_j|² + log ω_j) − log |L| − (k/2) log π.

The kernels of :mod:`bayesmlm.laplace.agq` sum over groups and differentiate; these do neither, for many draws.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesmlm.laplace.kernels import point, point_product
from bayesmlm.laplace.newton import find_mode
from bayesmlm.laplace.pls import backward
from bayesmlm.laplace.preload import INNER

__all__ = ["integrate_groups", "log_integral", "log_sum", "spherical", "sum_rows"]


@njit(**INNER)
def spherical(z, lam, m):  # type: ignore[no-untyped-def]
    """m = Λ'z for every row."""
    k = len(lam)
    for i in range(len(z)):
        for b in range(k):
            total = 0.0
            for a in range(k):
                total += lam[a, b] * z[i, a]
            m[i, b] = total


@njit(**INNER)
def _log_density(link, lo, hi, y, trials, fixed, m, u):  # type: ignore[no-untyped-def]
    """f(u)."""
    value, product = 0.0, 1.0
    for a in range(len(u)):
        value -= 0.5 * u[a] * u[a]
    for i in range(lo, hi):
        eta = fixed[i]
        for a in range(len(u)):
            eta += m[i, a] * u[a]
        ll, _, _, _, product = point_product(link, y[i], trials[i], eta, product)
        value += ll
    return value - math.log(product)


@njit(**INNER)
def log_sum(terms):  # type: ignore[no-untyped-def]
    top, total = -math.inf, 0.0
    for term in terms:
        top = max(top, term)
    for term in terms:
        total += math.exp(term - top)
    return top + math.log(total)


@njit(**INNER)
def log_integral(  # type: ignore[no-untyped-def]
    link, lo, hi, y, trials, fixed, m, u, nodes, log_weights, H, grad, step, terms
):
    """log L_g of one group; out: u its mode.  NaN where that was not found."""
    k = len(u)
    if not find_mode(link, lo, hi, y, trials, fixed, m[lo:hi], u, H, grad, step):
        return math.nan
    for j in range(len(nodes)):
        for a in range(k):
            grad[a] = math.sqrt(2.0) * nodes[j, a]
        backward(H, grad)
        for a in range(k):
            grad[a] += u[a]
        terms[j] = _log_density(link, lo, hi, y, trials, fixed, m, grad) + log_weights[j]
    value = log_sum(terms) - 0.5 * k * math.log(math.pi)
    for a in range(k):
        value -= math.log(H[a, a])
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def sum_rows(link, starts, y, trials, fixed, out):  # type: ignore[no-untyped-def]
    """Log-likelihood of groups without effects.

    Parameters
    ----------
    link : int
    starts : ndarray of int, shape (groups + 1,)
        Rows ``starts[g]:starts[g + 1]`` belong to group g.
    y, trials : ndarray, shape (n,)
        Weighted counts, as :func:`bayesmlm.laplace.kernels.point` has them.
    fixed : ndarray, shape (draws, n)
        The linear predictor.
    out : ndarray, shape (draws, groups)
        Out: the log-likelihoods, constants left out.
    """
    for d in range(len(fixed)):
        for g in range(len(starts) - 1):
            total = 0.0
            for i in range(starts[g], starts[g + 1]):
                total += point(link, y[i], trials[i], fixed[d, i])[0]
            out[d, g] = total


@njit(cache=True, error_model="numpy", nogil=True)
def integrate_groups(  # type: ignore[no-untyped-def]
    link, starts, y, trials, z, fixed, lams, nodes, log_weights, out
):
    """Integrated log-likelihood of every group under every draw.

    Parameters
    ----------
    link, starts, y, trials
        As in :func:`sum_rows`.
    z : ndarray, shape (n, k)
    fixed : ndarray, shape (draws, n)
        The linear predictor without the groups' effects.
    lams : ndarray, shape (draws, k, k)
        Λ, any square root of the effects' covariance.
    nodes, log_weights : ndarray, shape (points, k) and (points,)
        From :func:`bayesmlm.laplace.agq_vector.product_rule`.
    out : ndarray, shape (draws, groups)
        Out: the log-likelihoods, constants left out; NaN where a mode was not found.
    """
    n, k = z.shape
    m = np.empty((n, k))
    u = np.zeros((len(starts) - 1, k))  # a draw's modes are near the last one's
    H, grad, step, terms = np.empty((k, k)), np.empty(k), np.empty(k), np.empty(len(nodes))
    for d in range(len(fixed)):
        spherical(z, lams[d], m)
        for g in range(len(starts) - 1):
            value = log_integral(
                link, starts[g], starts[g + 1], y, trials, fixed[d], m, u[g], nodes, log_weights, H, grad, step, terms
            )
            if not math.isfinite(value):
                u[g] = 0.0
            out[d, g] = value
