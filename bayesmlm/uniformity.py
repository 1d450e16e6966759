"""Are these numbers uniform?  The simultaneous test of Säilynoja, Bürkner & Vehtari, on ranks or on the unit interval.

With N values and evaluation points z_k, the counts c_k of values up to z_k are Binomial(N, z_k) where they are uniform.
The statistic is the smallest of all tail probabilities,

    γ = min_k 2 min{P(C_k ≤ c_k), P(C_k ≥ c_k)},

whose distribution is simulated: c_k lies within the central 1 − γ* of its binomial at every k together with the
probability 1 − α, if γ* is the α-quantile of γ.

References
----------
T. Säilynoja, P.-C. Bürkner & A. Vehtari (2022), Graphical test for discrete uniformity and its applications in
goodness-of-fit evaluation and multiple sample comparison, Statistics and Computing 32, 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["Uniformity", "band", "uniform_ranks", "uniform_values"]

Array = np.ndarray[Any, Any]

SIMULATIONS = 20_000
"""Draws of γ where the numbers are uniform."""
POINTS = 100
"""Evaluation points of numbers on the unit interval."""


@dataclass(frozen=True, slots=True)
class Uniformity:
    """A test of uniformity.

    Attributes
    ----------
    statistic : float
        γ.
    p_value : float
        How often γ is as small where the numbers are uniform.
    points : ndarray, shape (k,)
        Where the distribution function is compared.
    ecdf : ndarray, shape (k,)
        Share of the numbers up to each point.
    """

    statistic: float
    p_value: float
    points: Array
    ecdf: Array


def _tails(n: int, points: Array) -> Array:
    """2 min{P(C ≤ c), P(C ≥ c)} for every count c, shape (points, n + 1)."""
    from scipy.special import bdtr, bdtrc

    counts = np.arange(n + 1.0)
    below = bdtr(counts, n, points[:, None])
    above = np.concatenate([np.ones((len(points), 1)), bdtrc(counts[:-1], n, points[:, None])], axis=1)
    return np.asarray(2.0 * np.minimum(below, above))


def _counts(cells: Array, levels: int) -> Array:
    """Numbers in the first cells, the first two, …; of rows of numbers, shape (rows, levels − 1)."""
    rows = len(cells)
    flat = cells + levels * np.arange(rows)[:, None]
    counts = np.bincount(flat.ravel(), minlength=rows * levels).reshape(rows, levels)
    return np.asarray(counts.cumsum(axis=1)[:, :-1])


@lru_cache(maxsize=64)
def _reference(n: int, levels: int) -> tuple[Array, Array, Array]:
    """Points, tail probabilities of every count at each, and sorted γ of n uniform numbers in ``levels`` cells."""
    points = np.arange(1, levels) / levels
    tails, at = _tails(n, points), np.arange(levels - 1)
    rng = np.random.default_rng(20220526)
    size = max(1, 4_000_000 // (n + levels))
    parts = []
    for first in range(0, SIMULATIONS, size):
        cells = rng.integers(0, levels, (min(size, SIMULATIONS - first), n))
        parts.append(tails[at, _counts(cells, levels)].min(axis=1))
    return points, tails, np.sort(np.concatenate(parts))


def uniform_ranks(ranks: Array, levels: int) -> Uniformity:
    """Test whether ranks 0, …, levels − 1 are uniform.

    Parameters
    ----------
    ranks : ndarray of int, shape (n,)
    levels : int
        How many ranks there are.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> uniform_ranks(rng.integers(0, 100, 300), 100).p_value > 0.05
    True
    >>> uniform_ranks(rng.binomial(99, 0.5, 300), 100).p_value < 1e-4
    True
    """
    n = len(ranks)
    points, tails, null = _reference(n, levels)
    counts = _counts(np.asarray(ranks)[None], levels)[0]
    statistic = float(tails[np.arange(levels - 1), counts].min())
    # Ties of the discrete statistic count against uniformity.
    as_small = int(np.searchsorted(null, statistic * (1.0 + 1e-9), side="right"))
    return Uniformity(statistic, (1 + as_small) / (1 + len(null)), points, counts / n)


def uniform_values(values: Array) -> Uniformity:
    """Test whether numbers are uniform on (0, 1), at 99 points or as many as there are numbers.

    Examples
    --------
    >>> uniform_values(np.random.default_rng(1).random(500) ** 2).p_value < 1e-4
    True
    """
    levels = max(2, min(POINTS, len(values)))
    cells = np.minimum((np.asarray(values) * levels).astype(np.int64), levels - 1)
    return uniform_ranks(cells, levels)


def band(n: int, levels: int, level: float = 0.95) -> tuple[Array, Array, Array]:
    """Simultaneous limits of the distribution function of n uniform numbers: points, lower and upper limits.

    Parameters
    ----------
    n, levels : int
    level : float
        Probability with which all of it lies within.

    Examples
    --------
    >>> points, low, high = band(100, 20)
    >>> bool(low[9] < 0.5 < high[9]), round(float(high[9] - low[9]), 2)
    (True, 0.26)
    """
    points, tails, null = _reference(n, levels)
    inside = tails >= null[int((1.0 - level) * len(null))]
    return points, inside.argmax(axis=1) / n, (n - inside[:, ::-1].argmax(axis=1)) / n
