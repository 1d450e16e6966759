"""Cleveland's local regression."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["lowess"]

Array = np.ndarray[Any, Any]


def lowess(x: Array, y: Array, at: Array, span: float = 2.0 / 3.0, weights: Array | None = None) -> Array:
    """Smooth y over x by local linear regression with tricube weights.

    Without the robustness iterations, which would take the rarer of two outcomes for outliers.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    at : ndarray, shape (m,)
        Where to evaluate.
    span : float
        Share of the points in each local regression.
    weights : ndarray, shape (n,), optional
        How much each point counts beside its distance, such as its trials.

    Returns
    -------
    ndarray, shape (m,)

    References
    ----------
    W. S. Cleveland (1979), Robust locally weighted regression and smoothing scatterplots, Journal of the American
    Statistical Association 74, 829-836, section 2.

    Examples
    --------
    >>> x = np.linspace(0.0, 1.0, 50)
    >>> lowess(x, 1.0 + 2.0 * x, np.array([0.25, 0.5])).round(6).tolist()
    [1.5, 2.0]
    """
    neighbours = int(np.clip(int(span * len(x) + 1e-7), min(2, len(x)), len(x)))
    out = np.empty(len(at))
    for i, centre in enumerate(at):
        distance = np.abs(x - centre)
        reach = np.partition(distance, neighbours - 1)[neighbours - 1]
        weight = _tricube(distance / reach) if reach > 0 else np.zeros(len(x))
        if not weight.any():  # ties fill the neighbourhood, or all of it lies on its edge: equal weights
            weight = (distance <= reach).astype(float)
        weight = weight if weights is None else weight * weights
        weight /= weight.sum()
        mean_x, mean_y = weight @ x, weight @ y
        spread = weight @ (x - mean_x) ** 2
        slope = weight @ ((x - mean_x) * (y - mean_y)) / spread if spread > 1e-12 * reach**2 else 0.0
        out[i] = mean_y + slope * (centre - mean_x)
    return out


def _tricube(u: Array) -> Array:
    # Products: numpy's power takes ten times as long.
    part = np.maximum(1.0 - u * u * u, 0.0)
    return part * part * part
