"""Log-densities of priors with their derivatives, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesmlm.priors import Prior

__all__ = ["lkj_constant", "log_prior", "prior_row"]

_KINDS = {
    "normal": 0, "student_t": 1, "cauchy": 2, "flat": 3, "half_normal": 0, "half_student_t": 1, "half_cauchy": 2,
    "exponential": 4, "gamma": 5,
}  # fmt: skip


def prior_row(prior: Prior) -> tuple[float, float, float, float, float]:
    """(kind, a, b, c, log constant): what :func:`log_prior` needs of a prior."""
    lgamma = math.lgamma
    kind = float(_KINDS[prior.distribution])
    half = math.log(2.0) if prior.distribution.startswith("half") else 0.0
    match prior.distribution:
        case "normal":
            return kind, 0.0, prior["mean"], prior["sd"], -math.log(prior["sd"]) - 0.5 * math.log(2 * math.pi)
        case "half_normal":
            return kind, 0.0, 0.0, prior["sd"], half - math.log(prior["sd"]) - 0.5 * math.log(2 * math.pi)
        case "student_t" | "half_student_t":
            df, scale = prior["df"], prior["scale"]
            mean = prior["mean"] if prior.distribution == "student_t" else 0.0
            norm = lgamma((df + 1) / 2) - lgamma(df / 2) - 0.5 * math.log(df * math.pi) - math.log(scale)
            return kind, df, mean, scale, half + norm
        case "cauchy" | "half_cauchy":
            place = prior["location"] if prior.distribution == "cauchy" else 0.0
            return kind, 1.0, place, prior["scale"], half - math.log(math.pi * prior["scale"])
        case "exponential":
            return kind, prior["rate"], 0.0, 1.0, math.log(prior["rate"])
        case "gamma":
            shape, rate = prior["shape"], prior["rate"]
            return kind, shape, rate, 1.0, shape * math.log(rate) - lgamma(shape)
    return kind, 0.0, 0.0, 1.0, 0.0


@njit(cache=True, inline="always")
def log_prior(row: np.ndarray, x: float) -> tuple[float, float]:
    """Log-density of a prior and its derivative at x."""
    kind, a, b, c, constant = row[0], row[1], row[2], row[3], row[4]
    if kind == 0:
        r = (x - b) / c
        return constant - 0.5 * r * r, -r / c
    if kind == 1 or kind == 2:
        r = (x - b) / c
        return constant - 0.5 * (a + 1.0) * math.log1p(r * r / a), -(a + 1.0) * r / (c * (a + r * r))
    if kind == 4:
        return constant - a * x, -a
    if kind == 5:
        return constant + (a - 1.0) * math.log(x) - b * x, (a - 1.0) / x - b
    return 0.0, 0.0


def lkj_constant(eta: float, k: int) -> float:
    """Log of the LKJ density's constant, of k × k correlation matrices (Lewandowski, Kurowicka & Joe, 2009, eq. 16).

    Examples
    --------
    >>> round(lkj_constant(1.0, 2), 6) == round(-math.log(2.0), 6)
    True
    """
    lgamma = math.lgamma
    return sum(
        lgamma(eta + 0.5 * (k - 1)) - lgamma(eta + 0.5 * (k - 1 - i)) - 0.5 * i * math.log(math.pi) for i in range(1, k)
    )
