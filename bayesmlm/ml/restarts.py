"""Is this the highest maximum?  The search again, from points strewn around the estimates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.laplace import covariance
from bayesmlm.ml import engine, gaussian, glm
from bayesmlm.ml.engine import MLSolution
from bayesmlm.ml.optimise import Objective, Optimum, maximise
from bayesmlm.ml.penalty import Penalty

__all__ = ["OptimumCheck", "search_again"]

Array = np.ndarray[Any, Any]

_SAME = 1e-4
"""Difference in log-likelihood below which two maxima are one."""


@dataclass(frozen=True, slots=True)
class OptimumCheck:
    """Where searches from other points ended.

    Attributes
    ----------
    value : float
        Log-likelihood of the fit; the restricted one by REML, the log-posterior of a posterior mode.
    values : ndarray, shape (n,)
        The same where each search ended, NaN where it stopped short of a maximum.  Empty where the likelihood has one
        maximum by its nature.
    better : MLFit or None
        The fit at the highest of them, where that is higher than this fit's (of models that are not Gaussian).
    what : str
        ``log-likelihood`` or ``log-posterior``.

    Examples
    --------
    >>> found = OptimumCheck(-10.0, np.array([-10.0, -10.0, -12.0]))
    >>> found.best, found.reached, found.spread, found.ok
    (-10.0, 2, 2.0, True)
    >>> OptimumCheck(-12.0, np.array([-10.0, -10.0, -12.0])).ok
    False
    """

    value: float
    values: Array
    better: Any = None
    what: str = "log-likelihood"

    @property
    def best(self) -> float:
        """The highest value there is."""
        return float(np.nanmax(np.append(self.values, self.value)))

    @property
    def reached(self) -> int:
        """How many searches reached it."""
        return int((self.values > self.best - _SAME).sum())

    @property
    def spread(self) -> float:
        """From the lowest to the highest value of the searches that converged; 0 where none did."""
        ends = self.values[~np.isnan(self.values)]
        return float(np.ptp(ends)) if len(ends) else 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing higher was found."""
        return self.better is None and self.value > self.best - _SAME

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        n, lost = len(self.values), int(np.isnan(self.values).sum())
        if n == 0:
            return f"There is one maximum by the nature of this model: a {self.what} of {self.value:.4f}."
        searches = f"{n} searches from other points" + (f" ({lost} stopped short)" if lost else "")
        if not self.ok:
            there = "" if self.better is None else "; .better is the fit there, with notes of its own"
            if self.value > self.best - _SAME:
                return f"{self.reached} of {searches} converged at the {self.what} where this fit did not{there}."
            return (
                f"This fit is not at the highest maximum: {self.reached} of {searches} reached a {self.what} of "
                f"{self.best:.4f}, the fit has {self.value:.4f}{there}."
            )
        if self.reached + lost == n:
            return f"{self.reached} of {searches} ended at the {self.what} of this fit, {self.value:.4f}."
        lowest = self.best - float(np.nanmin(self.values))
        return (
            f"{self.reached} of {searches} ended at the {self.what} of this fit, {self.value:.4f}, and none above it; "
            f"there are lower maxima, down to {lowest:.2g} below."
        )


@dataclass(frozen=True, slots=True)
class _Search:
    """A likelihood in the coordinates of its search.

    Attributes
    ----------
    objective : callable
    columns : tuple of int
        Of each random-effect term.
    n_fixed : int
        How many coordinates come before θ.
    solution : callable or None
        An optimum as a solution.
    """

    objective: Objective
    columns: tuple[int, ...]
    n_fixed: int
    solution: Callable[[Optimum], MLSolution] | None = None


def search_again(design: Design, solution: MLSolution, n: int, seed: int) -> tuple[float, Array, MLSolution | None]:
    """Search from dispersed points.

    Coefficients start two standard errors around the estimates, standard deviations at e to a standard normal times
    theirs (or times a moderate one where they are small), correlations anywhere.

    Parameters
    ----------
    design : Design
    solution : MLSolution
    n : int
        Searches.
    seed : int

    Returns
    -------
    value : float
        Of the solution, its log-prior included.
    values : ndarray, shape (n,)
        Where each search ended; NaN where it did not converge.  Empty where the maximum is known in closed form.
    better : MLSolution or None

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> value, values, better = search_again(fit.design, fit.solution, 5, seed=1)
    >>> bool(np.ptp(values) < 1e-6), better
    (True, None)
    """
    value = solution.loglik + (0.0 if math.isnan(solution.log_prior) else solution.log_prior)
    known, is_mode = solution.optimum, not math.isnan(solution.log_prior)
    # Without groups the likelihood is concave, and a linear model's maximum is known in closed form.
    if not len(known.x) or not (design.groups or is_mode):
        return value, np.zeros(0), None
    search = (_linear_search if design.family.name == "gaussian" else _search)(design, solution)
    offset = value - search.objective(known.x)[0]
    rng = np.random.default_rng(seed)
    ends, best = np.full((n, 2), np.nan), known
    for i in range(n):
        found = _from(search, _strewn(known, search, rng), known)
        if found is None:
            continue
        ends[i] = found.value, found.converged
        if found.value > best.value + _SAME or (
            found.converged and not best.converged and found.value > best.value - _SAME
        ):
            best = found
    # At the boundary a search may come to rest on the same height without being able to prove it.
    short = (ends[:, 1] == 0.0) & (ends[:, 0] < best.value - _SAME)
    values = np.where(short, np.nan, ends[:, 0] + offset)
    return value, values, None if best is known or search.solution is None else search.solution(best)


def _strewn(known: Optimum, search: _Search, rng: np.random.Generator) -> Array:
    x = known.x.copy()
    spread = np.sqrt(np.diag(engine._inverse(known.information)))
    size = covariance.theta_size(search.columns)
    theta = slice(search.n_fixed, search.n_fixed + size)
    x += 2.0 * np.minimum(spread, 10.0) * rng.standard_normal(len(x))
    lams = []
    for lam in covariance.factors(known.x[theta], search.columns):
        sd = np.maximum(np.sqrt((lam * lam).sum(axis=1)), 0.3) * np.exp(rng.standard_normal(len(lam)))
        unit = np.tril(rng.standard_normal(lam.shape))
        lams.append(sd[:, None] * unit / np.sqrt((unit * unit).sum(axis=1, keepdims=True)))
    x[theta] = covariance.pack(lams)
    return x


def _from(search: _Search, start: Array, known: Optimum) -> Optimum | None:
    """Search from a point, or from nearer by where the likelihood cannot be evaluated there."""
    diagonal = np.abs(np.diag(known.information))
    guess = np.diag(np.maximum(diagonal, 1e-3 * max(float(diagonal.max()), 1e-6)))
    for _ in range(8):
        if math.isfinite(search.objective(start)[0]):
            try:
                return maximise(search.objective, start, guess)
            except np.linalg.LinAlgError:
                return None
        start = 0.5 * (start + known.x)
    return None


def _linear_search(design: Design, solution: MLSolution) -> _Search:
    """A Gaussian model: over θ relative to σ, or over everything at a posterior mode."""
    linear = gaussian._linear(design, glm.read_rows(design))
    if math.isnan(solution.log_prior):
        return _Search(gaussian._profiled(linear, solution.reml), linear.columns, 0)
    return _Search(gaussian._unprofiled(linear, Penalty.of(design)), linear.columns, len(linear.centre))


def _search(design: Design, solution: MLSolution) -> _Search:
    """A generalised model."""
    began = time.perf_counter()
    n_agq, information = solution.n_agq, solution.information
    penalty = None if math.isnan(solution.log_prior) else Penalty.of(design)
    one_term = len(design.groups) == 1 and n_agq > 0 and information == "observed"
    rows = glm.read_rows(design, design.groups[0] if one_term else None)
    p = rows.X.shape[1]
    if penalty is not None and not design.groups:
        plain = glm.objective(rows)

        def objective(x: Array) -> tuple[float, Array]:
            (value, gradient), (of_prior, d_prior) = plain(x), penalty.fixed(x)
            return value + of_prior, gradient + d_prior

        return _Search(objective, (), p)
    start = np.linalg.solve(design.scaling.matrix, solution.beta)
    integrated = engine.integrated_likelihood(design, rows, start, n_agq, information)

    def finished(optimum: Optimum) -> MLSolution:
        if penalty is None:
            optimum = engine._at_boundary(integrated, optimum)
        loglik = integrated.objective(optimum.x)[0] + rows.constant
        state = integrated.state(optimum.x)
        inverse, theta = engine._inverse(optimum.information), optimum.x[integrated.n_beta :]
        if n_agq == 0:
            joint = np.zeros((p + len(theta),) * 2)
            joint[:p, :p], joint[p:, p:] = np.linalg.inv(state.information), inverse
            inverse = joint
        log_prior = math.nan
        if penalty is not None:
            log_prior = penalty.fixed(state.beta)[0] + penalty.random(theta)[0]
            state = engine._with_priors(state, penalty)
        return engine._assemble(
            design, state, theta, math.nan, inverse, loglik, solution.null_loglik, log_prior, optimum, n_agq, False,
            information, began,
        )  # fmt: skip

    whole = integrated.objective if penalty is None else engine._penalised(integrated, penalty)
    return _Search(whole, integrated.columns, integrated.n_beta, finished)
