"""One row's log-density with its first three derivatives in the linear predictor, compiled.

Counts y and trials n are per row; weights and frequencies are multiplied into both.  Constants that do not
depend on the linear predictor are left to :func:`log_constant`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.laplace.preload import INNER, announce

__all__ = [
    "expected",
    "log_constant",
    "point",
    "point_product",
    "pointwise",
    "row_constants",
    "rows",
    "score_information",
]

announce()

LOGIT, PROBIT, CLOGLOG, LOG = 0, 1, 2, 3
"""Codes of the links, as in ``families.py``."""

_SQRT_HALF = math.sqrt(0.5)
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


@njit(**INNER)
def _log_ndtr(x: float) -> float:
    """Log of the normal distribution function, by its asymptotic series where erfc would underflow."""
    if x > -35.0:
        return math.log(0.5 * math.erfc(-x * _SQRT_HALF))
    r = 1.0 / (x * x)
    series = 1.0 - r * (1.0 - 3.0 * r * (1.0 - 5.0 * r * (1.0 - 7.0 * r * (1.0 - 9.0 * r))))
    return -0.5 * x * x - _LOG_SQRT_2PI - math.log(-x) + math.log(series)


@njit(**INNER)
def point(link: int, y: float, n: float, eta: float) -> tuple[float, float, float, float]:
    """Log-density of one row and its derivatives in the linear predictor.

    Parameters
    ----------
    link : int
        0 logit, 1 probit, 2 complementary log-log, 3 log (Poisson).
    y, n : float
        Successes and trials (Poisson: weighted count and weight).
    eta : float

    Returns
    -------
    loglik, score, information, slope : float
        ℓ, ℓ′, −ℓ″ and −ℓ‴ : the observed information and its derivative.
    """
    if link == 0:
        if eta >= 0.0:
            e = math.exp(-eta)
            p = 1.0 / (1.0 + e)
            ll = y * eta - n * (eta + math.log1p(e))
        else:
            e = math.exp(eta)
            p = e / (1.0 + e)
            ll = y * eta - n * math.log1p(e)
        w = n * p * (1.0 - p)
        return ll, y - n * p, w, w * (1.0 - 2.0 * p)
    if link == 3:
        mu = n * math.exp(eta)
        return y * eta - mu, y - mu, mu, mu
    m = n - y
    if link == 1:
        log_phi = -0.5 * eta * eta - _LOG_SQRT_2PI
        log_p, log_q = _log_ndtr(eta), _log_ndtr(-eta)
        a, b = math.exp(log_phi - log_p), math.exp(log_phi - log_q)
        ea, eb = eta + a, b - eta
        return (
            y * log_p + m * log_q,
            y * a - m * b,
            y * a * ea + m * b * eb,
            y * a * (1.0 - ea * ea - a * ea) + m * b * (eb * eb + b * eb - 1.0),
        )
    if eta > 6.6:
        # The event is certain to double precision (t > 700): only failures speak.
        t = math.exp(min(eta, 690.0))
        return -m * t, -m * t, m * t, m * t
    t = math.exp(eta)
    if t < 1e-8:
        r, log_p = 1.0 - 0.5 * t, eta - 0.5 * t
    else:
        log_p = math.log(-math.expm1(-t))
        r = t / math.expm1(t)
    k = 1.0 - t - r
    return y * log_p - m * t, y * r - m * t, m * t - y * r * k, m * t - y * r * (k * k - t - r * k)


@njit(**INNER)
def point_product(
    link: int, y: float, n: float, eta: float, product: float
) -> tuple[float, float, float, float, float]:
    """:func:`point` for a sum over rows: −log of the last value is owed to the log-density.

    A single logistic answer costs one logarithm, Σ log (1 + e) = log Π (1 + e), so rows share one: factors of at most
    2 are multiplied up and settled before they overflow.  The caller ends with ``− log(product)``.
    """
    if link != 0 or n != 1.0:
        ll, s, w, dw = point(link, y, n, eta)
        return ll, s, w, dw, product
    e = math.exp(-abs(eta))
    q = 1.0 / (1.0 + e)
    p = q if eta >= 0.0 else e * q
    ll = y * eta - (eta if eta >= 0.0 else 0.0)
    w = e * q * q
    product *= 1.0 + e
    if product > 1e280:
        ll -= math.log(product)
        product = 1.0
    return ll, y - p, w, w * (1.0 - 2.0 * p), product


@njit(cache=True, error_model="numpy")
def score_information(link: int, y: float, n: float, eta: float) -> tuple[float, float]:
    """Score and observed information alone: what a Newton step needs, at a third of the cost."""
    if link == 0:
        p = 1.0 / (1.0 + math.exp(-eta)) if eta > -700.0 else 0.0
        return y - n * p, n * p * (1.0 - p)
    _, s, w, _ = point(link, y, n, eta)
    return s, w


@njit(cache=True, error_model="numpy")
def expected(link: int, n: float, eta: float) -> tuple[float, float]:
    """Expected information n μ′² / (μ (1 − μ)) of one row and its derivative in η.

    For canonical links it is the observed information.
    """
    if link == 1:
        # The product of both hazards a = φ/Φ(η) and b = φ/Φ(−η), with a′ = −a (η + a) and b′ = b (b − η).
        log_phi = -0.5 * eta * eta - _LOG_SQRT_2PI
        a, b = math.exp(log_phi - _log_ndtr(eta)), math.exp(log_phi - _log_ndtr(-eta))
        return n * a * b, n * a * b * (b - a - 2.0 * eta)
    if link == 2:
        # t² / (eᵗ − 1) with t = e^η, a factor t at a time so that nothing overflows.
        if eta > 6.6:
            return 0.0, 0.0
        t = math.exp(eta)
        r = t / math.expm1(t) if t > 1e-300 else 1.0
        return n * t * r, n * t * r * (2.0 - t - r)
    _, _, w, dw = point(link, 0.0, n, eta)
    return w, dw


@njit(cache=True, error_model="numpy")
def rows(link: int, y: np.ndarray, n: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """:func:`point` for many rows, shape (4, n)."""
    out = np.empty((4, len(y)))
    for i in range(len(y)):
        out[0, i], out[1, i], out[2, i], out[3, i] = point(link, y[i], n[i], eta[i])
    return out


@njit(cache=True, nogil=True)
def pointwise(link: int, y: np.ndarray, n: np.ndarray, eta: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Log-density of every row (n,) under every draw of the linear predictor (draws, n)."""
    out = np.empty_like(eta)
    for d in range(len(eta)):
        for i in range(len(y)):
            out[d, i] = constant[i] + point(link, y[i], n[i], eta[d, i])[0]
    return out


def row_constants(poisson: bool, y: Any, trials: Any, weights: Any) -> Any:
    """What :func:`log_constant` sums, row by row, frequencies aside, shape (n,)."""
    from scipy.special import gammaln

    if poisson:
        return -weights * gammaln(y + 1.0)
    return weights * (gammaln(trials + 1.0) - gammaln(y + 1.0) - gammaln(trials - y + 1.0))


def log_constant(poisson: bool, y: Any, trials: Any, weights: Any, freq: Any) -> float:
    """Sum of the terms of the log-likelihood that no parameter enters; kept in every log-likelihood.

    Binomial: Σ f w log C(n, y), prior weights multiplying log-densities as in R.  Poisson: −Σ f w log y!.

    Examples
    --------
    >>> one = np.ones(1)
    >>> round(log_constant(False, 2 * one, 3 * one, one, one), 6) == round(math.log(3), 6)
    True
    """
    if not poisson and np.all(trials == 1.0):
        return 0.0
    return float(np.sum(freq * row_constants(poisson, y, trials, weights)))
