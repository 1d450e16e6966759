"""Log-prior of a model in the coordinates of its likelihood, with its exact gradient: what turns ML into MAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.laplace.covariance import factors, theta_size
from bayesmlm.prior_rules import ResolvedPriors
from bayesmlm.priors import Prior

__all__ = ["Penalty"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Penalty:
    """Priors of a design, evaluated on the user's scale at internal coordinates.

    A standard deviation's prior is a density on the standard deviation itself, without Jacobian; a correlation
    matrix's is LKJ, (η − 1) log |R| and its constant aside.

    Attributes
    ----------
    priors : ResolvedPriors
    scales : ndarray, shape (p,)
        Of the fixed effects' columns; coefficients on the user's scale are internal ones divided by ``scales``.
    group_scales : tuple of ndarray, shape (k,)
    """

    priors: ResolvedPriors
    scales: Array
    group_scales: tuple[Array, ...]

    @classmethod
    def of(cls, design: Design) -> Penalty:
        """The priors a posterior mode of this design takes."""
        return cls(design.priors, design.scaling.scales, tuple(group.scales for group in design.groups))

    @property
    def columns(self) -> tuple[int, ...]:
        """Columns of each random-effect term."""
        return tuple(len(scales) for scales in self.group_scales)

    def fixed(self, beta: Array) -> tuple[float, Array]:
        """Log-prior of internal β and its gradient; the intercept is that of centred predictors, as its prior's."""
        parts = [_density(prior, b / s) for prior, b, s in zip(self.priors.fixed, beta, self.scales, strict=True)]
        return float(sum(v for v, _ in parts)), np.array([d for _, d in parts]) / self.scales

    def curvature(self, beta: Array) -> Array:
        """Minus the second derivatives of the log-prior of internal β, shape (p,), by central differences."""
        h = 1e-5 * self.scales
        return -(self.fixed(beta + h)[1] - self.fixed(beta - h)[1]) / (2.0 * h)

    def sigma(self, sigma: float) -> tuple[float, float]:
        """Log-prior of the residual standard deviation and its derivative."""
        prior = self.priors.sigma
        return (0.0, 0.0) if prior is None else _density(prior, sigma)

    def random(self, theta: Array) -> tuple[float, Array]:
        """Log-prior of internal θ and its gradient.

        With λ on the user's scale, sd_a = |λ_a| (row a) and log |R| = 2 Σ log |λ_bb| − 2 Σ log sd_a.
        """
        value, gradient = 0.0, np.zeros(theta_size(self.columns))
        at = 0
        for lam, scales, priors, correlation in zip(
            factors(theta, self.columns), self.group_scales, self.priors.mode_sd, self.priors.correlation, strict=True
        ):
            user = lam / scales[:, None]
            sd = np.sqrt((user * user).sum(axis=1))
            d_sd = np.empty(len(sd))
            for a, prior in enumerate(priors):
                part, d_sd[a] = _density(prior, sd[a])
                value += part
            d_user = np.zeros_like(user)
            if correlation is not None and correlation["eta"] != 1.0:
                excess = correlation["eta"] - 1.0
                with np.errstate(divide="ignore"):
                    value += excess * 2.0 * float(np.log(np.abs(np.diag(user))).sum() - np.log(sd).sum())
                    d_user += np.diag(excess * 2.0 / np.diag(user))
                    d_sd -= excess * 2.0 / sd
            with np.errstate(invalid="ignore"):
                d_user += np.where(sd > 0.0, d_sd / sd, 0.0)[:, None] * user
            d_lam = d_user / scales[:, None]
            for b in range(len(lam)):
                gradient[at : at + len(lam) - b] = d_lam[b:, b]
                at += len(lam) - b
        return value, gradient


def _density(prior: Prior, x: float) -> tuple[float, float]:
    return prior.log_density(float(x))
