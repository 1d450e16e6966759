"""Averages over groups under many draws: where a draw has one variance for all rows, one curve serves them all."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesmlm.families import Link
from bayesmlm.prediction import averaged_mean

__all__ = ["averaged_under"]

Array = np.ndarray[Any, Any]

_POINTS = 25
"""Points of the average over groups, at least: exact to 1e-10 (see ``averaged_mean``)."""

_STEP = 0.05
"""Between the knots of a curve: its error, step⁴ f⁗ / 384, is below 1e-7, far below that of any number of draws."""


def averaged_under(eta: Array, variance: Array, link: Link) -> Array:
    """E[g⁻¹(η + √v ε)] for many draws and rows, shape (s, m).

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
    low, high = float(eta.min()), float(eta.max())
    knots = int((high - low) / _STEP) + 2
    # The log link's average is known, and a curve pays where there are more rows than knots.
    if link.name == "log" or eta.shape[1] < 2 * knots or np.ptp(variance, axis=1).any():
        return averaged_mean(eta, variance, link, _POINTS)[0]
    at = np.broadcast_to(low + _STEP * np.arange(knots), (len(eta), knots))
    value, slope, _ = averaged_mean(at, np.broadcast_to(variance[:, :1], at.shape), link, _POINTS)
    return _hermite(value, _STEP * slope, (eta - low) / _STEP)


def _hermite(value: Array, slope: Array, at: Array) -> Array:
    """Cubics through values and slopes at the knots 0, 1, …, a curve per row."""
    k = np.minimum(at.astype(np.int64), value.shape[1] - 2)
    t = at - k
    here, there, rise, fall = (
        np.take_along_axis(of, k + step, axis=1) for of, step in ((value, 0), (value, 1), (slope, 0), (slope, 1))
    )
    u = 1.0 - t
    return u * u * ((1.0 + 2.0 * t) * here + t * rise) + t * t * ((1.0 + 2.0 * u) * there - u * fall)
