"""Maximise a smooth log-likelihood with exact gradients: quasi-Newton to the neighbourhood, Newton to the point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Optimum", "hessian_of_gradient", "maximise"]

Array = np.ndarray[Any, Any]
Objective = Callable[[Array], tuple[float, Array]]


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


def hessian_of_gradient(objective: Objective, x: Array, steps: Array) -> Array:
    """Hessian by central differences of an exact gradient, symmetrised, shape (p, p).

    With steps of a thousandth of a standard error the truncation error is of relative order 1e-6.

    Examples
    --------
    >>> square = lambda x: (float(x @ x), 2.0 * x)
    >>> hessian_of_gradient(square, np.ones(2), np.full(2, 1e-3)).round(9).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    p = len(x)
    H = np.empty((p, p))
    for j in range(p):
        up, down = x.copy(), x.copy()
        up[j] += steps[j]
        down[j] -= steps[j]
        H[j] = (objective(up)[1] - objective(down)[1]) / (up[j] - down[j])
    return 0.5 * (H + H.T)


def _solve_definite(information: Array, g: Array) -> tuple[Array, Array]:
    """Newton step with negative or vanishing curvature turned positive; also the eigenvalues as they are."""
    values, vectors = np.linalg.eigh(information)
    floor = 1e-8 * max(abs(values[-1]), 1e-300)
    return vectors @ ((vectors.T @ g) / np.maximum(np.abs(values), floor)), values


def maximise(objective: Objective, start: Array, information: Array, max_iterations: int = 200) -> Optimum:
    """Maximise by BFGS started from a good guess of the information, then by Newton steps.

    Parameters
    ----------
    objective : callable
        x -> (value, gradient); may return −inf where it cannot be evaluated.
    start : ndarray, shape (p,)
    information : ndarray, shape (p, p)
        Guess of minus the Hessian at the optimum (positive definite).

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
    B = np.linalg.inv(information)
    fresh = True
    for _ in range(max_iterations):
        step = B @ g
        decrement = float(g @ step)
        if decrement < 1e-9:
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

    steps = 1e-3 * np.sqrt(np.maximum(np.diag(B), 1e-12))
    for _ in range(3):
        info = -hessian_of_gradient(counted, x, steps)
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
