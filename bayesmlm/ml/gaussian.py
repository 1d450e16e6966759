"""Gaussian models: the profiled deviance by ML or REML, and the posterior mode (Bates et al., 2015, section 3.4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.laplace import covariance, lmm, pls
from bayesmlm.laplace.layout import Blocks, RandomTerm, block_structure
from bayesmlm.ml.glm import Rows, read_rows
from bayesmlm.ml.integrated import State
from bayesmlm.ml.optimise import Objective, Optimum, maximise
from bayesmlm.ml.penalty import Penalty
from bayesmlm.ml.start import start_gaussian

__all__ = ["GaussianSolution", "full_likelihood", "solve_gaussian"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class GaussianSolution:
    """Where a Gaussian model's likelihood (or posterior) is highest, in internal coordinates.

    Attributes
    ----------
    state : State
        With effects in units of their standard deviations, as generalised models have them.
    theta : ndarray
        Factors of the group covariances themselves (not relative to σ).
    sigma : float
    covariance : ndarray, shape (p + len(theta) + 1,) * 2
        Of (β, θ, σ).
    loglik : float
        With all constants; the restricted one where ``reml``.
    optimum : Optimum
    """

    state: State
    theta: Array
    sigma: float
    covariance: Array
    loglik: float
    optimum: Optimum


@dataclass(frozen=True, slots=True)
class _Linear:
    """A Gaussian model as cross-products, around its least-squares fit.

    Attributes
    ----------
    columns : tuple of int
        Of each term, in the design's order.
    centre : ndarray, shape (p,)
        β by least squares; the response is the residual from there, so that no digits are lost to its mean.
    profile : callable
        θ relative to σ -> Profiled.
    right : ndarray, shape (p + 1, p + 1)
        [X y]'W[X y].
    n, log_weights : float
        Observations (frequencies counted) and Σ log w, constants of the likelihood.
    log_scales : float
        Σ log of the columns' scales: the restricted likelihood refers to the user's columns.
    """

    blocks: Blocks | None
    profile: Callable[[Array], lmm.Profiled]
    right: Array
    columns: tuple[int, ...]
    centre: Array
    n: float
    log_weights: float
    log_scales: float

    def pack(self, d_lams: list[Array]) -> Array:
        """Block order back to θ."""
        if self.blocks is None:
            return np.zeros(0)
        return covariance.pack([d_lams[t] for t in np.argsort(self.blocks.terms)])

    def residual_slope(self, at: lmm.Profiled, beta: Array) -> Array:
        """−½ of the derivative in θ of the penalised residual sum of squares at β: Σ e_a u_b."""
        v = np.append(-beta, 1.0)
        return self.pack([(E @ v).T @ (P @ v) for E, P in zip(at.residuals, at.effects, strict=True)])


def _linear(design: Design, rows: Rows) -> _Linear:
    w = np.asarray(design.weights * design.freq, dtype=float)
    if (design.weights <= 0.0).any():
        row = int(design.rows[np.argmax(design.weights <= 0.0)])
        raise FitError(f"weights are zero in row {row} (counting from 0): leave the row out")
    y = design.response.y - design.offset
    X = rows.X
    root = np.sqrt(w)
    centre = np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)[0] if X.shape[1] else np.zeros(0)
    right = np.column_stack([X, y - X @ centre])
    n = float(design.freq.sum())
    log_weights = float((design.freq * np.log(design.weights)).sum())
    log_scales = float(np.log(design.scaling.scales).sum())
    if n <= X.shape[1]:
        raise FitError(f"{X.shape[1]} fixed effects and {n:.0f} observations leave nothing to estimate σ from")
    if not design.groups:
        M = right.T @ (w[:, None] * right)
        plain = lmm.Profiled(0.0, M, [], [], [], pls.Factor(*(np.zeros(0),) * 3))
        return _Linear(None, lambda _: plain, M, (), centre, n, log_weights, log_scales)
    blocks = block_structure([RandomTerm(g.codes, g.z / g.scales, g.n_levels) for g in design.groups])
    products = lmm.cross_products(blocks, w[blocks.order], right[blocks.order])
    columns = tuple(g.z.shape[1] for g in design.groups)

    def profile(theta: Array) -> lmm.Profiled:
        lams = covariance.factors(theta, columns)
        return lmm.profile(blocks, products, [lams[t] for t in blocks.terms])

    return _Linear(blocks, _remember_last(profile), products.right, columns, centre, n, log_weights, log_scales)


def _remember_last(function: Callable[[Array], lmm.Profiled]) -> Callable[[Array], lmm.Profiled]:
    """The optimum is asked for again right after it was found: keep the last answer."""
    last: dict[bytes, lmm.Profiled] = {}

    def remembering(theta: Array) -> lmm.Profiled:
        key = theta.tobytes()
        if key not in last:
            value = function(theta)
            last.clear()
            last[key] = value
        return last[key]

    return remembering


def _estimate(M: Array) -> tuple[Array, float, Array]:
    """β around the centre, the penalised residual sum of squares there, and the inverse of RX'RX."""
    p = len(M) - 1
    inverse = np.linalg.inv(M[:p, :p])
    beta = inverse @ M[:p, p]
    return beta, float(M[p, p] - beta @ M[:p, p]), inverse


def _profiled(linear: _Linear, reml: bool) -> Objective:
    """θ relative to σ -> profiled log-likelihood and its gradient, β and σ at their best."""
    p = len(linear.centre)
    dof = linear.n - p if reml else linear.n

    def objective(theta: Array) -> tuple[float, Array]:
        at = linear.profile(theta)
        if not math.isfinite(at.half):
            return -math.inf, np.full(len(theta), math.nan)
        beta, rss, inverse = _estimate(at.M)
        value = -at.half - 0.5 * dof * (1.0 + math.log(2.0 * math.pi * rss / dof)) + 0.5 * linear.log_weights
        restricted = reml and p > 0
        if restricted:
            value -= 0.5 * float(np.linalg.slogdet(at.M[:p, :p])[1]) + linear.log_scales
        v, slopes = np.append(-beta, 1.0), []
        for d_half, E, P in zip(at.d_half, at.residuals, at.effects, strict=True):
            slope = dof / rss * ((E @ v).T @ (P @ v)) - d_half
            if restricted:
                # Σ E_a (RX'RX)⁻¹ P_b' over the groups.
                moved = E[..., :p] @ inverse
                slope += sum(moved[..., c].T @ P[..., c] for c in range(p))
            slopes.append(slope)
        return value, linear.pack(slopes)

    return objective


def full_likelihood(design: Design) -> Objective:
    """(β, θ, log σ) -> log-likelihood and its gradient, nothing profiled out; internal coordinates, θ absolute."""
    return _unprofiled(_linear(design, read_rows(design)), None)


def _unprofiled(linear: _Linear, penalty: Penalty | None) -> Objective:
    """(β, θ, log σ) -> log-likelihood plus log-prior and its gradient; θ is not relative to σ."""
    p, size = len(linear.centre), covariance.theta_size(linear.columns)

    def objective(x: Array) -> tuple[float, Array]:
        beta, sigma = x[:p] - linear.centre, math.exp(min(x[-1], 300.0))
        relative = x[p : p + size] / sigma
        at = linear.profile(relative)
        if not math.isfinite(at.half):
            return -math.inf, np.full(len(x), math.nan)
        v = np.append(-beta, 1.0)
        Mv = at.M @ v
        quadratic = float(v @ Mv) / sigma**2
        value = -at.half - 0.5 * linear.n * math.log(2.0 * math.pi * sigma**2) + 0.5 * linear.log_weights
        d_theta = linear.pack([-d for d in at.d_half]) + linear.residual_slope(at, beta) / sigma**2
        d_log_sigma = -float(d_theta @ relative) - linear.n + quadratic
        value -= 0.5 * quadratic
        gradient = np.concatenate([Mv[:p] / sigma**2, d_theta / sigma, [d_log_sigma]])
        if penalty is not None:
            of_fixed, d_fixed = penalty.fixed(x[:p])
            of_random, d_random = penalty.random(x[p : p + size])
            of_sigma, d_sigma = penalty.sigma(sigma)
            value += of_fixed + of_random + of_sigma
            gradient = gradient + np.concatenate([d_fixed, d_random, [sigma * d_sigma]])
        return value, gradient

    return objective


def _guess(objective: Objective, x: Array) -> Array:
    """Curvature along each coordinate where it is positive: a first guess of the information, diagonal."""
    g = objective(x)[1]
    out = np.empty(len(x))
    for j in range(len(x)):
        moved = x.copy()
        moved[j] += 1e-3
        curvature = -(objective(moved)[1][j] - g[j]) / 1e-3
        out[j] = max(curvature, abs(g[j]), 1e-3) if np.isfinite(curvature) else max(abs(g[j]), 1.0)
    return np.diag(out)


def _start(design: Design, linear: _Linear, rows: Rows) -> tuple[Array, Array]:
    if not design.groups:
        return np.zeros(0), np.zeros((0, 0))
    terms = [(group.codes, group.z, group.scales, group.n_levels) for group in design.groups]
    residuals = design.response.y - design.offset - rows.X @ linear.centre
    theta, information = start_gaussian(design.weights * design.freq, residuals, terms)
    return theta, information + 1e-3 * np.eye(len(theta))


def solve_gaussian(design: Design, rows: Rows, reml: bool, penalty: Penalty | None) -> GaussianSolution:
    """Maximise the likelihood, the restricted likelihood, or the posterior of a Gaussian model.

    Parameters
    ----------
    design : Design
    rows : Rows
        In the design's order.
    reml : bool
    penalty : Penalty, optional
        Priors, for a posterior mode; not with ``reml``.

    Raises
    ------
    FitError
        Where the response is determined without error, or σ cannot be estimated.
    """
    linear = _linear(design, rows)
    p, size = len(linear.centre), covariance.theta_size(linear.columns)
    if not linear.right[p, p] > 1e-20 * float((design.response.y**2).sum()):
        raise FitError(
            f'the response "{design.response.name}" is determined exactly by the fixed effects: nothing is left to '
            f"estimate σ from"
        )
    profiled = _profiled(linear, reml)
    diagonal = covariance.pack([np.eye(k) for k in linear.columns])
    start, guess = _start(design, linear, rows)
    optimum = maximise(profiled, start, guess)
    if not math.isfinite(optimum.value):
        raise FitError("the likelihood could not be evaluated: check the data for extreme values")
    relative = _at_boundary(profiled, optimum, linear.columns)
    at = linear.profile(relative)
    beta, rss, _ = _estimate(at.M)
    dof = linear.n - p if reml else linear.n
    sigma = math.sqrt(rss / dof)
    if penalty is None:
        value = optimum.value if relative is optimum.x else profiled(relative)[0]
        joint = _profile_covariance(linear, optimum, at, relative, beta, rss, dof, sigma)
        return GaussianSolution(
            _state(linear, at, beta, sigma, rows, design), sigma * relative, sigma, joint, value, optimum
        )

    # The likelihood's maximum, moved off the boundary, is where the search for the mode starts.
    off = relative + np.where(np.abs(relative) < 0.05, 0.1 * diagonal, 0.0)
    x = np.concatenate([linear.centre + beta, sigma * off, [math.log(sigma)]])
    posterior = _unprofiled(linear, penalty)
    guess = _guess(posterior, x)
    guess[:p, :p] = at.M[:p, :p] / sigma**2 + np.diag(np.maximum(penalty.curvature(x[:p]), 0.0))
    optimum = maximise(posterior, x, guess)
    x, sigma = optimum.x, math.exp(optimum.x[-1])
    at = linear.profile(x[p : p + size] / sigma)
    v = np.append(linear.centre - x[:p], 1.0)
    value = (
        -at.half - 0.5 * linear.n * math.log(2.0 * math.pi * sigma**2) + 0.5 * linear.log_weights
        - 0.5 * float(v @ at.M @ v) / sigma**2
    )  # fmt: skip
    scale = np.append(np.ones(p + size), sigma)
    joint = scale[:, None] * np.linalg.inv(optimum.information) * scale
    state = _state(linear, at, x[:p] - linear.centre, sigma, rows, design)
    return GaussianSolution(state, x[p : p + size], sigma, joint, value, optimum)


def _at_boundary(objective: Objective, optimum: Optimum, columns: tuple[int, ...]) -> Array:
    """θ with variances that have all but vanished put at zero, where the likelihood is no lower there."""
    theta, at = optimum.x.copy(), 0
    for k in columns:
        if k == 1 and abs(theta[at]) < 1e-4:
            theta[at] = 0.0
        at += k * (k + 1) // 2
    if np.array_equal(theta, optimum.x):
        return optimum.x
    return theta if objective(theta)[0] >= optimum.value - 1e-8 else optimum.x


def _profile_covariance(
    linear: _Linear, optimum: Optimum, at: lmm.Profiled, theta: Array, beta: Array, rss: float, dof: float,
    sigma: float,
) -> Array:  # fmt: skip
    """Covariance of (β, θ, σ): of β given the variances (lme4's), and of the variances from the profile.

    With C that of θ relative to σ, log σ̂ moves by J = −(Σ e u)/rss per θ and varies by 1/(2 dof) besides.
    """
    p, size = len(beta), len(theta)
    out = np.zeros((p + size + 1,) * 2)
    if p:
        out[:p, :p] = sigma**2 * np.linalg.inv(at.M[:p, :p])
    C = _inverse(optimum.information) if size else np.zeros((0, 0))
    J = -linear.residual_slope(at, beta) / rss
    joint = np.zeros((size + 1, size + 1))
    joint[:size, :size] = C
    joint[:size, size] = joint[size, :size] = C @ J
    joint[size, size] = 0.5 / dof + J @ C @ J
    to_user = np.zeros((size + 1, size + 1))
    to_user[:size, :size] = sigma * np.eye(size)
    to_user[:, size] = np.append(sigma * theta, sigma)
    out[p:, p:] = to_user @ joint @ to_user.T
    return out


def _inverse(information: Array) -> Array:
    values, vectors = np.linalg.eigh(information)
    floor = 1e-10 * max(abs(values[-1]), 1e-300)
    return (vectors / np.maximum(values, floor)) @ vectors.T


def _state(linear: _Linear, at: lmm.Profiled, beta: Array, sigma: float, rows: Rows, design: Design) -> State:
    p = len(beta)
    full = linear.centre + beta
    eta = design.offset + rows.X @ full
    information = at.M[:p, :p] / sigma**2
    if linear.blocks is None:
        return State(full, [], [], [], eta, information)
    v = np.append(-beta, 1.0)
    back = np.argsort(linear.blocks.terms)
    covariances = pls.selected_covariance(linear.blocks, at.factor)
    modes = [at.effects[t] @ v / sigma for t in back]
    return State(
        full, modes, [covariances[t] for t in back], [-at.effects[t][..., :p] / sigma for t in back], eta, information
    )
