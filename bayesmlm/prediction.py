"""Predictions as arrays: a mean averaged over a normal linear predictor, the variance of known groups' effects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.families import Link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayesmlm.laplace.layout import Layout, RandomTerm

__all__ = ["averaged_mean", "effects_variance"]

Array = np.ndarray[Any, Any]

_PER_SD = 42
"""Points for each unit of the standard deviation averaged over: the complementary log-log, the hardest, needs them."""

_WIDEST = 20.0
"""Standard deviations beyond which responses are 0 or 1 in nearly every group, and no more points are taken."""

_AT_ONCE = 2_000_000
"""Entries of an inverse looked up at once."""


def averaged_mean(eta: Array, variance: Array, link: Link, points: int = 61) -> tuple[Array, Array, Array]:
    """E[g⁻¹(η + √v ε)] for ε ~ N(0, 1), with its derivatives.

    By the trapezoidal rule, whose error falls exponentially in 1 / (step √v): with the points taken here it is below
    1e-10 up to √v = 20 (Gauss-Hermite's 61 points are off by 1e-3 at 5).  The log link's average is known.

    Parameters
    ----------
    eta, variance : ndarray, one shape
        Linear predictor and variance of the group effects that are integrated over.
    link : Link
    points : int
        At least; more are taken where √v is above 1.5.

    Returns
    -------
    mean, d_eta, d_sd : ndarray, shape of ``eta``
        The average, and its derivatives in η and in √v.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> mean, _, _ = averaged_mean(np.array([1.0]), np.array([3.0]), family_of("bernoulli", "probit").link)
    >>> from scipy.special import ndtr
    >>> bool(abs(mean[0] - ndtr(1.0 / 2.0)) < 1e-12)   # known exactly for the probit
    True
    """
    sd = np.sqrt(variance)
    if link.name == "log":
        mean = np.exp(eta + 0.5 * variance)
        return mean, mean.copy(), sd * mean
    widest = min(float(sd.max(initial=0.0)), _WIDEST)
    nodes = np.linspace(-9.0, 9.0, max(points, math.ceil(_PER_SD * widest)))
    weights = np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    mean, d_eta, d_sd = np.zeros_like(eta), np.zeros_like(eta), np.zeros_like(eta)
    for node, weight in zip(nodes, weights, strict=True):
        at = eta + sd * node
        slope = weight * link.derivative(at)
        mean += weight * link.inverse(at)
        d_eta += slope
        d_sd += slope * node
    return mean, d_eta, d_sd


def effects_variance(
    terms: Sequence[RandomTerm], lams: Sequence[Array], weights: Array, codes: Sequence[Array], z: Sequence[Array]
) -> Array:
    """Var(Σ z′b) of rows over all terms at once, given β and the variances: m′H⁻¹m with H = I + Σ w m m′, m = Λ′z.

    The effects of one row's groups are correlated given the data: those of nested groups so strongly that the sum of
    their variances is many times the variance of their sum.

    Parameters
    ----------
    terms : sequence of RandomTerm
        Of the rows the model was fitted to.
    lams : sequence of ndarray, shape (k, k)
        λ of each term.
    weights : ndarray, shape (n,)
        Information of each of those rows on its linear predictor, at the modes.
    codes : sequence of ndarray of int, shape (m,)
        Groups of the rows asked for, by term; what is negative is no group and adds nothing.
    z : sequence of ndarray, shape (m, k)

    Returns
    -------
    ndarray, shape (m,)

    Examples
    --------
    >>> from bayesmlm.laplace.layout import RandomTerm
    >>> one, group = np.ones((4, 1)), np.array([0, 0, 1, 1])
    >>> school, class_ = RandomTerm(0 * group, one, 1), RandomTerm(group, one, 2)
    >>> unit, new = [np.eye(1), np.eye(1)], [one[:2], one[:2]]
    >>> effects_variance([school, class_], unit, np.ones(4), [np.array([0, 0]), np.array([0, -1])], new).round(4)
    array([0.381 , 0.4286])
    """
    from bayesmlm.laplace.layout import block_structure
    from bayesmlm.laplace.modes import factorise_rows, flattened
    from bayesmlm.laplace.pls import (
        empty_factor,
        factorise_components,
        invert_components,
        selected_covariance,
        spherical_columns,
    )

    blocks = block_structure(list(terms))
    layout, order = blocks.layout, blocks.terms
    factor = empty_factor(layout)
    m = spherical_columns(blocks.z, layout.columns, flattened([lams[t] for t in order]))
    factorise_rows(weights[blocks.order], m, layout, factor)
    factorise_components(layout, factor.S)
    main_covariance = selected_covariance(blocks, factor)[0]
    inverse = invert_components(layout, factor.S)
    # D⁻¹B by touched column, L′P = Y.
    group_of = np.repeat(np.arange(len(factor.L)), np.diff(layout.touched_starts))
    P = np.linalg.solve(factor.L[group_of].swapaxes(1, 2), factor.Y[..., None])[..., 0]

    main, *others = (np.where(codes[t][:, None] >= 0, z[t] @ lams[t], 0.0) for t in order)
    group, *other_groups = (np.maximum(codes[t], 0) for t in order)
    out = np.einsum("ia,iab,ib->i", main, main_covariance[group], main)
    if not others:
        return out
    places, first = [], 0
    for of, levels, k in zip(other_groups, blocks.levels[1:], layout.columns[1:], strict=True):
        places.append(blocks.place[first + of[:, None] * k + np.arange(k)])
        first += int(levels * k)
    columns, values = np.hstack(places), np.hstack(others)
    between = _entries(layout, inverse, columns[:, :, None], columns[:, None, :])
    out += np.einsum("ic,icd,id->i", values, between, values)
    counts, starts = np.diff(layout.touched_starts)[group], layout.touched_starts[group]
    step = max(_AT_ONCE // max(int(counts.max(initial=0)) * columns.shape[1], 1), 1)
    for begin in range(0, len(out), step):
        own = counts[begin : begin + step]
        row = begin + np.repeat(np.arange(len(own)), own)
        at = starts[row] + np.arange(len(row)) - np.repeat(np.cumsum(own) - own, own)
        # V_gC = −P S⁻¹: the main group's columns with the others of the row.
        reach = np.einsum("ic,ic->i", _entries(layout, inverse, layout.touched[at][:, None], columns[row]), values[row])
        out -= 2.0 * np.bincount(row, np.einsum("ia,ia->i", P[at], main[row]) * reach, len(out))
    return out


def _entries(layout: Layout, inverse: Array, rows: Array, columns: Array) -> Array:
    """Entries of S⁻¹: 0 between components."""
    c = layout.component[rows]
    first, size = layout.firsts[c], layout.firsts[c + 1] - layout.firsts[c]
    linked = layout.component[columns] == c
    column = np.where(linked, columns - first, 0)
    return np.where(linked, inverse[layout.offsets[c] + (rows - first) * size + column], 0.0)
