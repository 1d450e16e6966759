"""Predictions as arrays: means averaged over a normal linear predictor, the variance of known groups' effects."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmlm.estimands import PredictionRows
from bayesmlm.families import Link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayesmlm.laplace.layout import Layout, RandomTerm

__all__ = ["averaged_mean", "averaged_under", "distinct_rows", "effects_variance"]

Array = np.ndarray[Any, Any]

_PER_SD = 42
"""Points for each unit of the standard deviation averaged over: the complementary log-log, the hardest, needs them."""

_WIDEST = 20.0
"""Standard deviations beyond which responses are 0 or 1 in nearly every group, and no more points are taken."""

_FEWEST = 25
"""Points of the average over groups, at least: exact to 1e-10 (see :func:`averaged_mean`)."""

_STEP = 0.05
"""Between the knots of a curve: its error, step⁴ f⁗ / 384, is below 1e-7, far below that of any number of draws."""

_BLOCK = 16_384
"""Means averaged at once, so that they stay in the cache from one point to the next."""

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
    nodes, weights = _trapezoids(sd, points)
    mean, d_eta, d_sd = np.zeros_like(eta), np.zeros_like(eta), np.zeros_like(eta)
    for node, weight in zip(nodes, weights, strict=True):
        at = eta + sd * node
        slope = weight * link.derivative(at)
        mean += weight * link.inverse(at)
        d_eta += slope
        d_sd += slope * node
    return mean, d_eta, d_sd


def _trapezoids(sd: Array, points: int) -> tuple[Array, Array]:
    """Points and weights of the average over a standard normal."""
    widest = min(float(sd.max(initial=0.0)), _WIDEST)
    nodes = np.linspace(-9.0, 9.0, max(points, math.ceil(_PER_SD * widest)))
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def averaged_under(eta: Array, variance: Array, link: Link) -> Array:
    """E[g⁻¹(η + √v ε)] for many draws and rows, shape (s, m).

    Where a draw has one variance for all rows, one curve through knots serves them all.

    Parameters
    ----------
    eta, variance : ndarray, shape (s, m)
        Linear predictor, and variance of the group effects that are averaged over.
    link : Link

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> link, eta = family_of("bernoulli").link, np.linspace(-2.0, 2.0, 1000)[None, :]
    >>> one_variance, many = np.ones_like(eta), np.linspace(0.99, 1.01, 1000)[None, :]
    >>> apart = averaged_under(eta, one_variance, link) - averaged_under(eta, many, link)
    >>> bool(np.abs(apart).max() < 1e-3), bool(abs(averaged_under(eta, one_variance, link).mean() - 0.5) < 1e-9)
    (True, True)
    """
    if link.name == "identity":
        return eta
    if link.name == "log":
        return np.exp(eta + 0.5 * variance)
    low, high = float(eta.min()), float(eta.max())
    knots = int((high - low) / _STEP) + 2
    # A curve pays where there are more rows than knots.
    if eta.shape[1] < 2 * knots or np.ptp(variance, axis=1).any():
        return _averages(eta, np.sqrt(variance), link)
    at = np.broadcast_to(low + _STEP * np.arange(knots), (len(eta), knots))
    value, slope, _ = averaged_mean(at, np.broadcast_to(variance[:, :1], at.shape), link, _FEWEST)
    return _hermite(value, _STEP * slope, (eta - low) / _STEP)


def _averages(eta: Array, sd: Array, link: Link) -> Array:
    """Averages alone, block by block."""
    out, shape = np.zeros(eta.size), eta.shape
    eta, sd = eta.ravel(), sd.ravel()
    for start in range(0, len(out), _BLOCK):
        part = slice(start, start + _BLOCK)
        for node, weight in zip(*_trapezoids(sd[part], _FEWEST), strict=True):
            out[part] += weight * link.inverse(eta[part] + sd[part] * node)
    return out.reshape(shape)


def _hermite(value: Array, slope: Array, at: Array) -> Array:
    """Cubics through values and slopes at the knots 0, 1, …, a curve per row."""
    k = np.minimum(at.astype(np.int64), value.shape[1] - 2)
    t = at - k
    here, there, rise, fall = (
        np.take_along_axis(of, k + step, axis=1) for of, step in ((value, 0), (value, 1), (slope, 0), (slope, 1))
    )
    u = 1.0 - t
    return u * u * ((1.0 + 2.0 * t) * here + t * rise) + t * t * ((1.0 + 2.0 * u) * there - u * fall)


def distinct_rows(rows: PredictionRows, estimand: str) -> tuple[PredictionRows, Array]:
    """Rows of which the same is predicted once, and the place of every row among them.

    Examples
    --------
    >>> X, one = np.array([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0]]), np.ones((3, 1))
    >>> rows = PredictionRows(X, np.zeros(3), (np.array([0, 1, 2]),), (one,))
    >>> distinct_rows(rows, "population")[1].tolist(), distinct_rows(rows, "conditional")[1].tolist()
    ([0, 1, 0], [0, 1, 2])
    """
    import pandas as pd

    columns = [*rows.X.T, rows.offset]
    if estimand != "typical":
        columns += [column for z in rows.z for column in z.T]
    if estimand == "conditional":
        columns += rows.codes
    places = pd.DataFrame(dict(enumerate(columns))).groupby(list(range(len(columns))), sort=False).ngroup().to_numpy()
    first = np.unique(places, return_index=True)[1]
    once = replace(
        rows, X=rows.X[first], offset=rows.offset[first],
        codes=tuple(codes[first] for codes in rows.codes), z=tuple(z[first] for z in rows.z),
    )  # fmt: skip
    return once, places


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
