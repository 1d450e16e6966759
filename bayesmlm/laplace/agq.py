"""One scalar random-effect term: adaptive Gauss-Hermite quadrature, with Laplace as its one-point case.

For group g with effect u ~ N(0, 1) and rows η_i = o_i + x_i'β + σ z_i u, the joint log-density is
f(u) = Σ ℓ_i(η_i) − u²/2 − ½ log 2π, with mode û and curvature H = 1 + Σ (σ z_i)² w_i, τ = H^{-1/2}.
With nodes x_k and weights ω_k of Gauss-Hermite quadrature (Pinheiro & Bates, 1995, eq. 6),

    log L_g = log Σ_k exp(f(û + √2 τ x_k) + x_k² + log ω_k) + ½ log 2 + log τ.

The gradient is exact: nodes move with the parameters through û and τ, whose derivatives follow from
the stationarity of û (implicit differentiation).  With π_k the normalised terms of the sum,
A = Σ π_k f′(u_k) and C = −½ τ² (1 + τ √2 Σ π_k x_k f′(u_k)),

    d log L_g = Σ_k π_k ∂f(u_k) + A dû + C dH ;

at one point A = 0 and C = −½ τ², which is the Laplace approximation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import float64, int64, njit

from bayesmlm.laplace.kernels import point_product, score_information
from bayesmlm.laplace.preload import preload

__all__ = ["gauss_hermite", "integrate"]

Array = np.ndarray[Any, Any]


@lru_cache(maxsize=32)
def gauss_hermite(points: int) -> tuple[Array, Array]:
    """Nodes and log(weight) + node² of Gauss-Hermite quadrature.

    Examples
    --------
    >>> nodes, log_weights = gauss_hermite(1)
    >>> nodes.tolist(), round(float(log_weights[0] * 2), 6) == round(math.log(math.pi), 6)
    ([0.0], True)
    """
    nodes, weights = np.polynomial.hermite.hermgauss(points)
    return nodes, np.log(weights) + nodes**2


@njit(cache=True, error_model="numpy", nogil=True)
def integrate(
    link: int,
    starts: np.ndarray,
    y: np.ndarray,
    trials: np.ndarray,
    z: np.ndarray,
    fixed: np.ndarray,
    sigma: float,
    nodes: np.ndarray,
    log_weights: np.ndarray,
    modes: np.ndarray,
    curvature: np.ndarray,
    coefficient: np.ndarray,
) -> tuple[float, float, bool]:
    """Integrated log-likelihood and its exact gradient, group by group.

    Parameters
    ----------
    link : int
    starts : ndarray of int, shape (groups + 1,)
        Rows ``starts[g]:starts[g + 1]`` belong to group g.
    y, trials, z : ndarray, shape (n,)
    fixed : ndarray, shape (n,)
        The linear predictor without the group effect, o + Xβ.
    sigma : float
        Standard deviation of the effect; its sign is free.
    nodes, log_weights : ndarray, shape (k,)
        From :func:`gauss_hermite`.
    modes : ndarray, shape (groups,)
        In: where the search for û starts.  Out: û.
    curvature : ndarray, shape (groups,)
        Out: H.
    coefficient : ndarray, shape (n,)
        Out: c, with ∂ log L / ∂β = X'c.

    Returns
    -------
    loglik, d_sigma : float
    found : bool
        Whether every mode was found.
    """
    n_nodes = len(nodes)
    log_terms = np.empty(n_nodes)
    scores = np.empty((0, 0))
    total, d_sigma, found = 0.0, 0.0, True
    longest = 0
    for g in range(len(starts) - 1):
        longest = max(longest, starts[g + 1] - starts[g])
    info, slope = np.empty(longest), np.empty(longest)
    if n_nodes > 1:
        scores = np.empty((n_nodes, longest))
    for g in range(len(starts) - 1):
        lo, hi = starts[g], starts[g + 1]
        u = modes[g]
        # Newton's method for û.  f is concave, and f″ ≤ −1 bounds a step by |f′|; a step that overshoots
        # (f′ grows) is halved.
        last = np.inf
        step = 0.0
        for iteration in range(100):
            grad, H = -u, 1.0
            for i in range(lo, hi):
                m = sigma * z[i]
                s, w = score_information(link, y[i], trials[i], fixed[i] + m * u)
                grad += m * s
                H += m * m * w
            if not abs(grad) < last and abs(grad) > 1e-9 and iteration > 0:
                step *= 0.5
                u -= step
                if abs(step) < 1e-14 * (1.0 + abs(u)):
                    found = False
                    break
                continue
            last = abs(grad)
            step = grad / H
            if not math.isfinite(step):
                found = False
                break
            u += step
            # The next step would be of the order of this one's square.
            if step * step * H < 1e-10:
                break
        else:
            found = False
        modes[g] = u

        f, H, S3, product = -0.5 * u * u, 1.0, 0.0, 1.0
        for i in range(lo, hi):
            m = sigma * z[i]
            ll, s, w, dw, product = point_product(link, y[i], trials[i], fixed[i] + m * u, product)
            f += ll
            H += m * m * w
            S3 += m * m * m * dw
            coefficient[i], info[i - lo], slope[i - lo] = s, w, dw
        f -= math.log(product)
        curvature[g] = H
        tau = 1.0 / math.sqrt(H)

        A, C = 0.0, -0.5 * tau * tau
        if n_nodes == 1:
            total += f + math.log(tau)
            for i in range(lo, hi):
                d_sigma += coefficient[i] * z[i] * u
        else:
            B = 0.0
            top = -np.inf
            for k in range(n_nodes):
                uk = u + math.sqrt(2.0) * tau * nodes[k]
                fk, product = -0.5 * uk * uk, 1.0
                for i in range(lo, hi):
                    ll, s, _, _, product = point_product(link, y[i], trials[i], fixed[i] + sigma * z[i] * uk, product)
                    fk += ll
                    scores[k, i - lo] = s
                log_terms[k] = fk - math.log(product) + log_weights[k]
                top = max(top, log_terms[k])
            norm = 0.0
            for k in range(n_nodes):
                log_terms[k] = math.exp(log_terms[k] - top)
                norm += log_terms[k]
            # ½ log 2 of the change of variable and −½ log 2π of the normal density leave −½ log π.
            total += top + math.log(norm) + math.log(tau) - 0.5 * math.log(math.pi)
            for k in range(n_nodes):
                share = log_terms[k] / norm
                uk = u + math.sqrt(2.0) * tau * nodes[k]
                slope_k = -uk
                for i in range(lo, hi):
                    slope_k += sigma * z[i] * scores[k, i - lo]
                    d_sigma += share * scores[k, i - lo] * z[i] * uk
                A += share * slope_k
                B += share * slope_k * math.sqrt(2.0) * nodes[k] * tau
            C *= 1.0 + B

        # dH = Σ 2 m w dm + m² w′ (dη + m dû) and H dû = Σ dm s − m w dη, rows entering as dη and dm.
        E = (A + C * S3) / H
        for i in range(lo, hi):
            m, w, dw, s = sigma * z[i], info[i - lo], slope[i - lo], coefficient[i]
            moved = C * m * m * dw - E * m * w
            d_sigma += z[i] * (moved * u + 2.0 * C * m * w + E * s)
            if n_nodes == 1:
                coefficient[i] = s + moved
            else:
                direct = 0.0
                for k in range(n_nodes):
                    direct += log_terms[k] * scores[k, i - lo]
                coefficient[i] = direct / norm + moved
    return total, d_sigma, found


_VECTOR = float64[::1]
preload(integrate, int64, int64[::1], *[_VECTOR] * 4, float64, *[_VECTOR] * 5)


def warm_up() -> None:
    """Compile (or load from the cache) the kernel."""
    one = np.ones(2)
    integrate(0, np.array([0, 2]), np.array([0.0, 1.0]), one, one, 0.0 * one, 0.5, *gauss_hermite(1),
              np.zeros(1), np.ones(1), np.empty(2))  # fmt: skip
