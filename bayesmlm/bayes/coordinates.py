"""The unconstrained coordinates of a posterior: where each quantity stands, and how it is read back from a draw.

Their order is that of the ``pm.Model``'s free variables: the p internal coefficients (centred intercept, scaled
slopes); per random-effect term the log standard deviations, the k (k − 1) / 2 coordinates of the correlations' Cholesky
factor, and the effects (standardised, or as they are where the term is centred), group by group; last a Gaussian
model's log residual standard deviation.

Row i of the Cholesky factor of a correlation matrix is (a_i1, …, a_i,i−1, 1) divided by its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design

__all__ = ["Coordinates", "Term", "coordinates_of", "correlation_factor", "largest_term", "quantities", "spiral"]

Array = np.ndarray[Any, Any]


def spiral(k: int) -> tuple[int, ...]:
    """Places of the entries (1,0), (2,0), (2,1), … of a k × k factor below its diagonal among its coordinates.

    PyMC fills the triangle by turns from its last and its first row.

    Examples
    --------
    >>> spiral(3), spiral(4)
    ((2, 1, 0), (3, 5, 4, 2, 1, 0))
    """
    n = k - 1
    x = np.arange(n * (n + 1) // 2)
    filled = np.concatenate([x[n:], x[::-1]]).reshape(n, n) if n else np.zeros((0, 0), dtype=int)
    return tuple(int(filled[i, j]) for i in range(n) for j in range(i + 1))


@dataclass(frozen=True, slots=True)
class Term:
    """Where a random-effect term stands.

    Attributes
    ----------
    label : str
    columns, levels : int
    sd, cor, effects : int
        Places of its first log standard deviation, correlation coordinate and effect.
    centered : bool
        Whether the effects are coordinates themselves, not standardised ones.
    """

    label: str
    columns: int
    levels: int
    sd: int
    cor: int
    effects: int
    centered: bool

    @property
    def end(self) -> int:
        """One past its last coordinate."""
        return self.effects + self.levels * self.columns


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where everything stands.

    Attributes
    ----------
    fixed : int
        Fixed effects, which stand first.
    terms : tuple of Term
    sigma : int
        Place of log σ; −1 where there is none.
    size : int
    """

    fixed: int
    terms: tuple[Term, ...]
    sigma: int
    size: int

    @property
    def outer(self) -> Array:
        """Places of everything but the group effects."""
        parts = [np.arange(self.fixed), *(np.arange(term.sd, term.effects) for term in self.terms)]
        return np.concatenate([*parts, [self.sigma] if self.sigma >= 0 else []]).astype(np.int64)

    @property
    def correlations(self) -> Array:
        """Places of the correlations' coordinates."""
        return np.array([place for term in self.terms for place in range(term.cor, term.effects)], dtype=np.int64)


def coordinates_of(design: Design, centered: tuple[bool, ...]) -> Coordinates:
    """Lay out the coordinates of a design.

    Parameters
    ----------
    design : Design
    centered : tuple of bool
        Per random-effect term.

    Examples
    --------
    >>> from bayesmlm.datasets import load_dataset
    >>> from bayesmlm.design import build_design
    >>> from bayesmlm.spec import Spec
    >>> design = build_design(Spec("use ~ age + (age | district)"), load_dataset("contraception"))
    >>> c = coordinates_of(design, (False,))
    >>> c.terms[0].sd, c.terms[0].cor, c.terms[0].effects, c.size
    (2, 4, 5, 125)
    """
    at = len(design.terms)
    terms = []
    for group, label, one in zip(design.groups, design.group_labels, centered, strict=True):
        k = len(group.terms)
        term = Term(label, k, group.n_levels, at, at + k, at + k * (k + 1) // 2, one)
        terms.append(term)
        at = term.end
    gaussian = design.family.name == "gaussian"
    return Coordinates(len(design.terms), tuple(terms), at if gaussian else -1, at + gaussian)


def largest_term(coordinates: Coordinates) -> int:
    """Which term has the most effects."""
    return int(np.argmax([term.levels * term.columns for term in coordinates.terms]))


def quantities(design: Design, coordinates: Coordinates, x: Array) -> dict[str, Array]:
    """Named quantities on the user's scale of draws x, shape (chain, draw, size)."""
    out = {"beta": x[..., : coordinates.fixed] @ design.scaling.matrix.T}
    for term in coordinates.terms:
        k = term.columns
        sd = np.exp(x[..., term.sd : term.cor])
        out[f"sd_{term.label}"] = sd
        effects = x[..., term.effects : term.end].reshape(*x.shape[:-1], term.levels, k)
        if k == 1:
            out[f"ranef_{term.label}"] = effects if term.centered else effects * sd[..., None, :]
            continue
        factor = correlation_factor(x[..., term.cor : term.effects], k)
        R = factor @ np.swapaxes(factor, -1, -2)
        out[f"cor_{term.label}"] = R[(..., *np.triu_indices(k, 1))]
        if not term.centered:
            effects = effects @ np.swapaxes(sd[..., None] * factor, -1, -2)
        out[f"ranef_{term.label}"] = effects
    if coordinates.sigma >= 0:
        out["sigma"] = np.exp(x[..., coordinates.sigma])
    return out


def correlation_factor(a: Array, k: int) -> Array:
    """Cholesky factors (…, k, k) of the correlation matrices with coordinates a (…, k (k − 1) / 2).

    Examples
    --------
    >>> correlation_factor(np.array([0.75]), 2).tolist()
    [[1.0, 0.0], [0.6, 0.8]]
    """
    factor = np.broadcast_to(np.eye(k), (*a.shape[:-1], k, k)).copy()
    below = np.tril_indices(k, -1)
    factor[(..., *below)] = a[..., list(spiral(k))]
    return factor / np.sqrt((factor * factor).sum(axis=-1, keepdims=True))
