"""Maximise a smooth log-likelihood with exact gradients: quasi-Newton to the neighbourhood, Newton to the point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Objective", "Optimum", "hessian_of_gradient", "maximise"]

Array = np.ndarray[Any, Any]
Objective = Callable[[Array], tuple[float, Array]]


_STEP = 1e-5
"""Step of a difference, in standard errors given the other parameters."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where a maximisation ended, with every fact about how it got there.

    Attributes
    ----------
    x, gradient : ndarray, shape (p,)
    value : float
    information : ndarray, shape (p, p)
        Minus the Hessian at x.
    distance : float
        √(g' I⁻¹ g): how far, in standard errors, a Newton step would still move.
    converged : bool
        Whether ``distance`` is below 1e-4 and the information is positive definite.
    eigenvalues : ndarray, shape (p,)
        Of the information, ascending.
    evaluations : int
    """

    x: Array
    value: float
    gradient: Array
    information: Array
    distance: float
    converged: bool
    eigenvalues: Array
    evaluations: int


def hessian_of_gradient(objective: Objective, x: Array, gradient: Array, steps: Array) -> Array:
    """Hessian by forward differences of an exact gradient, symmetrised, shape (p, p).

    With steps of 1e-5 standard errors the truncation error is of relative order 1e-5 times the skewness of the
    log-likelihood over one standard error, far below what a standard error is read to; and rounding of the gradient
    is further below still.

    Parameters
    ----------
    objective : callable
    x, gradient : ndarray, shape (p,)
        Where, and the gradient there.
    steps : ndarray, shape (p,)

    Examples
    --------
    >>> square = lambda x: (float(x @ x), 2.0 * x)
    >>> hessian_of_gradient(square, np.ones(2), np.full(2, 2.0), np.full(2, 1e-4)).round(9).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    p = len(x)
    H = np.empty((p, p))
    for j in range(p):
        moved = x.copy()
        moved[j] += steps[j]
        H[j] = (objective(moved)[1] - gradient) / (moved[j] - x[j])
    return 0.5 * (H + H.T)


@dataclass(slots=True)
class _Point:
    """A point of the search; the objective's evaluations are counted by whoever wraps it."""

    x: Array
    value: float
    gradient: Array


def _solve_definite(information: Array, g: Array) -> tuple[Array, Array, Array]:
    """Newton step with negative or vanishing curvature turned positive; the eigenvalues as they are, the vectors."""
    values, vectors = np.linalg.eigh(information)
    floor = max(1e-14 * abs(values[-1]), 1e-30)
    return vectors @ ((vectors.T @ g) / np.maximum(np.abs(values), floor)), values, vectors


def _climb(objective: Objective, at: _Point, B: Array, max_iterations: int, enough: float) -> Array:
    """BFGS with backtracking until √(g'Bg) is below √``enough``; moves ``at``, returns the inverse information."""
    first, fresh = B, True
    for _ in range(max_iterations):
        step = B @ at.gradient
        decrement = float(at.gradient @ step)
        if decrement < enough:
            break
        size = 1.0
        while True:
            new_value, new_g = objective(at.x + size * step)
            if new_value >= at.value + 1e-4 * size * decrement - 1e-11 * (1.0 + abs(at.value)):
                break
            # Minimum of the parabola through both values and the slope at the start, kept within [0.1, 0.5].
            bend = at.value + size * decrement - new_value
            ratio = decrement * size / (2.0 * bend) if np.isfinite(bend) else 0.1
            size *= min(max(ratio, 0.1), 0.5)
            if size < 1e-10:
                break
        if size < 1e-10:
            if fresh:
                break
            B, fresh = first, True
            continue
        s, y = size * step, at.gradient - new_g
        at.x, at.value, at.gradient = at.x + s, new_value, new_g
        curvature = float(s @ y)
        if curvature > 1e-10 * np.sqrt(float(s @ s) * float(y @ y)):
            By = B @ y
            B = (
                B
                + np.outer(s, s) * ((curvature + y @ By) / curvature**2)
                - (np.outer(By, s) + np.outer(s, By)) / curvature
            )
            fresh = False
    return B


def _newton(objective: Objective, at: _Point, B: Array) -> tuple[Array, float]:
    """Newton's steps with the Hessian of the gradient; moves ``at``, returns the information and the distance left."""
    # BFGS knows little of directions it never went: where its guess was far off, the steps are chosen again.
    steps = _STEP / np.sqrt(np.maximum(np.diag(np.linalg.inv(B)), 1e-12))
    for _ in range(4):
        info = -hessian_of_gradient(objective, at.x, at.gradient, steps)
        better = _STEP / np.sqrt(np.maximum(np.abs(np.diag(info)), 1e-12))
        if np.any(steps > 4.0 * better) or np.any(steps < 0.01 * better):
            steps = better
            info = -hessian_of_gradient(objective, at.x, at.gradient, steps)
        if not np.isfinite(info).all():
            # The objective ends within a hair of here: what BFGS knows is all there is.
            return np.linalg.inv(B), np.inf
        step, eigenvalues, _ = _solve_definite(info, at.gradient)
        distance = float(np.sqrt(abs(at.gradient @ step)))
        for _ in range(4):
            if distance < 1e-7:
                break
            value, g = objective(at.x + step)
            new_step, _, _ = _solve_definite(info, g)
            new_distance = float(np.sqrt(abs(g @ new_step)))
            if not (new_distance < distance and value > at.value - 1e-7 * (1.0 + abs(at.value))):
                break
            at.x, at.value, at.gradient = at.x + step, value, g
            step, distance = new_step, new_distance
        if distance < 1e-4 or eigenvalues[0] <= 0.0:
            break
    return info, distance


def _escape(objective: Objective, at: _Point, information: Array) -> bool:
    """Leave a saddle along its most upward bend, where that leads higher; moves ``at``."""
    _, values, vectors = _solve_definite(information, at.gradient)
    if not values[0] < -1e-7 * max(values[-1], 0.0):
        return False
    for size in (1.0, 0.3, 0.1, 0.03, 0.01):
        for sign in (1.0, -1.0):
            x = at.x + sign * size / np.sqrt(-values[0]) * vectors[:, 0]
            value, g = objective(x)
            if value > at.value + 1e-10 * (1.0 + abs(at.value)):
                at.x, at.value, at.gradient = x, value, g
                return True
    return False


def maximise(
    objective: Objective,
    start: Array,
    information: Array | Callable[[], Array],
    max_iterations: int = 200,
    hessian: bool = True,
) -> Optimum:
    """Maximise by BFGS started from a good guess of the information, then by Newton steps; saddles are left.

    Parameters
    ----------
    objective : callable
        x -> (value, gradient); may return −inf where it cannot be evaluated.
    start : ndarray, shape (p,)
    information : ndarray, shape (p, p), or callable
        Guess of minus the Hessian at the optimum (positive definite); called after the first evaluation where it is
        a function.
    max_iterations : int
    hessian : bool
        Whether to end with the exact Hessian and Newton's steps.  Without, the search goes on by BFGS until it is
        1e-5 standard errors from the top, and ``information`` is its estimate.

    Returns
    -------
    Optimum

    Notes
    -----
    Nocedal & Wright (2006), algorithm 6.1 with backtracking, then the Hessian of the exact gradient.

    Examples
    --------
    >>> cosh = lambda x: (-float(np.cosh(x - 1.0).sum()), -np.sinh(x - 1.0))
    >>> optimum = maximise(cosh, np.zeros(2), np.eye(2))
    >>> optimum.x.round(6).tolist(), optimum.converged
    ([1.0, 1.0], True)
    """
    evaluations = 0

    def counted(x: Array) -> tuple[float, Array]:
        nonlocal evaluations
        evaluations += 1
        return objective(x)

    at = _Point(start.copy(), *counted(start))
    if callable(information):
        information = information()
    if not len(start):
        return Optimum(at.x, at.value, at.gradient, information, 0.0, True, np.zeros(0), evaluations)
    B = np.linalg.inv(information)
    if not hessian:
        B = _climb(counted, at, B, max_iterations, 1e-10)
        info, distance = np.linalg.inv(B), float(np.sqrt(abs(at.gradient @ B @ at.gradient)))
    else:
        for _ in range(5):
            # So near the top (3e-4 standard errors) the Hessian is that of the top, and Newton's steps take over.
            B = _climb(counted, at, B, max_iterations, 1e-7)
            info, distance = _newton(counted, at, B)
            if not _escape(counted, at, info):
                break
            values, vectors = np.linalg.eigh(info)
            B = (vectors / np.maximum(np.abs(values), 1e-3 * np.abs(values).max())) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(info)
    definite = bool(eigenvalues[0] > 1e-12 * max(eigenvalues[-1], 0.0)) and bool(eigenvalues[-1] > 0.0)
    return Optimum(at.x, at.value, at.gradient, info, distance, distance < 1e-4 and definite, eigenvalues, evaluations)
