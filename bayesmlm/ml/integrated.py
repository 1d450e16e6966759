"""Integrated likelihoods of generalised models as one shape: an objective in internal coordinates, and what it knows.

Internal coordinates are β of the scaled columns, then θ of the scaled random-effect columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import float64, int64, njit

from bayesmlm.design import Design
from bayesmlm.laplace import agq, covariance
from bayesmlm.laplace.kernels import score_information
from bayesmlm.laplace.layout import Blocks, RandomTerm, block_structure
from bayesmlm.laplace.preload import preload
from bayesmlm.ml.glm import Rows, group_columns
from bayesmlm.parallel import chunks, in_threads

__all__ = ["Integrated", "State", "joint_terms", "many_terms", "scalar_term", "vector_term"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class State:
    """The model at a point, in internal coordinates.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    modes : list of ndarray, shape (groups, k)
        Spherical conditional modes û, by term in the design's order.
    covariances : list of ndarray, shape (groups, k, k)
        Of û given β and θ.
    slopes : list of ndarray, shape (groups, k, p)
        Derivatives of û in β.
    eta : ndarray, shape (n,)
        Linear predictor, rows in the design's order.
    information : ndarray, shape (p, p)
        On β given θ.
    """

    beta: Array
    modes: list[Array]
    covariances: list[Array]
    slopes: list[Array]
    eta: Array
    information: Array


@dataclass(frozen=True, slots=True)
class Integrated:
    """An integrated likelihood.

    Attributes
    ----------
    objective : callable
        x -> (log-likelihood without constant, gradient); −inf where it cannot be evaluated.
    state : callable
        x -> State, valid at the point of the last evaluation.
    columns : tuple of int
        Columns of each term, in the design's order.
    n_beta : int
        How many of x are β: none where β is at its own mode given θ.
    """

    objective: Callable[[Array], tuple[float, Array]]
    state: Callable[[Array], State]
    columns: tuple[int, ...]
    n_beta: int


@njit(cache=True, error_model="numpy", nogil=True)
def _crossed(link, y, trials, X, m, starts, modes, eta, information, crossed):  # type: ignore[no-untyped-def]
    """X'WX and, group by group, M'WX at the modes; eta goes in as o + Xβ and comes out as the linear predictor."""
    k, p = m.shape[1], X.shape[1]
    information[:] = 0.0
    crossed[:] = 0.0
    for g in range(len(starts) - 1):
        for i in range(starts[g], starts[g + 1]):
            for c in range(k):
                eta[i] += m[i, c] * modes[g, c]
            _, w = score_information(link, y[i], trials[i], eta[i])
            for a in range(p):
                wx = w * X[i, a]
                for b in range(a + 1):
                    information[a, b] += wx * X[i, b]
                for c in range(k):
                    crossed[g, c, a] += wx * m[i, c]
    for a in range(p):
        for b in range(a):
            information[b, a] = information[a, b]


_V, _M = float64[::1], float64[:, ::1]
preload(_crossed, int64, _V, _V, _M, _M, int64[::1], _M, _V, _M, float64[:, :, ::1])


def _one_term_state(rows: Rows, starts: Array, m: Array, beta: Array, modes: Array, covariances: Array) -> State:
    """State of a model with one term, whose groups are independent."""
    p = rows.X.shape[1]
    eta = rows.X @ beta
    eta += rows.offset
    information, crossed = np.empty((p, p)), np.empty((len(modes), m.shape[1], p))
    _crossed(rows.link, rows.y, rows.trials, rows.X, m, starts, modes, eta, information, crossed)
    moved = covariances @ crossed
    information = information - np.tensordot(crossed, moved, axes=((0, 1), (0, 1)))
    return State(beta, [modes.copy()], [covariances], [-moved], rows.restore(eta), information)


def _starts(codes: Array, n_groups: int) -> Array:
    return np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=n_groups))]).astype(np.int64)


def scalar_term(design: Design, rows: Rows, n_agq: int) -> Integrated:
    """One scalar term, by adaptive quadrature with ``n_agq`` points; ``rows`` are sorted by group."""
    group = design.groups[0]
    starts = _starts(group.codes, group.n_levels)
    z = np.array(group_columns(rows, group)[1][:, 0]) / group.scales[0]
    p, n = rows.X.shape[1], len(rows.y)
    nodes, log_weights = agq.gauss_hermite(n_agq)
    u, H, c, fixed = np.zeros(group.n_levels), np.ones(group.n_levels), np.empty(n), np.empty(n)
    parts = chunks(starts)

    def integrate(part: tuple[slice, slice, Array], sigma: float) -> tuple[float, float, bool]:
        of, groups, own = part
        return agq.integrate(
            rows.link, own, rows.y[of], rows.trials[of], z[of], fixed[of], sigma, nodes, log_weights,
            u[groups], H[groups], c[of],
        )  # fmt: skip

    def objective(x: Array) -> tuple[float, Array]:
        np.matmul(rows.X, x[:p], out=fixed)
        np.add(fixed, rows.offset, out=fixed)
        sigma = float(x[p])
        results = in_threads(lambda part: integrate(part, sigma), parts)
        value, d_sigma = 0.0, 0.0
        for part_value, part_sigma, found in results:
            value += part_value if found else -np.inf
            d_sigma += part_sigma
        if not np.isfinite(value):
            u[:] = 0.0
            return -np.inf, np.full(p + 1, np.nan)
        return value, np.append(c @ rows.X, d_sigma)

    def state(x: Array) -> State:
        return _one_term_state(rows, starts, (x[p] * z)[:, None], x[:p], u[:, None], 1.0 / H[:, None, None])

    return Integrated(objective, state, (1,), p)


def vector_term(design: Design, rows: Rows, n_agq: int) -> Integrated:
    """One term of several columns, by adaptive quadrature with ``n_agq`` points per column."""
    from bayesmlm.laplace import agq_vector

    group = design.groups[0]
    starts = _starts(group.codes, group.n_levels)
    z = np.ascontiguousarray(group_columns(rows, group)[1] / group.scales)
    p, n, k = rows.X.shape[1], len(rows.y), z.shape[1]
    nodes, log_weights = agq_vector.product_rule(n_agq, k)
    u, L = np.zeros((group.n_levels, k)), np.tile(np.eye(k), (group.n_levels, 1, 1))
    c, fixed = np.empty(n), np.empty(n)
    parts = chunks(starts)

    def integrate(part: tuple[slice, slice, Array], lam: Array) -> tuple[float, bool, Array]:
        of, groups, own = part
        d_lam = np.empty((k, k))
        value, found = agq_vector.integrate_vector(
            rows.link, own, rows.y[of], rows.trials[of], z[of], fixed[of], lam, nodes, log_weights,
            u[groups], L[groups], c[of], d_lam,
        )  # fmt: skip
        return value, found, d_lam

    def objective(x: Array) -> tuple[float, Array]:
        np.matmul(rows.X, x[:p], out=fixed)
        np.add(fixed, rows.offset, out=fixed)
        (lam,) = covariance.factors(x[p:], (k,))
        results = in_threads(lambda part: integrate(part, lam), parts)
        value = sum(part_value if found else -np.inf for part_value, found, _ in results)
        if not np.isfinite(value):
            u[:] = 0.0
            return -np.inf, np.full(len(x), np.nan)
        return value, np.concatenate([c @ rows.X, covariance.pack([np.sum([d for _, _, d in results], axis=0)])])

    def state(x: Array) -> State:
        (lam,) = covariance.factors(x[p:], (k,))
        roots = np.linalg.inv(L)
        return _one_term_state(rows, starts, z @ lam, x[:p], u, roots.transpose(0, 2, 1) @ roots)

    return Integrated(objective, state, (k,), p)


@dataclass(frozen=True, slots=True)
class _Blocked:
    """A model of any terms, its rows in block order; θ is kept in the design's order of terms."""

    blocks: Blocks
    work: Any
    y: Array
    trials: Array
    X: Array
    offset: Array
    columns: tuple[int, ...]

    @classmethod
    def of(cls, design: Design, rows: Rows) -> _Blocked:
        from bayesmlm.laplace import modes

        blocks = block_structure([RandomTerm(g.codes, g.z / g.scales, g.n_levels) for g in design.groups])
        o = blocks.order
        return cls(
            blocks, modes.Evaluation(blocks), rows.y[o], rows.trials[o], rows.X[o], rows.offset[o],
            tuple(g.z.shape[1] for g in design.groups),
        )  # fmt: skip

    def lams(self, theta: Array) -> list[Array]:
        """θ as factors in block order."""
        lams = covariance.factors(theta, self.columns)
        return [lams[t] for t in self.blocks.terms]

    def in_order[T](self, parts: list[T]) -> list[T]:
        """Parts by term, from block order to the design's."""
        return [parts[t] for t in np.argsort(self.blocks.terms)]

    def laplace(
        self, link: int, beta: Array, theta: Array, use_expected: bool, joint: bool = False
    ) -> tuple[float, Array]:
        """Laplace log-likelihood and its gradient in θ; −inf, and modes forgotten, where it cannot be had."""
        # The kernels of any structure are many: a model of one term does not wait for them.
        from bayesmlm.laplace import approximation

        value, d_lams, found = approximation.laplace(
            link, self.y, self.trials, self.offset + self.X @ beta, self.blocks, self.lams(theta), self.work,
            use_expected, self.X if joint else None,
        )  # fmt: skip
        if not found or not np.isfinite(value):
            self.work.forget()
            return -np.inf, np.full(len(theta), np.nan)
        return value, covariance.pack(self.in_order(d_lams))

    def state(self, beta: Array, theta: Array) -> State:
        from bayesmlm.laplace import modes

        blocks, work, lams = self.blocks, self.work, self.lams(theta)
        information, slopes = modes.fixed_information(self.X, blocks, lams, work)
        spherical = [part[..., 0] for part in blocks.by_term(work.main, work.other)]
        eta = np.empty(len(self.offset))
        eta[blocks.order] = modes.linear_predictor(self.offset + self.X @ beta, blocks, lams, work)
        return State(
            beta, [u.copy() for u in self.in_order(spherical)], self.in_order(modes.mode_covariances(blocks, work)),
            self.in_order(slopes), eta, information,
        )  # fmt: skip


def many_terms(design: Design, rows: Rows, use_expected: bool = False) -> Integrated:
    """Any terms by Laplace; ``rows`` are in the design's order."""
    blocked = _Blocked.of(design, rows)
    p = rows.X.shape[1]

    def objective(x: Array) -> tuple[float, Array]:
        value, d_theta = blocked.laplace(rows.link, x[:p], x[p:], use_expected)
        return value, np.concatenate([blocked.work.coefficient @ blocked.X, d_theta])

    return Integrated(objective, lambda x: blocked.state(x[:p], x[p:]), blocked.columns, p)


def joint_terms(design: Design, rows: Rows, beta: Array, use_expected: bool = False) -> Integrated:
    """Any terms with β at the joint mode of β and û given θ (lme4's ``nAGQ = 0``); starts from ``beta``."""
    blocked = _Blocked.of(design, rows)
    at = beta.copy()

    def objective(x: Array) -> tuple[float, Array]:
        from bayesmlm.laplace import modes

        b = blocked
        new, found = modes.joint_modes(rows.link, b.y, b.trials, b.offset, b.X, at, b.blocks, b.lams(x), b.work)
        value, gradient = -np.inf, np.full(len(x), np.nan)
        if found:
            at[:] = new
            value, gradient = b.laplace(rows.link, at, x, use_expected, joint=True)
        if not np.isfinite(value):
            b.work.forget()
            at[:] = beta
        return value, gradient

    return Integrated(objective, lambda x: blocked.state(at.copy(), x), blocked.columns, 0)
