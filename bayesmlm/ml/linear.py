"""A Gaussian model as cross-products, and its likelihoods: β and σ at their best, or nothing profiled out.

The profiled deviance by ML or REML is that of Bates et al. (2015, section 3.4).
"""

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
from bayesmlm.ml.optimise import Objective
from bayesmlm.ml.penalty import Penalty

__all__ = ["Linear", "full_likelihood", "least_squares", "profiled", "read_linear", "unprofiled"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Linear:
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


def read_linear(design: Design, rows: Rows) -> Linear:
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
        return Linear(None, lambda _: plain, M, (), centre, n, log_weights, log_scales)
    blocks = block_structure([RandomTerm(g.codes, g.z / g.scales, g.n_levels) for g in design.groups])
    products = lmm.cross_products(blocks, w[blocks.order], right[blocks.order])
    columns = tuple(g.z.shape[1] for g in design.groups)

    def profile(theta: Array) -> lmm.Profiled:
        lams = covariance.factors(theta, columns)
        return lmm.profile(blocks, products, [lams[t] for t in blocks.terms])

    return Linear(blocks, _remember_last(profile), products.right, columns, centre, n, log_weights, log_scales)


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


def least_squares(M: Array) -> tuple[Array, float, Array]:
    """β around the centre, the penalised residual sum of squares there, and the inverse of RX'RX."""
    p = len(M) - 1
    inverse = np.linalg.inv(M[:p, :p])
    beta = inverse @ M[:p, p]
    return beta, float(M[p, p] - beta @ M[:p, p]), inverse


def profiled(linear: Linear, reml: bool) -> Objective:
    """θ relative to σ -> profiled log-likelihood and its gradient, β and σ at their best."""
    p = len(linear.centre)
    dof = linear.n - p if reml else linear.n

    def objective(theta: Array) -> tuple[float, Array]:
        at = linear.profile(theta)
        if not math.isfinite(at.half):
            return -math.inf, np.full(len(theta), math.nan)
        beta, rss, inverse = least_squares(at.M)
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


def unprofiled(linear: Linear, penalty: Penalty | None) -> Objective:
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


def full_likelihood(design: Design) -> Objective:
    """(β, θ, log σ) -> log-likelihood and its gradient, nothing profiled out; internal coordinates, θ absolute."""
    return unprofiled(read_linear(design, read_rows(design)), None)
