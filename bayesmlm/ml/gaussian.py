"""Gaussian models: what is maximised by ML or REML, and for a posterior mode (Bates et al., 2015, section 3.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.laplace import covariance, lmm, pls
from bayesmlm.ml.glm import Rows, read_rows
from bayesmlm.ml.integrated import State
from bayesmlm.ml.linear import Linear, full_likelihood, least_squares, profiled, read_linear, unprofiled
from bayesmlm.ml.optimise import Objective, Optimum, maximise
from bayesmlm.ml.penalty import Penalty
from bayesmlm.ml.problem import Maximum, Problem, inverse_information, with_priors
from bayesmlm.ml.start import start_gaussian

__all__ = ["GaussianMaximum", "GaussianMode", "full_likelihood"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class GaussianMaximum(Problem):
    """The likelihood, or the restricted one, over θ relative to σ; β and σ are at their best.

    Attributes
    ----------
    design : Design
    rows : Rows
        In the design's order.
    linear : Linear
    reml : bool
    """

    design: Design
    rows: Rows
    linear: Linear
    reml: bool

    @classmethod
    def of(cls, design: Design, reml: bool) -> GaussianMaximum:
        """Read a design.

        Raises
        ------
        FitError
            Where the response is determined without error, or σ cannot be estimated.
        """
        rows = read_rows(design)
        linear = read_linear(design, rows)
        if not linear.right[-1, -1] > 1e-20 * float((design.response.y**2).sum()):
            raise FitError(
                f'the response "{design.response.name}" is determined exactly by the fixed effects: nothing is left '
                f"to estimate σ from"
            )
        return cls(design, rows, linear, reml)

    @property
    def columns(self) -> tuple[int, ...]:
        """Of each term."""
        return self.linear.columns

    @property
    def n_fixed(self) -> int:
        """β is at its best."""
        return 0

    @property
    def dof(self) -> float:
        """Of σ given θ: observations, less the fixed effects under REML."""
        return self.linear.n - (len(self.linear.centre) if self.reml else 0)

    def objective(self, x: Array) -> tuple[float, Array]:
        """Profiled log-likelihood."""
        return profiled(self.linear, self.reml)(x)

    def search(self, start: Array | None = None) -> Optimum:
        """BFGS, then Newton."""
        own, guess = self._start()
        optimum = maximise(profiled(self.linear, self.reml), own if start is None else start, guess)
        if not math.isfinite(optimum.value):
            raise FitError("the likelihood could not be evaluated: check the data for extreme values")
        return optimum

    def _start(self) -> tuple[Array, Array]:
        """θ by moments of the least-squares residuals, and a guess of the information there."""
        design, linear = self.design, self.linear
        if not design.groups:
            return np.zeros(0), np.zeros((0, 0))
        terms = [(group.codes, group.z, group.scales, group.n_levels) for group in design.groups]
        residuals = design.response.y - design.offset - self.rows.X @ linear.centre
        theta, information = start_gaussian(design.weights * design.freq, residuals, terms)
        return theta, information + 1e-3 * np.eye(len(theta))

    def at(self, optimum: Optimum) -> tuple[Array, float]:
        """θ relative to σ, a variance that has all but vanished put at zero, and σ."""
        theta = _at_boundary(profiled(self.linear, self.reml), optimum, self.columns)
        return theta, math.sqrt(least_squares(self.linear.profile(theta).M)[1] / self.dof)

    def maximum(self, optimum: Optimum) -> Maximum:
        """The model at θ."""
        linear = self.linear
        theta, sigma = self.at(optimum)
        profile = linear.profile(theta)
        beta = least_squares(profile.M)[0]
        value = optimum.value if theta is optimum.x else profiled(linear, self.reml)(theta)[0]
        return Maximum(
            _state(self.design, self.rows, linear, profile, beta, sigma), sigma * theta, sigma,
            _profile_covariance(linear, optimum, profile, theta, beta, self.dof, sigma), value,
            _null_loglik(self.design), np.nan, optimum,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class GaussianMode(Problem):
    """The posterior over (β, θ, log σ), which priors tie together: nothing is profiled out, θ is not relative to σ.

    Attributes
    ----------
    likelihood : GaussianMaximum
        Whose maximum is where the search for the mode starts.
    penalty : Penalty
    """

    likelihood: GaussianMaximum
    penalty: Penalty

    @property
    def columns(self) -> tuple[int, ...]:
        """Of each term."""
        return self.likelihood.columns

    @property
    def n_fixed(self) -> int:
        """All of β."""
        return len(self.likelihood.linear.centre)

    def objective(self, x: Array) -> tuple[float, Array]:
        """Log-likelihood plus log-prior."""
        return unprofiled(self.likelihood.linear, self.penalty)(x)

    def search(self, start: Array | None = None) -> Optimum:
        """BFGS, then Newton, from the maximum of the likelihood moved off the boundary."""
        linear, p = self.likelihood.linear, self.n_fixed
        if start is None:
            theta, sigma = self.likelihood.at(self.likelihood.search())
            beta = linear.centre + least_squares(linear.profile(theta).M)[0]
            diagonal = covariance.pack([np.eye(k) for k in self.columns])
            off = theta + np.where(np.abs(theta) < 0.05, 0.1 * diagonal, 0.0)
            start = np.concatenate([beta, sigma * off, [math.log(sigma)]])
        else:
            theta, sigma = start[p:-1] * math.exp(-start[-1]), math.exp(start[-1])
        guess = _guess(self.objective, start)
        information = linear.profile(theta).M[:p, :p] / sigma**2
        guess[:p, :p] = information + np.diag(np.maximum(self.penalty.curvature(start[:p]), 0.0))
        return maximise(self.objective, start, guess)

    def maximum(self, optimum: Optimum) -> Maximum:
        """The model at (β, θ, log σ)."""
        linear, penalty, p = self.likelihood.linear, self.penalty, self.n_fixed
        beta, theta, sigma = optimum.x[:p], optimum.x[p:-1], math.exp(optimum.x[-1])
        at = linear.profile(theta / sigma)
        scale = np.append(np.ones(len(optimum.x) - 1), sigma)
        state = _state(self.likelihood.design, self.likelihood.rows, linear, at, beta - linear.centre, sigma)
        log_prior = penalty.fixed(beta)[0] + penalty.random(theta)[0] + penalty.sigma(sigma)[0]
        return Maximum(
            with_priors(state, penalty), theta, sigma, scale[:, None] * np.linalg.inv(optimum.information) * scale,
            unprofiled(linear, None)(optimum.x)[0], _null_loglik(self.likelihood.design), log_prior, optimum,
        )  # fmt: skip


def _null_loglik(design: Design) -> float:
    """Log-likelihood (never restricted) of the intercept alone, without groups."""
    w, y = design.weights * design.freq, design.response.y - design.offset
    n = float(design.freq.sum())
    centred = y - (w @ y) / w.sum()
    log_weights = float((design.freq * np.log(design.weights)).sum())
    return 0.5 * log_weights - 0.5 * n * (1.0 + math.log(2.0 * math.pi * (w @ centred**2) / n))


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
    linear: Linear, optimum: Optimum, at: lmm.Profiled, theta: Array, beta: Array, dof: float, sigma: float
) -> Array:
    """Covariance of (β, θ, σ): of β given the variances (lme4's), and of the variances from the profile.

    With C that of θ relative to σ, log σ̂ moves by J = −(Σ e u)/rss per θ and varies by 1/(2 dof) besides.
    """
    p, size = len(beta), len(theta)
    out = np.zeros((p + size + 1,) * 2)
    if p:
        out[:p, :p] = sigma**2 * np.linalg.inv(at.M[:p, :p])
    C = inverse_information(optimum.information) if size else np.zeros((0, 0))
    J = -linear.residual_slope(at, beta) / (dof * sigma**2)
    joint = np.zeros((size + 1, size + 1))
    joint[:size, :size] = C
    joint[:size, size] = joint[size, :size] = C @ J
    joint[size, size] = 0.5 / dof + J @ C @ J
    to_user = np.zeros((size + 1, size + 1))
    to_user[:size, :size] = sigma * np.eye(size)
    to_user[:, size] = np.append(sigma * theta, sigma)
    out[p:, p:] = to_user @ joint @ to_user.T
    return out


def _state(design: Design, rows: Rows, linear: Linear, at: lmm.Profiled, beta: Array, sigma: float) -> State:
    """The model at β around the centre, with effects in units of their standard deviations."""
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
