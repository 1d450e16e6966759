"""Newton's method for the mode of a group's spherical effects, by which quadrature is centred."""

from __future__ import annotations

import math

from numba import njit

from bayesmlm.laplace.kernels import score_information
from bayesmlm.laplace.pls import backward, cholesky_in_place, forward
from bayesmlm.laplace.preload import INNER

__all__ = ["STEPS", "find_mode", "newton_step"]

STEPS = 200
"""Newton steps at most; a concave function needs five."""


@njit(**INNER)
def newton_step(H, grad, step, u, last, first):  # type: ignore[no-untyped-def]
    """Step towards a maximum, in place; the decrement, or the last one where a step was halved, or NaN.

    In: H (lower) and the gradient at u.  Out: H its factor.  A step that does not shorten the next one, in the metric
    of H, is halved.
    """
    k = len(u)
    decrement = math.nan
    if cholesky_in_place(H):
        forward(H, grad)
        decrement = 0.0
        for a in range(k):
            decrement += grad[a] * grad[a]
        backward(H, grad)
    if not first and not decrement < last and not decrement < 1e-12:
        largest = 0.0
        for a in range(k):
            step[a] *= 0.5
            u[a] -= step[a]
            largest = max(largest, abs(step[a]))
        return math.nan if largest < 1e-14 else last
    for a in range(k):
        step[a] = grad[a]
        u[a] += step[a]
    return decrement


@njit(**INNER)
def find_mode(link, lo, hi, y, trials, fixed, m, u, H, grad, step):  # type: ignore[no-untyped-def]
    """The mode û of a group of rows lo:hi, whose m_i are the rows of m, in place; whether it was found.

    H is its factor a step before.
    """
    k, last = len(u), math.inf
    for iteration in range(STEPS):
        for a in range(k):
            grad[a] = -u[a]
            for b in range(a):
                H[a, b] = 0.0
            H[a, a] = 1.0
        for i in range(hi - lo):
            eta = fixed[lo + i]
            for a in range(k):
                eta += m[i, a] * u[a]
            s, w = score_information(link, y[lo + i], trials[lo + i], eta)
            for a in range(k):
                grad[a] += m[i, a] * s
                wm = w * m[i, a]
                for b in range(a + 1):
                    H[a, b] += wm * m[i, b]
        decrement = newton_step(H, grad, step, u, last, iteration == 0)
        if not math.isfinite(decrement):
            return False
        # The next step would be of the order of this one's square.
        if decrement != last and decrement < 1e-10:
            return True
        last = decrement
    return False
