"""From a mode of the posterior and its curvature to the coordinates that whiten it: Laplace's approximation, as a map.

The precision P of all effects given v, at the mode, is that of their prior and what the rows weigh.  With e₁ those of
the largest term, whose precision is one block per group, and e₂ all others, S = P₂₂ − P₂₁ P₁₁⁻¹ P₁₂ is the precision of
e₂ with e₁ integrated out; the derivatives of the conditional modes follow from those of the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.bayes.coordinates import Coordinates, Term, largest_term, spiral
from bayesmlm.bayes.kernel import Kernel
from bayesmlm.bayes.whitening import Whitening
from bayesmlm.laplace.kernels import rows as row_derivatives

__all__ = ["Start", "flat_start", "informed", "whiten"]

Array = np.ndarray[Any, Any]

_DENSE = 1500
"""Effects of all terms but the largest whose covariance is used whole; of more, each one's variance alone."""
_LOG_SD = 1.5
"""Largest standard deviation of a log standard deviation that a step is sized for."""


@dataclass(frozen=True, slots=True)
class Start:
    """A mode of the posterior with its curvature, group effects integrated out.

    Attributes
    ----------
    beta : ndarray, shape (p,)
        Internal coefficients.
    factors : tuple of ndarray, shape (k, k)
        Λ of each random-effect term.
    effects : tuple of ndarray, shape (levels, k)
        Conditional modes.
    sigma : float
        Residual standard deviation; NaN where there is none.
    covariance : ndarray
        Of internal β, the entries of each Λ on and below its diagonal column by column, and σ.
    """

    beta: Array
    factors: tuple[Array, ...]
    effects: tuple[Array, ...]
    sigma: float
    covariance: Array


def flat_start(kernel: Kernel) -> Start:
    """A start from the scaling alone, for when there is no mode to start from."""
    coordinates = kernel.coordinates
    p = coordinates.fixed
    factors = tuple(0.5 * np.eye(term.columns) for term in coordinates.terms)
    effects = tuple(np.zeros((term.levels, term.columns)) for term in coordinates.terms)
    sizes = [0.25 * np.ones(k * (k + 1) // 2) for k in (term.columns for term in coordinates.terms)]
    gaussian = coordinates.sigma >= 0
    y = kernel.arguments[1]
    sigma = float(y.std()) if gaussian else math.nan
    covariance = np.diag(np.concatenate([np.ones(p), *sizes, [0.25 * sigma**2] if gaussian else []]))
    return Start(np.zeros(p), factors, effects, sigma, covariance)


def informed(kernel: Kernel, start: Start) -> tuple[bool, ...]:
    """Whether the data speak of each term's effects more than their prior, so that they are better centred.

    A standardised effect given everything else has variance 1 where the data say nothing and 0 where they say all
    (Papaspiliopoulos, Roberts & Sköld, 2007); a term is centred where its mean is below a half.
    """
    rows = _at_mode(kernel, start)
    out = []
    for t, (term, lam) in enumerate(zip(kernel.coordinates.terms, start.factors, strict=True)):
        k = term.columns
        information = _information(
            _Curvature(term, kernel.arguments[5][t], rows.z[t] @ lam, np.eye(k), np.zeros((0, 0))), rows.weight
        )
        out.append(bool(np.trace(np.linalg.inv(information + np.eye(k)), axis1=1, axis2=2).mean() / k < 0.5))
    return tuple(out)


def whiten(kernel: Kernel, start: Start, centered: bool | None = None) -> Whitening:
    """Make the map for a kernel from a mode.

    Parameters
    ----------
    kernel : Kernel
        Whose largest term is centred.
    start : Start
    centered : bool, optional
        Of the largest term's whitened effects; without it they are as the data speak.

    Examples
    --------
    >>> from bayesmlm.bayes.kernel import build_kernel
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> design = build_design(Spec("use ~ age + (1 | district)"), load_dataset("contraception"))
    >>> kernel = build_kernel(design, (True,))
    >>> white = whiten(kernel, flat_start(kernel))
    >>> from bayesmlm.bayes.whitening import unwhitened
    >>> unwhitened(np.zeros((1, 1, kernel.size)), white)[0][..., :2].tolist() == [[white.mode[:2].tolist()]]
    True
    """
    coordinates = kernel.coordinates
    outer, terms = coordinates.outer, coordinates.terms
    v, J = _outer_mode(start, coordinates)
    m = len(outer)
    mode = np.zeros(kernel.size)
    mode[outer] = v
    root = _root(J @ start.covariance @ J.T, coordinates)
    if not terms:
        none, empty = np.zeros(0, dtype=np.int64), np.zeros((0, 0))
        return Whitening(
            outer, none, mode, root, np.zeros((0, m)), empty, np.zeros(0), np.full(5, -1), none, np.zeros((0, 1, 1)),
            np.zeros(0), np.zeros((0, m)), np.zeros(1, dtype=np.int64), none, np.zeros(0), 0.0, np.zeros(m, dtype=bool),
        )  # fmt: skip
    at_mode = _at_mode(kernel, start)
    largest = largest_term(coordinates)
    assert terms[largest].centered
    curvatures = [_curvature(kernel, start, at_mode, t) for t in range(len(terms))]
    for t, c in enumerate(curvatures):
        if t != largest:
            mode[c.term.effects : c.term.end] = at_mode.coordinates[t].ravel()
    return _assemble(kernel, start, curvatures, largest, at_mode, mode, root, centered)


@dataclass(frozen=True, slots=True)
class _AtMode:
    """Rows at the mode.

    Attributes
    ----------
    coordinates : list of ndarray, shape (levels, k)
        Effects as the kernel has them.
    z : list of ndarray, shape (n, k)
    score, weight : ndarray, shape (n,)
        Minus the likelihood's second derivative is the weight.
    H : ndarray, shape (n, m)
        Derivative of the linear predictor in v, the effects' coordinates held.
    """

    coordinates: list[Array]
    z: list[Array]
    score: Array
    weight: Array
    H: Array


def _at_mode(kernel: Kernel, start: Start) -> _AtMode:
    coordinates = kernel.coordinates
    link, y, trials, Xt, offset, codes, z = kernel.arguments[:7]
    outer = coordinates.outer
    where = {int(place): i for i, place in enumerate(outer)}
    eta = offset + start.beta @ Xt
    H = np.zeros((len(y), len(outer)))
    H[:, : coordinates.fixed] = Xt.T
    effects, z_of, column = [], [], 0
    for t, (term, lam, u) in enumerate(zip(coordinates.terms, start.factors, start.effects, strict=True)):
        zt = z[column : column + term.columns].T
        column += term.columns
        eta += np.einsum("ia,ia->i", zt, u[codes[t]])
        own = u if term.centered else np.linalg.solve(lam, u.T).T
        if not term.centered:
            for c, d in enumerate(_factor_derivatives(lam, term.columns)):
                H[:, where[term.sd + c]] = np.einsum("ia,ia->i", zt, (own @ d.T)[codes[t]])
        effects.append(own)
        z_of.append(zt)
    if coordinates.sigma >= 0:
        precision = start.sigma**-2
        return _AtMode(effects, z_of, trials * (y - eta) * precision, trials * precision, H)
    _, score, weight, _ = row_derivatives(link, y, trials, eta)
    return _AtMode(effects, z_of, score, np.maximum(weight, 0.0), H)


def _curvature(kernel: Kernel, start: Start, rows: _AtMode, t: int) -> _Curvature:
    coordinates, codes = kernel.coordinates, kernel.arguments[5][t]
    term, lam, u = coordinates.terms[t], start.factors[t], start.effects[t]
    where = {int(place): i for i, place in enumerate(coordinates.outer)}
    k, zt = term.columns, rows.z[t]
    explicit = np.zeros((term.levels, k, len(coordinates.outer)))
    derivatives = _factor_derivatives(lam, k)
    if term.centered:
        Zf, prior = zt, np.linalg.inv(lam @ lam.T)
        for c, d in enumerate(derivatives):
            explicit[:, :, where[term.sd + c]] = u @ (prior @ (d @ lam.T + lam @ d.T) @ prior)
    else:
        Zf, prior = zt @ lam, np.eye(k)
        summed = np.array([np.bincount(codes, zt[:, a] * rows.score, term.levels) for a in range(k)]).T
        for c, d in enumerate(derivatives):
            explicit[:, :, where[term.sd + c]] = summed @ d
    out = _Curvature(term, codes, Zf, prior, explicit.reshape(-1, len(coordinates.outer)))
    if coordinates.sigma >= 0:
        out.explicit[:, -1] += out.sums(-2.0 * rows.score[:, None])[:, 0]
    return out


def _pairs(a: _Curvature, b: _Curvature, weight: Array) -> Any:
    """Cross precision of two terms' effects, sparse (levels · k, levels · k)."""
    from scipy.sparse import coo_array

    ka, kb = a.term.columns, b.term.columns
    values = weight[:, None, None] * a.Zf[:, :, None] * b.Zf[:, None, :]
    shape = (len(weight), ka, kb)
    row = np.broadcast_to((a.codes[:, None] * ka + np.arange(ka))[:, :, None], shape)
    column = np.broadcast_to((b.codes[:, None] * kb + np.arange(kb))[:, None, :], shape)
    size = (a.term.levels * ka, b.term.levels * kb)
    return coo_array((values.ravel(), (row.ravel(), column.ravel())), shape=size).tocsr()


def _information(c: _Curvature, weight: Array) -> Array:
    """What the data say of each group's effects alone, shape (levels, k, k)."""
    k = c.term.columns
    return c.sums(weight[:, None] * c.Zf).reshape(c.term.levels, k, k)


def _assemble(
    kernel: Kernel,
    start: Start,
    curvatures: list[_Curvature],
    largest: int,
    rows: _AtMode,
    mode: Array,
    root: Array,
    centered: bool | None,
) -> Whitening:
    from scipy.sparse import block_array, csr_array

    one, rest = curvatures[largest], [c for t, c in enumerate(curvatures) if t != largest]
    outer, weight, sigma = kernel.coordinates.outer, rows.weight, kernel.coordinates.sigma
    others = np.concatenate([np.arange(c.term.effects, c.term.end) for c in rest] or [np.zeros(0, dtype=np.int64)])
    WH = weight[:, None] * rows.H
    G = _information(one, weight)
    K = -one.sums(WH)
    inverse = np.linalg.inv(G + one.prior)

    def solve(B: Array) -> Array:
        return (inverse @ B.reshape(len(inverse), one.term.columns, -1)).reshape(B.shape)

    P12: Any = csr_array((len(K), 0))
    D, C, scale = np.zeros((0, len(outer))), np.zeros((0, 0)), np.zeros(0)
    if rest:
        P12 = block_array([[_pairs(one, c, weight) for c in rest]]).tocsr()
        between = -csr_array(_block_diagonal(inverse) @ P12)
        B = np.concatenate([c.explicit - c.sums(WH) for c in rest]) - P12.T @ solve(one.explicit + K)
        own = [_information(c, weight) + c.prior for c in rest]
        if len(others) <= _DENSE:
            cross = [[_pairs(a, b, weight) if a is not b else _block_diagonal(o) for b in rest]
                     for a, o in zip(rest, own, strict=True)]  # fmt: skip
            S = block_array(cross).toarray() + (P12.T @ between).toarray()
            D = np.linalg.solve(S, B)
            C = np.linalg.inv(np.linalg.cholesky(S)).T
            scale = np.zeros(len(others))
        else:
            diagonal = np.concatenate([np.diagonal(o, axis1=1, axis2=2).ravel() for o in own])
            diagonal = diagonal + np.asarray(P12.multiply(between).sum(axis=0)).ravel()
            D, C, scale = B / diagonal[:, None], np.zeros((len(others), 0)), 1.0 / np.sqrt(diagonal)
    u = start.effects[largest]
    linear = (u @ one.prior + (G @ u[:, :, None])[:, :, 0]).ravel()
    if centered:
        G = G + one.prior
        K = K + one.explicit
    elif centered is False:
        G, K, linear, P12 = 0.0 * G, 0.0 * K, 0.0 * linear, csr_array(P12.shape)
    return Whitening(
        outer, others, mode, root, np.ascontiguousarray(D), np.ascontiguousarray(C), scale,
        np.array([one.term.effects, one.term.sd, one.term.cor, sigma if not centered else -1, bool(centered)]),
        np.array(spiral(one.term.columns), dtype=np.int64), np.ascontiguousarray(G), linear, np.ascontiguousarray(K),
        P12.indptr.astype(np.int64), P12.indices.astype(np.int64), -P12.data.astype(float),
        math.log(start.sigma) if sigma >= 0 else 0.0, np.isin(outer, kernel.coordinates.correlations),
    )  # fmt: skip


def _block_diagonal(blocks: Array) -> Any:
    from scipy.sparse import bsr_array

    levels, k, _ = blocks.shape
    return bsr_array((blocks, np.arange(levels), np.arange(levels + 1)), shape=(levels * k, levels * k))


# pieces --------------------------------------------------------------------------------------------------


def _below(k: int) -> list[tuple[int, int]]:
    """Places below the diagonal, row by row."""
    return [(i, j) for i in range(k) for j in range(i)]


def _outer_mode(start: Start, coordinates: Coordinates) -> tuple[Array, Array]:
    """v̂ and its derivative in what the start's covariance is of."""
    parts, p = [start.beta], len(start.beta)
    J = np.zeros((len(coordinates.outer), len(start.covariance)))
    J[:p, :p] = np.eye(p)
    row = at = p
    for lam, term in zip(start.factors, coordinates.terms, strict=True):
        k = term.columns
        place = {}
        for b in range(k):
            for a in range(b, k):
                place[a, b] = at
                at += 1
        sd = np.sqrt((lam * lam).sum(axis=1))
        a_of = np.zeros(k * (k - 1) // 2)
        for i in range(k):
            for j in range(i + 1):
                J[row + i, place[i, j]] = lam[i, j] / sd[i] ** 2
        for (i, j), to in zip(_below(k), spiral(k), strict=True):
            a_of[to] = lam[i, j] / lam[i, i]
            cosh = math.sqrt(1.0 + a_of[to] ** 2)
            J[row + k + to, place[i, j]] = 1.0 / (cosh * lam[i, i])
            J[row + k + to, place[i, i]] = -lam[i, j] / (cosh * lam[i, i] ** 2)
        parts += [np.log(sd), np.arcsinh(a_of)]
        row += k * (k + 1) // 2
    if coordinates.sigma >= 0:
        parts.append(np.array([math.log(start.sigma)]))
        J[row, at] = 1.0 / start.sigma
    return np.concatenate(parts), J


def _root(covariance: Array, coordinates: Coordinates) -> Array:
    """R with RR' the covariance, where that is one; standard deviations of the logs of sds are kept in bounds."""
    sd = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    sd = np.where(np.isfinite(sd), sd, 1.0)
    most = np.full(len(sd), np.inf)
    most[coordinates.fixed :] = _LOG_SD
    scale = np.minimum(sd, most)
    correlation = np.nan_to_num(covariance / np.outer(sd, sd))
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    correlation = (vectors * np.maximum(values, 1e-6)) @ vectors.T
    return np.asarray(scale[:, None] * np.linalg.cholesky(correlation))


def _factor_derivatives(lam: Array, k: int) -> Array:
    """∂Λ in (log sds, asinh a), shape (k (k + 1) / 2, k, k); a in the order of the coordinates."""
    sd = np.sqrt((lam * lam).sum(axis=1))
    out = np.zeros((k * (k + 1) // 2, k, k))
    for i in range(k):
        out[i, i] = lam[i]
    for (i, j), to in zip(_below(k), spiral(k), strict=True):
        # Λ_i = sd_i (a, 1) / length, sd_i / length = Λ_ii
        out[k + to, i] = -lam[i] * lam[i, j] * lam[i, i] / sd[i] ** 2
        out[k + to, i, j] += lam[i, i]
        out[k + to] *= math.sqrt(1.0 + (lam[i, j] / lam[i, i]) ** 2)
    return out


@dataclass(frozen=True, slots=True)
class _Curvature:
    """A term at the mode: its coordinates' factor F (Λ, or I where centred), and what it adds by itself.

    Attributes
    ----------
    term : Term
    codes : ndarray of int, shape (n,)
    Zf : ndarray, shape (n, k)
        Rows z'F.
    prior : ndarray, shape (k, k)
        Precision of a group's effects by their prior.
    explicit : ndarray, shape (levels · k, m)
        Derivative in v of the effects' gradient where it does not pass through the linear predictor.
    """

    term: Term
    codes: Array
    Zf: Array
    prior: Array
    explicit: Array

    def sums(self, values: Array) -> Array:
        """Sums over each group's rows, shape (levels · k, columns), of F'z times values (n, columns)."""
        k, levels = self.term.columns, self.term.levels
        out = np.empty((levels, k, values.shape[1]))
        for a in range(k):
            for c in range(values.shape[1]):
                out[:, a, c] = np.bincount(self.codes, self.Zf[:, a] * values[:, c], levels)
        return out.reshape(levels * k, -1)
