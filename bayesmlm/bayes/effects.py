"""A random-effect term's prior, compiled: standard deviations, correlations and the effects of its groups.

With sd = exp(·), rows of L as :mod:`bayesmlm.bayes.coordinates` has them and Λ = diag(sd) L, the effects of a group are
u = Λ z with z ~ N(0, I), or u ~ N(0, ΛΛ') themselves where the term is centred.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from bayesmlm.bayes.densities import log_prior

__all__ = [
    "CENTERED",
    "COLUMNS",
    "COR",
    "EFFECTS",
    "LEVELS",
    "PLAIN",
    "SD",
    "effects_prior",
    "factor_at",
    "of_factor",
    "pull_back",
]

COLUMNS, LEVELS, SD, COR, EFFECTS, CENTERED, PLAIN = range(7)
"""What a row of a kernel's layout holds of a term: its size, its places, whether its effects are coordinates
themselves, and whether it is a random intercept."""


@njit(cache=True, error_model="numpy")
def factor_at(x: np.ndarray, sd: int, cor: int, places: np.ndarray, lam: np.ndarray) -> None:
    """Write Λ (k, k), of the coordinates at ``sd`` and ``cor``."""
    place = 0
    for i in range(len(lam)):
        squares = 1.0
        for j in range(i):
            lam[i, j] = x[cor + places[place + j]]
            squares += lam[i, j] * lam[i, j]
        lam[i, i] = math.exp(x[sd + i]) / math.sqrt(squares)
        for j in range(i):
            lam[i, j] *= lam[i, i]
        place += i


@njit(cache=True, error_model="numpy")
def of_factor(lam: np.ndarray, of_lam: np.ndarray, sd: int, cor: int, places: np.ndarray, gradient: np.ndarray) -> None:
    """Add to the gradient in the coordinates of Λ what passes through it."""
    place = 0
    for i in range(len(lam)):
        # Λ_ij = sd_i a_ij / length and Λ_ii = sd_i / length.
        along, variance = 0.0, 0.0
        for j in range(i + 1):
            along += lam[i, j] * of_lam[i, j]
            variance += lam[i, j] * lam[i, j]
        gradient[sd + i] += along
        for j in range(i):
            gradient[cor + places[place + j]] += lam[i, i] * (of_lam[i, j] - lam[i, j] * along / variance)
        place += i


@njit(cache=True, error_model="numpy")
def effects_prior(
    x: np.ndarray,
    gradient: np.ndarray,
    effects: np.ndarray,
    lam: np.ndarray,
    layout: np.ndarray,
    places: np.ndarray,
    sd_priors: np.ndarray,
    eta: float,
) -> float:
    """Log-prior of a term; its Λ and its effects u are written.

    Parameters
    ----------
    x, gradient : ndarray, shape (size,)
        All coordinates; the gradient's places of standard deviations and correlations receive their own priors' part.
    effects : ndarray, shape (levels · k,)
    lam : ndarray, shape (k, k)
    layout : ndarray of int, shape (7,)
    places : ndarray of int, shape (k (k − 1) / 2,)
        Of the correlations' coordinates, from the first.
    sd_priors : ndarray, shape (k, 5)
    eta : float
        Of the LKJ density, whose constant is left out.
    """
    k, levels, sd, cor, at = layout[COLUMNS], layout[LEVELS], layout[SD], layout[COR], layout[EFFECTS]
    total = -0.5 * levels * k * math.log(2.0 * math.pi)
    # The LKJ density and the Jacobian of normalising a row are one power of the row's length.
    power = 2.0 * eta + k - 1.0
    factor_at(x, sd, cor, places, lam)
    place = 0
    for i in range(k):
        scale = math.exp(x[sd + i])
        lp, d = log_prior(sd_priors[i], scale)
        total += lp + x[sd + i]
        gradient[sd + i] = scale * d + 1.0
        length = scale / lam[i, i]
        if i > 0:
            total -= power * math.log(length)
        for j in range(i):
            to = cor + places[place + j]
            gradient[to] = -power * x[to] / (length * length)
        place += i
    if layout[CENTERED]:
        w = np.empty(k)
        for i in range(k):
            total -= levels * math.log(lam[i, i])
        for g in range(at, at + levels * k, k):
            for i in range(k):
                v = x[g + i]
                effects[g - at + i] = v
                for j in range(i):
                    v -= lam[i, j] * w[j]
                w[i] = v / lam[i, i]
                total -= 0.5 * w[i] * w[i]
        return total
    for g in range(at, at + levels * k, k):
        for i in range(k):
            u = 0.0
            for j in range(i + 1):
                u += lam[i, j] * x[g + j]
            effects[g - at + i] = u
            total -= 0.5 * x[g + i] * x[g + i]
    return total


@njit(cache=True, error_model="numpy")
def pull_back(
    x: np.ndarray,
    gradient: np.ndarray,
    of_effects: np.ndarray,
    lam: np.ndarray,
    layout: np.ndarray,
    places: np.ndarray,
) -> None:
    """Gradient in a term's coordinates from the likelihood's in its effects u, the effects' own prior included.

    Parameters
    ----------
    of_effects : ndarray, shape (levels · k,)
    x, gradient, lam, layout, places
        As :func:`effects_prior` has them; what it wrote into the gradient is added to.
    """
    k, levels, sd, cor, at = layout[COLUMNS], layout[LEVELS], layout[SD], layout[COR], layout[EFFECTS]
    of_lam = np.zeros((k, k))
    if layout[CENTERED]:
        # With w = Λ⁻¹u and v = Λ⁻ᵀw, −½ |w|² has the gradients −v in u and v w' in Λ.
        w, v = np.empty(k), np.empty(k)
        for g in range(at, at + levels * k, k):
            for i in range(k):
                r = x[g + i]
                for j in range(i):
                    r -= lam[i, j] * w[j]
                w[i] = r / lam[i, i]
            for i in range(k - 1, -1, -1):
                r = w[i]
                for j in range(i + 1, k):
                    r -= lam[j, i] * v[j]
                v[i] = r / lam[i, i]
                gradient[g + i] = of_effects[g - at + i] - v[i]
                for j in range(i + 1):
                    of_lam[i, j] += v[i] * w[j]
        for i in range(k):
            of_lam[i, i] -= levels / lam[i, i]
    else:
        for g in range(at, at + levels * k, k):
            for j in range(k):
                d = -x[g + j]
                for i in range(j, k):
                    d += lam[i, j] * of_effects[g - at + i]
                    of_lam[i, j] += of_effects[g - at + i] * x[g + j]
                gradient[g + j] = d
    of_factor(lam, of_lam, sd, cor, places, gradient)
