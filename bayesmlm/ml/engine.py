"""The likelihood engine: a design in, the maximum of its likelihood (or posterior) out, on the user's scale."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError, among
from bayesmlm.laplace import covariance, kernels
from bayesmlm.ml import glm
from bayesmlm.ml.integrated import Integrated, State, joint_terms, many_terms, scalar_term, vector_term
from bayesmlm.ml.optimise import Objective, Optimum, maximise
from bayesmlm.ml.penalty import Penalty
from bayesmlm.ml.start import start_glmm

__all__ = ["INFORMATION", "MLSolution", "solve_map", "solve_ml"]

Array = np.ndarray[Any, Any]

INFORMATION = ("observed", "expected")
"""Which information can enter the determinant of the Laplace approximation."""

_MOST_NODES = 50_000
"""Quadrature nodes per group at most."""


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


def solve_ml(design: Design, n_agq: int = 1, reml: bool = False, information: str = "observed") -> MLSolution:
    """Maximise the (integrated) likelihood of a design.

    Parameters
    ----------
    design : Design
    n_agq : int
        Points of adaptive Gauss-Hermite quadrature per column; 1 is the Laplace approximation, 0 the same with β at
        the joint mode of β and the group effects (lme4's fast mode).  Gaussian models are exact without.
    reml : bool
        Restricted likelihood, of a Gaussian model.
    information : {"observed", "expected"}
        What enters the determinant of the Laplace approximation: minus the second derivative (the definition, and
        glmmTMB's), or its expectation (lme4's).  They differ for probit and cloglog only.

    Raises
    ------
    FitError
        For a constant response, separation, or a quadrature the model does not admit.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> d = build_design(Spec("use ~ age + urban + livch + (1 | district)"), load_dataset("contraception"))
    >>> solution = solve_ml(d)
    >>> round(solution.loglik, 4), round(float(solution.theta[0]), 4)
    (-1206.8078, 0.4609)
    """
    _check(design, n_agq, reml, information)
    glm.refuse_constant(design)
    return _solve(design, n_agq, reml, information, None)


def solve_map(design: Design, n_agq: int = 1, information: str = "observed") -> MLSolution:
    """Maximise the integrated likelihood times the priors: the posterior mode of (β, sds, correlations).

    The priors are ``design.priors``, densities on the user's scale of coefficients, standard deviations and
    correlation matrices (no Jacobians); the group effects are integrated out as in :func:`solve_ml`, which it equals
    where every prior is flat.

    Raises
    ------
    FitError
        For a quadrature the model does not admit, or where the priors do not keep the mode finite.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> d = build_design(Spec("use ~ age + urban + livch + (1 | district)"), load_dataset("contraception"))
    >>> round(float(solve_map(d).theta[0]), 2)
    0.47
    """
    _check(design, n_agq, False, information)
    if n_agq == 0:
        raise FitError("n_agq = 0 takes the fixed effects at a mode without priors: use n_agq=1 for a posterior mode")
    return _solve(design, n_agq, False, information, Penalty.of(design))


def _check(design: Design, n_agq: int, reml: bool, information: str) -> None:
    gaussian = design.family.name == "gaussian"
    if isinstance(n_agq, bool) or not isinstance(n_agq, int | np.integer) or n_agq < 0:
        raise FitError(f"n_agq should be 0 (fast), 1 (Laplace) or more quadrature points, not {n_agq}")
    if information not in INFORMATION:
        raise FitError(f'there is no "{information}" information; {among(information, INFORMATION)}')
    if reml and not gaussian:
        raise FitError(
            f"REML is defined for gaussian models; this one is {design.family}: fit by maximum likelihood (reml=False)"
        )
    if n_agq > 1 and design.groups and not gaussian:
        widths = [len(group.terms) for group in design.groups]
        if len(widths) > 1 or int(n_agq) ** widths[0] > _MOST_NODES:
            terms = " and ".join(f"({', '.join(g.terms)} | {g.name})" for g in design.groups)
            raise FitError(
                f"n_agq = {n_agq} needs a single random-effect term and at most {_MOST_NODES:,} nodes; this model "
                f"has {terms}: use n_agq=1"
            )
        if information == "expected":
            raise FitError("quadrature needs no determinant: information= is for n_agq = 0 or 1")


def _solve(design: Design, n_agq: int, reml: bool, information: str, penalty: Penalty | None) -> MLSolution:
    began = time.perf_counter()
    if design.family.name == "gaussian":
        return _solve_linear(design, reml, penalty, began)
    rows = glm.read_rows(design, design.groups[0] if _one_term(design, n_agq, information) else None)
    null = glm.null_loglik(rows) if penalty is None or _varies(rows) else np.nan
    p = rows.X.shape[1]
    if penalty is None:
        beta, at_zero, value = glm.fit_glm(rows, design.terms)
    else:
        optimum = _penalised_glm(rows, penalty)
        beta, at_zero, value = optimum.x, optimum.information, optimum.value
    if not design.groups:
        eta = rows.restore(rows.offset + rows.X @ beta)
        if penalty is None:
            gradient, info = np.empty(p), np.empty((p, p))
            glm.sums(rows.link, rows.y, rows.trials, rows.X, rows.offset, beta, gradient, info)
            distance = float(np.sqrt(abs(gradient @ np.linalg.solve(at_zero, gradient)))) if p else 0.0
            optimum = Optimum(beta, value, gradient, at_zero, distance, True, np.linalg.eigvalsh(at_zero), 0)
        state = State(beta, [], [], [], eta, at_zero)
        inverse = np.linalg.inv(at_zero)
        log_prior = np.nan if penalty is None else penalty.fixed(beta)[0]
        loglik = optimum.value + rows.constant - (0.0 if penalty is None else log_prior)
        return _assemble(
            design, state, np.zeros(0), np.nan, inverse, loglik, null, log_prior, optimum, 1, reml, information, began
        )

    integrated = integrated_likelihood(design, rows, beta, n_agq, information)
    objective = integrated.objective if penalty is None else _penalised(integrated, penalty)
    x, guess = _start(design, rows, integrated, beta, penalty)
    optimum = maximise(objective, x, guess)
    if not optimum.converged:
        optimum = _from_elsewhere(objective, optimum, integrated)
    if penalty is None:
        optimum = _at_boundary(integrated, optimum)
    loglik = integrated.objective(optimum.x)[0] + rows.constant
    if not np.isfinite(loglik):
        raise FitError("the likelihood could not be evaluated: check the data for extreme values")
    state = integrated.state(optimum.x)
    inverse, theta = _inverse(optimum.information), optimum.x[integrated.n_beta :]
    if n_agq == 0:
        joint = np.zeros((p + len(theta),) * 2)
        joint[:p, :p], joint[p:, p:] = np.linalg.inv(state.information), inverse
        inverse = joint
    log_prior = np.nan
    if penalty is not None:
        log_prior = penalty.fixed(state.beta)[0] + penalty.random(theta)[0]
        state = _with_priors(state, penalty)
    return _assemble(
        design, state, theta, np.nan, inverse, loglik, null, log_prior, optimum, n_agq, reml, information, began
    )


def _one_term(design: Design, n_agq: int, information: str) -> bool:
    """Whether the groups are independent, so that the likelihood is a product over them."""
    return len(design.groups) == 1 and n_agq > 0 and information == "observed"


def integrated_likelihood(design: Design, rows: glm.Rows, beta: Array, n_agq: int, information: str) -> Integrated:
    """The integrated likelihood of a generalised model with groups; ``beta`` is where ``n_agq = 0`` starts from."""
    if n_agq == 0:
        return joint_terms(design, rows, beta, information == "expected")
    if _one_term(design, n_agq, information):
        return (scalar_term if len(design.groups[0].terms) == 1 else vector_term)(design, rows, n_agq)
    return many_terms(design, rows, information == "expected")


def _solve_linear(design: Design, reml: bool, penalty: Penalty | None, began: float) -> MLSolution:
    # The linear mixed model has kernels of its own.
    from bayesmlm.ml.gaussian import solve_gaussian

    rows = glm.read_rows(design)
    solved = solve_gaussian(design, rows, reml, penalty)
    w, y = design.weights * design.freq, design.response.y - design.offset
    n = float(design.freq.sum())
    centred = y - (w @ y) / w.sum()
    null = 0.5 * float((design.freq * np.log(design.weights)).sum()) - 0.5 * n * (
        1.0 + np.log(2.0 * np.pi * (w @ centred**2) / n)
    )
    log_prior, state = np.nan, solved.state
    if penalty is not None:
        state = _with_priors(state, penalty)
        log_prior = penalty.fixed(state.beta)[0] + penalty.random(solved.theta)[0] + penalty.sigma(solved.sigma)[0]
    return _assemble(
        design, state, solved.theta, solved.sigma, solved.covariance, solved.loglik, null, log_prior,
        solved.optimum, 1, reml, "observed", began,
    )  # fmt: skip


def _varies(rows: glm.Rows) -> bool:
    """Whether the intercept alone has a maximum."""
    return bool(rows.y.any()) and (rows.link == kernels.LOG or bool((rows.trials - rows.y).any()))


def _with_priors(state: State, penalty: Penalty) -> State:
    """The state with what the priors know of β added to its information."""
    return replace(state, information=state.information + np.diag(penalty.curvature(state.beta)))


def _penalised_glm(rows: glm.Rows, penalty: Penalty) -> Optimum:
    """The posterior mode of the model without groups."""
    p = rows.X.shape[1]
    information = np.empty((p, p))

    def objective(beta: Array) -> tuple[float, Array]:
        gradient = np.empty(p)
        value = glm.sums(rows.link, rows.y, rows.trials, rows.X, rows.offset, beta, gradient, information)
        of_prior, d_prior = penalty.fixed(beta)
        return (value + of_prior, gradient + d_prior) if np.isfinite(value) else (-np.inf, gradient)

    start = glm.start_at(rows)
    objective(start)
    optimum = maximise(objective, start, information + np.diag(np.maximum(penalty.curvature(start), 1e-6)))
    if not optimum.converged:
        raise FitError(
            "the priors do not keep the posterior mode finite where the predictors separate the responses: "
            "give the fixed effects a proper prior, for example normal(0, 2.5)"
        )
    return optimum


def _penalised(integrated: Integrated, penalty: Penalty) -> Objective:
    p = integrated.n_beta

    def objective(x: Array) -> tuple[float, Array]:
        value, gradient = integrated.objective(x)
        of_random, d_random = penalty.random(x[p:])
        of_fixed, d_fixed = penalty.fixed(x[:p]) if p else (0.0, np.zeros(0))
        total = value + of_fixed + of_random
        return (total, gradient + np.concatenate([d_fixed, d_random])) if np.isfinite(total) else (-np.inf, gradient)

    return objective


def _start(
    design: Design, rows: glm.Rows, integrated: Integrated, beta: Array, penalty: Penalty | None
) -> tuple[Array, Callable[[], Array]]:
    """A start for the parameters, and a guess of the information there once the likelihood is evaluated at it."""
    p = integrated.n_beta
    terms = [(*glm.group_columns(rows, group), group.scales, group.n_levels) for group in design.groups]
    theta, expected = start_glmm(rows.link, rows.y, rows.trials, rows.offset + rows.X @ beta, terms)
    x = np.concatenate([beta[:p], theta])

    def guess() -> Array:
        out = np.eye(len(x))
        out[p:, p:] = expected + 0.1 * np.eye(len(theta))
        if p:
            out[:p, :p] = integrated.state(x).information
            if penalty is not None:
                out[:p, :p] += np.diag(np.maximum(penalty.curvature(beta), 0.0))
        return out

    return x, guess


def _assemble(
    design: Design, state: State, theta: Array, sigma: float, inverse: Array, loglik: float, null: float,
    log_prior: float, optimum: Optimum, n_agq: int, reml: bool, information: str, began: float,
) -> MLSolution:  # fmt: skip
    """Back to the user's scale: β = T β_internal, and row a of λ divides by the scale of column a."""
    T, p = design.scaling.matrix, len(state.beta)
    columns = tuple(len(group.terms) for group in design.groups)
    scales = [np.repeat((1.0 / g.scales)[:, None], len(g.scales), axis=1) for g in design.groups]
    # Flip columns of λ so that its diagonal is positive; u flips along.
    raw = [lam * scale for lam, scale in zip(covariance.factors(theta, columns), scales, strict=True)]
    signs = [np.tile(np.where(np.diag(lam) < 0.0, -1.0, 1.0), (len(lam), 1)) for lam in raw]
    back = np.eye(len(inverse))
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
        sigma=sigma,
        covariance=back @ inverse @ back.T,
        conditional_covariance=T @ np.linalg.inv(state.information) @ T.T,
        loglik=loglik,
        null_loglik=null,
        log_prior=float(log_prior),
        modes=modes,
        mode_covariances=tuple(lam @ V @ lam.T for V, lam in zip(state.covariances, raw, strict=True)),
        sensitivities=tuple(lam @ (s @ inverse_T) for s, lam in zip(state.slopes, raw, strict=True)),
        linear_predictor=eta,
        optimum=optimum,
        n_agq=int(n_agq),
        reml=bool(reml),
        information=information,
        seconds=time.perf_counter() - began,
    )


def _from_elsewhere(objective: Objective, optimum: Optimum, integrated: Integrated) -> Optimum:
    """Search again where a column's variance all but vanished beside a correlation.

    With λ_bb = 0 every rotation of the columns below it gives the same covariance, and a search can come to rest on
    the wrong one, where nothing pulls λ_bb off zero.  Starts with a small variance there and strong correlations of
    either sign have no such rest.
    """
    p, best = integrated.n_beta, optimum
    lams = covariance.factors(optimum.x[p:], integrated.columns)
    if max(integrated.columns) < 2:
        return optimum
    for sign in (1.0, -1.0):
        moved = []
        for lam in lams:
            sd = np.sqrt((lam * lam).sum(axis=1))
            floor = 0.1 * max(float(sd.max()), 0.1)
            small = sd < 2.0 * floor
            sigma = np.diag(np.maximum(sd, floor) ** 2)
            across = small[:, None] != small
            sigma[across] = 0.8 * sign * np.outer(np.sqrt(np.diag(sigma)), np.sqrt(np.diag(sigma)))[across]
            keep = ~small[:, None] & ~small
            sigma[keep] = (lam @ lam.T)[keep]
            values, vectors = np.linalg.eigh(sigma)
            positive = (vectors * np.maximum(values, 0.01 * values[-1])) @ vectors.T
            moved.append(np.linalg.cholesky(positive))
        start = np.concatenate([optimum.x[:p], covariance.pack(moved)])
        values, vectors = np.linalg.eigh(optimum.information)
        guess = (vectors * np.maximum(np.abs(values), 0.1)) @ vectors.T
        other = maximise(objective, start, guess)
        if other.value > best.value + 1e-9 or (other.converged and other.value > best.value - 1e-9):
            best = other
    return best


def _at_boundary(integrated: Integrated, optimum: Optimum) -> Optimum:
    """Put a variance that has all but vanished at zero, where the likelihood is no lower there."""
    at, x = integrated.n_beta, optimum.x.copy()
    for k in integrated.columns:
        if k == 1 and abs(x[at]) < 1e-3:
            x[at] = 0.0
        at += k * (k + 1) // 2
    if np.array_equal(x, optimum.x):
        return optimum
    value, gradient = integrated.objective(x)
    if value < optimum.value - 1e-7:
        return optimum
    converged = optimum.distance < 1e-2 and bool(optimum.eigenvalues[0] > 0.0)
    return Optimum(
        x, value, gradient, optimum.information, optimum.distance, converged,
        optimum.eigenvalues, optimum.evaluations + 1,
    )  # fmt: skip


def _inverse(information: Array) -> Array:
    """Inverse of the information; directions without curvature get an infinite-looking, not a negative, variance."""
    values, vectors = np.linalg.eigh(information)
    floor = 1e-10 * max(abs(values[-1]), 1e-300)
    return (vectors / np.maximum(values, floor)) @ vectors.T
