"""The fused log-density and gradient of the compiled PyMC model, in its unconstrained coordinates.

With u the group effects, Λ = diag(sd) L their covariance's factor, u = Λ z where they are standardised, and
η = o + Xβ + Σ z' u[group],

    log p = Σ log prior(β) + Σ_t [Σ log prior(sd) + Σ log sd + log LKJ(L) + log N(u; 0, ΛΛ')] + Σ ℓ(η),

Σ log sd being the log-Jacobian of sd = exp(·).  All constants of PyMC's own log-density are kept.  Rows that are equal
but for their responses are one row with their counts; rows are ordered by the groups of the largest term.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from bayesmlm.bayes.coordinates import Coordinates, coordinates_of, spiral
from bayesmlm.bayes.densities import lkj_constant, log_prior, prior_row
from bayesmlm.bayes.effects import COLUMNS, LEVELS, PLAIN, effects_prior, pull_back
from bayesmlm.bayes.rows import row_scores
from bayesmlm.design import Design
from bayesmlm.laplace.kernels import log_constant

__all__ = ["Kernel", "build_kernel"]

Array = np.ndarray[Any, Any]

_BLOCK = 4096
"""Rows taken together, so that what is between two passes over them stays in the processor's cache."""


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _sum(a: np.ndarray) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i]
    return total


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _product(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _add(out: np.ndarray, a: np.ndarray, factor: float) -> None:
    for i in range(len(out)):
        out[i] += a[i] * factor


@njit(cache=True, error_model="numpy")
def _gather(eta: np.ndarray, effects: np.ndarray, codes: np.ndarray, z: np.ndarray, plain: bool) -> None:
    """Add z' u[group] to the linear predictors."""
    if plain:
        for i in range(len(eta)):
            eta[i] += effects[codes[i]]
        return
    k = len(z)
    for a in range(k):
        for i in range(len(eta)):
            eta[i] += z[a, i] * effects[codes[i] * k + a]


@njit(cache=True, error_model="numpy")
def _scatter(out: np.ndarray, score: np.ndarray, codes: np.ndarray, z: np.ndarray, plain: bool) -> None:
    """Add the rows' scores to their groups'; a run of rows of one group is summed before it is written."""
    k = len(z)
    for a in range(k):
        last, held = codes[0], 0.0
        for i in range(len(score)):
            if codes[i] != last:
                out[last * k + a] += held
                last, held = codes[i], 0.0
            held += score[i] if plain else z[a, i] * score[i]
        out[last * k + a] += held


@njit(cache=True, nogil=True, error_model="numpy")
def log_density(
    x: np.ndarray,
    gradient: np.ndarray,
    link: int,
    y: np.ndarray,
    trials: np.ndarray,
    X: np.ndarray,
    offset: np.ndarray,
    codes: np.ndarray,
    z: np.ndarray,
    layout: np.ndarray,
    places: np.ndarray,
    etas: np.ndarray,
    beta_priors: np.ndarray,
    sd_priors: np.ndarray,
    sigma_prior: np.ndarray,
    sigma: int,
    freq: float,
    constant: float,
) -> float:
    """Log-density at x; its gradient is written into ``gradient``.

    Parameters
    ----------
    x, gradient : ndarray, shape (size,)
    link : int
    y, trials : ndarray, shape (n,)
        As :func:`bayesmlm.bayes.rows.row_scores` has them.
    X : ndarray, shape (p, n)
    offset : ndarray, shape (n,)
    codes : ndarray of int, shape (terms, n)
    z : ndarray, shape (columns of all terms, n)
    layout : ndarray of int, shape (terms, 7)
        See :mod:`bayesmlm.bayes.effects`.
    places : ndarray of int, shape (pairs of columns of all terms,)
    etas : ndarray, shape (terms,)
        Of the LKJ densities.
    beta_priors, sd_priors : ndarray, shape (p, 5) and (columns of all terms, 5)
    sigma_prior : ndarray, shape (5,)
    sigma : int
        Place of log σ; −1 where there is none.
    freq : float
        Observations, for σ.
    constant : float
        What no parameter enters.
    """
    p, n = X.shape
    terms = len(layout)
    total = constant
    for j in range(p):
        lp, d = log_prior(beta_priors[j], x[j])
        total += lp
        gradient[j] = d
    most, all_effects = 1, 0
    for t in range(terms):
        most = max(most, layout[t, COLUMNS])
        all_effects += layout[t, COLUMNS] * layout[t, LEVELS]
    lam = np.zeros((terms, most, most))
    effects, of_effects = np.empty(all_effects), np.zeros(all_effects)
    column, pair, at = 0, 0, 0
    for t in range(terms):
        k = layout[t, COLUMNS]
        size = k * layout[t, LEVELS]
        total += effects_prior(
            x, gradient, effects[at : at + size], lam[t, :k, :k], layout[t], places[pair:], sd_priors[column:], etas[t]
        )
        column, pair, at = column + k, pair + k * (k - 1) // 2, at + size
    precision, log_sigma = 1.0, 0.0
    if sigma >= 0:
        log_sigma = x[sigma]
        precision = math.exp(-2.0 * log_sigma)
        lp, d = log_prior(sigma_prior, math.exp(log_sigma))
        total += lp + log_sigma - freq * log_sigma
        gradient[sigma] = d * math.exp(log_sigma) + 1.0 - freq

    eta, score = np.empty(min(n, _BLOCK)), np.empty(min(n, _BLOCK))
    for first in range(0, n, _BLOCK):
        end = min(first + _BLOCK, n)
        e, s = eta[: end - first], score[: end - first]
        e[:] = offset[first:end]
        for j in range(p):
            _add(e, X[j, first:end], x[j])
        column, at = 0, 0
        for t in range(terms):
            k = layout[t, COLUMNS]
            _gather(e, effects[at:], codes[t, first:end], z[column : column + k, first:end], layout[t, PLAIN] != 0)
            column, at = column + k, at + k * layout[t, LEVELS]
        row_scores(link, y[first:end], trials[first:end], e, s)
        part = _sum(e)
        if sigma >= 0:
            part *= precision
            gradient[sigma] -= 2.0 * part
            for i in range(len(s)):
                s[i] *= precision
        total += part
        for j in range(p):
            gradient[j] += _product(X[j, first:end], s)
        column, at = 0, 0
        for t in range(terms):
            k = layout[t, COLUMNS]
            _scatter(of_effects[at:], s, codes[t, first:end], z[column : column + k, first:end], layout[t, PLAIN] != 0)
            column, at = column + k, at + k * layout[t, LEVELS]

    pair, at = 0, 0
    for t in range(terms):
        k = layout[t, COLUMNS]
        size = k * layout[t, LEVELS]
        pull_back(x, gradient, of_effects[at : at + size], lam[t, :k, :k], layout[t], places[pair:])
        pair, at = pair + k * (k - 1) // 2, at + size
    return total


@dataclass(frozen=True, slots=True)
class Kernel:
    """A design's posterior as a function of unconstrained coordinates.

    Attributes
    ----------
    arguments : tuple
        What :func:`log_density` takes after x and gradient.
    coordinates : Coordinates
    """

    arguments: tuple[Any, ...]
    coordinates: Coordinates

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return self.coordinates.size

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log-density and gradient at x, shape (size,)."""
        gradient = np.empty(self.size)
        return log_density(x, gradient, *self.arguments), gradient


@dataclass(frozen=True, slots=True)
class _Rows:
    """What a kernel needs of every row, a random-effect term or column of one per row of ``codes`` or ``z``."""

    y: Array
    trials: Array
    X: Array
    offset: Array
    codes: Array
    z: Array

    def ordered(self) -> _Rows:
        """Rows by the groups of the largest term, then of the others, then by a function of their columns."""
        of_columns = self.X @ np.sin(np.arange(1.0, self.X.shape[1] + 1.0)) + self.offset
        of_columns += np.cos(np.arange(len(self.z))) @ self.z
        largest = np.argsort([len(self.codes) and codes.max(initial=0) for codes in self.codes])
        order = np.lexsort((of_columns, *self.codes[largest]))
        return _Rows(
            self.y[order], self.trials[order], self.X[order], self.offset[order], self.codes[:, order], self.z[:, order]
        )

    def merged(self) -> _Rows:
        """Neighbours that are equal but for their responses as one row with their sums, where that spares a tenth."""
        new = np.ones(len(self.y), dtype=bool)
        if len(new):
            new[1:] = False
        for values in (*self.X.T, self.offset, *self.codes, *self.z):
            new[1:] |= values[1:] != values[:-1]
        if new.sum() > 0.9 * len(new):
            return self
        run = np.cumsum(new) - 1
        y, trials = np.bincount(run, self.y), np.bincount(run, self.trials)
        return _Rows(y, trials, self.X[new], self.offset[new], self.codes[:, new], self.z[:, new])


def build_kernel(design: Design, centered: tuple[bool, ...] | None = None) -> Kernel:
    """Bind the kernel to a design.

    Parameters
    ----------
    design : Design
    centered : tuple of bool, optional
        Per random-effect term, whether its effects are coordinates themselves; none are without it.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> kernel = build_kernel(build_design(Spec("use ~ age + (1 | district)"), load_dataset("contraception")))
    >>> value, gradient = kernel(np.zeros(kernel.size))
    >>> gradient.shape
    (63,)
    """
    response, scaling, groups, family = design.response, design.scaling, design.groups, design.family
    coordinates = coordinates_of(design, (False,) * len(groups) if centered is None else centered)
    counts, n = design.weights * design.freq, len(design.freq)
    gaussian, poisson = family.name == "gaussian", family.name == "poisson"
    trials = counts if gaussian or poisson else response.trials * counts
    rows = _Rows(
        response.y if gaussian else response.y * counts,
        trials,
        scaling.apply(design.X),
        design.offset,
        np.array([group.codes for group in groups], dtype=np.int64).reshape(len(groups), n),
        np.concatenate([group.z for group in groups], axis=1).T if groups else np.zeros((0, n)),
    ).ordered()
    if gaussian:
        constant = 0.5 * float(design.freq @ (np.log(design.weights) - math.log(2.0 * math.pi)))
    else:
        rows = rows.merged()
        # PyMC's density of a weighted row is the row's density times its weight.
        constant = log_constant(poisson, response.y, response.trials, np.ones(n), counts)
    terms = coordinates.terms
    layout = [
        (term.columns, term.levels, term.sd, term.cor, term.effects, term.centered, np.all(group.z == 1.0))
        for term, group in zip(terms, groups, strict=True)
    ]
    lkj = [2.0 if prior is None else prior["eta"] for prior in design.priors.correlation]
    constant += sum(lkj_constant(eta, term.columns) for eta, term in zip(lkj, terms, strict=True) if term.columns > 1)
    fixed = [prior.scaled(s) for prior, s in zip(design.priors.fixed, scaling.scales, strict=True)]
    return Kernel(
        arguments=(
            family.link.code,
            np.ascontiguousarray(rows.y),
            np.ascontiguousarray(rows.trials),
            np.ascontiguousarray(rows.X.T),
            np.ascontiguousarray(rows.offset),
            np.ascontiguousarray(rows.codes),
            np.ascontiguousarray(rows.z),
            np.array(layout, dtype=np.int64).reshape(-1, 7),
            np.array([place for term in terms for place in spiral(term.columns)], dtype=np.int64),
            np.array(lkj, dtype=float),
            np.array([prior_row(prior) for prior in fixed]).reshape(-1, 5),
            np.array([prior_row(prior) for sds in design.priors.sd for prior in sds]).reshape(-1, 5),
            np.array(prior_row(design.priors.sigma) if design.priors.sigma is not None else (0.0,) * 5),
            coordinates.sigma,
            float(design.freq.sum()),
            constant,
        ),
        coordinates=coordinates,
    )
