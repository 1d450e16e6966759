"""The law of a group's effects given everything else, nearly: normal about the mode, and as skew as it is there.

At the mode û of a group's log-density, with H = LL' minus the second derivative there and t = L'(u − û),

    log p(u | …) ≈ const − ½ |t|² + (1/6) Σ T_abc t_a t_b t_c,   T_abc = −Σ_i w′_i (L⁻¹z_i)_a (L⁻¹z_i)_b (L⁻¹z_i)_c.

To that order t_a given those before it has a mean of ½ Σ_{b,c<a} T_abc t_b t_c + ½ Σ_{c>a} T_acc beside that of its own
skewness T_aaa, and a variance of 1 + Σ_{b<a} T_aab t_b.  Its own law is that of z ~ N(0, 1) under the sinh-arcsinh
transformation (Jones & Pewsey, 2009, eq. 2 with δ = 1),

    z cosh ε + √(1 + z²) sinh ε,

moved and stretched to the mean ½ T_aaa, the variance 1 + T²_aaa and, by ε, the skewness T_aaa.  It is smooth, has
normal tails of two widths, and costs a square root.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesmlm.bayes.marginal.derivatives import row_derivatives
from bayesmlm.laplace.kernels import point
from bayesmlm.laplace.pls import backward, cholesky_in_place, forward
from bayesmlm.laplace.preload import INNER

__all__ = ["ROOT_MEAN", "group_laws", "scalar_constants", "scalar_laws", "shape_constants", "skewed"]

ROOT_MEAN = 1.3545308064813197
"""Mean of √(1 + z²) for z ~ N(0, 1)."""
_SKEW = 3.0 * 0.5648908475656489
"""Skewness per sinh ε of the transformation near ε = 0: 3 cov(z², √(1 + z²))."""
_MOST = 1.0
"""Skewness at most, and logarithm of a variance, up to which the expansion is believed."""
_NEAR = 0.09
"""Square of a Newton step, in the metric of H, from which a step of third order ends at the mode."""
_TRIES = 20


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _sums(Z, lo, hi, omega, u, score, weight, slope, d, A, S):  # type: ignore[no-untyped-def]
    """Gradient d, minus the Hessian A and minus the third derivatives S of a group's log-density at u."""
    k = len(Z)
    for a in range(k):
        total = 0.0
        for i in range(lo, hi):
            total += score[i] * Z[a, i]
        for b in range(k):
            total -= omega[a, b] * u[b]
        d[a] = total
        for b in range(a + 1):
            total = omega[a, b]
            for i in range(lo, hi):
                total += weight[i] * Z[a, i] * Z[b, i]
            A[a, b], A[b, a] = total, total
            for c in range(b + 1):
                total = 0.0
                for i in range(lo, hi):
                    total += slope[i] * Z[a, i] * Z[b, i] * Z[c, i]
                S[a, b, c], S[a, c, b], S[b, a, c] = total, total, total
                S[b, c, a], S[c, a, b], S[c, b, a] = total, total, total


@njit(cache=True, nogil=True, error_model="numpy")
def group_laws(
    link: int,
    precision: float,
    y: np.ndarray,
    trials: np.ndarray,
    eta: np.ndarray,
    Z: np.ndarray,
    starts: np.ndarray,
    omega: np.ndarray,
    modes: np.ndarray,
    roots: np.ndarray,
    cubes: np.ndarray,
    work: np.ndarray,
) -> None:
    """Find û, L and T of every group.

    Parameters
    ----------
    link : int
    precision : float
        σ⁻² of a Gaussian model.
    y, trials, eta : ndarray, shape (n,)
        ``eta`` without u.
    Z : ndarray, shape (k, n)
    starts : ndarray of int, shape (groups + 1,)
    omega : ndarray, shape (k, k)
        Σ⁻¹.
    modes : ndarray, shape (groups, k)
        In: near the modes.  Out: û.
    roots, cubes : ndarray, shape (groups, k, k) and (groups, k, k, k)
        Out: L and T.
    work : ndarray, shape (4, n)
    """
    k = len(Z)
    # One group's arrays, used again and again: a view of every group's own would cost more than the arithmetic.
    A, L, S = np.empty((k, k)), np.zeros((k, k)), np.empty((k, k, k))
    u, d, step = np.empty(k), np.empty(k), np.empty(k)
    full, score, weight, slope = work[0], work[1], work[2], work[3]
    for g in range(len(starts) - 1):
        for i in range(starts[g], starts[g + 1]):
            full[i] = eta[i]
            for a in range(k):
                full[i] += Z[a, i] * modes[g, a]
    row_derivatives(link, precision, y, trials, full, score, weight, slope)
    for g in range(len(starts) - 1):
        for a in range(k):
            u[a] = modes[g, a]
        for attempt in range(_TRIES):
            if attempt > 0:
                for i in range(starts[g], starts[g + 1]):
                    h = eta[i]
                    for a in range(k):
                        h += Z[a, i] * u[a]
                    _, score[i], weight[i], slope[i] = point(link, y[i], trials[i], h)
            _sums(Z, starts[g], starts[g + 1], omega, u, score, weight, slope, d, A, S)
            for a in range(k):
                step[a] = d[a]
                for b in range(a + 1):
                    L[a, b] = A[a, b]
            cholesky_in_place(L)
            forward(L, step)
            square = 0.0
            for a in range(k):
                square += step[a] * step[a]
            backward(L, step)
            if square < _NEAR:
                break
            # Far from the mode a step is at most two standard deviations.
            for a in range(k):
                u[a] += step[a] * min(1.0, 2.0 / math.sqrt(square))
        for a in range(k):
            for b in range(k):
                for c in range(k):
                    d[a] -= 0.5 * S[a, b, c] * step[b] * step[c]
        forward(L, d)
        backward(L, d)
        for a in range(k):
            modes[g, a] = u[a] + d[a]
            for b in range(a + 1):
                L[a, b] = A[a, b]
                for c in range(k):
                    L[a, b] += S[a, b, c] * d[c]
        cholesky_in_place(L)
        _whiten(L, S)
        for a in range(k):
            for b in range(k):
                roots[g, a, b] = L[a, b]
                for c in range(k):
                    cubes[g, a, b, c] = -S[a, b, c]


@njit(**INNER)
def _whiten(L, S):  # type: ignore[no-untyped-def]
    """Multiply each of three indices of S by L⁻¹, in place."""
    k = len(L)
    for a in range(k):
        for b in range(k):
            for i in range(k):
                for j in range(i):
                    S[a, b, i] -= L[i, j] * S[a, b, j]
                S[a, b, i] /= L[i, i]
    for a in range(k):
        for b in range(k):
            for i in range(k):
                for j in range(i):
                    S[a, i, b] -= L[i, j] * S[a, j, b]
                S[a, i, b] /= L[i, i]
    for a in range(k):
        for b in range(k):
            for i in range(k):
                for j in range(i):
                    S[i, a, b] -= L[i, j] * S[j, a, b]
                S[i, a, b] /= L[i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def scalar_laws(
    link: int,
    precision: float,
    y: np.ndarray,
    trials: np.ndarray,
    eta: np.ndarray,
    z: np.ndarray,
    starts: np.ndarray,
    omega: float,
    modes: np.ndarray,
    roots: np.ndarray,
    cubes: np.ndarray,
    work: np.ndarray,
) -> None:
    """:func:`group_laws` of one column: plain numbers run four times as fast as arrays of one.

    ``modes``, ``roots`` and ``cubes`` are of shape (groups,), ``z`` of shape (n,).
    """
    full, score, weight, slope = work[0], work[1], work[2], work[3]
    for g in range(len(starts) - 1):
        u = modes[g]
        for i in range(starts[g], starts[g + 1]):
            full[i] = eta[i] + z[i] * u
    row_derivatives(link, precision, y, trials, full, score, weight, slope)
    for g in range(len(starts) - 1):
        u, d, A, S, step = modes[g], 0.0, 0.0, 0.0, 0.0
        for attempt in range(_TRIES):
            d, A, S = -omega * u, omega, 0.0
            for i in range(starts[g], starts[g + 1]):
                if attempt > 0:
                    _, score[i], weight[i], slope[i] = point(link, y[i], trials[i], eta[i] + z[i] * u)
                zz = z[i] * z[i]
                d += score[i] * z[i]
                A += weight[i] * zz
                S += slope[i] * zz * z[i]
            step = d / A
            square = step * d
            if square < _NEAR:
                break
            u += step * min(1.0, 2.0 / math.sqrt(square))
        step = (d - 0.5 * S * step * step) / A
        modes[g] = u + step
        root = math.sqrt(A + S * step)
        roots[g] = root
        cubes[g] = -S / (root * root * root)


@njit(**INNER)
def scalar_constants(skewness):  # type: ignore[no-untyped-def]
    """cosh ε and sinh ε, times the stretch, and the mean of a number of this skewness."""
    skewness = max(min(skewness, _MOST), -_MOST)
    sinh = skewness / _SKEW
    squares = sinh * sinh
    stretch = math.sqrt((1.0 + skewness * skewness) / (1.0 + squares * (3.0 - ROOT_MEAN * ROOT_MEAN)))
    return stretch * math.sqrt(1.0 + squares), stretch * sinh, 0.5 * skewness


@njit(**INNER)
def shape_constants(cubes, g, constants):  # type: ignore[no-untyped-def]
    """Of every t_a of group g: cosh ε and sinh ε, times its stretch, and its mean given those before it at 0."""
    for a in range(cubes.shape[1]):
        constants[g, a, 0], constants[g, a, 1], constants[g, a, 2] = scalar_constants(cubes[g, a, a, a])
        for c in range(a + 1, cubes.shape[1]):
            constants[g, a, 2] += 0.5 * cubes[g, a, c, c]


@njit(**INNER)
def skewed(z, j, g, cubes, constants, t):  # type: ignore[no-untyped-def]
    """t (k,) of the j-th standard normal z (nodes, groups, k) of group g; |∂t/∂z| is returned."""
    jacobian = 1.0
    for a in range(len(t)):
        mean, log_variance, w = constants[g, a, 2], 0.0, z[j, g, a]
        for b in range(a):
            log_variance += cubes[g, a, a, b] * t[b]
            for c in range(a):
                mean += 0.5 * cubes[g, a, b, c] * t[b] * t[c]
        root = math.sqrt(1.0 + w * w)
        sd = math.exp(0.5 * max(min(log_variance, _MOST), -_MOST)) if a > 0 else 1.0
        t[a] = mean + sd * (constants[g, a, 0] * w + constants[g, a, 1] * (root - ROOT_MEAN))
        jacobian *= sd * (constants[g, a, 0] + constants[g, a, 1] * w / root)
    return jacobian
