"""What maximum likelihood found, as arrays on the user's scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.laplace import covariance
from bayesmlm.ml.optimise import Optimum
from bayesmlm.ml.problem import Maximum

__all__ = ["MLSolution", "on_user_scale"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class MLSolution:
    """What maximum likelihood found, as arrays on the user's scale.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    theta : ndarray
        Lower triangles of the factors of the group covariances, term by term (see ``laplace/covariance.py``).
    sigma : float
        Residual standard deviation of a Gaussian model, NaN elsewhere.
    covariance : ndarray, shape (p + len(theta) (+ 1),) * 2
        Of (β, θ), and of σ after them in a Gaussian model.  Inverse of the exact information: lme4's default standard
        errors.  In a Gaussian model, and with ``n_agq = 0``, β's block is given the variances, as in lme4.
    conditional_covariance : ndarray, shape (p, p)
        Of β given θ (lme4's RX); narrower, on request only.
    loglik, null_loglik : float
        With all constants; the second of the intercept-only model without groups.  Restricted where ``reml``.
    log_prior : float
        Log-density of the priors at a posterior mode, NaN for maximum likelihood.
    modes : tuple of ndarray, shape (groups, k)
        Conditional modes of the group effects.
    mode_covariances : tuple of ndarray, shape (groups, k, k)
        Conditional covariances given β and θ.
    sensitivities : tuple of ndarray, shape (groups, k, p)
        Derivatives of the conditional modes in β.
    linear_predictor : ndarray, shape (n,)
        At the conditional modes, rows in the design's order.
    optimum : Optimum
        The facts of the optimisation, in internal coordinates.
    n_agq : int
    reml : bool
    information : str
        Which information enters the determinant of the Laplace approximation: ``observed`` or ``expected``.
    seconds : float
    """

    beta: Array
    theta: Array
    sigma: float
    covariance: Array
    conditional_covariance: Array
    loglik: float
    null_loglik: float
    log_prior: float
    modes: tuple[Array, ...]
    mode_covariances: tuple[Array, ...]
    sensitivities: tuple[Array, ...]
    linear_predictor: Array
    optimum: Optimum
    n_agq: int
    reml: bool
    information: str
    seconds: float


def on_user_scale(
    design: Design, maximum: Maximum, n_agq: int, reml: bool, information: str, seconds: float
) -> MLSolution:
    """Back from internal coordinates: β = T β_internal, and row a of λ divides by the scale of column a."""
    state, theta = maximum.state, maximum.theta
    T, p = design.scaling.matrix, len(state.beta)
    columns = tuple(len(group.terms) for group in design.groups)
    scales = [np.repeat((1.0 / g.scales)[:, None], len(g.scales), axis=1) for g in design.groups]
    # Flip columns of λ so that its diagonal is positive; u flips along.
    raw = [lam * scale for lam, scale in zip(covariance.factors(theta, columns), scales, strict=True)]
    signs = [np.tile(np.where(np.diag(lam) < 0.0, -1.0, 1.0), (len(lam), 1)) for lam in raw]
    back = np.eye(len(maximum.covariance))
    back[:p, :p] = T
    at = np.arange(p, p + len(theta))
    back[at, at] = covariance.pack([scale * sign for scale, sign in zip(scales, signs, strict=True)])
    inverse_T = np.linalg.inv(T)
    modes = tuple(u @ lam.T for u, lam in zip(state.modes, raw, strict=True))
    eta = state.eta
    if design.family.name == "gaussian":
        for group, effects in zip(design.groups, modes, strict=True):
            eta = eta + np.einsum("ia,ia->i", group.z, effects[group.codes])
    return MLSolution(
        beta=T @ state.beta,
        theta=covariance.pack([lam * sign for lam, sign in zip(raw, signs, strict=True)]),
        sigma=maximum.sigma,
        covariance=back @ maximum.covariance @ back.T,
        conditional_covariance=T @ np.linalg.inv(state.information) @ T.T,
        loglik=maximum.loglik,
        null_loglik=maximum.null_loglik,
        log_prior=float(maximum.log_prior),
        modes=modes,
        mode_covariances=tuple(lam @ V @ lam.T for V, lam in zip(state.covariances, raw, strict=True)),
        sensitivities=tuple(lam @ (s @ inverse_T) for s, lam in zip(state.slopes, raw, strict=True)),
        linear_predictor=eta,
        optimum=maximum.optimum,
        n_agq=n_agq,
        reml=reml,
        information=information,
        seconds=seconds,
    )
