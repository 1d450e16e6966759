"""A likelihood in coordinates of which the first is a quantity of the table: what a profile is taken along.

A standard deviation is made a coordinate by putting its column first, where λ_11 is it; a correlation by putting its
two columns first, where (λ_21, λ_22) = s (ρ, √(1 − ρ²)), with λ_11 and s kept positive by their logarithms: a negative
one would be the correlation −ρ.  σ is a coordinate as its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.laplace.covariance import factors, pack, theta_size
from bayesmlm.ml import glm
from bayesmlm.ml.engine import MLSolution, integrated_likelihood
from bayesmlm.ml.gaussian import full_likelihood
from bayesmlm.ml.optimise import Objective, hessian_of_gradient

__all__ = ["Section", "positive_definite", "sections", "user_scale"]

Array = np.ndarray[Any, Any]

_NEAREST_CORRELATION = 1.0 - 1e-6
"""Where a correlation counts as ±1."""


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """A likelihood in internal coordinates (β, θ, log σ), constants aside, at its maximum.

    Attributes
    ----------
    objective : callable
    x : ndarray
    top : float
    information : ndarray
        Minus the Hessian at x.
    columns : tuple of (int, ndarray)
        Per column of every λ: the coordinate of its diagonal, and of all of it.
    unit : float
        What a standard deviation is measured against: σ, or 1 on the scale of a link.
    """

    objective: Objective
    x: Array
    top: float
    information: Array
    columns: tuple[tuple[int, Array], ...]
    unit: float


@dataclass(frozen=True, slots=True)
class Section:
    """A likelihood in coordinates (φ, z) of which the first is the quantity asked about.

    Attributes
    ----------
    objective : callable
        (φ, z) -> ℓ and its gradient in (φ, z).
    estimate : float
    rest : ndarray
        z at the maximum.
    top : float
        ℓ there.
    information : ndarray
        Minus the Hessian in (φ, z) there, made positive definite.
    columns : tuple of (int, ndarray)
        As of the likelihood, those that are coordinates of z only, by their places there.
    below : ndarray of int
        Places in z of the λ_ab below a diagonal.
    unit : float
    rugged : bool
        Whether a term has several columns.
    low, high : float
        Range of φ.
    """

    objective: Callable[[float, Array], tuple[float, Array]]
    estimate: float
    rest: Array
    top: float
    information: Array
    columns: tuple[tuple[int, Array], ...]
    below: Array
    unit: float
    rugged: bool
    low: float = -math.inf
    high: float = math.inf


def _permuted(design: Design, solution: MLSolution, term: int, order: list[int]) -> tuple[Design, MLSolution]:
    """Design and solution with the columns of one term in another order."""
    group = design.groups[term]
    moved = replace(group, terms=tuple(group.terms[j] for j in order), z=group.z[:, order], scales=group.scales[order])
    groups = tuple(moved if t == term else g for t, g in enumerate(design.groups))
    lams = factors(solution.theta, tuple(len(g.terms) for g in design.groups))
    # The factor of the reordered covariance: lower triangular again after a rotation of u.
    lam = np.linalg.qr(lams[term][order].T, mode="r").T
    lams[term] = lam * np.where(np.diag(lam) < 0.0, -1.0, 1.0)
    return replace(design, groups=groups), replace(solution, theta=pack(lams))


def _likelihood(design: Design, solution: MLSolution) -> _Likelihood:
    p, sizes = len(solution.beta), tuple(len(g.terms) for g in design.groups)
    inverse = np.linalg.inv(design.scaling.matrix)
    lams = [lam * g.scales[:, None] for lam, g in zip(factors(solution.theta, sizes), design.groups, strict=True)]
    x, unit, objective = np.concatenate([inverse @ solution.beta, pack(lams)]), 1.0, None
    if design.family.name == "gaussian":
        objective, unit = full_likelihood(design), solution.sigma
        x = np.append(x, math.log(solution.sigma))
    else:
        one_term = len(design.groups) == 1 and solution.information == "observed"
        rows = glm.read_rows(design, design.groups[0] if one_term else None)
        if design.groups:
            objective = integrated_likelihood(design, rows, x[:p], solution.n_agq, solution.information).objective
        else:
            objective = glm.objective(rows)
    # Steps of the Hessian's differences: a hundred-thousandth of a standard error, or of what a θ may be.
    steps = np.empty(len(x))
    steps[:p] = 1e-5 * np.sqrt(np.maximum(np.diag(inverse @ solution.covariance[:p, :p] @ inverse.T), 1e-300))
    steps[p:] = 1e-5 * np.maximum(np.abs(x[p:]), 0.3 * unit)
    if design.family.name == "gaussian":
        steps[-1] = 1e-5
    top, gradient = objective(x)
    information = -hessian_of_gradient(objective, x, gradient, steps)
    columns, at = [], p
    for k in sizes:
        for b in range(k):
            columns.append((at, np.arange(at, at + k - b)))
            at += k - b
    return _Likelihood(objective, x, top, information, tuple(columns), unit)


def _section(
    whole: _Likelihood, left_out: int, changed: tuple[int, ...], estimate: float, rest: Array,
    embed: Callable[[float, Array], Array], pull: Callable[[float, Array, Array], Array],
    low: float = -math.inf, high: float = math.inf,
) -> Section:  # fmt: skip
    """Coordinates (φ, z) by the point of x they embed, and the gradient there pulled back.

    z holds the coordinates of x but one, those ``changed`` in another form.
    """

    def objective(phi: float, z: Array) -> tuple[float, Array]:
        value, gradient = whole.objective(embed(phi, z))
        return value, pull(phi, z, gradient)

    # At the maximum the Hessian transforms by the first derivatives alone.
    J = np.array([pull(estimate, rest, unit) for unit in np.eye(len(whole.x))])
    information = positive_definite(J.T @ whole.information @ J)
    place = {i: i - (i > left_out) for i in range(len(whole.x)) if i not in (left_out, *changed)}
    columns = tuple(
        (place[diagonal], np.array([place[i] for i in every]))
        for diagonal, every in whole.columns
        if all(i in place for i in every.tolist())
    )
    below = np.array(
        [place[i] for diagonal, every in whole.columns for i in every.tolist() if i != diagonal and i in place]
    )
    rugged = any(len(every) > 1 for _, every in whole.columns)
    return Section(
        objective, estimate, rest, whole.top, information, columns, below.astype(int), whole.unit, rugged, low, high
    )


def _fixed_section(whole: _Likelihood, row: Array) -> Section:
    """φ = row · β: the coordinate of its largest coefficient makes room for it."""
    p, size = len(row), len(whole.x)
    pivot = int(np.argmax(np.abs(row)))
    others = np.arange(size) != pivot

    def embed(phi: float, z: Array) -> Array:
        x = np.empty(size)
        x[others], x[pivot] = z, 0.0
        x[pivot] = (phi - row @ x[:p]) / row[pivot]
        return x

    def pull(phi: float, z: Array, gradient: Array) -> Array:
        slope = gradient[pivot] / row[pivot]
        rest = gradient.copy()
        rest[:p] -= slope * row
        return np.concatenate([[slope], rest[others]])

    return _section(whole, pivot, (), float(row @ whole.x[:p]), whole.x[others], embed, pull)


def _coordinate_section(whole: _Likelihood, at: int, scale: float, low: float) -> Section:
    """φ = x[at] / scale."""
    others = np.arange(len(whole.x)) != at

    def embed(phi: float, z: Array) -> Array:
        x = np.empty(len(whole.x))
        x[others], x[at] = z, phi * scale
        return x

    def pull(phi: float, z: Array, gradient: Array) -> Array:
        return np.concatenate([[gradient[at] * scale], gradient[others]])

    return _section(whole, at, (), float(whole.x[at] / scale), whole.x[others], embed, pull, low)


def _correlation_section(whole: _Likelihood, first: int, below: int) -> Section:
    """φ = ρ with λ_11 = x[first] and (λ_21, λ_22) = (x[first + 1], x[below]); z holds log λ_11 and log s instead."""
    size, at = len(whole.x), first + 1
    others = np.arange(size) != below
    s = math.hypot(whole.x[at], whole.x[below])
    start = whole.x.copy()
    start[first], start[at] = math.log(abs(whole.x[first])), math.log(s)

    def embed(phi: float, z: Array) -> Array:
        x = np.empty(size)
        x[others] = z
        x[first], length = math.exp(min(x[first], 300.0)), math.exp(min(x[at], 300.0))
        x[at], x[below] = length * phi, length * math.sqrt(1.0 - phi * phi)
        return x

    def pull(phi: float, z: Array, gradient: Array) -> Array:
        x, root = embed(phi, z), math.sqrt(1.0 - phi * phi)
        length = math.hypot(x[at], x[below])
        slope = length * (gradient[at] - gradient[below] * phi / root)
        inner = gradient.copy()
        inner[first] = gradient[first] * x[first]
        inner[at] = (gradient[at] * phi + gradient[below] * root) * length
        return np.concatenate([[slope], inner[others]])

    # λ_22 is far below where a correlation of ±1 is estimated.
    rho = float(np.clip(whole.x[at] / s, -_NEAREST_CORRELATION, _NEAREST_CORRELATION))
    return _section(
        whole, below, (first, at), rho, start[others], embed, pull, -_NEAREST_CORRELATION, _NEAREST_CORRELATION
    )  # fmt: skip


def sections(design: Design, solution: MLSolution) -> list[Callable[[], Section | None]]:
    """One section per row of the table, in its order, each made when asked for; None where φ is not defined."""
    p = len(solution.beta)
    columns = tuple(len(g.terms) for g in design.groups)
    starts = p + np.concatenate([[0], np.cumsum([theta_size((k,)) for k in columns])]).astype(int)
    made: dict[tuple[int, ...], _Likelihood] = {}

    def whole(term: int = 0, first: tuple[int, ...] = ()) -> _Likelihood:
        order = [*first, *(j for j in range(columns[term]) if j not in first)] if first else []
        key = (term, *order) if order != sorted(order) else ()
        if key not in made:
            made[key] = _likelihood(*(_permuted(design, solution, term, order) if key else (design, solution)))
        return made[key]

    def fixed(j: int) -> Section:
        return _fixed_section(whole(), design.scaling.matrix[j])

    def sd(term: int, column: int) -> Section:
        return _coordinate_section(
            whole(term, (column,)), int(starts[term]), float(design.groups[term].scales[column]), 0.0
        )

    def cor(term: int, a: int, b: int) -> Section | None:
        of = whole(term, (a, b))
        # θ runs down the columns of λ: λ_21 is second, λ_22 follows the first column.
        first, below = int(starts[term]), int(starts[term]) + columns[term]
        if min(abs(of.x[first]), math.hypot(of.x[first + 1], of.x[below])) < 1e-6 * of.unit:
            return None
        return _correlation_section(of, first, below)

    def sigma() -> Section:
        return _coordinate_section(whole(), len(whole().x) - 1, 1.0, -math.inf)

    out: list[Callable[[], Section | None]] = [lambda j=j: fixed(j) for j in range(p)]  # type: ignore[misc]
    out += [lambda t=t, c=c: sd(t, c) for t, k in enumerate(columns) for c in range(k)]  # type: ignore[misc]
    out += [
        lambda t=t, a=a, b=b: cor(t, a, b)  # type: ignore[misc]
        for t, k in enumerate(columns)
        for a in range(k)
        for b in range(a + 1, k)
    ]
    return [*out, sigma] if design.family.name == "gaussian" else out


def user_scale(design: Design, place: int, p: int, values: Array) -> Array:
    """σ from its logarithm, and correlations as good as ±1 as such."""
    columns = [len(g.terms) for g in design.groups]
    if place == p + sum(k * (k + 1) // 2 for k in columns):
        return np.exp(values)
    if place >= p + sum(columns):
        return np.where(np.abs(values) >= _NEAREST_CORRELATION, np.sign(values), values)
    return values


def positive_definite(information: Array) -> Array:
    """The matrix with negative or vanishing eigenvalues made positive.

    Examples
    --------
    >>> positive_definite(np.diag([4.0, -1.0])).tolist()
    [[4.0, 0.0], [0.0, 1.0]]
    """
    values, vectors = np.linalg.eigh(information)
    return (vectors * np.maximum(np.abs(values), 1e-8 * max(np.abs(values).max(initial=0.0), 1e-300))) @ vectors.T
