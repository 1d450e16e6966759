"""Profile-likelihood intervals of fixed effects, standard deviations, correlations and σ.

The limits of φ are where its signed root ζ(φ) = ±√(2 (ℓ̂ − max ℓ | φ)) meets the normal quantile (Bates et al., 2015,
section 5.1).  The slope of the profile is the derivative of ℓ in φ at the constrained maximum, by the envelope
theorem, so Newton's method on ζ needs no differences.  A standard deviation is made a coordinate by putting its column
first, where λ_11 is it; a correlation by putting its two columns first, where (λ_21, λ_22) = s (ρ, √(1 − ρ²)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.laplace.covariance import factors, pack, theta_size
from bayesmlm.ml import glm
from bayesmlm.ml.engine import MLSolution, integrated_likelihood
from bayesmlm.ml.gaussian import full_likelihood
from bayesmlm.ml.optimise import Objective, hessian_of_gradient, maximise

__all__ = ["Limits", "profile_limits"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """Profile limits of one quantity.

    Attributes
    ----------
    low, high : float
        A limit that the likelihood does not reach is the end of the range: 0 for a standard deviation, ±1 for a
        correlation.
    evaluations : int
    """

    low: float
    high: float
    evaluations: int


@dataclass(frozen=True, slots=True)
class _Section:
    """A likelihood in coordinates of which one is the quantity asked about.

    Attributes
    ----------
    objective : callable
        (φ, z) -> ℓ and its gradient in (φ, z).
    estimate : float
    rest : ndarray
        z at the maximum.
    low, high : float
        Range of φ.
    """

    objective: Callable[[float, Array], tuple[float, Array]]
    estimate: float
    rest: Array
    low: float = -math.inf
    high: float = math.inf


def _permuted(design: Design, term: int, first: list[int]) -> Design:
    """The design with the columns of one term in another order."""
    group = design.groups[term]
    order = first + [j for j in range(len(group.terms)) if j not in first]
    moved = replace(group, terms=tuple(group.terms[j] for j in order), z=group.z[:, order], scales=group.scales[order])
    groups = tuple(moved if t == term else g for t, g in enumerate(design.groups))
    return replace(design, groups=groups)


def _objective(design: Design, solution: MLSolution) -> tuple[Objective, Array]:
    """The likelihood in internal coordinates (β, θ, log σ), constants aside, and where its maximum is."""
    scaling = design.scaling.matrix
    beta = np.linalg.solve(scaling, solution.beta)
    columns = tuple(len(g.terms) for g in design.groups)
    lams = factors(solution.theta, columns)
    internal = pack([lam * g.scales[:, None] for lam, g in zip(lams, design.groups, strict=True)])
    if design.family.name == "gaussian":
        return full_likelihood(design), np.concatenate([beta, internal, [math.log(solution.sigma)]])
    one_term = len(design.groups) == 1 and solution.information == "observed"
    rows = glm.read_rows(design, design.groups[0] if one_term else None)
    if not design.groups:
        return glm.objective(rows), beta
    integrated = integrated_likelihood(design, rows, beta, solution.n_agq, solution.information)
    return integrated.objective, np.concatenate([beta, internal])


def _fixed_section(objective: Objective, x: Array, row: Array) -> _Section:
    """φ = row · β: the coordinate of its largest coefficient makes room for it."""
    p = len(row)
    pivot = int(np.argmax(np.abs(row)))
    others = np.arange(len(x)) != pivot

    def moved(phi: float, z: Array) -> tuple[float, Array]:
        full = np.empty(len(x))
        full[others] = z
        full[pivot] = 0.0
        full[pivot] = (phi - row @ full[:p]) / row[pivot]
        value, g = objective(full)
        slope = g[pivot] / row[pivot]
        rest = g.copy()
        rest[:p] -= slope * row
        return value, np.concatenate([[slope], rest[others]])

    return _Section(moved, float(row @ x[:p]), x[others])


def _coordinate_section(objective: Objective, x: Array, at: int, scale: float, low: float) -> _Section:
    """φ = x[at] / scale."""
    others = np.arange(len(x)) != at

    def moved(phi: float, z: Array) -> tuple[float, Array]:
        full = np.empty(len(x))
        full[others], full[at] = z, phi * scale
        value, g = objective(full)
        return value, np.concatenate([[g[at] * scale], g[others]])

    return _Section(moved, float(x[at] / scale), x[others], low)


def _correlation_section(objective: Objective, x: Array, at: int, below: int) -> _Section:
    """φ = ρ with x[at], x[below] = s ρ, s √(1 − ρ²); s takes the place of x[at]."""
    s = math.hypot(x[at], x[below])
    others = np.arange(len(x)) != below
    rest = x.copy()
    rest[at] = s

    def moved(phi: float, z: Array) -> tuple[float, Array]:
        full = np.empty(len(x))
        full[others] = z
        s, root = full[at], math.sqrt(1.0 - phi * phi)
        full[at], full[below] = s * phi, s * root
        value, g = objective(full)
        slope = s * (g[at] - g[below] * phi / root)
        inner = g.copy()
        inner[at] = g[at] * phi + g[below] * root
        return value, np.concatenate([[slope], inner[others]])

    return _Section(moved, float(x[at] / s) if s > 0.0 else 0.0, rest[others], -1.0 + 1e-6, 1.0 - 1e-6)


def _sections(design: Design, solution: MLSolution) -> list[Callable[[], _Section]]:
    """One section per row of the table, in its order, each made when asked for."""
    p = len(solution.beta)
    columns = tuple(len(g.terms) for g in design.groups)
    starts = p + np.concatenate([[0], np.cumsum([theta_size((k,)) for k in columns])]).astype(int)

    def permuted(term: int, first: list[int]) -> tuple[Objective, Array, Design]:
        order = first + [j for j in range(columns[term]) if j not in first]
        moved = _permuted(design, term, first)
        lams = factors(solution.theta, columns)
        own = lams[term][order]
        # The factor of the reordered covariance: lower triangular again after a rotation of u.
        lams[term] = np.linalg.qr(own.T, mode="r").T
        lams[term] = lams[term] * np.where(np.diag(lams[term]) < 0.0, -1.0, 1.0)
        objective, x = _objective(moved, replace(solution, theta=pack(lams)))
        return objective, x, moved

    def fixed(j: int) -> _Section:
        objective, x = _objective(design, solution)
        return _fixed_section(objective, x, design.scaling.matrix[j])

    def sd(term: int, column: int) -> _Section:
        objective, x, moved = permuted(term, [column])
        return _coordinate_section(objective, x, starts[term], float(moved.groups[term].scales[0]), 0.0)

    def cor(term: int, a: int, b: int) -> _Section:
        objective, x, _ = permuted(term, [a, b])
        # θ runs down the columns of λ: λ_21 is second, λ_22 follows the first column.
        return _correlation_section(objective, x, starts[term] + 1, starts[term] + columns[term])

    def sigma() -> _Section:
        objective, x = _objective(design, solution)
        return _coordinate_section(objective, x, len(x) - 1, 1.0, -math.inf)

    out: list[Callable[[], _Section]] = [lambda j=j: fixed(j) for j in range(p)]  # type: ignore[misc]
    out += [lambda t=t, c=c: sd(t, c) for t, k in enumerate(columns) for c in range(k)]  # type: ignore[misc]
    out += [
        lambda t=t, a=a, b=b: cor(t, a, b)  # type: ignore[misc]
        for t, k in enumerate(columns)
        for a in range(k)
        for b in range(a + 1, k)
    ]
    if design.family.name == "gaussian":
        out.append(sigma)
    return out


def _search(section: _Section, curvature: Array, top: float, quantile: float, side: int) -> tuple[float, int]:
    """Where ζ reaches ``side * quantile``, by Newton's method on ζ; and the evaluations it took."""
    evaluations = 0
    inner, crossed = curvature[1:, 1:], curvature[1:, 0]
    # Along the profile z moves by −I_zz⁻¹ I_zφ, and the information left on φ is its Schur complement.
    path = -np.linalg.solve(inner, crossed) if len(crossed) else np.zeros(0)
    left = max(float(curvature[0, 0] + crossed @ path), 1e-12)
    limit = section.high if side > 0 else section.low
    phi, rest = section.estimate, section.rest
    step = side * quantile / math.sqrt(left)
    bounds = [section.estimate, limit]
    for _ in range(40):
        new = phi + step
        if not (min(bounds) < new < max(bounds)):
            # Outside what is known to hold the limit: halve the interval, or try its end.
            end = bounds[1]
            new = end if math.isfinite(end) and end == limit else 0.5 * (bounds[0] + end)
        rest = rest + path * (new - phi)
        at = new
        found = maximise(lambda z, at=at: _inner(section, at, z), rest, inner, hessian=False)  # type: ignore[misc]
        evaluations += found.evaluations
        if not math.isfinite(found.value):
            bounds[1] = new
            step = 0.5 * (bounds[0] - phi)
            continue
        phi, rest = new, found.x
        drop = max(top - found.value, 0.0)
        zeta = math.sqrt(2.0 * drop)
        if abs(zeta - quantile) < 1e-5:
            return phi, evaluations
        if phi == limit and zeta < quantile:
            return limit, evaluations
        bounds[0 if zeta < quantile else 1] = phi
        slope = section.objective(phi, rest)[1][0]
        evaluations += 1
        # ζ² = 2 (ℓ̂ − ℓ), so ζ′ = −ℓ′ / ζ.
        step = (quantile - zeta) * zeta / -slope if slope != 0.0 and zeta > 0.0 else 2.0 * step
        if abs(bounds[0] - bounds[1]) < 1e-9 * (1.0 + abs(phi)):
            return phi, evaluations
    return phi, evaluations


def _inner(section: _Section, phi: float, z: Array) -> tuple[float, Array]:
    value, gradient = section.objective(phi, z)
    return value, gradient[1:]


def profile_limits(
    design: Design, solution: MLSolution, quantile: float, wanted: list[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Limits]:  # fmt: skip
    """Profile limits of the quantities of a fit.

    Parameters
    ----------
    design : Design
    solution : MLSolution
        Of maximum likelihood (not REML, not a posterior mode) with at least one quadrature point.
    quantile : float
        Of the normal distribution, 1.96 for 95 %.
    wanted : list of int, optional
        Places in the table (fixed effects, standard deviations, correlations, σ); all by default.
    progress : callable, optional
        Called with quantities done and in all.

    Raises
    ------
    FitError
        For a fit whose likelihood is not a function of all its parameters.

    Examples
    --------
    >>> import bayesmlm as bm
    >>> fit = bm.Model("use ~ urban + (1 | district)", bm.load_dataset("contraception")).fit_ml()
    >>> low, high = [(l.low, l.high) for l in profile_limits(fit.design, fit.solution, 1.96, [2])][0]
    >>> round(float(low), 1), round(float(high), 1)
    (0.3, 0.6)
    """
    if solution.n_agq == 0 or solution.reml or not math.isnan(solution.log_prior):
        raise FitError("profiles are of the likelihood in all parameters: fit by fit_ml(n_agq=1, reml=False) first")
    sections = _sections(design, solution)
    wanted = list(range(len(sections))) if wanted is None else wanted
    out = []
    for done, place in enumerate(wanted):
        section = sections[place]()
        x = np.concatenate([[section.estimate], section.rest])

        def whole(v: Array, section: _Section = section) -> tuple[float, Array]:
            return section.objective(float(v[0]), v[1:])

        top, gradient = whole(x)
        scale = 1e-4 * np.maximum(np.abs(x), 0.1)
        if section.estimate <= section.low + scale[0]:
            # At the end of its range the likelihood is even in it; step inwards.
            scale[0] = 1e-3
        curvature = -hessian_of_gradient(whole, x, gradient, scale)
        curvature = _positive(curvature)
        low, n_low = (
            (section.low, 0)
            if section.estimate <= section.low + 1e-8
            else _search(section, curvature, top, quantile, -1)
        )
        high, n_high = (
            (section.high, 0)
            if section.estimate >= section.high - 1e-8
            else _search(section, curvature, top, quantile, +1)
        )
        out.append(Limits(*_reported(design, place, len(solution.beta), low, high), n_low + n_high + len(x) + 1))
        if progress is not None:
            progress(done + 1, len(wanted))
    return out


def _positive(curvature: Array) -> Array:
    """The curvature with negative or vanishing eigenvalues made positive."""
    values, vectors = np.linalg.eigh(curvature)
    return (vectors * np.maximum(np.abs(values), 1e-8 * max(abs(values[-1]), 1e-300))) @ vectors.T


def _reported(design: Design, place: int, p: int, low: float, high: float) -> tuple[float, float]:
    """σ from its logarithm, and correlations whose limit is not reached at ±1."""
    columns = [len(g.terms) for g in design.groups]
    if place == p + sum(k * (k + 1) // 2 for k in columns):
        return math.exp(low), math.exp(high)
    if place >= p + sum(columns):
        return (-1.0 if low <= -1.0 + 1e-6 else low), (1.0 if high >= 1.0 - 1e-6 else high)
    return low, high
