"""P-values of a statistic of the data among the same statistic of data sets drawn from the model.

Where the model is right the observed data set is one more of those drawn, so its statistic has a uniform rank among
theirs, however the rows depend on each other (Barnard, 1963).  A posterior has seen the data it is tested on, and
estimates have been fitted to them: that makes such p-values too large rather than too small (Meng, 1994).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["both_tails", "chi_square", "holm", "middle_ranks", "random_ranks", "upper_tail"]

Array = np.ndarray[Any, Any]

_EQUAL = 1e-9
"""Statistics this near each other, relative to their spread, are equal."""


def _beyond(values: Array) -> tuple[int, int]:
    """How many of the statistics, the first included, are at least, and at most, as large as the first."""
    close = _EQUAL * (1.0 + np.abs(values).max(initial=0.0))
    return int((values >= values[0] - close).sum()), int((values <= values[0] + close).sum())


def upper_tail(values: Array) -> float:
    """P-value of the first statistic among all, large ones speaking against the model.

    Examples
    --------
    >>> upper_tail(np.array([5.0, 1.0, 2.0, 7.0]))
    0.5
    """
    return _beyond(values)[0] / len(values)


def both_tails(values: Array) -> float:
    """P-value of the first statistic among all, large and small ones speaking against the model.

    Examples
    --------
    >>> both_tails(np.array([9.0, *range(9)])), both_tails(np.array([4.0, *range(9)]))
    (0.2, 1.0)
    """
    return min(1.0, 2.0 * min(_beyond(values)) / len(values))


def chi_square(values: Array) -> Array:
    """Squared distance of each data set from the mean of all, (sets, parts) -> (sets,).

    In the metric of the parts' covariance, so that what moves all of them together (new effects of groups) does not
    hide what moves one against another; where there are more parts than a tenth of the sets, too few to tell a
    covariance, in that of their variances.  Means and covariances are those of all data sets, the observed one among
    them, so that they stay exchangeable.

    Examples
    --------
    >>> chi_square(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])).round(9).tolist()
    [1.5, 0.0, 1.5]
    """
    sets, parts = values.shape
    variance = values.var(axis=0)
    varying = variance > 0.0
    standard = (values - values.mean(axis=0))[:, varying] / np.sqrt(variance[varying])
    if parts > sets / 10:
        return np.asarray(np.square(standard).sum(axis=1))
    size, directions = np.linalg.eigh(standard.T @ standard / sets)
    kept = size > 1e-9
    return np.asarray((np.square(standard @ directions[:, kept]) / size[kept]).sum(axis=1))


def middle_ranks(values: Array) -> Array:
    """Rank of every number among those of its column, on (0, 1), equal ones sharing the middle of theirs.

    Examples
    --------
    >>> middle_ranks(np.array([[1.0], [0.0], [0.0], [0.0]])).ravel().tolist()
    [0.875, 0.375, 0.375, 0.375]
    """
    from scipy.stats import rankdata

    return np.asarray((rankdata(np.round(values, 9), axis=0) - 0.5) / len(values))


def random_ranks(values: Array, rng: np.random.Generator) -> Array:
    """Rank of every number among those of its column, on (0, 1): ties are broken at random, and so is the step.

    Examples
    --------
    >>> ranks = random_ranks(np.array([[3.0], [1.0], [2.0]]), np.random.default_rng(1))
    >>> np.floor(3.0 * ranks).ravel().tolist()
    [2.0, 0.0, 1.0]
    """
    n = len(values)
    # Means of several answers are equal up to rounding.
    order = np.lexsort(np.stack([rng.random(values.shape), np.round(values, 9)]), axis=0)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(n)[:, None], values.shape).astype(float), axis=0)
    return (ranks + rng.random(values.shape)) / n


def holm(p_values: Array) -> Array:
    """Holm's adjustment of p-values for their number.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    out = np.empty(len(p_values))
    out[order] = np.minimum(adjusted, 1.0)
    return out
