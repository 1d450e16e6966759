"""Likelihood of groups that hold smaller groups, the effects of both integrated out.

With effects v of the larger group and L_g(v) the integrated likelihood of a smaller one within it
(:mod:`bayesmlm.cross_validation.integrals`), that of the larger one is the integral of Π L_g(v) times the density of v,
by the same rule once more: its mode is the joint mode of v and the smaller groups' effects, its H the Schur complement
of v there.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesmlm.cross_validation.integrals import log_integral, log_sum, spherical
from bayesmlm.laplace.kernels import point
from bayesmlm.laplace.newton import STEPS, find_mode, newton_step
from bayesmlm.laplace.pls import backward, cholesky_in_place, forward
from bayesmlm.laplace.preload import INNER

__all__ = ["integrate_nested"]


@njit(**INNER)
def _profile(  # type: ignore[no-untyped-def]
    link, first, last, starts, y, trials, fixed, shifted, m_outer, m_inner, v, u, H, grad, H_inner, g_inner, step, B
):
    """Gradient and Schur complement of v at the inner modes that belong to it; whether these were found."""
    q, k = len(v), len(H_inner)
    for a in range(q):
        grad[a] = -v[a]
        for b in range(a):
            H[a, b] = 0.0
        H[a, a] = 1.0
    for g in range(first, last):
        lo, hi = starts[g], starts[g + 1]
        _shift(lo, hi, fixed, m_outer, v, shifted)
        if not find_mode(link, lo, hi, y, trials, shifted, m_inner[lo:hi], u[g], H_inner, g_inner, step):
            return False
        B[:] = 0.0
        for a in range(k):
            for b in range(a):
                H_inner[a, b] = 0.0
            H_inner[a, a] = 1.0
        for i in range(lo, hi):
            eta = shifted[i]
            for a in range(k):
                eta += m_inner[i, a] * u[g, a]
            _, s, w, _ = point(link, y[i], trials[i], eta)
            for a in range(q):
                grad[a] += m_outer[i, a] * s
                wm = w * m_outer[i, a]
                for b in range(a + 1):
                    H[a, b] += wm * m_outer[i, b]
                for b in range(k):
                    B[a, b] += wm * m_inner[i, b]
            for a in range(k):
                for b in range(a + 1):
                    H_inner[a, b] += w * m_inner[i, a] * m_inner[i, b]
        if not cholesky_in_place(H_inner):
            return False
        for a in range(q):
            forward(H_inner, B[a])
            for b in range(a + 1):
                for c in range(k):
                    H[a, b] -= B[a, c] * B[b, c]
    return True


@njit(**INNER)
def _shift(lo, hi, fixed, m_outer, v, shifted):  # type: ignore[no-untyped-def]
    """The linear predictor with the outer effects v."""
    for i in range(lo, hi):
        shifted[i] = fixed[i]
        for a in range(len(v)):
            shifted[i] += m_outer[i, a] * v[a]


@njit(cache=True, error_model="numpy", nogil=True)
def integrate_nested(  # type: ignore[no-untyped-def]
    link, outer_starts, starts, y, trials, z_outer, z_inner, fixed, outer_lams, inner_lams, outer_rule, inner_rule, out
):
    """Integrated log-likelihood of every outer group under every draw, its inner groups integrated with it.

    Parameters
    ----------
    link : int
    outer_starts : ndarray of int, shape (outer groups + 1,)
        Inner groups ``outer_starts[o]:outer_starts[o + 1]`` lie in outer group o.
    starts : ndarray of int, shape (inner groups + 1,)
    y, trials : ndarray, shape (n,)
    z_outer, z_inner : ndarray, shapes (n, q) and (n, k)
    fixed : ndarray, shape (draws, n)
        The linear predictor without both.
    outer_lams, inner_lams : ndarray, shapes (draws, q, q) and (draws, k, k)
    outer_rule, inner_rule : tuple of ndarray
        Nodes and weights, as in :func:`integrate_groups`.
    out : ndarray, shape (draws, outer groups)
        Out: the log-likelihoods, constants left out; NaN where a mode was not found.
    """
    n, q = z_outer.shape
    k = z_inner.shape[1]
    outer_nodes, outer_weights = outer_rule
    inner_nodes, inner_weights = inner_rule
    m_outer, m_inner, shifted = np.empty((n, q)), np.empty((n, k)), np.empty(n)
    v, u = np.zeros((len(outer_starts) - 1, q)), np.zeros((len(starts) - 1, k))
    H, grad, step, terms = np.empty((q, q)), np.empty(q), np.empty(q), np.empty(len(outer_nodes))
    H_inner, g_inner, s_inner, t_inner = np.empty((k, k)), np.empty(k), np.empty(k), np.empty(len(inner_nodes))
    B, mode = np.empty((q, k)), np.empty(k)
    for d in range(len(fixed)):
        spherical(z_outer, outer_lams[d], m_outer)
        spherical(z_inner, inner_lams[d], m_inner)
        for o in range(len(outer_starts) - 1):
            first, last = outer_starts[o], outer_starts[o + 1]
            found, before = False, math.inf
            for iteration in range(STEPS):
                if not _profile(
                    link, first, last, starts, y, trials, fixed[d], shifted, m_outer, m_inner, v[o], u, H, grad,
                    H_inner, g_inner, s_inner, B,
                ):  # fmt: skip
                    break
                decrement = newton_step(H, grad, step, v[o], before, iteration == 0)
                if not math.isfinite(decrement):
                    break
                if decrement != before and decrement < 1e-10:
                    found = True
                    break
                before = decrement
            if not found:
                v[o] = 0.0
                u[first:last] = 0.0
                out[d, o] = math.nan
                continue
            for j in range(len(outer_nodes)):
                for a in range(q):
                    grad[a] = math.sqrt(2.0) * outer_nodes[j, a]
                backward(H, grad)
                value = outer_weights[j]
                for a in range(q):
                    grad[a] += v[o, a]
                    value -= 0.5 * grad[a] * grad[a]
                for g in range(first, last):
                    lo, hi = starts[g], starts[g + 1]
                    _shift(lo, hi, fixed[d], m_outer, grad, shifted)
                    mode[:] = u[g]
                    value += log_integral(
                        link, lo, hi, y, trials, shifted, m_inner, mode, inner_nodes, inner_weights, H_inner, g_inner,
                        s_inner, t_inner,
                    )  # fmt: skip
                terms[j] = value
            value = log_sum(terms) - 0.5 * q * math.log(math.pi)
            for a in range(q):
                value -= math.log(H[a, a])
            out[d, o] = value
