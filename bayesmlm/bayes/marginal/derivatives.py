"""First three derivatives of many rows' log-likelihoods, written so that a processor takes several rows at a time."""

from __future__ import annotations

import numpy as np
from numba import njit

from bayesmlm.bayes.rows import _exp
from bayesmlm.laplace.kernels import point

__all__ = ["row_derivatives"]


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _logit_rows(
    y: np.ndarray, trials: np.ndarray, eta: np.ndarray, score: np.ndarray, weight: np.ndarray, slope: np.ndarray
) -> None:
    for i in range(len(eta)):
        h = eta[i]
        e = _exp(max(-abs(h), -708.0))
        q = 1.0 / (1.0 + e)
        p = q if h >= 0.0 else e * q
        w = trials[i] * e * q * q
        score[i], weight[i], slope[i] = y[i] - trials[i] * p, w, w * (1.0 - 2.0 * p)


@njit(cache=True, nogil=True, error_model="numpy")
def row_derivatives(
    link: int,
    precision: float,
    y: np.ndarray,
    trials: np.ndarray,
    eta: np.ndarray,
    score: np.ndarray,
    weight: np.ndarray,
    slope: np.ndarray,
) -> None:
    """Write every row's score, weight w (minus the second derivative, no less than 0) and w′.

    Parameters
    ----------
    link : int
        As :func:`bayesmlm.bayes.rows.row_scores` has it.
    precision : float
        σ⁻² of a Gaussian model.
    y, trials, eta, score, weight, slope : ndarray, shape (n,)

    Examples
    --------
    >>> out = np.empty((3, 1))
    >>> row_derivatives(0, 1.0, np.ones(1), np.ones(1), np.zeros(1), *out)
    >>> out.ravel().tolist()
    [0.5, 0.25, 0.0]
    """
    if link == 0:
        _logit_rows(y, trials, eta, score, weight, slope)
        return
    for i in range(len(eta)):
        if link == 4:
            weight[i], slope[i] = trials[i] * precision, 0.0
            score[i] = weight[i] * (y[i] - eta[i])
        else:
            _, score[i], weight[i], slope[i] = point(link, y[i], trials[i], eta[i])
            weight[i] = max(weight[i], 0.0)
