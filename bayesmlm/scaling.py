"""Columns of a model matrix in coordinates that engines can work in: their scales, and which determine others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Scaling", "independent", "mean_square", "scaling_of", "slope_sds"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Centring and scaling of columns: coordinates for the engines, never part of the model.

    Attributes
    ----------
    means, scales : ndarray, shape (p,)
        Internal column = (user's column − mean) / scale.  The intercept has mean 0 and scale 1;
        without an intercept nothing is centred.
    intercept : int
        Place of the intercept, −1 without one.
    """

    means: Array
    scales: Array
    intercept: int

    @property
    def matrix(self) -> Array:
        """T with β_user = T β_internal, shape (p, p)."""
        T = np.diag(1.0 / self.scales)
        if self.intercept >= 0:
            T[self.intercept] -= self.means / self.scales
        return T

    def apply(self, X: Array) -> Array:
        """Return the internal columns of X, shape (n, p), C-contiguous."""
        return np.ascontiguousarray((X - self.means) / self.scales)


def _blocks(X: Array, rows: int = 65536) -> Iterator[Array]:
    """Cut X into blocks of rows, so that what is made of one at a time takes little memory."""
    return (X[start : start + rows] for start in range(0, len(X), rows))


def mean_square(X: Array, centre: Any = 0.0) -> Array:
    """Mean square of every column about its centre, shape (p,).

    Examples
    --------
    >>> mean_square(np.array([[1.0, 0.0], [3.0, 2.0]])).tolist()
    [5.0, 2.0]
    """
    return sum(((block - centre) ** 2).sum(axis=0) for block in _blocks(X)) / len(X)


def slope_sds(X: Array, terms: tuple[str, ...]) -> Array:
    """Standard deviation of every column, shape (p,); 0 for an intercept.

    Examples
    --------
    >>> slope_sds(np.array([[1.0, 0.0], [1.0, 2.0]]), ("Intercept", "x")).tolist()
    [0.0, 1.0]
    """
    slopes = np.array([term != "Intercept" for term in terms], dtype=float)
    return np.sqrt(mean_square(X, X.mean(axis=0))) * slopes


def independent(X: Array, scaling: Scaling, tolerance: float = 1e-6) -> Array:
    """Mark the columns that no earlier columns determine, shape (p,): Gram-Schmidt on the Gram matrix.

    A column whose residual norm is below ``tolerance`` of its own, both scaled, is determined (R's ``lm`` and lme4
    drop at 1e-7 by QR; the Gram matrix resolves 1e-6 of centred columns).

    Examples
    --------
    >>> X = np.array([[1.0, 2.0, 4.0], [1.0, 3.0, 6.0], [1.0, 5.0, 10.0]])
    >>> independent(X, scaling_of(X, ("Intercept", "x", "twice"))).tolist()
    [True, True, False]
    """
    p = X.shape[1]
    gram = np.zeros((p, p))
    for block in map(scaling.apply, _blocks(X)):
        gram += block.T @ block
    lengths = gram.diagonal().copy()
    kept = np.zeros(p, dtype=bool)
    for j in range(p):
        kept[j] = gram[j, j] > tolerance**2 * lengths[j]
        if kept[j]:
            gram -= np.outer(gram[j], gram[j] / gram[j, j])  # what is left of the columns beside column j
    return kept


def scaling_of(X: Array, terms: tuple[str, ...]) -> Scaling:
    """The scaling that centres columns beside an intercept and gives them standard deviation 1.

    Examples
    --------
    >>> scaling = scaling_of(np.array([[1.0, 2.0], [1.0, 6.0]]), ("Intercept", "x"))
    >>> scaling.means.tolist(), scaling.scales.tolist(), scaling.intercept
    ([0.0, 4.0], [1.0, 2.0], 0)
    """
    intercept = terms.index("Intercept") if "Intercept" in terms else -1
    means = X.mean(axis=0) if intercept >= 0 else np.zeros(X.shape[1])
    spread = np.sqrt(np.maximum(mean_square(X) - means * means, 0.0))
    # Two passes where cancellation would spoil the one-pass variance.
    close = spread < 1e-3 * np.abs(means)
    spread[close] = np.sqrt(mean_square(X[:, close], means[close]))
    # A constant column is collinear with the intercept: scale 1 lets it be found and named.
    constant = spread <= 1e-12 * np.maximum(np.abs(means), 1.0)
    spread[constant] = 1.0
    if intercept >= 0:
        means[intercept], spread[intercept] = 0.0, 1.0
    return Scaling(means, spread, intercept)
