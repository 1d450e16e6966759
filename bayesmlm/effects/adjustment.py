"""Several tests at once: p-values and limits that keep the chance of any false finding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from bayesmlm.errors import FitError, among

__all__ = ["ADJUSTMENTS", "Adjusted", "adjusted"]

Array = np.ndarray[Any, Any]

ADJUSTMENTS = {
    "bonferroni": "Bonferroni: p-values times the number of tests, limits to match",
    "holm": "Holm's step-down p-values, Bonferroni's limits",
    "tukey": "Tukey: the studentised range, of all pairs of {k} values",
    "single-step": "single-step: the largest of {m} correlated normal statistics",
}
"""Adjustments for several tests, in words."""

_DIRECTIONS = 1 << 16
"""Directions that the distribution of the largest statistic is averaged over: p-values to three digits."""


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Tests adjusted for each other.

    Attributes
    ----------
    p_value : ndarray, shape (m,)
    critical : float
        Limits are estimates plus and minus so many standard errors.
    words : str
    """

    p_value: Array
    critical: float
    words: str


def adjusted(method: str | None, z: Array, correlation: Array, level: float, pairs_of: int = 0) -> Adjusted:
    """Two-sided p-values of normal statistics, and the width of their limits.

    Parameters
    ----------
    method : {None, "bonferroni", "holm", "tukey", "single-step"}
    z : ndarray, shape (m,)
    correlation : ndarray, shape (m, m)
        Of the statistics; used by ``single-step`` (Hothorn, Bretz & Westfall, 2008).
    level : float
    pairs_of : int
        The number of values of which the tests are all pairs, 0 if they are not: ``tukey`` is of these.

    Raises
    ------
    FitError
        For a method that does not exist, and Tukey's for anything but all pairs.

    Examples
    --------
    >>> adjusted("holm", np.array([1.0, 3.0]), np.eye(2), 0.95).p_value.round(4).tolist()
    [0.3173, 0.0054]
    """
    if method is not None and method not in ADJUSTMENTS:
        raise FitError(f'there is no adjustment "{method}"; {among(method, ADJUSTMENTS)}')
    p = np.array([math.erfc(abs(value) / math.sqrt(2.0)) for value in z])
    m, normal = len(z), NormalDist()
    if method is None or m == 1:
        single = "" if m == 1 else f"p-values and limits are of single tests, not adjusted for the {m} made"
        return Adjusted(p, normal.inv_cdf(0.5 + level / 2.0), single)
    words = ADJUSTMENTS[method].format(k=pairs_of, m=m)
    if method in ("bonferroni", "holm"):
        bonferroni = normal.inv_cdf(1.0 - (1.0 - level) / (2.0 * m))
        return Adjusted(np.minimum(m * p, 1.0) if method == "bonferroni" else _holm(p), bonferroni, words)
    if method == "tukey":
        if not pairs_of:
            raise FitError('adjust="tukey" is for all pairs of several values; "single-step" and "holm" are for any')
        from scipy.stats import studentized_range

        q = studentized_range.sf(math.sqrt(2.0) * np.abs(z), pairs_of, np.inf)
        return Adjusted(q, float(studentized_range.ppf(level, pairs_of, np.inf)) / math.sqrt(2.0), words)
    largest = _Largest.of(correlation)
    # Between that of one test and Bonferroni's, whatever the error of the average.
    p_value = np.clip([largest.beyond(abs(value)) for value in z], p, np.minimum(m * p, 1.0))
    return Adjusted(p_value, largest.quantile(level), words)


def _holm(p: Array) -> Array:
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(stepped, 1.0)
    return out


@dataclass(frozen=True, slots=True)
class _Largest:
    """The largest of |Z₁|, …, |Zₘ|, Z = Lε normal: along a direction u of ε it is |ε| max |L u|, and |ε| is χ.

    Averaging P(χ > c / max |L u|) over directions gives P(max |Z| > c) for any correlation, singular ones included, and
    without loss far out (Deák, 1980).

    Attributes
    ----------
    reach : ndarray, shape (directions,)
        max |L u|.
    rank : int
    """

    reach: Array
    rank: int

    @staticmethod
    def of(correlation: Array) -> _Largest:
        from scipy.special import ndtri

        values, vectors = np.linalg.eigh(correlation)
        kept = values > 1e-10 * values[-1]
        L, rank = vectors[:, kept] * np.sqrt(values[kept]), int(kept.sum())
        # Points of a lattice (Roberts' sequence), the same in every call, as normals.
        root = _plastic(rank)
        steps = np.power(1.0 / root, np.arange(1, rank + 1))
        epsilon = ndtri((0.5 + np.outer(np.arange(1, _DIRECTIONS + 1), steps)) % 1.0)
        u = epsilon / np.linalg.norm(epsilon, axis=1, keepdims=True)
        return _Largest(np.abs(u @ L.T).max(axis=1), rank)

    def beyond(self, c: float) -> float:
        """P(max |Z| > c)."""
        from scipy.special import gammaincc

        return float(gammaincc(self.rank / 2.0, 0.5 * (c / self.reach) ** 2).mean())

    def quantile(self, level: float) -> float:
        """The c that max |Z| stays below with this probability."""
        from scipy.optimize import brentq

        return float(brentq(lambda c: self.beyond(c) - (1.0 - level), 0.1, 40.0, xtol=1e-10))


def _plastic(dimensions: int) -> float:
    """The root above 1 of x^(d+1) = x + 1."""
    x = 1.5
    for _ in range(60):
        x = (1.0 + x) ** (1.0 / (dimensions + 1))
    return x
