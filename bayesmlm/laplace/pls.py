"""The penalised least-squares system of any random-effect structure, by blocks.

With m_i = Λ'z_i (row i's K entries on the spherical effects), H = I + Σ w_i m_i m_i' is block-arrow shaped: the
term with the most groups (the *main* term) has a block-diagonal part D, whose blocks are eliminated one by one; what
remains is the Schur complement S on the other terms' columns (Bates, "Computational methods for mixed models";
MixedModels.jl's blocked Cholesky).  Columns of S that no main group links fall into separate components (the outer
factor of a nested pair: one component per outer group), each dense.  Nothing of size n × groups is ever formed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from bayesmlm.laplace.layout import Blocks, Layout, component_of, widest_group
from bayesmlm.laplace.preload import INNER
from bayesmlm.parallel import one_blas_thread

__all__ = [
    "Factor", "empty_factor", "factorise_components", "group_covariance", "invert_components", "selected_covariance",
    "solve", "solve_components", "spherical_columns",
]  # fmt: skip

Array = np.ndarray[Any, Any]

_LAPACK_FROM = 64
"""Components of this size and more are left to LAPACK; below, its calls cost more than the arithmetic."""


class Factor(NamedTuple):
    """Blocked Cholesky factor of H.

    Attributes
    ----------
    L : ndarray, shape (groups, k₀, k₀)
        Factors of the main blocks D.
    Y : ndarray, shape (touched, k₀)
        L⁻¹B by column of B, the block between main and other columns.
    S : ndarray, shape (Σ sizes²,)
        Factors of the components of the Schur complement, lower triangles by rows.
    """

    L: Array
    Y: Array
    S: Array


def empty_factor(layout: Layout) -> Factor:
    """Room for one factor."""
    k0, groups = int(layout.columns[0]), len(layout.starts) - 1
    return Factor(np.zeros((groups, k0, k0)), np.zeros((len(layout.touched), k0)), np.zeros(int(layout.offsets[-1])))


@njit(cache=True, error_model="numpy")
def spherical_columns(z: np.ndarray, columns: np.ndarray, lams: np.ndarray) -> np.ndarray:
    """m = Λ'z for every row, shape (n, K); ``lams`` holds each term's λ row by row."""
    m = np.empty_like(z)
    at, lam_at = 0, 0
    for k in columns:
        for b in range(k):
            for i in range(len(z)):
                total = 0.0
                for a in range(b, k):
                    total += lams[lam_at + a * k + b] * z[i, at + a]
                m[i, at + b] = total
        at += k
        lam_at += k * k
    return m


@njit(cache=True, error_model="numpy")
def cholesky_in_place(A: np.ndarray) -> bool:
    """Replace the lower triangle of A by its Cholesky factor; False when A is not positive definite."""
    for j in range(len(A)):
        for c in range(j):
            A[j, j] -= A[j, c] * A[j, c]
        if not A[j, j] > 0.0:
            return False
        A[j, j] = math.sqrt(A[j, j])
        for i in range(j + 1, len(A)):
            for c in range(j):
                A[i, j] -= A[i, c] * A[j, c]
            A[i, j] /= A[j, j]
    return True


@njit(**INNER)
def forward(L: np.ndarray, b: np.ndarray) -> None:
    """Solve L x = b in place."""
    for i in range(len(b)):
        for c in range(i):
            b[i] -= L[i, c] * b[c]
        b[i] /= L[i, i]


@njit(**INNER)
def backward(L: np.ndarray, b: np.ndarray) -> None:
    """Solve L' x = b in place."""
    for i in range(len(b) - 1, -1, -1):
        b[i] /= L[i, i]
        for c in range(i):
            b[c] -= L[i, c] * b[i]


@njit(**INNER)
def eliminate_group(layout, g, factor):  # type: ignore[no-untyped-def]
    """Factorise main group g's block and take its part off the Schur complement; ½ log |D|, or NaN.

    In: D (lower) in ``L[g]``, B in the group's rows of ``Y``.
    """
    D, Y, S = factor.L[g], factor.Y, factor.S
    k0 = len(D)
    if not cholesky_in_place(D):
        return math.nan
    half = 0.0
    for a in range(k0):
        half += math.log(D[a, a])
    touched = layout.touched
    first, last = layout.touched_starts[g], layout.touched_starts[g + 1]
    shift, size = component_of(layout, first, last)
    for at in range(first, last):
        for i in range(k0):
            for c in range(i):
                Y[at, i] -= D[i, c] * Y[at, c]
            Y[at, i] /= D[i, i]
    # A copy of each column of Y, and rows of S where the touched columns have no gaps (as in a fully crossed design),
    # are loops the compiler can vectorise.
    count, column = last - first, np.empty(last - first)
    for a in range(k0):
        for j in range(count):
            column[j] = Y[first + j, a]
        for i in range(count):
            row, y = shift + touched[first + i] * size, column[i]
            if touched[first + i] - touched[first] == i:
                part = S[row + touched[first] : row + touched[first] + i + 1]
                for j in range(i + 1):
                    part[j] -= y * column[j]
            else:
                for j in range(i + 1):
                    S[row + touched[first + j]] -= y * column[j]
    return half


@njit(cache=True, error_model="numpy")
def _factorise_small(S, firsts, offsets):  # type: ignore[no-untyped-def]
    half = 0.0
    for c in range(len(firsts) - 1):
        size = firsts[c + 1] - firsts[c]
        block = S[offsets[c] : offsets[c + 1]].reshape((size, size))
        if not cholesky_in_place(block):
            return math.nan
        for a in range(size):
            half += math.log(block[a, a])
    return half


@njit(cache=True, error_model="numpy")
def _solve_small(S, firsts, offsets, b):  # type: ignore[no-untyped-def]
    for c in range(len(firsts) - 1):
        size = firsts[c + 1] - firsts[c]
        block = S[offsets[c] : offsets[c + 1]].reshape((size, size))
        for j in range(b.shape[1]):
            part = b[firsts[c] : firsts[c + 1], j]
            forward(block, part)
            backward(block, part)


@njit(cache=True, error_model="numpy")
def _invert_small(S, firsts, offsets):  # type: ignore[no-untyped-def]
    out = np.zeros_like(S)
    for c in range(len(firsts) - 1):
        size = firsts[c + 1] - firsts[c]
        block = S[offsets[c] : offsets[c + 1]].reshape((size, size))
        inverse = out[offsets[c] : offsets[c + 1]].reshape((size, size))
        for j in range(size):
            inverse[j, j] = 1.0
            forward(block, inverse[j])
            backward(block, inverse[j])
    return out


@njit(cache=True, error_model="numpy")
def _mirror(S, firsts, offsets):  # type: ignore[no-untyped-def]
    """Copy lower triangles to the upper ones, tile by tile to stay within the cache."""
    for c in range(len(firsts) - 1):
        size, base = firsts[c + 1] - firsts[c], offsets[c]
        for i0 in range(0, size, 32):
            for j0 in range(0, i0 + 1, 32):
                for i in range(i0, min(i0 + 32, size)):
                    for j in range(j0, min(j0 + 32, i)):
                        S[base + j * size + i] = S[base + i * size + j]


def _is_large(layout: Layout) -> bool:
    return len(layout.firsts) > 1 and int(np.diff(layout.firsts).max()) >= _LAPACK_FROM


def _components(layout: Layout, S: Array) -> list[Array]:
    """Views of the components; transposed, because LAPACK's upper triangle by columns is our lower one by rows."""
    return [
        S[start:stop].reshape(size, size).T
        for start, stop, size in zip(layout.offsets[:-1], layout.offsets[1:], np.diff(layout.firsts), strict=True)
    ]


def factorise_components(layout: Layout, S: Array) -> float:
    """Replace the components (lower triangles) by their Cholesky factors; ½ log |S|, or NaN where not definite."""
    if not _is_large(layout):
        return _factorise_small(S, layout.firsts, layout.offsets)
    from scipy.linalg import lapack

    half = 0.0
    with one_blas_thread():
        for block in _components(layout, S):
            _, info = lapack.dpotrf(block, lower=0, clean=0, overwrite_a=1)
            if info != 0:
                return math.nan
            half += float(np.log(np.diagonal(block)).sum())
    return half


def solve_components(layout: Layout, S: Array, b: Array) -> None:
    """Solve S x = b in place; b has shape (q₂, r)."""
    if not _is_large(layout):
        _solve_small(S, layout.firsts, layout.offsets, b)
        return
    from scipy.linalg import lapack

    with one_blas_thread():
        for block, first, last in zip(_components(layout, S), layout.firsts[:-1], layout.firsts[1:], strict=True):
            b[first:last] = lapack.dpotrs(block, b[first:last], lower=0)[0]


def invert_components(layout: Layout, S: Array) -> Array:
    """Inverses of the components from their Cholesky factors, flat, full symmetric blocks."""
    if not _is_large(layout):
        return _invert_small(S, layout.firsts, layout.offsets)
    from scipy.linalg import lapack

    out = S.copy()
    with one_blas_thread():
        for block in _components(layout, out):
            lapack.dpotri(block, lower=0, overwrite_c=1)
    _mirror(out, layout.firsts, layout.offsets)
    return out


@njit(cache=True, error_model="numpy")
def reduce_main(layout, factor, main, other):  # type: ignore[no-untyped-def]
    """Forward half of a solve: main (groups, k₀, r) becomes L⁻¹main, and its part is taken off other (q₂, r)."""
    L, Y = factor.L, factor.Y
    k0, r = main.shape[1], main.shape[2]
    for g in range(len(layout.starts) - 1):
        for j in range(r):
            for a in range(k0):
                for c in range(a):
                    main[g, a, j] -= L[g, a, c] * main[g, c, j]
                main[g, a, j] /= L[g, a, a]
        for at in range(layout.touched_starts[g], layout.touched_starts[g + 1]):
            for a in range(k0):
                for j in range(r):
                    other[layout.touched[at], j] -= Y[at, a] * main[g, a, j]


@njit(cache=True, error_model="numpy")
def restore_main(layout, factor, main, other):  # type: ignore[no-untyped-def]
    """Backward half of a solve, the other columns being known."""
    L, Y = factor.L, factor.Y
    k0, r = main.shape[1], main.shape[2]
    for g in range(len(layout.starts) - 1):
        for at in range(layout.touched_starts[g], layout.touched_starts[g + 1]):
            for a in range(k0):
                for j in range(r):
                    main[g, a, j] -= Y[at, a] * other[layout.touched[at], j]
        for j in range(r):
            for a in range(k0 - 1, -1, -1):
                main[g, a, j] /= L[g, a, a]
                for c in range(a):
                    main[g, c, j] -= L[g, a, c] * main[g, a, j]


def solve(layout: Layout, factor: Factor, main: Array, other: Array) -> None:
    """Solve H x = b in place; b is split as main (groups, k₀, r) and other (q₂, r)."""
    reduce_main(layout, factor, main, other)
    solve_components(layout, factor.S, other)
    restore_main(layout, factor, main, other)


@njit(**INNER)
def group_covariance(layout, factor, inverse, g, P, V_main, V_cross):  # type: ignore[no-untyped-def]
    """H⁻¹ of main group g with itself, into V_main (k₀, k₀), and with the columns it touches, into V_cross (k₀, ≥ r).

    With P = D⁻¹B (room for it: (k₀, ≥ r)): V_gR = −P S⁻¹ and V_gg = D⁻¹ + P S⁻¹ P'.
    """
    L, Y, touched = factor.L[g], factor.Y, layout.touched
    k0 = len(L)
    first, last = layout.touched_starts[g], layout.touched_starts[g + 1]
    count = last - first
    shift, size = component_of(layout, first, last)
    for j in range(count):
        for a in range(k0 - 1, -1, -1):
            total = Y[first + j, a]
            for b in range(a + 1, k0):
                total -= L[b, a] * P[b, j]
            P[a, j] = total / L[a, a]
    gapless = count > 0 and touched[last - 1] - touched[first] == count - 1
    for a in range(k0):
        for j in range(count):
            row = shift + touched[first + j] * size
            total = 0.0
            if gapless:
                own = inverse[row + touched[first] : row + touched[first] + count]
                for l in range(count):
                    total -= P[a, l] * own[l]
            else:
                for l in range(count):
                    total -= P[a, l] * inverse[row + touched[first + l]]
            V_cross[a, j] = total
    unit = np.empty(k0)
    for a in range(k0):
        unit[:] = 0.0
        unit[a] = 1.0
        forward(L, unit)
        backward(L, unit)
        for b in range(k0):
            total = unit[b]
            for j in range(count):
                total -= P[b, j] * V_cross[a, j]
            V_main[a, b] = total


@njit(cache=True, error_model="numpy")
def _main_covariance(layout, factor, inverse):  # type: ignore[no-untyped-def]
    k0, widest = layout.columns[0], widest_group(layout)
    P, V_cross = np.empty((k0, widest)), np.empty((k0, widest))
    out = np.empty((len(layout.starts) - 1, k0, k0))
    for g in range(len(layout.starts) - 1):
        group_covariance(layout, factor, inverse, g, P, out[g], V_cross)
    return out


def selected_covariance(blocks: Blocks, factor: Factor) -> list[Array]:
    """Blocks of H⁻¹ of every group of every term, in block order: arrays (groups, k, k)."""
    layout = blocks.layout
    inverse = invert_components(layout, factor.S)
    out = [_main_covariance(layout, factor, inverse)]
    first = 0
    for k, levels in zip(layout.columns[1:], blocks.levels[1:], strict=True):
        ids = blocks.place[first : first + int(levels * k)].reshape(int(levels), int(k))
        c = layout.component[ids[:, :1, None]]
        begin = layout.firsts[c]
        rows, columns = ids[:, :, None] - begin, ids[:, None, :] - begin
        out.append(inverse[layout.offsets[c] + rows * (layout.firsts[c + 1] - begin) + columns])
        first += int(levels * k)
    return out
