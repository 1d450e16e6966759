"""Where a fit lies on its boundary: standard deviations of 0, correlations of ±1, covariances without full rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmlm.design import Design, Group
from bayesmlm.laplace.covariance import factors, sd_cor

__all__ = ["Boundary", "boundaries", "boundary_of"]

Array = np.ndarray[Any, Any]

_ZERO = 1e-4
"""A relative standard deviation below this is 0, and so is an eigenvalue of a correlation matrix.

Optima leave a wide gap there: of 750 standard deviations and 230 matrices of small simulated data none lay between
1e-8 and 1e-3.
"""


@dataclass(frozen=True, slots=True)
class Boundary:
    """How one random-effect term stands to its boundary.

    Attributes
    ----------
    group : str
    terms : tuple of str
        Its columns, k of them.
    columns : str
        The same as the formula has them, ``1 + age``.
    vanished : tuple of bool
        Which standard deviations are 0.
    perfect : tuple of int
        Per pair of columns, in the table's order: the sign of a correlation of ±1, 0 elsewhere.
    eigenvalues : ndarray
        Of the correlation matrix of the columns that vary, ascending.
    separable : bool
        Whether ``(columns || group)`` takes all correlations out: not those within a factor.
    """

    group: str
    terms: tuple[str, ...]
    columns: str
    vanished: tuple[bool, ...]
    perfect: tuple[int, ...]
    eigenvalues: Array
    separable: bool

    @property
    def rank(self) -> int:
        """In how many directions the effects vary."""
        return int((self.eigenvalues > _ZERO).sum())

    @property
    def is_singular(self) -> bool:
        """Whether the covariance matrix has less than full rank."""
        return self.rank < len(self.terms)

    @property
    def undefined(self) -> Array:
        """Which correlations are not defined, because one of the two does not vary; shape (k (k − 1) / 2,)."""
        first, second = np.triu_indices(len(self.terms), 1)
        gone = np.array(self.vanished)
        return gone[first] | gone[second]

    @property
    def without_error(self) -> Array:
        """Which standard deviations, then correlations, have no standard error: those at the boundary.

        A correlation in a singular term moves along the boundary only; a normal interval for it would be made up.
        """
        pairs = len(self.terms) * (len(self.terms) - 1) // 2
        return np.concatenate([np.array(self.vanished, dtype=bool), np.full(pairs, self.is_singular)])


def boundary_of(group: str, terms: tuple[str, ...], columns: str, lam: Array, separable: bool = True) -> Boundary:
    """Read one term's factor.

    Parameters
    ----------
    group, terms, columns, separable
        As in :class:`Boundary`.
    lam : ndarray, shape (k, k)
        Factor of the covariance of the columns at unit scale, relative to the residual of a Gaussian model.

    Examples
    --------
    >>> found = boundary_of("g", ("Intercept", "x"), "1 + x", np.array([[0.5, 0.0], [-0.2, 0.0]]))
    >>> found.vanished, found.perfect, found.rank, found.is_singular
    ((False, False), (-1,), 1, True)
    """
    sd, cor = sd_cor(lam)
    varies = sd > _ZERO
    unit = lam[varies] / sd[varies][:, None]
    perfect = np.where(np.abs(cor) > 1.0 - _ZERO, np.sign(cor), 0.0)
    first, second = np.triu_indices(len(sd), 1)
    perfect[~(varies[first] & varies[second])] = 0.0
    return Boundary(
        group, terms, columns, tuple((~varies).tolist()), tuple(perfect.astype(int).tolist()),
        np.linalg.eigvalsh(unit @ unit.T), separable,
    )  # fmt: skip


def boundaries(design: Design, theta: Array, sigma: float) -> tuple[Boundary, ...]:
    """Every term of a fit, in the design's order.

    Parameters
    ----------
    design : Design
    theta : ndarray
        Factors on the user's scale.
    sigma : float
        Residual standard deviation; NaN where there is none.
    """
    unit = 1.0 if np.isnan(sigma) else sigma
    lams = factors(theta, tuple(len(group.terms) for group in design.groups))
    return tuple(
        boundary_of(group.name, group.terms, bar.columns, lam * group.scales[:, None] / unit, _separable(design, group))
        for group, bar, lam in zip(design.groups, design.formula.bars, lams, strict=True)
    )


def _separable(design: Design, group: Group) -> bool:
    used = set() if group.matrix_spec is None else {str(name) for name in group.matrix_spec.required_variables}
    return not used & set(design.fixed_levels)
