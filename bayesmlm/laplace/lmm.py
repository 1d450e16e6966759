"""The Gaussian linear mixed model by cross-products: one pass over the rows, then nothing of their number.

With Λ relative to σ, spherical effects u, H = Λ'Z'WZΛ + I and [X y] carried along as right-hand sides
(Bates, Mächler, Bolker & Walker, 2015, eqs 32-41),

    M = [X y]'W[X y] − F'H⁻¹F,   F = Λ'Z'W[X y],

holds RX'RX in its first p rows and columns, and the penalised residual sum of squares at any β is (β, −1) M (β, −1)'.
With P = H⁻¹F and E = Z'W[X y] − Z'WZΛP (effects and residual cross-products of all right-hand sides), derivatives in
an entry of λ, summed over the groups of its term, are

    d log |H| = 2 (Z'WZ Λ H⁻¹)_ab,   dM = −(E_a P_b' + P_b E_a').
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from bayesmlm.laplace.layout import Blocks, Layout, component_of, widest_group
from bayesmlm.laplace.pls import (
    Factor,
    eliminate_group,
    empty_factor,
    factorise_components,
    group_covariance,
    invert_components,
    solve,
)
from bayesmlm.laplace.preload import INNER

__all__ = ["CrossProducts", "Profiled", "cross_products", "profile"]

Array = np.ndarray[Any, Any]


class CrossProducts(NamedTuple):
    """Z'WZ by blocks and Z'W[X y].

    Attributes
    ----------
    main : ndarray, shape (groups, k₀, k₀)
    between : ndarray, shape (touched, k₀)
    cells, values : ndarray, shape (nonzero,)
        The entries of the components that are not zero (groups of one term never meet), lower triangle by rows:
        their (row, column) in the layout, shape (nonzero, 2), and values.
    main_right, other_right : ndarray, shapes (groups, k₀, p + 1) and (q₂, p + 1)
    right : ndarray, shape (p + 1, p + 1)
        [X y]'W[X y].
    """

    main: Array
    between: Array
    cells: Array
    values: Array
    main_right: Array
    other_right: Array
    right: Array


class Profiled(NamedTuple):
    """The model at one Λ.

    Attributes
    ----------
    half : float
        ½ log |H|, NaN where it is not definite.
    M : ndarray, shape (p + 1, p + 1)
    effects, residuals : list of ndarray, shape (levels, k, p + 1)
        P and E by term, in block order.
    d_half : list of ndarray, shape (k, k)
        Derivative of ½ log |H| in λ of each term.
    factor : Factor
    """

    half: float
    M: Array
    effects: list[Array]
    residuals: list[Array]
    d_half: list[Array]
    factor: Factor


@njit(cache=True, error_model="numpy")
def _cross_products(z, w, right, layout, main, between, other, main_right, other_right):  # type: ignore[no-untyped-def]
    k0, K, r = layout.columns[0], z.shape[1], right.shape[1]
    for g in range(len(layout.starts) - 1):
        first, last = layout.touched_starts[g], layout.touched_starts[g + 1]
        shift, size = component_of(layout, first, last)
        for i in range(layout.starts[g], layout.starts[g + 1]):
            for a in range(k0):
                wz = w[i] * z[i, a]
                for b in range(k0):
                    main[g, a, b] += wz * z[i, b]
                for j in range(r):
                    main_right[g, a, j] += wz * right[i, j]
            for c in range(k0, K):
                wz = w[i] * z[i, c]
                at = first + layout.local[i, c - k0]
                column = layout.touched[at]
                for a in range(k0):
                    between[at, a] += wz * z[i, a]
                for j in range(r):
                    other_right[column, j] += wz * right[i, j]
                row = shift + column * size
                for d in range(k0, K):
                    j = layout.touched[first + layout.local[i, d - k0]]
                    if j <= column:
                        other[row + j] += wz * z[i, d]


def cross_products(blocks: Blocks, w: Array, right: Array) -> CrossProducts:
    """One pass over the rows.

    Parameters
    ----------
    blocks : Blocks
    w : ndarray, shape (n,)
        Weights, in the order of ``blocks``.
    right : ndarray, shape (n, p + 1)
        [X y], in the order of ``blocks``.
    """
    layout = blocks.layout
    empty, r = empty_factor(layout), right.shape[1]
    main_right, other_right = np.zeros((*empty.L.shape[:2], r)), np.zeros((len(layout.component), r))
    _cross_products(blocks.z, w, right, layout, *empty, main_right, other_right)
    flat = np.flatnonzero(empty.S)
    c = np.searchsorted(layout.offsets, flat, side="right") - 1
    size = layout.firsts[c + 1] - layout.firsts[c]
    cells = np.stack(np.divmod(flat - layout.offsets[c], size), axis=1) + layout.firsts[c][:, None]
    return CrossProducts(
        empty.L, empty.Y, cells, empty.S[flat], main_right, other_right, right.T @ (w[:, None] * right)
    )


@njit(**INNER)
def _lam_starts(columns):  # type: ignore[no-untyped-def]
    out = np.zeros(len(columns) + 1, dtype=np.int64)
    for t in range(len(columns)):
        out[t + 1] = out[t] + columns[t] * columns[t]
    return out


@njit(**INNER)
def _scale_rows(values, layout, lams, first, last, columns, out):  # type: ignore[no-untyped-def]
    """Λ_R' times rows ``first:last``, whose columns of the other terms are ``columns``."""
    starts = _lam_starts(layout.columns)
    for at in range(first, last):
        t, b = layout.column_term[columns[at]], layout.column_within[columns[at]]
        k = layout.columns[t]
        for j in range(values.shape[1]):
            total = 0.0
            for a in range(b, k):
                total += lams[starts[t] + a * k + b] * values[at + a - b, j]
            out[at, j] = total


@njit(cache=True, error_model="numpy")
def _build(products, layout, lams, factor, f_main, f_other):  # type: ignore[no-untyped-def]
    """H up to its components, and F; ½ Σ log |D|."""
    k0, q2 = layout.columns[0], len(layout.component)
    _scale_rows(products.other_right, layout, lams, 0, q2, np.arange(q2), f_other)
    starts = _lam_starts(layout.columns)
    S = factor.S
    S[:] = 0.0
    for c in range(len(layout.firsts) - 1):
        size = layout.firsts[c + 1] - layout.firsts[c]
        for i in range(size):
            S[layout.offsets[c] + i * (size + 1)] = 1.0
    # Λ'CΛ: an entry spreads over its term's columns up to its own; both triangles of a diagonal block count.
    for e in range(len(products.values)):
        row, column = products.cells[e, 0], products.cells[e, 1]
        tr, a, tc, b = (
            layout.column_term[row],
            layout.column_within[row],
            layout.column_term[column],
            layout.column_within[column],
        )
        kr, kc = layout.columns[tr], layout.columns[tc]
        c = layout.component[row]
        size = layout.firsts[c + 1] - layout.firsts[c]
        shift = layout.offsets[c] - layout.firsts[c] * (size + 1)
        for i in range(a + 1):
            left = products.values[e] * lams[starts[tr] + a * kr + i]
            for j in range(b + 1):
                value = left * lams[starts[tc] + b * kc + j]
                at_row, at_column = row + i - a, column + j - b
                if at_row >= at_column:
                    S[shift + at_row * size + at_column] += value
                if row != column and tr == tc and row - a == column - b and at_column >= at_row:
                    S[shift + at_column * size + at_row] += value
    half = 0.0
    scaled = np.empty_like(factor.Y)
    _scale_rows(products.between, layout, lams, 0, len(scaled), layout.touched, scaled)
    for g in range(len(layout.starts) - 1):
        A, D = products.main[g], factor.L[g]
        for a in range(k0):
            for b in range(a + 1):
                total = 0.0
                for c in range(a, k0):
                    for d in range(b, k0):
                        total += lams[c * k0 + a] * A[c, d] * lams[d * k0 + b]
                D[a, b] = total
            D[a, a] += 1.0
            for j in range(f_main.shape[2]):
                total = 0.0
                for c in range(a, k0):
                    total += lams[c * k0 + a] * products.main_right[g, c, j]
                f_main[g, a, j] = total
        for at in range(layout.touched_starts[g], layout.touched_starts[g + 1]):
            for a in range(k0):
                total = 0.0
                for c in range(a, k0):
                    total += lams[c * k0 + a] * scaled[at, c]
                factor.Y[at, a] = total
        half += eliminate_group(layout, g, factor)
    return half


@njit(cache=True, error_model="numpy")
def _derivatives(products, layout, lams, factor, inverse, p_main, p_other, e_main, e_other, d_half):  # type: ignore[no-untyped-def]
    """E = Z'W[X y] − Z'WZΛP, and the sums of (Z'WZ Λ H⁻¹) over the groups of every term, k × k."""
    k0, r, q2 = layout.columns[0], p_main.shape[2], len(layout.component)
    starts = _lam_starts(layout.columns)
    d_half[:] = 0.0
    # ΛP on the user's columns of the other terms.
    moved = np.zeros_like(p_other)
    for c in range(q2):
        t, a = layout.column_term[c], layout.column_within[c]
        k = layout.columns[t]
        for b in range(a + 1):
            for j in range(r):
                moved[c, j] += lams[starts[t] + a * k + b] * p_other[c + b - a, j]
    for c in range(q2):
        for j in range(r):
            e_other[c, j] = products.other_right[c, j]
    widest = widest_group(layout)
    P, V_main, V_cross = np.empty((k0, widest)), np.empty((k0, k0)), np.empty((k0, widest))
    half_main = np.empty(k0)
    for g in range(len(layout.starts) - 1):
        first, last = layout.touched_starts[g], layout.touched_starts[g + 1]
        group_covariance(layout, factor, inverse, g, P, V_main, V_cross)
        A = products.main[g]
        for a in range(k0):
            for j in range(r):
                total = products.main_right[g, a, j]
                for c in range(k0):
                    for d in range(c + 1):
                        total -= A[a, c] * lams[c * k0 + d] * p_main[g, d, j]
                for at in range(first, last):
                    total -= products.between[at, a] * moved[layout.touched[at], j]
                e_main[g, a, j] = total
            for b in range(k0):
                total = 0.0
                for c in range(k0):
                    for d in range(c + 1):
                        total += A[a, c] * lams[c * k0 + d] * V_main[d, b]
                for at in range(first, last):
                    column = layout.touched[at]
                    t, e = layout.column_term[column], layout.column_within[column]
                    k = layout.columns[t]
                    for d in range(e + 1):
                        total += products.between[at, a] * lams[starts[t] + e * k + d] * V_cross[b, at - first + d - e]
                d_half[a * k0 + b] += total
        for at in range(first, last):
            column = layout.touched[at]
            t, e = layout.column_term[column], layout.column_within[column]
            k = layout.columns[t]
            for d in range(k0):
                half_main[d] = 0.0
                for c in range(d, k0):
                    half_main[d] += products.between[at, c] * lams[c * k0 + d]
                for j in range(r):
                    e_other[column, j] -= half_main[d] * p_main[g, d, j]
                for b in range(k):
                    d_half[starts[t] + e * k + b] += half_main[d] * V_cross[d, at - first + b - e]
    for e in range(len(products.values)):
        row, column = products.cells[e, 0], products.cells[e, 1]
        c = layout.component[row]
        size = layout.firsts[c + 1] - layout.firsts[c]
        shift = layout.offsets[c] - layout.firsts[c] * (size + 1)
        # Both triangles: entry (row, column), then its mirror.
        for _ in range(2 if row != column else 1):
            value = products.values[e]
            for j in range(r):
                e_other[row, j] -= value * moved[column, j]
            t, a, tl, el = (
                layout.column_term[row],
                layout.column_within[row],
                layout.column_term[column],
                layout.column_within[column],
            )
            k, kl = layout.columns[t], layout.columns[tl]
            for d in range(el + 1):
                scaled = value * lams[starts[tl] + el * kl + d]
                first = column + d - el
                for b in range(k):
                    second = row + b - a
                    d_half[starts[t] + a * k + b] += scaled * inverse[shift + first * size + second]
            row, column = column, row


def profile(blocks: Blocks, products: CrossProducts, lams: list[Array]) -> Profiled:
    """Factorise the model at one Λ, with what its derivatives are made of.

    Parameters
    ----------
    blocks : Blocks
    products : CrossProducts
    lams : list of ndarray
        λ of each term relative to σ, in block order.
    """
    layout: Layout = blocks.layout
    flat = np.concatenate([lam.ravel() for lam in lams])
    factor = empty_factor(layout)
    f_main, f_other = np.empty_like(products.main_right), np.empty_like(products.other_right)
    half = _build(products, layout, flat, factor, f_main, f_other) + factorise_components(layout, factor.S)
    if not math.isfinite(half):
        return Profiled(math.nan, products.right, [], [], [], factor)
    p_main, p_other = f_main.copy(), f_other.copy()
    solve(layout, factor, p_main, p_other)
    r = len(products.right)
    M = products.right - f_main.reshape(-1, r).T @ p_main.reshape(-1, r) - f_other.T @ p_other
    e_main, e_other, d_flat = np.empty_like(p_main), np.empty_like(p_other), np.empty(len(flat))
    inverse = invert_components(layout, factor.S)
    _derivatives(products, layout, flat, factor, inverse, p_main, p_other, e_main, e_other, d_flat)
    d_half, at = [], 0
    for k in layout.columns:
        d_half.append(d_flat[at : at + k * k].reshape(k, k))
        at += k * k
    return Profiled(half, M, blocks.by_term(p_main, p_other), blocks.by_term(e_main, e_other), d_half, factor)
