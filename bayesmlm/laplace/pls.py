"""The penalised least-squares system of any random-effect structure, by blocks.

With m_i = Λ'z_i (row i's K entries on the spherical effects), H = I + Σ w_i m_i m_i' is block-arrow shaped: the
term with the most groups (the *main* term) has a block-diagonal part D, whose blocks are eliminated one by one; what
remains is the Schur complement S on the other terms' columns (Bates, "Computational methods for mixed models";
MixedModels.jl's blocked Cholesky).  Columns of S that no main group links fall into separate components (the outer
factor of a nested pair: one component per outer group), each dense.  Nothing of size n × groups is ever formed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from bayesmlm.errors import FitError
from bayesmlm.parallel import one_blas_thread

__all__ = [
    "Blocks", "Factor", "Layout", "RandomTerm", "block_structure", "component_of", "empty_factor",
    "factorise_components", "invert_components", "selected_covariance", "solve", "solve_components",
]  # fmt: skip

Array = np.ndarray[Any, Any]

_DENSE_LIMIT = 2e8
"""Numbers held in the dense components at most (1.6 GB)."""

_LAPACK_FROM = 64
"""Components of this size and more are left to LAPACK; below, its calls cost more than the arithmetic."""


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """One random-effect term as arrays: codes (n,), internal columns z (n, k), number of groups."""

    codes: Array
    z: Array
    n_levels: int


class Layout(NamedTuple):
    """Where each row's entries lie in the blocks; a tuple, because compiled code takes it as it is.

    Attributes
    ----------
    columns : ndarray of int, shape (t,)
        Columns of each term, the main term first.
    starts : ndarray of int, shape (groups + 1,)
        Rows of each main group.
    local : ndarray of int, shape (n, K − k₀)
        Place of each other entry among the columns its main group touches.
    touched_starts : ndarray of int, shape (groups + 1,)
    touched : ndarray of int
        Columns of the other terms that each main group touches, ascending.  Columns are numbered component by
        component, so that all columns touched by one group, and each component, are ascending runs.
    column_term, column_within : ndarray of int, shape (q₂,)
        Term of each column, and which of the term's columns it is.
    component : ndarray of int, shape (q₂,)
    firsts, offsets : ndarray of int, shape (components + 1,)
        First column of each component, and where its dense block starts.
    """

    columns: Array
    starts: Array
    local: Array
    touched_starts: Array
    touched: Array
    column_term: Array
    column_within: Array
    component: Array
    firsts: Array
    offsets: Array


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


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows sorted by the main term's group, and their layout.

    Attributes
    ----------
    terms : ndarray of int, shape (t,)
        The terms in block order, the main term first.
    levels : ndarray of int, shape (t,)
        Groups of each term, in block order.
    order : ndarray of int, shape (n,)
        Position of each sorted row in the design.
    z : ndarray, shape (n, K)
    place : ndarray of int, shape (q₂,)
        Where each column of the other terms, term by term and group by group, stands in the layout.
    layout : Layout
    """

    terms: Array
    levels: Array
    order: Array
    z: Array
    place: Array
    layout: Layout

    def by_term(self, main: Array, other: Array) -> list[Array]:
        """Split vectors (or matrices, one column each) on the effects into terms: arrays (groups, k, …)."""
        out, first = [main], 0
        ordered = other[self.place]
        for k, levels in zip(self.layout.columns[1:], self.levels[1:], strict=True):
            size = int(k * levels)
            out.append(ordered[first : first + size].reshape(int(levels), int(k), *other.shape[1:]))
            first += size
        return out


def block_structure(terms: list[RandomTerm]) -> Blocks:
    """Find the block structure of some random-effect terms, once per model.

    Raises
    ------
    FitError
        When crossed factors are so large that their dense Schur complement would not fit in memory.
    """
    by_size = np.array(sorted(range(len(terms)), key=lambda t: (-terms[t].n_levels, t)))
    main, others = terms[by_size[0]], [terms[t] for t in by_size[1:]]
    order = np.argsort(main.codes, kind="stable")
    main_codes = main.codes[order].astype(np.int64)
    n, n_main = len(order), main.n_levels
    starts = np.concatenate([[0], np.cumsum(np.bincount(main_codes, minlength=n_main))]).astype(np.int64)
    z = np.ascontiguousarray(np.hstack([main.z[order], *(term.z[order] for term in others)]))
    column_term = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(np.full(t.n_levels * t.z.shape[1], j + 1) for j, t in enumerate(others))]
    )
    column_within = np.concatenate(
        [np.zeros(0, dtype=np.int64), *(np.tile(np.arange(t.z.shape[1]), t.n_levels) for t in others)]
    )
    n_other = len(column_term)

    touched_starts = np.zeros(n_main + 1, dtype=np.int64)
    touched, local = np.zeros(0, dtype=np.int64), np.zeros((n, 0), dtype=np.int32)
    labels = np.zeros(0, dtype=np.int64)
    if others:
        ids: list[Array] = []
        start = 0
        for term in others:
            k = term.z.shape[1]
            first = start + term.codes[order].astype(np.int64) * k
            ids.extend(first + b for b in range(k))
            start += term.n_levels * k
        keys = main_codes[:, None] * n_other + np.stack(ids, axis=1)
        cells, inverse = np.unique(keys, return_inverse=True)
        cell_main, touched = np.divmod(cells, n_other)
        touched_starts = np.concatenate([[0], np.cumsum(np.bincount(cell_main, minlength=n_main))])
        local = (inverse.reshape(keys.shape) - touched_starts[main_codes][:, None]).astype(np.int32)
        labels = _linked(cell_main, touched, n_main, n_other)
    sizes = np.bincount(labels, minlength=0)
    if float((sizes.astype(float) ** 2).sum()) > _DENSE_LIMIT:
        raise FitError(
            f"the crossed random effects have a dense block of {int(sizes.max())} columns, more than fits in memory; "
            f"leave out a term or group it more coarsely"
        )
    by_component = np.argsort(labels, kind="stable")
    place = np.empty(n_other, dtype=np.int64)
    place[by_component] = np.arange(n_other)
    layout = Layout(
        columns=np.array([terms[t].z.shape[1] for t in by_size], dtype=np.int64),
        starts=starts,
        local=local,
        touched_starts=touched_starts.astype(np.int64),
        touched=place[touched],
        column_term=column_term[by_component],
        column_within=column_within[by_component],
        component=labels[by_component].astype(np.int64),
        firsts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(sizes**2)]).astype(np.int64),
    )
    levels = np.array([terms[t].n_levels for t in by_size], dtype=np.int64)
    return Blocks(by_size, levels, order, z, place, layout)


def _linked(main: Array, other: Array, n_main: int, n_other: int) -> Array:
    """Number the sets of columns that main groups link, shape (n_other,): components of a bipartite graph."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(main), dtype=np.int8), (main, n_main + other)), shape=(n_main + n_other,) * 2)
    _, labels = connected_components(graph, directed=False)
    return np.unique(labels[n_main:], return_inverse=True)[1]


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


@njit(cache=True, error_model="numpy")
def forward(L: np.ndarray, b: np.ndarray) -> None:
    """Solve L x = b in place."""
    for i in range(len(b)):
        for c in range(i):
            b[i] -= L[i, c] * b[c]
        b[i] /= L[i, i]


@njit(cache=True, error_model="numpy")
def backward(L: np.ndarray, b: np.ndarray) -> None:
    """Solve L' x = b in place."""
    for i in range(len(b) - 1, -1, -1):
        b[i] /= L[i, i]
        for c in range(i):
            b[c] -= L[i, c] * b[i]


@njit(cache=True, error_model="numpy")
def component_of(layout, first, last):  # type: ignore[no-untyped-def]
    """(shift, size): entry (row, column) of the component of touched columns is at ``shift + row * size + column``."""
    if last == first:
        return 0, 0
    c = layout.component[layout.touched[first]]
    size = layout.firsts[c + 1] - layout.firsts[c]
    return layout.offsets[c] - layout.firsts[c] * (size + 1), size


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
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
def widest_group(layout):  # type: ignore[no-untyped-def]
    """Columns that the main group with the most of them touches."""
    widest = 0
    for g in range(len(layout.starts) - 1):
        widest = max(widest, layout.touched_starts[g + 1] - layout.touched_starts[g])
    return widest


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
