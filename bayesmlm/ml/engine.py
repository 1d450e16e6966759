"""The likelihood engine: a design in, the maximum-likelihood solution out, on the user's scale."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design
from bayesmlm.errors import FitError
from bayesmlm.laplace import agq, covariance, kernels
from bayesmlm.ml.optimise import Optimum, maximise

__all__ = ["MLSolution", "solve_ml"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class MLSolution:
    """What maximum likelihood found, as arrays on the user's scale.

    Attributes
    ----------
    beta : ndarray, shape (p,)
    theta : ndarray
        Lower triangles of the factors of the group covariances, term by term (see ``laplace/covariance.py``).
    covariance : ndarray, shape (p + len(theta),) * 2
        Inverse of the exact information of (β, θ): lme4's default standard errors.
    conditional_covariance : ndarray, shape (p, p)
        Of β given θ (lme4's RX); narrower, on request only.
    loglik, null_loglik : float
        With all constants; the second of the intercept-only model without groups.
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
    seconds : float
    """

    beta: Array
    theta: Array
    covariance: Array
    conditional_covariance: Array
    loglik: float
    null_loglik: float
    modes: tuple[Array, ...]
    mode_covariances: tuple[Array, ...]
    sensitivities: tuple[Array, ...]
    linear_predictor: Array
    optimum: Optimum
    n_agq: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Rows:
    """What every likelihood needs of a design: weighted counts, internal columns, the constant."""

    link: int
    y: Array
    trials: Array
    X: Array
    offset: Array
    constant: float


@dataclass(frozen=True, slots=True)
class _Integrated:
    """An integrated likelihood: its objective, and what can be read off at a point."""

    objective: Callable[[Array], tuple[float, Array]]
    information: Callable[[Array], Array]
    at: Callable[[Array], tuple[list[Array], list[Array], list[Array], Array]]
    columns: tuple[int, ...]


def _rows(design: Design) -> _Rows:
    poisson = design.family.name == "poisson"
    multiplier = design.weights * design.freq
    response = design.response
    constant = kernels.log_constant(poisson, response.y, response.trials, design.weights, design.freq)
    return _Rows(
        design.family.link.code,
        response.y * multiplier,
        (np.ones_like(response.y) if poisson else response.trials) * multiplier,
        design.scaling.apply(design.X),
        design.offset,
        constant,
    )


def _refuse_constant(design: Design, rows: _Rows) -> None:
    response = design.response
    if rows.link == kernels.LOG:
        if not rows.y.any():
            raise FitError(f'the response "{response.name}" is 0 in every row: the rate is not estimable by likelihood')
        return
    for empty, what in ((not rows.y.any(), "no"), (not (rows.trials - rows.y).any(), "every")):
        if empty:
            event = f' = "{response.event}"' if response.event else " = 1" if response.is_binary else " above 0"
            if len(response.levels) == 1:
                fact = f'{response.name} is "{response.levels[0]}" in every row'
            else:
                fact = f"{what} row has {response.name}{event}"
            raise FitError(
                f"the response is constant: {fact}, so the likelihood has no maximum; "
                f"check the data, or sample the posterior, whose priors keep it finite"
            )


def _fit_glm(rows: _Rows, terms: tuple[str, ...], max_iterations: int = 60) -> tuple[Array, Array, float]:
    """β, information and log-likelihood (without constant) of the model without groups, by Newton's method.

    Raises
    ------
    FitError
        When the likelihood has no maximum because predictors separate the responses.
    """
    p = rows.X.shape[1]
    beta = np.zeros(p)
    if p and np.ptp(rows.X[:, 0]) == 0.0 and rows.X[0, 0] != 0.0 and rows.link != kernels.LOG:
        share = (rows.y.sum() + 0.5) / (rows.trials.sum() + 1.0)
        beta[0] = np.log(share / (1.0 - share))
    elif p and rows.link == kernels.LOG and np.ptp(rows.X[:, 0]) == 0.0:
        beta[0] = np.log((rows.y.sum() + 0.5) / (rows.trials * np.exp(rows.offset)).sum())

    def at(b: Array) -> Array:
        return kernels.rows(rows.link, rows.y, rows.trials, rows.offset + rows.X @ b)

    out = at(beta)
    value = float(out[0].sum())
    heading = np.zeros(p)
    for _ in range(max_iterations):
        info = rows.X.T @ (out[2][:, None] * rows.X)
        gradient = rows.X.T @ out[1]
        if p == 0:
            return beta, info, value
        try:
            step = np.linalg.solve(info, gradient)
        except np.linalg.LinAlgError:
            break
        decrement = float(gradient @ step)
        if decrement > 1e-6:
            # The last step that stands clear of rounding: what is left of separation moves along it.
            heading = step
        if decrement < 1e-16 * (1.0 + abs(value)):
            if _separating_direction(info, rows, heading) is not None:
                break
            return beta, info, value
        size = 1.0
        while size > 1e-8:
            new = at(beta + size * step)
            new_value = float(new[0].sum())
            if new_value >= value - 1e-12 * (1.0 + abs(value)):
                break
            size *= 0.5
        if not new_value > -np.inf:
            break
        beta, out, value = beta + size * step, new, new_value
        if np.abs(beta).max() > 1e3:
            break
    direction = _separating_direction(rows.X.T @ (out[2][:, None] * rows.X), rows, heading)
    weight: Array = np.abs(beta if direction is None else direction)
    names = [term for term, s in zip(terms, weight, strict=True) if s > 0.5 * weight.max() and term != "Intercept"]
    names = names or list(terms[:1])
    raise FitError(
        f"the likelihood has no maximum: {' and '.join(names)} separate{'s' if len(names) == 1 else ''} the responses "
        f"(fitted probabilities reach 0 or 1); leave it out, join its rare levels, or sample the posterior, whose "
        f"priors keep it finite"
    )


def _separating_direction(information: Array, rows: _Rows, heading: Array) -> Array | None:
    """A direction of β along which the likelihood never falls, where Newton's method found hardly any information.

    Along it every row with successes only moves up or stays, every row with failures only moves down or stays, and
    rows with both stay (Albert & Anderson, 1984).

    Parameters
    ----------
    information : ndarray, shape (p, p)
    rows : _Rows
    heading : ndarray, shape (p,)
        Where Newton's method was going: the likeliest such direction.

    Returns
    -------
    ndarray, shape (p,), or None
        None where there is no such direction: few events, or columns that almost determine each other.
    """
    # A count has no upper end: only zeros can be pushed away.
    no_failure = (rows.y >= rows.trials) & (rows.link != kernels.LOG)
    no_success = rows.y <= 0.0
    values, vectors = np.linalg.eigh(information)
    small = values < 1e-6 * max(values[-1], 1e-6 * float(rows.trials.sum()))
    if not small.any():
        return None
    for vector in (heading, *vectors.T[small]):
        if not np.abs(rows.X @ vector).max() > 0.0:
            continue
        moved = rows.X @ vector
        moved = moved / np.abs(moved).max()
        for sign in (1.0, -1.0):
            up, down = sign * moved > 1e-2, sign * moved < -1e-2
            if not (up & ~no_failure).any() and not (down & ~no_success).any():
                return sign * vector
    return None


def _scalar(design: Design, rows: _Rows, n_agq: int) -> _Integrated:
    group = design.groups[0]
    term = agq.scalar_term(rows.link, rows.y, rows.trials, group.codes, group.z[:, 0] / group.scales[0], group.n_levels)
    X, offset = rows.X[term.order], rows.offset[term.order]
    p = X.shape[1]
    nodes, log_weights = agq.gauss_hermite(n_agq)
    u, H, c = np.zeros(group.n_levels), np.ones(group.n_levels), np.zeros(len(term.order))

    def objective(x: Array) -> tuple[float, Array]:
        value, d_sigma, found = agq.integrate(
            term.link, term.starts, term.y, term.trials, term.z, offset + X @ x[:p], float(x[p]),
            nodes, log_weights, u, H, c,
        )  # fmt: skip
        if not found or not np.isfinite(value):
            u[:] = 0.0
            return -np.inf, np.full(p + 1, np.nan)
        return value, np.append(X.T @ c, d_sigma)

    def crossed(x: Array) -> tuple[Array, Array, Array]:
        eta = offset + X @ x[:p] + x[p] * term.z * np.repeat(u, np.diff(term.starts))
        w = kernels.rows(term.link, term.y, term.trials, eta)[2]
        wX = w[:, None] * X
        return X.T @ wX, np.add.reduceat((x[p] * term.z)[:, None] * wX, term.starts[:-1], axis=0), eta

    def information(x: Array) -> Array:
        info, U, _ = crossed(x)
        return info - U.T @ (U / H[:, None])

    def at(x: Array) -> tuple[list[Array], list[Array], list[Array], Array]:
        _, U, eta = crossed(x)
        original = np.empty_like(eta)
        original[term.order] = eta
        return [u[:, None].copy()], [1.0 / H[:, None, None]], [-(U / H[:, None])[:, None, :]], original

    return _Integrated(objective, information, at, (1,))


def _blocked(design: Design, rows: _Rows) -> _Integrated:
    # The kernels of any structure are many: a model of one scalar term does not wait for them.
    from bayesmlm.laplace import modes, pls

    terms = [pls.RandomTerm(g.codes, g.z / g.scales, g.n_levels) for g in design.groups]
    blocks = pls.block_structure(terms)
    # θ is kept in the design's order of terms; the blocks have their own.
    columns = tuple(g.z.shape[1] for g in design.groups)
    work = modes.Evaluation(blocks)
    X, offset = rows.X[blocks.order], rows.offset[blocks.order]
    y, trials = rows.y[blocks.order], rows.trials[blocks.order]
    p = X.shape[1]
    back = np.argsort(blocks.terms)

    def lams_of(x: Array) -> list[Array]:
        lams = covariance.factors(x[p:], columns)
        return [lams[t] for t in blocks.terms]

    def objective(x: Array) -> tuple[float, Array]:
        value, d_lams, found = modes.laplace(rows.link, y, trials, offset + X @ x[:p], blocks, lams_of(x), work)
        if not found or not np.isfinite(value):
            work.main[:], work.other[:] = 0.0, 0.0
            return -np.inf, np.full(len(x), np.nan)
        return value, np.concatenate([X.T @ work.coefficient, covariance.pack([d_lams[t] for t in back])])

    def information(x: Array) -> Array:
        return modes.fixed_information(X, blocks, lams_of(x), work)[0]

    def at(x: Array) -> tuple[list[Array], list[Array], list[Array], Array]:
        lams = lams_of(x)
        split = np.cumsum(blocks.columns[1:] * blocks.levels[1:])[:-1]
        parts = [work.main, *(np.split(work.other, split) if len(lams) > 1 else [])]
        spherical = [part.reshape(-1, len(lam)) for part, lam in zip(parts, lams, strict=True)]
        moved = -modes.fixed_information(X, blocks, lams, work)[1]
        first, slopes = 0, []
        for lam, levels in zip(lams, blocks.levels, strict=True):
            size = int(levels) * len(lam)
            slopes.append(moved[:, first : first + size].T.reshape(int(levels), len(lam), p))
            first += size
        covariances = modes.selected_covariance(blocks, work)
        eta = modes.linear_predictor(offset + X @ x[:p], blocks, lams, work)
        original = np.empty_like(eta)
        original[blocks.order] = eta
        return (
            [spherical[t] for t in back],
            [covariances[t] for t in back],
            [slopes[t] for t in back],
            original,
        )

    return _Integrated(objective, information, at, columns)


def _start(integrated: _Integrated, beta: Array) -> tuple[Array, Array]:
    """A start for θ and a guess of the information there, from the curvature along each θ."""
    p = len(beta)
    theta = np.concatenate([covariance.pack([0.5 * np.eye(k)]) for k in integrated.columns])
    x = np.concatenate([beta, theta])
    size = len(x)
    information = np.zeros((size, size))
    _, g = integrated.objective(x)
    information[:p, :p] = integrated.information(x)
    for j in range(p, size):
        moved = x.copy()
        moved[j] += 1e-3
        curvature = -(integrated.objective(moved)[1][j] - g[j]) / 1e-3
        # Away from the optimum the curvature in σ may be small or negative: keep the first step within one unit.
        information[j, j] = max(curvature, abs(g[j]), 1.0) if np.isfinite(curvature) else max(abs(g[j]), 1.0)
    return x, information


def solve_ml(design: Design, n_agq: int = 1) -> MLSolution:
    """Maximise the (integrated) likelihood of a design.

    Parameters
    ----------
    design : Design
    n_agq : int
        Points of adaptive Gauss-Hermite quadrature; 1 is the Laplace approximation.

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
    began = time.perf_counter()
    if not isinstance(n_agq, int | np.integer) or n_agq < 1:
        raise FitError(f"n_agq should be 1 (Laplace) or more quadrature points, not {n_agq}")
    rows = _rows(design)
    _refuse_constant(design, rows)
    beta, glm_information, glm_value = _fit_glm(rows, design.terms)
    null = _Rows(rows.link, rows.y, rows.trials, np.ones((len(rows.y), 1)), rows.offset, rows.constant)
    null_loglik = _fit_glm(null, ("Intercept",))[2] + rows.constant
    T = design.scaling.matrix
    p = len(beta)
    if not design.groups:
        vcov = T @ np.linalg.inv(glm_information) @ T.T
        gradient = rows.X.T @ kernels.rows(rows.link, rows.y, rows.trials, rows.offset + rows.X @ beta)[1]
        eigenvalues = np.linalg.eigvalsh(glm_information)
        distance = float(np.sqrt(abs(gradient @ np.linalg.solve(glm_information, gradient))))
        optimum = Optimum(beta, glm_value, gradient, glm_information, distance, True, eigenvalues, 0)
        return MLSolution(
            T @ beta, np.zeros(0), vcov, vcov, glm_value + rows.constant, null_loglik, (), (), (),
            rows.offset + rows.X @ beta, optimum, 1, time.perf_counter() - began,
        )  # fmt: skip

    one_scalar = len(design.groups) == 1 and design.groups[0].z.shape[1] == 1
    if n_agq > 1 and not one_scalar:
        raise FitError(
            f"n_agq = {n_agq} needs a single scalar random-effect term; this model has "
            f"{' and '.join(f'({", ".join(g.terms)} | {g.name})' for g in design.groups)}: use n_agq=1"
        )
    integrated = _scalar(design, rows, n_agq) if one_scalar else _blocked(design, rows)
    x, information = _start(integrated, beta)
    optimum = maximise(integrated.objective, x, information)
    optimum = _at_boundary(integrated, optimum, p)
    integrated.objective(optimum.x)
    spherical, spherical_covariances, slopes, eta = integrated.at(optimum.x)

    # Back to the user's scale: β = T β_internal, and row a of λ divides by the scale of column a.
    theta_scale = covariance.pack([np.repeat((1.0 / g.scales)[:, None], len(g.scales), axis=1) for g in design.groups])
    back = np.zeros((len(optimum.x),) * 2)
    back[:p, :p] = T
    back[p:, p:] = np.diag(theta_scale)
    # Flip columns of λ so that its diagonal is positive; u flips along.
    theta = optimum.x[p:] * theta_scale
    lams, signs = [], []
    for lam in covariance.factors(theta, integrated.columns):
        sign = np.where(np.diag(lam) < 0.0, -1.0, 1.0)
        signs.append(np.tile(sign, (len(sign), 1)))
        lams.append(lam * sign)
    back[p:, p:] *= np.diag(covariance.pack(signs))
    inverse = _inverse(optimum.information)
    raw = covariance.factors(theta, integrated.columns)
    return MLSolution(
        beta=T @ optimum.x[:p],
        theta=covariance.pack(lams),
        covariance=back @ inverse @ back.T,
        conditional_covariance=T @ np.linalg.inv(integrated.information(optimum.x)) @ T.T,
        loglik=optimum.value + rows.constant,
        null_loglik=null_loglik,
        modes=tuple(u @ lam.T for u, lam in zip(spherical, raw, strict=True)),
        mode_covariances=tuple(lam @ V @ lam.T for V, lam in zip(spherical_covariances, raw, strict=True)),
        sensitivities=tuple(
            np.einsum("ab,gbp->gap", lam, s @ np.linalg.inv(T)) for s, lam in zip(slopes, raw, strict=True)
        ),
        linear_predictor=eta,
        optimum=optimum,
        n_agq=n_agq,
        seconds=time.perf_counter() - began,
    )


def _at_boundary(integrated: _Integrated, optimum: Optimum, p: int) -> Optimum:
    """Put a variance that has all but vanished at zero, where the likelihood is no lower there."""
    at, x = p, optimum.x.copy()
    for k in integrated.columns:
        if k == 1 and abs(x[at]) < 1e-3:
            x[at] = 0.0
        at += k * (k + 1) // 2
    if np.array_equal(x, optimum.x):
        return optimum
    value, gradient = integrated.objective(x)
    if value < optimum.value - 1e-7:
        return optimum
    return Optimum(
        x, value, gradient, optimum.information, optimum.distance, optimum.distance < 1e-2,
        optimum.eigenvalues, optimum.evaluations + 1,
    )  # fmt: skip


def _inverse(information: Array) -> Array:
    """Inverse of the information; directions without curvature get an infinite-looking, not a negative, variance."""
    values, vectors = np.linalg.eigh(information)
    floor = 1e-10 * max(abs(values[-1]), 1e-300)
    return (vectors / np.maximum(values, floor)) @ vectors.T
