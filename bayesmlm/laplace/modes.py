"""Conditional modes of any terms by penalised Newton steps, given β and θ or jointly with β.

With spherical effects u ~ N(0, I), m_i = Λ'z_i and η = o + Xβ + m'u, û maximises Σ ℓ_i(η_i) − ½ |u|², and minus the
second derivative there is H = I + Σ w_i m_i m_i' (Bates, "Computational methods for mixed models", 2015, section 5).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.laplace.kernels import expected, point_product, score_information
from bayesmlm.laplace.layout import Blocks, component_of
from bayesmlm.laplace.pls import (
    Factor,
    eliminate_group,
    empty_factor,
    factorise_components,
    restore_main,
    selected_covariance,
    solve,
    solve_components,
    spherical_columns,
)
from bayesmlm.laplace.preload import INNER

__all__ = [
    "Evaluation", "at_modes", "factorise_rows", "find_modes", "fixed_information", "flattened", "gather",
    "information_of", "joint_modes", "linear_predictor", "mode_covariances", "scatter",
]  # fmt: skip

Array = np.ndarray[Any, Any]


# Functions of one row are inlined where they are called: passing the layout's arrays row by row would cost more than
# the arithmetic.


@njit(cache=True, error_model="numpy", inline="always")
def _accumulate(m, i, g, k0, first, shift, size, touched, local, wi, L, Y, S):  # type: ignore[no-untyped-def]
    """Add w m m' of one row to the blocks of its main group and to the Schur complement.

    Column c of the row's component lies at ``shift + (column of the row) * size + c``.
    """
    for a in range(k0):
        wm = wi * m[i, a]
        for b in range(a + 1):
            L[g, a, b] += wm * m[i, b]
    for c in range(m.shape[1] - k0):
        wm = wi * m[i, k0 + c]
        at = first + local[i, c]
        for a in range(k0):
            Y[at, a] += wm * m[i, a]
        row = shift + touched[at] * size
        for d in range(m.shape[1] - k0):
            column = touched[first + local[i, d]]
            if column <= touched[at]:
                S[row + column] += wm * m[i, k0 + d]


@njit(cache=True, error_model="numpy", inline="always")
def _clear(L, Y, g, k0, first, last):  # type: ignore[no-untyped-def]
    for a in range(k0):
        for b in range(k0):
            L[g, a, b] = 1.0 if a == b else 0.0
        for at in range(first, last):
            Y[at, a] = 0.0


@njit(**INNER)
def _unit_diagonal(layout, S):  # type: ignore[no-untyped-def]
    S[:] = 0.0
    for c in range(len(layout.firsts) - 1):
        size = layout.firsts[c + 1] - layout.firsts[c]
        for a in range(size):
            S[layout.offsets[c] + a * (size + 1)] = 1.0


@njit(cache=True, error_model="numpy", inline="always")
def _row_predictor(m, i, g, k0, first, touched, local, fixed, main, other):  # type: ignore[no-untyped-def]
    eta = fixed[i]
    for a in range(k0):
        eta += m[i, a] * main[g, a, 0]
    for c in range(m.shape[1] - k0):
        eta += m[i, k0 + c] * other[touched[first + local[i, c]], 0]
    return eta


@njit(cache=True, error_model="numpy")
def _newton_system(link, y, trials, fixed, m, layout, main, other, factor, w, g_main, g_other, s_main, s_other):  # type: ignore[no-untyped-def]
    """Gradient of the penalised log-likelihood, H up to its components, and the first half of the Newton step."""
    k0, others = main.shape[1], m.shape[1] - main.shape[1]
    starts, touched, local, touched_starts = layout.starts, layout.touched, layout.local, layout.touched_starts
    L, Y, S = factor.L, factor.Y, factor.S
    _unit_diagonal(layout, S)
    # Loops, here and elsewhere: numba takes seconds to compile what checks the shapes of an array expression.
    for j in range(len(other)):
        g_other[j, 0] = -other[j, 0]
        s_other[j, 0] = 0.0
    half = 0.0
    for g in range(len(starts) - 1):
        first, last = touched_starts[g], touched_starts[g + 1]
        shift, size = component_of(layout, first, last)
        _clear(L, Y, g, k0, first, last)
        for a in range(k0):
            g_main[g, a, 0] = -main[g, a, 0]
        for i in range(starts[g], starts[g + 1]):
            eta = _row_predictor(m, i, g, k0, first, touched, local, fixed, main, other)
            s, w[i] = score_information(link, y[i], trials[i], eta)
            _accumulate(m, i, g, k0, first, shift, size, touched, local, w[i], L, Y, S)
            for a in range(k0):
                g_main[g, a, 0] += m[i, a] * s
            for c in range(others):
                g_other[touched[first + local[i, c]], 0] += m[i, k0 + c] * s
        half += eliminate_group(layout, g, factor)
        for a in range(k0):
            total = g_main[g, a, 0]
            for c in range(a):
                total -= L[g, a, c] * s_main[g, c, 0]
            s_main[g, a, 0] = total / L[g, a, a]
        for at in range(first, last):
            for a in range(k0):
                s_other[touched[at], 0] -= Y[at, a] * s_main[g, a, 0]
    for j in range(len(other)):
        s_other[j, 0] += g_other[j, 0]
    return half


@njit(cache=True, error_model="numpy")
def factorise_rows(w, m, layout, factor):  # type: ignore[no-untyped-def]
    """H of given weights, up to its components; ½ Σ log |D|."""
    k0 = layout.columns[0]
    starts, touched, local, touched_starts = layout.starts, layout.touched, layout.local, layout.touched_starts
    L, Y, S = factor.L, factor.Y, factor.S
    _unit_diagonal(layout, S)
    half = 0.0
    for g in range(len(starts) - 1):
        first, last = touched_starts[g], touched_starts[g + 1]
        shift, size = component_of(layout, first, last)
        _clear(L, Y, g, k0, first, last)
        for i in range(starts[g], starts[g + 1]):
            _accumulate(m, i, g, k0, first, shift, size, touched, local, w[i], L, Y, S)
        half += eliminate_group(layout, g, factor)
    return half


@njit(cache=True, error_model="numpy")
def at_modes(link, use_expected, y, trials, fixed, m, layout, main, other, factor, s, w, we, dwe):  # type: ignore[no-untyped-def]
    """Σ ℓ at û and H there up to its components (with ½ Σ log |D|); scores, observed information, and the
    information of the determinant with its slope."""
    k0 = main.shape[1]
    starts, touched, local, touched_starts = layout.starts, layout.touched, layout.local, layout.touched_starts
    L, Y, S = factor.L, factor.Y, factor.S
    _unit_diagonal(layout, S)
    total, half, product = 0.0, 0.0, 1.0
    for g in range(len(starts) - 1):
        first, last = touched_starts[g], touched_starts[g + 1]
        shift, size = component_of(layout, first, last)
        _clear(L, Y, g, k0, first, last)
        for i in range(starts[g], starts[g + 1]):
            eta = _row_predictor(m, i, g, k0, first, touched, local, fixed, main, other)
            ll, s[i], w[i], dwe[i], product = point_product(link, y[i], trials[i], eta, product)
            total += ll
            if use_expected:
                we[i], dwe[i] = expected(link, trials[i], eta)
            else:
                we[i] = w[i]
            _accumulate(m, i, g, k0, first, shift, size, touched, local, w[i], L, Y, S)
        half += eliminate_group(layout, g, factor)
    return total - math.log(product), half


@njit(cache=True, error_model="numpy")
def gather(values, m, layout, main, other):  # type: ignore[no-untyped-def]
    """Σ m_i values_i' as main (groups, k₀, r) and other (q₂, r); values (n, r)."""
    k0 = main.shape[1]
    starts, touched, local, touched_starts = layout.starts, layout.touched, layout.local, layout.touched_starts
    for g in range(len(starts) - 1):
        first = touched_starts[g]
        for i in range(starts[g], starts[g + 1]):
            for j in range(values.shape[1]):
                for a in range(k0):
                    main[g, a, j] += m[i, a] * values[i, j]
                for c in range(m.shape[1] - k0):
                    other[touched[first + local[i, c]], j] += m[i, k0 + c] * values[i, j]


@njit(cache=True, error_model="numpy")
def scatter(m, layout, main, other, out):  # type: ignore[no-untyped-def]
    """m_i'v of every row, shape (n, r)."""
    k0 = main.shape[1]
    starts, touched, local, touched_starts = layout.starts, layout.touched, layout.local, layout.touched_starts
    for g in range(len(starts) - 1):
        first = touched_starts[g]
        for i in range(starts[g], starts[g + 1]):
            for j in range(main.shape[2]):
                total = 0.0
                for a in range(k0):
                    total += m[i, a] * main[g, a, j]
                for c in range(m.shape[1] - k0):
                    total += m[i, k0 + c] * other[touched[first + local[i, c]], j]
                out[i, j] = total


class Evaluation:
    """Workspace of one model: modes to start from, and the factor of H at the last evaluation.

    The arrays are filled by :func:`laplace`; nothing here outlives a fit.
    """

    __slots__ = ("coefficient", "determinant", "dwe", "factor", "main", "other", "s", "w", "we")

    def __init__(self, blocks: Blocks) -> None:
        n, layout = len(blocks.order), blocks.layout
        self.main = np.zeros((len(layout.starts) - 1, int(layout.columns[0]), 1))
        self.other = np.zeros((len(layout.component), 1))
        self.factor: Factor = empty_factor(layout)
        self.determinant: Factor = self.factor
        self.s, self.w, self.we, self.dwe, self.coefficient = (np.zeros(n) for _ in range(5))

    def forget(self) -> None:
        """Start the next search for the modes at zero."""
        self.main[:] = 0.0
        self.other[:] = 0.0


def flattened(lams: list[Array]) -> Array:
    return np.concatenate([lam.ravel() for lam in lams])


def find_modes(link: int, y: Array, trials: Array, fixed: Array, m: Array, blocks: Blocks, work: Evaluation) -> bool:
    """Newton's method for û, leaving H factorised a step before it; whether û was found.

    A step is accepted when it shortens the next Newton step in the metric of H (the penalised log-likelihood is
    concave, so that a full step fails only far from the mode), and halved otherwise.
    """
    layout, factor = blocks.layout, work.factor
    g_main, g_other = np.empty_like(work.main), np.empty_like(work.other)
    s_main, s_other = np.empty_like(work.main), np.empty_like(work.other)
    last, taken = math.inf, None
    for _ in range(200):
        half = _newton_system(
            link, y, trials, fixed, m, layout, work.main, work.other, factor, work.w, g_main, g_other, s_main, s_other
        )
        half += factorise_components(layout, factor.S)
        decrement = math.nan
        if math.isfinite(half):
            solve_components(layout, factor.S, s_other)
            restore_main(layout, factor, s_main, s_other)
            decrement = float(np.vdot(g_main, s_main) + np.vdot(g_other, s_other))
        if taken is not None and not decrement < last and not decrement < 1e-12:
            taken = (0.5 * taken[0], 0.5 * taken[1])
            work.main -= taken[0]
            work.other -= taken[1]
            if max(np.abs(taken[0]).max(initial=0.0), np.abs(taken[1]).max(initial=0.0)) < 1e-12:
                return False
            continue
        if not math.isfinite(decrement):
            return False
        last, taken = decrement, (s_main.copy(), s_other.copy())
        work.main += s_main
        work.other += s_other
        # The next step would be of the order of this one's square, and the determinant is off by no more.
        if decrement < 1e-8:
            return True
    return False


def linear_predictor(fixed: Array, blocks: Blocks, lams: list[Array], work: Evaluation) -> Array:
    """η at the modes in ``work``, shape (n,), in the order of ``blocks``."""
    out = np.empty((len(fixed), 1))
    m = spherical_columns(blocks.z, blocks.layout.columns, flattened(lams))
    scatter(m, blocks.layout, work.main, work.other, out)
    return fixed + out[:, 0]


def information_of(X: Array, m: Array, blocks: Blocks, w: Array, factor: Factor) -> tuple[Array, tuple[Array, Array]]:
    """X'WX − X'WM H⁻¹ M'WX, and H⁻¹ M'WX split as main and other, with the factor of H of the same w."""
    wX = w[:, None] * X
    main = np.zeros((*factor.L.shape[:2], X.shape[1]))
    other = np.zeros((len(blocks.place), X.shape[1]))
    gather(wX, m, blocks.layout, main, other)
    crossed = (main.copy(), other.copy())
    solve(blocks.layout, factor, main, other)
    taken = np.tensordot(crossed[0], main, axes=((0, 1), (0, 1))) + crossed[1].T @ other
    return X.T @ wX - taken, (main, other)


def fixed_information(X: Array, blocks: Blocks, lams: list[Array], work: Evaluation) -> tuple[Array, list[Array]]:
    """Information on β given θ with û profiled out, and what û owes to β.

    X is in the order of ``blocks``; H is the factor left by :func:`laplace`.

    Returns
    -------
    information : ndarray, shape (p, p)
        X'WX − X'WM H⁻¹ M'WX, lme4's RX'RX.
    slopes : list of ndarray, shape (groups, k, p)
        Derivatives of û in β, by term in block order.
    """
    m = spherical_columns(blocks.z, blocks.layout.columns, flattened(lams))
    information, (main, other) = information_of(X, m, blocks, work.w, work.factor)
    if work.determinant is not work.factor:
        # Scoring uses the expected information, as lme4 does; û still moves by the observed.
        information = information_of(X, m, blocks, work.we, work.determinant)[0]
    return information, [-part for part in blocks.by_term(main, other)]


def joint_modes(
    link: int, y: Array, trials: Array, offset: Array, X: Array, beta: Array, blocks: Blocks, lams: list[Array],
    work: Evaluation,
) -> tuple[Array, bool]:  # fmt: skip
    """β at the joint mode of β and û given θ, from the modes in ``work`` (lme4's ``nAGQ = 0``).

    The penalised log-likelihood with û profiled out is concave in β: Newton's method, halving steps that overshoot.

    Returns
    -------
    beta : ndarray, shape (p,)
    found : bool
    """
    m = spherical_columns(blocks.z, blocks.layout.columns, flattened(lams))
    last, step = math.inf, np.zeros_like(beta)
    for _ in range(100):
        found = find_modes(link, y, trials, offset + X @ beta, m, blocks, work)
        decrement = math.nan
        if found:
            at_modes(
                link, False, y, trials, offset + X @ beta, m, blocks.layout, work.main, work.other, work.factor,
                work.s, work.w, work.we, work.dwe,
            )  # fmt: skip
            factorise_components(blocks.layout, work.factor.S)
            gradient = X.T @ work.s
            information, (main, other) = information_of(X, m, blocks, work.w, work.factor)
            new = np.linalg.solve(information, gradient)
            decrement = float(gradient @ new)
        if not decrement < last and not decrement < 1e-12:
            step *= 0.5
            if np.abs(step).max(initial=0.0) < 1e-10:
                return beta, False
            beta = beta - step
            continue
        if decrement < 1e-18 * (1.0 + len(y)):
            return beta, True
        last, step = decrement, new
        beta = beta + step
        # The modes move along, to first order.
        work.main -= main @ step[:, None]
        work.other -= other @ step[:, None]
    return beta, False


def mode_covariances(blocks: Blocks, work: Evaluation) -> list[Array]:
    """Conditional covariances of û given β and θ, by term in block order: arrays (groups, k, k)."""
    return selected_covariance(blocks, work.factor)
