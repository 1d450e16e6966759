"""A posterior's coordinates in three parts, and its rows in the order in which those are integrated.

* θ: log standard deviations, asinh of the coordinates of correlations, log σ.  The coordinate a of a correlation ρ is
  ρ / √(1 − ρ²), so that asinh a is Fisher's atanh ρ, in which an LKJ density has exponential tails.
* u: the effects of the term with the most of them, whose groups are independent of each other given all else.
* b: the fixed effects, and the effects of every other term, standardised by Λ⁻¹.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.bayes.coordinates import Coordinates, Term, correlation_factor, largest_term
from bayesmlm.bayes.kernel import Kernel, build_kernel
from bayesmlm.design import Design

__all__ = ["Parts", "parts_of", "term_factor"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """The kernel of a design, its rows sorted by the groups of u.

    Attributes
    ----------
    kernel : Kernel
        With every term centred.
    main : int
        Which term's effects are u; −1 without random effects.
    theta, rest : ndarray of int
        Places of θ and of b among the kernel's coordinates; the fixed effects are the first of b.
    is_cor : ndarray of bool
        Which of θ are correlations.
    link : int
    y, trials, offset : ndarray, shape (n,)
    X : ndarray, shape (p, n)
    Z : ndarray, shape (k, n)
        Columns of u.
    columns : ndarray of int, shape (r, n)
        Which of b enter a row beside the fixed effects.
    values : ndarray, shape (r, n)
        By what they are multiplied.
    starts : ndarray of int, shape (groups + 1,)
        Rows of each group of u.
    """

    kernel: Kernel
    main: int
    theta: Array
    rest: Array
    is_cor: Array
    link: int
    y: Array
    trials: Array
    offset: Array
    X: Array
    Z: Array
    columns: Array
    values: Array
    starts: Array

    @property
    def coordinates(self) -> Coordinates:
        """The kernel's."""
        return self.kernel.coordinates

    @property
    def groups(self) -> int:
        """Of u; without random effects all rows are one."""
        return len(self.starts) - 1

    @property
    def effects(self) -> slice:
        """Places of u."""
        term = self.coordinates.terms[self.main] if self.main >= 0 else None
        return slice(term.effects, term.end) if term else slice(0, 0)

    @property
    def others(self) -> tuple[Term, ...]:
        """Terms whose effects are part of b."""
        return tuple(term for t, term in enumerate(self.coordinates.terms) if t != self.main)

    def theta_of(self, x: Array) -> Array:
        """θ at coordinates x (…, size)."""
        raw = x[..., self.theta]
        return np.where(self.is_cor, np.arcsinh(raw), raw)

    def set_theta(self, x: Array, theta: Array) -> Array:
        """Write θ (…, m) into the coordinates; log |∂x/∂θ| is returned."""
        size = np.where(self.is_cor, theta, 0.0)
        x[..., self.theta] = np.where(self.is_cor, np.sinh(size), theta)
        return np.asarray(np.log(np.cosh(size)).sum(axis=-1))

    def set_rest(self, x: Array, b: Array) -> Array:
        """Write b (draws, d) into the coordinates (draws, size) that have their θ; log |∂x/∂b| is returned."""
        at, jacobian = len(self.X), np.zeros(len(b))
        x[:, self.rest[:at]] = b[:, :at]
        for term in self.others:
            k, size = term.columns, term.levels * term.columns
            lam = term_factor(term, x)
            effects = b[:, at : at + size].reshape(-1, term.levels, k) @ np.swapaxes(lam, 1, 2)
            x[:, term.effects : term.end] = effects.reshape(-1, size)
            jacobian += term.levels * np.log(np.diagonal(lam, axis1=1, axis2=2)).sum(axis=1)
            at += size
        return jacobian

    def standardised(self, x: Array, values: Array) -> Array:
        """Values (d, …) of the kernel's coordinates of b, at the θ of x, as those of b."""
        out, at = values.copy(), len(self.X)
        for term in self.others:
            size = term.levels * term.columns
            blocks = values[at : at + size].reshape(term.levels, term.columns, -1)
            out[at : at + size] = (np.linalg.inv(term_factor(term, x)) @ blocks).reshape(size, *values.shape[1:])
            at += size
        return out

    def precision(self, x: Array) -> float:
        """σ⁻² of a Gaussian model, 1 of others."""
        place = self.coordinates.sigma
        return float(np.exp(-2.0 * x[place])) if place >= 0 else 1.0

    def linear_predictors(self, x: Array) -> Array:
        """Of every row without u, shape (draws, n), at coordinates (draws, size)."""
        b = x[:, self.rest]
        eta = b[:, : len(self.X)] @ self.X
        eta += self.offset
        for column, value in zip(self.columns, self.values, strict=True):
            eta += b[:, column] * value
        return np.asarray(eta)


def term_factor(term: Term, x: Array) -> Array:
    """Λ of a term at coordinates x (…, size), shape (…, k, k)."""
    sd = np.exp(x[..., term.sd : term.cor])
    return np.asarray(sd[..., None] * correlation_factor(x[..., term.cor : term.effects], term.columns))


def parts_of(design: Design) -> Parts:
    """Bind a design.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> parts = parts_of(build_design(Spec("use ~ age + (1 | district)"), load_dataset("contraception")))
    >>> parts.theta.tolist(), parts.rest.tolist(), parts.groups
    ([2], [0, 1], 60)
    """
    kernel = build_kernel(design, (True,) * len(design.groups))
    link, y, trials, X, offset, codes, z = kernel.arguments[:7]
    coordinates = kernel.coordinates
    terms, p, n = coordinates.terms, coordinates.fixed, len(y)
    theta = coordinates.outer[p:]
    is_cor = np.zeros(len(theta), dtype=bool)
    for term in terms:
        is_cor |= (theta >= term.cor) & (theta < term.effects)
    main, order = -1, np.arange(n)
    Z, starts = np.zeros((0, n)), np.array([0, n], dtype=np.int64)
    places, columns, values, at, first = [np.arange(p)], [], [], p, 0
    if terms:
        # The kernel has its rows by the term with the most levels, which may be another one.
        main = largest_term(coordinates)
        order = np.argsort(codes[main], kind="stable")
        starts = np.searchsorted(codes[main, order], np.arange(terms[main].levels + 1)).astype(np.int64)
    for t, term in enumerate(terms):
        k = term.columns
        own = z[first : first + k, order]
        first += k
        if t == main:
            Z = own
            continue
        places.append(np.arange(term.effects, term.end))
        columns += [at + codes[t, order] * k + a for a in range(k)]
        values += list(own)
        at += term.levels * k
    return Parts(
        kernel, main, theta, np.concatenate(places), is_cor, link, y[order], trials[order], offset[order],
        np.ascontiguousarray(X[:, order]), np.ascontiguousarray(Z), np.array(columns, dtype=np.int64).reshape(-1, n),
        np.array(values, dtype=float).reshape(-1, n), starts,
    )  # fmt: skip
