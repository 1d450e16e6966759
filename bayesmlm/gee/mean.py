"""The mean model: rows in internal coordinates, means and residuals at a β, and the start without correlation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError, NoMaximumError
from bayesmlm.families import Family
from bayesmlm.gee.clusters import Clusters

__all__ = ["Means", "Rows", "independent_start", "means_at", "read_rows"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a design, cluster by cluster.

    Attributes
    ----------
    family : Family
    y, weight, offset : ndarray, shape (n,)
        Responses per trial; trials times prior weights, which divide their variance.
    X : ndarray, shape (n, p)
        Scaled columns.
    """

    family: Family
    y: Array
    weight: Array
    offset: Array
    X: Array


@dataclass(frozen=True, slots=True)
class Means:
    """Means at a β, and residuals in units of the root of v = variance function / weight.

    Attributes
    ----------
    root : ndarray, shape (n,)
        √v.
    v_slope : ndarray, shape (n,)
        dv/dμ.
    residual : ndarray, shape (n,)
        (y − μ)/√v.
    slope : ndarray, shape (n, p)
        D: dμ/dβ over √v.
    """

    root: Array
    v_slope: Array
    residual: Array
    slope: Array

    def without_weights(self, weight: Array) -> Means:
        """The same of the variance function alone: geepack's equations of scale and correlations weigh from outside."""
        w = np.sqrt(weight)
        return Means(self.root * w, self.v_slope * weight, self.residual / w, self.slope / w[:, None])


def read_rows(design: Design, clusters: Clusters) -> Rows:
    """Rows of a design in the order of its clusters."""
    order = clusters.order
    trials = design.response.trials[order]
    return Rows(
        design.family,
        design.response.y[order] / trials,
        trials * design.weights[order],
        design.offset[order].astype(float),
        design.scaling.apply(design.X[order]),
    )


def _variance(family: Family, mu: Array) -> tuple[Array, Array]:
    """Variance function and its derivative."""
    if family.name == "gaussian":
        return np.ones_like(mu), np.zeros_like(mu)
    if family.name == "poisson":
        return mu, np.ones_like(mu)
    return mu * (1.0 - mu), 1.0 - 2.0 * mu


def _inside(family: Family, mu: Array) -> Array:
    """Means kept off the ends of their range, where the variance would be 0."""
    if family.name == "gaussian":
        return mu
    return np.clip(mu, 1e-15, 1.0 - 1e-15 if family.is_binary else np.inf)


def means_at(rows: Rows, beta: Array) -> Means:
    """Means and residuals at internal coefficients.

    Raises
    ------
    FitError
        Where a mean is not finite.

    Examples
    --------
    >>> from bayesmlm.families import family_of
    >>> rows = Rows(family_of("bernoulli"), np.array([1.0]), np.ones(1), np.zeros(1), np.ones((1, 1)))
    >>> means_at(rows, np.zeros(1)).residual.tolist()
    [1.0]
    """
    family, eta = rows.family, rows.X @ beta + rows.offset
    with np.errstate(over="ignore"):
        mu = _inside(family, family.link.inverse(eta))
    if not np.isfinite(mu).all():
        raise FitError(
            "the fitted means run off to infinity, away from those of the model without correlation; use a simpler "
            "working correlation, such as independence"
        )
    v, v_slope = _variance(family, mu)
    root = np.sqrt(v / rows.weight)
    slope = (family.link.derivative(eta) / root)[:, None] * rows.X
    return Means(root, v_slope / rows.weight, (rows.y - mu) / root, slope)


def independent_start(rows: Rows, terms: tuple[str, ...]) -> Array:
    """Coefficients of the model without correlation, by Fisher scoring from the responses (R's ``glm``).

    Raises
    ------
    NoMaximumError
        Where the responses are all the same, or columns separate them.
    """
    family = rows.family
    if family.name != "gaussian" and np.ptp(rows.y) == 0.0 and (rows.y[0] == 0.0 or rows.y[0] == family.is_binary):
        reason = f"the response is constant: {rows.y[0]:g} in every row"
        raise NoMaximumError(f"{reason}, so the estimating equations have no finite solution; check the data", reason)
    beta = np.zeros(rows.X.shape[1])
    mu = _first_means(rows)
    for _ in range(100):
        eta = family.link.link(mu)
        v, d = _variance(family, mu)[0], family.link.derivative(eta)
        weight = rows.weight * d * d / v
        working = eta - rows.offset + (rows.y - mu) / d
        information = (rows.X * weight[:, None]).T @ rows.X
        step = np.linalg.solve(information, rows.X.T @ (weight * working)) - beta
        beta = beta + step
        if family.name == "gaussian" or step @ information @ step < 1e-20 * len(rows.y):
            break
        mu = _inside(family, family.link.inverse(rows.X @ beta + rows.offset))
        if not np.isfinite(mu).all():
            raise FitError("the model without correlation cannot be fitted: its means run off to infinity")
    _refuse_separation(rows, information, mu, terms)
    return beta


def _first_means(rows: Rows) -> Array:
    """Means a little inside of the responses, where scoring starts."""
    if rows.family.name == "gaussian":
        return rows.y
    if rows.family.name == "poisson":
        return rows.y + 0.1
    return (rows.weight * rows.y + 0.5) / (rows.weight + 1.0)


def _refuse_separation(rows: Rows, information: Array, mu: Array, terms: tuple[str, ...]) -> None:
    """Refuse coefficients on their way to infinity: hardly any information along a direction of certain responses."""
    if rows.family.name == "gaussian":
        return
    values, vectors = np.linalg.eigh(information)
    if values[0] > 1e-6 * max(values[-1], 1e-6 * float(rows.weight.sum())):
        return
    direction = vectors[:, 0]
    moved = np.abs(rows.X @ direction)
    certain = np.minimum(mu, 1.0 - mu) if rows.family.is_binary else mu
    if certain[moved > 1e-2 * moved.max()].max() > 1e-4:
        return
    heavy = np.abs(direction) > 0.5 * np.abs(direction).max()
    names = [term for term, is_heavy in zip(terms, heavy, strict=True) if is_heavy and term != "Intercept"]
    names = names or list(terms[:1])
    reason = f"{' and '.join(names)} separate{'s' if len(names) == 1 else ''} the responses"
    raise NoMaximumError(
        f"the estimating equations have no finite solution: {reason}; leave it out, join its rare levels, or use "
        f"fit_map() or sample(), whose priors keep it finite",
        reason, names,
    )  # fmt: skip
