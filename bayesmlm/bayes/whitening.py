"""Coordinates in which a posterior is nearly a standard normal, so that a sampler walks it in few steps.

From the mode that the likelihood engine finds and its curvature (the Laplace approximation).  With v everything but the
group effects, e₁ the effects of the largest term and e₂ all others, in the kernel's own coordinates,

    v = v̂ + R w₀,   e₂ = ê₂ + D (v − v̂) + C w₂,   e₁ = a function of w₁, v and e₂:

v are the outer coordinates, with asinh a (of two columns, artanh of their correlation) for the coordinates a of the
correlations; RR' is their covariance with the effects integrated out, CC' that of e₂ given v with e₁ integrated out,
and D the derivative of e₂'s conditional modes; :mod:`bayesmlm.bayes.transport` has e₁.  The posterior is the same in
other coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.bayes.transport import pull_effects, push_effects

__all__ = ["Whitening", "pull", "push", "unwhitened"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Whitening:
    """The map; see the module.

    Attributes
    ----------
    outer, others : ndarray of int
        Places of v and e₂ among the kernel's coordinates.
    mode : ndarray, shape (size,)
        Of v and e₂; zeros at e₁.
    root : ndarray, shape (m, m)
        R, lower triangular.
    of_outer : ndarray, shape (q₂, m)
        D.
    others_root : ndarray, shape (q₂, q₂) or (q₂, 0)
        C, upper triangular; empty where ``others_scale`` is its diagonal.
    others_scale : ndarray, shape (q₂,)
    first : ndarray of int, shape (5,)
        Places of e₁, of its first log standard deviation and correlation, and of log σ (−1 without); whether e₁ is
        centred.
    places : ndarray of int
        Of its correlations' coordinates, as in :mod:`bayesmlm.bayes.effects`.
    information : ndarray, shape (levels, k, k)
        G.
    linear : ndarray, shape (levels · k,)
        q̂.
    of_v : ndarray, shape (levels · k, m)
        K.
    starts, columns, values : ndarray
        E in compressed rows: an entry for every pair of groups that share data.
    log_sigma : float
        At the mode.
    bent : ndarray of bool, shape (m,)
        Which of v are asinh of a coordinate.
    """

    outer: Array
    others: Array
    mode: Array
    root: Array
    of_outer: Array
    others_root: Array
    others_scale: Array
    first: Array
    places: Array
    information: Array
    linear: Array
    of_v: Array
    starts: Array
    columns: Array
    values: Array
    log_sigma: float
    bent: Array

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What :func:`push` and :func:`pull` take after their own arguments."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def shape(self) -> tuple[int, int]:
        """Groups and columns of the term of e₁."""
        return self.information.shape[0], self.information.shape[1]


@njit(cache=True, nogil=True, error_model="numpy")
def push(
    w: np.ndarray,
    x: np.ndarray,
    q: np.ndarray,
    mean: np.ndarray,
    roots: np.ndarray,
    outer: np.ndarray,
    others: np.ndarray,
    mode: np.ndarray,
    root: np.ndarray,
    of_outer: np.ndarray,
    others_root: np.ndarray,
    others_scale: np.ndarray,
    first: np.ndarray,
    places: np.ndarray,
    information: np.ndarray,
    linear: np.ndarray,
    of_v: np.ndarray,
    starts: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    log_sigma: float,
    bent: np.ndarray,
) -> float:
    """The kernel's coordinates x of whitened ones w, both of shape (size,); the log-Jacobian is returned.

    ``q``, ``mean`` (q₁,) and ``roots`` (levels, k, k) are left as :func:`pull` needs them.
    """
    m, q1, q2 = len(outer), len(linear), len(others)
    d, jacobian = np.empty(m), 0.0
    for i in range(m):
        s = 0.0
        for j in range(i + 1):
            s += root[i, j] * w[j]
        d[i] = s
        x[outer[i]] = mode[outer[i]] + s
        if bent[i]:
            jacobian += math.log(math.cosh(x[outer[i]]))
            x[outer[i]] = math.sinh(x[outer[i]])
    de = np.empty(q2)
    dense = others_root.shape[1] > 0
    for i in range(q2):
        s = 0.0
        for j in range(m):
            s += of_outer[i, j] * d[j]
        if dense:
            for j in range(i, q2):
                s += others_root[i, j] * w[m + j]
        else:
            s += others_scale[i] * w[m + i]
        de[i] = s
        x[others[i]] = mode[others[i]] + s
    if q1 == 0:
        return jacobian
    for i in range(q1):
        s = linear[i]
        for j in range(m):
            s += of_v[i, j] * d[j]
        for at in range(starts[i], starts[i + 1]):
            s += values[at] * de[columns[at]]
        q[i] = s
    rho = math.exp(2.0 * (log_sigma - x[first[3]])) if first[3] >= 0 else 1.0
    effects = x[first[0] : first[0] + q1]
    return jacobian + push_effects(
        w[m + q2 :], q, rho, information, first[4] != 0, x, first[1], first[2], places, effects, mean, roots
    )


@njit(cache=True, nogil=True, error_model="numpy")
def pull(
    gx: np.ndarray,
    gw: np.ndarray,
    x: np.ndarray,
    q: np.ndarray,
    mean: np.ndarray,
    roots: np.ndarray,
    outer: np.ndarray,
    others: np.ndarray,
    mode: np.ndarray,
    root: np.ndarray,
    of_outer: np.ndarray,
    others_root: np.ndarray,
    others_scale: np.ndarray,
    first: np.ndarray,
    places: np.ndarray,
    information: np.ndarray,
    linear: np.ndarray,
    of_v: np.ndarray,
    starts: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    log_sigma: float,
    bent: np.ndarray,
) -> None:
    """The gradient in whitened coordinates from that in the kernel's, ``gx``, the log-Jacobian's included.

    ``gx`` is changed on the way.
    """
    m, q1, q2 = len(outer), len(linear), len(others)
    of_q = np.empty(q1)
    if q1 > 0:
        rho = math.exp(2.0 * (log_sigma - x[first[3]])) if first[3] >= 0 else 1.0
        part = slice(first[0], first[0] + q1)
        of_rho = pull_effects(
            gx[part], gw[m + q2 :], of_q, q, rho, information, first[4] != 0, x, first[1], first[2], places, x[part],
            mean, roots, gx,
        )  # fmt: skip
        if first[3] >= 0:
            gx[first[3]] -= 2.0 * rho * of_rho
    d = np.empty(m)
    for i in range(m):
        d[i] = gx[outer[i]]
        if bent[i]:
            # x = sinh y: dx/dy = cosh y, and the log-Jacobian's derivative is tanh y.
            cosh = math.sqrt(1.0 + x[outer[i]] ** 2)
            d[i] = d[i] * cosh + x[outer[i]] / cosh
    de = np.empty(q2)
    for i in range(q2):
        de[i] = gx[others[i]]
    for i in range(q1):
        s = of_q[i]
        for j in range(m):
            d[j] += of_v[i, j] * s
        for at in range(starts[i], starts[i + 1]):
            de[columns[at]] += values[at] * s
    dense = others_root.shape[1] > 0
    for i in range(m, m + q2):
        gw[i] = 0.0
    for i in range(q2):
        s = de[i]
        for j in range(m):
            d[j] += of_outer[i, j] * s
        if dense:
            for j in range(i, q2):
                gw[m + j] += others_root[i, j] * s
        else:
            gw[m + i] = others_scale[i] * s
    for j in range(m):
        s = 0.0
        for i in range(j, m):
            s += root[i, j] * d[i]
        gw[j] = s


def unwhitened(w: Array, whitening: Whitening) -> tuple[Array, Array]:
    """Draws in the kernel's coordinates of whitened draws (chain, draw, size), and log-Jacobians (chain, draw)."""
    flat = np.ascontiguousarray(w).reshape(-1, w.shape[-1])
    x, jacobian = _unwhitened(flat, *whitening.shape, whitening.arguments)
    return x.reshape(w.shape), jacobian.reshape(w.shape[:-1])


@njit(cache=True, error_model="numpy")
def _unwhitened(w: np.ndarray, levels: int, k: int, arguments: tuple) -> tuple[np.ndarray, np.ndarray]:
    out, jacobian = np.empty_like(w), np.empty(len(w))
    q, mean, roots = np.empty(levels * k), np.empty(levels * k), np.empty((levels, k, k))
    for i in range(len(w)):
        jacobian[i] = push(w[i], out[i], q, mean, roots, *arguments)
    return out, jacobian
