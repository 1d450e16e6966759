"""The fused log-density and gradient of the compiled PyMC model, for random-effect terms of one column each.

Unconstrained coordinates, in the order of the ``pm.Model``'s free variables: the p internal coefficients (centred
intercept and scaled slopes), then per term log sd and the standardised effects z.  With η = o + Xβ + Σ sd z[group] c,

    log p = Σ log prior(β) + Σ_t [log prior(sd_t) + log sd_t − ½ |z_t|²] + Σ ℓ(η),

the term log sd being the log-Jacobian of sd = exp(·).  All constants of PyMC's own log-density are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.design import Design
from bayesmlm.laplace.kernels import log_constant, point
from bayesmlm.priors import Prior

__all__ = ["Kernel", "build_kernel", "kernel_serves"]

Array = np.ndarray[Any, Any]

_KINDS = {
    "normal": 0, "student_t": 1, "cauchy": 2, "flat": 3, "half_normal": 0, "half_student_t": 1, "half_cauchy": 2,
    "exponential": 4, "gamma": 5,
}  # fmt: skip


def _prior_row(prior: Prior) -> tuple[float, float, float, float, float]:
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


@njit(cache=True, nogil=True, error_model="numpy")
def log_density(
    x: np.ndarray,
    gradient: np.ndarray,
    link: int,
    y: np.ndarray,
    trials: np.ndarray,
    X: np.ndarray,
    offset: np.ndarray,
    codes: np.ndarray,
    columns: np.ndarray,
    levels: np.ndarray,
    beta_priors: np.ndarray,
    sd_priors: np.ndarray,
) -> float:
    """Log-density at x without the likelihood's constant; its gradient is written into ``gradient``.

    Parameters
    ----------
    x, gradient : ndarray, shape (p + Σ (1 + levels),)
    X : ndarray, shape (n, p)
    codes : ndarray of int, shape (terms, n)
    columns : ndarray, shape (terms, n)
    levels : ndarray of int, shape (terms,)
    beta_priors, sd_priors : ndarray, shape (p, 5) and (terms, 5)
    """
    n, p = X.shape
    terms = len(levels)
    total = 0.0
    for j in range(p):
        lp, d = log_prior(beta_priors[j], x[j])
        total += lp
        gradient[j] = d
    starts = np.empty(terms, dtype=np.int64)
    sds = np.empty(terms)
    at = p
    for t in range(terms):
        starts[t] = at + 1
        sds[t] = math.exp(x[at])
        gradient[at] = 0.0
        for j in range(at + 1, at + 1 + levels[t]):
            total -= 0.5 * x[j] * x[j]
            gradient[j] = 0.0
        total -= 0.5 * levels[t] * math.log(2.0 * math.pi)
        at += 1 + levels[t]
    for i in range(n):
        eta = offset[i]
        for j in range(p):
            eta += X[i, j] * x[j]
        for t in range(terms):
            eta += sds[t] * columns[t, i] * x[starts[t] + codes[t, i]]
        ll, s, _, _ = point(link, y[i], trials[i], eta)
        total += ll
        for j in range(p):
            gradient[j] += X[i, j] * s
        for t in range(terms):
            gradient[starts[t] + codes[t, i]] += columns[t, i] * s
    for t in range(terms):
        along = 0.0
        for j in range(starts[t], starts[t] + levels[t]):
            along += x[j] * gradient[j]
            gradient[j] = sds[t] * gradient[j] - x[j]
        lp, d = log_prior(sd_priors[t], sds[t])
        total += lp + x[starts[t] - 1]
        gradient[starts[t] - 1] = sds[t] * (along + d) + 1.0
    return total


@dataclass(frozen=True, slots=True)
class Kernel:
    """A design's posterior as a function of unconstrained coordinates.

    Attributes
    ----------
    arguments : tuple
        What :func:`log_density` takes after x and gradient.
    constant : float
        The likelihood's constant, added so that values equal the ``pm.Model``'s.
    p, size : int
        Fixed effects, and coordinates in all.
    levels : tuple of int
        Groups of each term.
    """

    arguments: tuple[Any, ...]
    constant: float
    p: int
    size: int
    levels: tuple[int, ...]

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log-density and gradient at x, shape (size,)."""
        gradient = np.empty(self.size)
        return log_density(x, gradient, *self.arguments) + self.constant, gradient


def kernel_serves(design: Design) -> bool:
    """Whether the fused kernel can express the design (terms of one column; correlated slopes go through PyMC)."""
    return all(len(group.terms) == 1 for group in design.groups)


def build_kernel(design: Design) -> Kernel:
    """Bind the kernel to a design.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> kernel = build_kernel(build_design(Spec("use ~ age + (1 | district)"), load_dataset("contraception")))
    >>> value, gradient = kernel(np.zeros(kernel.size))
    >>> gradient.shape
    (63,)
    """
    response, scaling = design.response, design.scaling
    multiplier = design.weights * design.freq
    poisson = design.family.name == "poisson"
    # PyMC's density of a weighted row is the row's density times its weight.
    constant = log_constant(poisson, response.y, response.trials, np.ones_like(multiplier), multiplier)
    n, terms = len(response.y), len(design.groups)
    fixed = [prior.scaled(s) for prior, s in zip(design.priors.fixed, scaling.scales, strict=True)]
    levels = tuple(group.n_levels for group in design.groups)
    return Kernel(
        arguments=(
            design.family.link.code,
            response.y * multiplier,
            (np.ones(n) if poisson else response.trials) * multiplier,
            scaling.apply(design.X),
            design.offset,
            np.array([group.codes for group in design.groups], dtype=np.int64).reshape(terms, n),
            np.array([group.z[:, 0] for group in design.groups], dtype=float).reshape(terms, n),
            np.array(levels, dtype=np.int64),
            np.array([_prior_row(prior) for prior in fixed]).reshape(-1, 5),
            np.array([_prior_row(sds[0]) for sds in design.priors.sd]).reshape(-1, 5),
        ),
        constant=constant,
        p=len(design.terms),
        size=len(design.terms) + terms + sum(levels),
        levels=levels,
    )
