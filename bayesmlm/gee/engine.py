"""The population engine: a design and its clusters in, coefficients, scale, correlations and their covariances out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.gee.association import correlation_equations, joint_covariance, scale_equation
from bayesmlm.gee.clusters import read_clusters
from bayesmlm.gee.mean import Means, Rows, independent_start, means_at, read_rows
from bayesmlm.gee.moments import gee_moments, least_squares, start_of_alpha
from bayesmlm.gee.options import Options
from bayesmlm.gee.sandwich import corrected_scores, robust
from bayesmlm.gee.working import Working, working_of

__all__ = ["GEESolution", "coefficient_covariance", "solve_gee"]

Array = np.ndarray[Any, Any]

_ENOUGH = 1e-9
"""Standard errors (of correlations and scale: shares of themselves) that the last step may move anything."""


@dataclass(frozen=True, slots=True)
class GEESolution:
    """What the estimating equations say, on the user's scale.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    scale : float
    alpha : ndarray, shape (q,)
        Correlations, in the order of the visits' pairs.
    naive, robust : ndarray, shape (p, p)
    covariance : ndarray, shape (p, p)
        The one asked for.
    joint : ndarray, shape (p + 1 + q, p + 1 + q)
        Robust covariance of all of these together; NaN where the flavour has none.
    correlation : ndarray, shape (T, T)
        Of a cluster with every visit; (0, 0) where clusters are larger than anyone would look at.
    visits : tuple of str
        Names of these.
    smallest_eigenvalue : float
        Of the working correlation.
    sizes : tuple of int
        Number of clusters, rows of the smallest and of the largest.
    n_ids, n_runs : int
        Different ids, and runs of adjacent rows with equal ones.
    iterations : int
    change : float
        What the last step moved, see ``tol``.
    converged : bool
    seconds : float
    """

    beta: Array
    scale: float
    alpha: Array
    naive: Array
    robust: Array
    covariance: Array
    joint: Array
    correlation: Array
    visits: tuple[str, ...]
    smallest_eigenvalue: float
    sizes: tuple[int, int, int]
    n_ids: int
    n_runs: int
    iterations: int
    change: float
    converged: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class _State:
    """Estimates on internal coordinates, and what was computed at them."""

    beta: Array
    phi: float
    alpha: Array
    means: Means
    iterations: int
    change: float
    converged: bool


_MOST_VISITS = 200
"""Places of a cluster that the working correlation is written out for."""


def solve_gee(design: Design, data: Any, options: Options) -> GEESolution:
    """Solve the estimating equations.

    Parameters
    ----------
    design : Design
    data : data frame
        Where clusters and time are read from.
    options : Options

    Raises
    ------
    DataError, FitError
        For clusters that cannot be read, and equations without a solution.
    """
    began = time.perf_counter()
    if not design.terms:
        raise FitError("the formula has no fixed effects, and these are all that a GEE estimates; add an intercept")
    clusters = read_clusters(design, data, options)
    rows, working = read_rows(design, clusters), working_of(options.corr, clusters, options.matrix)
    T = design.scaling.matrix
    state = _iterate(rows, working, options, T, design.terms)
    means = state.means
    solved = working.solve(state.alpha, means.slope)
    information = means.slope.T @ solved
    scores = clusters.sums(solved * means.residual[:, None])
    naive = T @ (state.phi * np.linalg.inv(information)) @ T.T
    sandwich = T @ robust(scores, information) @ T.T
    seen = len(clusters.labels) <= _MOST_VISITS
    return GEESolution(
        beta=T @ state.beta,
        scale=state.phi,
        alpha=state.alpha,
        naive=naive,
        robust=sandwich,
        covariance=_covariance(options.se, means, working, state.alpha, T, naive, sandwich),
        joint=_joint(rows, state, working, options, T, scores, information),
        correlation=working.of_visits(state.alpha) if seen else np.empty((0, 0)),
        visits=clusters.labels if seen else (),
        smallest_eigenvalue=working.smallest_eigenvalue(state.alpha),
        sizes=(len(clusters.sizes), int(clusters.sizes.min()), int(clusters.sizes.max())),
        n_ids=clusters.n_ids,
        n_runs=clusters.n_runs,
        iterations=state.iterations,
        change=state.change,
        converged=state.converged,
        seconds=time.perf_counter() - began,
    )


def coefficient_covariance(design: Design, data: Any, options: Options, solution: GEESolution, kind: str) -> Array:
    """Another covariance of the coefficients of a solution, shape (p, p); see :data:`bayesmlm.gee.options.COVARIANCES`.

    Raises
    ------
    FitError
        Where a correction is not defined.
    """
    if kind in ("naive", "robust"):
        return solution.naive if kind == "naive" else solution.robust
    if kind == options.se:
        return solution.covariance
    clusters = read_clusters(design, data, options)
    rows, working = read_rows(design, clusters), working_of(options.corr, clusters, options.matrix)
    T = design.scaling.matrix
    means = means_at(rows, np.linalg.solve(T, solution.beta))
    return _covariance(kind, means, working, solution.alpha, T, solution.naive, solution.robust)


def _as_weighed(options: Options, rows: Rows, means: Means) -> tuple[Means, Array]:
    """Residuals and weights as the flavour's equations of scale and correlations have them."""
    if options.flavour == "geepack":
        return means.without_weights(rows.weight), rows.weight
    return means, np.ones(len(rows.y))


def _covariance(
    kind: str, means: Means, working: Working, alpha: Array, T: Array, naive: Array, sandwich: Array
) -> Array:
    if kind in ("naive", "robust"):
        return naive if kind == "naive" else sandwich
    solved = working.solve(alpha, means.slope)
    kind = "mancl_derouen" if kind == "bias_corrected" else kind
    scores = corrected_scores(kind, means.slope, solved, means.residual, working.clusters, T)
    return T @ robust(scores, means.slope.T @ solved) @ T.T


# the iteration --------------------------------------------------------------------------------------------------


def _iterate(rows: Rows, working: Working, options: Options, T: Array, terms: tuple[str, ...]) -> _State:
    """From the model without correlation: moments at β, a step of Fisher scoring with these, and again."""

    def moments(means: Means, alpha: Array) -> tuple[float, Array]:
        if options.flavour == "gee":
            return gee_moments(means, working, options.scale, alpha)
        return least_squares(*_as_weighed(options, rows, means), working, options.scale, alpha)

    beta = independent_start(rows, terms)
    means = means_at(rows, beta)
    phi, alpha = moments(means, start_of_alpha(means, working))
    iteration, change, enough = 0, np.inf, _ENOUGH if options.tol is None else options.tol
    while iteration < options.max_iter and change > enough:
        iteration += 1
        used = alpha
        solved = working.solve(alpha, means.slope)
        information = means.slope.T @ solved
        try:
            step = np.linalg.solve(information, solved.T @ means.residual)
        except np.linalg.LinAlgError:
            raise FitError("the estimating equations are singular; use a simpler working correlation") from None
        before = (beta, phi, alpha)
        beta = beta + step
        means = means_at(rows, beta)
        phi, alpha = moments(means, alpha)
        if not (np.isfinite(beta).all() and np.isfinite(alpha).all() and np.isfinite(phi)):
            raise FitError("the estimating equations run off to infinity; use a simpler working correlation")
        error = np.sqrt(np.abs(np.diag(np.linalg.inv(information))) * phi)
        change = _change(before, (beta, phi, alpha), error, T, options)
    # gee ends with the correlations that gave the last step, geepack with those after it.
    last = used if options.flavour == "gee" else alpha
    return _State(beta, phi, last, means, iteration, change, change <= enough)


def _change(before: Any, after: Any, error: Array, T: Array, options: Options) -> float:
    """What a step moved: in standard errors, or as the R package counts it where a tolerance was given."""
    (beta, phi, alpha), (new_beta, new_phi, new_alpha) = before, after
    alphas = float(np.abs(new_alpha - alpha).max(initial=0.0))
    if options.tol is None:
        return max(float(np.abs((new_beta - beta) / error).max()), abs(new_phi / phi - 1.0), alphas)
    if options.flavour == "gee":
        return float(np.abs((T @ beta) / (T @ new_beta) - 1.0).max())
    return max(float(np.abs(T @ (new_beta - beta)).max()), abs(new_phi - phi), alphas)


def _joint(
    rows: Rows, state: _State, working: Working, options: Options, T: Array, scores: Array, information: Array
) -> Array:
    """Robust covariance of coefficients, scale and correlations; gee has none of the last two."""
    p, q, phi = len(state.beta), len(state.alpha), state.phi
    out = np.full((p + 1 + q, p + 1 + q), np.nan)
    if options.flavour == "gee":
        out[:p, :p] = T @ robust(scores, information) @ T.T
        return out
    as_geepack = options.flavour == "geepack"
    means, weight = _as_weighed(options, rows, state.means)
    U, H = np.zeros((len(scores), p + 1 + q)), np.eye(p + 1 + q)
    U[:, :p], H[:p, :p] = scores / phi, information / phi
    if options.scale is None:
        U[:, p], H[p, :p], H[p, p] = scale_equation(means, weight, phi, working.clusters, as_geepack)
    if q:
        found = correlation_equations(means, weight, phi, working, state.alpha, as_geepack)
        U[:, p + 1 :], H[p + 1 :, :p], H[p + 1 :, p + 1 :] = found.U, found.D, found.F
        if options.scale is None:
            H[p + 1 :, p] = found.E
    out = joint_covariance(U, H)
    to_user = np.eye(p + 1 + q)
    to_user[:p, :p] = T
    out = to_user @ out @ to_user.T
    if options.scale is not None:
        out[p], out[:, p] = np.nan, np.nan
    return out
