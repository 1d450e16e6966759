"""The effects of one term as a function of standard normal ones, given everything else: nearly their conditional law.

With the likelihood replaced by its quadratic approximation at the mode, the effects u of a group are normal given the
rest, of precision P and mean P⁻¹q with

    P = ρ G + Σ⁻¹,   q = ρ (q̂ + K (v − v̂) + E (e₂ − ê₂)),

G the information the group's rows have of u, and ρ = σ̂² / σ² of a Gaussian model, 1 of others.  u = P⁻¹q + P^(−T/2) w
is therefore between standardised and centred effects, group by group as the data speak: Λw where G = 0, centred and
scaled by G where Σ⁻¹ is small beside it (Papaspiliopoulos, Roberts & Sköld, 2007, section 3).  Of a Gaussian model with
one term it is the conditional law itself.  Where Σ⁻¹ is left out of P, being inside G at its mode, the effects are
centred.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesmlm.bayes.effects import factor_at, of_factor

__all__ = ["pull_effects", "push_effects"]


@njit(cache=True, error_model="numpy")
def _inverse_factor(lam: np.ndarray, inverse: np.ndarray) -> None:
    """Λ⁻¹ of a lower triangular Λ."""
    k = len(lam)
    for j in range(k):
        for i in range(k):
            inverse[i, j] = 0.0
        inverse[j, j] = 1.0 / lam[j, j]
        for i in range(j + 1, k):
            s = 0.0
            for b in range(j, i):
                s += lam[i, b] * inverse[b, j]
            inverse[i, j] = -s / lam[i, i]


@njit(cache=True, error_model="numpy")
def _push_intercepts(
    w: np.ndarray,
    q: np.ndarray,
    rho: float,
    information: np.ndarray,
    omega: float,
    u: np.ndarray,
    mean: np.ndarray,
    roots: np.ndarray,
) -> float:
    """:func:`push_effects` of a term of one column, with Σ⁻¹ given."""
    jacobian, product = 0.0, 1.0
    for g in range(len(w)):
        root = math.sqrt(rho * information[g, 0, 0] + omega)
        roots[g, 0, 0] = root
        mean[g] = rho * q[g] / (root * root)
        u[g] = mean[g] + w[g] / root
        # One logarithm for many groups.
        product *= root
        if not 1e-200 < product < 1e200:
            jacobian -= math.log(product)
            product = 1.0
    return jacobian - math.log(product)


@njit(cache=True, error_model="numpy")
def _pull_intercepts(
    of_u: np.ndarray,
    of_w: np.ndarray,
    of_q: np.ndarray,
    q: np.ndarray,
    rho: float,
    information: np.ndarray,
    u: np.ndarray,
    mean: np.ndarray,
    roots: np.ndarray,
) -> tuple[float, float]:
    """:func:`pull_effects` of a term of one column: gradients in ρ and in Σ⁻¹ are returned."""
    of_rho, of_omega = 0.0, 0.0
    for g in range(len(of_u)):
        root = roots[g, 0, 0]
        a = of_u[g] / root
        r = a / root
        of_p = -0.5 * ((u[g] - mean[g]) * a + 1.0 / root) / root - r * mean[g]
        of_w[g] = a
        of_q[g] = rho * r
        of_rho += r * q[g] + of_p * information[g, 0, 0]
        of_omega += of_p
    return of_rho, of_omega


@njit(cache=True, error_model="numpy")
def push_effects(
    w: np.ndarray,
    q: np.ndarray,
    rho: float,
    information: np.ndarray,
    centered: bool,
    x: np.ndarray,
    sd: int,
    cor: int,
    places: np.ndarray,
    u: np.ndarray,
    mean: np.ndarray,
    roots: np.ndarray,
) -> float:
    """Effects u of whitened ones w; the log-Jacobian is returned.

    Parameters
    ----------
    w, u : ndarray, shape (levels · k,)
    q : ndarray, shape (levels · k,)
        Without ρ.
    rho : float
    information : ndarray, shape (levels, k, k)
        G.
    centered : bool
        Whether Σ⁻¹ is left out.
    x : ndarray, shape (size,)
        The kernel's coordinates, of which the term's standard deviations and correlations are read.
    sd, cor : int
    places : ndarray of int
        As in :mod:`bayesmlm.bayes.effects`.
    mean, roots : ndarray, shape (levels · k,) and (levels, k, k)
        P⁻¹q and the Cholesky factors of P, written for :func:`pull_effects`.
    """
    levels, k, _ = information.shape
    if k == 1:
        omega = 0.0 if centered else math.exp(-2.0 * x[sd])
        return _push_intercepts(w, q, rho, information, omega, u, mean, roots)
    lam, inverse, y = np.zeros((k, k)), np.zeros((k, k)), np.empty(k)
    if not centered:
        factor_at(x, sd, cor, places, lam)
        _inverse_factor(lam, inverse)
    jacobian = 0.0
    for g in range(levels):
        at = g * k
        L = roots[g]
        for i in range(k):
            for j in range(i + 1):
                s = rho * information[g, i, j]
                for b in range(i, k):
                    s += inverse[b, i] * inverse[b, j]
                for b in range(j):
                    s -= L[i, b] * L[j, b]
                L[i, j] = s / L[j, j] if j < i else math.sqrt(s)
            jacobian -= math.log(L[i, i])
        for i in range(k):
            s = rho * q[at + i]
            for b in range(i):
                s -= L[i, b] * y[b]
            y[i] = s / L[i, i]
        for i in range(k - 1, -1, -1):
            s, r = y[i], w[at + i]
            for b in range(i + 1, k):
                s -= L[b, i] * mean[at + b]
                r -= L[b, i] * (u[at + b] - mean[at + b])
            mean[at + i] = s / L[i, i]
            u[at + i] = mean[at + i] + r / L[i, i]
    return jacobian


@njit(cache=True, error_model="numpy")
def pull_effects(
    of_u: np.ndarray,
    of_w: np.ndarray,
    of_q: np.ndarray,
    q: np.ndarray,
    rho: float,
    information: np.ndarray,
    centered: bool,
    x: np.ndarray,
    sd: int,
    cor: int,
    places: np.ndarray,
    u: np.ndarray,
    mean: np.ndarray,
    roots: np.ndarray,
    gradient: np.ndarray,
) -> float:
    """Gradients in w and q from that in u, the log-Jacobian's included; that in ρ is returned.

    Parameters
    ----------
    of_u, of_w, of_q : ndarray, shape (levels · k,)
    gradient : ndarray, shape (size,)
        In the kernel's coordinates: what passes through Σ is added to the term's standard deviations and correlations.
    q, rho, information, centered, x, sd, cor, places, u, mean, roots
        As :func:`push_effects` has and leaves them.
    """
    levels, k, _ = information.shape
    if k == 1:
        of_rho, of_precision = _pull_intercepts(of_u, of_w, of_q, q, rho, information, u, mean, roots)
        if not centered:
            # Ω = exp(−2 log sd).
            gradient[sd] -= 2.0 * math.exp(-2.0 * x[sd]) * of_precision
        return of_rho
    of_omega, of_p, of_root = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
    a, r = np.empty(k), np.empty(k)
    of_rho = 0.0
    for g in range(levels):
        at = g * k
        L = roots[g]
        for i in range(k):
            s = of_u[at + i]
            for b in range(i):
                s -= L[i, b] * a[b]
            a[i] = s / L[i, i]
            of_w[at + i] = a[i]
        for i in range(k - 1, -1, -1):
            s = a[i]
            for b in range(i + 1, k):
                s -= L[b, i] * r[b]
            r[i] = s / L[i, i]
        # In the root of P: of the spread L⁻ᵀw = u − mean, and of −log |L|.
        for i in range(k):
            for j in range(i + 1):
                of_root[i, j] = -(u[at + i] - mean[at + i]) * a[j]
            of_root[i, i] -= 1.0 / L[i, i]
        _of_cholesky(L, of_root, of_p)
        for i in range(k):
            of_q[at + i] = rho * r[i]
            of_rho += r[i] * q[at + i]
            for j in range(k):
                of_p[i, j] -= 0.5 * (r[i] * mean[at + j] + r[j] * mean[at + i])
                of_rho += of_p[i, j] * information[g, i, j]
                of_omega[i, j] += of_p[i, j]
    if centered:
        return of_rho
    # Σ⁻¹ = Ω = Λ⁻ᵀΛ⁻¹: the gradient in Λ is −2 Ω (∂Ω) Λ⁻ᵀ.
    lam, inverse, of_lam = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
    factor_at(x, sd, cor, places, lam)
    _inverse_factor(lam, inverse)
    for i in range(k):
        for j in range(i + 1):
            s = 0.0
            for b in range(k):
                omega = 0.0
                for c in range(max(i, b), k):
                    omega += inverse[c, i] * inverse[c, b]
                for c in range(k):
                    s += omega * of_omega[b, c] * inverse[j, c]
            of_lam[i, j] = -2.0 * s
    of_factor(lam, of_lam, sd, cor, places, gradient)
    return of_rho


@njit(cache=True, error_model="numpy")
def _of_cholesky(L: np.ndarray, of_root: np.ndarray, of_p: np.ndarray) -> None:
    """Symmetric gradient in P = LL' from that in L: ½ L⁻ᵀ (Φ + Φ') L⁻¹, Φ = L'∂L below its halved diagonal.

    Murray (2016), Differentiation of the Cholesky decomposition, eq. 10.
    """
    k = len(L)
    inverse, middle = np.zeros((k, k)), np.zeros((k, k))
    _inverse_factor(L, inverse)
    for i in range(k):
        for j in range(i + 1):
            s = 0.0
            for b in range(i, k):
                s += L[b, i] * of_root[b, j]
            # The halved diagonal is doubled again by adding the transpose.
            middle[i, j] = s
            middle[j, i] = s
    for i in range(k):
        for j in range(k):
            s = 0.0
            for b in range(i, k):
                for c in range(j, k):
                    s += inverse[b, i] * middle[b, c] * inverse[c, j]
            of_p[i, j] = 0.5 * s
