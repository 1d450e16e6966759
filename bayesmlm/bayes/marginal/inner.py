"""The inner Laplace approximation: mode and curvature of the fixed and group effects at given variance parameters.

At θ the log-density of (b, u) has its mode where Newton's method ends, and minus its second derivative there is, with
weights w of the rows and G, B, C the sums of w zz', w zx' and w xx' over them (u by groups, b whole),

    H = [[G + Σ⁻¹, B], [B', C + Q]],   S = C + Q − B'(G + Σ⁻¹)⁻¹B,

Q the precision of b by its priors: u is eliminated group by group, and S is the precision of b with u integrated out.
The density of θ, up to a constant, is the joint one over the normal one there (Tierney & Kadane, 1986):

    log p(θ | y) ≈ log p(y, b̂, û, θ) − ½ log |H| + ½ dim log 2π.

The mean of b is not its mode.  With −w′ the third derivatives of the rows' log-likelihoods it is, to their order,

    E[b] ≈ b̂ − ½ S⁻¹ Σ r_i w′_i h_i,   r_i = x_i − B'(G + Σ⁻¹)⁻¹z_i,   h_i = var(x_i'b + z_i'u),

the mean correction (Rue, Martino & Chopin, 2009, section 3.2.3, for all of b at once).

Here b are the kernel's own coordinates; :class:`Moments` has them standardised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.bayes.marginal.parts import Parts, term_factor
from bayesmlm.laplace.kernels import point

__all__ = ["Mode", "Moments", "inner_mode", "moments"]

Array = np.ndarray[Any, Any]

_STEPS = 60
"""Newton steps at most."""
_CLOSE = 1e-4
"""A last step is of this square in the metric of H: the log-density is then off by less than its square."""
_ROWS = 8192
"""Rows whose variances are taken together."""


@dataclass(frozen=True, slots=True)
class Mode:
    """The mode at one θ.

    Attributes
    ----------
    x : ndarray, shape (size,)
        The kernel's coordinates.
    log_density : float
        log p(θ | y) by Laplace, up to the evidence.
    information : ndarray, shape (groups, k, k)
        G.
    between : ndarray, shape (groups, k, d)
        B.
    omega : ndarray, shape (k, k)
        Σ⁻¹.
    root : ndarray, shape (d, d)
        Lower Cholesky factor of S.
    slope : ndarray, shape (n,)
        w′.
    """

    x: Array
    log_density: float
    information: Array
    between: Array
    omega: Array
    root: Array
    slope: Array


@dataclass(frozen=True, slots=True)
class Moments:
    """Of b given θ, u integrated out.

    Attributes
    ----------
    mean : ndarray, shape (d,)
    root : ndarray, shape (d, d)
        Lower Cholesky factor of the covariance.
    """

    mean: Array
    root: Array


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(
    link: int,
    precision: float,
    y: np.ndarray,
    trials: np.ndarray,
    X: np.ndarray,
    Z: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray,
    eta: np.ndarray,
    u: np.ndarray,
    G: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    of_u: np.ndarray,
    of_b: np.ndarray,
    slope: np.ndarray,
) -> None:
    """G, B, C and the scores' sums, at linear predictors ``eta`` without u; w′ of every row is written too."""
    p, k, r = len(X), len(Z), len(columns)
    G[:], B[:], C[:], of_u[:], of_b[:] = 0.0, 0.0, 0.0, 0.0, 0.0
    for g in range(len(starts) - 1):
        for i in range(starts[g], starts[g + 1]):
            h = eta[i]
            for a in range(k):
                h += Z[a, i] * u[g, a]
            if link == 4:
                s, w, slope[i] = trials[i] * (y[i] - h) * precision, trials[i] * precision, 0.0
            else:
                _, s, w, slope[i] = point(link, y[i], trials[i], h)
                w = max(w, 0.0)
            for a in range(k):
                wz = w * Z[a, i]
                of_u[g, a] += s * Z[a, i]
                for c in range(a + 1):
                    G[g, a, c] += wz * Z[c, i]
                for j in range(p):
                    B[g, a, j] += wz * X[j, i]
                for j in range(r):
                    B[g, a, columns[j, i]] += wz * values[j, i]
            for j in range(p):
                wx = w * X[j, i]
                of_b[j] += s * X[j, i]
                for c in range(j + 1):
                    C[j, c] += wx * X[c, i]
            for j in range(r):
                wx = w * values[j, i]
                at = columns[j, i]
                of_b[at] += s * values[j, i]
                for c in range(p):
                    C[at, c] += wx * X[c, i]
                for c in range(r):
                    if columns[c, i] <= at:
                        C[at, columns[c, i]] += wx * values[c, i]
    for a in range(len(C)):
        for c in range(a):
            C[c, a] = C[a, c]
    for g in range(len(G)):
        for a in range(k):
            for c in range(a):
                G[g, c, a] = G[g, a, c]


def _prior_of_rest(parts: Parts, x: Array) -> tuple[Array, Array]:
    """Gradient of the priors of b, and their precision Q, never negative: of heavy tails that of a normal they touch.

    A Student t density is a mixture of normal ones, whose precision at x is (df + 1) / (df scale² + (x − mean)²).
    """
    rows, b = parts.kernel.arguments[10], x[parts.rest]
    gradient, Q = np.zeros(len(b)), np.zeros((len(b),) * 2)
    for j, (kind, df, mean, scale, _) in enumerate(rows):
        r = (b[j] - mean) / scale
        if kind in (0, 1):
            Q[j, j] = (1.0 if kind == 0 else (df + 1.0) / (df + r * r)) / scale**2
            gradient[j] = -Q[j, j] * (b[j] - mean)
    at = len(rows)
    for term in parts.others:
        lam, k = term_factor(term, x), term.columns
        inverse = np.linalg.inv(lam @ lam.T)
        size = term.levels * k
        gradient[at : at + size] = -(b[at : at + size].reshape(-1, k) @ inverse).ravel()
        for a in range(k):
            for c in range(k):
                Q[np.arange(at + a, at + size, k), np.arange(at + c, at + size, k)] = inverse[a, c]
        at += size
    return gradient, Q


def inner_mode(parts: Parts, x: Array) -> Mode | None:
    """Find the mode of (b, u) at the θ of x, from the effects of x; None where it cannot be found.

    Parameters
    ----------
    parts : Parts
    x : ndarray, shape (size,)

    Examples
    --------
    >>> from bayesmlm.bayes.marginal.parts import parts_of
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> parts = parts_of(build_design(Spec("use ~ urban + (1 | district)"), load_dataset("contraception")))
    >>> mode = inner_mode(parts, np.zeros(parts.kernel.size))
    >>> float(np.abs(parts.kernel(mode.x)[1][[0, 1, 3, 62]]).max()) < 1e-3
    True
    """
    try:
        return _newton(parts, x.copy())
    except np.linalg.LinAlgError:
        return None


def _newton(parts: Parts, x: Array) -> Mode | None:
    d, k, groups, u_at = len(parts.rest), len(parts.Z), parts.groups, parts.effects
    lam = term_factor(parts.coordinates.terms[parts.main], x) if parts.main >= 0 else np.zeros((0, 0))
    omega = np.linalg.inv(lam @ lam.T)
    G, B, C = np.empty((groups, k, k)), np.empty((groups, k, d)), np.empty((d, d))
    of_u, of_b, slope = np.empty((groups, k)), np.empty(d), np.empty(len(parts.y))
    precision, last, step = parts.precision(x), math.inf, np.zeros(len(x))
    for _ in range(_STEPS):
        u = x[u_at].reshape(groups, k)
        _sums(
            parts.link, precision, parts.y, parts.trials, parts.X, parts.Z, parts.columns, parts.values, parts.starts,
            parts.linear_predictors(x[None])[0], u, G, B, C, of_u, of_b, slope,
        )  # fmt: skip
        prior, Q = _prior_of_rest(parts, x)
        A = G + omega
        solved = np.linalg.solve(A, B)
        L = np.linalg.cholesky(C + Q - np.tensordot(B, solved, axes=((0, 1), (0, 1))))
        gu, gb = of_u - u @ omega, of_b + prior
        db = np.linalg.solve(L.T, np.linalg.solve(L, gb - np.tensordot(solved, gu, axes=((0, 1), (0, 1)))))
        du = np.linalg.solve(A, gu[..., None])[..., 0] - solved @ db
        decrement = float(gb @ db + (gu * du).sum())
        if not math.isfinite(decrement):
            return None
        if decrement > max(last, _CLOSE):
            # A full step fails only far from the mode.
            step *= 0.5
            x -= step
            continue
        last = decrement
        step = np.zeros(len(x))
        step[parts.rest], step[u_at] = db, du.ravel()
        x += step
        if decrement < _CLOSE:
            half = float(np.log(np.diag(L)).sum()) + 0.5 * float(np.linalg.slogdet(A)[1].sum())
            log_density = parts.kernel(x)[0] - half + 0.5 * (d + groups * k) * math.log(2.0 * math.pi)
            return Mode(x, log_density, G, B, omega, L, slope)
    return None


def moments(parts: Parts, mode: Mode) -> Moments:
    """Mean, corrected by the third derivatives, and covariance of b given θ.

    Examples
    --------
    >>> from bayesmlm.bayes.marginal.parts import parts_of
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> parts = parts_of(build_design(Spec("use ~ urban + (1 | district)"), load_dataset("contraception")))
    >>> mode = inner_mode(parts, np.zeros(parts.kernel.size))
    >>> ((moments(parts, mode).mean - mode.x[:2]) / np.diag(moments(parts, mode).root)).round(2).tolist()
    [-0.17, 0.13]
    """
    d, A = len(parts.rest), mode.information + mode.omega
    solved, V = np.linalg.solve(A, mode.between), np.linalg.inv(A)
    inverse, total = np.linalg.inv(mode.root), np.zeros(d)
    group = np.repeat(np.arange(len(A)), np.diff(parts.starts))
    for first in range(0, len(group), _ROWS):
        rows = slice(first, first + _ROWS)
        z, at = parts.Z[:, rows].T, group[rows]
        R = np.zeros((len(at), d))
        R[:, : len(parts.X)] = parts.X[:, rows].T
        for column, value in zip(parts.columns[:, rows], parts.values[:, rows], strict=True):
            R[np.arange(len(at)), column] += value
        R -= np.einsum("ia,iad->id", z, solved[at])
        h = np.einsum("ia,iab,ib->i", z, V[at], z) + np.square(R @ inverse.T).sum(axis=1)
        total += (mode.slope[rows] * h) @ R
    mean = mode.x[parts.rest] - 0.5 * inverse.T @ (inverse @ total)
    # QR of the factor's transpose gives the Cholesky factor of what it is the factor of.
    root = np.linalg.qr(parts.standardised(mode.x, inverse.T).T, mode="r").T
    return Moments(parts.standardised(mode.x, mean), root * np.sign(np.diag(root)))
