"""Conditional modes by penalised Newton steps, and the Laplace approximation with its exact gradient, for any terms.

With spherical effects u ~ N(0, I), m_i = Λ'z_i and η = o + Xβ + m'u, the Laplace log-likelihood is

    ℓ(β, θ) = Σ ℓ_i(η̂_i) − ½ |û|² − ½ log |H|,   H = I + Σ w_i m_i m_i',

(Bates, "Computational methods for mixed models", 2015, eq. 48).  Its gradient follows from the stationarity of û,
H dû = Σ dm_i s_i − m_i w_i dη_i.  With leverages h_i = m_i'H⁻¹m_i and r = H⁻¹ Σ m_i w′_i h_i,

    dℓ = Σ c_i dη_i − Σ w_i (H⁻¹m_i)'dm_i − ½ Σ s_i r'dm_i,   c_i = s_i − ½ (w′_i h_i − w_i m_i'r),

where dη_i = x_i'dβ + u'dm_i and dm_i = dΛ'z_i.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.laplace.kernels import point
from bayesmlm.laplace.pls import Blocks, factorise, invert_components, solve, spherical_columns

__all__ = ["Evaluation", "fixed_information", "laplace", "linear_predictor", "selected_covariance"]

Array = np.ndarray[Any, Any]


@njit(cache=True)
def _predict(fixed, m, k0, starts, touched_starts, touched, local, main, other, eta):  # type: ignore[no-untyped-def]
    """η = fixed + m'u, row by row."""
    K = m.shape[1]
    for g in range(len(starts) - 1):
        first = touched_starts[g]
        for i in range(starts[g], starts[g + 1]):
            total = fixed[i]
            for a in range(k0):
                total += m[i, a] * main[g, a]
            for c in range(K - k0):
                total += m[i, k0 + c] * other[touched[first + local[i, c]]]
            eta[i] = total


@njit(cache=True)
def _accumulate(values, m, k0, starts, touched_starts, touched, local, main, other):  # type: ignore[no-untyped-def]
    """Add m'values to a vector split as main and other."""
    K = m.shape[1]
    for g in range(len(starts) - 1):
        first = touched_starts[g]
        for i in range(starts[g], starts[g + 1]):
            for a in range(k0):
                main[g, a] += m[i, a] * values[i]
            for c in range(K - k0):
                other[touched[first + local[i, c]]] += m[i, k0 + c] * values[i]


@njit(cache=True)
def _derivatives(link, y, trials, eta, s, w, dw):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(y)):
        ll, s[i], w[i], dw[i] = point(link, y[i], trials[i], eta[i])
        total += ll
    return total


@njit(cache=True, error_model="numpy")
def _find_modes(  # type: ignore[no-untyped-def]
    link, y, trials, fixed, m, k0, starts, local, touched_starts, touched, position, component,
    sizes, offsets, column_component, column_position, main, other, L, Y, S, s, w, dw,
):  # fmt: skip
    """Maximise Σ ℓ − ½|u|² by Newton's method with step halving; leaves H factorised at the mode.

    Returns the penalised log-likelihood, ½ log |H|, and whether the mode was found.
    """
    eta = np.empty(len(y))
    _predict(fixed, m, k0, starts, touched_starts, touched, local, main, other, eta)
    value = _derivatives(link, y, trials, eta, s, w, dw)
    value -= 0.5 * (np.sum(main * main) + np.sum(other * other))
    half = 0.0
    for _ in range(100):
        half, definite = factorise(
            w, m, k0, starts, local, touched_starts, position, component, sizes, offsets, L, Y, S
        )
        if not definite or not math.isfinite(value):
            return value, half, False
        step_main, step_other = -main, -other
        _accumulate(s, m, k0, starts, touched_starts, touched, local, step_main, step_other)
        grad_main, grad_other = step_main.copy(), step_other.copy()
        solve(step_main, step_other, starts, touched_starts, touched, column_component, column_position,
              sizes, offsets, L, Y, S)  # fmt: skip
        decrement = np.sum(step_main * grad_main) + np.sum(step_other * grad_other)
        if decrement < 1e-18 * (1.0 + abs(value)):
            return value, half, True
        scale = 1.0
        while True:
            new_main, new_other = main + scale * step_main, other + scale * step_other
            _predict(fixed, m, k0, starts, touched_starts, touched, local, new_main, new_other, eta)
            new = _derivatives(link, y, trials, eta, s, w, dw)
            new -= 0.5 * (np.sum(new_main * new_main) + np.sum(new_other * new_other))
            if new >= value - 1e-12 * (1.0 + abs(value)) or decrement < 1e-12:
                break
            scale *= 0.5
            if scale < 1e-8:
                return value, half, False
        main[:], other[:], value = new_main, new_other, new
        if decrement < 1e-14 and scale == 1.0:
            # One more step would not change û in double precision; H still belongs to the step before.
            half, definite = factorise(
                w, m, k0, starts, local, touched_starts, position, component, sizes, offsets, L, Y, S
            )
            return value, half, definite
    return value, half, False


@njit(cache=True)
def _local_covariance(g, k0, touched_starts, component, position, sizes, offsets, L, Y, inverse, V):  # type: ignore[no-untyped-def]
    """H⁻¹ on main group g and the columns it touches, into V; returns its size.

    With P = D⁻¹B: V_RR = S⁻¹, V_gR = −P S⁻¹, V_gg = D⁻¹ + P S⁻¹ P'.
    """
    first, last = touched_starts[g], touched_starts[g + 1]
    r = last - first
    P = np.empty((r, k0))
    for j in range(r):
        P[j] = Y[first + j]
        row = P[j]
        for a in range(k0 - 1, -1, -1):
            row[a] /= L[g, a, a]
            for b in range(a):
                row[b] -= L[g, a, b] * row[a]
    if r > 0:
        base, size = offsets[component[first]], sizes[component[first]]
        for j in range(r):
            at = base + position[first + j] * size
            for l in range(r):
                V[k0 + j, k0 + l] = inverse[at + position[first + l]]
    for a in range(k0):
        for j in range(r):
            total = 0.0
            for l in range(r):
                total -= P[l, a] * V[k0 + l, k0 + j]
            V[a, k0 + j] = total
            V[k0 + j, a] = total
    unit = np.empty(k0)
    for a in range(k0):
        unit[:] = 0.0
        unit[a] = 1.0
        for i in range(k0):
            for c in range(i):
                unit[i] -= L[g, i, c] * unit[c]
            unit[i] /= L[g, i, i]
        for i in range(k0 - 1, -1, -1):
            unit[i] /= L[g, i, i]
            for c in range(i):
                unit[c] -= L[g, i, c] * unit[i]
        for b in range(k0):
            total = unit[b]
            for j in range(r):
                total -= P[j, b] * V[a, k0 + j]
            V[a, b] = total
    return k0 + r


@njit(cache=True)
def _gradient(  # type: ignore[no-untyped-def]
    z, m, columns, starts, local, touched_starts, touched, position, component, sizes, offsets,
    column_component, column_position, main, other, L, Y, S, s, w, dw, coefficient, d_lams,
):  # fmt: skip
    """Exact gradient at the mode: c (∂ℓ/∂β = X'c) and ∂ℓ/∂λ of every term, full k × k, row by row."""
    n, K = m.shape
    k0 = columns[0]
    widest = 0
    for g in range(len(starts) - 1):
        widest = max(widest, touched_starts[g + 1] - touched_starts[g])
    inverse = invert_components(S, sizes, offsets)
    V = np.empty((k0 + widest, k0 + widest))
    a_rows, weighted = np.zeros((n, K)), np.empty(n)
    at = np.empty(K, dtype=np.int64)
    for c in range(k0):
        at[c] = c
    for g in range(len(starts) - 1):
        _local_covariance(g, k0, touched_starts, component, position, sizes, offsets, L, Y, inverse, V)
        for i in range(starts[g], starts[g + 1]):
            for c in range(k0, K):
                at[c] = k0 + local[i, c - k0]
            h = 0.0
            for a in range(K):
                total = 0.0
                for b in range(K):
                    total += V[at[a], at[b]] * m[i, b]
                a_rows[i, a] = total
                h += total * m[i, a]
            weighted[i] = dw[i] * h
    r_main, r_other = np.zeros_like(main), np.zeros_like(other)
    _accumulate(weighted, m, k0, starts, touched_starts, touched, local, r_main, r_other)
    solve(r_main, r_other, starts, touched_starts, touched, column_component, column_position,
          sizes, offsets, L, Y, S)  # fmt: skip
    u_row, r_row = np.empty(K), np.empty(K)
    d_lams[:] = 0.0
    for g in range(len(starts) - 1):
        first = touched_starts[g]
        for i in range(starts[g], starts[g + 1]):
            mr = 0.0
            for c in range(K):
                if c < k0:
                    u_row[c], r_row[c] = main[g, c], r_main[g, c]
                else:
                    j = touched[first + local[i, c - k0]]
                    u_row[c], r_row[c] = other[j], r_other[j]
                mr += m[i, c] * r_row[c]
            ci = s[i] - 0.5 * (weighted[i] - w[i] * mr)
            coefficient[i] = ci
            col, lam_at = 0, 0
            for k in columns:
                for b in range(k):
                    moved = ci * u_row[col + b] - w[i] * a_rows[i, col + b] - 0.5 * s[i] * r_row[col + b]
                    for a in range(b, k):
                        d_lams[lam_at + a * k + b] += z[i, col + a] * moved
                col += k
                lam_at += k * k


class Evaluation:
    """Workspace of one model: modes to start from, and the factor of H at the last evaluation.

    The arrays are filled by :func:`laplace`; nothing here outlives a fit.
    """

    __slots__ = ("L", "S", "Y", "coefficient", "dw", "main", "other", "s", "w")

    def __init__(self, blocks: Blocks) -> None:
        n, k0 = len(blocks.order), int(blocks.columns[0])
        self.main = np.zeros((blocks.n_main, k0))
        self.other = np.zeros(blocks.n_other)
        self.L = np.zeros((blocks.n_main, k0, k0))
        self.Y = np.zeros((len(blocks.touched), k0))
        self.S = np.zeros(int(blocks.offsets[-1]))
        self.s, self.w, self.dw, self.coefficient = (np.zeros(n) for _ in range(4))


def laplace(
    link: int, y: Array, trials: Array, fixed: Array, blocks: Blocks, lams: list[Array], work: Evaluation
) -> tuple[float, list[Array], bool]:
    """Laplace log-likelihood and its exact gradient.

    Parameters
    ----------
    link : int
    y, trials, fixed : ndarray, shape (n,)
        In the order of ``blocks``; ``fixed`` is o + Xβ.
    blocks : Blocks
    lams : list of ndarray
        λ of each term, in block order.
    work : Evaluation
        In: modes to start from.  Out: modes, factor, and ``coefficient`` c with ∂ℓ/∂β = X'c.

    Returns
    -------
    loglik : float
    d_lams : list of ndarray
        ∂ℓ/∂λ of each term, lower triangles.
    found : bool
        Whether the mode was found.
    """
    b = blocks
    flat = np.concatenate([lam.ravel() for lam in lams])
    m = spherical_columns(b.z, b.columns, flat)
    k0 = int(b.columns[0])
    value, half, found = _find_modes(
        link, y, trials, fixed, m, k0, b.starts, b.local, b.touched_starts, b.touched, b.position, b.component,
        b.sizes, b.offsets, b.column_component, b.column_position, work.main, work.other, work.L, work.Y, work.S,
        work.s, work.w, work.dw,
    )  # fmt: skip
    d_flat = np.zeros(len(flat))
    if found:
        _gradient(
            b.z, m, b.columns, b.starts, b.local, b.touched_starts, b.touched, b.position, b.component, b.sizes,
            b.offsets, b.column_component, b.column_position, work.main, work.other, work.L, work.Y, work.S,
            work.s, work.w, work.dw, work.coefficient, d_flat,
        )  # fmt: skip
    d_lams, at = [], 0
    for k in b.columns:
        d_lams.append(d_flat[at : at + k * k].reshape(k, k))
        at += k * k
    return value - half, d_lams, found


def linear_predictor(fixed: Array, blocks: Blocks, lams: list[Array], work: Evaluation) -> Array:
    """η at the modes in ``work``, shape (n,), in the order of ``blocks``."""
    b = blocks
    m = spherical_columns(b.z, b.columns, np.concatenate([lam.ravel() for lam in lams]))
    eta = np.empty(len(fixed))
    _predict(
        fixed,
        m,
        int(b.columns[0]),
        b.starts,
        b.touched_starts,
        b.touched,
        b.local,
        work.main,
        work.other,
        eta,
    )
    return eta


def fixed_information(X: Array, blocks: Blocks, lams: list[Array], work: Evaluation) -> tuple[Array, Array]:
    """Information on β given θ with û profiled out, and what û owes to β.

    X is in the order of ``blocks``; H is the factor left by :func:`laplace`.

    Returns
    -------
    information : ndarray, shape (p, p)
        X'WX − X'WM H⁻¹ M'WX, lme4's RX'RX.
    solved : ndarray, shape (p, q)
        (H⁻¹ M'WX)', minus the derivative of û in β, the main term first.
    """
    b = blocks
    m = spherical_columns(b.z, b.columns, np.concatenate([lam.ravel() for lam in lams]))
    wX = work.w[:, None] * X
    p = X.shape[1]
    info = X.T @ wX
    crossed, solved = [], []
    for j in range(p):
        main, other = np.zeros_like(work.main), np.zeros_like(work.other)
        _accumulate(np.ascontiguousarray(wX[:, j]), m, int(b.columns[0]), b.starts, b.touched_starts, b.touched,
                    b.local, main, other)  # fmt: skip
        crossed.append(np.concatenate([main.ravel(), other]))
        solve(main, other, b.starts, b.touched_starts, b.touched, b.column_component, b.column_position,
              b.sizes, b.offsets, work.L, work.Y, work.S)  # fmt: skip
        solved.append(np.concatenate([main.ravel(), other]))
    if not p:
        return info, np.zeros((0, work.main.size + work.other.size))
    return info - np.stack(crossed) @ np.stack(solved).T, np.stack(solved)


def selected_covariance(blocks: Blocks, work: Evaluation) -> list[Array]:
    """Blocks of H⁻¹ of every group of every term, in block order: arrays (groups, k, k)."""
    b = blocks
    inverse = invert_components(work.S, b.sizes, b.offsets)
    out = [_main_covariance(int(b.columns[0]), b.starts, b.touched_starts, b.component, b.position, b.sizes,
                            b.offsets, work.L, work.Y, inverse)]  # fmt: skip
    start = 0
    for k, levels in zip(b.columns[1:], b.levels[1:], strict=True):
        ids = start + np.arange(levels * k).reshape(levels, k)
        size = b.sizes[b.column_component[ids]]
        base = b.offsets[b.column_component[ids]] + b.column_position[ids] * size
        out.append(inverse[base[:, :, None] + b.column_position[ids][:, None, :]])
        start += levels * k
    return out


@njit(cache=True)
def _main_covariance(k0, starts, touched_starts, component, position, sizes, offsets, L, Y, inverse):  # type: ignore[no-untyped-def]
    n_main, widest = len(starts) - 1, 0
    for g in range(n_main):
        widest = max(widest, touched_starts[g + 1] - touched_starts[g])
    V = np.empty((k0 + widest, k0 + widest))
    out = np.empty((n_main, k0, k0))
    for g in range(n_main):
        _local_covariance(g, k0, touched_starts, component, position, sizes, offsets, L, Y, inverse, V)
        out[g] = V[:k0, :k0]
    return out
