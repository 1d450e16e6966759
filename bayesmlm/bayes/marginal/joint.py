"""The exact joint posterior of draws of θ and b, the effects u drawn as well as integrated over.

Of every group N candidates are made by its nearly conditional law q (:mod:`bayesmlm.bayes.marginal.conditional`).  One
of them is taken, with probability proportional to p(y, u | θ, b) / q(u); the mean of these ratios is an unbiased
estimate of the group's likelihood ∫ p(y, u | θ, b) du, and the product over the groups stands in the weight of a draw.
With N = 1 this is importance sampling of u itself; with more it is importance sampling of θ and b with u integrated
over by a quadrature whose nodes are moved at random.  Both are exact for any N: candidates that were not taken belong
to a larger space of which the posterior is a margin (Andrieu, Doucet & Holenstein, 2010, section 4).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.bayes.densities import log_prior
from bayesmlm.bayes.effects import COLUMNS, LEVELS, effects_prior
from bayesmlm.bayes.marginal.candidates import Candidates
from bayesmlm.bayes.marginal.conditional import (
    ROOT_MEAN,
    group_laws,
    scalar_constants,
    scalar_laws,
    shape_constants,
    skewed,
)
from bayesmlm.bayes.marginal.inner import Mode
from bayesmlm.bayes.marginal.parts import Parts
from bayesmlm.bayes.rows import row_scores
from bayesmlm.laplace.pls import backward, cholesky_in_place, forward
from bayesmlm.laplace.preload import INNER

__all__ = ["integrate"]

Array = np.ndarray[Any, Any]


@njit(**INNER)
def _outer_prior(x, main, layout, places, lkj, beta_priors, sd_priors, sigma_prior, sigma, freq, scratch, lam):  # type: ignore[no-untyped-def]
    """Log-density of everything but u and the responses, less log |Λ| of u's term per group; that Λ is written."""
    total = 0.0
    for j in range(len(beta_priors)):
        total += log_prior(beta_priors[j], x[j])[0]
    column, pair = 0, 0
    for t in range(len(layout)):
        k, own = layout[t, COLUMNS], layout[t].copy()
        if t == main:
            own[LEVELS] = 0
        effects, factor = np.empty(k * own[LEVELS]), np.zeros((k, k))
        total += effects_prior(x, scratch, effects, factor, own, places[pair:], sd_priors[column:], lkj[t])
        if t == main:
            for a in range(k):
                total -= layout[t, LEVELS] * math.log(factor[a, a])
                for b in range(k):
                    lam[a, b] = factor[a, b]
        column, pair = column + k, pair + k * (k - 1) // 2
    if sigma >= 0:
        total += log_prior(sigma_prior, math.exp(x[sigma]))[0] + (1.0 - freq) * x[sigma]
    return total


@njit(**INNER)
def _inverse(lam, omega):  # type: ignore[no-untyped-def]
    """Σ⁻¹ of Λ."""
    for a in range(len(lam)):
        for b in range(len(lam)):
            omega[a, b] = 1.0 if a == b else 0.0
    for a in range(len(lam)):
        forward(lam, omega[a])
        backward(lam, omega[a])


@njit(**INNER)
def _add_rows(link, precision, y, trials, starts, eta, score, log_ratio):  # type: ignore[no-untyped-def]
    """Add to every group the log-likelihoods of its rows, which replace their linear predictors."""
    row_scores(link, y, trials, eta, score)
    for g in range(len(starts) - 1):
        part = 0.0
        for i in range(starts[g], starts[g + 1]):
            part += eta[i]
        log_ratio[g] += precision * part


# u (nodes, groups, k) of one draw and log p(y, u | θ, b) / q(u) of each, less log |Λ|; ``linear`` is what the data say
# of u at the reference mode, moved to b, ``information`` how much, ρ the precision over that of the reference.


@njit(**INNER)
def _vector_effects(  # type: ignore[no-untyped-def]
    link, precision, rho, y, trials, eta, Z, starts, information, linear, omega, z, log_q, u, log_ratio, work
):  # fmt: skip
    k, groups, full = len(Z), len(starts) - 1, work[0]
    P, L, t, constants = np.empty((k, k)), np.empty((k, k)), np.empty(k), np.empty((groups, k, 3))
    modes, roots, cubes = np.empty((groups, k)), np.empty((groups, k, k)), np.empty((groups, k, k, k))
    for g in range(groups):
        for a in range(k):
            t[a] = rho * linear[g, a]
            for b in range(a + 1):
                P[a, b] = rho * information[g, a, b] + omega[a, b]
        cholesky_in_place(P)
        forward(P, t)
        backward(P, t)
        for a in range(k):
            modes[g, a] = t[a]
    group_laws(link, precision, y, trials, eta, Z, starts, omega, modes, roots, cubes, work)
    for g in range(groups):
        shape_constants(cubes, g, constants)
    for j in range(len(u)):
        for g in range(groups):
            jacobian, square = skewed(z, j, g, cubes, constants, t), 0.0
            for a in range(k):
                jacobian /= roots[g, a, a]
                for b in range(k):
                    L[a, b] = roots[g, a, b]
            backward(L, t)
            for a in range(k):
                t[a] += modes[g, a]
                u[j, g, a] = t[a]
            for a in range(k):
                for b in range(k):
                    square += t[a] * omega[a, b] * t[b]
            log_ratio[j, g] = math.log(jacobian) - log_q[j, g] - 0.5 * square
            for i in range(starts[g], starts[g + 1]):
                full[i] = eta[i]
                for a in range(k):
                    full[i] += Z[a, i] * t[a]
        _add_rows(link, precision, y, trials, starts, full, work[1], log_ratio[j])


@njit(**INNER)
def _scalar_effects(  # type: ignore[no-untyped-def]
    link, precision, rho, y, trials, eta, Z, starts, information, linear, omega, z, log_q, u, log_ratio, work
):  # fmt: skip
    groups, full = len(starts) - 1, work[0]
    modes, roots, cubes = np.empty(groups), np.empty(groups), np.empty(groups)
    for g in range(groups):
        modes[g] = rho * linear[g] / (rho * information[g] + omega)
    scalar_laws(link, precision, y, trials, eta, Z, starts, omega, modes, roots, cubes, work)
    for j in range(len(u)):
        for g in range(groups):
            cosh, sinh, mean = scalar_constants(cubes[g])
            w = z[j, g]
            root = math.sqrt(1.0 + w * w)
            v = modes[g] + (mean + cosh * w + sinh * (root - ROOT_MEAN)) / roots[g]
            u[j, g] = v
            log_ratio[j, g] = math.log((cosh + sinh * w / root) / roots[g]) - log_q[j, g] - 0.5 * omega * v * v
            for i in range(starts[g], starts[g + 1]):
                full[i] = eta[i] + Z[i] * v
        _add_rows(link, precision, y, trials, starts, full, work[1], log_ratio[j])


@njit(**INNER)
def _choose(log_ratio, g, uniform):  # type: ignore[no-untyped-def]
    """Which candidate of a group is taken, and the logarithm of their mean ratio."""
    nodes, taken = len(log_ratio), 0
    if nodes == 1:
        return 0, log_ratio[0, g]
    top, total = log_ratio[0, g], 0.0
    for j in range(1, nodes):
        top = max(top, log_ratio[j, g])
    for j in range(nodes):
        log_ratio[j, g] = math.exp(log_ratio[j, g] - top)
        total += log_ratio[j, g]
    left = uniform * total - log_ratio[0, g]
    while left >= 0.0 and taken < nodes - 1:
        taken += 1
        left -= log_ratio[taken, g]
    return taken, top + math.log(total / nodes)


@njit(cache=True, nogil=True, error_model="numpy")
def _integrate(
    x: np.ndarray,
    etas: np.ndarray,
    linear: np.ndarray,
    z: np.ndarray,
    log_q: np.ndarray,
    uniform: np.ndarray,
    out: np.ndarray,
    first: int,
    information: np.ndarray,
    reference: float,
    link: int,
    y: np.ndarray,
    trials: np.ndarray,
    Z: np.ndarray,
    starts: np.ndarray,
    main: int,
    layout: np.ndarray,
    places: np.ndarray,
    lkj: np.ndarray,
    beta_priors: np.ndarray,
    sd_priors: np.ndarray,
    sigma_prior: np.ndarray,
    sigma: int,
    freq: float,
    constant: float,
) -> None:
    """For every draw write u into x, from place ``first``, and the logarithm of the estimate of p(y, θ, b) into out."""
    k, groups, nodes = len(Z), len(starts) - 1, z.shape[1]
    lam, omega = np.empty((k, k)), np.empty((k, k))
    scratch, work = np.empty(x.shape[1]), np.empty((4, len(y)))
    u, log_ratio = np.empty((nodes, groups, k)), np.empty((nodes, groups))
    for s in range(len(x)):
        total = constant + _outer_prior(
            x[s], main, layout, places, lkj, beta_priors, sd_priors, sigma_prior, sigma, freq, scratch, lam
        )
        _inverse(lam, omega)
        precision = math.exp(-2.0 * x[s, sigma]) if sigma >= 0 else 1.0
        if k == 1:
            _scalar_effects(
                link, precision, precision / reference, y, trials, etas[s], Z[0], starts, information[:, 0, 0],
                linear[s, :, 0], omega[0, 0], z[s, :, :, 0], log_q[s], u[:, :, 0], log_ratio, work,
            )  # fmt: skip
        else:
            _vector_effects(
                link, precision, precision / reference, y, trials, etas[s], Z, starts, information, linear[s], omega,
                z[s], log_q[s], u, log_ratio, work,
            )  # fmt: skip
        for g in range(groups):
            taken, part = _choose(log_ratio, g, uniform[s, g])
            total += part
            for a in range(k):
                x[s, first + g * k + a] = u[taken, g, a]
        out[s] = total


def integrate(parts: Parts, mode: Mode, x: Array, chosen: Candidates) -> Array:
    """Draw u of draws of θ and b into x, and estimate their density with u integrated out.

    Parameters
    ----------
    parts : Parts
    mode : Mode
        Near which the modes of u are sought, by what the data there say of u.
    x : ndarray, shape (draws, size)
    chosen : Candidates
        For as many draws.

    Returns
    -------
    ndarray, shape (draws,)
        log of the estimates of p(y, θ, b) in the kernel's coordinates.

    Examples
    --------
    >>> from bayesmlm.bayes.marginal.candidates import candidates
    >>> from bayesmlm.bayes.marginal.inner import inner_mode
    >>> from bayesmlm.bayes.marginal.parts import parts_of
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> parts = parts_of(build_design(Spec("use ~ urban + (1 | district)"), load_dataset("contraception")))
    >>> mode, rng = inner_mode(parts, np.zeros(parts.kernel.size)), np.random.default_rng(1)
    >>> two = [integrate(parts, mode, mode.x[None].copy(), candidates(rng, 1, nodes, 60, 1))[0] for nodes in (8, 64)]
    >>> abs(two[1] - two[0]) < 0.01
    np.True_
    """
    k, groups, draws = len(parts.Z), parts.groups, len(x)
    u = mode.x[parts.effects].reshape(groups, k)
    at_mode = u @ mode.omega + (mode.information @ u[:, :, None])[:, :, 0]
    moved = x[:, parts.rest] - mode.x[parts.rest]
    linear = at_mode - (moved @ mode.between.reshape(groups * k, len(parts.rest)).T).reshape(draws, groups, k)
    out = np.empty(draws)
    _integrate(
        x, parts.linear_predictors(x), linear, chosen.z, chosen.log_density, chosen.uniform, out, parts.effects.start,
        mode.information, parts.precision(mode.x), parts.link, parts.y, parts.trials, parts.Z, parts.starts,
        parts.main, *parts.kernel.arguments[7:],
    )  # fmt: skip
    return out
