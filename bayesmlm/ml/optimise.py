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


def _solve_definite(information: Array, g: Array) -> tuple[Array, Array]:
    """Newton step with negative or vanishing curvature turned positive; also the eigenvalues as they are."""
    values, vectors = np.linalg.eigh(information)
    floor = max(1e-14 * abs(values[-1]), 1e-30)
    return vectors @ ((vectors.T @ g) / np.maximum(np.abs(values), floor)), values


def maximise(
    objective: Objective,
    start: Array,
    information: Array | Callable[[], Array],
    max_iterations: int = 200,
    hessian: bool = True,
) -> Optimum:
    """Maximise by BFGS started from a good guess of the information, then by Newton steps.

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

    x = start.copy()
    value, g = counted(x)
    if callable(information):
        information = information()
    if not len(x):
        return Optimum(x, value, g, information, 0.0, True, np.zeros(0), evaluations)
    B = np.linalg.inv(information)
    fresh = True
    for _ in range(max_iterations):
        step = B @ g
        decrement = float(g @ step)
        # So near the top (3e-4 standard errors) the Hessian is that of the top, and Newton's steps take over.
        if decrement < (1e-7 if hessian else 1e-10):
            break
        size = 1.0
        while True:
            new_value, new_g = counted(x + size * step)
            if new_value >= value + 1e-4 * size * decrement - 1e-11 * (1.0 + abs(value)):
                break
            # Minimum of the parabola through both values and the slope at the start, kept within [0.1, 0.5].
            bend = value + size * decrement - new_value
            ratio = decrement * size / (2.0 * bend) if np.isfinite(bend) else 0.1
            size *= min(max(ratio, 0.1), 0.5)
            if size < 1e-10:
                break
        if size < 1e-10:
            if fresh:
                break
            B, fresh = np.linalg.inv(information), True
            continue
        s, y = size * step, g - new_g
        x, value, g = x + s, new_value, new_g
        curvature = float(s @ y)
        if curvature > 1e-10 * np.sqrt(float(s @ s) * float(y @ y)):
            By = B @ y
            B = (
                B
                + np.outer(s, s) * ((curvature + y @ By) / curvature**2)
                - (np.outer(By, s) + np.outer(s, By)) / curvature
            )
            fresh = False

    if not hessian:
        info = np.linalg.inv(B)
        distance = float(np.sqrt(abs(g @ B @ g)))
        return Optimum(x, value, g, info, distance, distance < 1e-4, np.linalg.eigvalsh(info), evaluations)
    # BFGS knows little of directions it never went: where its guess was far off, the steps are chosen again.
    steps = _STEP / np.sqrt(np.maximum(np.diag(np.linalg.inv(B)), 1e-12))
    for _ in range(3):
        info = -hessian_of_gradient(counted, x, g, steps)
        better = _STEP / np.sqrt(np.maximum(np.abs(np.diag(info)), 1e-12))
        if np.any(steps > 4.0 * better) or np.any(steps < 0.01 * better):
            steps = better
            info = -hessian_of_gradient(counted, x, g, steps)
        step, eigenvalues = _solve_definite(info, g)
        distance = float(np.sqrt(abs(g @ step)))
        for _ in range(4):
            if distance < 1e-7:
                break
            new_value, new_g = counted(x + step)
            new_step, _ = _solve_definite(info, new_g)
            new_distance = float(np.sqrt(abs(new_g @ new_step)))
            if not (new_distance < distance and new_value > value - 1e-7 * (1.0 + abs(value))):
                break
            x, value, g, step, distance = x + step, new_value, new_g, new_step, new_distance
        if distance < 1e-4 or eigenvalues[0] <= 0.0:
            break
    definite = bool(eigenvalues[0] > 1e-12 * max(eigenvalues[-1], 0.0)) and bool(eigenvalues[-1] > 0.0)
    return Optimum(x, value, g, info, distance, distance < 1e-4 and definite, eigenvalues, evaluations)
