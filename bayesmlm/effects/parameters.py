"""What a fit knows of its parameters, as arrays: one estimate with its covariance, or draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.bayes.draws import ParameterDraws, posterior_draws
from bayesmlm.laplace.covariance import factors

__all__ = ["Point", "parameters_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """An estimate, and how it may be off.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    factors : tuple of ndarray, shape (k, k)
        λ of each random-effect term: Σ = λλ′.
    covariance : ndarray, shape (p + q, p + q)
        Of β and of θ, the lower triangles of the λ column by column.
    modes : tuple of ndarray, shape (levels, k)
        Effects of the groups known, by term; empty where they are not asked for.
    sensitivities : tuple of ndarray, shape (levels, k, p)
        Their derivatives in β.
    precision : sparse array, shape (L, L), or None
        I + Λ′Z′WZΛ: of all spherical effects u, b = Λu, given β and θ.
    """

    beta: Array
    factors: tuple[Array, ...]
    covariance: Array
    modes: tuple[Array, ...] = ()
    sensitivities: tuple[Array, ...] = ()
    precision: Any = None


def parameters_of(fit: Any, groups_known: bool = False) -> Point | ParameterDraws:
    """Parameters of any fit.

    Parameters
    ----------
    fit : Fit
    groups_known : bool
        Also the effects of the groups the model has seen; draws have them anyway.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> point = parameters_of(fit)
    >>> point.beta.shape, point.factors[0].shape, point.covariance.shape
    ((2,), (1, 1), (3, 3))
    """
    if fit.reading == "population":
        return Point(fit.fixef().to_numpy(), (), fit.vcov().to_numpy())
    if fit.reading == "posterior":
        return posterior_draws(fit.design, fit.tree)
    solution, design = fit.solution, fit.design
    lams = tuple(factors(solution.theta, tuple(len(group.terms) for group in design.groups)))
    size = len(solution.beta) + len(solution.theta)
    covariance = solution.covariance[:size, :size]
    if not groups_known or not lams:
        return Point(solution.beta, lams, covariance)
    return Point(
        solution.beta, lams, covariance, solution.modes, solution.sensitivities, _precision(design, solution, lams)
    )


def _precision(design: Any, solution: Any, lams: tuple[Array, ...]) -> Any:
    """I + Λ′Z′WZΛ at the conditional modes: what the data, and the normal distribution, say of all effects at once."""
    from scipy import sparse

    parts = []
    for group, lam in zip(design.groups, lams, strict=True):
        parts.append(spherical_rows(group.codes, group.z, lam, group.n_levels))
    m = sparse.hstack(parts, format="csr")
    weighted = m.multiply(_information(design, solution)[:, None])
    return sparse.csc_array(m.T @ weighted) + sparse.eye_array(m.shape[1], format="csc")


def spherical_rows(codes: Array, z: Array, lam: Array, levels: int) -> Any:
    """Rows of ZΛ of one term, sparse, shape (m, levels × k); a row whose code is negative is empty.

    Examples
    --------
    >>> spherical_rows(np.array([1, -1]), np.ones((2, 1)), np.array([[0.5]]), 2).toarray().tolist()
    [[0.0, 0.5], [0.0, 0.0]]
    """
    from scipy import sparse

    k = len(lam)
    known = np.flatnonzero(codes >= 0)
    columns = codes[known][:, None] * k + np.arange(k)
    values = z[known] @ lam
    return sparse.csr_array(
        (values.ravel(), (np.repeat(known, k), columns.ravel())), shape=(len(codes), levels * k), dtype=float
    )


def _information(design: Any, solution: Any) -> Array:
    """Information of each row on its linear predictor, at the conditional modes."""
    counted, response = design.weights * design.freq, design.response
    if design.family.name == "gaussian":
        return counted / solution.sigma**2
    # The kernels are compiled when first used; only this estimand waits for them.
    from bayesmlm.laplace import kernels

    code, eta = design.family.link.code, solution.linear_predictor
    trials = counted if design.family.name == "poisson" else response.trials * counted
    if solution.information == "expected":
        return np.array([kernels.expected(code, n, at)[0] for n, at in zip(trials, eta, strict=True)])
    return np.asarray(kernels.rows(code, response.y * counted, trials, eta)[2])
