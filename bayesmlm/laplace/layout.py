"""Where the entries of every row lie in the blocks of a random-effect structure, found once per model.

The term with the most groups is the *main* term; the columns of the others are numbered component by component, a
component being columns that main groups link.  :mod:`bayesmlm.laplace.pls` does the arithmetic in these blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from bayesmlm.errors import FitError
from bayesmlm.laplace.preload import INNER

__all__ = ["Blocks", "Layout", "RandomTerm", "block_structure", "component_of", "widest_group"]

Array = np.ndarray[Any, Any]

_DENSE_LIMIT = 2e8
"""Numbers held in the dense components at most (1.6 GB)."""


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


@njit(**INNER)
def component_of(layout, first, last):  # type: ignore[no-untyped-def]
    """(shift, size): entry (row, column) of the component of touched columns is at ``shift + row * size + column``."""
    if last == first:
        return 0, 0
    c = layout.component[layout.touched[first]]
    size = layout.firsts[c + 1] - layout.firsts[c]
    return layout.offsets[c] - layout.firsts[c] * (size + 1), size


@njit(**INNER)
def widest_group(layout):  # type: ignore[no-untyped-def]
    """Columns that the main group with the most of them touches."""
    widest = 0
    for g in range(len(layout.starts) - 1):
        widest = max(widest, layout.touched_starts[g + 1] - layout.touched_starts[g])
    return widest
