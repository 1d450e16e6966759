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
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.errors import FitError

__all__ = ["Blocks", "RandomTerm", "block_structure", "factorise", "solve"]

Array = np.ndarray[Any, Any]

_DENSE_LIMIT = 2e8
"""Numbers held in the dense components at most (1.6 GB)."""


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """One random-effect term as arrays: codes (n,), internal columns z (n, k), number of groups."""

    codes: Array
    z: Array
    n_levels: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows sorted by the main term's group, and where each row's entries lie in the blocks.

    Attributes
    ----------
    terms : ndarray of int, shape (t,)
        The terms in block order, the main term first.
    columns : ndarray of int, shape (t,)
        Columns of each term, in block order.
    order : ndarray of int, shape (n,)
        Position of each sorted row in the design.
    starts : ndarray of int, shape (groups + 1,)
        Rows of each main group.
    z : ndarray, shape (n, K)
    local : ndarray of int, shape (n, K − k₀)
        Place of each other entry among the columns its main group touches.
    touched_starts : ndarray of int, shape (groups + 1,)
    touched : ndarray of int
        Columns of the other terms that each main group touches.
    position, component : ndarray of int
        For each entry of ``touched``: its place within its component, and the component.
    sizes, offsets : ndarray of int
        Size of each component, and where its dense block starts.
    column_component, column_position : ndarray of int, shape (q₂,)
    levels : ndarray of int, shape (t,)
        Groups of each term, in block order.
    """

    terms: Array
    columns: Array
    order: Array
    starts: Array
    z: Array
    local: Array
    touched_starts: Array
    touched: Array
    position: Array
    component: Array
    sizes: Array
    offsets: Array
    column_component: Array
    column_position: Array
    levels: Array

    @property
    def n_main(self) -> int:
        """Groups of the main term."""
        return len(self.starts) - 1

    @property
    def n_other(self) -> int:
        """Columns of the other terms."""
        return len(self.column_component)


def block_structure(terms: list[RandomTerm]) -> Blocks:
    """Find the block structure of some random-effect terms, once per model.

    Raises
    ------
    FitError
        When crossed factors are so large that their dense Schur complement would not fit in memory.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    by_size = np.array(sorted(range(len(terms)), key=lambda t: (-terms[t].n_levels, t)))
    main, others = terms[by_size[0]], [terms[t] for t in by_size[1:]]
    order = np.argsort(main.codes, kind="stable")
    main_codes = main.codes[order].astype(np.int64)
    n, n_main = len(order), main.n_levels
    starts = np.concatenate([[0], np.cumsum(np.bincount(main_codes, minlength=n_main))]).astype(np.int64)
    z = np.ascontiguousarray(np.hstack([main.z[order], *(term.z[order] for term in others)]))

    ids: list[Array] = []
    start = 0
    for term in others:
        k = term.z.shape[1]
        first = start + term.codes[order].astype(np.int64) * k
        ids.extend(first + b for b in range(k))
        start += term.n_levels * k
    n_other = start
    if others:
        keys = main_codes[:, None] * n_other + np.stack(ids, axis=1)
        cells, inverse = np.unique(keys, return_inverse=True)
        cell_main, touched = np.divmod(cells, n_other)
        touched_starts = np.concatenate([[0], np.cumsum(np.bincount(cell_main, minlength=n_main))])
        local = inverse.reshape(keys.shape) - touched_starts[main_codes][:, None]
        # Columns are linked when one main group touches both: a bipartite graph.
        graph = coo_array(
            (np.ones(len(cells), dtype=np.int8), (cell_main, n_main + touched)), shape=(n_main + n_other,) * 2
        )
        _, labels = connected_components(graph, directed=False)
        _, column_component = np.unique(labels[n_main:], return_inverse=True)
    else:
        touched_starts = np.zeros(n_main + 1, dtype=np.int64)
        touched, local = np.zeros(0, dtype=np.int64), np.zeros((n, 0), dtype=np.int64)
        column_component = np.zeros(0, dtype=np.int64)
    sizes = np.bincount(column_component, minlength=0)
    if float((sizes.astype(float) ** 2).sum()) > _DENSE_LIMIT:
        raise FitError(
            f"the crossed random effects have a dense block of {int(sizes.max())} columns, more than fits in memory; "
            f"leave out a term or group it more coarsely"
        )
    offsets = np.concatenate([[0], np.cumsum(sizes**2)]).astype(np.int64)
    by_component = np.argsort(column_component, kind="stable")
    first_of = np.concatenate([[0], np.cumsum(sizes)])[:-1] if len(sizes) else np.zeros(0, dtype=np.int64)
    column_position = np.empty(n_other, dtype=np.int64)
    column_position[by_component] = np.arange(n_other) - first_of[column_component[by_component]]
    return Blocks(
        terms=by_size,
        columns=np.array([terms[t].z.shape[1] for t in by_size], dtype=np.int64),
        order=order,
        starts=starts,
        z=z,
        local=local.astype(np.int64),
        touched_starts=touched_starts.astype(np.int64),
        touched=touched.astype(np.int64),
        position=column_position[touched],
        component=column_component[touched].astype(np.int64),
        sizes=sizes.astype(np.int64),
        offsets=offsets,
        column_component=column_component.astype(np.int64),
        column_position=column_position,
        levels=np.array([terms[t].n_levels for t in by_size], dtype=np.int64),
    )


@njit(cache=True)
def spherical_columns(z: np.ndarray, columns: np.ndarray, lams: np.ndarray) -> np.ndarray:
    """m = Λ'z for every row, shape (n, K); ``lams`` holds each term's λ row by row."""
    m = np.zeros_like(z)
    at, lam_at = 0, 0
    for k in columns:
        for i in range(len(z)):
            for b in range(k):
                total = 0.0
                for a in range(b, k):
                    total += lams[lam_at + a * k + b] * z[i, at + a]
                m[i, at + b] = total
        at += k
        lam_at += k * k
    return m


@njit(cache=True)
def cholesky_in_place(A: np.ndarray) -> bool:
    """Replace the lower triangle of A by its Cholesky factor; False when A is not positive definite."""
    k = len(A)
    if k > 48:
        A[:] = np.linalg.cholesky(A)
        return True
    for j in range(k):
        for c in range(j):
            A[j, j] -= A[j, c] * A[j, c]
        if not A[j, j] > 0.0:
            return False
        A[j, j] = math.sqrt(A[j, j])
        for i in range(j + 1, k):
            for c in range(j):
                A[i, j] -= A[i, c] * A[j, c]
            A[i, j] /= A[j, j]
    return True


@njit(cache=True)
def forward(L: np.ndarray, b: np.ndarray) -> None:
    """Solve L x = b in place."""
    for i in range(len(b)):
        for c in range(i):
            b[i] -= L[i, c] * b[c]
        b[i] /= L[i, i]


@njit(cache=True)
def backward(L: np.ndarray, b: np.ndarray) -> None:
    """Solve L' x = b in place."""
    for i in range(len(b) - 1, -1, -1):
        b[i] /= L[i, i]
        for c in range(i):
            b[c] -= L[i, c] * b[i]


@njit(cache=True)
def factorise(
    w: np.ndarray,
    m: np.ndarray,
    k0: int,
    starts: np.ndarray,
    local: np.ndarray,
    touched_starts: np.ndarray,
    position: np.ndarray,
    component: np.ndarray,
    sizes: np.ndarray,
    offsets: np.ndarray,
    L: np.ndarray,
    Y: np.ndarray,
    S: np.ndarray,
) -> tuple[float, bool]:
    """Blocked Cholesky factor of H = I + Σ w m m'.

    Parameters
    ----------
    w : ndarray, shape (n,)
    m : ndarray, shape (n, K)
    k0 : int
        Columns of the main term.
    L : ndarray, shape (groups, k₀, k₀)
        Out: Cholesky factors of the main blocks D.
    Y : ndarray, shape (touched, k₀)
        Out: L⁻¹B by column of B.
    S : ndarray, shape (Σ sizes²,)
        Out: Cholesky factors of the components of the Schur complement.

    Returns
    -------
    log_det : float
        ½ log |H|.
    definite : bool
    """
    half, K = 0.0, m.shape[1]
    S[:] = 0.0
    for g in range(len(starts) - 1):
        D, first, last = L[g], touched_starts[g], touched_starts[g + 1]
        for a in range(k0):
            D[a] = 0.0
            D[a, a] = 1.0
        Y[first:last] = 0.0
        base, size = 0, 0
        if last > first:
            base, size = offsets[component[first]], sizes[component[first]]
        for i in range(starts[g], starts[g + 1]):
            wi = w[i]
            for a in range(k0):
                wm = wi * m[i, a]
                for b in range(a + 1):
                    D[a, b] += wm * m[i, b]
            for c in range(K - k0):
                wm = wi * m[i, k0 + c]
                at = first + local[i, c]
                for a in range(k0):
                    Y[at, a] += wm * m[i, a]
                for d in range(K - k0):
                    other = first + local[i, d]
                    if position[other] <= position[at]:
                        S[base + position[at] * size + position[other]] += wm * m[i, k0 + d]
        if not cholesky_in_place(D):
            return 0.0, False
        for a in range(k0):
            half += math.log(D[a, a])
        for at in range(first, last):
            forward(D, Y[at])
            for other in range(first, at + 1):
                dot = 0.0
                for a in range(k0):
                    dot += Y[at, a] * Y[other, a]
                row, col = max(position[at], position[other]), min(position[at], position[other])
                S[base + row * size + col] -= dot
    for c in range(len(sizes)):
        block = S[offsets[c] : offsets[c + 1]].reshape((sizes[c], sizes[c]))
        for a in range(sizes[c]):
            block[a, a] += 1.0
        if not cholesky_in_place(block):
            return 0.0, False
        for a in range(sizes[c]):
            half += math.log(block[a, a])
    return half, True


@njit(cache=True)
def solve(
    main: np.ndarray,
    other: np.ndarray,
    starts: np.ndarray,
    touched_starts: np.ndarray,
    touched: np.ndarray,
    column_component: np.ndarray,
    column_position: np.ndarray,
    sizes: np.ndarray,
    offsets: np.ndarray,
    L: np.ndarray,
    Y: np.ndarray,
    S: np.ndarray,
) -> None:
    """Solve H x = b in place; b is split as main (groups, k₀) and other (q₂,)."""
    k0 = main.shape[1]
    for g in range(len(starts) - 1):
        forward(L[g], main[g])
        for at in range(touched_starts[g], touched_starts[g + 1]):
            for a in range(k0):
                other[touched[at]] -= Y[at, a] * main[g, a]
    n_comp = len(sizes)
    if n_comp > 0:
        firsts = np.zeros(n_comp + 1, dtype=np.int64)
        for c in range(n_comp):
            firsts[c + 1] = firsts[c] + sizes[c]
        packed = np.empty(len(other))
        for j in range(len(other)):
            packed[firsts[column_component[j]] + column_position[j]] = other[j]
        for c in range(n_comp):
            block = S[offsets[c] : offsets[c + 1]].reshape((sizes[c], sizes[c]))
            part = packed[firsts[c] : firsts[c + 1]]
            forward(block, part)
            backward(block, part)
        for j in range(len(other)):
            other[j] = packed[firsts[column_component[j]] + column_position[j]]
    for g in range(len(starts) - 1):
        for at in range(touched_starts[g], touched_starts[g + 1]):
            for a in range(k0):
                main[g, a] -= Y[at, a] * other[touched[at]]
        backward(L[g], main[g])


@njit(cache=True)
def invert_components(S: np.ndarray, sizes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Inverse of every component from its Cholesky factor, full symmetric blocks, flat."""
    out = np.zeros_like(S)
    for c in range(len(sizes)):
        size = sizes[c]
        block = S[offsets[c] : offsets[c + 1]].reshape((size, size))
        inverse = out[offsets[c] : offsets[c + 1]].reshape((size, size))
        if size > 48:
            lower = np.tril(block)
            root = np.linalg.inv(lower)
            inverse[:] = root.T @ root
        else:
            for j in range(size):
                inverse[j, j] = 1.0
                forward(block, inverse[j])
                backward(block, inverse[j])
    return out
