"""The parametric bootstrap: responses drawn from the fitted model, the model fitted to each, intervals from the fits.

Replicate i is drawn with the random numbers of column ``sim_{i + 1}`` of ``fit.simulate``, new group effects included
(lme4's ``bootMer`` with its defaults), so that it does not depend on the others, nor on the process it is made in.
A search starts where the fit ended and needs no Hessian.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.fit import Fit, check_count, labels
from bayesmlm.laplace import kernels
from bayesmlm.laplace.covariance import factors, sd_cor
from bayesmlm.ml import glm
from bayesmlm.ml.bootstrapped import Bootstrap
from bayesmlm.ml.engine import MLSolution, integrated_likelihood, solve_map, solve_ml
from bayesmlm.ml.optimise import maximise
from bayesmlm.ml.sections import positive_definite
from bayesmlm.replicates import Progress, replicates
from bayesmlm.simulation import Parameters, check_seed, generator, simulate, simulation_rows

__all__ = ["Bootstrap", "bootstrap"]

Array = np.ndarray[Any, Any]
Statistic = Callable[[Any], Any]

_FAR = 15.0
"""A linear predictor beyond which responses may be separated: the whole engine, which looks for that, fits again."""


# replicates -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Task:
    """What a process needs to make replicates: arrays, or a whole fit where a statistic of one is asked for."""

    design: Design
    solution: MLSolution
    seed: int
    fit: Any = None
    statistic: Statistic | None = None


def _replicate(task: _Task) -> Callable[[int], Array]:
    """Make a replicate's quantities by its number."""
    design, solution = task.design, task.solution
    rows = simulation_rows(design, None, None)
    lams = tuple(factors(solution.theta, tuple(len(group.terms) for group in design.groups)))
    truth = Parameters(solution.beta, lams, solution.sigma, solution.modes)
    of_response = _refit(design, solution) if task.statistic is None else _statistic_of_refit(task.fit, task.statistic)
    return lambda replicate: of_response(simulate(design.family, rows, truth, False, generator(task.seed, replicate)))


def _statistic_of_refit(fit: Any, statistic: Statistic) -> Callable[[Array], Array]:
    return lambda y: _named(statistic, statistic(fit.refit(y)))[1]


def _named(statistic: Statistic, value: Any) -> tuple[list[str], Array]:
    """Names and numbers of what a statistic returned."""
    values = np.atleast_1d(np.asarray(list(value.values()) if isinstance(value, Mapping) else value, dtype=float))
    if values.ndim > 1:
        raise FitError(
            f"a statistic should give a number, or numbers in one dimension, not an array of shape {values.shape}"
        )
    own = getattr(statistic, "__name__", "statistic")
    if isinstance(value, Mapping):
        return [str(key) for key in value], values
    if hasattr(value, "index") and not callable(value.index):
        return [str(key) for key in value.index], values
    return [own] if np.ndim(value) == 0 else [f"{own}[{at}]" for at in range(len(values))], values


def _quantities(design: Design, beta: Array, theta: Array, sigma: float) -> Array:
    """Everything in the table of a fit, in its order."""
    unit = 1.0 if np.isnan(sigma) else sigma
    sds, correlations = [], []
    for group, lam in zip(design.groups, factors(theta, tuple(len(g.terms) for g in design.groups)), strict=True):
        sd, cor = sd_cor(lam)
        gone = sd * group.scales <= _ZERO * unit
        first, second = np.triu_indices(len(sd), 1)
        sds.append(np.where(gone, 0.0, sd))
        correlations.append(np.where(gone[first] | gone[second], np.nan, cor))
    residual = [[sigma]] if design.family.name == "gaussian" else []
    return np.concatenate([beta, *sds, *correlations, *residual])


_ZERO = 1e-4
"""A standard deviation below this, relative to the residual's, is 0, as in the table of a fit."""


def _refit(design: Design, solution: MLSolution) -> Callable[[Array], Array]:
    """y -> quantities of the fit to it: with a warm start where the engine's own search is worth sparing."""

    def whole(y: Array) -> Array:
        moved = replace(design, response=replace(design.response, y=y))
        if np.isnan(solution.log_prior):
            found = solve_ml(moved, solution.n_agq, solution.reml, solution.information)
        else:
            found = solve_map(moved, solution.n_agq, solution.information)
        return _quantities(design, found.beta, found.theta, found.sigma)

    plain = design.family.name != "gaussian" and np.isnan(solution.log_prior) and solution.n_agq > 0
    return _warm_refit(design, solution, whole) if plain and design.groups else whole


def _warm_refit(design: Design, solution: MLSolution, whole: Callable[[Array], Array]) -> Callable[[Array], Array]:
    one_term = len(design.groups) == 1 and solution.information == "observed"
    rows = glm.read_rows(design, design.groups[0] if one_term else None)
    counts = design.weights * design.freq
    p, sizes, T = rows.X.shape[1], tuple(len(g.terms) for g in design.groups), design.scaling.matrix
    scales = [group.scales[:, None] for group in design.groups]
    start, information = solution.optimum.x.copy(), positive_definite(solution.optimum.information)
    at, diagonals = p, []
    for k in sizes:
        for b in range(k):
            if np.abs(start[at : at + k - b]).max() < 1e-2:
                # A column at zero is a stationary point of any response: start from beside it.
                start[at] = min(0.5 / float(np.sqrt(information[at, at])), 0.3)
            diagonals.append((k, at))
            at += k - b

    def warm(y: Array) -> Array:
        own = replace(rows, y=np.ascontiguousarray((y * counts)[rows.order]))
        if not own.y.any() or (rows.link != kernels.LOG and not (own.trials - own.y).any()):
            return whole(y)
        likelihood = integrated_likelihood(design, own, start[:p], solution.n_agq, solution.information)
        found = maximise(likelihood.objective, start, information, hessian=False)
        eta = rows.offset + rows.X @ found.x[:p]
        far = eta.min(initial=0.0) < -_FAR or (rows.link != kernels.LOG and eta.max(initial=0.0) > _FAR)
        # Beside a correlation a column at zero may be the wrong one of several maxima.
        doubtful = any(k > 1 and abs(found.x[d]) < 1e-2 for k, d in diagonals)
        if not found.converged or far or doubtful:
            return whole(y)
        lams = [lam / s for lam, s in zip(factors(found.x[p:], sizes), scales, strict=True)]
        theta = np.concatenate([lam[b:, b] for lam in lams for b in range(len(lam))])
        return _quantities(design, T @ found.x[:p], theta, np.nan)

    return warm


# the bootstrap --------------------------------------------------------------------------------------------


def bootstrap(
    fit: Fit,
    statistic: Statistic | None = None,
    n: int = 1000,
    seed: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Bootstrap:
    """Parametric bootstrap of a fit by maximum likelihood, REML or posterior mode.

    Parameters
    ----------
    fit : MLFit
    statistic : callable, optional
        Takes a fit, gives a number, an array, a Series or a mapping; each replicate is then a fit with all it has.
        Without it the quantities of ``fit.table()``, which are found faster.
    n : int
        Replicates.
    seed : int, optional
        The same seed gives the same replicates, whatever the number of workers.
    workers : int, optional
        Processes; one, this one, by default.  More pay when the replicates take longer than the processes' start, some
        seconds; a script has to keep what it runs under ``if __name__ == "__main__"``.
    progress : callable, optional
        Called with the replicates done and in all.  Without it a bar shows on a terminal after two seconds.

    Returns
    -------
    Bootstrap

    Raises
    ------
    FitError
        For fewer than 1 replicate, a fit without parameters to draw from, or where no replicate could be fitted.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> b = bootstrap(fit, lambda f: f.icc(), n=10, seed=1)
    >>> b.labels, b.values.shape
    ((('statistic', '', 'district', ''),), (10, 1))
    """
    if fit.engine not in ("ml", "map"):
        raise FitError("a posterior has no bootstrap; its draws say how uncertain each quantity is")
    began = time.perf_counter()
    n, seed = check_count("n", n), check_seed(seed)
    workers = 1 if workers is None else check_count("workers", workers)
    fit._drawable(None)
    design, solution = fit.design, fit.solution  # type: ignore[attr-defined]
    if statistic is None:
        rows = tuple(labels(design))
        estimate = _quantities(design, solution.beta, solution.theta, solution.sigma)
        # What formulas are read with stays here: the arrays are all that has to travel.
        groups = tuple(replace(group, matrix_spec=None) for group in design.groups)
        task = _Task(replace(design, groups=groups, matrix_spec=None), solution, seed)
    else:
        names, estimate = _named(statistic, statistic(fit))
        rows = tuple(("statistic", "", name, "") for name in names)
        task = _Task(design, solution, seed, fit, statistic)
    made, failures = replicates("bootstrap", _replicate, task, n, 25, workers, progress)
    values = np.full((n, len(rows)), np.nan)
    for row, one in zip(values, made, strict=True):
        if one is not None:
            if len(one) != len(row):
                raise FitError(f"the statistic gave {len(one)} numbers for a replicate and {len(row)} for the fit")
            row[:] = one
    return Bootstrap(values, rows, estimate, failures, seed, time.perf_counter() - began)
