"""Standardised candidates for the effects of a group: one at random, or a quadrature rule moved at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Candidates", "candidates"]

Array = np.ndarray[Any, Any]

_SCALE = 1.2
"""Of the logistic density of quadrature nodes, where that of a group's effects is 1."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Standardised candidates for the effects of every group.

    Attributes
    ----------
    z : ndarray, shape (draws, nodes, groups, k)
    log_density : ndarray, shape (draws, nodes, groups)
        Of each, times (2π)^(k/2).
    uniform : ndarray, shape (draws, groups)
        Choose among them.
    """

    z: Array
    log_density: Array
    uniform: Array


def candidates(rng: np.random.Generator, draws: int, nodes: int, groups: int, k: int) -> Candidates:
    """Draw candidates: one is standard normal; several are a quadrature rule, moved at random.

    Those of a group are the logistic quantiles of a lattice in the unit cube (Sloan & Joe, 1994), moved by one random
    vector.  The logistic density has the wider tails, so that what is integrated over the cube vanishes, with all its
    derivatives, where the cube ends: the rule then converges faster than any power of the number of nodes.

    Examples
    --------
    >>> eight = candidates(np.random.default_rng(1), 1000, 8, 1, 1)
    >>> ratios = np.exp(-0.5 * eight.z[..., 0] ** 2 - eight.log_density).mean(axis=1)
    >>> ratios.mean().round(3), ratios.std() < 0.005
    (np.float64(1.0), np.True_)
    """
    if nodes == 1:
        z = rng.standard_normal((draws, 1, groups, k))
        return Candidates(z, -0.5 * np.square(z).sum(axis=3), np.zeros((draws, groups)))
    # Powers of the number above 1 with r^k = r + 1 fill the cube evenly (Roberts, 2018), here in multiples of 1 / N.
    root = 1.0
    for _ in range(50):
        root = (1.0 + root) ** (1.0 / max(k, 1))
    steps = np.array([1.0, *np.round(nodes * root ** -np.arange(1.0, k))])[:k] / nodes
    p = (rng.random((draws, 1, groups, k)) + np.arange(nodes)[:, None, None] * steps) % 1.0
    p = np.clip(p, 1e-15, 1.0 - 1e-15)
    log_p, log_rest = np.log(p), np.log1p(-p)
    log_density = (log_p + log_rest).sum(axis=3) + k * (0.5 * math.log(2.0 * math.pi) - math.log(_SCALE))
    return Candidates(_SCALE * (log_p - log_rest), log_density, rng.random((draws, groups)))
