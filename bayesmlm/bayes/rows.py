"""Log-likelihood of many rows and its score in their linear predictors, written so that a processor takes several rows
at a time.

The exponential and log(1 + e) are polynomials without branches, good to two units in the last place: a call to the C
library's functions for every row would take four times as long.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesmlm.laplace.kernels import point
from bayesmlm.laplace.preload import INNER

__all__ = ["row_scores"]

_LOG2_E = 1.0 / math.log(2.0)
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
"""log 2 in two parts, the first with trailing zeros, so that a whole number times it is exact (Cody & Waite, 1980)."""
_ROUND = 6755399441055744.0
"""1.5 · 2⁵²: added to a number, leaves it rounded in the last bits."""
_F2, _F3, _F4, _F5, _F6, _F7, _F8, _F9, _F10, _F11, _F12, _F13 = (1.0 / math.factorial(k) for k in range(2, 14))


@njit(**INNER)
def _exp(x: float) -> float:
    """e to the x for |x| ≤ 708: 2 to the whole part of x / log 2, times Taylor's series of the rest."""
    shifted = x * _LOG2_E + _ROUND
    whole = shifted - _ROUND
    f = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    p = _F13 * f + _F12
    p = p * f + _F11
    p = p * f + _F10
    p = p * f + _F9
    p = p * f + _F8
    p = p * f + _F7
    p = p * f + _F6
    p = p * f + _F5
    p = p * f + _F4
    p = p * f + _F3
    p = p * f + _F2
    p = p * f + 1.0
    p = p * f + 1.0
    exponent = (np.float64(shifted).view(np.int64) + 1023) << 52
    return p * np.int64(exponent).view(np.float64)


@njit(**INNER)
def _log1p_unit(e: float) -> float:
    """log(1 + e) for 0 ≤ e ≤ 1: 2 artanh(e / (2 + e)), whose series in at most 1/9 ends at its 17th term."""
    u = e / (2.0 + e)
    v = u * u
    s = v * (1.0 / 33.0) + 1.0 / 31.0
    s = s * v + 1.0 / 29.0
    s = s * v + 1.0 / 27.0
    s = s * v + 1.0 / 25.0
    s = s * v + 1.0 / 23.0
    s = s * v + 1.0 / 21.0
    s = s * v + 1.0 / 19.0
    s = s * v + 1.0 / 17.0
    s = s * v + 1.0 / 15.0
    s = s * v + 1.0 / 13.0
    s = s * v + 1.0 / 11.0
    s = s * v + 1.0 / 9.0
    s = s * v + 1.0 / 7.0
    s = s * v + 1.0 / 5.0
    s = s * v + 1.0 / 3.0
    s = s * v + 1.0
    return 2.0 * u * s


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _logit_rows(y: np.ndarray, trials: np.ndarray, eta: np.ndarray, score: np.ndarray) -> None:
    for i in range(len(eta)):
        h = eta[i]
        e = _exp(max(-abs(h), -708.0))
        q = 1.0 / (1.0 + e)
        p = q if h >= 0.0 else e * q
        score[i] = y[i] - trials[i] * p
        eta[i] = y[i] * h - trials[i] * (max(h, 0.0) + _log1p_unit(e))


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _log_rows(y: np.ndarray, weights: np.ndarray, eta: np.ndarray, score: np.ndarray) -> None:
    for i in range(len(eta)):
        h = eta[i]
        mean = weights[i] * _exp(min(max(h, -708.0), 708.0))
        score[i] = y[i] - mean
        eta[i] = y[i] * h - mean


@njit(cache=True, error_model="numpy")
def _other_rows(link: int, y: np.ndarray, trials: np.ndarray, eta: np.ndarray, score: np.ndarray) -> None:
    for i in range(len(eta)):
        eta[i], score[i], _, _ = point(link, y[i], trials[i], eta[i])


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _identity_rows(y: np.ndarray, weights: np.ndarray, eta: np.ndarray, score: np.ndarray) -> None:
    for i in range(len(eta)):
        r = y[i] - eta[i]
        score[i] = weights[i] * r
        eta[i] = -0.5 * weights[i] * r * r


@njit(cache=True, nogil=True, error_model="numpy")
def row_scores(link: int, y: np.ndarray, trials: np.ndarray, eta: np.ndarray, score: np.ndarray) -> None:
    """Overwrite every row's linear predictor by its log-likelihood, and write its score beside it.

    Parameters
    ----------
    link : int
        0 logit, 1 probit, 2 complementary log-log, 3 log (Poisson), 4 identity (Gaussian of residual variance 1).
    y, trials : ndarray, shape (n,)
        Successes and trials, counts and their weights, or (Gaussian) responses and their weights.
    eta, score : ndarray, shape (n,)
        Linear predictors in, log-likelihoods out without what no parameter enters; and their derivatives.

    Examples
    --------
    >>> eta, score = np.array([0.0, 800.0]), np.empty(2)
    >>> row_scores(0, np.array([1.0, 1.0]), np.ones(2), eta, score)
    >>> eta.round(4).tolist(), score.tolist()
    ([-0.6931, 0.0], [0.5, 0.0])
    """
    if link == 0:
        _logit_rows(y, trials, eta, score)
    elif link == 3:
        _log_rows(y, trials, eta, score)
    elif link == 4:
        _identity_rows(y, trials, eta, score)
    else:
        _other_rows(link, y, trials, eta, score)
