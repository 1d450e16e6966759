"""Is this the highest maximum?  The search again, from points strewn around the estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.laplace import covariance
from bayesmlm.ml.engine import problem_of, solve_map, solve_ml
from bayesmlm.ml.optimise import Optimum, maximise
from bayesmlm.ml.problem import Problem, inverse_information
from bayesmlm.ml.solution import MLSolution

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
        The fit at the highest of them, where that is higher than this fit's.
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
    problem = problem_of(design, solution.n_agq, solution.reml, solution.information, is_mode)
    offset = value - problem.objective(known.x)[0]
    rng = np.random.default_rng(seed)
    ends, best = np.full((n, 2), np.nan), known
    for i in range(n):
        found = _from(problem, _strewn(known, problem, rng), known)
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
    if best is known:
        return value, values, None
    if is_mode:
        return value, values, solve_map(design, solution.n_agq, solution.information, start=best.x)
    better = solve_ml(design, solution.n_agq, solution.reml, solution.information, start=best.x)
    return value, values, better


def _strewn(known: Optimum, problem: Problem, rng: np.random.Generator) -> Array:
    x = known.x.copy()
    spread = np.sqrt(np.diag(inverse_information(known.information)))
    size = covariance.theta_size(problem.columns)
    theta = slice(problem.n_fixed, problem.n_fixed + size)
    x += 2.0 * np.minimum(spread, 10.0) * rng.standard_normal(len(x))
    lams = []
    for lam in covariance.factors(known.x[theta], problem.columns):
        sd = np.maximum(np.sqrt((lam * lam).sum(axis=1)), 0.3) * np.exp(rng.standard_normal(len(lam)))
        unit = np.tril(rng.standard_normal(lam.shape))
        lams.append(sd[:, None] * unit / np.sqrt((unit * unit).sum(axis=1, keepdims=True)))
    x[theta] = covariance.pack(lams)
    return x


def _from(problem: Problem, start: Array, known: Optimum) -> Optimum | None:
    """Search from a point, or from nearer by where the likelihood cannot be evaluated there."""
    diagonal = np.abs(np.diag(known.information))
    guess = np.diag(np.maximum(diagonal, 1e-3 * max(float(diagonal.max()), 1e-6)))
    for _ in range(8):
        if math.isfinite(problem.objective(start)[0]):
            try:
                return maximise(problem.objective, start, guess)
            except np.linalg.LinAlgError:
                return None
        start = 0.5 * (start + known.x)
    return None
