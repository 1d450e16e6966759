"""One vector-valued random-effect term: adaptive Gauss-Hermite quadrature in k dimensions, Laplace its one-point case.

As in :mod:`bayesmlm.laplace.agq` with u ~ N(0, I_k), m_i = λ'z_i and H = I + Σ w_i m_i m_i' = LL'.  Nodes are
u_j = û + √2 L⁻ᵀx_j, and

    log L_g = log Σ_j exp(f(u_j) + |x_j|² + log ω_j) − log |L| − (k/2) log π

(Pinheiro & Bates, 1995, eq. 6, less the constants of the normal density).  With π_j the normalised terms of the sum,
A = Σ π_j f′(u_j), B = Σ π_j (L⁻¹f′(u_j)) x_j' and E the symmetric matrix with E_ba = E_ab = ½ B_ab for a ≤ b,

    d log L_g = Σ_j π_j ∂f(u_j) + A'dû + <W, dH>,   W = −½ H⁻¹ − √2 L⁻ᵀ E L⁻¹,

because dL = L Φ with Φ the lower triangle, its diagonal halved, of L⁻¹ dH L⁻ᵀ.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.laplace.agq import gauss_hermite
from bayesmlm.laplace.kernels import point_product
from bayesmlm.laplace.newton import find_mode
from bayesmlm.laplace.pls import backward, cholesky_in_place, forward
from bayesmlm.laplace.preload import INNER

__all__ = ["integrate_vector", "product_rule"]

Array = np.ndarray[Any, Any]


def product_rule(points: int, k: int) -> tuple[Array, Array]:
    """Nodes (points^k, k) and log(weight) + |node|² of the product rule.

    Examples
    --------
    >>> nodes, log_weights = product_rule(3, 2)
    >>> nodes.shape, round(float(np.exp(log_weights - (nodes**2).sum(axis=1)).sum() / math.pi), 12)
    ((9, 2), 1.0)
    """
    nodes, log_weights = gauss_hermite(points)
    grid = list(product(range(points), repeat=k))
    return np.array([nodes[list(j)] for j in grid]), np.array([log_weights[list(j)].sum() for j in grid])


@njit(**INNER)
def _at_mode(link, lo, hi, y, trials, fixed, m, u, L, inverse, scores, info, slope):  # type: ignore[no-untyped-def]
    """f(û), with L, H⁻¹ and the rows' derivatives; NaN where H is not definite."""
    k = len(u)
    f, product = 0.0, 1.0
    for a in range(k):
        f -= 0.5 * u[a] * u[a]
        for b in range(k):
            L[a, b] = 1.0 if a == b else 0.0
            inverse[a, b] = L[a, b]
    for i in range(hi - lo):
        eta = fixed[lo + i]
        for a in range(k):
            eta += m[i, a] * u[a]
        ll, scores[lo + i], info[i], slope[i], product = point_product(link, y[lo + i], trials[lo + i], eta, product)
        f += ll
        for a in range(k):
            wm = info[i] * m[i, a]
            for b in range(a + 1):
                L[a, b] += wm * m[i, b]
    if not cholesky_in_place(L):
        return math.nan
    for a in range(k):
        forward(L, inverse[a])
        backward(L, inverse[a])
    return f - math.log(product)


@njit(**INNER)
def _quadrature(link, lo, hi, y, trials, fixed, m, u, L, nodes, log_weights, at, shares, scores, fk, A, W):  # type: ignore[no-untyped-def]
    """log Σ_j exp(…) of one group; out: nodes u_j, shares π_j, scores, A, and E's part of W."""
    k, n_nodes = len(u), len(nodes)
    B, E = np.zeros((k, k)), np.zeros((k, k))
    top = -np.inf
    for j in range(n_nodes):
        for a in range(k):
            fk[a] = math.sqrt(2.0) * nodes[j, a]
        backward(L, fk)
        value, product = 0.0, 1.0
        for a in range(k):
            at[j, a] = u[a] + fk[a]
            value -= 0.5 * at[j, a] * at[j, a]
        for i in range(hi - lo):
            eta = fixed[lo + i]
            for a in range(k):
                eta += m[i, a] * at[j, a]
            ll, scores[j, i], _, _, product = point_product(link, y[lo + i], trials[lo + i], eta, product)
            value += ll
        shares[j] = value - math.log(product) + log_weights[j]
        top = max(top, shares[j])
    norm = 0.0
    for j in range(n_nodes):
        shares[j] = math.exp(shares[j] - top)
        norm += shares[j]
    for j in range(n_nodes):
        shares[j] /= norm
        for a in range(k):
            fk[a] = -at[j, a]
            for i in range(hi - lo):
                fk[a] += m[i, a] * scores[j, i]
            A[a] += shares[j] * fk[a]
        forward(L, fk)
        for a in range(k):
            for b in range(k):
                B[a, b] += shares[j] * fk[a] * nodes[j, b]
    for a in range(k):
        for b in range(a, k):
            E[a, b] = 0.5 * B[a, b]
            E[b, a] = E[a, b]
    # L⁻ᵀ E L⁻¹: once by rows, once by columns; E is symmetric before and after.
    for _ in range(2):
        for a in range(k):
            backward(L, E[a])
        for a in range(k):
            for b in range(a):
                E[a, b], E[b, a] = E[b, a], E[a, b]
    for a in range(k):
        for b in range(k):
            W[a, b] -= math.sqrt(2.0) * E[a, b]
    return top + math.log(norm)


@njit(**INNER)
def _gradient(lo, hi, z, m, u, inverse, W, A, info, slope, at, shares, scores, coefficient, d_lam):  # type: ignore[no-untyped-def]
    """One group's part of the gradient; coefficient holds the scores at û, and c afterwards.

    <W, dH> = Σ 2 w (Wm)'dm + w′ q (dη + m'dû) with q = m'Wm, and H dû = Σ dm s − m w dη.
    """
    k, n_nodes = len(u), len(shares)
    E, Wm, direct_u = np.zeros(k), np.empty(k), np.empty(k)
    for i in range(hi - lo):
        q = 0.0
        for a in range(k):
            for b in range(k):
                q += m[i, a] * W[a, b] * m[i, b]
        slope[i] *= q
        for a in range(k):
            A[a] += slope[i] * m[i, a]
    for a in range(k):
        for b in range(k):
            E[a] += inverse[a, b] * A[b]
    for i in range(hi - lo):
        s, w, moved = coefficient[lo + i], info[i], slope[i]
        for a in range(k):
            moved -= w * m[i, a] * E[a]
            Wm[a] = 0.0
            for b in range(k):
                Wm[a] += W[a, b] * m[i, b]
        direct = 0.0
        if n_nodes == 1:
            direct = s
            for a in range(k):
                direct_u[a] = s * u[a]
        else:
            direct_u[:] = 0.0
            for j in range(n_nodes):
                share = shares[j] * scores[j, i]
                direct += share
                for a in range(k):
                    direct_u[a] += share * at[j, a]
        coefficient[lo + i] = direct + moved
        for b in range(k):
            value = direct_u[b] + moved * u[b] + 2.0 * w * Wm[b] + E[b] * s
            for a in range(b, k):
                d_lam[a, b] += z[lo + i, a] * value


@njit(cache=True, error_model="numpy", nogil=True)
def integrate_vector(  # type: ignore[no-untyped-def]
    link, starts, y, trials, z, fixed, lam, nodes, log_weights, modes, roots, coefficient, d_lam
):
    """Integrated log-likelihood and its exact gradient, group by group.

    Parameters
    ----------
    link : int
    starts : ndarray of int, shape (groups + 1,)
    y, trials, fixed : ndarray, shape (n,)
        Rows sorted by group; ``fixed`` is o + Xβ.
    z : ndarray, shape (n, k)
    lam : ndarray, shape (k, k)
        λ, lower triangular.
    nodes, log_weights : ndarray, shape (points^k, k) and (points^k,)
        From :func:`product_rule`.
    modes : ndarray, shape (groups, k)
        In: where the search for û starts.  Out: û.
    roots : ndarray, shape (groups, k, k)
        Out: L, its upper triangle zero.
    coefficient : ndarray, shape (n,)
        Out: c, with ∂ log L / ∂β = X'c.
    d_lam : ndarray, shape (k, k)
        Out: ∂ log L / ∂λ, lower triangle.

    Returns
    -------
    loglik : float
    found : bool
        Whether every mode was found.
    """
    k, n_nodes = len(lam), len(nodes)
    longest = 0
    for g in range(len(starts) - 1):
        longest = max(longest, starts[g + 1] - starts[g])
    m, info, slope = np.empty((longest, k)), np.empty(longest), np.empty(longest)
    scores = np.empty((n_nodes if n_nodes > 1 else 0, longest))
    at, shares = np.empty((n_nodes, k)), np.empty(n_nodes)
    A, one, two = np.empty(k), np.empty(k), np.empty(k)
    H, inverse, W = np.empty((k, k)), np.empty((k, k)), np.empty((k, k))
    d_lam[:] = 0.0
    total, found = 0.0, True
    for g in range(len(starts) - 1):
        lo, hi = starts[g], starts[g + 1]
        u = modes[g]
        for i in range(hi - lo):
            for b in range(k):
                value = 0.0
                for a in range(b, k):
                    value += lam[a, b] * z[lo + i, a]
                m[i, b] = value
        found = find_mode(link, lo, hi, y, trials, fixed, m, u, H, one, two) and found
        L = roots[g]
        f = _at_mode(link, lo, hi, y, trials, fixed, m, u, L, inverse, coefficient, info, slope)
        for a in range(k):
            A[a] = 0.0
            f -= math.log(L[a, a])
            for b in range(k):
                W[a, b] = -0.5 * inverse[a, b]
        if n_nodes > 1:
            f = _quadrature(
                link, lo, hi, y, trials, fixed, m, u, L, nodes, log_weights, at, shares, scores, one, A, W
            ) - 0.5 * k * math.log(math.pi)
            for a in range(k):
                f -= math.log(L[a, a])
        total += f
        _gradient(lo, hi, z, m, u, inverse, W, A, info, slope, at, shares, scores, coefficient, d_lam)
    return total, found
