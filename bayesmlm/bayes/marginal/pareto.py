"""The certificate: how far importance weights can be trusted, and draws that need none.

Pareto smoothing, k̂ and the sample size it takes are those of Vehtari, Simpson, Gelman, Yao & Gabry (2024).  k̂ is the
shape of the tail of the weights: below 0.7 their mean converges at a practical rate and its error is known; above, some
region of the posterior may hardly be drawn from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Weights", "effective_draws", "fault", "k_limit", "resampled", "smoothed"]

Array = np.ndarray[Any, Any]

_FEWEST = 25
"""Draws without which no tail can be fitted."""

_WHOLE = 1e-6
"""Range of log-weights that are as good as equal: no tail can be fitted to them."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Importance weights after Pareto smoothing.

    Attributes
    ----------
    weights : ndarray, shape (draws,)
        Their sum is 1.
    k_hat : float
        Infinite where no tail could be fitted.
    ess : float
        1 / Σ w² (Kong, 1992).
    log_mean : float
        Logarithm of the mean of the raw weights: the log marginal likelihood.
    """

    weights: Array
    k_hat: float
    ess: float
    log_mean: float


def k_limit(draws: int) -> float:
    """k̂ up to which so many draws suffice: min(1 − 1 / log₁₀ draws, 0.7) (Vehtari et al., 2024, eq. 10).

    Examples
    --------
    >>> k_limit(100), k_limit(4000)
    (0.5, 0.7)
    """
    return min(1.0 - 1.0 / math.log10(draws), 0.7) if draws > 1 else -math.inf


def fault(k_hat: float, ess: float, draws: int) -> str:
    """Why weights are not to be trusted; empty where they are.

    The effective sample size should be 400, two fifths of fewer than 1,000 draws, and a tenth of more than 4,000.  k̂
    alone deceives where draws are few for the dimension: of 448 samples of many tiny groups, each of which adds a
    little to the variance of the weights, it passed 126, and 54 of these missed the posterior by more than their
    Monte-Carlo errors allow (``benchmarks/README.md``).  Not one of the 448 has such an effective size.

    Examples
    --------
    >>> fault(0.3, 900.0, 4000), fault(0.9, 900.0, 4000), fault(0.3, 90.0, 4000)
    ('', 'k̂ 0.90 is not below 0.70', 'ESS 90 of 4,000 is below 400')
    >>> fault(0.3, 90.0, 500), fault(0.3, 900.0, 100_000)
    ('ESS 90 of 500 is below 200', 'ESS 900 of 100,000 is below 10,000')
    >>> fault(0.3, 9.0, 10)
    'a certificate takes 25 draws or more, not 10'
    """
    if draws < _FEWEST:
        return f"a certificate takes {_FEWEST} draws or more, not {draws}"
    limit, least = k_limit(draws), max(min(400.0, 0.4 * draws), 0.1 * draws)
    if k_hat == math.inf:
        return "no tail can be fitted to the weights (k̂)"
    if not k_hat < limit:
        digits = 2 if k_hat - limit > 0.005 else 4  # so that it reads as not below
        return f"k̂ {k_hat:.{digits}f} is not below {limit:.{digits}f}"
    return f"ESS {ess:,.0f} of {draws:,} is below {least:,.0f}" if ess < least else ""


def smoothed(log_weights: Array) -> Weights:
    """Smooth log-weights, shape (draws,).

    Examples
    --------
    >>> found = smoothed(np.random.default_rng(1).standard_normal(1000))
    >>> found.k_hat < 0.7, 300 < found.ess < 500
    (True, True)
    """
    from arviz_stats.base import array_stats
    from scipy.special import logsumexp

    finite = np.where(np.isfinite(log_weights), log_weights, -np.inf)
    top = finite.max(initial=-np.inf)
    if not math.isfinite(top):
        return Weights(np.full(len(finite), 1.0 / len(finite)), math.inf, 1.0, -math.inf)
    log_mean, k_hat, smooth = float(logsumexp(finite) - math.log(len(finite))), math.inf, finite - top
    if np.ptp(smooth) < _WHOLE:
        k_hat = -math.inf
    elif len(finite) >= _FEWEST:
        # It takes log-likelihoods to be left out, whose weights are their inverses; draws of no weight are far off.
        with np.errstate(all="ignore"):
            fitted, k = array_stats.psislw(-np.maximum(smooth, -700.0))
        if np.isfinite(k) and np.isfinite(fitted).all():
            smooth, k_hat = fitted, float(k)
    weights = np.exp(smooth - smooth.max())
    weights /= weights.sum()
    return Weights(weights, k_hat, float(1.0 / np.square(weights).sum()), log_mean)


def resampled(weights: Array, n: int, rng: np.random.Generator) -> tuple[Array, float]:
    """Choose n draws by their weights, as evenly as can be: each n w times, rounded up or down (systematic resampling).

    Returns
    -------
    chosen : ndarray of int, shape (n,)
        In random order.
    noise : float
        By what factor rounding enlarges the variance of a mean.

    Examples
    --------
    >>> chosen, noise = resampled(np.array([0.5, 0.25, 0.25]), 4, np.random.default_rng(1))
    >>> sorted(chosen.tolist()), noise
    ([0, 0, 1, 2], 1.0)
    """
    order = rng.permutation(len(weights))
    edges = np.cumsum(weights[order])
    chosen = order[np.searchsorted(edges / edges[-1], (np.arange(n) + rng.random()) / n)]
    part = (n * weights) % 1.0
    noise = 1.0 + float((part * (1.0 - part)).sum() / n**2 / np.square(weights).sum())
    return rng.permutation(chosen), noise


def effective_draws(draws: Array, weights: Array, noise: float) -> tuple[Array, Array]:
    """Effective sample sizes of means and of 5 % and 95 % quantiles (the smaller) of resampled draws.

    The variance of a weighted mean is Σ w² (x − mean)² over the draws before resampling (Owen, 2013, eq. 9.9), which
    is the mean of w (x − mean)² over those after it; that of a quantile is that of the indicator of lying below it.

    Parameters
    ----------
    draws : ndarray, shape (n, quantity)
        After resampling.
    weights : ndarray, shape (n,)
        Of each, its weight before resampling.
    noise : float
        From :func:`resampled`.

    Returns
    -------
    bulk, tail : ndarray, shape (quantity,)

    Examples
    --------
    >>> x = np.random.default_rng(1).standard_normal((1000, 1))
    >>> [values.round().tolist() for values in effective_draws(x, np.full(1000, 1e-3), 1.0)]
    [[1000.0], [1000.0]]
    """

    def sizes(x: Array) -> Array:
        squares = np.square(x - x.mean(axis=0))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(squares.mean(axis=0) / (noise * (weights[:, None] * squares).mean(axis=0)))

    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return sizes(draws), np.minimum(sizes((draws <= low).astype(float)), sizes((draws <= high).astype(float)))
