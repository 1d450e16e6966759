"""Binary responses and counts: what is maximised without groups, and with groups integrated out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.laplace import covariance, kernels
from bayesmlm.ml import glm
from bayesmlm.ml.integrated import Integrated, State, joint_terms, many_terms, scalar_term, vector_term
from bayesmlm.ml.optimise import Objective, Optimum, maximise
from bayesmlm.ml.penalty import Penalty
from bayesmlm.ml.problem import Maximum, Problem, inverse_information, with_priors
from bayesmlm.ml.start import start_glmm

__all__ = ["WithGroups", "WithoutGroups", "integrated_likelihood"]

Array = np.ndarray[Any, Any]


def one_term(design: Design, n_agq: int, information: str) -> bool:
    """Whether the groups are independent, so that the likelihood is a product over them."""
    return len(design.groups) == 1 and n_agq > 0 and information == "observed"


def integrated_likelihood(design: Design, rows: glm.Rows, beta: Array, n_agq: int, information: str) -> Integrated:
    """The integrated likelihood of a generalised model with groups; ``beta`` is where ``n_agq = 0`` starts from."""
    if n_agq == 0:
        return joint_terms(design, rows, beta, information == "expected")
    if one_term(design, n_agq, information):
        return (scalar_term if len(design.groups[0].terms) == 1 else vector_term)(design, rows, n_agq)
    return many_terms(design, rows, information == "expected")


def _null_loglik(rows: glm.Rows, penalty: Penalty | None) -> float:
    """Log-likelihood of the intercept alone; NaN where it has no maximum, which only priors survive."""
    varies = rows.y.any() and (rows.link == kernels.LOG or (rows.trials - rows.y).any())
    return glm.null_loglik(rows) if penalty is None or varies else np.nan


@dataclass(frozen=True, slots=True)
class WithoutGroups(Problem):
    """A generalised linear model, or the mode of its posterior.  Its likelihood is concave.

    Attributes
    ----------
    design : Design
    rows : Rows
    penalty : Penalty or None
        The priors of a posterior mode.
    """

    design: Design
    rows: glm.Rows
    penalty: Penalty | None

    @property
    def columns(self) -> tuple[int, ...]:
        """There are no terms."""
        return ()

    @property
    def n_fixed(self) -> int:
        """All coordinates are β."""
        return self.rows.X.shape[1]

    def objective(self, x: Array) -> tuple[float, Array]:
        """Log-likelihood plus log-prior at β."""
        return self._at(x, np.empty((self.n_fixed,) * 2))

    def _at(self, beta: Array, information: Array) -> tuple[float, Array]:
        """The objective; out: the likelihood's information."""
        rows, gradient = self.rows, np.empty(self.n_fixed)
        value = float(glm.sums(rows.link, rows.y, rows.trials, rows.X, rows.offset, beta, gradient, information))
        if not np.isfinite(value):
            return -np.inf, gradient
        if self.penalty is None:
            return value, gradient
        of_prior, d_prior = self.penalty.fixed(beta)
        return value + of_prior, gradient + d_prior

    def search(self, start: Array | None = None) -> Optimum:
        """Newton's method, or with priors the search every posterior mode takes.

        Raises
        ------
        FitError
            Where predictors separate the responses and no priors keep β finite.
        """
        p, penalty = self.n_fixed, self.penalty
        if penalty is None:
            beta, information, value = glm.fit_glm(self.rows, self.design.terms)
            gradient = self.objective(beta)[1]
            distance = float(np.sqrt(abs(gradient @ np.linalg.solve(information, gradient)))) if p else 0.0
            eigenvalues = np.linalg.eigvalsh(information)
            return Optimum(beta, value, gradient, information, distance, True, eigenvalues, 0)
        start, information = glm.start_at(self.rows) if start is None else start, np.empty((p, p))
        self._at(start, information)
        guess = information + np.diag(np.maximum(penalty.curvature(start), 1e-6))
        optimum = maximise(self.objective, start, guess)
        if not optimum.converged:
            raise FitError(
                "the priors do not keep the posterior mode finite where the predictors separate the responses: "
                "give the fixed effects a proper prior, for example normal(0, 2.5)"
            )
        return optimum

    def maximum(self, optimum: Optimum) -> Maximum:
        """The model at β."""
        rows, beta = self.rows, optimum.x
        eta = rows.restore(rows.offset + rows.X @ beta)
        log_prior = np.nan if self.penalty is None else self.penalty.fixed(beta)[0]
        loglik = optimum.value + rows.constant - (0.0 if self.penalty is None else log_prior)
        return Maximum(
            State(beta, [], [], [], eta, optimum.information), np.zeros(0), np.nan, np.linalg.inv(optimum.information),
            loglik, _null_loglik(rows, self.penalty), log_prior, optimum,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class WithGroups(Problem):
    """A generalised model whose group effects are integrated out, or the mode of its posterior.

    Attributes
    ----------
    design : Design
    rows : Rows
        Sorted by group where there is one term.
    penalty : Penalty or None
    beta : ndarray, shape (p,)
        The model without groups, near which the search starts.
    integrated : Integrated
    n_agq : int
    """

    design: Design
    rows: glm.Rows
    penalty: Penalty | None
    beta: Array
    integrated: Integrated
    n_agq: int

    @classmethod
    def of(cls, design: Design, n_agq: int, information: str, penalty: Penalty | None) -> WithGroups:
        """Read a design, and fit the model without its groups.

        Raises
        ------
        FitError
            Where that has no maximum: neither has this.
        """
        rows = glm.read_rows(design, design.groups[0] if one_term(design, n_agq, information) else None)
        beta = WithoutGroups(design, rows, penalty).search().x
        return cls(design, rows, penalty, beta, integrated_likelihood(design, rows, beta, n_agq, information), n_agq)

    @property
    def columns(self) -> tuple[int, ...]:
        """Of each term."""
        return self.integrated.columns

    @property
    def n_fixed(self) -> int:
        """None with ``n_agq = 0``."""
        return self.integrated.n_beta

    def objective(self, x: Array) -> tuple[float, Array]:
        """Integrated log-likelihood plus log-prior."""
        value, gradient = self.integrated.objective(x)
        if self.penalty is None:
            return value, gradient
        p = self.n_fixed
        of_random, d_random = self.penalty.random(x[p:])
        of_fixed, d_fixed = self.penalty.fixed(x[:p]) if p else (0.0, np.zeros(0))
        total = value + of_fixed + of_random
        return (total, gradient + np.concatenate([d_fixed, d_random])) if np.isfinite(total) else (-np.inf, gradient)

    def search(self, start: Array | None = None) -> Optimum:
        """BFGS, then Newton; once more from elsewhere where that comes to rest beside a maximum."""
        own, guess = self._start(start)
        optimum = maximise(self.objective, own, guess)
        return optimum if optimum.converged else _from_elsewhere(self.objective, optimum, self.integrated)

    def _start(self, start: Array | None) -> tuple[Array, Callable[[], Array]]:
        """A start for the parameters, and a guess of the information there once the likelihood is evaluated at it."""
        rows, p = self.rows, self.n_fixed
        terms = [(*glm.group_columns(rows, group), group.scales, group.n_levels) for group in self.design.groups]
        theta, expected = start_glmm(rows.link, rows.y, rows.trials, rows.offset + rows.X @ self.beta, terms)
        x = np.concatenate([self.beta[:p], theta]) if start is None else start

        def guess() -> Array:
            out = np.eye(len(x))
            out[p:, p:] = expected + 0.1 * np.eye(len(theta))
            if p:
                out[:p, :p] = self.integrated.state(x).information
                if self.penalty is not None:
                    out[:p, :p] += np.diag(np.maximum(self.penalty.curvature(self.beta), 0.0))
            return out

        return x, guess

    def maximum(self, optimum: Optimum) -> Maximum:
        """The model at (β, θ), a variance that has all but vanished put at zero.

        Raises
        ------
        FitError
            Where the likelihood cannot be evaluated.
        """
        integrated, penalty, p = self.integrated, self.penalty, len(self.beta)
        if penalty is None:
            optimum = _at_boundary(integrated, optimum)
        # The state is that of the last evaluation.
        loglik = integrated.objective(optimum.x)[0] + self.rows.constant
        if not np.isfinite(loglik):
            raise FitError("the likelihood could not be evaluated: check the data for extreme values")
        state, theta = integrated.state(optimum.x), optimum.x[integrated.n_beta :]
        inverse, log_prior = inverse_information(optimum.information), np.nan
        if self.n_agq == 0:
            joint = np.zeros((p + len(theta),) * 2)
            joint[:p, :p], joint[p:, p:] = np.linalg.inv(state.information), inverse
            inverse = joint
        if penalty is not None:
            log_prior = penalty.fixed(state.beta)[0] + penalty.random(theta)[0]
            state = with_priors(state, penalty)
        null = _null_loglik(self.rows, penalty)
        return Maximum(state, theta, np.nan, inverse, loglik, null, log_prior, optimum)


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
