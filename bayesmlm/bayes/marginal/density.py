"""Densities of one number from values of their logarithm, which can be drawn from and evaluated exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Density", "density_through"]

Array = np.ndarray[Any, Any]

_FINE = 12
"""Points to a step between two values."""
_LEAST_SLOPE = 0.5
"""Of the logarithm in the tails, which are exponential."""
_FLAT = 1e-9
"""A slope below which a piece is taken as uniform."""


@dataclass(frozen=True, slots=True)
class Density:
    """A density whose logarithm is linear between points and beyond the first and the last.

    Attributes
    ----------
    points, log_values : ndarray, shape (m,)
    slopes : ndarray, shape (m + 1,)
        Of the logarithm: in the left tail, between the points, in the right tail.
    cumulated : ndarray, shape (m + 2,)
        Probability left of each piece: 0 first, 1 last.
    """

    points: Array
    log_values: Array
    slopes: Array
    cumulated: Array

    def log_density(self, t: Array) -> Array:
        """At t, any shape."""
        piece = np.searchsorted(self.points, t)
        at = np.maximum(piece - 1, 0)
        return np.asarray(self.log_values[at] + self.slopes[piece] * (t - self.points[at]))

    def quantile(self, probability: Array) -> Array:
        """Quantiles, any shape.

        In a piece of slope s that begins at a, the probability left of t grows by e^l(a) (e^(s (t − a)) − 1) / s; left
        of t in the left tail it is e^l(t) / s.
        """
        c = self.cumulated
        piece = np.clip(np.searchsorted(c, probability, side="right") - 1, 0, len(self.slopes) - 1)
        at = np.maximum(piece - 1, 0)
        s, height = self.slopes[piece], np.exp(self.log_values[at])
        flat, more = np.abs(s) < _FLAT, (probability - c[piece]) / height
        s = np.where(flat, 1.0, s)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(flat, more, np.log1p(s * more) / s)
            tail = np.log(probability * s / height) / s
        return np.asarray(self.points[at] + np.where(piece == 0, tail, inside))


def density_through(t: Array, log_values: Array) -> Density:
    """A density whose logarithm, up to a constant, goes smoothly through values at evenly spaced places t.

    Examples
    --------
    >>> t = np.arange(-6.0, 7.0)
    >>> normal = density_through(t, -0.5 * t**2)
    >>> normal.quantile(np.array([0.025, 0.5, 0.975])).round(2).tolist()
    [-1.96, 0.0, 1.96]
    """
    from scipy.interpolate import CubicSpline

    points = np.linspace(t[0], t[-1], _FINE * (len(t) - 1) + 1)
    values = CubicSpline(t, log_values - log_values.max())(points)
    inner = np.diff(values) / np.diff(points)
    slopes = np.array([max(inner[0], _LEAST_SLOPE), *inner, min(inner[-1], -_LEAST_SLOPE)])
    height = np.exp(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(np.abs(inner) < _FLAT, height[:-1] * np.diff(points), np.diff(height) / inner)
    masses = np.array([height[0] / slopes[0], *between, -height[-1] / slopes[-1]])
    total = masses.sum()
    return Density(points, values - np.log(total), slopes, np.concatenate([[0.0], np.cumsum(masses) / total]))
